/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of a target's record:
 *
 *   state    3 bits state | 7 bits n | 14 bits epoch | 40 bits time (ms)
 *            time: EJECTED, PROBING: until then; RAMP: its end
 *   streak   14 bits epoch | 50 bits failures in a row
 *   tallies  4 x 16 bits, in a row: successes, connects, timeouts, statuses
 *   window   each 14 bits epoch | 18 bits second | 16 bits total | 16 bits failures
 *
 * A transition is one compare-and-swap of the state, so one worker makes it and is told. What
 * belongs to an earlier epoch counts as 0 without being cleared.
 */
#include "model/health.h"

#include "base/shm_words.h"

#define PROBE_MS 10000 /* a probe without a result by then is lost, with its worker maybe */
#define RAMP_FIRST 10  /* percent, at the beginning */
#define N_MAX 127U
#define EPOCHS (1U << 14)
#define TIME_MAX ((UINT64_C(1) << 40) - 1)
#define JITTER_PERCENT 10
#define MOST_IN_A_ROW 255 /* no rule asks for more */

enum tally { TALLY_SUCCESS, TALLY_CONNECT, TALLY_TIMEOUT, TALLY_STATUS };

struct word {
    enum mg_health_state state;
    uint32_t n, epoch;
    uint64_t time_ms;
};

static struct word word_of(uint64_t bits)
{
    return (struct word){.state = (enum mg_health_state)(bits & 7),
                         .n = (uint32_t)(bits >> 3) & N_MAX,
                         .epoch = (uint32_t)(bits >> 10) & (EPOCHS - 1),
                         .time_ms = bits >> 24};
}

static uint64_t word_make(struct word word)
{
    const uint64_t time_ms = word.time_ms < TIME_MAX ? word.time_ms : TIME_MAX;
    return (uint64_t)word.state | (uint64_t)(word.n & N_MAX) << 3 |
           (uint64_t)(word.epoch & (EPOCHS - 1)) << 10 | time_ms << 24;
}

const char *mg_health_state_name(enum mg_health_state state)
{
    static const char *const names[] = {"healthy", "ejected", "probing", "ramp", "unhealthy"};
    return names[state];
}

const char *mg_eject_reason_name(enum mg_eject_reason reason)
{
    static const char *const names[MG_EJECT_REASONS] = {"consecutive", "failure_percent",
                                                        "probe_failed", "passive", "active"};
    return names[reason];
}

/* --- looking ---------------------------------------------------------------------------------- */

static bool is_out(enum mg_health_state state)
{
    return state == MG_HEALTH_EJECTED || state == MG_HEALTH_PROBING || state == MG_HEALTH_DOWN;
}

static const struct mg_outlier *outlier_of(const struct mg_peer_group *group)
{
    return &group->upstream->settings.outlier;
}

/* Rises in a straight line. */
static uint32_t ramp_share(const struct mg_outlier *outlier, const struct word *word,
                           uint64_t now_ms)
{
    const uint64_t left_ms = word->time_ms > now_ms ? word->time_ms - now_ms : 0;
    if (left_ms == 0 || left_ms > outlier->ramp) { /* a reload has shortened it */
        return 100;
    }
    const uint64_t done = outlier->ramp - left_ms;
    return RAMP_FIRST + (uint32_t)((100 - RAMP_FIRST) * done / outlier->ramp);
}

static void look_at(struct mg_peer_group *group, struct mg_peer *peer, uint64_t now_ms)
{
    const struct word word = word_of(mg_word_load(&peer->record->state));
    const bool waits = word.state == MG_HEALTH_EJECTED || word.state == MG_HEALTH_PROBING;
    peer->probe_due = waits && now_ms >= word.time_ms;
    peer->share = is_out(word.state)             ? 0
                  : word.state == MG_HEALTH_RAMP ? ramp_share(outlier_of(group), &word, now_ms)
                                                 : 100;
    group->has_probe = group->has_probe || peer->probe_due;
    group->is_ramping = group->is_ramping || (peer->share > 0 && peer->share < 100);
}

