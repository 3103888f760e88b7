/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer on its way to the client: response phase (whole body held), header_filter,
 * body_filter, framing, writing. Octets come from the upstream in pieces; what one read delivers is
 * gathered and written at once, together with the head when that is still due.
 *
 *   upstream head -> [HOLD -> response] -> header_filter -> BODY: filter -> put -> flush -> FLUSH
 *   -> end
 */
#include "flow/exchange.h"

#include "script/seen.h"
#include "wire/rules.h"

#include <string.h>

static bool has_phase(const struct mg_exchange *x, enum mg_phase phase)
{
    return (x->phases & MG_PHASE_BIT(phase)) != 0;
}

/* --- writing --- */

static void clear_gathered(struct mg_exchange *x)
{
    x->gathered = 0;
    x->chunk_head_count = 0;
    x->head_gathered = false;
}

void mg_respond_forget(struct mg_exchange *x)
{
    if (x->head_gathered) {
        x->req.head_sent = false;
        x->req.body_bytes_out = 0;
    }
    clear_gathered(x);
}

static void write_gathered(struct mg_exchange *x)
{
    if (x->gathered > 0 && x->client) {
        mg_client_write(x->client, x->gather, x->gathered);
    }
    clear_gathered(x);
}

static void gather(struct mg_exchange *x, mg_str part)
{
    if (part.len == 0) {
        return;
    }
    if (x->gathered == MG_GATHER_PARTS) {
        write_gathered(x);
    }
    x->gather[x->gathered++] = part;
}

/* The length that HEAD and 304 tell of a body that they do not have (RFC 9110, 8.6). */
static struct mg_write_framing length_alone(const struct mg_exchange *x)
{
    const struct mg_req *req = &x->req;
    const struct mg_header *told = mg_headers_known(&req->out, MG_HEADER_CONTENT_LENGTH);
    uint64_t length = req->answer.len;
    const bool local = x->answered_locally && req->head.method_id == MG_METHOD_HEAD;
    const bool known = local || (told && req->status != 204 && mg_str_to_u64(told->value, &length));
    return (struct mg_write_framing){.kind = MG_FRAMING_LENGTH, .length = length, .omit = !known};
}

/* How the body will be delimited for this client (RFC 9112, 6.3). */
static struct mg_write_framing choose_framing(struct mg_exchange *x, size_t ready, bool last)
{
    struct mg_req *req = &x->req;
    const bool filtered = has_phase(x, MG_PHASE_BODY_FILTER) && !x->filter_off;
    if (x->no_body) {
        x->out_framing = MG_FRAMING_NONE;
        return length_alone(x);
    }
    if (last) {
        x->out_framing = MG_FRAMING_LENGTH;
        return (struct mg_write_framing){.kind = MG_FRAMING_LENGTH, .length = ready};
    }
    if (!filtered && !x->answered_locally && x->in_framing == MG_FRAMING_LENGTH) {
        x->out_framing = MG_FRAMING_LENGTH;
        return (struct mg_write_framing){.kind = MG_FRAMING_LENGTH, .length = x->in_length};
    }
    if (req->head.minor == 0) {
        x->out_framing = MG_FRAMING_CLOSE;
        x->close = true;
    } else {
        x->out_framing = MG_FRAMING_CHUNKED;
    }
    return (struct mg_write_framing){.kind = x->out_framing};
}

static bool must_close(const struct mg_exchange *x)
{
    return x->close || x->server->draining || x->body_due;
}

static bool put_head(struct mg_exchange *x, size_t ready, bool last)
{
    struct mg_req *req = &x->req;
    const struct mg_gateway *gateway = &req->config->gateway;
    const struct mg_write_framing framing = choose_framing(x, ready, last);
    x->close = must_close(x);
    const struct mg_write_response head = {
        .status = req->status,
        .headers = &req->out,
        .framing = framing,
        .close = x->close,
        .keep_alive = !x->close && req->head.minor == 0,
        .date = mg_str_make(mg_clock_http_date(&x->server->parts.loop->clock), 29),
        .server = gateway->headers.server,
        .via = mg_str_make(NULL, 0),
    };
    mg_buf_clear(&x->server->head);
    if (mg_write_response_head(&x->server->head, &head) != 0) {
        return false;
    }
    req->head_sent = true;
    gather(x, mg_buf_view(&x->server->head));
    x->head_gathered = true;
    return true;
}

