/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The master's loop: one poll over signals, control socket, checker and workers' channels, at least
 * every 250 ms for heartbeats and deadlines. Everything is told by stages (master_state.h):
 *
 *   CHECK -> START -> SERVE -> DELAY -> DRAIN -> CUT -> done
 */
#define _GNU_SOURCE
#include "master.h"

#include "breakers.h"
#include "channel.h"
#include "cli.h"
#include "master_start.h"
#include "master_state.h"
#include "notify.h"
#include "reload.h"
#include "status.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 250
#define CUT_MS 1000 /* how long workers that were told to end at once may take */
#define FORK_RETRY_MS 1000
#define FLUSH_MS 1000 /* pace of what the log has held back */
#define SIGNALS_READ 16

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void finish(struct mg_master *master, int exit_code)
{
    master->done = true;
    master->exit_code = exit_code;
}

/* --- the end ----------------------------------------------------------------------------- */

static void order_all(const struct mg_master *master, enum mg_channel_kind kind)
{
    const struct mg_channel_message message = {.kind = kind};
    for (uint32_t i = 0; i < master->seats.count; i++) {
        const struct mg_seat *seat = &master->seats.items[i];
        if (seat->state != MG_SEAT_EMPTY && mg_channel_send(seat->channel, &message, -1)) {
            mg_log_write(master->log, MG_LOG_ERROR, "master", "cannot reach worker %u", i);
        }
    }
}

static void begin_cut(struct mg_master *master, uint64_t now_ms)
{
    struct mg_stats total = {.value = {0}};
    mg_shm_stats_sum(master->shm, &total);
    mg_log_write(master->log, MG_LOG_WARN, "master",
                 "shutdown.drain_timeout has passed: %" PRIu64 " connections are cut",
                 total.value[MG_STAT_CONNECTIONS]);
    master->stage = MG_STAGE_CUT;
    master->stage_deadline_ms = now_ms + CUT_MS;
    order_all(master, MG_CHANNEL_CUT);
}

/* The master's copies of the listening sockets go too, else the kernel goes on accepting. */
static void begin_drain(struct mg_master *master, uint64_t now_ms)
{
    const uint64_t patience = mg_master_plan(master)->drain_timeout;
    master->stage = MG_STAGE_DRAIN;
    master->stage_deadline_ms = patience ? now_ms + patience : UINT64_MAX;
    mg_listeners_close(&master->listeners);
    mg_listeners_unlink(&master->listeners);
    order_all(master, MG_CHANNEL_DRAIN);
}

static void end(struct mg_master *master, uint64_t now_ms)
{
    if (master->stage == MG_STAGE_CHECK) {
        finish(master, MG_EXIT_OK);
        return;
    }
    if (master->stage >= MG_STAGE_DELAY) {
        mg_log_write(master->log, MG_LOG_WARN, "master", "told to end a second time: ending now");
        mg_seats_kill(&master->seats, SIGKILL);
        finish(master, MG_EXIT_OK);
        return;
    }
    mg_log_write(master->log, MG_LOG_NOTICE, "master", "draining");
    mg_shm_set_draining(master->shm);
    mg_notify("STOPPING=1");
    mg_reload_cancel(master, "The gateway is ending.", now_ms);
    const uint64_t delay = mg_master_plan(master)->drain_delay;
    if (delay > 0) {
        master->stage = MG_STAGE_DELAY;
        master->stage_deadline_ms = now_ms + delay;
    } else {
        begin_drain(master, now_ms);
    }
}

static void step_stage(struct mg_master *master, uint64_t now_ms)
{
    const bool late = now_ms >= master->stage_deadline_ms;
    if (master->stage == MG_STAGE_DELAY && late) {
        begin_drain(master, now_ms);
    } else if (master->stage == MG_STAGE_DRAIN && late) {
        begin_cut(master, now_ms);
    } else if (master->stage == MG_STAGE_CUT && late) {
        mg_seats_kill(&master->seats, SIGKILL);
    }
    if (master->stage >= MG_STAGE_DRAIN &&
        mg_seats_in(&master->seats, MG_SEAT_EMPTY) == master->seats.count) {
        mg_log_write(master->log, MG_LOG_NOTICE, "master", "all workers have ended");
        finish(master, MG_EXIT_OK);
    }
}

