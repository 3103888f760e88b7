/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's life. Its generations: `current` serves, `next` is built and waits for SWITCH, `old`
 * ones still have requests. The worker keeps a reference of its own on each old one, so that it can
 * say what holds it, and gives it back when that is the last.
 */
#define _GNU_SOURCE
#include "worker.h"

#include "channel.h"
#include "cli.h"
#include "flow/server.h"
#include "model/meter.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/pool.h"
#include "net/redis.h"
#include "net/sink.h"
#include "script/budget.h"
#include "script/generation.h"
#include "status_listener.h"

#include <grp.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define OLD_GENERATIONS 64                  /* more than max_generations may be */
#define RESERVED_FILES (128 + 2 * MG_PIPES) /* not of a client and its upstream */
#define ERRORS_BYTES (1 << 20)              /* longest text of errors sent to the master */
#define SLOW_MS 1000                        /* pace of what need not be done each turn */
#define EXHAUSTED_DRAIN_MS 5000
#define SINKS_MS 5000    /* for the last log lines */
#define SINKS_CUT_MS 800 /* the same when the master is about to kill (CUT_MS there) */

struct old_generation {
    struct mg_generation *generation;
    uint64_t retired_ms;
};

struct worker {
    const struct mg_worker_parts *parts;
    struct mg_loop loop;
    struct mg_slot *slot;
    struct mg_dns *dns;
    struct mg_pool *pool;
    struct mg_environment environment;
    struct mg_server server;
    bool serving; /* the server is open and listens */
    uv_poll_t channel_poll;
    struct mg_deadline slow, too_late;
    struct mg_sinks *sinks;
    struct mg_redis_set *redis;
    struct mg_meter *meter;
    struct mg_status_listener *status;

    struct mg_generation *current, *next;
    struct old_generation old[OLD_GENERATIONS];
    uint32_t old_count;
    struct mg_bundle bundle; /* of the generation being built by PREPARE */
    uint64_t building;       /* its number, 0 = none */
    bool drop_when_built, stopping;
    bool is_cut; /* the master kills soon */
    int exit_code;
};

/* --- news for the master ----------------------------------------------------------------- */

static void tell(struct worker *worker, enum mg_channel_kind kind, uint64_t number, int fd)
{
    struct mg_channel_message message = {.kind = kind, .number = number};
    if (kind == MG_CHANNEL_BUILT) {
        memcpy(message.text, worker->bundle.plan.digest, sizeof message.text);
    }
    const int err = mg_channel_send(worker->parts->channel, &message, fd);
    if (err) {
        mg_log_write(worker->parts->log, MG_LOG_ERROR, "worker", "cannot tell the master: %s",
                     mg_err_text(err));
    }
}

static void tell_failed(struct worker *worker, uint64_t number, const char *errors)
{
    const int fd = mg_channel_put_text(mg_str_slice(mg_str_from(errors), 0, ERRORS_BYTES));
    tell(worker, MG_CHANNEL_FAILED, number, fd);
    if (fd >= 0) {
        close(fd);
    }
}

static void stop(struct worker *worker, int exit_code)
{
    worker->stopping = true;
    worker->exit_code = exit_code;
    mg_loop_stop(&worker->loop);
}

/* --- serving ----------------------------------------------------------------------------- */

static uint32_t connection_limit(const struct mg_generation *generation)
{
    const uint32_t configured = generation->config->gateway.limits.connections;
    struct rlimit files;
    if (configured > 0 || getrlimit(RLIMIT_NOFILE, &files)) {
        return configured > 0 ? configured : 1024;
    }
    const rlim_t usable = files.rlim_cur > RESERVED_FILES ? files.rlim_cur - RESERVED_FILES : 0;
    /* a client and its upstream; 5 % are left for those that are refused (flow/shed.c) */
    const rlim_t each = usable / 2 / 20 * 19;
    return each < 1 ? 1 : (each > INT32_MAX ? INT32_MAX : (uint32_t)each);
}

