/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transitions of circuit breakers. A transition is one compare-and-swap of the state word, so one
 * caller in all workers makes it and is told; all others find the new epoch.
 */
#include "model/breaker.h"

#include "base/shm_cells.h"
#include "model/breaker_window.h"

#include <string.h>

#define SHARE_ALL 100000U  /* thousandths of a percent */
#define BUSY_RETRY_MS 1000 /* HALF_OPEN with all slots taken */
#define EPOCH_SHIFT 50
#define RESULT_BITS 25

static const char *const state_names[] = {
    [MG_BREAKER_CLOSED] = "closed",
    [MG_BREAKER_OPEN] = "open",
    [MG_BREAKER_HALF_OPEN] = "half_open",
};

static const char *const reason_names[] = {
    [MG_BREAKER_NO_REASON] = "",          [MG_BREAKER_FAILURE_PERCENT] = "failure_percent",
    [MG_BREAKER_NETWORK] = "network",     [MG_BREAKER_CONSECUTIVE] = "consecutive",
    [MG_BREAKER_TIME] = "time",           [MG_BREAKER_PROBES_FAILED] = "probes_failed",
    [MG_BREAKER_PROBES_OK] = "probes_ok",
};

const char *mg_breaker_state_name(enum mg_breaker_state state)
{
    return state_names[state];
}

const char *mg_breaker_reason_name(enum mg_breaker_reason reason)
{
    return reason_names[reason];
}

static bool within(uint32_t value, uint32_t least, uint32_t most)
{
    return value >= least && value <= most;
}

int mg_breaker_rule_check(const struct mg_breaker_rule *rule)
{
    const bool window = rule->by_count ? within(rule->window_calls, 10, MG_BREAKER_CALLS)
                                       : within(rule->window_ms, 1000, 600000) &&
                                             within(rule->buckets, 1, MG_BREAKER_BUCKETS);
    const bool shares = rule->failure_share <= SHARE_ALL && rule->network_share <= SHARE_ALL &&
                        rule->open_jitter <= SHARE_ALL && rule->probe_good <= SHARE_ALL;
    const bool open = rule->open_base_ms >= 100 && rule->open_max_ms >= rule->open_base_ms &&
                      within(rule->open_factor, 1000, 10000);
    const bool probes = within(rule->probes, 1, 1000) && within(rule->probe_results, 1, 1000) &&
                        rule->probe_good >= 1;
    const bool counts = within(rule->min_requests, 1, 1000000) && rule->consecutive <= 1000;
    return window && shares && open && probes && counts ? 0 : MG_EINVALID;
}

static int open_record(struct mg_breaker *breaker, int64_t now_ms)
{
    const int record = mg_breaker_record_open(breaker->shm, mg_str_from(breaker->name), now_ms);
    if (record < 0) {
        return record;
    }
    breaker->record = (uint32_t)record;
    mg_breaker_window_shape(breaker);
    return 0;
}

int mg_breaker_open(struct mg_shm *shm, struct mg_breaker *breaker, mg_str name, int64_t now_ms)
{
    if (mg_breaker_rule_check(&breaker->rule) != 0 || name.len >= sizeof breaker->name) {
        return MG_EINVALID;
    }
    breaker->shm = shm;
    memset(breaker->name, 0, sizeof breaker->name);
    memcpy(breaker->name, name.ptr, name.len);
    breaker->id = mg_shm_key(shm, name);
    return open_record(breaker, now_ms);
}

/* The record, opened anew when it was given away because nobody used it; NULL: none is free. */
static struct mg_breaker_record *record_of(struct mg_breaker *breaker, int64_t now_ms)
{
    if (!mg_breaker_record_used(breaker->shm, breaker->record, breaker->id, now_ms) &&
        open_record(breaker, now_ms) != 0) {
        return NULL;
    }
    return mg_breaker_record(breaker->shm, breaker->record);
}

/* --- transitions ---------------------------------------------------------------------------- */

