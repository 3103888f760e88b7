/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gateway under test: what a worker is, on a loop that the test turns. It listens on one abstract
 * unix socket; every dial of its pool goes to another, where the test is the upstream. Driven from
 * lua/moongate/test by the functions of ffi.h, section "test harness"; nothing here enters the
 * tests' Lua.
 *
 *     check a file -> build a generation (the test turns the loop meanwhile) -> serve
 */
#define _GNU_SOURCE
#include "base/log.h"
#include "base/shm.h"
#include "exposition.h"
#include "flow/server.h"
#include "model/meter.h"
#include "model/req.h"
#include "net/dns.h"
#include "net/pool.h"
#include "net/redis.h"
#include "net/sink.h"
#include "script/checker.h"
#include "script/export.h"
#include "test_stream.h"

#include "script/ffi.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define REPORT_BYTES (4UL * 1024 * 1024)
#define LOG_BYTES (64UL * 1024 * 1024)
#define NAMES_BYTES (1024UL * 1024)
#define CONNECTIONS 100000
#define BACKLOG 1024
#define SINKS_MS 1000 /* for log lines still queued at the end */
#define TICK_MS 250   /* of the shared clock, as the master's */

/* A request that has ended and the test was not told of yet. */
struct ended {
    struct mg_link link;
    struct mg_ffi_test_ended shown;
    char route[256], request_id[80], ended_by[128], plugins[2048];
};

struct mg_test {
    struct mg_loop loop;
    struct mg_log *log;
    int log_fd;
    size_t log_read;
    struct mg_buf log_text;
    struct mg_shm *shm;
    struct mg_dns *dns;
    struct mg_pool *pool;
    struct mg_sinks *sinks;
    struct mg_redis_set *redis;
    struct mg_meter *meter;
    struct mg_environment environment;
    char *lua_path, *plugins_path, *ffi_header;
    struct mg_server server;
    bool serving;
    struct mg_test_streams streams;
    struct mg_listen_address front, back; /* where the gateway listens; where it dials */
    struct mg_generation *current;
    struct mg_config *config; /* of current; for the names below */
    char **names;             /* of the plugins of each route, and last of requests without one */
    char **next_names;
    uint32_t names_count, next_count;
    struct mg_bundle bundle; /* being built */
    bool building;
    uint64_t number;
    struct mg_buf report;
    struct mg_link ended;
    struct ended *told;
    uint64_t ticked_ms;
};

/* --- requests that end ------------------------------------------------------------------- */

static struct mg_ffi_str copy_text(char *room, size_t bytes, mg_str text)
{
    const mg_str cut = mg_str_slice(text, 0, bytes);
    if (cut.len > 0) {
        memcpy(room, cut.ptr, cut.len);
    }
    return (struct mg_ffi_str){.ptr = room, .len = cut.len};
}

static void on_finished(void *context, const struct mg_req *req)
{
    struct mg_test *test = context;
    struct ended *ended = calloc(1, sizeof *ended);
    mg_require(ended != NULL);
    struct mg_ffi_test_ended *shown = &ended->shown;
    shown->connection = (double)req->connection_id;
    shown->status = req->status;
    shown->outcome = mg_outcome_word(req->outcome);
    if (req->route) {
        shown->route = copy_text(ended->route, sizeof ended->route,
                                 req->route->name.len > 0 ? req->route->name : req->route->id);
    }
    shown->request_id = copy_text(ended->request_id, sizeof ended->request_id, req->request_id);
    shown->ended_by = copy_text(ended->ended_by, sizeof ended->ended_by, req->ended_by);
    if (req->config == test->config && test->names_count > 0) {
        const uint32_t at = req->route ? req->route->index : test->names_count - 1;
        shown->plugins =
            copy_text(ended->plugins, sizeof ended->plugins, mg_str_from(test->names[at]));
    }
    mg_link_init(&ended->link);
    mg_list_append(&test->ended, &ended->link);
}

