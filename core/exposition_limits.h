/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the metrics that lies in records of limits, and of the stores that they are counted
 * in. Private to exposition_records.c.
 */
#pragma once

#include "base/buf.h"
#include "base/shm.h"

/* As mg_exposition_record. */
bool mg_exposition_limit(struct mg_shm *shm, uint64_t now_ms, unsigned which, struct mg_buf *out);
