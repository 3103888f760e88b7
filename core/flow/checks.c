/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at the clock every 100 ms and starts the checks that are due, so many of an upstream at a
 * time as it allows. */
#include "flow/checks.h"

#include "model/health.h"
#include "net/http_call.h"

#include <stdlib.h>

#define TICK_MS 100
#define LEASE_MS 2000 /* a dead worker's checks go on that much later */
#define LEASE_LOOK_MS 500
/* Of a target's answer. The head tells all; a short body is read so that the connection ends in
 * good order. */
#define BODY_BYTES (16UL * 1024)

struct check {
    struct mg_checks *checks;
    struct mg_peer_group *group;
    struct mg_peer *peer;
    uint32_t *running; /* of its upstream */
    uint64_t next_ms;
    struct mg_http_call *call; /* NULL: not under way, or by dial */
    struct mg_dial dial;
    bool is_dialling;
};

struct mg_checks {
    struct mg_server_parts parts;
    struct mg_deadline tick;
    struct check *checks;
    uint32_t *running; /* one for each group */
    uint32_t count;
    bool has_lease;
};

struct mg_checks *mg_checks_open(const struct mg_server_parts *parts)
{
    struct mg_checks *checks = calloc(1, sizeof *checks);
    mg_require(checks != NULL);
    checks->parts = *parts;
    mg_deadline_init(&checks->tick);
    return checks;
}

static uint64_t now_ms(const struct mg_checks *checks)
{
    return mg_loop_now_ms(checks->parts.loop);
}

/* --- one check -------------------------------------------------------------------------------- */

/* Of a target in this state, 0 = none. */
static uint64_t interval_of(const struct check *check)
{
    uint64_t left_ms;
    const struct mg_active_check *active = &check->group->upstream->check;
    const enum mg_health_state state =
        mg_health_state(check->peer->record, now_ms(check->checks), &left_ms);
    const bool is_well = state == MG_HEALTH_HEALTHY || state == MG_HEALTH_RAMP;
    return is_well ? active->healthy_interval : active->unhealthy_interval;
}

static bool is_running(const struct check *check)
{
    return check->call || check->is_dialling;
}

static void stop(struct check *check)
{
    if (is_running(check)) {
        (*check->running)--;
    }
    mg_http_call_free(check->call);
    check->call = NULL;
    if (check->is_dialling) {
        mg_dial_cancel(&check->dial);
        check->is_dialling = false;
    }
}

static void finish(struct check *check, enum mg_try_result what, uint16_t status)
{
    struct mg_checks *checks = check->checks;
    struct mg_health_change change;
    const struct mg_health_result result = {
        .what = what, .status = status, .now_ms = now_ms(checks)};
    stop(check);
    mg_stats_add(checks->parts.stats, MG_STAT_UPSTREAM_CHECKS, 1);
    mg_health_checked(check->group, check->peer, &result, &change);
    if (change.happened) {
        mg_health_log(checks->parts.log, check->group, check->peer, &change);
        mg_stats_add(checks->parts.stats, MG_STAT_UPSTREAM_EJECTIONS, change.to == MG_HEALTH_DOWN);
    }
    check->next_ms = now_ms(checks) + interval_of(check);
}

static void on_answer(void *context, int status)
{
    struct check *check = context;
    const uint16_t answered = check->call->head.status;
    if (answered >= 200 && (status == 0 || status == MG_ERESPONSE_TOO_LARGE)) {
        finish(check, MG_TRIED_ANSWERED, answered);
    } else {
        finish(check, status == MG_ETIMEOUT ? MG_TRIED_TIMEOUT : MG_TRIED_CONNECT, 0);
    }
}

static void on_dialled(struct mg_dial *dial, int status, struct mg_io *io)
{
    struct check *check = MG_CONTAINER(dial, struct check, dial);
    if (io) {
        mg_io_close(io);
    }
    finish(check,
           status == 0             ? MG_TRIED_CONNECTED
           : status == MG_ETIMEOUT ? MG_TRIED_TIMEOUT
                                   : MG_TRIED_CONNECT,
           0);
}

static struct mg_origin *origin_of(const struct check *check)
{
    struct mg_peer *peer = check->peer;
    if (!peer->origin) {
        peer->origin =
            mg_pool_origin(check->checks->parts.pool, peer->target->host, peer->target->port);
    }
    return peer->origin;
}

static int start_dial(struct check *check)
{
    check->dial = (struct mg_dial){.fn = on_dialled};
    check->is_dialling = true;
    return mg_pool_dial(origin_of(check), &check->dial, check->group->upstream->check.timeout);
}

/* As requests have it: the upstream's own, else the target's. */
static mg_str host_field(const struct check *check)
{
    const mg_str own = check->group->upstream->host_header;
    const mg_str target = mg_origin_name(origin_of(check));
    return own.len ? own : mg_str_starts(target, MG_STR("unix:")) ? MG_STR("localhost") : target;
}

