/* SPDX-License-Identifier: Apache-2.0 */
/* The worker table: births, deaths, heartbeats. */
#include "seats.h"

#include "base/shm_metrics.h"
#include "channel.h"
#include "model/meter.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EARLY_MS 1000 /* a death so soon after READY is a step of a crash loop */
#define EARLY_WINDOW_MS 10000
#define BACKOFF_MS 1000
#define BACKOFF_MAX_MS 30000
#define WATCHDOG_START_MS 10000 /* at least, for a worker that is still starting */

/* In the master's own words; plugin: what ran there, "" where none did. */
static void count_restarts(struct mg_seats *seats, const char *reason, mg_str plugin,
                           uint64_t restarts)
{
    static const char *const labels[] = {"reason", "plugin"};
    const struct mg_metric_def def = {
        .name = MG_STR("moongate_worker_restarts_total"),
        .help = MG_STR("workers that were replaced; plugin: what ran there, if one did"),
        .type = MG_METRIC_COUNTER,
        .labels = labels,
        .label_count = 2};
    const mg_str values[] = {mg_str_from(reason), plugin};
    const int metric = mg_metric_open(seats->shm, &def);
    if (metric >= 0) {
        uint64_t *words = mg_metric_words(seats->shm, seats->count);
        words[mg_series_open(seats->shm, (uint32_t)metric, values, NULL)] += restarts;
    }
}

void mg_seats_init(struct mg_seats *seats, uint32_t count, struct mg_log *log, struct mg_shm *shm)
{
    *seats = (struct mg_seats){.count = count, .log = log, .shm = shm};
    seats->items = calloc(count, sizeof *seats->items);
    mg_require(seats->items != NULL);
    for (uint32_t i = 0; i < count; i++) {
        seats->items[i].channel = -1;
    }
    count_restarts(seats, "crash", MG_STR(""), 0); /* shown from the start */
    count_restarts(seats, "stuck", MG_STR(""), 0);
}

static void close_channel(struct mg_seat *seat)
{
    if (seat->channel >= 0) {
        close(seat->channel);
        seat->channel = -1;
    }
}

void mg_seats_deinit(struct mg_seats *seats)
{
    for (uint32_t i = 0; i < seats->count; i++) {
        close_channel(&seats->items[i]);
    }
    free(seats->items);
    *seats = (struct mg_seats){.count = 0};
}

void mg_seats_fill(struct mg_seats *seats, uint32_t index, pid_t pid, int channel, uint64_t now_ms)
{
    struct mg_seat *seat = &seats->items[index];
    seat->state = MG_SEAT_STARTING;
    seat->pid = pid;
    seat->channel = channel;
    seat->started_ms = seat->beat_ms = now_ms;
    seat->beat = 0;
    seat->stuck = seat->built = false;
}

/* A failure is not worth a word: that worker is about to be replaced, and then it is told again. */
static void send_quarantine(const struct mg_seat *seat, const char *plugin)
{
    struct mg_channel_message message = {.kind = MG_CHANNEL_QUARANTINE};
    snprintf(message.text, sizeof message.text, "%s", plugin);
    (void)!(seat->state == MG_SEAT_SERVING && mg_channel_send(seat->channel, &message, -1));
}

void mg_seats_ready(struct mg_seats *seats, uint32_t index, uint64_t generation, uint64_t now_ms)
{
    struct mg_seat *seat = &seats->items[index];
    seat->state = MG_SEAT_SERVING;
    seat->ready_ms = now_ms;
    seat->generation = generation;
    for (size_t i = 0; i < MG_CULPRITS; i++) {
        if (seats->culprits[i].until_ms > now_ms) {
            send_quarantine(seat, seats->culprits[i].plugin);
        }
    }
}

/* --- deaths ------------------------------------------------------------------------------ */

/* Whether the last early deaths came fast enough to wait; notes this one. */
static bool is_crash_loop(struct mg_seat *seat, uint64_t now_ms)
{
    for (size_t i = MG_SEAT_EARLY_DEATHS - 1; i > 0; i--) {
        seat->early_deaths[i] = seat->early_deaths[i - 1];
    }
    seat->early_deaths[0] = now_ms;
    const uint64_t oldest = seat->early_deaths[MG_SEAT_EARLY_DEATHS - 1];
    return seat->backoff_ms > 0 || (oldest > 0 && now_ms - oldest <= EARLY_WINDOW_MS);
}

