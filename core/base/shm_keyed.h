/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of breakers that an entry keeps for each key: a hash table behind the records with names.
 * A key is looked for, without a lock, in two groups of MG_KEYED_GROUP records; its entry's own
 * record (the owner) counts the keys and stands in for those that find no place. The owner's
 * counters have what all its keys have.
 *
 * A record is free again when it has been CLOSED and unused for its forget_ms, or unused for an
 * hour in any state: the master's sweep finds it within 2 s, a key that needs the place at once. A
 * process killed while it makes or frees a record may leave the owner's count off by one.
 */
#pragma once

#include "base/shm_words.h"

#define MG_KEYED_GROUP 8

/* Finds or makes the record of a key of that owner. Its index, or MG_EFULL: max_keys are in use, or
 * both groups. */
int mg_keyed_open(struct mg_shm *shm, uint32_t owner, struct mg_cell_key key, uint32_t max_keys,
                  int64_t now_ms);
/* Frees what nobody needs any more in a part of the table; in 2 s all of it. By the master. */
void mg_keyed_sweep(struct mg_shm *shm, int64_t now_ms);
/* Frees all records of an owner whose probes are back; the others forget their key. */
void mg_keyed_drop(struct mg_shm *shm, uint32_t owner);
/* Calls each(context, record) for the records of an owner. */
void mg_keyed_each(struct mg_shm *shm, uint32_t owner,
                   void (*each)(void *context, const struct mg_breaker_record *record),
                   void *context);