static int listen_all(struct worker *worker)
{
    const struct mg_listeners *listeners = worker->parts->listeners;
    for (uint32_t i = 0; i < listeners->count; i++) {
        const int fd = mg_listeners_fd(listeners, worker->parts->index, i);
        const int err = mg_server_listen(&worker->server, fd, listeners->addresses[i].is_unix, i);
        if (err) {
            mg_log_write(worker->parts->log, MG_LOG_ERROR, "worker", "cannot accept on %s: %s",
                         listeners->addresses[i].text, mg_err_text(err));
            return err;
        }
    }
    return 0;
}

static void open_status(struct worker *worker)
{
    const struct mg_status_listener_parts parts = {.loop = &worker->loop,
                                                   .log = worker->parts->log,
                                                   .shm = worker->parts->shm,
                                                   .worker = worker->parts->index,
                                                   .current = &worker->current,
                                                   .fd = worker->parts->status_fd,
                                                   .is_unix = worker->parts->status_is_unix};
    if (parts.fd >= 0) {
        worker->status = mg_status_listener_open(&parts);
    }
}

static void on_first_built(void *context, int status, struct mg_generation *generation,
                           const char *errors)
{
    struct worker *worker = context;
    worker->building = 0;
    if (status) {
        tell_failed(worker, worker->parts->generation, errors ? errors : mg_err_text(status));
        stop(worker, MG_EXIT_CONFIG);
        return;
    }
    if (worker->stopping) {
        mg_generation_release(generation);
        return;
    }
    worker->current = generation;
    const struct mg_server_parts parts = {
        .loop = &worker->loop,
        .log = worker->parts->log,
        .stats = mg_shm_stats(worker->parts->shm, worker->parts->index),
        .pool = worker->pool,
        .meter = worker->meter,
        .shm = worker->parts->shm,
        .worker = worker->parts->index,
        .connection_limit = connection_limit(generation)};
    mg_server_open(&worker->server, &parts);
    worker->serving = true;
    mg_server_use(&worker->server, generation);
    mg_generation_activate(generation, NULL);
    if (listen_all(worker)) {
        stop(worker, MG_EXIT_FAILED);
        return;
    }
    open_status(worker);
    mg_slot_ready(worker->slot, generation->number);
    tell(worker, MG_CHANNEL_READY, generation->number, -1);
}

/* --- reload ------------------------------------------------------------------------------ */

static void release_old(struct worker *worker)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < worker->old_count; i++) {
        if (worker->old[i].generation->references == 1) {
            mg_generation_release(worker->old[i].generation);
        } else {
            worker->old[kept++] = worker->old[i];
        }
    }
    worker->old_count = kept;
}

static void on_next_built(void *context, int status, struct mg_generation *generation,
                          const char *errors)
{
    struct worker *worker = context;
    const uint64_t number = worker->building;
    worker->building = 0;
    if (worker->drop_when_built || worker->stopping) {
        worker->drop_when_built = false;
        if (generation) {
            mg_generation_release(generation);
        }
    } else if (status) {
        tell_failed(worker, number, errors ? errors : mg_err_text(status));
    } else {
        worker->next = generation;
        tell(worker, MG_CHANNEL_BUILT, number, -1);
    }
    mg_bundle_close(&worker->bundle);
}

/* Whether another generation may live beside those that do; says what holds the oldest. */
static bool has_room(struct worker *worker, char *reason, size_t reason_bytes)
{
    const uint32_t most = worker->current->config->gateway.max_generations;
    const uint32_t live = worker->old_count + 1;
    if (worker->old_count < OLD_GENERATIONS && (most == 0 || live < most)) {
        return true;
    }
    const struct mg_generation *oldest = worker->old[0].generation;
    snprintf(reason, reason_bytes,
             "worker %u: %u generations are alive (plugins.max_generations); the oldest, number "
             "%" PRIu64 ", is %" PRIu64 " s old and held by %u requests\n",
             worker->parts->index, live, oldest->number,
             (mg_loop_now_ms(&worker->loop) - oldest->built_ms) / 1000, oldest->references - 1);
    return false;
}

