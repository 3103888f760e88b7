/* SPDX-License-Identifier: Apache-2.0 */
/* The upstream: one `struct peer` for each connection that the gateway makes. */
#include "upstream.h"

#include "base/err.h"
#include "compare.h"
#include "content.h"
#include "source.h"
#include "wire.h"

#include <stdlib.h>

struct peer {
    struct mg_link link;
    struct upstream *upstream;
    struct wire wire;
    struct reader reader;
    struct plan plan; /* of the present exchange */
    bool is_busy;     /* there is one */
    bool is_read;     /* its request is here */
    bool is_answering;
    uint64_t octets; /* of the request's body */
    struct source source;
    uint32_t part; /* being sent: interim answers, then the answer */
};

static void fail(struct peer *peer, const char *wrong)
{
    ledger_fail(peer->upstream->ledger, peer->plan.number, "upstream", wrong);
}

/* --- the answer --- */

static const struct message *part_of(const struct plan *plan, uint32_t part)
{
    return part < plan->interim_count ? &plan->interims[part] : &plan->response;
}

static void begin_answer(struct peer *peer)
{
    if (!peer->is_answering) {
        peer->is_answering = true;
        peer->part = 0;
        source_init(&peer->source, part_of(&peer->plan, 0), &peer->plan.arena);
        wire_cut(&peer->wire, peer->plan.upstream_cut);
        wire_kick(&peer->wire);
    }
}

static bool is_answered(const struct peer *peer)
{
    return peer->is_answering && peer->part == peer->plan.interim_count &&
           source_is_out(&peer->source);
}

/* The answer is out. The end of the connection may be its end, so that it does not wait for the
 * rest of the request. */
static void end_answer(struct peer *peer)
{
    if (!peer->plan.upstream_stays) {
        reader_stop(&peer->reader);
        wire_end(&peer->wire);
    }
    if (peer->is_read) {
        peer->is_busy = false;
        plan_free(&peer->plan);
    }
}

static size_t pull(void *context, char *to, size_t most)
{
    struct peer *peer = context;
    if (!peer->is_busy || !peer->is_answering) {
        return 0;
    }
    size_t done = 0;
    while (done < most) {
        done += source_read(&peer->source, to + done, most - done);
        if (!source_is_out(&peer->source) || peer->part == peer->plan.interim_count) {
            break;
        }
        source_init(&peer->source, part_of(&peer->plan, ++peer->part), &peer->plan.arena);
    }
    if (done == 0 && is_answered(peer)) { /* and all of it is with the system */
        end_answer(peer);
    }
    return done;
}

/* --- the request --- */

static const char *on_head(void *context, const struct head *head)
{
    struct peer *peer = context;
    struct ledger *ledger = peer->upstream->ledger;
    uint64_t seed;
    uint32_t number;
    if (peer->is_busy && peer->is_read && is_answered(peer)) {
        end_answer(peer); /* the gateway knew before us that it is out */
    }
    if (peer->is_busy) {
        return "a request comes before the one before it is answered";
    }
    if (!plan_read_field(head_value(head, PLAN_FIELD), &seed, &number) || seed != ledger->seed ||
        number - ledger->first >= ledger->count) {
        return "a request that nobody has sent";
    }
    plan_make(&peer->plan, seed, number);
    peer->is_busy = true;
    peer->is_read = peer->is_answering = false;
    peer->octets = 0;
    ledger_arrived(ledger, number);
    const char *wrong = compare_request(&peer->plan, head, ledger);
    if (!wrong) {
        reader_expect(&peer->reader, peer->plan.request.framing, peer->plan.request.body_bytes);
    }
    if (!wrong && peer->plan.is_early) {
        begin_answer(peer);
    }
    return wrong;
}