static void put_octets(struct mg_exchange *x, mg_str octets)
{
    if (x->no_body || octets.len == 0) {
        return;
    }
    x->req.body_bytes_out += octets.len;
    mg_seen(&x->req, MG_SEEN_RESPONSE, octets);
    if (x->out_framing != MG_FRAMING_CHUNKED) {
        gather(x, octets);
        return;
    }
    if (x->gathered + 3 > MG_GATHER_PARTS || x->chunk_head_count == 2) {
        write_gathered(x);
    }
    char *line = x->chunk_heads[x->chunk_head_count++];
    gather(x, mg_str_make(line, mg_write_chunk_head(line, octets.len)));
    gather(x, octets);
    gather(x, MG_CHUNK_END);
}

/* Octets that the filters let through; the head goes first. */
static void put(struct mg_exchange *x, mg_str octets, bool last)
{
    if (!x->req.head_sent) {
        const bool holding = !last && x->req.want_whole_body && !x->no_body;
        if (holding || x->hold.len > 0) {
            if (mg_buf_append(&x->hold, octets) != 0) {
                mg_fail(x, MG_ERESPONSE_TOO_LARGE);
                return;
            }
            if (holding) {
                return;
            }
            octets = mg_buf_view(&x->hold);
        }
        if (!put_head(x, octets.len, last)) {
            mg_fail(x, MG_ENO_MEMORY);
            return;
        }
    }
    put_octets(x, octets);
    if (last) {
        if (x->out_framing == MG_FRAMING_CHUNKED) {
            gather(x, MG_CHUNK_LAST);
        }
        x->state = MG_EXCHANGE_FLUSH;
    }
}

/* --- body_filter --- */

/* The round is over; its result stands in req->chunk. */
static void filtered(struct mg_exchange *x, int verdict)
{
    struct mg_req *req = &x->req;
    x->filtering = false;
    if (!x->client) {
        mg_finish(x);
        return;
    }
    if (req->chunk_over) {
        mg_stats_add(x->server->parts.stats, MG_STAT_RESPONSE_BUFFER, 1);
        mg_fail(x, MG_ERESPONSE_TOO_LARGE);
        return;
    }
    if (verdict == MG_VERDICT_FAILED) {
        mg_fail_with(x, req->status >= 500 ? req->status : 500, req->outcome);
        return;
    }
    if (x->filter_off) { /* the length is out already: what they promised not to change */
        put(x, x->round, x->round_last);
        return;
    }
    put(x, req->chunk, req->chunk_last);
}

static void filter(struct mg_exchange *x, mg_str octets, bool last)
{
    struct mg_req *req = &x->req;
    if (!has_phase(x, MG_PHASE_BODY_FILTER)) {
        put(x, octets, last);
        return;
    }
    req->chunk = x->round = octets;
    req->chunk_last = x->round_last = last;
    mg_buf_clear(&req->filter_out);
    x->filtered_part = true;
    x->filtering = true;
    x->waiting = true;
    const enum mg_verdict verdict = mg_hook_run(req, MG_PHASE_BODY_FILTER);
    if (verdict == MG_VERDICT_WAITING) {
        /* borrowed bytes must outlive the wait */
        mg_buf_clear(&x->waited);
        if (mg_buf_append(&x->waited, octets) != 0) {
            mg_fail(x, MG_ENO_MEMORY);
        }
        x->round = mg_buf_view(&x->waited);
        if (req->chunk.ptr == octets.ptr) {
            req->chunk = x->round;
        }
        mg_upstream_pause(&x->upstream);
        return;
    }
    x->waiting = false;
    filtered(x, (int)verdict);
    write_gathered(x); /* before the next round takes filter_out */
}

/* --- header_filter and what follows --- */

static void begin_body(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    x->state = MG_EXCHANGE_BODY;
    if (x->answered_locally) {
        filter(x, x->no_body ? mg_str_make(NULL, 0) : req->answer, true);
        return;
    }
    if (req->held) {
        filter(x, x->no_body ? mg_str_make(NULL, 0) : req->held_body, true);
        return;
    }
    if (x->in_done) {
        filter(x, mg_str_make(NULL, 0), true);
    }
}

static void set_no_body(struct mg_exchange *x)
{
    const uint16_t status = x->req.status;
    x->no_body = x->req.head.method_id == MG_METHOD_HEAD || status == 204 || status == 304;
}

