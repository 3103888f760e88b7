/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions. On a connection exchanges [answered, begun) are under way; `sending` is the one whose
 * bytes leave, at most depth of them wait for an answer. When the connection ends as it was
 * announced, all that were not answered are sent again over the next one.
 */
#include "session.h"

#include "base/err.h"
#include "base/list.h"
#include "compare.h"
#include "content.h"
#include "source.h"
#include "wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct turn {
    struct plan plan;
    struct source source;
    bool is_made;
};

struct session {
    struct mg_link link;
    struct sessions *all;
    struct ledger *ledger;
    uint32_t first, count;
    uint32_t answered, begun, sending; /* from first on */
    uint32_t depth;
    bool pushes_on; /* sends ahead also after a request that ends the connection */
    struct turn turns[SESSION_EXCHANGES];
    /* the connection */
    struct wire wire;
    struct reader reader;
    uv_connect_t connect;
    struct dice dice;
    uint32_t connections, answers_here;
    bool is_ending; /* announced by the last answer */
    /* the present answer */
    bool is_interim, was_continued;
    uint32_t interims; /* of the plan, passed by */
    uint64_t octets;
};

struct sessions {
    struct ledger *ledger;
    uint32_t next; /* number of the first exchange of the next session */
    struct mg_link open;
    void (*on_done)(void *context);
    void *context;
};

static void open_next(struct sessions *all);
static void open_connection(struct session *session);

static struct turn *present(struct session *session)
{
    return &session->turns[session->answered];
}

static void fail(struct session *session, const char *wrong)
{
    const uint32_t at = session->answered < session->count ? session->answered : session->count - 1;
    ledger_fail(session->ledger, session->first + at, "client", wrong);
}

/* --- sending --- */

static bool may_begin(const struct session *session)
{
    if (session->is_ending || session->begun == session->count ||
        session->begun - session->answered >= session->depth) {
        return false;
    }
    const struct turn *last = session->begun > 0 ? &session->turns[session->begun - 1] : NULL;
    return !last || session->begun == session->answered || last->plan.client_stays ||
           session->pushes_on;
}

/* Lets the next exchange follow the one that is out. */
static void begin_next(struct session *session)
{
    if (session->sending < session->begun &&
        !source_is_out(&session->turns[session->sending].source)) {
        return;
    }
    session->sending = session->begun;
    if (!may_begin(session)) {
        return;
    }
    struct turn *turn = &session->turns[session->begun];
    if (!turn->is_made) {
        turn->is_made = true;
        plan_make(&turn->plan, session->ledger->seed, session->first + session->begun);
    }
    source_init(&turn->source, &turn->plan.request, &turn->plan.arena);
    turn->source.holds_body = turn->plan.waits || turn->plan.is_slow;
    wire_cut(&session->wire, turn->plan.client_cut);
    ledger_count(session->ledger, TALLY_PIPELINED, session->begun > session->answered);
    session->begun++;
}

static void go_on(struct session *session)
{
    begin_next(session);
    wire_kick(&session->wire);
}

static size_t pull(void *context, char *to, size_t most)
{
    struct session *session = context;
    size_t done = 0;
    while (session->sending < session->begun && done < most && !session->is_ending) {
        struct turn *turn = &session->turns[session->sending];
        done += source_read(&turn->source, to + done, most - done);
        if (!source_is_out(&turn->source)) {
            break;
        }
        begin_next(session);
        if (session->wire.cut != CUT_NOT) {
            break; /* it is cut in its own way */
        }
    }
    return done;
}

/* --- answers --- */

static const char *take_interim(struct session *session, const struct head *head)
{
    struct turn *turn = present(session);
    struct plan *plan = &turn->plan;
    session->is_interim = true;
    if (mg_str_starts(head->start, MG_STR("HTTP/1.1 100 "))) {
        if (!plan->expects || session->was_continued || head->field_count > 0) {
            return "a 100 that was not asked for";
        }
        session->was_continued = true;
        turn->source.holds_body = plan->is_slow;
        ledger_count(session->ledger, TALLY_CONTINUED, plan->waits);
        go_on(session);
        return NULL;
    }
    const struct message *interim = &plan->interims[session->interims];
    while (session->interims < plan->interim_count &&
           mg_str_starts(interim->start, MG_STR("HTTP/1.1 100 "))) {
        interim = &plan->interims[++session->interims];
    }
    if (plan->is_old || session->interims == plan->interim_count) {
        return "an interim answer that was not sent";
    }
    session->interims++;
    ledger_count(session->ledger, TALLY_INTERIMS, 1);
    return compare_interim(plan, interim, head);
}

/* Of the interim answers, 100 is the gateway's own matter; all others pass, but not to old
 * clients. */