/* --- workers ----------------------------------------------------------------------------- */

/* Does not return. */
static void be_worker(struct mg_master *master, uint32_t index, int channel, pid_t parent)
{
    mg_master_forget(master, index);
    const struct mg_worker_parts parts = {.paths = &master->paths,
                                          .log = master->log,
                                          .shm = master->shm,
                                          .bundle = &master->bundle,
                                          .generation = master->generation,
                                          .listeners = &master->listeners,
                                          .status_fd = master->status_fd,
                                          .status_is_unix = master->status_address.is_unix,
                                          .user = &master->user,
                                          .index = index,
                                          .workers = master->seats.count,
                                          .channel = channel,
                                          .master = parent};
    exit(mg_worker_run(&parts));
}

static void spawn(struct mg_master *master, uint32_t index, uint64_t now_ms)
{
    int ends[2];
    const pid_t parent = getpid();
    int err = mg_channel_pair(ends);
    fflush(NULL);
    const pid_t pid = err ? -1 : fork();
    if (pid == 0) {
        close(ends[0]);
        be_worker(master, index, ends[1], parent);
    }
    if (pid < 0) {
        err = err ? err : -errno;
        mg_log_write(master->log, MG_LOG_ERROR, "master", "cannot start worker %u: %s", index,
                     mg_err_text(err));
        master->seats.items[index].respawn_ms = now_ms + FORK_RETRY_MS;
        return;
    }
    close(ends[1]);
    mg_seats_fill(&master->seats, index, pid, ends[0], now_ms);
}

static void fill_seats(struct mg_master *master, uint64_t now_ms)
{
    if (master->stage < MG_STAGE_START || master->stage >= MG_STAGE_DRAIN) {
        return;
    }
    for (uint32_t i = 0; i < master->seats.count; i++) {
        const struct mg_seat *seat = &master->seats.items[i];
        if (seat->state == MG_SEAT_EMPTY && now_ms >= seat->respawn_ms) {
            spawn(master, i, now_ms);
        }
    }
}

static void announce(struct mg_master *master, uint64_t now_ms)
{
    char places[4096];
    char state[128];
    const uint32_t workers = master->seats.count;
    master->stage = MG_STAGE_SERVE;
    master->ready_ms = now_ms;
    mg_listeners_describe(&master->listeners, places, sizeof places);
    mg_say("ready, %u worker%s, listening on %s", workers, workers == 1 ? "" : "s", places);
    const char *error_log = mg_master_plan(master)->error_log;
    if (error_log[0] && strcmp(error_log, "stderr") != 0) { /* else it stands there already */
        mg_log_write(master->log, MG_LOG_NOTICE, "master",
                     "moongate " MOONGATE_VERSION " is ready, pid=%d, %u worker%s, listening on %s",
                     (int)getpid(), workers, workers == 1 ? "" : "s", places);
    }
    snprintf(state, sizeof state, "READY=1\nSTATUS=%u workers serve", workers);
    mg_notify(state);
}

static void on_ready(struct mg_master *master, uint32_t index, uint64_t generation, uint64_t now_ms)
{
    mg_seats_ready(&master->seats, index, generation, now_ms);
    if (master->stage == MG_STAGE_START &&
        mg_seats_in(&master->seats, MG_SEAT_SERVING) == master->seats.count) {
        announce(master, now_ms);
    } else {
        mg_log_write(master->log, MG_LOG_INFO, "master", "worker %u serves generation %" PRIu64,
                     index, generation);
    }
    mg_reload_step(master, now_ms);
}