MG_FFI_EXPORT const struct mg_ffi_test_ended *mg_ffi_test_next_ended(struct mg_test *test)
{
    free(test->told);
    test->told = NULL;
    if (mg_list_empty(&test->ended)) {
        return NULL;
    }
    test->told = MG_CONTAINER(test->ended.next, struct ended, link);
    mg_link_remove(&test->told->link);
    return &test->told->shown;
}

/* --- checking and building ----------------------------------------------------------------- */

static void free_names(char **names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
}

static void add_name(void *context, const struct mg_checker_plugin *plugin)
{
    struct mg_buf *names = context;
    if (names->len > 0) {
        (void)!mg_buf_append(names, MG_STR(" "));
    }
    (void)!mg_buf_append(names, plugin->name);
}

static char *names_of(struct mg_checker *checker, const struct mg_route *route)
{
    struct mg_buf names;
    mg_buf_init(&names, NAMES_BYTES);
    const int err = mg_checker_plugins(checker, route, add_name, &names);
    char *text = err || names.len == 0 ? strdup("") : strndup(mg_buf_view(&names).ptr, names.len);
    mg_require(text != NULL);
    mg_buf_deinit(&names);
    return text;
}

static void take_names(struct mg_test *test, struct mg_checker *checker)
{
    const struct mg_config *config = mg_checker_config(checker);
    free_names(test->next_names, test->next_count);
    test->next_count = config->route_count + 1;
    test->next_names = calloc(test->next_count, sizeof *test->next_names);
    mg_require(test->next_names != NULL);
    for (uint32_t i = 0; i < test->next_count; i++) {
        test->next_names[i] =
            names_of(checker, i < config->route_count ? &config->routes[i] : NULL);
    }
}

static int bundle_of(struct mg_test *test, struct mg_checker *checker)
{
    struct mg_bundle_writer writer;
    mg_bundle_writer_init(&writer);
    const int err = mg_checker_bundle(checker, &writer, &test->report);
    if (err) {
        mg_buf_deinit(&writer.bytes);
        return err;
    }
    const int fd = mg_bundle_writer_seal(&writer);
    return fd < 0 ? fd : mg_bundle_open(&test->bundle, fd);
}

static int make_memory(struct mg_test *test)
{
    const struct mg_plan *plan = &test->bundle.plan;
    const struct mg_shm_wish wish = mg_plan_memory(plan, 1);
    const uint64_t needed = mg_shm_bytes_needed(&wish);
    const uint64_t bytes = needed > plan->shared_memory ? needed : plan->shared_memory;
    const int err = mg_shm_create_with(bytes, &wish, &test->shm);
    if (err) {
        return err;
    }
    test->ticked_ms = mg_loop_now_ms(&test->loop);
    mg_shm_tick(test->shm, test->ticked_ms, mg_clock_wall_ms(&test->loop.clock));
    struct mg_slot *slot = mg_shm_slot(test->shm, 0);
    mg_slot_begin(slot, getpid());
    mg_stats_begin(mg_shm_stats(test->shm, 0));
    test->environment.shm = test->shm;
    return 0;
}

static int serve(struct mg_test *test)
{
    test->meter = mg_meter_new(test->shm, 0);
    const struct mg_server_parts parts = {.loop = &test->loop,
                                          .log = test->log,
                                          .stats = mg_shm_stats(test->shm, 0),
                                          .pool = test->pool,
                                          .shm = test->shm,
                                          .meter = test->meter,
                                          .connection_limit = CONNECTIONS};
    char message[256];
    mg_server_open(&test->server, &parts);
    test->server.on_finished = on_finished;
    test->server.finished_context = test;
    test->serving = true;
    const int fd = mg_listen_bind(&test->front, BACKLOG, message, sizeof message);
    return fd < 0 ? fd : mg_server_listen(&test->server, fd, true, 0);
}

static void use(struct mg_test *test, struct mg_generation *generation)
{
    struct mg_generation *previous = test->current;
    test->current = generation;
    test->config = generation->config;
    free_names(test->names, test->names_count);
    test->names = test->next_names;
    test->names_count = test->next_count;
    test->next_names = NULL;
    test->next_count = 0;
    mg_server_use(&test->server, generation);
    mg_generation_activate(generation, previous);
    if (previous) {
        mg_generation_retire(previous);
    }
}

