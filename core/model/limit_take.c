/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision over several limits as one step: all their cells are locked, all are looked at, and
 * only then are all charged, or none. Nothing in between allocates, waits or calls the system.
 */
#include "model/limit.h"

#include "base/shm.h"

#include <string.h>

int mg_limit_open(struct mg_shm *shm, struct mg_limit *limit, mg_str identity, mg_str name,
                  int64_t now_ms)
{
    const int err = mg_limit_rule_check(&limit->rule);
    if (err || limit->max_keys < 1) {
        return MG_EINVALID;
    }
    const size_t length = name.len < sizeof limit->name ? name.len : sizeof limit->name - 1;
    memset(limit->name, 0, sizeof limit->name);
    memcpy(limit->name, name.ptr, length);
    limit->id = mg_shm_key(shm, identity);
    const int record = mg_limit_record_open(shm, limit->id, name, limit->max_keys, now_ms);
    if (record < 0) {
        return record;
    }
    limit->record = (uint32_t)record;
    return 0;
}

struct mg_cell_key mg_limit_key(const struct mg_shm *shm, const struct mg_limit *limit, mg_str key)
{
    return mg_shm_key_with(shm, limit->id, key);
}

/* One limit under decision. */
struct trial {
    const struct mg_limit_ask *ask;
    struct mg_limit_rule rule; /* of the cell it is decided in */
    struct mg_limit_view view;
    struct mg_cell_place *place;
    uint32_t hold;
    bool impossible; /* no record, or no room in the ledger */
};

/* Before the locks: what may take other locks, or fail. */
static void prepare(struct mg_shm *shm, uint32_t worker, int64_t now_ms, struct trial *trial)
{
    struct mg_limit *limit = trial->ask->limit;
    if (!mg_limit_record_is(shm, limit->record, limit->id)) {
        /* unused for so long that another limit was given its record */
        const int record =
            mg_limit_record_open(shm, limit->id, mg_str_from(limit->name), limit->max_keys, now_ms);
        trial->impossible = record < 0;
        limit->record = record < 0 ? limit->record : (uint32_t)record;
    }
    if (limit->rule.algorithm == MG_LIMIT_CONCURRENCY && !trial->impossible) {
        trial->hold = mg_hold_take(shm, worker, (uint32_t)trial->ask->cost);
        trial->impossible = trial->hold == 0;
    }
}

static void look(struct trial *trial, int64_t now_ms)
{
    trial->rule = trial->ask->limit->rule;
    if (trial->place->overflow) {
        trial->rule.quota *= MG_LIMIT_OVERFLOW_FACTOR;
        trial->rule.burst *= MG_LIMIT_OVERFLOW_FACTOR;
    }
    const int64_t *state = trial->place->fresh ? NULL : trial->place->cell->state;
    mg_limit_look(&trial->rule, state, now_ms, trial->ask->cost, &trial->view);
    if (trial->impossible) {
        trial->view.ok = false;
        trial->view.retry_ms = MG_LIMIT_CONCURRENCY_RETRY_MS;
    }
}

static void charge(struct mg_shm *shm, uint32_t worker, struct trial *trial)
{
    mg_limit_charge(&trial->rule, &trial->view, trial->ask->cost);
    struct mg_cell image = {.free_at_ms = mg_limit_free_at(&trial->rule, trial->view.state)};
    memcpy(image.state, trial->view.state, sizeof image.state);
    mg_cells_write(shm, trial->place, &image, worker, trial->hold);
}

static struct mg_limit_answer answer_of(const struct trial *trial, int64_t now_ms)
{
    const struct mg_limit_view *view = &trial->view;
    return (struct mg_limit_answer){
        .ok = view->ok,
        .too_big = view->too_big,
        .overflow = trial->place->overflow,
        .remaining = mg_limit_remaining(&trial->rule, view->state, now_ms),
        .reset_ms = mg_limit_reset_ms(&trial->rule, view->state, now_ms),
        .retry_ms = view->retry_ms,
        .hold = trial->hold,
    };
}

bool mg_limits_take(struct mg_shm *shm, uint32_t worker, int64_t now_ms,
                    const struct mg_limit_ask *asks, unsigned count,
                    struct mg_limit_answer *answers)
{
    struct trial trials[MG_LIMITS_AT_ONCE];
    struct mg_cell_ask keys[MG_LIMITS_AT_ONCE];
    struct mg_cell_place places[MG_LIMITS_AT_ONCE];
    mg_require(count >= 1 && count <= MG_LIMITS_AT_ONCE);
    for (unsigned i = 0; i < count; i++) {
        trials[i] = (struct trial){.ask = &asks[i], .place = &places[i]};
        prepare(shm, worker, now_ms, &trials[i]);
        keys[i] = (struct mg_cell_ask){.key = asks[i].key, .record = asks[i].limit->record};
    }
    mg_cells_lock(shm, keys, count, now_ms, places);
    bool admit = true;
    for (unsigned i = 0; i < count; i++) {
        look(&trials[i], now_ms);
        admit &= trials[i].view.ok || asks[i].limit->shadow;
    }
    for (unsigned i = 0; i < count; i++) {
        if (admit && trials[i].view.ok) {
            charge(shm, worker, &trials[i]);
        }
    }
    mg_cells_unlock(shm, places, count);
    for (unsigned i = 0; i < count; i++) {
        if (trials[i].hold != 0 && !(admit && trials[i].view.ok)) {
            mg_hold_drop(shm, worker, trials[i].hold);
            trials[i].hold = 0;
        }
        answers[i] = answer_of(&trials[i], now_ms);
    }
    return admit;
}

void mg_limit_release(struct mg_shm *shm, uint32_t worker, uint32_t hold)
{
    mg_hold_give_back(shm, worker, hold);
}
