/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a request: the upstream's connection is given back, the log phase runs, the client's
 * connection goes on to its next request or is closed, the exchange returns to the pool at the end
 * of the loop turn.
 */
#include "flow/exchange.h"

#include "base/list.h"
#include "model/meter.h"

void mg_finish_logged(struct mg_exchange *x)
{
    struct mg_server *server = x->server;
    if (x->req.lua_used) {
        mg_hook_end(&x->req);
    }
    server->exchanges_active--;
    mg_link_remove(&x->link);
    mg_list_append(&server->ended_exchanges, &x->link);
    mg_server_check_drained(server);
}

/* What the connection took for this request, heads included. */
static void count_bytes_out(struct mg_exchange *x)
{
    if (x->client) {
        x->req.bytes_out = x->client->bytes_out - x->bytes_before;
    }
}

static void settle(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    struct mg_stats *stats = x->server->parts.stats;
    mg_deadline_cancel(&x->deadline);
    mg_deadline_cancel(&x->probe_deadline);
    mg_attempt_end(x);
    count_bytes_out(x);
    const struct mg_clock *clock = &x->server->parts.loop->clock;
    /* The time of the turn will do, unless plugins have spent some of the turn. */
    req->ended_us = req->plugins_us > 0 ? mg_clock_precise_us(clock) : clock->now_us;
    mg_stats_outcome(stats, req->outcome, req->status);
    mg_stats_add(stats, MG_STAT_BYTES_IN, req->bytes_in);
    mg_stats_add(stats, MG_STAT_BYTES_OUT, req->bytes_out);
    mg_stats_drop(stats, MG_STAT_REQUESTS_ACTIVE, 1);
    if (x->server->parts.meter) {
        mg_meter_count(x->server->parts.meter, req);
    }
    if (x->server->on_finished) {
        x->server->on_finished(x->server->finished_context, req);
    }
}

void mg_finish(struct mg_exchange *x)
{
    struct mg_client *client = x->client;
    if (x->state == MG_EXCHANGE_LOG) {
        return;
    }
    settle(x);
    x->state = MG_EXCHANGE_LOG;
    x->client = NULL;
    const bool closes = x->close || x->body_due;
    if (client) {
        client->exchange = NULL;
    }
    enum mg_verdict verdict = MG_VERDICT_CONTINUE;
    if (x->phases & MG_PHASE_BIT(MG_PHASE_LOG)) {
        verdict = mg_hook_run(&x->req, MG_PHASE_LOG);
    }
    if (verdict != MG_VERDICT_WAITING) {
        mg_finish_logged(x);
    }
    if (!client) {
        return;
    }
    if (closes) {
        mg_client_close(client);
    } else {
        mg_client_next(client);
    }
}

void mg_finish_now(struct mg_exchange *x)
{
    if (x->waiting) {
        mg_hook_abandon(&x->req);
        x->waiting = x->filtering = false;
    }
    if (x->client) {
        mg_client_cut(x->client); /* comes back by mg_finish_client_gone */
    } else {
        mg_finish(x);
    }
    if (mg_hook_waiting(&x->req)) { /* in its log phase: the other plugins' lines are still due */
        while (mg_hook_skip(&x->req) == MG_VERDICT_WAITING) {
        }
        mg_finish_logged(x);
    }
}

static enum mg_outcome gone_outcome(const struct mg_exchange *x, int status)
{
    if (status == MG_ETIMEOUT) {
        return MG_OUTCOME_CLIENT_STALLED;
    }
    if (status == MG_ECANCELLED) {
        return MG_OUTCOME_DRAINING;
    }
    return x->body_due ? MG_OUTCOME_CLIENT_ABORT_REQUEST : MG_OUTCOME_CLIENT_ABORT;
}

void mg_finish_client_gone(struct mg_exchange *x, int status)
{
    struct mg_req *req = &x->req;
    count_bytes_out(x);
    x->client = NULL;
    mg_respond_forget(x);
    req->client_gone = true;
    if (x->state == MG_EXCHANGE_LOG) {
        return;
    }
    if (x->state == MG_EXCHANGE_TUNNEL) {
        mg_tunnel_end(x, MG_OUTCOME_UPGRADED);
        return;
    }
    if (req->outcome == MG_OUTCOME_OK || !req->head_sent) {
        req->outcome = gone_outcome(x, status);
    }
    if (req->status == 0 || !req->head_sent) {
        req->status = status == MG_ECANCELLED ? 503 : 499;
    }
    if (x->waiting) {
        mg_attempt_end(x); /* the handler that runs may finish; hook_done ends the request */
        mg_exchange_body_lost(x, MG_ECLOSED);
        return;
    }
    mg_finish(x);
}