static bool lacks_interims(const struct session *session, const struct plan *plan)
{
    for (uint32_t i = session->interims; i < plan->interim_count && !plan->is_old; i++) {
        if (!mg_str_starts(plan->interims[i].start, MG_STR("HTTP/1.1 100 "))) {
            return true;
        }
    }
    return false;
}

static const char *on_head(void *context, const struct head *head)
{
    struct session *session = context;
    bool stays;
    if (session->answered == session->begun) {
        return "an answer to nothing";
    }
    if (mg_str_starts(head->start, MG_STR("HTTP/1.1 1"))) {
        return take_interim(session, head);
    }
    struct turn *turn = present(session);
    session->is_interim = false;
    const char *wrong = compare_response(&turn->plan, head, session->ledger, &stays);
    if (wrong) {
        return wrong;
    }
    if (lacks_interims(session, &turn->plan)) {
        return "an interim answer is lacking";
    }
    if (stays && !source_is_out(&turn->source)) {
        return "the connection stays, though the request is not whole";
    }
    session->is_ending = !stays;
    if (turn->plan.has_body) {
        reader_expect(&session->reader,
                      head->is_chunked   ? FRAMING_CHUNKED
                      : head->has_length ? FRAMING_LENGTH
                                         : FRAMING_CLOSE,
                      head->length);
        ledger_count(session->ledger,
                     head->is_chunked   ? TALLY_CLIENT_CHUNKED
                     : head->has_length ? TALLY_CLIENT_LENGTH
                                        : TALLY_CLIENT_CLOSE,
                     1);
    }
    return NULL;
}

static const char *on_octets(void *context, mg_str octets)
{
    struct session *session = context;
    const struct message *response = &present(session)->plan.response;
    if (session->octets + octets.len > response->body_bytes) {
        return "the answer has more octets than were sent";
    }
    if (content_match(response->content, session->octets, octets) != octets.len) {
        return "the answer has other octets than were sent";
    }
    session->octets += octets.len;
    ledger_count(session->ledger, TALLY_BYTES_DOWN, octets.len);
    return NULL;
}

static void count_message(struct ledger *ledger, const struct message *message, enum tally length,
                          enum tally chunked, enum tally until_close)
{
    const enum tally by_framing[] = {
        [FRAMING_LENGTH] = length, [FRAMING_CHUNKED] = chunked, [FRAMING_CLOSE] = until_close};
    if (message->framing != FRAMING_NONE) {
        ledger_count(ledger, by_framing[message->framing], 1);
        ledger_count(ledger, TALLY_LARGE, message->body_bytes >= 1024 * 1024);
        ledger_count(ledger, TALLY_TRAILERS, message->trailers > 0);
    }
}

static void count_exchange(struct session *session, const struct turn *turn)
{
    struct ledger *ledger = session->ledger;
    const struct plan *plan = &turn->plan;
    count_message(ledger, &plan->request, TALLY_UP_LENGTH, TALLY_UP_CHUNKED, TALLY_UP_CHUNKED);
    count_message(ledger, &plan->response, TALLY_UPSTREAM_LENGTH, TALLY_UPSTREAM_CHUNKED,
                  TALLY_UPSTREAM_CLOSE);
    ledger_count(ledger, TALLY_OLD, plan->is_old);
    ledger_count(ledger, TALLY_HEAD, plan->is_head);
    ledger_count(ledger, TALLY_NO_CONTENT, plan->status == 204);
    ledger_count(ledger, TALLY_NOT_MODIFIED, plan->status == 304);
    ledger_count(ledger, TALLY_EARLY, plan->is_early);
    ledger_count(ledger, TALLY_UNSENT, !source_is_out(&turn->source));
    ledger_count(ledger, TALLY_CUT,
                 (uint64_t)(plan->client_cut != CUT_NOT) + (plan->upstream_cut != CUT_NOT));
    ledger_count(ledger, TALLY_REUSED, session->answers_here > 0);
}

static const char *on_answer_end(void *context)
{
    struct session *session = context;
    struct turn *turn = present(session);
    if (session->is_interim) {
        return NULL;
    }
    if (turn->plan.has_body && session->octets != turn->plan.response.body_bytes) {
        return "the answer has fewer octets than were sent";
    }
    count_exchange(session, turn);
    ledger_answered(session->ledger, turn->plan.number);
    plan_free(&turn->plan);
    turn->is_made = false;
    session->answered++;
    session->answers_here++;
    session->octets = 0;
    session->interims = 0;
    session->was_continued = false;
    if (session->is_ending) {
        reader_stop(&session->reader);
    } else if (session->answered == session->count) {
        wire_close(&session->wire);
    } else {
        go_on(session);
    }
    return NULL;
}

static const struct reader_user reader_user = {on_head, on_octets, on_answer_end};

/* --- the connection --- */

