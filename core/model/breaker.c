/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Circuit breakers: who is admitted, and what results lead to. A transition is one compare-and-swap
 * of the state word, so one caller in all workers makes it and is told; all others find the new
 * epoch.
 */
#include "model/breaker.h"

#include "base/shm_cells.h"
#include "base/shm_keyed.h"
#include "model/breaker_window.h"

#include <string.h>

#define BUSY_RETRY_MS 1000 /* HALF_OPEN with all slots taken, and RAMP */
#define EPOCH_SHIFT 50
#define RESULT_BITS 25
#define RAMP_FIRST 10000U   /* the share that RAMP begins with */
#define CALLS_IDLE_MS 60000 /* a window by count is forgotten after that */
#define CLOCK_STEP_MS 1000  /* a state that began so far ahead is of another time */

static const char *const state_names[MG_BREAKER_STATES] = {
    [MG_BREAKER_CLOSED] = "closed",           [MG_BREAKER_OPEN] = "open",
    [MG_BREAKER_HALF_OPEN] = "half_open",     [MG_BREAKER_RAMP] = "ramp",
    [MG_BREAKER_FORCED_OPEN] = "forced_open", [MG_BREAKER_FORCED_CLOSED] = "forced_closed",
};

static const char *const reason_names[MG_BREAKER_REASONS] = {
    [MG_BREAKER_NO_REASON] = "",
    [MG_BREAKER_FAILURE_PERCENT] = "failure_percent",
    [MG_BREAKER_NETWORK] = "network",
    [MG_BREAKER_SLOW] = "slow",
    [MG_BREAKER_CONSECUTIVE] = "consecutive",
    [MG_BREAKER_TIME] = "time",
    [MG_BREAKER_PROBES_FAILED] = "probes_failed",
    [MG_BREAKER_PROBES_OK] = "probes_ok",
    [MG_BREAKER_RAMP_FAILED] = "ramp_failed",
    [MG_BREAKER_RAMP_DONE] = "ramp_done",
    [MG_BREAKER_FORCED] = "forced",
    [MG_BREAKER_AUTO] = "auto",
    [MG_BREAKER_RESET] = "reset",
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
    const bool shares = rule->failure_share <= MG_BREAKER_ALL &&
                        rule->network_share <= MG_BREAKER_ALL &&
                        rule->slow_share <= MG_BREAKER_ALL && rule->open_jitter <= MG_BREAKER_ALL;
    const bool open = rule->open_base_ms >= 100 && rule->open_max_ms >= rule->open_base_ms &&
                      within(rule->open_factor, 1000, 10000) && rule->ramp_ms <= 600000;
    const bool probes = within(rule->probes, 1, 1000) && within(rule->probe_results, 1, 1000) &&
                        within(rule->probe_good, 1, MG_BREAKER_ALL);
    const bool counts = within(rule->min_requests, 1, 1000000) && rule->consecutive <= 1000;
    const bool keys = rule->max_keys == 0 || within(rule->max_keys, 16, 65536);
    return window && shares && open && probes && counts && keys ? 0 : MG_EINVALID;
}

static int open_record(struct mg_breaker *breaker, int64_t now_ms)
{
    const int record = mg_breaker_record_open(breaker->shm, mg_str_from(breaker->name), now_ms);
    if (record < 0) {
        return record;
    }
    breaker->record = (uint32_t)record;
    struct mg_breaker_record *opened = mg_breaker_record(breaker->shm, breaker->record);
    const struct mg_breaker_rule *rule = &breaker->rule;
    const uint32_t window_ms = rule->by_count ? CALLS_IDLE_MS : rule->window_ms;
    mg_word_store(&opened->shadow, rule->shadow);
    mg_word_store((uint64_t *)&opened->forget_ms,
                  window_ms > rule->open_max_ms ? window_ms : rule->open_max_ms);
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
        (breaker->keyed || open_record(breaker, now_ms) != 0)) {
        return NULL;
    }
    return mg_breaker_record(breaker->shm, breaker->record);
}