/* A worker could not build its first generation. At the start that is a refused configuration. */
static void on_failed(struct mg_master *master, uint32_t index, int fd)
{
    struct mg_buf text;
    mg_buf_init(&text, MG_REPORT_BYTES);
    if (fd >= 0 && !master->done && mg_channel_get_text(fd, &text) == 0) {
        if (master->stage == MG_STAGE_START) { /* the first word counts: all have the same reason */
            fprintf(stderr, "moongate: %.*s", MG_STR_ARG(mg_buf_view(&text)));
        } else {
            mg_log_write(master->log, MG_LOG_CRIT, "master", "worker %u cannot start", index);
            mg_log_text(master->log, MG_LOG_CRIT, "worker", mg_buf_view(&text));
        }
    }
    mg_buf_deinit(&text);
    if (master->stage == MG_STAGE_START && !master->done) {
        mg_seats_kill(&master->seats, SIGKILL);
        finish(master, MG_EXIT_CONFIG);
    }
}

static void hear(struct mg_master *master, uint32_t index, uint64_t now_ms)
{
    const struct mg_seat *seat = &master->seats.items[index];
    struct mg_channel_message message;
    int fd;
    while (seat->channel >= 0 && mg_channel_receive(seat->channel, &message, &fd) == 0) {
        if (message.kind == MG_CHANNEL_READY) {
            on_ready(master, index, message.number, now_ms);
        } else if (message.kind == MG_CHANNEL_FAILED && seat->state == MG_SEAT_STARTING) {
            on_failed(master, index, fd);
        } else {
            mg_reload_heard(master, index, &message, fd, now_ms);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
}

static void on_worker_death(struct mg_master *master, uint32_t index, pid_t pid, int status,
                            uint64_t now_ms)
{
    hear(master, index, now_ms); /* its last words */
    const bool wanted = master->stage >= MG_STAGE_DRAIN || master->done;
    mg_seats_died(&master->seats, pid, status, wanted, now_ms);
    mg_reload_worker_died(master, index, now_ms);
    if (master->stage == MG_STAGE_START && master->seats.items[index].backoff_ms > 0 &&
        !master->done) {
        mg_say("the workers die at their start; see the error log");
        mg_seats_kill(&master->seats, SIGKILL);
        finish(master, MG_EXIT_FAILED);
    }
}

static void reap(struct mg_master *master, uint64_t now_ms)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == master->reload.check.pid) {
            mg_check_died(&master->reload.check, status);
            continue;
        }
        for (uint32_t i = 0; i < master->seats.count; i++) {
            const struct mg_seat *seat = &master->seats.items[i];
            if (seat->state != MG_SEAT_EMPTY && seat->pid == pid) {
                on_worker_death(master, i, pid, status, now_ms);
                break;
            }
        }
    }
}

/* --- signals ----------------------------------------------------------------------------- */

static void reopen_logs(struct mg_master *master)
{
    if (mg_log_reopen(master->log)) {
        mg_log_write(master->log, MG_LOG_ERROR, "master",
                     "cannot open the error log anew, the old one stays");
    }
    order_all(master, MG_CHANNEL_REOPEN);
}

static void on_signal(struct mg_master *master, uint32_t number, uint64_t now_ms)
{
    switch (number) {
    case SIGTERM:
    case SIGINT:
    case SIGQUIT:
        end(master, now_ms);
        break;
    case SIGHUP:
        if (master->stage == MG_STAGE_START || master->stage == MG_STAGE_SERVE) {
            (void)mg_reload_ask(master, now_ms);
        }
        break;
    case SIGUSR1:
        reopen_logs(master);
        break;
    case SIGUSR2:
        mg_log_write(master->log, MG_LOG_WARN, "master", "upgrade is not supported yet");
        break;
    default:
        reap(master, now_ms);
    }
}

