/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether an attempt that failed is followed by another, and when: by the conditions of `retry`,
 * its budget, what was sent already, and what the policies say. The wait before it is a deadline of
 * the exchange, which ends with the exchange; meanwhile the client's body is kept.
 */
#include "flow/exchange.h"

#include "base/hash.h"

static uint64_t now_ms(const struct mg_exchange *x)
{
    return mg_loop_now_ms(x->server->parts.loop);
}

struct mg_upstream_record *mg_retry_record(const struct mg_exchange *x)
{
    return x->group ? x->group->record : mg_peers_elsewhere(x->generation->peers);
}

static mg_str last_target(const struct mg_exchange *x)
{
    const uint32_t count = x->req.try_count;
    return x->req.tries[count > MG_TRIES ? MG_TRIES - 1 : count - 1].target;
}

static bool has_method(const struct mg_exchange *x)
{
    return (x->settings->retry.methods >> mg_method_of(x->req.up.method) & 1U) != 0;
}

/* A kept connection on which the upstream had hung up, or had said something, before it could see
 * the request: that counts as no try. */
bool mg_retry_is_stale(const struct mg_exchange *x, int error)
{
    const struct mg_upstream *upstream = &x->upstream;
    return upstream->reused && error != MG_ETIMEOUT &&
           (!upstream->request_sent || mg_method_is_idempotent(mg_method_of(x->req.up.method)));
}

/* Which condition of retry.on that was. */
static enum mg_retry_on condition_of(const struct mg_exchange *x, int error)
{
    if (!x->upstream.connected) {
        return MG_RETRY_CONNECT_FAILURE;
    }
    if (!x->upstream.request_sent) {
        return MG_RETRY_RESET_BEFORE_SEND;
    }
    return error == MG_ETIMEOUT ? MG_RETRY_HEAD_TIMEOUT : MG_RETRY_RESET_BEFORE_HEADERS;
}

/* Can it be sent once more at all? Never when a byte of an answer has come, or the body is gone. */
static bool is_repeatable(const struct mg_exchange *x)
{
    return x->state == MG_EXCHANGE_UPSTREAM && x->client && !x->body_streaming &&
           (!x->req.may_retry || x->req.may_retry(&x->req));
}

/* Spreads the waits; nobody has to be kept from guessing it. */
static uint32_t draw(const struct mg_exchange *x)
{
    return (uint32_t)mg_hash_mix(x->req.request_id, x->try_started_us + x->retries);
}

static void again(struct mg_exchange *x)
{
    mg_stats_add(x->server->parts.stats, MG_STAT_UPSTREAM_RETRIES, 1);
    mg_attempt_start(x);
}

static void on_waited(struct mg_deadline *deadline)
{
    struct mg_exchange *x = MG_CONTAINER(deadline, struct mg_exchange, try_deadline);
    if (x->req.may_retry && !x->req.may_retry(&x->req)) { /* the breaker has opened meanwhile */
        if (x->failed_status != 0) {
            mg_fail(x, x->failed_status);
        } else {
            mg_fail_with(x, 503, MG_OUTCOME_BREAKER_OPEN);
        }
        return;
    }
    again(x);
}

/* At the next turn of the loop at the soonest: the one that failed is still on the stack. */
static void wait_for(struct mg_exchange *x, uint64_t ms)
{
    mg_target_release(x);
    mg_deadline_arm_at(&x->server->parts.loop->deadlines, &x->try_deadline, on_waited,
                       now_ms(x) + ms);
}

/* One of the retries that are left, and a token of the budget. */
static bool spend(struct mg_exchange *x)
{
    if (x->retries_left <= 0 || !mg_retry_take(mg_retry_record(x), now_ms(x))) {
        return false;
    }
    x->retries_left--;
    x->retries++;
    x->retrying = true;
    return true;
}

static void settle(struct mg_exchange *x, enum mg_retry_result result)
{
    if (x->retrying) {
        mg_word_add(&mg_retry_record(x)->retries[result], 1);
        x->retrying = false;
    }
}

