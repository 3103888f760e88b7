/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a reload. end_run is the only way out of a run. */
#include "reload.h"

#include "breakers.h"
#include "cli.h"
#include "difference.h"
#include "vitals.h"

#include <inttypes.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_MS 15000     /* how long starting workers may take */
#define BUILD_GRACE_MS 5000 /* beyond plugins.init_timeout */
#define SWITCH_MS 10000     /* workers switch at once; later ones are stuck */
#define ERROR_BYTES 65536   /* of the last error, kept for status */

void mg_reload_init(struct mg_reload *reload)
{
    *reload = (struct mg_reload){.step = MG_RELOAD_IDLE};
    mg_check_init(&reload->check);
    mg_buf_init(&reload->report, MG_REPORT_BYTES);
    mg_buf_init(&reload->last_error, ERROR_BYTES);
}

static void drop_bundle(struct mg_reload *reload)
{
    if (reload->has_bundle) {
        mg_bundle_close(&reload->bundle);
        reload->has_bundle = false;
    }
}

void mg_reload_deinit(struct mg_reload *reload)
{
    mg_check_end(&reload->check);
    drop_bundle(reload);
    mg_buf_deinit(&reload->report);
    mg_buf_deinit(&reload->last_error);
}

/* Over the cap the text is cut. */
/* --- the end of a run -------------------------------------------------------------------- */

static void tell_all(struct mg_master *master, enum mg_channel_kind kind, uint64_t number, int fd)
{
    const struct mg_channel_message message = {.kind = kind, .number = number};
    for (uint32_t i = 0; i < master->seats.count; i++) {
        struct mg_seat *seat = &master->seats.items[i];
        seat->built = false;
        const int err =
            seat->state == MG_SEAT_SERVING ? mg_channel_send(seat->channel, &message, fd) : 0;
        if (err) {
            mg_log_write(master->log, MG_LOG_ERROR, "master", "cannot reach worker %u: %s", i,
                         mg_err_text(err));
        }
    }
}

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void remember_error(struct mg_reload *reload)
{
    const mg_str report = mg_buf_view(&reload->report);
    mg_buf_clear(&reload->last_error);
    (void)!mg_buf_append(&reload->last_error, mg_str_slice(report, 0, ERROR_BYTES));
}

static void end_run(struct mg_master *master, int code, uint64_t now_ms)
{
    struct mg_reload *reload = &master->reload;
    struct mg_stats *stats = mg_shm_stats(master->shm, master->seats.count);
    mg_check_end(&reload->check);
    drop_bundle(reload);
    reload->step = MG_RELOAD_IDLE;
    reload->last_wall_ms = wall_ms();
    reload->last_failed = code != MG_EXIT_OK;
    if (reload->last_failed) {
        remember_error(reload);
    }
    mg_stats_add(stats, reload->last_failed ? MG_STAT_RELOADS_FAILED : MG_STAT_RELOADS, 1);
    mg_vitals_reloaded(master->shm, reload->last_failed, reload->last_wall_ms);
    mg_control_reply_awaiting(master->control, reload->run, code, mg_buf_view(&reload->report));
    if (reload->again) {
        reload->again = false;
        (void)mg_reload_ask(master, now_ms);
    }
}

/* Nothing has changed; the report says why. */
static void refuse(struct mg_master *master, int code, uint64_t now_ms)
{
    if (master->reload.step >= MG_RELOAD_BUILD) {
        tell_all(master, MG_CHANNEL_DROP, master->generation + 1, -1);
    }
    mg_log_write(master->log, MG_LOG_ERROR, "master",
                 "reload refused, generation %" PRIu64 " stays", master->generation);
    mg_log_text(master->log, MG_LOG_ERROR, "reload", mg_buf_view(&master->reload.report));
    mg_buf_put(&master->reload.report, "Generation %" PRIu64 " stays.\n", master->generation);
    end_run(master, code, now_ms);
}