static void prepare(struct worker *worker, uint64_t number, int fd)
{
    char reason[256] = "a generation is being built already\n";
    release_old(worker);
    if (!worker->current || worker->building || worker->next ||
        !has_room(worker, reason, sizeof reason)) {
        close(fd);
        tell_failed(worker, number, reason);
        return;
    }
    int err = mg_bundle_open(&worker->bundle, fd);
    if (err) {
        close(fd);
    } else {
        worker->building = number;
        err = mg_generation_build(&worker->environment, &worker->bundle, number, on_next_built,
                                  worker);
        if (err) {
            worker->building = 0;
            mg_bundle_close(&worker->bundle);
        }
    }
    if (err) {
        snprintf(reason, sizeof reason, "worker %u: cannot build the generation: %s\n",
                 worker->parts->index, mg_err_text(err));
        tell_failed(worker, number, reason);
    }
}

static void switch_over(struct worker *worker, uint64_t number)
{
    if (!worker->next || worker->next->number != number) {
        return;
    }
    struct mg_generation *previous = worker->current;
    worker->current = worker->next;
    worker->next = NULL;
    mg_generation_hold(previous); /* ours, while it is in old[] */
    worker->old[worker->old_count++] = (struct old_generation){
        .generation = previous, .retired_ms = mg_loop_now_ms(&worker->loop)};
    mg_server_use(&worker->server, worker->current);
    mg_generation_activate(worker->current, previous);
    mg_generation_retire(previous);
    const struct mg_gateway *gateway = &worker->current->config->gateway;
    mg_dns_set_memory(worker->dns, gateway->dns.stale, gateway->dns.negative);
    worker->slot->generation = number;
    tell(worker, MG_CHANNEL_SWITCHED, number, -1);
}

static void drop(struct worker *worker, uint64_t number)
{
    if (worker->building == number) {
        worker->drop_when_built = true;
    } else if (worker->next && worker->next->number == number) {
        mg_generation_release(worker->next);
        worker->next = NULL;
    }
}

/* --- the master's orders ----------------------------------------------------------------- */

static void on_drained(void *context)
{
    stop(context, MG_EXIT_OK);
}

static void drain(struct worker *worker)
{
    if (worker->serving) {
        mg_server_drain(&worker->server, on_drained, worker);
    } else {
        stop(worker, MG_EXIT_OK);
    }
}

/* The plugin named has hung several workers. */
static void quarantine(struct worker *worker, const char *plugin)
{
    if (worker->current) {
        mg_generation_quarantine(worker->current, mg_str_from(plugin));
    }
}