bool mg_retry_failed(struct mg_exchange *x, int error)
{
    if (x->req.up_status != 0) {
        return false; /* of the answer's body: it was an answer all the same */
    }
    settle(x, MG_RETRY_FAILED);
    if (x->upstream.response_begun || !is_repeatable(x)) {
        return false;
    }
    if (mg_retry_is_stale(x, error)) {
        mg_attempt_log_failure(x, last_target(x), error, true);
        x->fresh = true;
        x->tried = 0; /* the host itself may be well */
        mg_target_release(x);
        again(x);
        return true;
    }
    const struct mg_retry *retry = &x->settings->retry;
    const enum mg_retry_on condition = condition_of(x, error);
    if (!(retry->on & condition) || (x->upstream.request_sent && !has_method(x)) || !spend(x)) {
        return false;
    }
    mg_attempt_log_failure(x, last_target(x), error, true);
    x->failed_status = error;
    wait_for(x, mg_retry_backoff(retry, x->retries, draw(x)));
    return true;
}

/* Seconds that the upstream asks for, where no other target can be asked meanwhile; ms. */
static uint64_t wished_wait(const struct mg_exchange *x, mg_str retry_after)
{
    uint64_t seconds = 0;
    const bool is_only = !x->group || x->group->count < 2;
    return is_only && mg_str_to_u64(mg_str_trim(retry_after), &seconds) && seconds <= 1
               ? seconds * 1000
               : 0;
}

/* Some say 408 on a connection that they are tired of holding open, and the request met that on its
 * way (RFC 9110, 15.5.9): as stale as one that was closed. */
static bool is_tired(const struct mg_exchange *x, const struct mg_response_head *head)
{
    return head->status == 408 && x->upstream.reused && x->upstream.interims == 0 && x->tail_out &&
           mg_method_is_idempotent(mg_method_of(x->req.up.method)) && is_repeatable(x);
}

bool mg_retry_answered(struct mg_exchange *x, const struct mg_response_head *head)
{
    const struct mg_retry *retry = &x->settings->retry;
    if (is_tired(x, head)) {
        mg_attempt_log_failure(x, last_target(x), MG_ECLOSED, true);
        x->fresh = true;
        x->tried = 0;
        x->failed_status = 0;
        mg_upstream_end(&x->upstream, false, 0, 0);
        wait_for(x, 0);
        return true;
    }
    if (head->status < MG_RETRY_STATUS_FIRST) {
        settle(x, MG_RETRY_OK);
        return false;
    }
    const struct mg_header *field = mg_headers_known(&head->headers, MG_HEADER_RETRY_AFTER);
    const mg_str retry_after = field ? field->value : mg_str_make(NULL, 0);
    const bool unwanted = mg_retry_wants_status(retry, head->status, retry_after);
    settle(x, unwanted ? MG_RETRY_FAILED : MG_RETRY_OK);
    if (!unwanted || x->upstream.interims > 0 || !has_method(x) || !is_repeatable(x) || !spend(x)) {
        return false;
    }
    mg_stats_add(x->server->parts.stats, MG_STAT_UPSTREAM_ANSWERS_DROPPED, 1);
    x->failed_status = 0;
    const uint64_t wait = mg_retry_backoff(retry, x->retries, draw(x));
    const uint64_t wished = wished_wait(x, retry_after);
    mg_upstream_end(&x->upstream, false, 0, 0);
    wait_for(x, wait > wished ? wait : wished);
    return true;
}

static void on_try_over(struct mg_deadline *deadline)
{
    struct mg_exchange *x = MG_CONTAINER(deadline, struct mg_exchange, try_deadline);
    mg_stats_add(x->server->parts.stats, MG_STAT_UPSTREAM_TRY_TIMEOUT, 1);
    mg_upstream_fail(&x->upstream, MG_ETIMEOUT);
}

void mg_retry_time(struct mg_exchange *x)
{
    const uint64_t timeout = x->settings->retry.per_try_timeout;
    if (timeout > 0) {
        mg_deadline_arm(mg_deadlines_class(&x->server->parts.loop->deadlines, timeout),
                        &x->try_deadline, on_try_over, now_ms(x));
    }
}
