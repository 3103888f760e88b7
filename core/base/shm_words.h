/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of 64 bits that all workers share, changed one at a time by compare-and-swap, and the
 * records of circuit breakers and of stores, which are made of them. What the words mean is the
 * affair of model/breaker and net/redis_breaker.
 *
 * Memory order: each word says all there is to say about itself (a tag inside tells which epoch and
 * which bucket its count belongs to), and no reader concludes from one word that another has been
 * written. So relaxed loads would do for counters; the state word is read and changed with acquire
 * and release, so that what a worker did before a transition is seen by those who see the
 * transition.
 */
#pragma once

#include "base/err.h"
#include "base/shm_records.h"
#include "base/str.h"

#include <stdbool.h>

struct mg_shm;

uint64_t mg_word_load(const uint64_t *word);
/* Makes *word the new value if it is *expected, else loads it into *expected and returns false. */
bool mg_word_swap(uint64_t *word, uint64_t *expected, uint64_t value);
void mg_word_store(uint64_t *word, uint64_t value);
void mg_word_add(uint64_t *word, uint64_t n);
/* Sets or clears one bit. */
void mg_word_bit(uint64_t *word, unsigned bit, bool on);

/* Finds or makes the store with that identity; name: what people call it. Its index, or MG_EFULL. A
 * record that nobody has used for an hour may be given to another. */
int mg_store_record_open(struct mg_shm *shm, mg_str identity, mg_str name, int64_t now_ms);
/* NULL: there is no store at that index (0 .. MG_STORES - 1). */
struct mg_store_record *mg_store_record(struct mg_shm *shm, uint32_t index);
/* Notes that it is in use; now and then is enough. */
void mg_store_record_used(struct mg_store_record *record, int64_t now_ms);

/* Finds or makes the breaker with that name; its index, or MG_EFULL. A record that nobody has used
 * for an hour may be given to another. */
int mg_breaker_record_open(struct mg_shm *shm, mg_str name, int64_t now_ms);
/* NULL: there is no breaker at that index. */
struct mg_breaker_record *mg_breaker_record(struct mg_shm *shm, uint32_t index);
/* The index of the breaker with that name, or -1. */
int mg_breaker_record_find(struct mg_shm *shm, mg_str name);
/* Makes the record of a name that has none, in the first place from *from on that was never used or
 * was dropped; *from moves on. False: full. For base/shm_named, which holds the lock. */
bool mg_breaker_record_add(struct mg_shm *shm, struct mg_cell_key id, mg_str name, int64_t now_ms,
                           uint32_t *from);
/* Its name belongs to nobody any more; the record is free as soon as no probe is under way. */
void mg_breaker_record_drop(struct mg_shm *shm, uint32_t index);
/* Does that record still belong to the breaker with that name's key (mg_shm_key)? Notes the use. */
bool mg_breaker_record_used(struct mg_shm *shm, uint32_t index, struct mg_cell_key id,
                            int64_t now_ms);