static int start_call(struct check *check)
{
    const struct mg_active_check *active = &check->group->upstream->check;
    struct mg_checks *checks = check->checks;
    check->call = mg_http_call_new(checks->parts.loop, checks->parts.pool, NULL);
    mg_http_call_bound(check->call, BODY_BYTES);
    mg_headers_add(&check->call->fields, MG_STR("User-Agent"), MG_STR("moongate-healthcheck"));
    for (uint32_t i = 0; i < active->header_count; i++) {
        mg_headers_add(&check->call->fields, active->headers[i].name, active->headers[i].value);
    }
    const struct mg_http_ask ask = {.host = check->peer->target->host,
                                    .port = check->peer->target->port,
                                    .method = MG_STR("GET"),
                                    .path = active->path,
                                    .host_field = host_field(check),
                                    .timeout_ms = active->timeout};
    return mg_http_call_start(check->call, &ask, on_answer, check);
}

static void start(struct check *check)
{
    (*check->running)++;
    if (check->group->upstream->check.tcp ? start_dial(check) : start_call(check)) {
        finish(check, MG_TRIED_CONNECT, 0);
    }
}

/* --- all of them ------------------------------------------------------------------------------ */

static void stop_all(struct mg_checks *checks)
{
    for (uint32_t i = 0; i < checks->count; i++) {
        stop(&checks->checks[i]);
    }
}

static void start_due(struct mg_checks *checks)
{
    for (uint32_t i = 0; i < checks->count; i++) {
        struct check *check = &checks->checks[i];
        if (!is_running(check) && now_ms(checks) >= check->next_ms && interval_of(check) > 0 &&
            *check->running < check->group->upstream->check.concurrency) {
            start(check);
        }
    }
}

static void on_tick(struct mg_deadline *deadline)
{
    struct mg_checks *checks = MG_CONTAINER(deadline, struct mg_checks, tick);
    const struct mg_server_parts *parts = &checks->parts;
    const bool had_lease = checks->has_lease;
    checks->has_lease =
        !parts->shm || mg_check_lease_take(parts->shm, parts->worker, now_ms(checks), LEASE_MS);
    if (checks->has_lease) {
        start_due(checks);
    } else if (had_lease) { /* this worker was stuck for a while */
        stop_all(checks);
    }
    mg_deadline_arm(
        mg_deadlines_class(&parts->loop->deadlines, checks->has_lease ? TICK_MS : LEASE_LOOK_MS),
        deadline, on_tick, now_ms(checks));
}

static bool wants_checks(const struct mg_peer_group *group)
{
    return group->upstream && (group->upstream->check.healthy_interval > 0 ||
                               group->upstream->check.unhealthy_interval > 0);
}

static uint32_t count_targets(struct mg_peers *peers)
{
    uint32_t count = 0;
    for (uint32_t i = 0; peers && i < mg_peers_group_count(peers); i++) {
        const struct mg_peer_group *group = mg_peers_group(peers, i);
        count += wants_checks(group) ? group->weighted : 0;
    }
    return count;
}

static void add_group(struct mg_checks *checks, struct mg_peer_group *group, uint32_t *running)
{
    for (uint32_t k = 0; k < group->count; k++) {
        if (group->peers[k].target->weight > 0) {
            checks->checks[checks->count++] = (struct check){.checks = checks,
                                                             .group = group,
                                                             .peer = &group->peers[k],
                                                             .running = running,
                                                             .next_ms = now_ms(checks)};
        }
    }
}

static void forget_all(struct mg_checks *checks)
{
    stop_all(checks);
    free(checks->checks);
    free(checks->running);
    checks->checks = NULL;
    checks->running = NULL;
    checks->count = 0;
    mg_deadline_cancel(&checks->tick);
}

static void give_lease_up(struct mg_checks *checks)
{
    if (checks->has_lease && checks->parts.shm) {
        mg_check_lease_take(checks->parts.shm, checks->parts.worker, now_ms(checks), 0);
    }
    checks->has_lease = false;
}

void mg_checks_use(struct mg_checks *checks, struct mg_peers *peers)
{
    forget_all(checks);
    const uint32_t count = count_targets(peers);
    if (count == 0) {
        give_lease_up(checks);
        return;
    }
    const uint32_t groups = mg_peers_group_count(peers);
    checks->checks = calloc(count, sizeof *checks->checks);
    checks->running = calloc(groups, sizeof *checks->running);
    mg_require(checks->checks != NULL && checks->running != NULL);
    for (uint32_t i = 0; i < groups; i++) {
        struct mg_peer_group *group = mg_peers_group(peers, i);
        if (wants_checks(group)) {
            add_group(checks, group, &checks->running[i]);
        }
    }
    mg_deadline_arm(mg_deadlines_class(&checks->parts.loop->deadlines, TICK_MS), &checks->tick,
                    on_tick, now_ms(checks));
}

void mg_checks_close(struct mg_checks *checks)
{
    forget_all(checks);
    give_lease_up(checks);
    free(checks);
}