static void after_header_filter(struct mg_exchange *x, int verdict)
{
    if (!x->client) {
        mg_finish(x);
        return;
    }
    if ((verdict == MG_VERDICT_EXIT || verdict == MG_VERDICT_FAILED) && !x->answered_locally) {
        x->answered_locally = true; /* the upstream's body is dropped */
        mg_attempt_end(x);
    }
    if (x->switching && !x->answered_locally) {
        mg_tunnel_open(x);
        return;
    }
    if (verdict == MG_VERDICT_FAILED && x->answered_locally) {
        x->phases &= ~MG_PHASE_BIT(MG_PHASE_BODY_FILTER);
    }
    set_no_body(x);
    begin_body(x);
}

static void run_header_filter(struct mg_exchange *x)
{
    x->state = MG_EXCHANGE_HEAD;
    if (!has_phase(x, MG_PHASE_HEADER_FILTER)) {
        after_header_filter(x, MG_VERDICT_CONTINUE);
        return;
    }
    x->waiting = true;
    const enum mg_verdict verdict = mg_hook_run(&x->req, MG_PHASE_HEADER_FILTER);
    if (verdict == MG_VERDICT_WAITING) {
        mg_upstream_pause(&x->upstream);
        return;
    }
    x->waiting = false;
    after_header_filter(x, (int)verdict);
}

static void after_response(struct mg_exchange *x, int verdict)
{
    if (!x->client) {
        mg_finish(x);
        return;
    }
    if (verdict == MG_VERDICT_EXIT || verdict == MG_VERDICT_FAILED) {
        x->answered_locally = true;
        x->req.held = false;
    }
    run_header_filter(x);
}

/* The whole answer is held. */
static void run_response(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    req->held = true;
    req->held_body = mg_arena_copy_str(&req->arena, mg_buf_view(&x->hold));
    mg_buf_clear(&x->hold);
    x->state = MG_EXCHANGE_HEAD;
    if (!has_phase(x, MG_PHASE_RESPONSE)) {
        run_header_filter(x);
        return;
    }
    x->waiting = true;
    const enum mg_verdict verdict = mg_hook_run(req, MG_PHASE_RESPONSE);
    if (verdict != MG_VERDICT_WAITING) {
        x->waiting = false;
        after_response(x, (int)verdict);
    }
}

/* So much may wait for the client before the upstream is not read any more. Without
 * response_buffering nothing may: what one read has left over is taken first. */
static size_t high_water(const struct mg_exchange *x)
{
    return x->req.route && !x->req.route->response_buffering ? 1 : MG_HIGH_WATER;
}

void mg_respond_hook_done(struct mg_exchange *x, enum mg_phase phase, int verdict)
{
    if (phase == MG_PHASE_RESPONSE) {
        after_response(x, verdict);
    } else if (phase == MG_PHASE_HEADER_FILTER) {
        after_header_filter(x, verdict);
    } else {
        filtered(x, verdict);
    }
    mg_respond_flush(x);
    if (!x->waiting && x->client && x->state == MG_EXCHANGE_BODY &&
        mg_client_queued(x->client) < high_water(x)) { /* else when the queue is out */
        mg_upstream_resume(&x->upstream);
    }
}

/* --- from the upstream --- */

static void set_own_fields(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    const struct mg_gateway *gateway = &req->config->gateway;
    if (gateway->headers.request_id.len && req->request_id.len) {
        mg_headers_set_known(&req->out, gateway->headers.request_id_kind,
                             gateway->headers.request_id, req->request_id);
    }
    if (req->ops_first) {
        mg_req_replay_fields(req);
    }
}

static void set_via(struct mg_exchange *x, uint8_t minor)
{
    struct mg_req *req = &x->req;
    const mg_str pseudonym = req->config->gateway.headers.via;
    if (pseudonym.len == 0) {
        return;
    }
    const mg_str value = minor ? req->config->gateway.headers.via_1_1
                               : mg_arena_format(&req->arena, "1.0 %.*s", MG_STR_ARG(pseudonym));
    mg_headers_add_known(&req->out, MG_HEADER_VIA, MG_STR("Via"), value);
}

