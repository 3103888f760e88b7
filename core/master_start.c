/* SPDX-License-Identifier: Apache-2.0 */
/* The resources of a gateway, taken in an order in which each failure leaves nothing behind. */
#define _GNU_SOURCE
#include "master_start.h"

#include "breakers.h"
#include "cli.h"
#include "reload.h"
#include "vitals.h"

#include <inttypes.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define STATUS_BACKLOG 64

#define STACK_BYTES (96 * 1024 * 1024) /* 64 are needed */

void mg_master_raise_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* LuaJIT bounds the stack of Lua, 65500 values, and not what C takes beside it: 9 KiB where gsub
 * calls back into Lua, so that a recursion through it would end a worker whose stack is the usual
 * 8 MiB before it ends in an error. The first thread's stack grows up to the limit of the moment;
 * libuv gives that much address space to the threads of its pool. */
void mg_master_raise_stack(void)
{
    struct rlimit stack;
    if (getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur < STACK_BYTES) {
        stack.rlim_cur = stack.rlim_max < STACK_BYTES ? stack.rlim_max : STACK_BYTES;
        (void)setrlimit(RLIMIT_STACK, &stack);
    }
}

/* The CPUs this process may use. */
static uint32_t count_cpus(void)
{
    cpu_set_t set;
    const int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : (uint32_t)count;
}

static int open_error_log(struct mg_master *master)
{
    const struct mg_plan *plan = mg_master_plan(master);
    enum mg_log_level level = MG_LOG_NOTICE;
    if (plan->log_level[0] && mg_log_level_parse(mg_str_from(plan->log_level), &level)) {
        level = MG_LOG_NOTICE;
    }
    struct mg_log *log;
    const int err = mg_log_open(&log, plan->error_log[0] ? plan->error_log : NULL, level);
    if (err) {
        mg_say("cannot write the error log %s: %s (gateway.log.error_log)", plan->error_log,
               mg_err_text(err));
        return MG_EXIT_FAILED;
    }
    mg_log_close(master->log);
    master->log = log;
    return 0;
}

static int find_user(struct mg_master *master)
{
    const char *name = mg_master_plan(master)->user;
    if (!name[0]) {
        return 0;
    }
    const struct passwd *entry = getpwnam(name);
    if (!entry) {
        mg_say("gateway.user: there is no user '%s' on this system", name);
        return MG_EXIT_CONFIG;
    }
    if (geteuid() == entry->pw_uid) {
        return 0;
    }
    if (geteuid() != 0) {
        mg_say("gateway.user: only root can start workers as '%s'", name);
        return MG_EXIT_CONFIG;
    }
    snprintf(master->user.name, sizeof master->user.name, "%s", name);
    master->user.uid = entry->pw_uid;
    master->user.gid = entry->pw_gid;
    return 0;
}

static void tick_now(struct mg_shm *shm)
{
    struct timespec monotonic;
    struct timespec wall;
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    clock_gettime(CLOCK_REALTIME, &wall);
    mg_shm_tick(shm, (uint64_t)monotonic.tv_sec * 1000 + (uint64_t)monotonic.tv_nsec / 1000000,
                (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000);
}

static int make_memory(struct mg_master *master, uint32_t workers)
{
    const struct mg_plan *plan = mg_master_plan(master);
    const struct mg_shm_wish wish = mg_plan_memory(plan, workers);
    const uint64_t needed = mg_shm_bytes_needed(&wish);
    if (needed > plan->shared_memory) {
        mg_say("gateway.shared_memory: %" PRIu64 " bytes are too few for %u workers, %" PRIu64
               " limiter keys, %" PRIu64 " breakers and %u series of a metric: %" PRIu64
               " bytes are needed",
               plan->shared_memory, workers, plan->limit_cells,
               plan->breakers + plan->keyed_breakers, plan->metric_series, needed);
        return MG_EXIT_CONFIG;
    }
    const int err = mg_shm_create_with(plan->shared_memory, &wish, &master->shm);
    if (err) {
        mg_say("cannot make %" PRIu64 " bytes of shared memory: %s", plan->shared_memory,
               mg_err_text(err));
        return MG_EXIT_FAILED;
    }
    tick_now(master->shm);
    return 0;
}

static int bind_listeners(struct mg_master *master, uint32_t workers)
{
    char message[512];
    const int err = mg_listeners_bind(&master->listeners, mg_master_plan(master), workers, message,
                                      sizeof message);
    if (err) {
        mg_say("%s", message);
        return err == MG_EINVALID ? MG_EXIT_CONFIG : MG_EXIT_FAILED;
    }
    return 0;
}

/* An address that was not asked for may be another gateway's: then this one has none. */
static int bind_status(struct mg_master *master)
{
    const struct mg_plan *plan = mg_master_plan(master);
    char message[512];
    if (!plan->status[0]) {
        return 0;
    }
    if (mg_listen_parse(mg_str_from(plan->status), &master->status_address)) {
        mg_say("gateway.status.address: '%s' is no address such as 127.0.0.1:8100, [::1]:8100 or "
               "unix:/path",
               plan->status);
        return MG_EXIT_CONFIG;
    }
    const int fd =
        mg_listen_bind_alone(&master->status_address, STATUS_BACKLOG, message, sizeof message);
    if (fd >= 0) {
        master->status_fd = fd;
        return 0;
    }
    if (plan->status_given) {
        mg_say("gateway.status.address: %s: choose another address, or `off` for none", message);
        return MG_EXIT_FAILED;
    }
    mg_log_write(master->log, MG_LOG_WARN, "master",
                 "%s: this gateway has no /metrics, /livez and /readyz (gateway.status.address)",
                 message);
    return 0;
}

int mg_master_start(struct mg_master *master)
{
    const uint32_t configured = mg_master_plan(master)->workers;
    const uint32_t workers = configured ? configured : count_cpus();
    if (workers > MG_SHM_MAX_WORKERS) {
        mg_say("gateway.workers: at most %d workers", MG_SHM_MAX_WORKERS);
        return MG_EXIT_CONFIG;
    }
    int exit_code = find_user(master);
    exit_code = exit_code ? exit_code : make_memory(master, workers);
    exit_code = exit_code ? exit_code : open_error_log(master);
    exit_code = exit_code ? exit_code : bind_listeners(master, workers);
    exit_code = exit_code ? exit_code : bind_status(master);
    if (exit_code) {
        return exit_code;
    }
    mg_seats_init(&master->seats, workers, master->log, master->shm);
    master->generation = 1;
    mg_shm_publish_generation(master->shm, master->generation);
    mg_vitals_reloaded(master->shm, false, (int64_t)time(NULL) * 1000);
    mg_breakers_follow(master, master->started_ms);
    return 0;
}

void mg_master_end(struct mg_master *master)
{
    if (master->listeners.fds) {
        mg_listeners_close(&master->listeners);
        mg_listeners_unlink(&master->listeners);
    }
    if (master->status_fd >= 0) {
        close(master->status_fd);
        mg_listen_unlink(&master->status_address);
    }
    mg_reload_deinit(&master->reload);
    mg_seats_deinit(&master->seats);
    if (master->shm) {
        mg_shm_close(master->shm);
        master->shm = NULL;
    }
    if (master->has_bundle) {
        mg_bundle_close(&master->bundle);
        master->has_bundle = false;
    }
    mg_control_close(master->control);
    master->control = NULL;
    mg_log_close(master->log);
    master->log = NULL;
    if (master->signal_fd >= 0) {
        close(master->signal_fd);
    }
}
