/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the metrics that is made of the statistics of all workers and the master. Private to
 * exposition.c.
 */
#pragma once

#include "base/buf.h"
#include "base/shm.h"

/* Appends all of it. */
void mg_exposition_core(struct mg_shm *shm, struct mg_buf *out);
/* Another metric tells the same with more labels: it is not among these. */
bool mg_exposition_is_elsewhere(enum mg_stat which);