void mg_respond_upstream_head(struct mg_exchange *x, struct mg_response_head *head)
{
    struct mg_req *req = &x->req;
    req->status = head->status;
    req->up_status = head->status;
    req->source = MG_SOURCE_SERVICE;
    req->out = head->headers;
    mg_rules_clean_response(&req->out);
    x->in_framing = head->framing;
    x->in_length = head->content_length;
    if (x->phases != 0) {
        mg_headers_init(&req->up_headers, &req->arena);
        mg_headers_copy(&req->up_headers, &req->out);
    }
    set_via(x, head->minor);
    set_own_fields(x);
    set_no_body(x);
    x->filter_off = req->route ? req->route->body_read_only : false;
    if (!x->switching && (has_phase(x, MG_PHASE_RESPONSE) || req->up.buffer_response)) {
        x->state = MG_EXCHANGE_HOLD;
        return;
    }
    run_header_filter(x);
}

static void hold_octets(struct mg_exchange *x, mg_str octets, bool last)
{
    const struct mg_limits *limits =
        x->req.route ? x->req.route->limits : &x->req.config->gateway.limits;
    const bool over =
        limits->response_buffer > 0 && x->hold.len + octets.len > limits->response_buffer;
    if (over || mg_buf_append(&x->hold, octets) != 0) {
        mg_stats_add(x->server->parts.stats, MG_STAT_RESPONSE_BUFFER, 1);
        mg_fail(x, MG_ERESPONSE_TOO_LARGE);
        return;
    }
    if (last) {
        run_response(x);
    }
}

void mg_respond_upstream_body(struct mg_exchange *x, mg_str octets, bool last)
{
    x->in_done = last;
    if (x->state == MG_EXCHANGE_HOLD) {
        hold_octets(x, octets, last);
    } else if (x->state == MG_EXCHANGE_BODY && !x->filtering) {
        filter(x, octets, last);
    }
    /* HEAD: header_filter waits and the upstream is paused; begin_body sees in_done */
}

void mg_respond_spliced(struct mg_exchange *x, size_t octets)
{
    x->req.body_bytes_out += octets;
    if (x->client) {
        mg_client_spliced(x->client, octets);
    }
}

/* Nobody looks at the octets that are to come, and each goes out as it comes in. */
static bool pass_unseen(const struct mg_exchange *x)
{
    return x->req.head_sent && x->out_framing == MG_FRAMING_LENGTH && !x->no_body &&
           !has_phase(x, MG_PHASE_BODY_FILTER) && high_water(x) == MG_HIGH_WATER &&
           !mg_seen_wants(&x->req, MG_SEEN_RESPONSE);
}

/* --- answers made here --- */

void mg_respond_local(struct mg_exchange *x)
{
    if (!x->client) {
        mg_finish(x);
        return;
    }
    x->answered_locally = true;
    set_own_fields(x);
    set_no_body(x);
    run_header_filter(x);
    mg_respond_flush(x);
}

/* --- the end of a batch, of a queue, of the answer --- */

static void finish_if_out(struct mg_exchange *x)
{
    if (x->state == MG_EXCHANGE_FLUSH && x->client && mg_client_queued(x->client) == 0) {
        mg_finish(x);
    }
}

void mg_respond_flush(struct mg_exchange *x)
{
    const bool streams = x->state == MG_EXCHANGE_BODY && !x->req.head_sent && !x->filtering &&
                         !x->answered_locally && !has_phase(x, MG_PHASE_BODY_FILTER);
    if (streams) {
        put(x, mg_str_make(NULL, 0), false); /* the head alone: its body may take its time */
    }
    write_gathered(x);
    if (x->state == MG_EXCHANGE_BODY && x->client && !x->answered_locally) {
        if (x->upstream.remaining >= MG_SPLICE_LEAST && pass_unseen(x)) {
            mg_upstream_splice(&x->upstream, x->client->io);
        }
        const size_t queued = mg_client_queued(x->client);
        const bool full = queued >= (mg_io_is_splicing(x->client->io) ? 1 : high_water(x));
        if (full) {
            mg_upstream_pause(&x->upstream);
        }
        mg_upstream_read_at_most(&x->upstream, full ? MG_HIGH_WATER : MG_HIGH_WATER - queued);
    }
    finish_if_out(x);
}

void mg_respond_drained(struct mg_exchange *x)
{
    if (x->state == MG_EXCHANGE_BODY && !x->waiting) {
        mg_upstream_resume(&x->upstream);
        return;
    }
    finish_if_out(x);
}