/* So few are healthy that it makes no sense to spare the others. Probes go on: they end it. */
static void panic(struct mg_peer_group *group)
{
    group->is_ramping = false;
    for (uint32_t i = 0; i < group->count; i++) {
        group->peers[i].share = 100;
    }
}

void mg_health_look(struct mg_peer_group *group, uint64_t now_ms)
{
    if (!group->is_watched || group->looked_ms == now_ms) {
        return;
    }
    uint32_t healthy = 0;
    uint64_t weight = 0;
    group->looked_ms = now_ms;
    group->has_probe = group->is_ramping = false;
    for (uint32_t i = 0; i < group->count; i++) {
        struct mg_peer *peer = &group->peers[i];
        if (peer->target->weight > 0) {
            look_at(group, peer, now_ms);
            healthy += peer->share > 0;
            weight += peer->share > 0 ? peer->target->weight : 0;
        }
    }
    const uint32_t threshold = group->upstream->threshold;
    group->is_closed = threshold > 0 && weight * 100000 < group->total_weight * threshold;
    if (threshold == 0 && healthy < group->weighted &&
        healthy * 100 < group->weighted * outlier_of(group)->panic_percent) {
        panic(group);
    }
}

uint32_t mg_health_epoch(const struct mg_peer *peer)
{
    return peer->record ? word_of(mg_word_load(&peer->record->state)).epoch : 0;
}

/* --- transitions ------------------------------------------------------------------------------ */

static bool move(struct mg_peer_group *group, struct mg_peer *peer, uint64_t seen, struct word next,
                 struct mg_health_change *change)
{
    const struct word before = word_of(seen);
    next.epoch = before.epoch + 1;
    if (!mg_word_swap(&peer->record->state, &seen, word_make(next))) {
        return false;
    }
    group->looked_ms = 0;
    change->happened = true;
    change->from = before.state;
    change->to = next.state;
    change->n = next.n;
    return true;
}

bool mg_health_claim(struct mg_peer_group *group, struct mg_peer *peer, uint64_t now_ms)
{
    const uint64_t seen = mg_word_load(&peer->record->state);
    const struct word word = word_of(seen);
    const bool waits = word.state == MG_HEALTH_EJECTED || word.state == MG_HEALTH_PROBING;
    struct mg_health_change change;
    return waits && now_ms >= word.time_ms &&
           move(
               group, peer, seen,
               (struct word){.state = MG_HEALTH_PROBING, .n = word.n, .time_ms = now_ms + PROBE_MS},
               &change);
}

/* Targets with weight that are out. */
static uint32_t count_out(const struct mg_peer_group *group)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct mg_peer *peer = &group->peers[i];
        out +=
            peer->target->weight > 0 && is_out(word_of(mg_word_load(&peer->record->state)).state);
    }
    return out;
}

/* How many may be out for their results. */
static uint32_t most_out(const struct mg_peer_group *group, enum mg_eject_reason reason)
{
    const uint32_t all_but_one = group->weighted > 0 ? group->weighted - 1 : 0;
    const uint32_t share = group->weighted * outlier_of(group)->max_eject_percent / 100;
    return reason == MG_EJECT_PASSIVE || share > all_but_one ? all_but_one : share;
}

/* base x factor^(n - 1), at most max, and up to a tenth more or less. */
static uint64_t time_out(const struct mg_outlier *outlier, uint32_t n, uint32_t random)
{
    uint64_t ms = outlier->open_base;
    for (uint32_t i = 1; i < n && ms < outlier->open_max; i++) {
        ms *= outlier->open_factor;
        if (outlier->open_factor < 2) {
            break;
        }
    }
    ms = ms < outlier->open_max ? ms : outlier->open_max;
    const uint64_t jitter = ms * JITTER_PERCENT / 100;
    return ms - jitter + ((2 * jitter * random) >> 32);
}

static bool active_checks_bring_back(const struct mg_peer_group *group)
{
    return group->upstream->check.unhealthy_interval > 0 && group->upstream->active.successes > 0;
}

/* Kept when the others are out already: checked after the move, so that two workers that take out
 * two targets at the same time never leave none. */
