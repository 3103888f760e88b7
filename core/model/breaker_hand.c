/* SPDX-License-Identifier: Apache-2.0 */
/* Circuit breakers by hand. */
#include "model/breaker_hand.h"

#include "base/shm_keyed.h"

static const char *const words[] = {
    [MG_BREAKER_HAND_OPEN] = "force-open",
    [MG_BREAKER_HAND_CLOSED] = "force-closed",
    [MG_BREAKER_HAND_AUTO] = "auto",
    [MG_BREAKER_HAND_RESET] = "reset",
};

bool mg_breaker_hand_of(mg_str word, enum mg_breaker_hand *hand)
{
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (mg_str_equal(word, mg_str_from(words[i]))) {
            *hand = (enum mg_breaker_hand)i;
            return true;
        }
    }
    return false;
}

static bool is_forced(enum mg_breaker_state state)
{
    return state == MG_BREAKER_FORCED_OPEN || state == MG_BREAKER_FORCED_CLOSED;
}

/* What the action makes of a state; MG_BREAKER_NO_REASON: nothing. */
static enum mg_breaker_reason next_of(struct mg_breaker_word before, enum mg_breaker_hand hand,
                                      int64_t for_ms, int64_t now_ms, struct mg_breaker_word *next)
{
    const int64_t end_ms = for_ms > 0 ? now_ms + for_ms : MG_BREAKER_TIME_MAX;
    *next = (struct mg_breaker_word){.state = MG_BREAKER_CLOSED, .n = before.n, .time_ms = now_ms};
    switch (hand) {
    case MG_BREAKER_HAND_OPEN:
    case MG_BREAKER_HAND_CLOSED:
        next->state =
            hand == MG_BREAKER_HAND_OPEN ? MG_BREAKER_FORCED_OPEN : MG_BREAKER_FORCED_CLOSED;
        next->time_ms = end_ms;
        return MG_BREAKER_FORCED;
    case MG_BREAKER_HAND_AUTO:
        return is_forced(before.state) ? MG_BREAKER_AUTO : MG_BREAKER_NO_REASON;
    default:
        next->n = 0;
        return MG_BREAKER_RESET;
    }
}

int mg_breaker_by_hand(struct mg_shm *shm, mg_str name, enum mg_breaker_hand hand, int64_t for_ms,
                       int64_t now_ms, struct mg_breaker_change *change)
{
    *change = (struct mg_breaker_change){.happened = false};
    const int index = mg_breaker_record_find(shm, name);
    struct mg_breaker_record *record = index < 0 ? NULL : mg_breaker_record(shm, (uint32_t)index);
    if (!record) {
        return MG_ENOT_FOUND;
    }
    struct mg_breaker_word before, next;
    enum mg_breaker_reason reason;
    do {
        const uint64_t seen = mg_word_load(&record->state);
        before = mg_breaker_word_of(seen);
        reason = next_of(before, hand, for_ms, now_ms, &next);
        if (reason == MG_BREAKER_NO_REASON) {
            return 0;
        }
        mg_breaker_move(record, seen, next, reason, now_ms, change);
    } while (!change->happened);
    if (hand == MG_BREAKER_HAND_RESET) {
        mg_keyed_drop(shm, (uint32_t)index);
    }
    if (is_forced(next.state)) {
        change->open_ms = for_ms > 0 ? for_ms : -1;
    }
    mg_word_bit(&record->unheard, (before.epoch + 1) % MG_BREAKER_RECENT, true);
    return 0;
}

bool mg_breaker_heard(struct mg_breaker_record *record, struct mg_breaker_event *event)
{
    uint64_t seen = mg_word_load(&record->unheard);
    while (seen != 0) {
        const unsigned place = (unsigned)__builtin_ctzll(seen);
        if (!mg_word_swap(&record->unheard, &seen, seen & (seen - 1))) {
            continue;
        }
        const uint64_t word = mg_word_load(&record->recent[place % MG_BREAKER_RECENT]);
        if (mg_breaker_event_of(record, (uint32_t)(word >> 10) & (MG_BREAKER_EPOCHS - 1), event)) {
            return true;
        }
        seen &= seen - 1;
    }
    return false;
}
