/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upgraded connections (RFC 9110, 7.8): opened by a 101 that was asked for and is correct, then raw
 * bytes both ways with back-pressure, until both sides have ended, one breaks, or nothing moves for
 * limits.tunnel_timeout.
 *
 * A side that ends (half-closes) has the other told so behind its last byte, and that one may go
 * on: what the peers see is what they would see without a gateway. It is waited for no longer than
 * for an answer (upstream_read_timeout), though: few protocols have more to say then.
 */
#include "flow/exchange.h"

#include "wire/rules.h"

/* The only field with the id, or NULL. */
static const struct mg_header *single(const struct mg_headers *headers, enum mg_header_id id)
{
    return mg_headers_count(headers, id) == 1 ? mg_headers_known(headers, id) : NULL;
}

static bool is_right_answer(struct mg_exchange *x, const struct mg_response_head *head)
{
    struct mg_req *req = &x->req;
    const struct mg_header *upgrade = single(&head->headers, MG_HEADER_UPGRADE);
    const struct mg_header *key = single(&req->head.headers, MG_HEADER_SEC_WEBSOCKET_KEY);
    const struct mg_header *accept = single(&head->headers, MG_HEADER_SEC_WEBSOCKET_ACCEPT);
    if (head->minor == 0 || !upgrade || !mg_str_iequal(upgrade->value, x->upgrade) || !key ||
        !accept) {
        return false;
    }
    return mg_str_equal(accept->value, mg_rules_websocket_accept(&req->arena, key->value));
}

static void on_silence(struct mg_deadline *deadline)
{
    struct mg_exchange *x = MG_CONTAINER(deadline, struct mg_exchange, deadline);
    mg_stats_add(x->server->parts.stats, MG_STAT_TUNNEL_TIMEOUT, 1);
    mg_tunnel_end(x, MG_OUTCOME_UPGRADED);
}

static uint64_t silence_ms(const struct mg_exchange *x)
{
    const uint64_t open = x->req.route->limits->tunnel_timeout;
    const uint64_t half = x->req.up.read_timeout;
    const bool is_half = x->client_ended || x->upstream_ended;
    return is_half && half > 0 && half < open ? half : open;
}

static void something_moved(struct mg_exchange *x)
{
    struct mg_deadlines *all = &x->server->parts.loop->deadlines;
    mg_deadline_cancel(&x->deadline);
    mg_deadline_arm(mg_deadlines_class(all, silence_ms(x)), &x->deadline, on_silence,
                    mg_loop_now_ms(x->server->parts.loop));
}

static void send_switch(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    const struct mg_write_response answer = {
        .status = 101, .headers = &req->out, .framing = {.omit = true}, .upgrade = x->upgrade};
    mg_buf_clear(&x->server->head);
    if (mg_write_response_head(&x->server->head, &answer) == 0) {
        const mg_str part = mg_buf_view(&x->server->head);
        mg_client_write(x->client, &part, 1);
    }
    req->head_sent = true;
}

void mg_tunnel_begin(struct mg_exchange *x, struct mg_response_head *head)
{
    if (!is_right_answer(x, head)) {
        mg_fail(x, MG_EBAD_RESPONSE);
        return;
    }
    x->switching = true;
    mg_respond_upstream_head(x, head); /* header_filter sees the 101, then mg_tunnel_open */
}

void mg_tunnel_open(struct mg_exchange *x)
{
    x->state = MG_EXCHANGE_TUNNEL;
    x->close = true;
    x->req.outcome = MG_OUTCOME_UPGRADED;
    mg_stats_add(x->server->parts.stats, MG_STAT_TUNNELS, 1);
    send_switch(x);
    mg_upstream_tunnel(&x->upstream);
    mg_upstream_resume(&x->upstream); /* when a filter had to wait */
    if (x->state != MG_EXCHANGE_TUNNEL) {
        return; /* it had ended meanwhile */
    }
    something_moved(x);
    mg_client_tunnel(x->client); /* early bytes of the client go out now */
}

void mg_tunnel_from_client(struct mg_exchange *x, mg_str bytes)
{
    if (x->state != MG_EXCHANGE_TUNNEL) {
        return;
    }
    x->req.bytes_in += bytes.len;
    something_moved(x);
    const int err = mg_upstream_write(&x->upstream, &bytes, 1);
    if (err && x->upstream_ended) {
        mg_tunnel_end(x, MG_OUTCOME_UPGRADED);
    } else if (err || mg_upstream_queued(&x->upstream) >= MG_HIGH_WATER) {
        mg_client_pause(x->client); /* an upstream that is gone: its last words, then its end */
    }
}

void mg_tunnel_from_upstream(struct mg_exchange *x, mg_str bytes)
{
    if (x->state != MG_EXCHANGE_TUNNEL || !x->client) {
        return;
    }
    x->req.body_bytes_out += bytes.len;
    something_moved(x);
    mg_client_write(x->client, &bytes, 1);
    if (mg_client_queued(x->client) >= MG_HIGH_WATER) {
        mg_upstream_pause(&x->upstream);
    }
}

static void end_if_over(struct mg_exchange *x)
{
    if (x->client_ended && x->upstream_ended && mg_client_queued(x->client) == 0 &&
        mg_upstream_queued(&x->upstream) == 0) {
        mg_tunnel_end(x, MG_OUTCOME_UPGRADED);
    }
}

void mg_tunnel_client_ended(struct mg_exchange *x)
{
    if (x->state == MG_EXCHANGE_TUNNEL) {
        x->client_ended = true;
        something_moved(x);
        mg_upstream_shutdown(&x->upstream);
        end_if_over(x);
    }
}

void mg_tunnel_upstream_ended(struct mg_exchange *x)
{
    if (x->state == MG_EXCHANGE_TUNNEL && x->client) {
        x->upstream_ended = true;
        something_moved(x);
        mg_client_shutdown(x->client);
        end_if_over(x);
    }
}

void mg_tunnel_client_drained(struct mg_exchange *x)
{
    something_moved(x);
    mg_upstream_resume(&x->upstream);
    if (x->state == MG_EXCHANGE_TUNNEL) {
        end_if_over(x);
    }
}

void mg_tunnel_upstream_drained(struct mg_exchange *x)
{
    something_moved(x);
    mg_client_resume(x->client);
    end_if_over(x);
}

void mg_tunnel_end(struct mg_exchange *x, enum mg_outcome outcome)
{
    if (x->state != MG_EXCHANGE_TUNNEL) {
        return;
    }
    mg_stats_drop(x->server->parts.stats, MG_STAT_TUNNELS, 1);
    x->req.outcome = outcome;
    x->close = true;
    mg_finish(x);
}