static void eject(struct mg_peer_group *group, struct mg_peer *peer, uint64_t seen,
                  const struct mg_health_result *result, enum mg_eject_reason reason,
                  struct mg_health_change *change)
{
    const struct mg_outlier *outlier = outlier_of(group);
    const struct word word = word_of(seen);
    const bool was_out = is_out(word.state);
    const uint32_t most = most_out(group, reason);
    if (!was_out && count_out(group) >= most) {
        return;
    }
    const bool long_well =
        word.state != MG_HEALTH_PROBING && result->now_ms >= word.time_ms + outlier->open_max;
    const uint32_t n = long_well ? 1 : word.n + (word.n < N_MAX);
    const uint64_t ms = time_out(outlier, n, result->random);
    const bool until_checked = reason == MG_EJECT_PASSIVE && active_checks_bring_back(group);
    const struct word next = {.state = until_checked ? MG_HEALTH_DOWN : MG_HEALTH_EJECTED,
                              .n = n,
                              .time_ms = result->now_ms + ms};
    if (!move(group, peer, seen, next, change)) {
        return;
    }
    if (!was_out && count_out(group) > most) {
        struct mg_health_change undone;
        struct word made = next;
        made.epoch = word.epoch + 1;
        move(group, peer, word_make(made), word, &undone);
        change->happened = false;
        return;
    }
    change->ms = ms;
    change->reason = reason;
    mg_word_add(&peer->record->ejected, 1);
    mg_word_add(&group->record->ejections[reason], 1);
}

static void bring_back(struct mg_peer_group *group, struct mg_peer *peer, uint64_t seen,
                       uint64_t now_ms, struct mg_health_change *change)
{
    move(group, peer, seen,
         (struct word){.state = MG_HEALTH_RAMP,
                       .n = word_of(seen).n,
                       .time_ms = now_ms + outlier_of(group)->ramp},
         change);
}

/* --- results ---------------------------------------------------------------------------------- */

static bool has_status(const uint64_t *set, uint16_t status)
{
    return status < MG_STATUS_BITS && (set[status / 64] >> status % 64 & 1U) != 0;
}

static bool is_failure(const struct mg_health_result *result)
{
    return result->what != MG_TRIED_ANSWERED || result->status == 500 ||
           (result->status >= 502 && result->status <= 504);
}

/* Failures in a row in this epoch. */
static uint64_t count_streak(struct mg_target_record *record, uint32_t epoch, bool failed)
{
    uint64_t seen = mg_word_load(&record->streak);
    for (;;) {
        const bool is_now = (seen & (EPOCHS - 1)) == epoch;
        const uint64_t before = is_now ? seen >> 14 : 0;
        const uint64_t next = failed ? before + 1 : 0;
        if (next == before && is_now) {
            return next;
        }
        if (mg_word_swap(&record->streak, &seen, next << 14 | epoch)) {
            return next;
        }
    }
}

#define SECONDS (1U << 18)

static uint64_t tag_of(uint32_t epoch, uint64_t second)
{
    return epoch | (second % SECONDS) << 14;
}

/* Adds to this second's results. */
static void add_to_window(struct mg_target_record *record, uint32_t epoch, uint64_t second,
                          bool failed)
{
    uint64_t *bucket = &record->window[second % MG_HEALTH_BUCKETS];
    uint64_t seen = mg_word_load(bucket);
    uint64_t next;
    do {
        const bool is_now = (seen & UINT32_MAX) == tag_of(epoch, second);
        const uint64_t total = is_now ? seen >> 32 & 0xffff : 0;
        const uint64_t failures = is_now ? seen >> 48 : 0;
        if (total == 0xffff) {
            return; /* enough to know */
        }
        next = tag_of(epoch, second) | (total + 1) << 32 | (failures + failed) << 48;
    } while (!mg_word_swap(bucket, &seen, next));
}