static void obey(struct worker *worker, const struct mg_channel_message *message, int fd)
{
    switch (message->kind) {
    case MG_CHANNEL_PREPARE:
        prepare(worker, message->number, fd);
        return;
    case MG_CHANNEL_SWITCH:
        switch_over(worker, message->number);
        break;
    case MG_CHANNEL_DROP:
        drop(worker, message->number);
        break;
    case MG_CHANNEL_DRAIN:
        drain(worker);
        break;
    case MG_CHANNEL_CUT:
        worker->is_cut = true;
        stop(worker, MG_EXIT_OK);
        break;
    case MG_CHANNEL_QUARANTINE:
        quarantine(worker, message->text);
        break;
    case MG_CHANNEL_REOPEN:
        mg_sinks_reopen(worker->sinks);
        if (mg_log_reopen(worker->parts->log)) {
            mg_log_write(worker->parts->log, MG_LOG_ERROR, "worker",
                         "cannot open the error log anew, the old one stays");
        }
        break;
    default:
        break;
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void on_channel(uv_poll_t *poll, int status, int events)
{
    struct worker *worker = poll->data;
    (void)status;
    (void)events;
    mg_loop_wake(&worker->loop);
    while (!worker->stopping) {
        struct mg_channel_message message;
        int fd;
        const int err = mg_channel_receive(worker->parts->channel, &message, &fd);
        if (err == MG_EAGAIN) {
            return;
        }
        if (err) { /* the master is gone */
            stop(worker, MG_EXIT_FAILED);
            return;
        }
        obey(worker, &message, fd);
    }
}

/* --- the loop ---------------------------------------------------------------------------- */

static void before_poll(void *context)
{
    struct worker *worker = context;
    if (worker->serving) {
        mg_server_turn_end(&worker->server);
    }
    if (worker->old_count > 0) {
        release_old(worker);
    }
    mg_sinks_flush(worker->sinks);
    mg_slot_beat(worker->slot);
    mg_slot_waiting(worker->slot, true);
}

/* Requests on old generations have plugins.drain_timeout to end. */
static void cut_old(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->old_count; i++) {
        const struct old_generation *old = &worker->old[i];
        const uint64_t patience = old->generation->config->gateway.plugins_drain_timeout;
        if (patience && mg_loop_now_ms(&worker->loop) - old->retired_ms >= patience) {
            mg_server_cut_generation(&worker->server, old->generation);
        }
    }
}

static void on_too_late(struct mg_deadline *deadline)
{
    stop(MG_CONTAINER(deadline, struct worker, too_late), MG_EXIT_OK);
}

/* New connections wait in the queue of the socket, which the master holds, for the replacement: so
 * this drain is a short one. */
static void make_room(struct worker *worker)
{
    mg_log_write(worker->parts->log, MG_LOG_WARN, "worker",
                 "Lua memory stays over 90 %% of limits.lua_memory: this worker is replaced");
    mg_deadline_arm(mg_deadlines_class(&worker->loop.deadlines, EXHAUSTED_DRAIN_MS),
                    &worker->too_late, on_too_late, mg_loop_now_ms(&worker->loop));
    drain(worker);
}

static void on_slow(struct mg_deadline *deadline)
{
    struct worker *worker = MG_CONTAINER(deadline, struct worker, slow);
    mg_log_flush(worker->parts->log);
    cut_old(worker);
    if (worker->current) {
        mg_peers_touch(worker->current->peers, mg_loop_now_ms(&worker->loop));
    }
    if (worker->serving && !mg_deadline_armed(&worker->too_late) &&
        mg_generation_is_exhausted(worker->current)) {
        make_room(worker);
    }
    mg_deadline_arm(mg_deadlines_class(&worker->loop.deadlines, SLOW_MS), deadline, on_slow,
                    mg_loop_now_ms(&worker->loop));
}

/* --- start and end ----------------------------------------------------------------------- */

/* Ctrl-C reaches the whole process group: workers obey only the master. */
static void ignore_signals(void)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        signal(ignored[i], SIG_IGN);
    }
}

static int become_user(const struct mg_worker_parts *parts)
{
    const struct mg_user *user = parts->user;
    if (user->name[0] &&
        (initgroups(user->name, user->gid) || setgid(user->gid) || setuid(user->uid))) {
        mg_log_write(parts->log, MG_LOG_ERROR, "worker", "cannot become user %s: %s", user->name,
                     mg_err_text(-errno));
        return -1;
    }
    /* After setuid, which would undo it. The master may have died meanwhile. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return getppid() == parts->master ? 0 : -1;
}

static int open_parts(struct worker *worker)
{
    const struct mg_worker_parts *parts = worker->parts;
    const struct mg_plan *plan = &parts->bundle->plan;
    const struct mg_dns_options dns_options = {.timeout_ms = plan->dns_timeout,
                                               .tries = plan->dns_tries,
                                               .stale_ms = plan->dns_stale,
                                               .negative_ms = plan->dns_negative};
    worker->channel_poll.data = worker;
    int err = uv_poll_init(&worker->loop.uv, &worker->channel_poll, parts->channel);
    err = err ? err : uv_poll_start(&worker->channel_poll, UV_READABLE, on_channel);
    err = err ? err : mg_dns_open(&worker->dns, &worker->loop, &dns_options);
    err = err ? err : mg_pool_open(&worker->pool, &worker->loop, worker->dns);
    if (err) {
        mg_log_write(parts->log, MG_LOG_ERROR, "worker", "cannot start: %s", mg_err_text(err));
        return err;
    }
    const struct mg_sinks_parts sinks_parts = {.loop = &worker->loop,
                                               .stats = mg_shm_stats(parts->shm, parts->index),
                                               .log = parts->log,
                                               .dns = worker->dns,
                                               .shm = parts->shm,
                                               .worker = parts->index};
    worker->sinks = mg_sinks_open(&sinks_parts);
    const struct mg_redis_parts redis_parts = {.loop = &worker->loop,
                                               .worker = parts->index,
                                               .dns = worker->dns,
                                               .shm = parts->shm,
                                               .stats = mg_shm_stats(parts->shm, parts->index),
                                               .log = parts->log};
    worker->redis = mg_redis_set_open(&redis_parts);
    worker->meter = mg_meter_new(parts->shm, parts->index);
    worker->environment = (struct mg_environment){.loop = &worker->loop,
                                                  .log = parts->log,
                                                  .shm = parts->shm,
                                                  .pool = worker->pool,
                                                  .dns = worker->dns,
                                                  .sinks = worker->sinks,
                                                  .redis = worker->redis,
                                                  .lua_path = parts->paths->lua,
                                                  .plugins_path = parts->paths->plugins,
                                                  .ffi_header = parts->paths->ffi_header,
                                                  .worker = parts->index,
                                                  .workers = parts->workers};
    worker->building = parts->generation;
    return mg_generation_build(&worker->environment, parts->bundle, parts->generation,
                               on_first_built, worker);
}

static void close_generations(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->old_count; i++) {
        mg_generation_release(worker->old[i].generation);
    }
    if (worker->next) {
        mg_generation_release(worker->next);
    }
    if (worker->current) {
        mg_generation_retire(worker->current); /* timers run for the last time */
    }
}