void mg_breaker_of_key(struct mg_breaker *owner, mg_str key, int64_t now_ms,
                       struct mg_breaker *found)
{
    struct mg_breaker_record *record = record_of(owner, now_ms);
    *found = *owner;
    if (!record) {
        return;
    }
    const enum mg_breaker_state state = mg_breaker_word_of(mg_word_load(&record->state)).state;
    if (state == MG_BREAKER_FORCED_OPEN || state == MG_BREAKER_FORCED_CLOSED) {
        return; /* by hand means all of them */
    }
    const struct mg_cell_key id = mg_shm_key_with(owner->shm, owner->id, key);
    const int index = mg_keyed_open(owner->shm, owner->record, id, owner->rule.max_keys, now_ms);
    if (index < 0) {
        mg_breaker_count(record, MG_BREAKER_AT_OVERFLOW, 1);
        return;
    }
    found->id = id;
    found->record = (uint32_t)index;
    found->keyed = true;
    const struct mg_breaker_record *own = mg_breaker_record(owner->shm, found->record);
    if (own && (uint32_t)(mg_word_load(&own->window) >> 32) != owner->shape) {
        mg_breaker_window_shape(found);
    }
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
    const double share = (double)rule->open_jitter / MG_BREAKER_ALL;
    const double turn = 2.0 * random / UINT32_MAX - 1.0; /* -1 .. 1 */
    return (int64_t)(time + time * share * turn);
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
    if (mg_breaker_move(record, seen, next, reason, now_ms, change)) {
        change->open_ms = open_ms;
    }
}

/* To a state that has no end of its own, with the number of openings as it is. */
static void pass_on(struct mg_breaker_record *record, uint64_t seen, enum mg_breaker_state state,
                    enum mg_breaker_reason reason, int64_t now_ms, struct mg_breaker_change *change)
{
    const struct mg_breaker_word next = {
        .state = state, .n = mg_breaker_word_of(seen).n, .time_ms = now_ms};
    mg_breaker_move(record, seen, next, reason, now_ms, change);
}

/* --- asking --------------------------------------------------------------------------------- */

enum decision { ADMITTED, REFUSED, CHANGED /* look again */ };

/* Longer than any open time: the clock was set back since. */
static bool beyond_reason(const struct mg_breaker_rule *rule, int64_t left_ms)
{
    return left_ms >
           (int64_t)rule->open_max_ms + rule->open_max_ms / 100 * (rule->open_jitter / 1000 + 1);
}

