/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the metrics that lies in records of the shared memory: circuit breakers, limits,
 * stores, upstreams, log sinks. Private to exposition.c.
 */
#pragma once

#include "base/buf.h"
#include "base/shm.h"

/* Appends metric number `which`, counted from 0; false: there are not so many. now_ms:
 * monotonic. */
bool mg_exposition_record(struct mg_shm *shm, uint64_t now_ms, unsigned which, struct mg_buf *out);
