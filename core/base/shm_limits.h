/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of limits in the shared region: who owns which cells, how many there are, and which limit
 * stood in a limit's place before an edit.
 *
 *     struct mg_limit_opening opening = {.id = id, .family = family, .name = MG_STR("minute"),
 *                                        .max_keys = 65536, .window_ms = 60000,
 *                                        .rule = &rule, .rule_bytes = sizeof rule};
 *     int record = mg_limit_record_open(shm, &opening, now_ms);
 */
#pragma once

#include "base/err.h"
#include "base/shm_records.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

struct mg_shm;

struct mg_limit_opening {
    struct mg_cell_key id;     /* what makes its counters its own */
    struct mg_cell_key family; /* the same without what an edit may change while it counts on */
    mg_str name;               /* for people */
    uint32_t max_keys;
    int64_t window_ms; /* how long its counts mean something once another has taken its place */
    const void *rule;  /* kept for the one that takes its place */
    size_t rule_bytes; /* at most MG_LIMIT_RULE_BYTES */
    uint32_t until;    /* word of a cell's state that is a time, plus 1: cells are counted for which
                          it has not come yet, anew every 2 s (record->running); 0: none is */
};

/* Finds or makes the record of the limit with that id; its index, or MG_EFULL. It is the current
 * one of its family then; what was current before is its former one for that one's window_ms. A
 * record that nobody has used for an hour, and has no cell, may be given to another. */
int mg_limit_record_open(struct mg_shm *shm, const struct mg_limit_opening *opening,
                         int64_t now_ms);
/* Does that record still belong to the limit? */
bool mg_limit_record_is(const struct mg_shm *shm, uint32_t record, struct mg_cell_key id);
/* Copies what is known of a limit; false where there is none (index < mg_shm_room's limits). */
bool mg_limit_record_read(const struct mg_shm *shm, uint32_t record, struct mg_limit_record *out);

/* Counts a request that was admitted when less than a fifth was left. */
void mg_limit_record_near(struct mg_shm *shm, uint32_t record);
/* Counts a ban that a denial of this limit has begun. */
void mg_limit_record_ban(struct mg_shm *shm, uint32_t record);
/* Notes how many units may be admitted too much. */
void mg_limit_record_over_admit(struct mg_shm *shm, uint32_t record, uint64_t units);

/* Counts one more live cell of that class of networks, if the limit may have it. */
bool mg_limit_live_take(struct mg_shm *shm, uint32_t record, uint8_t network);
void mg_limit_live_drop(struct mg_shm *shm, uint32_t record, uint8_t network);

/* The sweep, one process, has met that live cell; and has seen the whole table: what it counted in
 * record->swept becomes record->running. */
void mg_limit_record_swept(struct mg_shm *shm, const struct mg_cell *cell, int64_t now_ms);
void mg_limit_records_swept(struct mg_shm *shm);
