/* SPDX-License-Identifier: Apache-2.0 */
/* How a region is divided, and its locks. */
#include "base/shm_region.h"

#include <stddef.h>

#define PAGE 4096
#define MIN_SHARDS 4
#define MIN_HOLDS 256
#define MAX_HOLDS 65536
#define LEDGER_SHARE 32   /* of the region, for all ledgers together */
#define UPSTREAM_SHARE 32 /* for the records of upstreams; the same again for those of targets */
#define MIN_UPSTREAMS 64
#define MAX_UPSTREAMS 65536

#define METRICS_SHARE 8 /* of the region, at most, for all that is about metrics */
#define SERIES_TEXT 40  /* bytes for the values of one series, on average */
/* in a worker and level, for each series that a metric may have ... */
#define LEVEL_WORDS 4
#define METRICS_RESERVE 1536 /* ... and for those without labels, and each metric's overflow */

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

uint32_t mg_region_sizes(void)
{
    const uint64_t sizes[] = {sizeof(struct mg_shm_head),      sizeof(struct mg_slot),
                              sizeof(struct mg_stats),         sizeof(struct mg_hold_entry),
                              sizeof(struct mg_shard),         sizeof(struct mg_limit_record),
                              sizeof(struct mg_cell),          sizeof(struct mg_breaker_record),
                              (uint64_t)MG_STAT_COUNT,         sizeof(pthread_mutex_t),
                              sizeof(struct mg_store_record),  sizeof(struct mg_upstream_record),
                              sizeof(struct mg_target_record), sizeof(struct mg_sink_record),
                              sizeof(struct mg_sink_part),     sizeof(struct mg_metric_record),
                              sizeof(struct mg_series_record)};
    uint64_t digest = 17;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        digest = digest * 1000003 + sizes[i];
    }
    return (uint32_t)(digest ^ digest >> 32);
}

/* Takes `bytes` at the next multiple of 64. */
static uint64_t place(uint64_t *at, uint64_t bytes)
{
    const uint64_t here = round_up(*at, 64);
    *at = here + bytes;
    return here;
}

/* All offsets for that number of shards; the end. */
static uint64_t lay_out(struct mg_shm_head *head, uint32_t shards)
{
    uint64_t at = sizeof *head;
    head->shards = shards;
    head->limits = shards < 64 ? 64 : shards;
    head->at_slots = place(&at, head->workers * sizeof(struct mg_slot));
    head->at_stats = place(&at, (head->workers + 1) * round_up(sizeof(struct mg_stats), 64));
    head->at_ledgers = place(&at, head->workers * head->ledger_bytes);
    head->at_shards =
        place(&at, ((uint64_t)shards + MG_SPARE_SHARDS + 1) * sizeof(struct mg_shard));
    head->at_limits = place(&at, head->limits * sizeof(struct mg_limit_record));
    head->at_stores = place(&at, MG_STORES * sizeof(struct mg_store_record));
    head->at_breakers =
        place(&at, ((uint64_t)head->breakers + head->keyed) * sizeof(struct mg_breaker_record));
    head->at_upstreams = place(&at, head->upstreams * sizeof(struct mg_upstream_record));
    head->at_targets = place(&at, head->upstreams * sizeof(struct mg_target_record));
    head->at_sinks = place(&at, MG_SINK_RECORDS * sizeof(struct mg_sink_record));
    head->at_sink_parts =
        place(&at, (uint64_t)MG_SINK_RECORDS * head->workers * sizeof(struct mg_sink_part));
    head->at_metrics = place(&at, MG_METRICS * sizeof(struct mg_metric_record));
    head->at_series = place(&at, head->series * sizeof(struct mg_series_record));
    head->at_series_places = place(&at, head->series_places * sizeof(uint32_t));
    head->at_series_text = place(&at, head->series_text);
    head->at_metric_words =
        place(&at, (uint64_t)(head->workers + 1) * head->metric_words * sizeof(uint64_t));
    at = round_up(at, PAGE); /* pages of cells are pages of memory */
    head->at_cells = place(&at, (uint64_t)shards * MG_SHARD_CELLS * sizeof(struct mg_cell));
    return at;
}