/* min(base x factor^(n - 1), max), and up to the jitter's share more or less. */
static int64_t open_time(const struct mg_breaker_rule *rule, uint32_t n, uint32_t random)
{
    double time = rule->open_base_ms;
    for (uint32_t i = 1; i < n && time < rule->open_max_ms; i++) {
        time = time * rule->open_factor / 1000;
    }
    time = time < rule->open_max_ms ? time : rule->open_max_ms;
    const double share = (double)rule->open_jitter / SHARE_ALL;
    const double turn = 2.0 * random / UINT32_MAX - 1.0; /* -1 .. 1 */
    return (int64_t)(time + time * share * turn);
}

/* Makes the transition, unless another has left the state meanwhile. */
static bool transition(struct mg_breaker_record *record, uint64_t seen, struct mg_breaker_word next,
                       enum mg_breaker_reason reason, struct mg_breaker_change *change)
{
    const struct mg_breaker_word before = mg_breaker_word_of(seen);
    next.epoch = before.epoch + 1;
    if (!mg_word_swap(&record->state, &seen, mg_breaker_word_make(next))) {
        return false;
    }
    change->happened = true;
    change->from = before.state;
    change->to = next.state;
    change->reason = reason;
    change->n = next.n;
    if (next.state == MG_BREAKER_OPEN) {
        mg_word_add(&record->opened, 1);
    }
    return true;
}

static void trip(struct mg_breaker *breaker, struct mg_breaker_record *record, uint64_t seen,
                 int64_t now_ms, uint32_t random, enum mg_breaker_reason reason,
                 struct mg_breaker_change *change)
{
    const struct mg_breaker_rule *rule = &breaker->rule;
    const struct mg_breaker_word word = mg_breaker_word_of(seen);
    const bool long_closed =
        word.state == MG_BREAKER_CLOSED && now_ms - word.time_ms >= rule->open_max_ms;
    const uint32_t before = long_closed ? 0 : word.n;
    const uint32_t n = before < MG_BREAKER_N_MAX ? before + 1 : before;
    const int64_t open_ms = open_time(rule, n, random);
    const struct mg_breaker_word next = {
        .state = MG_BREAKER_OPEN, .n = n, .time_ms = now_ms + open_ms};
    if (transition(record, seen, next, reason, change)) {
        change->open_ms = open_ms;
    }
}

/* --- asking --------------------------------------------------------------------------------- */

/* Longer than any open time: the clock was set back since. */
static bool beyond_reason(const struct mg_breaker_rule *rule, int64_t left_ms)
{
    return left_ms >
           (int64_t)rule->open_max_ms + rule->open_max_ms / 100 * (rule->open_jitter / 1000 + 1);
}

static bool reject(struct mg_breaker_record *record, struct mg_breaker_pass *pass, int64_t retry_ms)
{
    mg_word_add(&record->rejected, 1);
    pass->retry_ms = retry_ms;
    return false;
}

/* Takes one of the slots that all workers share: the ledger entry, or 0 when none is free. */
static uint32_t take_slot(struct mg_breaker *breaker, struct mg_breaker_record *record,
                          uint32_t worker)
{
    struct mg_shm *shm = breaker->shm;
    const uint32_t hold = mg_hold_take(shm, worker, 1);
    if (hold == 0) {
        return 0;
    }
    struct mg_cell_place place;
    mg_cell_lock_embedded(shm, &record->probes, breaker->record, &place);
    const int64_t taken = place.fresh ? 0 : place.cell->state[0];
    const bool free_slot = taken < breaker->rule.probes;
    if (free_slot) {
        struct mg_cell image = {.state = {taken + 1}, .free_at_ms = MG_CELL_HELD};
        mg_cells_write(shm, &place, &image, worker, hold);
    }
    mg_cells_unlock(shm, &place, 1);
    if (!free_slot) {
        mg_hold_drop(shm, worker, hold);
    }
    return free_slot ? hold : 0;
}

