/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All metrics as text, for Prometheus: what is counted in the shared memory by all workers, read at
 * one moment after the other. Made in pieces, so that whoever sends it never holds the whole and
 * never stops its loop for long.
 *
 *     struct mg_exposition *exposition = mg_exposition_new(shm, now_ms);
 *     while (mg_exposition_next(exposition, &buf)) { send and clear buf }
 *     mg_exposition_free(exposition);
 */
#pragma once

#include "base/buf.h"
#include "base/shm.h"

struct mg_exposition;

/* now_ms: monotonic. */
struct mg_exposition *mg_exposition_new(struct mg_shm *shm, uint64_t now_ms);
/* Appends the next piece, some 10 to 200 KiB; false: there is none left, nothing was appended. */
bool mg_exposition_next(struct mg_exposition *exposition, struct mg_buf *out);
void mg_exposition_free(struct mg_exposition *exposition);