static void succeed(struct mg_master *master, uint64_t now_ms)
{
    struct mg_reload *reload = &master->reload;
    mg_breakers_follow(master, now_ms);
    mg_buf_put(&reload->report,
               "Generation %" PRIu64 " serves in %u workers after %" PRIu64 " ms.\n",
               master->generation, master->seats.count, now_ms - reload->started_ms);
    mg_log_write(master->log, MG_LOG_NOTICE, "master", "reload done");
    mg_log_text(master->log, MG_LOG_NOTICE, "reload", mg_buf_view(&reload->report));
    end_run(master, MG_EXIT_OK, now_ms);
}

/* --- what a reload cannot change --------------------------------------------------------- */

static bool same_listeners(const struct mg_plan *a, const struct mg_plan *b)
{
    bool same = a->listener_count == b->listener_count;
    for (uint32_t i = 0; same && i < a->listener_count; i++) {
        same = strcmp(a->listeners[i].address, b->listeners[i].address) == 0 &&
               a->listeners[i].backlog == b->listeners[i].backlog;
    }
    return same;
}

/* Limits that no longer fit are said to, with the size that would do. */
static bool has_memory(const struct mg_master *master, const struct mg_plan *plan,
                       struct mg_buf *reasons)
{
    struct mg_shm_room room;
    mg_shm_room(master->shm, &room);
    if (plan->metric_series != room.series) {
        mg_buf_put(reasons, "gateway.metrics.series: changing it by a reload is not supported yet; "
                            "restart the gateway for that\n");
        return false;
    }
    if (plan->limit_cells <= room.cells && plan->breakers <= room.breakers &&
        plan->keyed_breakers + plan->keyed_breakers / 4 <= room.keyed) {
        return true;
    }
    const struct mg_shm_wish wish = mg_plan_memory(plan, master->seats.count);
    mg_buf_put(reasons,
               "gateway.shared_memory: the limits and breakers of this configuration need %" PRIu64
               " bytes, the running gateway has %" PRIu64 "; set it and restart\n",
               mg_shm_bytes_needed(&wish), room.bytes);
    return false;
}

bool mg_reload_is_possible(const struct mg_master *master, const struct mg_plan *plan,
                           struct mg_buf *reasons)
{
    const struct mg_plan *present = mg_master_plan(master);
    bool possible = has_memory(master, plan, reasons);
    if (!same_listeners(present, plan)) {
        mg_buf_put(reasons,
                   "gateway.listeners: changing listeners by a reload is not supported yet; "
                   "restart the gateway for that\n");
        possible = false;
    }
    if (strcmp(present->status, plan->status) != 0) {
        mg_buf_put(reasons, "gateway.status.address: changing it by a reload is not supported yet; "
                            "restart the gateway for that\n");
        possible = false;
    }
    if (present->workers != plan->workers) {
        mg_buf_put(reasons, "gateway.workers: changing the number of workers by a reload is not "
                            "supported yet; restart the gateway for that\n");
        possible = false;
    }
    if (present->shared_memory != plan->shared_memory) {
        mg_buf_put(reasons, "gateway.shared_memory: changing the size by a reload is not supported "
                            "yet; restart the gateway for that\n");
        possible = false;
    }
    if (strcmp(present->user, plan->user) != 0) {
        mg_buf_put(reasons, "gateway.user: changing the user by a reload is not supported yet; "
                            "restart the gateway for that\n");
        possible = false;
    }
    if (strcmp(present->error_log, plan->error_log) != 0) {
        mg_buf_put(reasons,
                   "gateway.log.error_log: moving the error log by a reload is not supported "
                   "yet; restart the gateway for that\n");
        possible = false;
    }
    return possible;
}

/* --- the steps --------------------------------------------------------------------------- */

static void note_late_settings(const struct mg_master *master, struct mg_reload *reload)
{
    const struct mg_plan *before = mg_master_plan(master);
    const struct mg_plan *after = &reload->bundle.plan;
    if (before->dns_timeout != after->dns_timeout || before->dns_tries != after->dns_tries) {
        mg_buf_put(&reload->report,
                   "gateway.dns: timeout and tries hold for workers that start from "
                   "now on\n");
    }
}