static void on_built(void *context, int status, struct mg_generation *generation,
                     const char *errors)
{
    struct mg_test *test = context;
    test->building = false;
    mg_bundle_close(&test->bundle);
    if (!status && !test->serving) {
        status = serve(test);
        errors = mg_err_text(status);
    }
    if (status) {
        (void)!mg_buf_append(&test->report, mg_str_from(errors ? errors : mg_err_text(status)));
        if (generation) {
            mg_generation_release(generation);
        }
        return;
    }
    use(test, generation);
}

static int check_and_build(struct mg_test *test, const struct mg_checker_options *options)
{
    struct mg_checker *checker;
    int err = mg_checker_open(&checker, options, &test->report);
    if (err) {
        return err;
    }
    take_names(test, checker);
    err = bundle_of(test, checker);
    mg_checker_close(checker);
    if (err) {
        return err;
    }
    err = test->shm ? 0 : make_memory(test);
    if (!err) {
        err = mg_generation_build(&test->environment, &test->bundle, test->number + 1, on_built,
                                  test);
    }
    if (err) {
        mg_bundle_close(&test->bundle);
        return err;
    }
    test->number++;
    test->building = true;
    return 0;
}

MG_FFI_EXPORT int mg_ffi_test_load(struct mg_test *test, const char *file, const char *text,
                                   size_t len)
{
    const struct mg_checker_options options = {.file = file,
                                               .text = mg_str_make(text, len),
                                               .lua_path = test->lua_path,
                                               .plugins_path = test->plugins_path,
                                               .ffi_header = test->ffi_header,
                                               .log = test->log};
    if (test->building) {
        return MG_EFULL;
    }
    mg_buf_clear(&test->report);
    const int err = check_and_build(test, &options);
    if (err && test->report.len == 0) {
        (void)!mg_buf_append(&test->report, mg_str_from(mg_err_text(err)));
    }
    return err;
}

MG_FFI_EXPORT int mg_ffi_test_is_building(const struct mg_test *test)
{
    return test->building;
}

MG_FFI_EXPORT double mg_ffi_test_generation(const struct mg_test *test)
{
    return test->current ? (double)test->current->number : 0;
}

static struct mg_ffi_str shown(mg_str text)
{
    return (struct mg_ffi_str){.ptr = text.len > 0 ? text.ptr : "", .len = text.len};
}

MG_FFI_EXPORT void mg_ffi_test_report(const struct mg_test *test, struct mg_ffi_str *out)
{
    *out = shown(mg_buf_view(&test->report));
}

MG_FFI_EXPORT void mg_ffi_test_setenv(const char *name, const char *value)
{
    if (value) {
        setenv(name, value, 1);
    } else {
        unsetenv(name);
    }
}

/* --- the log --------------------------------------------------------------------------------- */