static enum decision reject(struct mg_breaker *breaker, struct mg_breaker_record *record,
                            struct mg_breaker_pass *pass, int64_t retry_ms)
{
    mg_breaker_count(record,
                     breaker->rule.shadow ? (unsigned)MG_BREAKER_AT_SHADOW
                                          : MG_BREAKER_AT_REJECTED + pass->state,
                     1);
    pass->retry_ms = retry_ms;
    return REFUSED;
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

static enum decision ask_for_probe(struct mg_breaker *breaker, struct mg_breaker_record *record,
                                   uint32_t worker, uint64_t seen, struct mg_breaker_pass *pass)
{
    const uint32_t hold = take_slot(breaker, record, worker);
    if (hold == 0) {
        return reject(breaker, record, pass, BUSY_RETRY_MS);
    }
    if (mg_word_load(&record->state) != seen) {
        mg_hold_give_back(breaker->shm, worker, hold);
        return CHANGED;
    }
    pass->probe = true;
    pass->hold = hold;
    return ADMITTED;
}

/* Every request adds the share to what is owed; who makes it a whole one passes. */
static bool is_due(struct mg_breaker_record *record, uint32_t epoch, uint64_t share)
{
    uint64_t seen = mg_word_load(&record->ramp), owed;
    const uint64_t mask = (UINT64_C(1) << EPOCH_SHIFT) - 1;
    do {
        const uint64_t before = seen >> EPOCH_SHIFT == epoch ? seen & mask : 0;
        owed = (before < MG_BREAKER_ALL ? before : 0) + share;
    } while (!mg_word_swap(&record->ramp, &seen,
                           (uint64_t)epoch << EPOCH_SHIFT | owed % MG_BREAKER_ALL));
    return owed >= MG_BREAKER_ALL;
}

static enum decision ask_on_ramp(struct mg_breaker *breaker, struct mg_breaker_record *record,
                                 uint64_t seen, int64_t now_ms, struct mg_breaker_pass *pass,
                                 struct mg_breaker_change *change)
{
    const uint32_t ramp_ms = breaker->rule.ramp_ms;
    const int64_t gone_ms = now_ms - mg_breaker_word_of(seen).time_ms;
    if (gone_ms >= ramp_ms || gone_ms < -CLOCK_STEP_MS) {
        pass_on(record, seen, MG_BREAKER_CLOSED, MG_BREAKER_RAMP_DONE, now_ms, change);
        return CHANGED;
    }
    const uint64_t rise = MG_BREAKER_ALL - RAMP_FIRST;
    const uint64_t share = RAMP_FIRST + rise * (uint64_t)(gone_ms > 0 ? gone_ms : 0) / ramp_ms;
    return is_due(record, pass->epoch, share) ? ADMITTED
                                              : reject(breaker, record, pass, BUSY_RETRY_MS);
}

/* Milliseconds until the end that is written in the state; 0: it is over. */
static int64_t left_of(struct mg_breaker_word word, int64_t now_ms)
{
    return word.time_ms > now_ms ? word.time_ms - now_ms : 0;
}

static enum decision ask_open(struct mg_breaker *breaker, struct mg_breaker_record *record,
                              uint64_t seen, int64_t now_ms, struct mg_breaker_pass *pass,
                              struct mg_breaker_change *change)
{
    const int64_t left_ms = left_of(mg_breaker_word_of(seen), now_ms);
    if (left_ms > 0 && !beyond_reason(&breaker->rule, left_ms)) {
        return reject(breaker, record, pass, left_ms);
    }
    pass_on(record, seen, MG_BREAKER_HALF_OPEN, MG_BREAKER_TIME, now_ms, change);
    return CHANGED;
}

static enum decision ask_forced(struct mg_breaker *breaker, struct mg_breaker_record *record,
                                uint64_t seen, int64_t now_ms, struct mg_breaker_pass *pass,
                                struct mg_breaker_change *change)
{
    const struct mg_breaker_word word = mg_breaker_word_of(seen);
    const int64_t left_ms = left_of(word, now_ms);
    if (left_ms == 0) {
        pass_on(record, seen, MG_BREAKER_CLOSED, MG_BREAKER_TIME, now_ms, change);
        return CHANGED;
    }
    if (word.state == MG_BREAKER_FORCED_CLOSED) {
        return ADMITTED;
    }
    const bool endless = word.time_ms == MG_BREAKER_TIME_MAX;
    return reject(breaker, record, pass, endless ? breaker->rule.open_base_ms : left_ms);
}

static enum decision ask_in_state(struct mg_breaker *breaker, struct mg_breaker_record *record,
                                  uint32_t worker, int64_t now_ms, struct mg_breaker_pass *pass,
                                  struct mg_breaker_change *change)
{
    const uint64_t seen = mg_word_load(&record->state);
    const struct mg_breaker_word word = mg_breaker_word_of(seen);
    *pass = (struct mg_breaker_pass){.state = word.state, .epoch = word.epoch};
    switch (word.state) {
    case MG_BREAKER_OPEN:
        return ask_open(breaker, record, seen, now_ms, pass, change);
    case MG_BREAKER_HALF_OPEN:
        return ask_for_probe(breaker, record, worker, seen, pass);
    case MG_BREAKER_RAMP:
        return ask_on_ramp(breaker, record, seen, now_ms, pass, change);
    case MG_BREAKER_FORCED_OPEN:
    case MG_BREAKER_FORCED_CLOSED:
        return ask_forced(breaker, record, seen, now_ms, pass, change);
    default:
        return ADMITTED;
    }
}

bool mg_breaker_ask(struct mg_breaker *breaker, uint32_t worker, int64_t now_ms,
                    struct mg_breaker_pass *pass, struct mg_breaker_change *change)
{
    *change = (struct mg_breaker_change){.happened = false};
    *pass = (struct mg_breaker_pass){.admitted = true};
    struct mg_breaker_record *record = record_of(breaker, now_ms);
    enum decision decision = ADMITTED; /* no record can be had: no breaker */
    if (record) {
        do {
            decision = ask_in_state(breaker, record, worker, now_ms, pass, change);
        } while (decision == CHANGED);
    }
    pass->admitted = decision == ADMITTED;
    return pass->admitted;
}

/* --- results -------------------------------------------------------------------------------- */

static bool share_holds(uint64_t part, uint64_t total, uint32_t share)
{
    return share > 0 && part * MG_BREAKER_ALL >= total * share;
}

static enum mg_breaker_reason trips(const struct mg_breaker_rule *rule,
                                    const struct mg_breaker_counts *counts, uint64_t in_row)
{
    if (counts->total >= rule->min_requests && counts->total > 0) {
        if (share_holds(counts->failures, counts->total, rule->failure_share)) {
            return MG_BREAKER_FAILURE_PERCENT;
        }
        if (share_holds(counts->network, counts->total, rule->network_share)) {
            return MG_BREAKER_NETWORK;
        }
        if (share_holds(counts->slow, counts->total, rule->slow_share)) {
            return MG_BREAKER_SLOW;
        }
    }
    const bool row = rule->consecutive > 0 && in_row >= rule->consecutive;
    return row ? MG_BREAKER_CONSECUTIVE : MG_BREAKER_NO_REASON;
}

/* CLOSED or RAMP, after a result. */
static void trip_if(struct mg_breaker *breaker, struct mg_breaker_record *record, uint64_t seen,
                    int64_t now_ms, uint32_t random, const struct mg_breaker_counts *counts,
                    uint64_t in_row, struct mg_breaker_change *change)
{
    enum mg_breaker_reason reason = trips(&breaker->rule, counts, in_row);
    if (reason == MG_BREAKER_NO_REASON) {
        return;
    }
    if (mg_breaker_word_of(seen).state == MG_BREAKER_RAMP) {
        reason = MG_BREAKER_RAMP_FAILED;
    }
    trip(breaker, record, seen, now_ms, random, reason, change);
    change->total = counts->total;
    change->failures = counts->failures;
    change->network = counts->network;
    change->slow = counts->slow;
}

static bool is_failure(enum mg_breaker_result result)
{
    return result == MG_RESULT_FAILURE || result == MG_RESULT_NETWORK;
}

static void record_in_window(struct mg_breaker *breaker, struct mg_breaker_record *record,
                             uint64_t seen, int64_t now_ms, struct mg_breaker_pass *pass,
                             const struct mg_breaker_told *told, struct mg_breaker_change *change)
{
    const struct mg_breaker_facets facets = {.failure = is_failure(told->result),
                                             .network = told->result == MG_RESULT_NETWORK,
                                             .slow = told->slow};
    const struct mg_breaker_counts counts =
        mg_breaker_window_add(breaker, pass->epoch, now_ms, facets, &pass->place);
    const uint64_t in_row =
        told->result == MG_RESULT_LEFT
            ? 0
            : mg_breaker_count_in_epoch(&record->consecutive, pass->epoch, facets.failure);
    pass->counted = true;
    trip_if(breaker, record, seen, now_ms, told->random, &counts, in_row, change);
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
                         uint64_t seen, int64_t now_ms, const struct mg_breaker_told *told,
                         struct mg_breaker_change *change)
{
    const struct mg_breaker_rule *rule = &breaker->rule;
    const struct mg_breaker_word word = mg_breaker_word_of(seen);
    const struct mg_breaker_counts counts =
        add_probe(record, word.epoch, !is_failure(told->result));
    const uint64_t good_needed =
        ((uint64_t)rule->probe_results * rule->probe_good + MG_BREAKER_ALL - 1) / MG_BREAKER_ALL;
    if (counts.failures > rule->probe_results - good_needed) {
        trip(breaker, record, seen, now_ms, told->random, MG_BREAKER_PROBES_FAILED, change);
    } else if (counts.total >= rule->probe_results) {
        pass_on(record, seen, rule->ramp_ms > 0 ? MG_BREAKER_RAMP : MG_BREAKER_CLOSED,
                MG_BREAKER_PROBES_OK, now_ms, change);
    }
    change->total = counts.total;
    change->failures = counts.failures;
}

/* Is this a result at all, in that state? A client that left says something of one that is slow,
 * and nothing of a probe. */
static bool says_something(const struct mg_breaker_pass *pass, const struct mg_breaker_told *told)
{
    return told->result != MG_RESULT_NONE &&
           (told->result != MG_RESULT_LEFT || (told->slow && pass->state != MG_BREAKER_HALF_OPEN));
}

static void count_result(struct mg_breaker_record *record, const struct mg_breaker_told *told)
{
    if (told->result != MG_RESULT_LEFT) {
        mg_breaker_count(record,
                         is_failure(told->result) ? MG_BREAKER_AT_RESULTS + MG_COUNTED_FAILURE
                                                  : MG_BREAKER_AT_RESULTS + MG_COUNTED_SUCCESS,
                         1);
    }
    if (told->result == MG_RESULT_NETWORK) {
        mg_breaker_count(record, MG_BREAKER_AT_RESULTS + MG_COUNTED_NETWORK, 1);
    }
    if (told->slow) {
        mg_breaker_count(record, MG_BREAKER_AT_RESULTS + MG_COUNTED_SLOW, 1);
    }
}

/* Is the state still the one that admitted the request? */
static bool is_of_epoch(struct mg_breaker_word word, const struct mg_breaker_pass *pass)
{
    return word.epoch == pass->epoch && word.state == pass->state;
}

static void record_result(struct mg_breaker *breaker, struct mg_breaker_record *record,
                          int64_t now_ms, struct mg_breaker_pass *pass,
                          const struct mg_breaker_told *told, struct mg_breaker_change *change)
{
    const uint64_t seen = mg_word_load(&record->state);
    const struct mg_breaker_word word = mg_breaker_word_of(seen);
    if (!says_something(pass, told)) {
        mg_breaker_count(record, MG_BREAKER_AT_RESULTS + MG_COUNTED_IGNORED, 1);
        return;
    }
    if (!is_of_epoch(word, pass)) {
        mg_breaker_count(record, MG_BREAKER_AT_STALE, 1);
        return;
    }
    count_result(record, told);
    if (word.state == MG_BREAKER_HALF_OPEN) {
        record_probe(breaker, record, seen, now_ms, told, change);
    } else if (word.state != MG_BREAKER_FORCED_CLOSED) {
        record_in_window(breaker, record, seen, now_ms, pass, told, change);
    }
}

/* The record of a pass, as long as it belongs to the breaker. */
static struct mg_breaker_record *own_record(const struct mg_breaker *breaker)
{
    struct mg_breaker_record *record = mg_breaker_record(breaker->shm, breaker->record);
    const bool own = record && record->id.hash[0] == breaker->id.hash[0] &&
                     record->id.hash[1] == breaker->id.hash[1];
    return own ? record : NULL;
}

void mg_breaker_result(struct mg_breaker *breaker, uint32_t worker, int64_t now_ms,
                       struct mg_breaker_pass *pass, const struct mg_breaker_told *told,
                       struct mg_breaker_change *change)
{
    *change = (struct mg_breaker_change){.happened = false};
    struct mg_breaker_record *record = pass->admitted ? own_record(breaker) : NULL;
    if (record) {
        record_result(breaker, record, now_ms, pass, told, change);
    }
    if (pass->hold != 0) { /* after the transition: nobody slips into the slot before it */
        mg_hold_give_back(breaker->shm, worker, pass->hold);
    }
    pass->admitted = false;
    pass->hold = 0;
}

void mg_breaker_slow(struct mg_breaker *breaker, int64_t now_ms, uint32_t random,
                     struct mg_breaker_pass *pass, struct mg_breaker_change *change)
{
    *change = (struct mg_breaker_change){.happened = false};
    struct mg_breaker_record *record = pass->counted ? own_record(breaker) : NULL;
    if (!record) {
        return;
    }
    const uint64_t seen = mg_word_load(&record->state);
    mg_breaker_count(record, MG_BREAKER_AT_RESULTS + MG_COUNTED_SLOW, 1);
    pass->counted = false;
    if (is_of_epoch(mg_breaker_word_of(seen), pass)) {
        const struct mg_breaker_counts counts =
            mg_breaker_window_slow(breaker, pass->epoch, now_ms, pass->place);
        trip_if(breaker, record, seen, now_ms, random, &counts, 0, change);
    }
}

bool mg_breaker_may_retry(const struct mg_breaker *breaker, const struct mg_breaker_pass *pass)
{
    const struct mg_breaker_record *record = own_record(breaker);
    if (!record) {
        return true; /* no record, no breaker */
    }
    const struct mg_breaker_word word = mg_breaker_word_of(mg_word_load(&record->state));
    return word.epoch == pass->epoch || word.state == MG_BREAKER_CLOSED ||
           word.state == MG_BREAKER_FORCED_CLOSED;
}