/* HALF_OPEN as seen. True when that is decided; false when the state has changed meanwhile. */
static bool ask_for_probe(struct mg_breaker *breaker, struct mg_breaker_record *record,
                          uint32_t worker, uint64_t seen, struct mg_breaker_pass *pass)
{
    const uint32_t hold = take_slot(breaker, record, worker);
    if (hold == 0) {
        reject(record, pass, BUSY_RETRY_MS);
        return true;
    }
    if (mg_word_load(&record->state) != seen) {
        mg_hold_give_back(breaker->shm, worker, hold);
        return false;
    }
    pass->admitted = pass->probe = true;
    pass->hold = hold;
    return true;
}

bool mg_breaker_ask(struct mg_breaker *breaker, uint32_t worker, int64_t now_ms,
                    struct mg_breaker_pass *pass, struct mg_breaker_change *change)
{
    *change = (struct mg_breaker_change){.happened = false};
    struct mg_breaker_record *record = record_of(breaker, now_ms);
    for (;;) {
        *pass = (struct mg_breaker_pass){.admitted = record == NULL};
        if (!record) {
            return true; /* no record can be had: no breaker */
        }
        const uint64_t seen = mg_word_load(&record->state);
        const struct mg_breaker_word word = mg_breaker_word_of(seen);
        pass->state = word.state;
        pass->epoch = word.epoch;
        if (word.state == MG_BREAKER_CLOSED) {
            pass->admitted = true;
            return true;
        }
        if (word.state == MG_BREAKER_HALF_OPEN) {
            if (ask_for_probe(breaker, record, worker, seen, pass)) {
                return pass->admitted;
            }
            continue;
        }
        const int64_t left_ms = word.time_ms - now_ms;
        if (left_ms > 0 && !beyond_reason(&breaker->rule, left_ms)) {
            return reject(record, pass, left_ms);
        }
        const struct mg_breaker_word next = {
            .state = MG_BREAKER_HALF_OPEN, .n = word.n, .time_ms = now_ms};
        transition(record, seen, next, MG_BREAKER_TIME, change);
    }
}

/* --- results -------------------------------------------------------------------------------- */

static bool share_holds(uint64_t part, uint64_t total, uint32_t share)
{
    return share > 0 && part * SHARE_ALL >= total * share;
}

static void record_closed(struct mg_breaker *breaker, struct mg_breaker_record *record,
                          uint64_t seen, int64_t now_ms, uint32_t random,
                          enum mg_breaker_result result, struct mg_breaker_change *change)
{
    const struct mg_breaker_rule *rule = &breaker->rule;
    const uint32_t epoch = mg_breaker_word_of(seen).epoch;
    const struct mg_breaker_counts counts = mg_breaker_window_add(breaker, epoch, now_ms, result);
    const uint64_t in_row =
        mg_breaker_count_in_epoch(&record->consecutive, epoch, result != MG_RESULT_SUCCESS);
    enum mg_breaker_reason reason = MG_BREAKER_NO_REASON;
    const bool enough = counts.total >= rule->min_requests;
    if (enough && share_holds(counts.failures, counts.total, rule->failure_share)) {
        reason = MG_BREAKER_FAILURE_PERCENT;
    } else if (enough && share_holds(counts.network, counts.total, rule->network_share)) {
        reason = MG_BREAKER_NETWORK;
    } else if (rule->consecutive > 0 && in_row >= rule->consecutive) {
        reason = MG_BREAKER_CONSECUTIVE;
    }
    if (reason != MG_BREAKER_NO_REASON) {
        trip(breaker, record, seen, now_ms, random, reason, change);
        change->total = counts.total;
        change->failures = counts.failures;
        change->network = counts.network;
    }
}

/* Adds a probe's result: good and bad ones of this epoch. */
static struct mg_breaker_counts add_probe(struct mg_breaker_record *record, uint32_t epoch,
                                          bool good)
{
    const uint64_t mask = (UINT64_C(1) << RESULT_BITS) - 1;
    uint64_t seen = mg_word_load(&record->results), next;
    do {
        const uint64_t known = seen >> EPOCH_SHIFT == epoch ? seen : (uint64_t)epoch << EPOCH_SHIFT;
        next = known + (good ? UINT64_C(1) << RESULT_BITS : 1);
    } while (!mg_word_swap(&record->results, &seen, next));
    const uint64_t bad = next & mask;
    return (struct mg_breaker_counts){.total = (next >> RESULT_BITS & mask) + bad, .failures = bad};
}