static bool share_is_reached(const struct mg_outlier *outlier,
                             const struct mg_target_record *record, uint32_t epoch, uint64_t second)
{
    uint64_t total = 0, failures = 0;
    for (uint32_t i = 0; i < MG_HEALTH_BUCKETS && i <= second; i++) {
        const uint64_t bucket = mg_word_load(&record->window[(second - i) % MG_HEALTH_BUCKETS]);
        if ((bucket & UINT32_MAX) == tag_of(epoch, second - i)) {
            total += bucket >> 32 & 0xffff;
            failures += bucket >> 48;
        }
    }
    return total >= outlier->min_requests && failures * 100 >= total * outlier->failure_percent;
}

static void record_outlier(struct mg_peer_group *group, struct mg_peer *peer, uint64_t seen,
                           const struct mg_health_result *result, struct mg_health_change *change)
{
    const struct mg_outlier *outlier = outlier_of(group);
    const uint32_t epoch = word_of(seen).epoch;
    const bool failed = is_failure(result);
    if (outlier->failure_percent > 0) {
        add_to_window(peer->record, epoch, result->now_ms / 1000, failed);
    }
    if (outlier->consecutive > 0 &&
        count_streak(peer->record, epoch, failed) >= outlier->consecutive) {
        eject(group, peer, seen, result, MG_EJECT_CONSECUTIVE, change);
    } else if (failed && outlier->failure_percent > 0 &&
               share_is_reached(outlier, peer->record, epoch, result->now_ms / 1000)) {
        eject(group, peer, seen, result, MG_EJECT_FAILURE_PERCENT, change);
    }
}

/* Which tally of the rule a result belongs to, or -1. */
static int tally_of(const struct mg_health_rule *rule, const struct mg_health_result *result)
{
    switch (result->what) {
    case MG_TRIED_ANSWERED:
        return has_status(rule->unhealthy, result->status) ? (int)TALLY_STATUS
               : has_status(rule->healthy, result->status) ? (int)TALLY_SUCCESS
                                                           : -1;
    case MG_TRIED_CONNECTED:
        return TALLY_SUCCESS;
    case MG_TRIED_TIMEOUT:
        return TALLY_TIMEOUT;
    case MG_TRIED_CONNECT:
    case MG_TRIED_RESET:
        return TALLY_CONNECT;
    default:
        return -1;
    }
}

/* One more in a row: a success ends the rows of failures, and the other way round. The new count.
 */
static uint32_t count_tally(struct mg_target_record *record, enum tally tally)
{
    const unsigned shift = 16U * (unsigned)tally;
    uint64_t seen = mg_word_load(&record->tallies);
    for (;;) {
        const uint64_t count = seen >> shift & 0xffff;
        const uint64_t next_count = count < MOST_IN_A_ROW ? count + 1 : count;
        const uint64_t kept =
            tally == TALLY_SUCCESS ? 0 : seen & ~(UINT64_C(0xffff) << shift) & ~UINT64_C(0xffff);
        const uint64_t next = kept | next_count << shift;
        if (next == seen || mg_word_swap(&record->tallies, &seen, next)) {
            return (uint32_t)next_count;
        }
    }
}

/* 1: the rule takes the target for healthy; -1: for unhealthy; 0: it does not know. */
static int verdict_of(const struct mg_health_rule *rule, struct mg_target_record *record,
                      const struct mg_health_result *result)
{
    const uint32_t needed[] = {rule->successes, rule->tcp_failures, rule->timeouts,
                               rule->http_failures};
    const int tally = tally_of(rule, result);
    if (tally < 0 || (needed[tally] == 0 && tally != TALLY_SUCCESS)) {
        return 0;
    }
    if (needed[tally] == 0) { /* it ends the rows of failures all the same */
        count_tally(record, TALLY_SUCCESS);
        return 0;
    }
    const bool enough = count_tally(record, (enum tally)tally) >= needed[tally];
    return !enough ? 0 : tally == TALLY_SUCCESS ? 1 : -1;
}

/* The probe of PROBING has come back. */
static void end_probe(struct mg_peer_group *group, struct mg_peer *peer, uint64_t seen,
                      const struct mg_health_result *result, struct mg_health_change *change)
{
    if (result->what == MG_TRIED_NOTHING) { /* another one finds out */
        struct word word = word_of(seen);
        word.state = MG_HEALTH_EJECTED;
        word.time_ms = result->now_ms;
        move(group, peer, seen, word, change);
        change->happened = false;
    } else if (is_failure(result)) {
        eject(group, peer, seen, result, MG_EJECT_PROBE_FAILED, change);
    } else {
        bring_back(group, peer, seen, result->now_ms, change);
    }
}