static void plan_respawn(struct mg_seats *seats, uint32_t index, bool wanted, uint64_t now_ms)
{
    struct mg_seat *seat = &seats->items[index];
    const bool early = seat->state == MG_SEAT_STARTING || now_ms - seat->ready_ms <= EARLY_MS;
    seat->respawn_ms = now_ms;
    if (wanted || seat->stuck || !early) {
        seat->backoff_ms = 0;
        return;
    }
    if (is_crash_loop(seat, now_ms)) {
        seat->backoff_ms = seat->backoff_ms ? seat->backoff_ms * 2 : BACKOFF_MS;
        seat->backoff_ms = seat->backoff_ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : seat->backoff_ms;
        seat->respawn_ms = now_ms + seat->backoff_ms;
        mg_log_write(seats->log, MG_LOG_CRIT, "master",
                     "worker %u keeps dying at its start: next try in %" PRIu64 " s", index,
                     seat->backoff_ms / 1000);
    }
}

/* What the slot says that was running: "" when nothing was. */
static const char *suspect(const struct mg_slot *slot, char *text, size_t bytes)
{
    if (!slot->running) {
        return "";
    }
    char plugin[2 * MG_SLOT_TEXT];
    char route[2 * MG_SLOT_TEXT];
    char request[2 * MG_SLOT_TEXT];
    mg_log_quote(plugin, sizeof plugin,
                 mg_str_make(slot->plugin, strnlen(slot->plugin, MG_SLOT_TEXT)));
    mg_log_quote(route, sizeof route, mg_str_make(slot->route, strnlen(slot->route, MG_SLOT_TEXT)));
    mg_log_quote(request, sizeof request,
                 mg_str_make(slot->request_id, strnlen(slot->request_id, MG_SLOT_TEXT)));
    snprintf(text, bytes, " plugin=%s phase=%.*s route=%s request_id=%s", plugin,
             (int)strnlen(slot->phase, sizeof slot->phase), slot->phase, route, request);
    return text;
}

/* What was under way there is over, and nobody else knows. */
static void count_lost(struct mg_seats *seats, uint32_t index)
{
    const uint64_t lost = mg_shm_stats(seats->shm, index)->value[MG_STAT_REQUESTS_ACTIVE];
    struct mg_stats *stats = mg_shm_stats(seats->shm, seats->count);
    for (uint64_t i = 0; i < lost; i++) {
        mg_stats_outcome(stats, MG_OUTCOME_WORKER_DIED, 0);
    }
    mg_meter_lost(seats->shm, lost);
}

static void log_death(struct mg_seats *seats, uint32_t index, int status, bool wanted)
{
    const struct mg_seat *seat = &seats->items[index];
    char running[600] = "";
    const char *what = suspect(mg_shm_slot(seats->shm, index), running, sizeof running);
    if (wanted) {
        return;
    }
    if (WIFSIGNALED(status)) {
        mg_log_write(seats->log, MG_LOG_ALERT, "master",
                     "worker %u died of signal %d (%s) pid=%d%s", index, WTERMSIG(status),
                     strsignal(WTERMSIG(status)), (int)seat->pid, what);
    } else {
        mg_log_write(seats->log, MG_LOG_ALERT, "master", "worker %u ended with status %d pid=%d%s",
                     index, WEXITSTATUS(status), (int)seat->pid, what);
    }
}

static void count_restart(struct mg_seats *seats, uint32_t index)
{
    const struct mg_slot *slot = mg_shm_slot(seats->shm, index);
    const bool stuck = seats->items[index].stuck;
    const size_t length = slot->running ? strnlen(slot->plugin, MG_SLOT_TEXT) : 0;
    mg_stats_add(mg_shm_stats(seats->shm, seats->count),
                 stuck ? MG_STAT_RESTARTS_STUCK : MG_STAT_RESTARTS_CRASH, 1);
    count_restarts(seats, stuck ? "stuck" : "crash", mg_str_make(slot->plugin, length), 1);
}