static void record_probe(struct mg_breaker *breaker, struct mg_breaker_record *record,
                         uint64_t seen, int64_t now_ms, uint32_t random,
                         enum mg_breaker_result result, struct mg_breaker_change *change)
{
    const struct mg_breaker_rule *rule = &breaker->rule;
    const struct mg_breaker_word word = mg_breaker_word_of(seen);
    const struct mg_breaker_counts counts =
        add_probe(record, word.epoch, result == MG_RESULT_SUCCESS);
    const uint64_t good_needed =
        ((uint64_t)rule->probe_results * rule->probe_good + SHARE_ALL - 1) / SHARE_ALL;
    if (counts.failures > rule->probe_results - good_needed) {
        trip(breaker, record, seen, now_ms, random, MG_BREAKER_PROBES_FAILED, change);
    } else if (counts.total >= rule->probe_results) {
        const struct mg_breaker_word next = {
            .state = MG_BREAKER_CLOSED, .n = word.n, .time_ms = now_ms};
        transition(record, seen, next, MG_BREAKER_PROBES_OK, change);
    }
    change->total = counts.total;
    change->failures = counts.failures;
}

void mg_breaker_result(struct mg_breaker *breaker, uint32_t worker, int64_t now_ms, uint32_t random,
                       struct mg_breaker_pass *pass, enum mg_breaker_result result,
                       struct mg_breaker_change *change)
{
    *change = (struct mg_breaker_change){.happened = false};
    struct mg_breaker_record *record = pass->admitted ? record_of(breaker, now_ms) : NULL;
    if (record && result != MG_RESULT_NONE) {
        const uint64_t seen = mg_word_load(&record->state);
        const struct mg_breaker_word word = mg_breaker_word_of(seen);
        if (word.epoch != pass->epoch || word.state != pass->state) {
            mg_word_add(&record->stale, 1);
        } else if (word.state == MG_BREAKER_CLOSED) {
            record_closed(breaker, record, seen, now_ms, random, result, change);
        } else {
            record_probe(breaker, record, seen, now_ms, random, result, change);
        }
    }
    if (pass->hold != 0) { /* after the transition: nobody slips into the slot before it */
        mg_hold_give_back(breaker->shm, worker, pass->hold);
    }
    pass->admitted = false;
    pass->hold = 0;
}

bool mg_breaker_may_retry(const struct mg_breaker *breaker, const struct mg_breaker_pass *pass)
{
    const struct mg_breaker_record *record = mg_breaker_record(breaker->shm, breaker->record);
    if (!record || record->id.hash[0] != breaker->id.hash[0] ||
        record->id.hash[1] != breaker->id.hash[1]) {
        return true; /* no record, no breaker */
    }
    const struct mg_breaker_word word = mg_breaker_word_of(mg_word_load(&record->state));
    return word.epoch == pass->epoch || word.state == MG_BREAKER_CLOSED;
}

bool mg_breaker_view(struct mg_shm *shm, uint32_t index, int64_t now_ms,
                     struct mg_breaker_view *view)
{
    const struct mg_breaker_record *record = mg_breaker_record(shm, index);
    if (!record) {
        return false;
    }
    const struct mg_breaker_word word = mg_breaker_word_of(mg_word_load(&record->state));
    *view = (struct mg_breaker_view){
        .state = word.state,
        .n = word.n,
        .epoch = word.epoch,
        .probes = (uint32_t)record->probes.state[0],
        .left_ms =
            word.state == MG_BREAKER_OPEN && word.time_ms > now_ms ? word.time_ms - now_ms : 0,
        .opened = mg_word_load(&record->opened),
        .rejected = mg_word_load(&record->rejected),
        .stale = mg_word_load(&record->stale)};
    memcpy(view->name, record->name, sizeof view->name - 1); /* ends with the NUL of before */
    return true;
}
