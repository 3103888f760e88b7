/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State words and transitions. Who makes a transition writes it down after that; a process killed
 * in between leaves a state without a history, which is none the worse.
 */
#include "model/breaker_change.h"

#define EPOCH_MASK (MG_BREAKER_EPOCHS - 1)

_Static_assert(MG_BREAKER_AT_EDGES + MG_BREAKER_EDGES <= MG_BREAKER_COUNTERS, "counters have room");
_Static_assert(MG_BREAKER_STATES <= 8 && MG_BREAKER_REASONS <= 16, "they fit into their bits");

const struct mg_breaker_edge mg_breaker_edges[MG_BREAKER_EDGES] = {
    {MG_BREAKER_OPEN, MG_BREAKER_FAILURE_PERCENT},
    {MG_BREAKER_OPEN, MG_BREAKER_NETWORK},
    {MG_BREAKER_OPEN, MG_BREAKER_SLOW},
    {MG_BREAKER_OPEN, MG_BREAKER_CONSECUTIVE},
    {MG_BREAKER_OPEN, MG_BREAKER_PROBES_FAILED},
    {MG_BREAKER_OPEN, MG_BREAKER_RAMP_FAILED},
    {MG_BREAKER_HALF_OPEN, MG_BREAKER_TIME},
    {MG_BREAKER_RAMP, MG_BREAKER_PROBES_OK},
    {MG_BREAKER_CLOSED, MG_BREAKER_PROBES_OK},
    {MG_BREAKER_CLOSED, MG_BREAKER_RAMP_DONE},
    {MG_BREAKER_CLOSED, MG_BREAKER_TIME},
    {MG_BREAKER_CLOSED, MG_BREAKER_AUTO},
    {MG_BREAKER_CLOSED, MG_BREAKER_RESET},
    {MG_BREAKER_FORCED_OPEN, MG_BREAKER_FORCED},
    {MG_BREAKER_FORCED_CLOSED, MG_BREAKER_FORCED},
};

/* Of a damaged record a state that there is not is CLOSED. */
static enum mg_breaker_state state_of(uint64_t bits)
{
    return bits < MG_BREAKER_STATES ? (enum mg_breaker_state)bits : MG_BREAKER_CLOSED;
}

static uint64_t time_of(int64_t time_ms)
{
    return (uint64_t)(time_ms < 0                     ? 0
                      : time_ms > MG_BREAKER_TIME_MAX ? MG_BREAKER_TIME_MAX
                                                      : time_ms);
}

struct mg_breaker_word mg_breaker_word_of(uint64_t word)
{
    return (struct mg_breaker_word){.state = state_of(word & 7),
                                    .n = (uint32_t)(word >> 3) & MG_BREAKER_N_MAX,
                                    .epoch = (uint32_t)(word >> 10) & EPOCH_MASK,
                                    .time_ms = (int64_t)(word >> 23)};
}

uint64_t mg_breaker_word_make(struct mg_breaker_word parts)
{
    return (uint64_t)parts.state | (uint64_t)(parts.n & MG_BREAKER_N_MAX) << 3 |
           (uint64_t)(parts.epoch & EPOCH_MASK) << 10 | time_of(parts.time_ms) << 23;
}

bool mg_breaker_event_of(const struct mg_breaker_record *record, uint32_t epoch,
                         struct mg_breaker_event *event)
{
    const uint64_t word = mg_word_load(&record->recent[epoch % MG_BREAKER_RECENT]);
    const unsigned reason = (unsigned)(word >> 6) & 15;
    *event = (struct mg_breaker_event){.from = state_of(word & 7),
                                       .to = state_of(word >> 3 & 7),
                                       .reason = (enum mg_breaker_reason)reason,
                                       .epoch = (uint32_t)(word >> 10) & EPOCH_MASK,
                                       .time_ms = (int64_t)(word >> 23)};
    return event->epoch == epoch && reason > MG_BREAKER_NO_REASON && reason < MG_BREAKER_REASONS;
}

static uint64_t event_make(const struct mg_breaker_event *event)
{
    return (uint64_t)event->from | (uint64_t)event->to << 3 | (uint64_t)event->reason << 6 |
           (uint64_t)event->epoch << 10 | time_of(event->time_ms) << 23;
}

void mg_breaker_count(struct mg_breaker_record *record, unsigned at, uint64_t n)
{
    mg_word_add(&record->counters[at], n);
    if (record->owner_back != 0) {
        mg_word_add(&(record - record->owner_back)->counters[at], n);
    }
}

static void count_edge(struct mg_breaker_record *record, enum mg_breaker_state to,
                       enum mg_breaker_reason reason)
{
    for (unsigned i = 0; i < MG_BREAKER_EDGES; i++) {
        if (mg_breaker_edges[i].to == to && mg_breaker_edges[i].reason == reason) {
            mg_breaker_count(record, MG_BREAKER_AT_EDGES + i, 1);
        }
    }
}

/* Since the transition to that epoch, when its state lets nothing pass. */
static uint64_t open_since(const struct mg_breaker_record *record, struct mg_breaker_word word,
                           int64_t now_ms)
{
    struct mg_breaker_event event;
    const bool is_open = word.state == MG_BREAKER_OPEN || word.state == MG_BREAKER_FORCED_OPEN;
    const bool known = is_open && mg_breaker_event_of(record, word.epoch, &event);
    return known && now_ms > event.time_ms ? (uint64_t)(now_ms - event.time_ms) : 0;
}

uint64_t mg_breaker_open_ms(const struct mg_breaker_record *record, int64_t now_ms)
{
    const struct mg_breaker_word word = mg_breaker_word_of(mg_word_load(&record->state));
    return mg_word_load(&record->counters[MG_BREAKER_AT_OPEN_MS]) +
           open_since(record, word, now_ms);
}

bool mg_breaker_move(struct mg_breaker_record *record, uint64_t seen, struct mg_breaker_word next,
                     enum mg_breaker_reason reason, int64_t now_ms,
                     struct mg_breaker_change *change)
{
    const struct mg_breaker_word before = mg_breaker_word_of(seen);
    next.epoch = (before.epoch + 1) & EPOCH_MASK;
    if (!mg_word_swap(&record->state, &seen, mg_breaker_word_make(next))) {
        return false;
    }
    const struct mg_breaker_event event = {.from = before.state,
                                           .to = next.state,
                                           .reason = reason,
                                           .epoch = next.epoch,
                                           .time_ms = now_ms};
    mg_breaker_count(record, MG_BREAKER_AT_OPEN_MS, open_since(record, before, now_ms));
    mg_word_store(&record->recent[next.epoch % MG_BREAKER_RECENT], event_make(&event));
    count_edge(record, next.state, reason);
    change->happened = true;
    change->from = before.state;
    change->to = next.state;
    change->reason = reason;
    change->n = next.n;
    return true;
}
