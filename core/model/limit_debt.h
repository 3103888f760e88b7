/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker owes to a Redis that limits are counted in (limit_store.h): units that it admitted
 * alone, bans that began meanwhile, and what it asked for without hearing an answer. One debt for
 * each key.
 *
 *     struct mg_limit_debt *debt = mg_limit_debt_new(shm, key);
 *     mg_limit_debts_enter(&debts, debt);                // the list has it now
 *     mg_limit_debts_leave(&debts, debt);                // and now the caller has it again
 *     if (mg_limit_debt_words(debt, shm, now_ms, &arena, &words)) ...       // what pays it
 *     free(debt);
 */
#pragma once

#include "base/list.h"
#include "model/limit_script.h"

enum mg_limit_debt_kind {
    MG_LIMIT_DEBT_UNITS,
    MG_LIMIT_DEBT_BAN,
    MG_LIMIT_DEBT_CANCELLATION, /* of what a concurrency limit perhaps holds */
};

struct mg_limit_debt {
    struct mg_link link, order; /* in its bucket; among all */
    uint64_t hash;
    mg_str key; /* behind the struct; of a cancellation: with '\n' and the name of what is held */
    enum mg_limit_debt_kind kind;
    struct mg_limit_rule full, share;
    int64_t state[4]; /* of share: as if only this had been counted */
    struct mg_limit_ban ban;
    struct mg_cell_key cell;
    int64_t until_ms; /* a cancellation matters no more */
};

#define MG_LIMIT_DEBTS 16384 /* at most; a power of 2 */

/* Cleared memory, then init. */
struct mg_limit_debts {
    struct mg_link order; /* struct mg_limit_debt, oldest first */
    uint32_t count;
    struct mg_link *buckets; /* NULL: there never was one */
};

void mg_limit_debts_init(struct mg_limit_debts *debts);
/* Frees those in it. */
void mg_limit_debts_deinit(struct mg_limit_debts *debts);
/* NULL: none. */
struct mg_limit_debt *mg_limit_debts_find(const struct mg_limit_debts *debts, struct mg_shm *shm,
                                          mg_str key);
/* There is room for it. */
void mg_limit_debts_enter(struct mg_limit_debts *debts, struct mg_limit_debt *debt);
void mg_limit_debts_leave(struct mg_limit_debts *debts, struct mg_limit_debt *debt);

/* The caller's; the key is copied. */
struct mg_limit_debt *mg_limit_debt_new(struct mg_shm *shm, mg_str key);
/* Units that were admitted by this host's part of the limit, by which they age. is_new: the first
 * ones of the debt. */
void mg_limit_debt_units(struct mg_limit_debt *debt, bool is_new, const struct mg_limit_rule *full,
                         const struct mg_limit_rule *share, int64_t now_ms, int64_t units);
/* The words that pay it; memory of the arena. False: there is nothing to pay any more. */
bool mg_limit_debt_words(const struct mg_limit_debt *debt, struct mg_shm *shm, int64_t now_ms,
                         struct mg_arena *arena, struct mg_limit_words *words);