static void begin_switch(struct mg_master *master, uint64_t now_ms)
{
    struct mg_reload *reload = &master->reload;
    enum mg_log_level level;
    mg_difference_describe(&master->bundle, &reload->bundle, &reload->report);
    note_late_settings(master, reload);
    mg_bundle_close(&master->bundle);
    master->bundle = reload->bundle; /* from now on replacements of dead workers load this one */
    reload->has_bundle = false;
    master->generation++;
    if (mg_log_level_parse(mg_str_from(mg_master_plan(master)->log_level), &level) == 0) {
        mg_log_set_level(master->log, level);
    }
    reload->step = MG_RELOAD_SWITCH;
    reload->deadline_ms = now_ms + SWITCH_MS;
    mg_shm_publish_generation(master->shm, master->generation);
    tell_all(master, MG_CHANNEL_SWITCH, master->generation, -1);
}

static void begin_build(struct mg_master *master, uint64_t now_ms)
{
    struct mg_reload *reload = &master->reload;
    reload->step = MG_RELOAD_BUILD;
    reload->deadline_ms = now_ms + reload->bundle.plan.init_timeout + BUILD_GRACE_MS;
    tell_all(master, MG_CHANNEL_PREPARE, master->generation + 1, reload->bundle.fd);
}

/* The checker has spoken. */
static void take_verdict(struct mg_master *master, uint64_t now_ms)
{
    struct mg_reload *reload = &master->reload;
    mg_check_report(&reload->check, &reload->report);
    if (reload->check.verdict != MG_CHECK_ACCEPTED) {
        refuse(master, MG_EXIT_CONFIG, now_ms);
        return;
    }
    const int err = mg_bundle_open(&reload->bundle, reload->check.bundle_fd);
    if (err) {
        mg_buf_put(&reload->report, "The checker's bundle cannot be read: %s\n", mg_err_text(err));
        refuse(master, MG_EXIT_FAILED, now_ms);
        return;
    }
    reload->check.bundle_fd = -1;
    reload->has_bundle = true;
    mg_check_end(&reload->check);
    if (!mg_reload_is_possible(master, &reload->bundle.plan, &reload->report)) {
        refuse(master, MG_EXIT_CONFIG, now_ms);
        return;
    }
    reload->step = MG_RELOAD_SETTLE;
    reload->deadline_ms = now_ms + SETTLE_MS;
    mg_reload_step(master, now_ms);
}

static bool all_built(const struct mg_master *master)
{
    for (uint32_t i = 0; i < master->seats.count; i++) {
        if (!master->seats.items[i].built) {
            return false;
        }
    }
    return true;
}

static bool all_switched(const struct mg_master *master)
{
    for (uint32_t i = 0; i < master->seats.count; i++) {
        const struct mg_seat *seat = &master->seats.items[i];
        if (seat->state != MG_SEAT_SERVING || seat->generation != master->generation) {
            return false;
        }
    }
    return true;
}

/* A worker that does not switch is stuck: it is replaced, and its replacement has the new
 * generation. */
static void hurry_switch(struct mg_master *master)
{
    for (uint32_t i = 0; i < master->seats.count; i++) {
        struct mg_seat *seat = &master->seats.items[i];
        if (seat->state == MG_SEAT_SERVING && seat->generation != master->generation) {
            mg_log_write(master->log, MG_LOG_ERROR, "master",
                         "worker %u does not switch to generation %" PRIu64 " and is killed", i,
                         master->generation);
            seat->stuck = true;
            kill(seat->pid, SIGKILL);
        }
    }
}

