/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state is one word, changed by compare-and-swap:
 *
 *     until_ms (48 bits) | openings in a row (14) | state (2)
 *
 * Failures of the last `within_ms` are counted in MG_STORE_WINDOW words, one for each part of that
 * time in turn: number of the part (40 bits) | failures in it (24). A word whose part is over
 * begins anew by itself, so nothing has to be cleared in time.
 */
#include "net/redis_breaker.h"

#include "base/shm_words.h"

enum state { CLOSED, OPEN, PROBING };

#define STATE_BITS 2
#define OPENINGS_BITS 14
#define OPENINGS_MOST ((1U << OPENINGS_BITS) - 1)
#define COUNT_BITS 24
#define COUNT_MOST ((UINT64_C(1) << COUNT_BITS) - 1)

struct view {
    enum state state;
    uint32_t openings;
    uint64_t until_ms;
};

static struct view unpack(uint64_t word)
{
    return (struct view){.state = (enum state)(word & ((1U << STATE_BITS) - 1)),
                         .openings = (uint32_t)(word >> STATE_BITS) & OPENINGS_MOST,
                         .until_ms = word >> (STATE_BITS + OPENINGS_BITS)};
}

static uint64_t pack(enum state state, uint32_t openings, uint64_t until_ms)
{
    return until_ms << (STATE_BITS + OPENINGS_BITS) | (uint64_t)openings << STATE_BITS |
           (uint64_t)state;
}

bool mg_redis_breaker_is_open(const struct mg_redis_breaker *breaker)
{
    return unpack(mg_word_load(&breaker->record->state)).state != CLOSED;
}

void mg_redis_breaker_success(struct mg_redis_breaker *breaker)
{
    uint64_t *word = &breaker->record->consecutive;
    uint64_t seen = mg_word_load(word);
    while (seen != 0 && !mg_word_swap(word, &seen, 0)) {
    }
}

/* --- failures --------------------------------------------------------------------------------- */

static uint64_t part_of(const struct mg_redis_breaker *breaker, uint64_t now_ms)
{
    const uint64_t part_ms = breaker->rule.within_ms / MG_STORE_WINDOW;
    return now_ms / (part_ms ? part_ms : 1);
}

static void add_failure(struct mg_redis_breaker *breaker, uint64_t part)
{
    uint64_t *word = &breaker->record->window[part % MG_STORE_WINDOW];
    const uint64_t fresh = part << COUNT_BITS;
    uint64_t seen = mg_word_load(word), next;
    do {
        const bool is_same = seen >> COUNT_BITS == part;
        next = is_same ? seen + ((seen & COUNT_MOST) < COUNT_MOST) : fresh + 1;
    } while (!mg_word_swap(word, &seen, next));
}

static uint64_t failures_within(const struct mg_redis_breaker *breaker, uint64_t part)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < MG_STORE_WINDOW; i++) {
        const uint64_t word = mg_word_load(&breaker->record->window[i]);
        const uint64_t age = part - (word >> COUNT_BITS); /* huge for a word of the future */
        sum += age < MG_STORE_WINDOW ? word & COUNT_MOST : 0;
    }
    return sum;
}

static void clear_failures(struct mg_redis_breaker *breaker)
{
    mg_redis_breaker_success(breaker);
    for (unsigned i = 0; i < MG_STORE_WINDOW; i++) {
        uint64_t seen = mg_word_load(&breaker->record->window[i]);
        while (seen != 0 && !mg_word_swap(&breaker->record->window[i], &seen, 0)) {
        }
    }
}

static void set_reason(struct mg_redis_breaker *breaker, enum mg_redis_result reason)
{
    uint64_t seen = mg_word_load(&breaker->record->reason);
    while (!mg_word_swap(&breaker->record->reason, &seen, (uint64_t)reason)) {
    }
}

/* The open time after so many openings in a row before, with +-10 %. */
static uint64_t open_ms(const struct mg_redis_breaker *breaker, uint32_t openings, uint32_t random)
{
    uint64_t ms = breaker->rule.open_ms;
    for (uint32_t i = 0; i < openings && ms < breaker->rule.max_ms; i++) {
        ms *= 2;
    }
    ms = ms < breaker->rule.max_ms ? ms : breaker->rule.max_ms;
    return ms - ms / 10 + ms / 5 * (random % 1024) / 1023;
}

