/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line's side of the control socket (control.h): one request, one answer.
 *
 *     struct mg_buf answer;
 *     int code;
 *     err = mg_control_ask(path, "status json", 10000, &code, &answer);
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

/* Waits for at most wait_ms. The answer's text is appended to answer. -ENOENT, -ECONNREFUSED: no
 * gateway is running there; MG_ETIMEOUT; MG_ECLOSED: it went away before it had answered;
 * MG_EINVALID: it speaks another protocol; other negative errno. */
MG_NODISCARD int mg_control_ask(const char *path, const char *request, uint64_t wait_ms, int *code,
                                struct mg_buf *answer);
