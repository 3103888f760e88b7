/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which upstream host a request goes to: a plugin's set_target, else balancing over the service's
 * group. Where that has as many requests as it may, they wait in a queue of the group, first in
 * first out; and what becomes of each goes into the health of its target.
 */
#include "flow/exchange.h"

#include "base/hash.h"

static uint64_t hash_bytes(mg_str bytes)
{
    return bytes.len ? mg_hash_mix(bytes, 0) : 0;
}

/* Value of NAME in "a=1; NAME=value". */
static mg_str cookie_value(const struct mg_req *req, mg_str name)
{
    const struct mg_header *cookie = mg_headers_known(&req->head.headers, MG_HEADER_COOKIE);
    mg_str rest = cookie ? cookie->value : mg_str_make(NULL, 0);
    while (rest.len > 0) {
        const ptrdiff_t end = mg_str_find(rest, ';', 0);
        const size_t length = end < 0 ? rest.len : (size_t)end;
        const mg_str pair = mg_str_trim(mg_str_slice(rest, 0, length));
        if (mg_str_starts(pair, name) && pair.len > name.len && pair.ptr[name.len] == '=') {
            return mg_str_slice(pair, name.len + 1, pair.len);
        }
        rest = mg_str_slice(rest, length + 1, rest.len);
    }
    return mg_str_make(NULL, 0);
}

static mg_str argument_value(const struct mg_req *req, mg_str name)
{
    mg_str rest = req->uri.query;
    while (rest.len > 0) {
        const ptrdiff_t end = mg_str_find(rest, '&', 0);
        const size_t length = end < 0 ? rest.len : (size_t)end;
        const mg_str pair = mg_str_slice(rest, 0, length);
        if (mg_str_starts(pair, name) && pair.len > name.len && pair.ptr[name.len] == '=') {
            return mg_str_slice(pair, name.len + 1, pair.len);
        }
        rest = mg_str_slice(rest, length + 1, rest.len);
    }
    return mg_str_make(NULL, 0);
}

static mg_str capture_value(const struct mg_req *req, mg_str name)
{
    for (int i = 1; i < req->match.captures.count; i++) {
        if (mg_str_equal(mg_regex_group_name(req->match.regex, i), name)) {
            return req->match.captures.at[i];
        }
    }
    return mg_str_make(NULL, 0);
}

static mg_str hash_input(const struct mg_req *req, enum mg_hash_on on, mg_str name)
{
    const struct mg_header *field;
    switch (on) {
    case MG_HASH_CONSUMER:
        return req->up.hash_value;
    case MG_HASH_IP:
        return req->client_ip;
    case MG_HASH_HEADER:
        field = mg_headers_find(&req->head.headers, name, 0);
        return field ? field->value : mg_str_make(NULL, 0);
    case MG_HASH_COOKIE:
        return cookie_value(req, name);
    case MG_HASH_PATH:
        return req->uri.path;
    case MG_HASH_QUERY_ARG:
        return argument_value(req, name);
    case MG_HASH_URI_CAPTURE:
        return capture_value(req, name);
    default:
        return mg_str_make(NULL, 0);
    }
}

/* A value of our own for a client without that cookie, which gets it with the answer. */
static mg_str give_cookie(struct mg_exchange *x, const struct mg_upstream_config *upstream,
                          mg_str name)
{
    struct mg_req *req = &x->req;
    const mg_str value = mg_head_request_id(x);
    const mg_str path = upstream->hash_cookie_path.len ? upstream->hash_cookie_path : MG_STR("/");
    mg_req_field(req, MG_FIELD_ADD, MG_STR("Set-Cookie"),
                 mg_arena_format(&req->arena, "%.*s=%.*s; Path=%.*s; HttpOnly", MG_STR_ARG(name),
                                 MG_STR_ARG(value), MG_STR_ARG(path)));
    return value;
}

/* Once a request, however often it is tried. */
static uint64_t hash_request(struct mg_exchange *x, const struct mg_upstream_config *upstream)
{
    const struct mg_req *req = &x->req;
    if (x->is_hashed || !upstream || upstream->algorithm != MG_BALANCE_CONSISTENT_HASH) {
        return x->hash;
    }
    x->is_hashed = true;
    mg_str input = hash_input(req, upstream->hash_on, upstream->hash_name);
    if (input.len == 0 && upstream->hash_on != MG_HASH_COOKIE) {
        input = hash_input(req, upstream->hash_fallback, upstream->hash_fallback_name);
    }
    if (input.len == 0 && upstream->hash_on == MG_HASH_COOKIE) {
        input = give_cookie(x, upstream, upstream->hash_name);
    } else if (input.len == 0 && upstream->hash_fallback == MG_HASH_COOKIE) {
        input = give_cookie(x, upstream, upstream->hash_fallback_name);
    }
    return hash_bytes(input.len ? input : req->request_id); /* nothing to hash: spread evenly */
}

