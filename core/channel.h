/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between the master and a process it forked (worker or checker): fixed structs over a
 * pair of unix sockets that keep message borders, each with at most one file descriptor. Texts of
 * any length travel as a memfd.
 *
 *   master -> worker   PREPARE number + bundle   build that generation beside the present one
 *                      SWITCH number             serve it from now on
 *                      DROP number               forget it
 *                      DRAIN                     stop accepting, end when nothing is left
 *                      CUT                       end now
 *                      REOPEN                    open the logs anew
 *                      QUARANTINE text           do not call that plugin for a while
 *   worker -> master   READY number              serves its first generation
 *                      FAILED number + text      could not build: the errors
 *                      BUILT number, text        PREPARE is done
 *                      SWITCHED number           SWITCH is done
 *   checker -> master  CHECKED status + bundle   (the report is in a memfd that the master made)
 *
 * Descriptors passed are closed by mg_channel_close only on the side that received them and still
 * keeps them: whoever receives one owns it.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

enum mg_channel_kind {
    MG_CHANNEL_PREPARE = 1,
    MG_CHANNEL_SWITCH,
    MG_CHANNEL_DROP,
    MG_CHANNEL_DRAIN,
    MG_CHANNEL_CUT,
    MG_CHANNEL_REOPEN,
    MG_CHANNEL_QUARANTINE,
    MG_CHANNEL_READY,
    MG_CHANNEL_FAILED,
    MG_CHANNEL_BUILT,
    MG_CHANNEL_SWITCHED,
    MG_CHANNEL_CHECKED,
};

struct mg_channel_message {
    uint32_t kind;
    int32_t status;
    uint64_t number;
    char text[65]; /* a digest, a plugin's name; ends with a NUL */
};

/* Two non-blocking ends, closed on exec. Negative errno. */
MG_NODISCARD int mg_channel_pair(int ends[2]);
/* fd: passed along, stays the caller's; -1 = none. -EAGAIN: the other side does not read. */
MG_NODISCARD int mg_channel_send(int channel, const struct mg_channel_message *message, int fd);
/* *fd: the caller's, or -1. MG_EAGAIN: nothing there; MG_ECLOSED: the other side is gone; negative
 * errno. */
MG_NODISCARD int mg_channel_receive(int channel, struct mg_channel_message *message, int *fd);

/* A text as a memfd, and back (appended to out, up to its cap). Negative errno. */
int mg_channel_put_text(mg_str text);
MG_NODISCARD int mg_channel_get_text(int fd, struct mg_buf *out);