void mg_health_result(struct mg_peer_group *group, struct mg_peer *peer,
                      const struct mg_health_result *result, struct mg_health_change *change)
{
    *change = (struct mg_health_change){.happened = false};
    if (!group->is_watched) {
        return;
    }
    const uint64_t seen = mg_word_load(&peer->record->state);
    const struct word word = word_of(seen);
    if (word.epoch != result->epoch) {
        return;
    }
    if (word.state == MG_HEALTH_PROBING) {
        if (result->probe) {
            end_probe(group, peer, seen, result, change);
        }
        return;
    }
    if (is_out(word.state) || result->what == MG_TRIED_NOTHING) {
        return; /* in panic */
    }
    record_outlier(group, peer, seen, result, change);
    if (!change->happened && mg_health_rule_is_on(&group->upstream->passive) &&
        verdict_of(&group->upstream->passive, peer->record, result) < 0) {
        eject(group, peer, mg_word_load(&peer->record->state), result, MG_EJECT_PASSIVE, change);
    }
}

void mg_health_checked(struct mg_peer_group *group, struct mg_peer *peer,
                       const struct mg_health_result *result, struct mg_health_change *change)
{
    *change = (struct mg_health_change){.happened = false};
    const int tally = tally_of(&group->upstream->active, result);
    if (tally >= 0) {
        mg_word_add(&peer->record->checks[tally == TALLY_SUCCESS ? 0 : 1], 1);
    }
    const int verdict = verdict_of(&group->upstream->active, peer->record, result);
    const uint64_t seen = mg_word_load(&peer->record->state);
    const struct word word = word_of(seen);
    if (verdict > 0 && word.state == MG_HEALTH_DOWN) {
        bring_back(group, peer, seen, result->now_ms, change);
    } else if (verdict < 0 && word.state != MG_HEALTH_DOWN) {
        const struct word next = {.state = MG_HEALTH_DOWN, .n = word.n, .time_ms = result->now_ms};
        if (move(group, peer, seen, next, change)) {
            change->reason = MG_EJECT_ACTIVE;
            mg_word_add(&peer->record->ejected, 1);
            mg_word_add(&group->record->ejections[MG_EJECT_ACTIVE], 1);
        }
    }
}

void mg_health_log(struct mg_log *log, const struct mg_peer_group *group,
                   const struct mg_peer *peer, const struct mg_health_change *change)
{
    const mg_str upstream = group->upstream->name;
    const char *target = peer->record->head.name;
    if (change->to == MG_HEALTH_EJECTED) {
        mg_log_write(log, MG_LOG_WARN, "upstream",
                     "%.*s: target %s is left out for %llu ms: %s (time %u in a row)",
                     MG_STR_ARG(upstream), target, (unsigned long long)change->ms,
                     mg_eject_reason_name(change->reason), change->n);
    } else if (change->to == MG_HEALTH_DOWN) {
        mg_log_write(log, MG_LOG_WARN, "upstream",
                     "%.*s: target %s is left out until checks find it healthy: %s",
                     MG_STR_ARG(upstream), target, mg_eject_reason_name(change->reason));
    } else if (change->to == MG_HEALTH_RAMP) {
        mg_log_write(log, MG_LOG_NOTICE, "upstream", "%.*s: target %s is back",
                     MG_STR_ARG(upstream), target);
    }
}

enum mg_health_state mg_health_state(const struct mg_target_record *record, uint64_t now_ms,
                                     uint64_t *left_ms)
{
    const struct word word = word_of(mg_word_load(&record->state));
    const bool has_time = word.state == MG_HEALTH_EJECTED || word.state == MG_HEALTH_RAMP;
    *left_ms = has_time && word.time_ms > now_ms ? word.time_ms - now_ms : 0;
    return word.state == MG_HEALTH_RAMP && *left_ms == 0 ? MG_HEALTH_HEALTHY : word.state;
}