static int open_log(struct mg_test *test)
{
    char path[64];
    test->log_fd = memfd_create("moongate test log", MFD_CLOEXEC);
    if (test->log_fd < 0) {
        return -errno;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", test->log_fd);
    return mg_log_open(&test->log, path, MG_LOG_DEBUG);
}

MG_FFI_EXPORT void mg_ffi_test_metrics(struct mg_test *test, struct mg_ffi_str *out)
{
    struct mg_exposition *exposition = mg_exposition_new(test->shm, mg_loop_now_ms(&test->loop));
    mg_buf_clear(&test->log_text);
    while (mg_exposition_next(exposition, &test->log_text)) {
    }
    mg_exposition_free(exposition);
    const mg_str text = mg_buf_view(&test->log_text);
    *out = (struct mg_ffi_str){.ptr = text.ptr, .len = text.len};
}

MG_FFI_EXPORT void mg_ffi_test_log(struct mg_test *test, struct mg_ffi_str *out)
{
    char *room;
    mg_log_flush(test->log);
    mg_buf_clear(&test->log_text);
    while ((room = mg_buf_reserve(&test->log_text, 65536)) != NULL) {
        const ssize_t got = pread(test->log_fd, room, 65536, (off_t)test->log_read);
        if (got <= 0) {
            break;
        }
        mg_buf_commit(&test->log_text, (size_t)got);
        test->log_read += (size_t)got;
    }
    *out = shown(mg_buf_view(&test->log_text));
}

/* --- the loop -------------------------------------------------------------------------------- */

static void before_poll(void *context)
{
    struct mg_test *test = context;
    const uint64_t now_ms = mg_loop_now_ms(&test->loop);
    if (test->serving) {
        mg_server_turn_end(&test->server);
    }
    mg_sinks_flush(test->sinks);
    if (test->shm && now_ms >= test->ticked_ms + TICK_MS) {
        test->ticked_ms = now_ms;
        mg_shm_tick(test->shm, now_ms, mg_clock_wall_ms(&test->loop.clock));
    }
}

MG_FFI_EXPORT int mg_ffi_test_turn(struct mg_test *test)
{
    return mg_loop_turn(&test->loop);
}

MG_FFI_EXPORT int mg_ffi_test_wait(struct mg_test *test, int ms)
{
    struct pollfd fd = {.fd = mg_loop_fd(&test->loop), .events = POLLIN};
    return poll(&fd, 1, ms) > 0;
}

/* Work in libuv's pool (building, writing files) ends in real time, whatever the clock. */
MG_FFI_EXPORT int mg_ffi_test_is_busy(const struct mg_test *test)
{
    return test->building || test->loop.uv.active_reqs.count > 0;
}

MG_FFI_EXPORT double mg_ffi_test_now_ms(const struct mg_test *test)
{
    return (double)mg_loop_now_ms(&test->loop);
}

MG_FFI_EXPORT double mg_ffi_test_next_ms(const struct mg_test *test)
{
    const uint64_t next_ms = mg_deadlines_next(&test->loop.deadlines);
    return next_ms == MG_DEADLINE_NEVER ? -1 : (double)next_ms;
}

MG_FFI_EXPORT void mg_ffi_test_advance(struct mg_test *test, double ms)
{
    if (test->loop.clock.is_virtual && ms > 0) {
        mg_clock_advance(&test->loop.clock, (uint64_t)(ms * 1000));
    }
}

/* --- streams --------------------------------------------------------------------------------- */

MG_FFI_EXPORT struct mg_test_stream *mg_ffi_test_connect(struct mg_test *test, const char *ip,
                                                         double *connection)
{
    snprintf(test->server.test_peer_ip, sizeof test->server.test_peer_ip, "%s", ip);
    const uint64_t before = test->server.connections_made;
    struct mg_test_stream *stream = mg_test_stream_connect(&test->streams, &test->front);
    for (int i = 0; stream && i < 100 && test->server.connections_made == before; i++) {
        mg_loop_step(&test->loop, false); /* until it is accepted: the address is the next's */
    }
    *connection = (double)test->server.connections_made;
    return stream;
}

MG_FFI_EXPORT struct mg_test_stream *mg_ffi_test_accept(struct mg_test *test)
{
    return mg_test_streams_next(&test->streams);
}

MG_FFI_EXPORT int mg_ffi_test_write(struct mg_test_stream *stream, const char *bytes, size_t len)
{
    return mg_test_stream_write(stream, mg_str_make(bytes, len));
}

MG_FFI_EXPORT int mg_ffi_test_read(struct mg_test_stream *stream, struct mg_ffi_str *out)
{
    *out = shown(mg_test_stream_view(stream));
    return mg_test_stream_status(stream);
}

MG_FFI_EXPORT void mg_ffi_test_consume(struct mg_test_stream *stream, size_t len)
{
    mg_test_stream_consume(stream, len);
}

MG_FFI_EXPORT void mg_ffi_test_close_stream(struct mg_test_stream *stream)
{
    mg_test_stream_close(stream);
}

/* --- life ------------------------------------------------------------------------------------ */

static int open_sockets(struct mg_test *test, const char *name)
{
    char text[100];
    char message[256];
    snprintf(text, sizeof text, "unix:@%s-gateway", name);
    int err = mg_listen_parse(mg_str_from(text), &test->front);
    snprintf(text, sizeof text, "unix:@%s-upstream", name);
    err = err ? err : mg_listen_parse(mg_str_from(text), &test->back);
    err = err ? err : mg_pool_redirect(test->pool, mg_str_from(text));
    if (err) {
        return err;
    }
    const int fd = mg_listen_bind(&test->back, BACKLOG, message, sizeof message);
    return fd < 0 ? fd : mg_test_streams_accept_on(&test->streams, fd);
}

static int open_parts(struct mg_test *test, const char *name)
{
    static const struct mg_dns_options dns_options = {
        .timeout_ms = 2000, .tries = 2, .stale_ms = 3600 * 1000, .negative_ms = 1000};
    int err = open_log(test);
    if (!err) {
        mg_log_set_clock(test->log, &test->loop.clock);
        err = mg_dns_open(&test->dns, &test->loop, &dns_options);
    }
    err = err ? err : mg_pool_open(&test->pool, &test->loop, test->dns);
    const struct mg_sinks_parts sinks_parts = {
        .loop = &test->loop, .log = test->log, .dns = test->dns};
    test->sinks = mg_sinks_open(&sinks_parts);
    err = err ? err : open_sockets(test, name);
    const struct mg_redis_parts redis_parts = {
        .loop = &test->loop, .dns = test->dns, .log = test->log};
    test->redis = mg_redis_set_open(&redis_parts);
    test->environment = (struct mg_environment){.loop = &test->loop,
                                                .log = test->log,
                                                .pool = test->pool,
                                                .dns = test->dns,
                                                .sinks = test->sinks,
                                                .redis = test->redis,
                                                .lua_path = test->lua_path,
                                                .plugins_path = test->plugins_path,
                                                .ffi_header = test->ffi_header,
                                                .workers = 1,
                                                .compiler_off = true};
    return err;
}

MG_FFI_EXPORT struct mg_test *mg_ffi_test_open(const struct mg_ffi_test_ask *ask)
{
    struct mg_test *test = calloc(1, sizeof *test);
    mg_require(test != NULL);
    test->log_fd = -1;
    test->lua_path = strdup(ask->lua_path);
    test->plugins_path = strdup(ask->plugins_path);
    test->ffi_header = strdup(ask->ffi_header);
    mg_require(test->lua_path && test->plugins_path && test->ffi_header);
    mg_buf_init(&test->report, REPORT_BYTES);
    mg_buf_init(&test->log_text, LOG_BYTES);
    mg_link_init(&test->ended);
    const int err = ask->is_virtual ? mg_loop_open_virtual(&test->loop, (int64_t)ask->wall_ms)
                                    : mg_loop_open(&test->loop);
    mg_require(err == 0);
    test->loop.before_poll = before_poll;
    test->loop.context = test;
    mg_test_streams_init(&test->streams, &test->loop);
    if (open_parts(test, ask->name)) {
        mg_ffi_test_close(test);
        return NULL;
    }
    return test;
}

static void close_loop(struct mg_test *test)
{
    test->loop.before_poll = NULL;
    mg_test_streams_close(&test->streams);
    if (test->serving) {
        mg_server_close(&test->server);
    }
    if (test->current) {
        mg_generation_release(test->current);
        test->current = NULL;
    }
    mg_sinks_close(test->sinks, SINKS_MS);
    mg_redis_set_close(test->redis);
    if (test->pool) {
        mg_pool_close(test->pool);
    }
    if (test->dns) {
        mg_dns_close(test->dns);
    }
    mg_loop_close(&test->loop);
}

MG_FFI_EXPORT void mg_ffi_test_close(struct mg_test *test)
{
    close_loop(test);
    while (mg_ffi_test_next_ended(test)) {
        /* freed by the next call */
    }
    mg_log_set_clock(test->log, NULL);
    mg_log_close(test->log);
    if (test->log_fd >= 0) {
        close(test->log_fd);
    }
    mg_meter_free(test->meter);
    mg_shm_close(test->shm);
    free_names(test->names, test->names_count);
    free_names(test->next_names, test->next_count);
    mg_buf_deinit(&test->report);
    mg_buf_deinit(&test->log_text);
    free(test->lua_path);
    free(test->plugins_path);
    free(test->ffi_header);
    free(test);
}