static uint64_t between(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : (value > most ? most : value);
}

/* Sizes of the tables for metrics. Level 1 is enough for one metric with all its series and some
 * more. False: over level 1, they would take more than their share. */
static bool plan_metrics(struct mg_shm_head *head, uint32_t series, uint32_t level)
{
    head->metrics_level = level;
    head->series_each = series;
    head->series = series * (1 + level);
    head->series_places = 64;
    while (head->series_places < head->series * 2) {
        head->series_places *= 2;
    }
    head->series_text = head->series * SERIES_TEXT;
    head->metric_words = series * LEVEL_WORDS * level + METRICS_RESERVE;
    const uint64_t words = (uint64_t)head->metric_words * (head->workers + 1);
    const uint64_t records =
        (uint64_t)head->series * (sizeof(struct mg_series_record) + SERIES_TEXT);
    return level == 1 || words * sizeof(uint64_t) + records <= head->bytes / METRICS_SHARE;
}

bool mg_region_plan(struct mg_shm_head *head, uint64_t bytes, const struct mg_shm_wish *wish,
                    uint32_t level)
{
    const uint32_t workers = wish->workers;
    const uint64_t holds = between(bytes / LEDGER_SHARE / sizeof(struct mg_hold_entry) / workers,
                                   MIN_HOLDS, MAX_HOLDS);
    head->bytes = bytes;
    head->workers = workers;
    head->breakers = (uint32_t)wish->breakers;
    head->keyed = (uint32_t)wish->keyed;
    head->holds = (uint32_t)holds;
    const uint64_t upstreams = bytes / UPSTREAM_SHARE / sizeof(struct mg_target_record);
    head->upstreams = (uint32_t)between(upstreams, MIN_UPSTREAMS, MAX_UPSTREAMS);
    head->ledger_bytes =
        round_up(sizeof(struct mg_ledger) + holds * sizeof(struct mg_hold_entry), 64);
    const bool has_share = plan_metrics(head, wish->series, level);
    const uint64_t fixed = lay_out(head, MIN_SHARDS);
    if (!has_share || fixed > bytes) {
        return false;
    }
    const uint64_t shard_bytes = MG_SHARD_CELLS * sizeof(struct mg_cell) + sizeof(struct mg_shard) +
                                 sizeof(struct mg_limit_record);
    uint32_t shards = MIN_SHARDS + (uint32_t)((bytes - fixed) / shard_bytes);
    while (lay_out(head, shards) > bytes) {
        shards--; /* rounding took a little */
    }
    return true;
}

/* --- is a region what it says it is? -------------------------------------------------------- */

static bool has_these_metrics(const struct mg_shm_head *head, const struct mg_shm_head *plan)
{
    return plan->series == head->series && plan->series_places == head->series_places &&
           plan->series_text == head->series_text && plan->metric_words == head->metric_words &&
           plan->at_metrics == head->at_metrics && plan->at_series == head->at_series &&
           plan->at_series_places == head->at_series_places &&
           plan->at_series_text == head->at_series_text &&
           plan->at_metric_words == head->at_metric_words && head->metrics_used <= MG_METRICS &&
           head->series_used <= head->series && head->series_text_used <= head->series_text &&
           head->metric_words_used <= head->metric_words;
}

static bool has_this_layout(const struct mg_shm_head *head, uint64_t bytes)
{
    struct mg_shm_head plan = {.layout = head->layout};
    const struct mg_shm_wish wish = {.workers = head->workers,
                                     .breakers = head->breakers,
                                     .keyed = head->keyed,
                                     .series = head->series_each};
    return head->bytes == bytes && head->workers >= 1 && head->series_each >= 1 &&
           head->series_each <= MG_SHM_MAX_SERIES && head->metrics_level >= 1 &&
           head->metrics_level <= MG_METRICS_LEVELS &&
           mg_region_plan(&plan, bytes, &wish, head->metrics_level) && plan.holds == head->holds &&
           plan.shards == head->shards && plan.limits == head->limits &&
           plan.ledger_bytes == head->ledger_bytes && plan.at_slots == head->at_slots &&
           plan.at_stats == head->at_stats && plan.at_ledgers == head->at_ledgers &&
           plan.at_shards == head->at_shards && plan.at_limits == head->at_limits &&
           plan.at_cells == head->at_cells && plan.at_breakers == head->at_breakers &&
           plan.at_stores == head->at_stores && plan.upstreams == head->upstreams &&
           plan.at_upstreams == head->at_upstreams && plan.at_targets == head->at_targets &&
           plan.at_sinks == head->at_sinks && plan.at_sink_parts == head->at_sink_parts &&
           head->sinks_used < MG_SINK_RECORDS && head->limits_used <= head->limits &&
           head->breakers_used <= head->breakers && head->stores_used <= MG_STORES &&
           has_these_metrics(head, &plan);
}

