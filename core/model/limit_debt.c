/* SPDX-License-Identifier: Apache-2.0 */
#include "model/limit_debt.h"

#include "base/shm.h"

#include <stdlib.h>
#include <string.h>

#define CANCEL_WORDS 5

/* --- all of them ---------------------------------------------------------------------------- */

void mg_limit_debts_init(struct mg_limit_debts *debts)
{
    mg_link_init(&debts->order);
}

void mg_limit_debts_deinit(struct mg_limit_debts *debts)
{
    while (!mg_list_empty(&debts->order)) {
        struct mg_limit_debt *debt = MG_CONTAINER(debts->order.next, struct mg_limit_debt, order);
        mg_link_remove(&debt->order);
        free(debt);
    }
    free(debts->buckets);
}

static void make_buckets(struct mg_limit_debts *debts)
{
    debts->buckets = malloc(MG_LIMIT_DEBTS * sizeof *debts->buckets);
    mg_require(debts->buckets != NULL);
    for (int i = 0; i < MG_LIMIT_DEBTS; i++) {
        mg_link_init(&debts->buckets[i]);
    }
}

static uint64_t hash_of(struct mg_shm *shm, mg_str key)
{
    return mg_shm_key(shm, key).hash[1];
}

struct mg_limit_debt *mg_limit_debts_find(const struct mg_limit_debts *debts, struct mg_shm *shm,
                                          mg_str key)
{
    if (!debts->buckets) {
        return NULL;
    }
    const uint64_t hash = hash_of(shm, key);
    const struct mg_link *head = &debts->buckets[hash & (MG_LIMIT_DEBTS - 1)];
    for (struct mg_link *at = head->next; at != head; at = at->next) {
        struct mg_limit_debt *debt = MG_CONTAINER(at, struct mg_limit_debt, link);
        if (debt->hash == hash && mg_str_equal(debt->key, key)) {
            return debt;
        }
    }
    return NULL;
}

void mg_limit_debts_enter(struct mg_limit_debts *debts, struct mg_limit_debt *debt)
{
    if (!debts->buckets) {
        make_buckets(debts);
    }
    mg_list_append(&debts->buckets[debt->hash & (MG_LIMIT_DEBTS - 1)], &debt->link);
    mg_list_append(&debts->order, &debt->order);
    debts->count++;
}

void mg_limit_debts_leave(struct mg_limit_debts *debts, struct mg_limit_debt *debt)
{
    mg_link_remove(&debt->link);
    mg_link_remove(&debt->order);
    debts->count--;
}

/* --- one ------------------------------------------------------------------------------------ */

struct mg_limit_debt *mg_limit_debt_new(struct mg_shm *shm, mg_str key)
{
    struct mg_limit_debt *debt = calloc(1, sizeof *debt + key.len + 1);
    mg_require(debt != NULL);
    memcpy(debt + 1, key.ptr, key.len);
    debt->key = mg_str_make((const char *)(debt + 1), key.len);
    debt->hash = hash_of(shm, key);
    return debt;
}

/* Nothing counted, or that many units by another rule. */
static void begin_state(struct mg_limit_debt *debt, const struct mg_limit_rule *share, int64_t now,
                        int64_t used)
{
    struct mg_limit_view view;
    mg_limit_look(share, NULL, now, 0, &view);
    mg_limit_charge(share, &view, used);
    memcpy(debt->state, view.state, sizeof debt->state);
    debt->share = *share;
}

void mg_limit_debt_units(struct mg_limit_debt *debt, bool is_new, const struct mg_limit_rule *full,
                         const struct mg_limit_rule *share, int64_t now_ms, int64_t units)
{
    debt->full = *full;
    if (is_new) {
        begin_state(debt, share, now_ms, units);
        return;
    }
    if (debt->share.burst != share->burst) {
        begin_state(debt, share, now_ms, mg_limit_used(&debt->share, debt->state, now_ms));
    }
    struct mg_limit_view view;
    mg_limit_look(share, debt->state, now_ms, 0, &view);
    mg_limit_charge(share, &view, units);
    memcpy(debt->state, view.state, sizeof debt->state);
}

/* --- words ---------------------------------------------------------------------------------- */

static bool words_of_ban(const struct mg_limit_debt *debt, struct mg_shm *shm, int64_t now_ms,
                         struct mg_arena *arena, struct mg_limit_words *words)
{
    struct mg_ban_state state;
    const int64_t left = mg_limit_ban_left_ms(shm, &debt->ban, debt->cell, now_ms, &state);
    const struct mg_limit_remote_request request = {.ban = &debt->ban.rule, .ban_key = debt->key};
    mg_limit_words_ban(arena, &request, left, state.words[3], words);
    return left > 0;
}

static bool words_of_cancellation(const struct mg_limit_debt *debt, int64_t now_ms,
                                  struct mg_arena *arena, struct mg_limit_words *words)
{
    const size_t length = (size_t)mg_str_find(debt->key, '\n', 0);
    const int64_t left = debt->until_ms - now_ms;
    mg_str *items = mg_arena_alloc(arena, CANCEL_WORDS * sizeof *items);
    mg_str *key = mg_arena_alloc(arena, sizeof *key);
    *key = mg_str_slice(debt->key, 0, length);
    items[0] = MG_STR("");
    items[1] = MG_STR("cancel");
    items[2] = mg_arena_format(arena, "%lld", (long long)left);
    items[3] = MG_STR("1");
    items[4] = mg_str_slice(debt->key, length + 1, debt->key.len);
    *words =
        (struct mg_limit_words){.keys = key, .items = items, .key_count = 1, .count = CANCEL_WORDS};
    return left > 0;
}

bool mg_limit_debt_words(const struct mg_limit_debt *debt, struct mg_shm *shm, int64_t now_ms,
                         struct mg_arena *arena, struct mg_limit_words *words)
{
    if (debt->kind == MG_LIMIT_DEBT_BAN) {
        return words_of_ban(debt, shm, now_ms, arena, words);
    } else if (debt->kind == MG_LIMIT_DEBT_CANCELLATION) {
        return words_of_cancellation(debt, now_ms, arena, words);
    }
    const struct mg_limit_remote limit = {.rule = debt->full,
                                          .cost = mg_limit_used(&debt->share, debt->state, now_ms),
                                          .key = debt->key};
    const struct mg_limit_remote_request request = {.limits = &limit, .count = 1};
    mg_limit_words_add(arena, &request, words);
    return limit.cost > 0;
}