static void on_bytes(void *context, mg_str bytes)
{
    struct session *session = context;
    if (session->ledger->failed) {
        return;
    }
    const char *wrong = reader_feed(&session->reader, bytes);
    if (wrong) {
        fail(session, wrong);
    }
}

static void on_end(void *context, int status)
{
    struct session *session = context;
    const char *wrong = reader_is_inside(&session->reader) && status
                            ? uv_strerror(status)
                            : reader_finish(&session->reader);
    if (!wrong && !session->is_ending) {
        wrong = status ? uv_strerror(status) : "the connection ends without a word";
    }
    if (wrong) {
        fail(session, wrong);
    }
    wire_close(&session->wire);
}

static void end_session(struct session *session)
{
    struct sessions *all = session->all;
    for (uint32_t i = 0; i < session->count; i++) {
        if (session->turns[i].is_made) {
            plan_free(&session->turns[i].plan);
        }
    }
    mg_link_remove(&session->link);
    free(session);
    open_next(all);
}

static void on_closed(void *context)
{
    struct session *session = context;
    reader_deinit(&session->reader);
    ledger_count(session->ledger, TALLY_REPEATED, session->begun - session->answered);
    session->begun = session->sending = session->answered;
    if (session->answered < session->count && !session->ledger->failed) {
        open_connection(session);
    } else {
        end_session(session);
    }
}

static const struct wire_user wire_user = {pull, on_bytes, on_end, on_closed};

static void on_connected(uv_connect_t *connect, int status)
{
    struct session *session = connect->data;
    if (status != 0) {
        fail(session, uv_strerror(status));
        return;
    }
    begin_next(session);
    wire_start(&session->wire, session->dice);
}

static void open_connection(struct session *session)
{
    struct ledger *ledger = session->ledger;
    struct sockaddr_in address;
    reader_init(&session->reader, &reader_user, session);
    wire_init(&session->wire, ledger->loop, AF_INET, &wire_user, session);
    session->dice =
        dice_for(ledger->seed, session->first + session->connections++, DICE_CLIENT_CUTS);
    if (dice_chance(&session->dice, 200)) {
        wire_narrow(&session->wire);
        ledger_count(ledger, TALLY_NARROW, 1);
    }
    session->connect.data = session;
    session->is_ending = session->was_continued = false;
    session->answers_here = 0;
    ledger_count(ledger, TALLY_CLIENT_CONNECTIONS, 1);
    mg_require(uv_ip4_addr("127.0.0.1", ledger->gateway_port, &address) == 0);
    mg_require(uv_tcp_connect(&session->connect, &session->wire.tcp,
                              (const struct sockaddr *)&address, on_connected) == 0);
}

/* --- all of them --- */

static void open_next(struct sessions *all)
{
    struct ledger *ledger = all->ledger;
    const uint32_t end = ledger->first + ledger->count;
    if (all->next == end || ledger->failed) {
        if (mg_list_empty(&all->open)) {
            all->on_done(all->context);
        }
        return;
    }
    struct session *session = calloc(1, sizeof *session);
    mg_require(session != NULL);
    const uint32_t place = all->next % SESSION_EXCHANGES;
    const uint32_t left = end - all->next;
    const uint32_t room = SESSION_EXCHANGES - place;
    struct dice dice = dice_for(ledger->seed, all->next - place, DICE_SESSION);
    session->all = all;
    session->ledger = ledger;
    session->first = all->next;
    session->count = room < left ? room : left;
    session->depth = dice_chance(&dice, 500) ? 1 : dice_between(&dice, 2, 8);
    session->pushes_on = dice_chance(&dice, 300);
    all->next += session->count;
    mg_link_init(&session->link);
    mg_list_append(&all->open, &session->link);
    open_connection(session);
}

struct sessions *sessions_start(struct ledger *ledger, uint32_t at_a_time,
                                void (*on_done)(void *context), void *context)
{
    struct sessions *all = calloc(1, sizeof *all);
    mg_require(all != NULL);
    *all = (struct sessions){
        .ledger = ledger, .next = ledger->first, .on_done = on_done, .context = context};
    mg_link_init(&all->open);
    for (uint32_t i = 0; i < at_a_time; i++) {
        open_next(all);
    }
    return all;
}

void sessions_free(struct sessions *all)
{
    free(all);
}

void sessions_describe(const struct sessions *all)
{
    for (const struct mg_link *at = all->open.next; at != &all->open; at = at->next) {
        const struct session *session = MG_CONTAINER(at, struct session, link);
        fprintf(stderr,
                "session %" PRIu32 ": %" PRIu32 " of %" PRIu32 " answered, %" PRIu32 " begun, %s\n",
                session->first, session->answered, session->count, session->begun,
                reader_is_inside(&session->reader) ? "inside an answer" : "between answers");
    }
}
