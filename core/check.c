/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker's process. Its report goes into a memfd that the master made before the fork, so that
 * what was written is there even when the checker dies; the verdict and the bundle come as one
 * message.
 */
#define _GNU_SOURCE
#include "check.h"

#include "channel.h"
#include "cli.h"
#include "script/checker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_BYTES (4 * 1024 * 1024)

void mg_check_init(struct mg_check *check)
{
    *check = (struct mg_check){.channel = -1, .report = -1, .bundle_fd = -1};
}

/* --- in the child
 * -------------------------------------------------------------------------------- */

static void write_report(int fd, mg_str text)
{
    while (text.len > 0) {
        const ssize_t written = write(fd, text.ptr, text.len);
        if (written <= 0) {
            return;
        }
        text = mg_str_slice(text, (size_t)written, text.len);
    }
}

static int run_checker(const struct mg_check *check, const struct mg_check_ask *ask, int channel)
{
    const struct mg_checker_options options = {.file = ask->config,
                                               .lua_path = ask->paths->lua,
                                               .plugins_path = ask->paths->plugins,
                                               .ffi_header = ask->paths->ffi_header};
    struct mg_bundle_writer writer;
    struct mg_buf report;
    mg_buf_init(&report, REPORT_BYTES);
    mg_bundle_writer_init(&writer);
    struct mg_channel_message message = {.kind = MG_CHANNEL_CHECKED};
    message.status = mg_checker_run(&options, &writer, &report);
    int fd = -1;
    if (message.status == 0) {
        fd = mg_bundle_writer_seal(&writer);
        message.status = fd < 0 ? fd : 0;
    }
    write_report(check->report, mg_buf_view(&report));
    const int err = mg_channel_send(channel, &message, fd);
    mg_buf_deinit(&report);
    return err ? MG_EXIT_FAILED : MG_EXIT_OK;
}

/* --- in the master
 * ------------------------------------------------------------------------------- */

int mg_check_start(struct mg_check *check, const struct mg_check_ask *ask, uint64_t now_ms)
{
    int ends[2];
    mg_check_init(check);
    int err = mg_channel_pair(ends);
    if (err) {
        return err;
    }
    check->report = memfd_create("moongate report", MFD_CLOEXEC);
    const pid_t master = getpid();
    fflush(NULL);
    const pid_t pid = check->report < 0 ? -1 : fork();
    if (pid == 0) {
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ask->after_fork(ask->context);
        exit(getppid() == master ? run_checker(check, ask, ends[1]) : MG_EXIT_FAILED);
    }
    err = pid < 0 ? -errno : 0;
    close(ends[1]);
    check->channel = ends[0];
    if (err) {
        mg_check_end(check);
        return err;
    }
    check->pid = pid;
    check->deadline_ms = now_ms + MG_CHECK_PATIENCE_MS;
    return 0;
}

bool mg_check_receive(struct mg_check *check, uint64_t now_ms)
{
    if (check->verdict != MG_CHECK_RUNNING) {
        return true;
    }
    struct mg_channel_message message;
    int fd;
    const int err = mg_channel_receive(check->channel, &message, &fd);
    if (err == 0) {
        check->verdict = message.status == 0 && fd >= 0 ? MG_CHECK_ACCEPTED : MG_CHECK_REFUSED;
        check->bundle_fd = fd;
    } else if (err == MG_EAGAIN && now_ms >= check->deadline_ms && check->pid > 0) {
        dprintf(check->report, "The check of the configuration took longer than %d s.\n",
                MG_CHECK_PATIENCE_MS / 1000);
        check->verdict = MG_CHECK_DIED;
        kill(check->pid, SIGKILL);
    }
    return check->verdict != MG_CHECK_RUNNING;
}

void mg_check_died(struct mg_check *check, int status)
{
    check->pid = 0;
    if (check->verdict == MG_CHECK_RUNNING && !mg_check_receive(check, 0)) {
        check->verdict = MG_CHECK_DIED;
        if (WIFSIGNALED(status)) {
            dprintf(check->report, "The check of the configuration died of signal %d (%s).\n",
                    WTERMSIG(status), strsignal(WTERMSIG(status)));
        } else {
            dprintf(check->report, "The check of the configuration ended with status %d.\n",
                    WEXITSTATUS(status));
        }
    }
}

void mg_check_report(const struct mg_check *check, struct mg_buf *report)
{
    if (check->report >= 0 && mg_channel_get_text(check->report, report)) {
        (void)!mg_buf_append(report, MG_STR("(the report of the check cannot be read)\n"));
    }
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void mg_check_end(struct mg_check *check)
{
    if (check->pid > 0 && check->verdict == MG_CHECK_RUNNING) {
        kill(check->pid, SIGKILL); /* reaped as any other child */
    }
    check->pid = 0;
    close_fd(&check->channel);
    close_fd(&check->report);
    close_fd(&check->bundle_fd);
}