void mg_reload_step(struct mg_master *master, uint64_t now_ms)
{
    struct mg_reload *reload = &master->reload;
    const bool late = now_ms >= reload->deadline_ms;
    switch (reload->step) {
    case MG_RELOAD_IDLE:
        break;
    case MG_RELOAD_CHECK:
        if (mg_check_receive(&reload->check, now_ms)) {
            take_verdict(master, now_ms);
        }
        break;
    case MG_RELOAD_SETTLE:
        if (mg_seats_in(&master->seats, MG_SEAT_SERVING) == master->seats.count) {
            begin_build(master, now_ms);
        } else if (late) {
            mg_buf_put(&reload->report, "Not every worker serves; see the error log.\n");
            refuse(master, MG_EXIT_FAILED, now_ms);
        }
        break;
    case MG_RELOAD_BUILD:
        if (all_built(master)) {
            begin_switch(master, now_ms);
        } else if (late) {
            mg_buf_put(&reload->report, "Not every worker has built the generation in time.\n");
            refuse(master, MG_EXIT_FAILED, now_ms);
        }
        break;
    case MG_RELOAD_SWITCH:
        if (all_switched(master)) {
            succeed(master, now_ms);
        } else if (late) {
            hurry_switch(master);
            reload->deadline_ms = now_ms + SWITCH_MS;
        }
        break;
    }
}

/* --- news -------------------------------------------------------------------------------- */

static void after_fork(void *context)
{
    mg_master_forget(context, UINT32_MAX);
}

uint64_t mg_reload_ask(struct mg_master *master, uint64_t now_ms)
{
    struct mg_reload *reload = &master->reload;
    if (reload->step != MG_RELOAD_IDLE) {
        reload->again = true;
        return reload->run + 1;
    }
    const struct mg_check_ask ask = {.paths = &master->paths,
                                     .config = master->config,
                                     .after_fork = after_fork,
                                     .context = master};
    reload->run++;
    reload->started_ms = now_ms;
    reload->deadline_ms = now_ms + MG_CHECK_PATIENCE_MS;
    reload->step = MG_RELOAD_CHECK;
    mg_buf_clear(&reload->report);
    const int err = mg_check_start(&reload->check, &ask, now_ms);
    if (err) {
        mg_buf_put(&reload->report, "cannot start the check: %s\n", mg_err_text(err));
        reload->check.verdict = MG_CHECK_DIED;
        reload->deadline_ms = now_ms; /* refused by the next step */
    }
    return reload->run;
}

void mg_reload_heard(struct mg_master *master, uint32_t index,
                     const struct mg_channel_message *message, int fd, uint64_t now_ms)
{
    struct mg_reload *reload = &master->reload;
    struct mg_seat *seat = &master->seats.items[index];
    if (message->kind == MG_CHANNEL_SWITCHED) {
        seat->generation = message->number;
    } else if (reload->step != MG_RELOAD_BUILD || message->number != master->generation + 1) {
        return; /* of a run that was given up */
    } else if (message->kind == MG_CHANNEL_FAILED) {
        if (fd < 0 || mg_channel_get_text(fd, &reload->report)) {
            mg_buf_put(&reload->report, "Worker %u cannot build the generation.\n", index);
        }
        refuse(master, MG_EXIT_CONFIG, now_ms);
        return;
    } else if (strcmp(message->text, reload->bundle.plan.digest) != 0) {
        mg_buf_put(&reload->report, "Worker %u has read another bundle.\n", index);
        refuse(master, MG_EXIT_FAILED, now_ms);
        return;
    } else {
        seat->built = true;
    }
    mg_reload_step(master, now_ms);
}

void mg_reload_worker_died(struct mg_master *master, uint32_t index, uint64_t now_ms)
{
    if (master->reload.step == MG_RELOAD_BUILD) {
        mg_buf_put(&master->reload.report, "Worker %u died while it built the generation.\n",
                   index);
        refuse(master, MG_EXIT_FAILED, now_ms);
    }
}

void mg_reload_cancel(struct mg_master *master, const char *reason, uint64_t now_ms)
{
    if (master->reload.step == MG_RELOAD_IDLE) {
        return;
    }
    master->reload.again = false;
    mg_buf_put(&master->reload.report, "%s\n", reason);
    end_run(master, MG_EXIT_FAILED, now_ms);
}