static void close_parts(struct worker *worker)
{
    worker->slot->ready = 0;
    worker->loop.before_poll = NULL;
    mg_deadline_cancel(&worker->slow);
    mg_deadline_cancel(&worker->too_late);
    if (worker->serving) {
        mg_server_close(&worker->server);
    }
    mg_status_listener_close(worker->status);
    close_generations(worker);
    worker->loop.waiting = NULL;
    mg_slot_waiting(worker->slot, true); /* for a slow reader or disk: not stuck */
    if (worker->sinks) {
        mg_sinks_close(worker->sinks, worker->is_cut ? SINKS_CUT_MS : SINKS_MS);
    }
    if (worker->redis) {
        mg_redis_set_close(worker->redis);
    }
    if (worker->pool) {
        mg_pool_close(worker->pool);
    }
    if (worker->dns) {
        mg_dns_close(worker->dns);
    }
    mg_meter_free(worker->meter);
    uv_close((uv_handle_t *)&worker->channel_poll, NULL);
    mg_loop_close(&worker->loop);
    mg_status_listener_free(worker->status);
}

/* A buffer that one burst made large goes back when it is freed; glibc would keep such for ever. */
static void give_memory_back(void)
{
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
}

int mg_worker_run(const struct mg_worker_parts *parts)
{
    ignore_signals();
    give_memory_back();
    if (become_user(parts)) {
        return MG_EXIT_FAILED;
    }
    mg_budget_block_signals();
    struct worker *worker = calloc(1, sizeof *worker);
    mg_require(worker != NULL);
    worker->parts = parts;
    worker->slot = mg_shm_slot(parts->shm, parts->index);
    mg_slot_begin(worker->slot, getpid());
    mg_stats_begin(mg_shm_stats(parts->shm, parts->index));
    int err = mg_loop_open(&worker->loop);
    if (err) {
        mg_log_write(parts->log, MG_LOG_ERROR, "worker", "cannot make an event loop: %s",
                     mg_err_text(err));
        free(worker);
        return MG_EXIT_FAILED;
    }
    mg_log_set_clock(parts->log, &worker->loop.clock);
    worker->loop.before_poll = before_poll;
    worker->loop.context = worker;
    worker->loop.waiting = &worker->slot->waiting;
    mg_deadline_init(&worker->slow);
    mg_deadline_init(&worker->too_late);
    on_slow(&worker->slow);
    err = open_parts(worker);
    worker->exit_code = MG_EXIT_FAILED;
    if (!err) {
        mg_loop_run(&worker->loop);
    }
    const int exit_code = worker->exit_code;
    close_parts(worker);
    mg_log_set_clock(parts->log, NULL);
    free(worker);
    return exit_code;
}