static int watch_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaddset(&set, numbers[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void read_signals(struct mg_master *master, uint64_t now_ms)
{
    struct signalfd_siginfo infos[SIGNALS_READ];
    const ssize_t got = read(master->signal_fd, infos, sizeof infos);
    for (size_t i = 0; got > 0 && i < (size_t)got / sizeof *infos; i++) {
        on_signal(master, infos[i].ssi_signo, now_ms);
    }
}

/* --- control verbs ----------------------------------------------------------------------- */

static void on_reload(void *context, struct mg_control_client *client, mg_str arguments)
{
    struct mg_master *master = context;
    (void)arguments;
    if (master->stage == MG_STAGE_START || master->stage == MG_STAGE_SERVE) {
        mg_control_await(client, mg_reload_ask(master, monotonic_ms()));
    } else {
        mg_control_reply(client, MG_EXIT_FAILED,
                         master->stage == MG_STAGE_CHECK ? MG_STR("The gateway is just starting.\n")
                                                         : MG_STR("The gateway is ending.\n"));
    }
}

static void on_status(void *context, struct mg_control_client *client, mg_str arguments)
{
    struct mg_master *master = context;
    struct mg_buf text;
    mg_buf_init(&text, MG_REPORT_BYTES);
    if (mg_str_equal(arguments, MG_STR("json"))) {
        mg_status_json(master, monotonic_ms(), &text);
    } else {
        mg_status_text(master, monotonic_ms(), &text);
    }
    mg_control_reply(client, MG_EXIT_OK, mg_buf_view(&text));
    mg_buf_deinit(&text);
}

static void on_breaker(void *context, struct mg_control_client *client, mg_str arguments)
{
    mg_breakers_answer(context, client, arguments, monotonic_ms());
}

static void on_reopen(void *context, struct mg_control_client *client, mg_str arguments)
{
    (void)arguments;
    reopen_logs(context);
    mg_control_reply(client, MG_EXIT_OK, MG_STR("The logs are opened anew.\n"));
}

static void on_stop(void *context, struct mg_control_client *client, mg_str arguments)
{
    (void)arguments;
    mg_control_reply(client, MG_EXIT_OK, MG_STR("The gateway drains and ends.\n"));
    end(context, monotonic_ms());
}

static const struct mg_control_verb verbs[] = {{"reload", on_reload},   {"status", on_status},
                                               {"breaker", on_breaker}, {"reopen", on_reopen},
                                               {"stop", on_stop},       {NULL, NULL}};

/* --- the start --------------------------------------------------------------------------- */

static void forget_all(void *context)
{
    mg_master_forget(context, UINT32_MAX);
}

static int start_check(struct mg_master *master, uint64_t now_ms)
{
    const struct mg_check_ask ask = {.paths = &master->paths,
                                     .config = master->config,
                                     .after_fork = forget_all,
                                     .context = master};
    const int err = mg_check_start(&master->reload.check, &ask, now_ms);
    if (err) {
        mg_say("cannot start the check of the configuration: %s", mg_err_text(err));
    }
    return err;
}

/* The first check has its verdict. */
static void take_first_verdict(struct mg_master *master)
{
    struct mg_check *check = &master->reload.check;
    struct mg_buf report;
    mg_buf_init(&report, MG_REPORT_BYTES);
    mg_check_report(check, &report);
    fprintf(stderr, "%.*s", MG_STR_ARG(mg_buf_view(&report)));
    mg_buf_deinit(&report);
    if (check->verdict != MG_CHECK_ACCEPTED) {
        finish(master, check->verdict == MG_CHECK_REFUSED ? MG_EXIT_CONFIG : MG_EXIT_FAILED);
        return;
    }
    const int err = mg_bundle_open(&master->bundle, check->bundle_fd);
    if (err) {
        mg_say("the checker's bundle cannot be read: %s", mg_err_text(err));
        finish(master, MG_EXIT_FAILED);
        return;
    }
    check->bundle_fd = -1;
    master->has_bundle = true;
    mg_check_end(check);
    const int exit_code = mg_master_start(master);
    if (exit_code) {
        finish(master, exit_code);
        return;
    }
    master->stage = MG_STAGE_START;
}

static int prepare(struct mg_master *master, const struct mg_run_options *options)
{
    char message[512];
    char control[128];
    master->config = options->config;
    master->signal_fd = -1;
    master->status_fd = -1;
    mg_reload_init(&master->reload);
    int err = mg_log_open(&master->log, NULL, MG_LOG_NOTICE);
    mg_require(err == 0);
    err = mg_paths_absolute(options->config, master->config_path);
    if (err) {
        mg_say("cannot read the configuration %s: %s", options->config, mg_err_text(err));
        return MG_EXIT_CONFIG;
    }
    err = mg_paths_find(&master->paths, message, sizeof message);
    if (!err && !options->control) {
        err =
            mg_paths_control(master->config_path, control, sizeof control, message, sizeof message);
    }
    err = err ? err
              : mg_control_open(&master->control, options->control ? options->control : control,
                                verbs, master, message, sizeof message);
    if (err) {
        mg_say("%s", message);
        return MG_EXIT_FAILED;
    }
    mg_master_raise_files();
    mg_master_raise_stack();
    master->signal_fd = watch_signals();
    if (master->signal_fd < 0 || start_check(master, monotonic_ms())) {
        return MG_EXIT_FAILED;
    }
    return MG_EXIT_OK;
}

/* --- the loop ---------------------------------------------------------------------------- */

static size_t fill_poll(const struct mg_master *master, struct pollfd *fds)
{
    size_t count = 0;
    fds[count++] = (struct pollfd){.fd = master->signal_fd, .events = POLLIN};
    /* poll(2) passes over negative descriptors */
    fds[count++] = (struct pollfd){.fd = master->reload.check.channel, .events = POLLIN};
    for (uint32_t i = 0; i < master->seats.count; i++) {
        fds[count++] = (struct pollfd){.fd = master->seats.items[i].channel, .events = POLLIN};
    }
    return count + mg_control_poll(master->control, fds + count);
}

static void tick(struct mg_master *master, uint64_t now_ms)
{
    if (master->shm) {
        mg_shm_tick(master->shm, now_ms, wall_ms());
        mg_seats_watch(&master->seats, mg_master_plan(master)->watchdog_ms, now_ms);
    }
    if (now_ms >= master->flush_ms) {
        master->flush_ms = now_ms + FLUSH_MS;
        mg_log_flush(master->log);
    }
    if (master->notify_interval_ms && now_ms >= master->notify_ms) {
        master->notify_ms = now_ms + master->notify_interval_ms;
        mg_notify("WATCHDOG=1");
    }
}

static void turn(struct mg_master *master, uint64_t *next_tick_ms)
{
    struct pollfd fds[2 + MG_SHM_MAX_WORKERS + MG_CONTROL_FDS];
    const size_t before_control = 2 + master->seats.count;
    const size_t count = fill_poll(master, fds);
    const uint64_t before = monotonic_ms();
    const uint64_t wait = *next_tick_ms > before ? *next_tick_ms - before : 0;
    if (poll(fds, count, (int)(wait < TICK_MS ? wait : TICK_MS)) < 0) {
        return; /* EINTR: only by signals that are not ours */
    }
    const uint64_t now_ms = monotonic_ms();
    for (uint32_t i = 0; i < master->seats.count; i++) {
        if (fds[2 + i].revents) {
            hear(master, i, now_ms);
        }
    }
    if (fds[0].revents) {
        read_signals(master, now_ms);
    }
    if (master->stage == MG_STAGE_CHECK) {
        if (!master->done && mg_check_receive(&master->reload.check, now_ms)) {
            take_first_verdict(master);
        }
    } else {
        mg_reload_step(master, now_ms);
        step_stage(master, now_ms);
    }
    mg_control_serve(master->control, fds + before_control, count - before_control, now_ms);
    if (now_ms >= *next_tick_ms) {
        *next_tick_ms = now_ms + TICK_MS;
        tick(master, now_ms);
    }
    if (!master->done) {
        fill_seats(master, now_ms);
    }
}

/* Children that were killed are waited for, so that none is left when we are gone. */
static void wait_children(void)
{
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
}

int mg_master_run(const struct mg_run_options *options)
{
    struct mg_master *master = calloc(1, sizeof *master);
    mg_require(master != NULL);
    uint64_t next_tick_ms = 0;
    master->started_ms = monotonic_ms();
    master->notify_interval_ms = mg_notify_interval_ms();
    int exit_code = prepare(master, options);
    if (exit_code == MG_EXIT_OK) {
        while (!master->done) {
            turn(master, &next_tick_ms);
        }
        exit_code = master->exit_code;
    }
    mg_seats_kill(&master->seats, SIGKILL);
    mg_master_end(master);
    wait_children();
    free(master);
    return exit_code;
}
