/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forked checker: loads the configuration and every plugin in a throwaway process, as `moongate
 * check` does, so that the master never runs Lua. Gives back a bundle, or a report of all errors.
 *
 *     err = mg_check_start(&check, &ask, now_ms);
 *     poll(check.channel) ... if (mg_check_receive(&check)) -> check.verdict, check.bundle_fd
 *     mg_check_report(&check, &report);
 *     mg_check_end(&check);
 */
#pragma once

#include "base/buf.h"
#include "paths.h"

#include <stdbool.h>
#include <sys/types.h>

#define MG_CHECK_PATIENCE_MS 60000 /* after that the checker is killed */

enum mg_check_verdict {
    MG_CHECK_RUNNING,
    MG_CHECK_ACCEPTED,
    MG_CHECK_REFUSED, /* the report says why */
    MG_CHECK_DIED,    /* so does this one */
};

struct mg_check_ask {
    const struct mg_paths *paths;
    const char *config;
    void (*after_fork)(void *context); /* in the child: closes what is not its business */
    void *context;
};

struct mg_check {
    pid_t pid; /* 0 = none */
    int channel, report, bundle_fd;
    uint64_t deadline_ms;
    enum mg_check_verdict verdict;
};

void mg_check_init(struct mg_check *check);
/* Negative errno. */
MG_NODISCARD int mg_check_start(struct mg_check *check, const struct mg_check_ask *ask,
                                uint64_t now_ms);
/* The channel is readable, or time has passed: true when the verdict is there. */
bool mg_check_receive(struct mg_check *check, uint64_t now_ms);
/* The process has ended with that wait status (it may be reaped before its channel is read). */
void mg_check_died(struct mg_check *check, int status);
/* Warnings or errors, appended. */
void mg_check_report(const struct mg_check *check, struct mg_buf *report);
/* Kills it if it still runs; closes all but bundle_fd when somebody took that (set to -1). */
void mg_check_end(struct mg_check *check);