static const char *on_octets(void *context, mg_str octets)
{
    struct peer *peer = context;
    const struct message *request = &peer->plan.request;
    if (peer->octets + octets.len > request->body_bytes) {
        return "the request has more octets than were sent";
    }
    if (content_match(request->content, peer->octets, octets) != octets.len) {
        return "the request has other octets than were sent";
    }
    peer->octets += octets.len;
    ledger_count(peer->upstream->ledger, TALLY_BYTES_UP, octets.len);
    return NULL;
}

static const char *on_request_end(void *context)
{
    struct peer *peer = context;
    if (peer->octets != peer->plan.request.body_bytes) {
        return "the request has fewer octets than were sent";
    }
    peer->is_read = true;
    if (is_answered(peer) && !peer->wire.is_writing) {
        end_answer(peer);
    } else {
        begin_answer(peer);
    }
    return NULL;
}

static const struct reader_user reader_user = {on_head, on_octets, on_request_end};

/* --- the connection --- */

static void on_bytes(void *context, mg_str bytes)
{
    struct peer *peer = context;
    if (peer->upstream->ledger->failed) {
        return;
    }
    const char *wrong = reader_feed(&peer->reader, bytes);
    if (wrong) {
        fail(peer, wrong);
    }
}

/* The gateway may leave between two exchanges, and inside a request whose answer came early. */
static void on_end(void *context, int status)
{
    struct peer *peer = context;
    const bool cut_short = peer->is_busy && !peer->is_read;
    if (peer->is_busy && !is_answered(peer)) {
        fail(peer, status ? uv_strerror(status) : "the connection ended before the answer");
    } else if (cut_short && !peer->plan.is_early) {
        fail(peer, "the connection ended inside the request");
    }
    wire_close(&peer->wire);
}

static void on_closed(void *context)
{
    struct peer *peer = context;
    if (peer->is_busy) {
        plan_free(&peer->plan);
    }
    mg_link_remove(&peer->link);
    reader_deinit(&peer->reader);
    free(peer);
}

static const struct wire_user wire_user = {pull, on_bytes, on_end, on_closed};

static void on_connection(uv_stream_t *listener, int status)
{
    struct upstream *upstream = listener->data;
    struct peer *peer = calloc(1, sizeof *peer);
    mg_require(peer != NULL && status == 0);
    peer->upstream = upstream;
    mg_link_init(&peer->link);
    mg_list_append(&upstream->peers, &peer->link);
    reader_init(&peer->reader, &reader_user, peer);
    wire_init(&peer->wire, listener->loop, AF_UNSPEC, &wire_user, peer);
    mg_require(uv_accept(listener, (uv_stream_t *)&peer->wire.tcp) == 0);
    ledger_count(upstream->ledger, TALLY_UPSTREAM_CONNECTIONS, 1);
    struct dice dice = dice_for(upstream->ledger->seed, upstream->count++, DICE_UPSTREAM_CUTS);
    if (dice_chance(&dice, 200)) {
        wire_narrow(&peer->wire);
        ledger_count(upstream->ledger, TALLY_NARROW, 1);
    }
    wire_start(&peer->wire, dice);
}

int upstream_open(struct upstream *upstream, struct ledger *ledger)
{
    struct sockaddr_in address;
    *upstream = (struct upstream){.ledger = ledger};
    mg_link_init(&upstream->peers);
    mg_require(uv_ip4_addr("127.0.0.1", ledger->upstream_port, &address) == 0);
    mg_require(uv_tcp_init_ex(ledger->loop, &upstream->listener, AF_INET) == 0);
    wire_use_small_segments(&upstream->listener);
    upstream->listener.data = upstream;
    const int err = uv_tcp_bind(&upstream->listener, (const struct sockaddr *)&address, 0);
    return err ? err : uv_listen((uv_stream_t *)&upstream->listener, 256, on_connection);
}

void upstream_close(struct upstream *upstream)
{
    uv_close((uv_handle_t *)&upstream->listener, NULL);
    for (struct mg_link *at = upstream->peers.next; at != &upstream->peers; at = at->next) {
        wire_close(&MG_CONTAINER(at, struct peer, link)->wire);
    }
}