bool mg_redis_breaker_failure(struct mg_redis_breaker *breaker, uint64_t now_ms, uint32_t random,
                              enum mg_redis_result reason)
{
    const uint64_t part = part_of(breaker, now_ms);
    set_reason(breaker, reason);
    mg_word_add(&breaker->record->consecutive, 1);
    add_failure(breaker, part);
    if (mg_word_load(&breaker->record->consecutive) < breaker->rule.failures &&
        failures_within(breaker, part) < breaker->rule.failures) {
        return false;
    }
    uint64_t seen = mg_word_load(&breaker->record->state);
    if (unpack(seen).state != CLOSED) {
        return false;
    }
    mg_word_store(&breaker->record->opened_ms, now_ms); /* before anybody sees it open */
    if (!mg_word_swap(&breaker->record->state, &seen,
                      pack(OPEN, 0, now_ms + open_ms(breaker, 0, random)))) {
        return false; /* another worker opened it right now */
    }
    mg_word_add(&breaker->record->opened, 1);
    return true;
}

/* --- probes ----------------------------------------------------------------------------------- */

uint64_t mg_redis_breaker_probe_at(const struct mg_redis_breaker *breaker)
{
    const struct view view = unpack(mg_word_load(&breaker->record->state));
    return view.state == CLOSED ? 0 : view.until_ms;
}

bool mg_redis_breaker_probe(struct mg_redis_breaker *breaker, uint64_t now_ms, uint64_t lease_ms,
                            bool early)
{
    uint64_t seen = mg_word_load(&breaker->record->state);
    const struct view view = unpack(seen);
    if (view.state == CLOSED || (view.until_ms > now_ms && !(early && view.state == OPEN))) {
        return false;
    }
    return mg_word_swap(&breaker->record->state, &seen,
                        pack(PROBING, view.openings, now_ms + lease_ms));
}

void mg_redis_breaker_probed(struct mg_redis_breaker *breaker, uint64_t now_ms, uint32_t random,
                             bool success, enum mg_redis_result reason)
{
    uint64_t seen = mg_word_load(&breaker->record->state);
    const struct view view = unpack(seen);
    if (view.state != PROBING) {
        return; /* our time was over and another worker was faster */
    }
    if (success) {
        clear_failures(breaker);
        const uint64_t since_ms = mg_word_load(&breaker->record->opened_ms);
        if (mg_word_swap(&breaker->record->state, &seen, pack(CLOSED, 0, 0)) && now_ms > since_ms) {
            mg_word_add(&breaker->record->open_ms, now_ms - since_ms);
        }
        return;
    }
    const uint32_t openings = view.openings < OPENINGS_MOST ? view.openings + 1 : OPENINGS_MOST;
    set_reason(breaker, reason);
    (void)mg_word_swap(&breaker->record->state, &seen,
                       pack(OPEN, openings, now_ms + open_ms(breaker, openings, random)));
}

/* --- counters --------------------------------------------------------------------------------- */

void mg_redis_breaker_count(struct mg_redis_breaker *breaker, enum mg_redis_result result)
{
    mg_word_add(&breaker->record->results[result], 1);
}

enum mg_redis_result mg_redis_breaker_reason(const struct mg_store_record *record)
{
    const uint64_t reason = mg_word_load(&record->reason);
    return reason < MG_REDIS_RESULT_COUNT ? (enum mg_redis_result)reason : MG_REDIS_OTHER;
}

uint64_t mg_redis_breaker_open_ms(const struct mg_store_record *record, uint64_t now_ms)
{
    const uint64_t since_ms = mg_word_load(&record->opened_ms);
    const bool is_open = unpack(mg_word_load(&record->state)).state != CLOSED;
    return mg_word_load(&record->open_ms) + (is_open && now_ms > since_ms ? now_ms - since_ms : 0);
}

const char *mg_redis_breaker_state(const struct mg_store_record *record)
{
    static const char *const words[] = {"closed", "open", "probing"};
    const enum state state = unpack(mg_word_load(&record->state)).state;
    return words[state <= PROBING ? state : OPEN];
}
