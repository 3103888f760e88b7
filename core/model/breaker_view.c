/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of breakers' records. */
#include "model/breaker_view.h"

#include "base/shm.h"
#include "base/shm_keyed.h"

#include <string.h>

static const char *const counted_names[MG_COUNTED_KINDS] = {
    [MG_COUNTED_SUCCESS] = "success", [MG_COUNTED_FAILURE] = "failure", [MG_COUNTED_SLOW] = "slow",
    [MG_COUNTED_NETWORK] = "network", [MG_COUNTED_IGNORED] = "ignored",
};

const char *mg_breaker_counted_name(enum mg_breaker_counted counted)
{
    return counted_names[counted];
}

static int64_t left_of(struct mg_breaker_word word, int64_t now_ms)
{
    const bool by_hand =
        word.state == MG_BREAKER_FORCED_OPEN || word.state == MG_BREAKER_FORCED_CLOSED;
    if (by_hand && word.time_ms == MG_BREAKER_TIME_MAX) {
        return -1;
    }
    const bool ends = by_hand || word.state == MG_BREAKER_OPEN;
    return ends && word.time_ms > now_ms ? word.time_ms - now_ms : 0;
}

static void fill_counters(const struct mg_breaker_record *record, struct mg_breaker_view *view)
{
    for (unsigned i = 0; i < MG_COUNTED_KINDS; i++) {
        view->results[i] = mg_word_load(&record->counters[MG_BREAKER_AT_RESULTS + i]);
    }
    for (unsigned i = 0; i < MG_BREAKER_STATES; i++) {
        view->rejected[i] = mg_word_load(&record->counters[MG_BREAKER_AT_REJECTED + i]);
    }
    for (unsigned i = 0; i < MG_BREAKER_EDGES; i++) {
        view->transitions[i] = mg_word_load(&record->counters[MG_BREAKER_AT_EDGES + i]);
    }
    view->shadow_rejected = mg_word_load(&record->counters[MG_BREAKER_AT_SHADOW]);
    view->overflowed = mg_word_load(&record->counters[MG_BREAKER_AT_OVERFLOW]);
    view->stale = mg_word_load(&record->counters[MG_BREAKER_AT_STALE]);
}

static void add_key(void *context, const struct mg_breaker_record *record)
{
    struct mg_breaker_view *view = context;
    view->keys++;
    view->keys_in[mg_breaker_word_of(mg_word_load(&record->state)).state]++;
    view->probes += (uint32_t)record->probes.state[0];
}

static void fill_recent(const struct mg_breaker_record *record, struct mg_breaker_view *view)
{
    uint32_t epoch = view->epoch;
    struct mg_breaker_event *event = view->recent;
    while (view->recent_count < MG_BREAKER_SHOWN && mg_breaker_event_of(record, epoch, event)) {
        view->recent_count++;
        event++;
        epoch = (epoch - 1) & (MG_BREAKER_EPOCHS - 1);
    }
}

bool mg_breaker_view(struct mg_shm *shm, uint32_t index, int64_t now_ms,
                     struct mg_breaker_view *view)
{
    const struct mg_breaker_record *record = mg_breaker_record(shm, index);
    if (!record) {
        return false;
    }
    const struct mg_breaker_word word = mg_breaker_word_of(mg_word_load(&record->state));
    *view = (struct mg_breaker_view){.state = word.state,
                                     .shadow = mg_word_load(&record->shadow) != 0,
                                     .n = word.n,
                                     .epoch = word.epoch,
                                     .probes = (uint32_t)record->probes.state[0],
                                     .left_ms = left_of(word, now_ms),
                                     .open_ms = mg_breaker_open_ms(record, now_ms)};
    memcpy(view->name, record->name, sizeof view->name - 1); /* ends with the NUL of before */
    if (word.state == MG_BREAKER_CLOSED || word.state == MG_BREAKER_RAMP) {
        view->window = mg_breaker_window_read(record, word.epoch, now_ms);
    }
    fill_counters(record, view);
    fill_recent(record, view);
    mg_keyed_each(shm, index, add_key, view);
    view->since_ms = view->recent_count > 0 ? view->recent[0].time_ms : 0;
    return true;
}

void mg_breaker_visit(struct mg_shm *shm, int64_t now_ms,
                      bool (*each)(void *context, const struct mg_breaker_view *view),
                      void *context)
{
    struct mg_shm_room room;
    struct mg_breaker_view view;
    mg_shm_room(shm, &room);
    for (uint32_t i = 0; i < room.breakers; i++) {
        if (mg_breaker_view(shm, i, now_ms, &view) && !each(context, &view)) {
            return;
        }
    }
}