int mg_seats_died(struct mg_seats *seats, pid_t pid, int status, bool wanted, uint64_t now_ms)
{
    for (uint32_t i = 0; i < seats->count; i++) {
        struct mg_seat *seat = &seats->items[i];
        if (seat->state == MG_SEAT_EMPTY || seat->pid != pid) {
            continue;
        }
        log_death(seats, i, status, wanted);
        count_lost(seats, i);
        if (!wanted) {
            count_restart(seats, i);
        }
        mg_shm_worker_died(seats->shm, i);
        plan_respawn(seats, i, wanted, now_ms);
        close_channel(seat);
        seat->state = MG_SEAT_EMPTY;
        seat->restarts += wanted ? 0 : 1;
        return (int)i;
    }
    return -1;
}

/* --- heartbeat --------------------------------------------------------------------------- */

static struct mg_culprit *culprit_of(struct mg_seats *seats, mg_str plugin)
{
    struct mg_culprit *least = &seats->culprits[0];
    for (size_t i = 0; i < MG_CULPRITS; i++) {
        struct mg_culprit *culprit = &seats->culprits[i];
        if (mg_str_equal(mg_str_from(culprit->plugin), plugin)) {
            return culprit;
        }
        least = culprit->kills < least->kills ? culprit : least;
    }
    *least = (struct mg_culprit){.kills = 0};
    memcpy(least->plugin, plugin.ptr, plugin.len);
    return least;
}

/* The slot's text may lack its NUL: the worker could have been killed while it wrote it. */
static void blame(struct mg_seats *seats, const struct mg_slot *slot, uint64_t now_ms)
{
    const mg_str plugin = mg_str_make(slot->plugin, strnlen(slot->plugin, MG_SLOT_TEXT - 1));
    if (!slot->running || plugin.len == 0) {
        return;
    }
    struct mg_culprit *culprit = culprit_of(seats, plugin);
    if (++culprit->kills < MG_CULPRIT_KILLS) {
        return;
    }
    culprit->kills = 0;
    culprit->until_ms = now_ms + MG_CULPRIT_MS;
    mg_log_write(seats->log, MG_LOG_ALERT, "master",
                 "plugin \"%s\" has hung %d workers: it is not called for a while", culprit->plugin,
                 MG_CULPRIT_KILLS);
    for (uint32_t i = 0; i < seats->count; i++) {
        send_quarantine(&seats->items[i], culprit->plugin);
    }
}

static void kill_stuck(struct mg_seats *seats, uint32_t index, uint64_t still_ms, uint64_t now_ms)
{
    struct mg_seat *seat = &seats->items[index];
    char running[600] = "";
    mg_log_write(seats->log, MG_LOG_ALERT, "master",
                 "worker %u has not moved for %" PRIu64 " ms and is killed pid=%d%s", index,
                 still_ms, (int)seat->pid,
                 suspect(mg_shm_slot(seats->shm, index), running, sizeof running));
    seat->stuck = true;
    kill(seat->pid, SIGKILL);
    blame(seats, mg_shm_slot(seats->shm, index), now_ms);
}

void mg_seats_watch(struct mg_seats *seats, uint64_t watchdog_ms, uint64_t now_ms)
{
    for (uint32_t i = 0; i < seats->count; i++) {
        struct mg_seat *seat = &seats->items[i];
        const struct mg_slot *slot = mg_shm_slot(seats->shm, i);
        if (seat->state == MG_SEAT_EMPTY || seat->stuck) {
            continue;
        }
        const uint64_t beat = *(const volatile uint64_t *)&slot->beat;
        const bool waiting = *(const volatile uint32_t *)&slot->waiting != 0;
        if (waiting || beat != seat->beat) {
            seat->beat = beat;
            seat->beat_ms = now_ms;
            continue;
        }
        const uint64_t patience = seat->state == MG_SEAT_STARTING && watchdog_ms < WATCHDOG_START_MS
                                      ? WATCHDOG_START_MS
                                      : watchdog_ms;
        if (watchdog_ms > 0 && now_ms - seat->beat_ms >= patience) {
            kill_stuck(seats, i, now_ms - seat->beat_ms, now_ms);
        }
    }
}

/* --- all of them ------------------------------------------------------------------------- */

uint32_t mg_seats_in(const struct mg_seats *seats, enum mg_seat_state state)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < seats->count; i++) {
        count += seats->items[i].state == state ? 1 : 0;
    }
    return count;
}

void mg_seats_kill(const struct mg_seats *seats, int signal)
{
    for (uint32_t i = 0; i < seats->count; i++) {
        if (seats->items[i].state != MG_SEAT_EMPTY) {
            kill(seats->items[i].pid, signal);
        }
    }
}