/* Fixed by a plugin: no balancing. */
static int pick_fixed(struct mg_exchange *x, struct mg_origin **origin)
{
    struct mg_req *req = &x->req;
    x->fixed = mg_pool_origin(x->server->parts.pool, req->up.target_host, req->up.target_port);
    *origin = x->fixed;
    x->settings = &req->config->gateway.upstream_defaults;
    return 0;
}

static struct mg_peer_group *find_group(struct mg_exchange *x)
{
    const struct mg_req *req = &x->req;
    struct mg_peers *peers = x->generation->peers;
    if (req->up.upstream.len) {
        return mg_peers_find(peers, req->up.upstream);
    }
    return mg_peers_group(peers, req->service->group);
}

/* --- the queue
 * ---------------------------------------------------------------------------------- */

static void count_full(const struct mg_exchange *x, struct mg_peer_group *group,
                       enum mg_full_limit limit)
{
    static const enum mg_stat stats[MG_FULL_LIMITS] = {
        MG_STAT_UPSTREAM_MAX_CONNECTIONS, MG_STAT_UPSTREAM_MAX_PENDING,
        MG_STAT_UPSTREAM_MAX_REQUESTS, MG_STAT_UPSTREAM_WAITED};
    mg_stats_add(x->server->parts.stats, stats[limit], 1);
    mg_word_add(&group->record->full[limit], 1);
}

static uint64_t now_ms(const struct mg_exchange *x)
{
    return mg_loop_now_ms(x->server->parts.loop);
}

static void on_turn(struct mg_deadline *deadline)
{
    mg_attempt_start(MG_CONTAINER(deadline, struct mg_exchange, try_deadline));
}

static void leave_queue(struct mg_exchange *x)
{
    x->wait = MG_WAIT_NOT;
    mg_link_remove(&x->queue_link);
    mg_deadline_cancel(&x->try_deadline);
    x->queue_group->pending--;
    mg_stats_drop(x->server->parts.stats, MG_STAT_UPSTREAM_PENDING, 1);
    x->req.queue_us += x->server->parts.loop->clock.now_us - x->queued_us;
}

/* A place is free: the first one in the queue has it from now on, and is sent in the next turn. */
static void wake_next(struct mg_peer_group *group)
{
    struct mg_exchange *x = MG_CONTAINER(group->queue.next, struct mg_exchange, queue_link);
    leave_queue(x);
    group->woken++;
    x->wait = MG_WAIT_WOKEN;
    mg_deadline_arm_at(&x->server->parts.loop->deadlines, &x->try_deadline, on_turn, now_ms(x));
}

static void on_waited(struct mg_deadline *deadline)
{
    struct mg_exchange *x = MG_CONTAINER(deadline, struct mg_exchange, try_deadline);
    count_full(x, x->queue_group, MG_FULL_WAITED);
    leave_queue(x);
    mg_fail(x, MG_EFULL);
}

/* Waits for a place as long as it would for a connection; first: it had been woken already. */
static void enter_queue(struct mg_exchange *x, struct mg_peer_group *group, bool first)
{
    if (first) {
        mg_list_push(&group->queue, &x->queue_link);
    } else {
        mg_list_append(&group->queue, &x->queue_link);
    }
    x->wait = MG_WAIT_QUEUED;
    x->queue_group = group;
    x->queued_us = x->server->parts.loop->clock.now_us;
    group->pending++;
    mg_stats_add(x->server->parts.stats, MG_STAT_UPSTREAM_PENDING, 1);
    mg_deadline_arm(
        mg_deadlines_class(&x->server->parts.loop->deadlines, x->req.up.connect_timeout),
        &x->try_deadline, on_waited, now_ms(x));
}