/* Is there one of `count` things of that size, the first of which stands at `from`? */
static bool is_one_of(uint64_t offset, uint64_t from, uint64_t size, uint64_t count)
{
    return offset >= from && (offset - from) % size == 0 && (offset - from) / size < count;
}

static bool is_cell(const struct mg_shm_head *head, uint64_t offset)
{
    return is_one_of(offset, head->at_cells, sizeof(struct mg_cell),
                     (uint64_t)head->shards * MG_SHARD_CELLS) ||
           is_one_of(offset, head->at_limits + offsetof(struct mg_limit_record, overflow),
                     sizeof(struct mg_limit_record), head->limits) ||
           is_one_of(offset, head->at_breakers + offsetof(struct mg_breaker_record, probes),
                     sizeof(struct mg_breaker_record), (uint64_t)head->breakers + head->keyed);
}

static bool is_hold(const struct mg_shm_head *head, uint64_t offset)
{
    if (offset < head->at_ledgers || offset >= head->at_shards) {
        return false;
    }
    const uint64_t in_ledger = (offset - head->at_ledgers) % head->ledger_bytes;
    return is_one_of(in_ledger, sizeof(struct mg_ledger), sizeof(struct mg_hold_entry),
                     head->holds);
}

/* Its free list ends, and stays among the entries that were ever used: else one entry could be
 * taken twice. The worker may be changing it at this moment; it raises the mark before it puts an
 * entry into the list, so the mark is read after the entry. */
static bool is_sound_list(const struct mg_ledger *ledger, uint32_t holds)
{
    uint32_t at = __atomic_load_n(&ledger->first_free, __ATOMIC_ACQUIRE), steps = 0;
    while (at != 0) {
        if (at >= __atomic_load_n(&ledger->mark, __ATOMIC_ACQUIRE) || at >= holds ||
            ++steps > holds) {
            return false;
        }
        at = __atomic_load_n(&ledger->entries[at].next, __ATOMIC_ACQUIRE);
    }
    return true;
}

static bool is_sound_ledger(const struct mg_shm *shm, const struct mg_ledger *ledger)
{
    const struct mg_shm_head *head = shm->head;
    const uint32_t mark = ledger->mark;
    bool sound = mark >= 1 && mark <= head->holds && is_sound_list(ledger, head->holds);
    for (uint32_t i = 1; sound && i < mark; i++) {
        const struct mg_hold_entry *entry = &ledger->entries[i];
        const uint64_t cell = entry->cell;
        sound = entry->shard <= mg_region_open_shard(shm) && (cell == 0 || is_cell(head, cell));
    }
    return sound;
}

/* The journal leads to a cell and an entry, or nowhere. */
static bool is_sound_shard(const struct mg_shm_head *head, const struct mg_shard *shard)
{
    const uint64_t cell = shard->cell, hold = shard->hold;
    return (cell == 0 || is_cell(head, cell)) && (hold == 0 || is_hold(head, hold));
}

/* Sums and differences of times stay far from the ends of 64 bits. */
static bool is_time(int64_t ms)
{
    return ms > -(INT64_C(1) << 60) && ms < INT64_C(1) << 60;
}

/* The record of the breakers by key leads to an owner among those with names. */
static bool is_sound_keyed(const struct mg_breaker_record *record, uint32_t place,
                           uint32_t breakers)
{
    const bool is_used = record->id.hash[0] != 0;
    return is_time(record->used_ms) && is_time(record->forget_ms) &&
           (!is_used || (record->owner_back > place && record->owner_back <= breakers + place));
}

