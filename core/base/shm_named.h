/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which breakers have records with names: those that the present configuration names, all at once,
 * in a time that grows with their number and not with its square.
 *
 *     mg_breaker_records_follow(shm, names, count, now_ms);     // the master, after a reload
 */
#pragma once

#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

struct mg_shm;

/* Drops the records, with those by key, whose names are not among these, and makes those that are
 * missing, as long as there is room. */
void mg_breaker_records_follow(struct mg_shm *shm, const mg_str *names, size_t count,
                               int64_t now_ms);