/* 0: there is a place; MG_EAGAIN: it waits for one; MG_EFULL. */
static int find_place(struct mg_exchange *x, struct mg_peer_group *group, bool is_full, bool woken)
{
    const struct mg_upstream_limits *limits = &x->settings->limits;
    const uint32_t taken = group->inflight + group->woken;
    if (!is_full && taken < limits->connections && taken + group->pending < limits->requests &&
        (woken || group->pending == 0)) {
        return 0;
    }
    if (taken + group->pending >= limits->requests) {
        count_full(x, group, MG_FULL_REQUESTS);
        return MG_EFULL;
    }
    if (group->pending >= limits->pending && !woken) {
        count_full(x, group, limits->pending == 0 ? MG_FULL_CONNECTIONS : MG_FULL_PENDING);
        return MG_EFULL;
    }
    enter_queue(x, group, woken);
    return MG_EAGAIN;
}

/* --- the target
 * --------------------------------------------------------------------------------- */

static void take_peer(struct mg_exchange *x, struct mg_peer_group *group, struct mg_peer *peer,
                      const struct mg_pick *pick)
{
    x->tried |= UINT64_C(1) << (peer->index % 64);
    if (!peer->origin) {
        peer->origin =
            mg_pool_origin(x->server->parts.pool, peer->target->host, peer->target->port);
    }
    x->group = group;
    x->peer = peer;
    x->health_epoch = pick->epoch;
    x->is_probe = pick->probe;
    x->result_due = !group->is_plain;
    mg_peer_begin(group, peer);
}

static int pick_peer(struct mg_exchange *x, struct mg_peer_group *group, bool woken,
                     struct mg_origin **origin)
{
    const int err = find_place(x, group, false, woken);
    if (err) {
        return err;
    }
    x->hash = hash_request(x, group->upstream);
    struct mg_pick pick = {.hash = x->hash, .tried = x->tried, .now_ms = now_ms(x)};
    struct mg_peer *peer = mg_balance_pick(group, &pick);
    if (!peer) {
        return pick.is_full ? find_place(x, group, true, woken) : MG_ENO_TARGET;
    }
    take_peer(x, group, peer, &pick);
    *origin = peer->origin;
    return 0;
}

int mg_target_pick(struct mg_exchange *x, struct mg_origin **origin)
{
    if (x->req.up.target_host.len) {
        return pick_fixed(x, origin);
    }
    struct mg_peer_group *group = find_group(x);
    if (!group) {
        return MG_ENO_TARGET;
    }
    x->settings = group->settings;
    if (x->wait != MG_WAIT_WOKEN) {
        return pick_peer(x, group, false, origin);
    }
    x->wait = MG_WAIT_NOT;
    group->woken--;
    const int err = pick_peer(x, group, true, origin);
    if (err && err != MG_EAGAIN && group->pending > 0) { /* the place is for the next one */
        wake_next(group);
    }
    return err;
}

/* --- what became of it
 * -------------------------------------------------------------------------- */

void mg_target_result(struct mg_exchange *x, enum mg_try_result what, uint16_t status)
{
    if (!x->peer || !x->group->is_watched || (!x->result_due && what != MG_TRIED_BODY)) {
        return;
    }
    struct mg_health_change change;
    const struct mg_health_result result = {
        .what = what,
        .status = status,
        .epoch = x->health_epoch,
        .probe = x->is_probe,
        .now_ms = now_ms(x),
        .random = (uint32_t)mg_hash_mix(x->req.request_id, x->try_started_us)};
    x->result_due = false;
    mg_health_result(x->group, x->peer, &result, &change);
    if (change.happened) {
        mg_health_log(x->server->parts.log, x->group, x->peer, &change);
        mg_stats_add(x->server->parts.stats, MG_STAT_UPSTREAM_EJECTIONS,
                     change.to == MG_HEALTH_EJECTED || change.to == MG_HEALTH_DOWN);
    }
}

static void end_peer(struct mg_exchange *x)
{
    struct mg_peer_group *group = x->group;
    if (x->result_due) {
        mg_target_result(x, MG_TRIED_NOTHING, 0);
    }
    mg_peer_end(group, x->peer);
    x->peer = NULL;
    x->group = NULL;
    if (group->pending > 0) {
        wake_next(group);
    }
}

void mg_target_release(struct mg_exchange *x)
{
    if (x->peer) {
        end_peer(x);
    }
    if (x->fixed) {
        mg_origin_release(x->fixed);
        x->fixed = NULL;
    }
    if (x->wait == MG_WAIT_QUEUED) {
        leave_queue(x);
    } else if (x->wait == MG_WAIT_WOKEN) { /* the place is for the next one */
        x->wait = MG_WAIT_NOT;
        x->queue_group->woken--;
        if (x->queue_group->pending > 0) {
            wake_next(x->queue_group);
        }
    }
}