static bool are_sound_records(const struct mg_shm *shm)
{
    const struct mg_shm_head *head = shm->head;
    bool sound = is_time(head->offset_ms) && is_time(head->candidate_ms);
    for (uint32_t i = 0; sound && i < head->limits_used; i++) {
        sound = is_time(mg_region_limit(shm, i)->used_ms);
    }
    for (uint32_t i = 0; sound && i < head->breakers_used; i++) {
        const struct mg_breaker_record *record = mg_region_breaker(shm, i);
        sound = is_time(record->used_ms) && record->owner_back == 0;
    }
    for (uint32_t i = 0; sound && i < head->keyed; i++) {
        sound = is_sound_keyed(mg_region_breaker(shm, head->breakers + i), i, head->breakers);
    }
    for (uint32_t i = 0; sound && i < head->stores_used; i++) {
        sound = is_time(mg_region_store(shm, i)->used_ms);
    }
    for (uint32_t i = 0; sound && i < head->upstreams; i++) {
        sound = is_time(mg_region_upstream(shm, i)->head.used_ms) &&
                is_time(mg_region_target(shm, i)->head.used_ms) &&
                mg_region_target(shm, i)->upstream < head->upstreams;
    }
    for (uint32_t i = 0; sound && i < MG_SINK_RECORDS; i++) {
        sound = is_time(mg_region_sink(shm, i)->used_ms);
    }
    return sound;
}

static bool is_sound_metric(const struct mg_shm_head *head, const struct mg_metric_record *metric)
{
    const uint32_t width = metric->type == MG_METRIC_HISTOGRAM ? metric->bound_count + 2 : 1;
    return metric->label_count <= MG_METRIC_LABELS && metric->bound_count <= MG_METRIC_BOUNDS &&
           metric->type <= MG_METRIC_HISTOGRAM && metric->unit <= MG_UNIT_REAL &&
           metric->width == width &&
           (uint64_t)metric->overflow + metric->width <= head->metric_words;
}

/* Texts may be anything; where they end is looked at by who reads them. */
static bool are_sound_metrics(const struct mg_shm *shm)
{
    const struct mg_shm_head *head = shm->head;
    bool sound = true;
    for (uint32_t i = 0; sound && i < head->metrics_used; i++) {
        sound = is_sound_metric(head, mg_region_metric(shm, i));
    }
    for (uint32_t i = 0; sound && i < head->series_used; i++) {
        const struct mg_series_record *series = mg_region_series(shm, i);
        sound = series->metric < head->metrics_used &&
                (uint64_t)series->word + mg_region_metric(shm, series->metric)->width <=
                    head->metric_words &&
                (uint64_t)series->text + series->text_bytes <= head->series_text;
    }
    return sound;
}

bool mg_region_is_sound(const struct mg_shm *shm)
{
    const struct mg_shm_head *head = shm->head;
    bool sound =
        has_this_layout(head, shm->bytes) && are_sound_records(shm) && are_sound_metrics(shm);
    for (uint32_t i = 0; sound && i < head->workers; i++) {
        sound = is_sound_ledger(shm, mg_region_ledger(shm, i));
    }
    for (uint32_t i = 0; sound && i <= mg_region_open_shard(shm); i++) {
        sound = is_sound_shard(head, mg_region_shard(shm, i));
    }
    return sound;
}

/* --- locks ---------------------------------------------------------------------------------- */

static int make_lock(struct mg_shard *shard, const pthread_mutexattr_t *attributes)
{
    return -pthread_mutex_init(&shard->mutex, attributes);
}

int mg_region_start(struct mg_shm *shm)
{
    pthread_mutexattr_t attributes;
    int err = -pthread_mutexattr_init(&attributes);
    if (err) {
        return err;
    }
    err = -pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (!err) {
        err = -pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    }
    for (uint32_t i = 0; !err && i <= mg_region_open_shard(shm); i++) {
        err = make_lock(mg_region_shard(shm, i), &attributes);
    }
    pthread_mutexattr_destroy(&attributes);
    return err;
}
