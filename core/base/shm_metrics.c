/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics and series. A series is found through a hash table without a lock: a place is written
 * once, with the index of a record that is complete by then or becomes visible a moment later (an
 * index that is not below series_used is not there yet, or was left by one who was killed).
 */
#include "base/shm_metrics.h"

#include "base/shm_cells.h"
#include "base/shm_region.h"

#include <string.h>

#define KEY_BYTES (8 + MG_METRIC_LABELS * (MG_LABEL_BYTES + 1))

/* --- metrics ---------------------------------------------------------------------------------- */

static bool fits(const struct mg_metric_def *def)
{
    bool fine = def->name.len > 0 && def->name.len < MG_METRIC_NAME &&
                def->label_count <= MG_METRIC_LABELS && def->bound_count <= MG_METRIC_BOUNDS;
    for (uint32_t i = 0; fine && i < def->label_count; i++) {
        fine = strlen(def->labels[i]) < MG_METRIC_LABEL;
    }
    return fine;
}

static bool has_name(const struct mg_metric_record *record, mg_str name)
{
    return strlen(record->name) == name.len && memcmp(record->name, name.ptr, name.len) == 0;
}

static bool is_same(const struct mg_metric_record *record, const struct mg_metric_def *def)
{
    bool same = record->type == def->type && record->unit == def->unit &&
                record->label_count == def->label_count &&
                record->bound_count == def->bound_count &&
                (def->bound_count == 0 ||
                 memcmp(record->bounds, def->bounds, def->bound_count * sizeof *def->bounds) == 0);
    for (uint32_t i = 0; same && i < def->label_count; i++) {
        same = strcmp(record->labels[i], def->labels[i]) == 0;
    }
    return same;
}

static bool take_words(struct mg_shm_head *head, uint32_t width, uint32_t *word)
{
    if (head->metric_words - head->metric_words_used < width) {
        return false;
    }
    *word = head->metric_words_used;
    head->metric_words_used += width;
    return true;
}

static void copy(char *place, size_t room, mg_str text)
{
    const size_t length = text.len < room ? text.len : room - 1;
    if (length > 0) {
        memcpy(place, text.ptr, length);
    }
    place[length] = '\0';
}

static bool fill_metric(struct mg_shm_head *head, struct mg_metric_record *record,
                        const struct mg_metric_def *def)
{
    *record = (struct mg_metric_record){
        .label_count = def->label_count,
        .bound_count = def->bound_count,
        .type = def->type,
        .unit = def->unit,
        .width = def->type == MG_METRIC_HISTOGRAM ? def->bound_count + 2 : 1,
    };
    copy(record->name, sizeof record->name, def->name);
    copy(record->help, sizeof record->help, def->help);
    for (uint32_t i = 0; i < def->label_count; i++) {
        copy(record->labels[i], sizeof record->labels[i], mg_str_from(def->labels[i]));
    }
    if (def->bound_count > 0) {
        memcpy(record->bounds, def->bounds, def->bound_count * sizeof *def->bounds);
    }
    return take_words(head, record->width, &record->overflow);
}

/* The lock is held. */
static int make_metric(struct mg_shm *shm, const struct mg_metric_def *def)
{
    struct mg_shm_head *head = shm->head;
    const uint32_t index = head->metrics_used;
    if (index == MG_METRICS || !fill_metric(head, mg_region_metric(shm, index), def)) {
        return MG_EFULL;
    }
    for (uint32_t i = 0; i < index; i++) {
        struct mg_metric_record *other = mg_region_metric(shm, i);
        if (has_name(other, def->name)) {
            __atomic_store_n(&other->hidden, 1, __ATOMIC_RELAXED);
        }
    }
    __atomic_store_n(&head->metrics_used, index + 1, __ATOMIC_RELEASE);
    return (int)index;
}

/* The last definition of a name is the one that is shown: an edit that is taken back shows the
 * former one again. The lock is held. */
static void show(struct mg_shm *shm, uint32_t index)
{
    const struct mg_metric_record *shown = mg_region_metric(shm, index);
    for (uint32_t i = 0; i < shm->head->metrics_used; i++) {
        struct mg_metric_record *record = mg_region_metric(shm, i);
        if (has_name(record, mg_str_from(shown->name))) {
            __atomic_store_n(&record->hidden, i != index, __ATOMIC_RELAXED);
        }
    }
}

int mg_metric_open(struct mg_shm *shm, const struct mg_metric_def *def)
{
    if (!fits(def)) {
        return MG_EINVALID;
    }
    const uint32_t guard = mg_region_open_shard(shm);
    mg_shard_lock(shm, guard);
    int found = -1;
    for (uint32_t i = 0; found < 0 && i < shm->head->metrics_used; i++) {
        const struct mg_metric_record *record = mg_region_metric(shm, i);
        if (has_name(record, def->name) && is_same(record, def)) {
            found = (int)i;
        }
    }
    if (found < 0) {
        found = make_metric(shm, def);
    } else if (mg_region_metric(shm, (uint32_t)found)->hidden) {
        show(shm, (uint32_t)found);
    }
    mg_shard_unlock(shm, guard);
    return found;
}

/* --- series ----------------------------------------------------------------------------------- */

/* The values one after the other, each ended by a NUL; a NUL inside ends a value. */
static size_t join(const struct mg_metric_record *metric, const mg_str *values, char *text)
{
    size_t at = 0;
    for (uint32_t i = 0; i < metric->label_count; i++) {
        const size_t most = values[i].len < MG_LABEL_BYTES ? values[i].len : MG_LABEL_BYTES;
        const size_t length = most > 0 ? strnlen(values[i].ptr, most) : 0;
        if (length > 0) {
            memcpy(text + at, values[i].ptr, length);
        }
        at += length;
        text[at++] = '\0';
    }
    return at;
}

/* The place at which the series is found, or could be put; *series is NULL when it is not there. */
static uint32_t *find_place(const struct mg_shm *shm, struct mg_cell_key key,
                            struct mg_series_record **series)
{
    const struct mg_shm_head *head = shm->head;
    uint32_t *places = mg_region_at(shm, head->at_series_places);
    const uint32_t mask = head->series_places - 1;
    const uint32_t used = __atomic_load_n(&head->series_used, __ATOMIC_ACQUIRE);
    uint32_t *place = NULL;
    *series = NULL;
    for (uint32_t i = 0; i <= mask; i++) {
        place = &places[((uint32_t)key.hash[0] + i) & mask];
        const uint32_t index = __atomic_load_n(place, __ATOMIC_ACQUIRE);
        if (index == 0) {
            return place;
        }
        struct mg_series_record *record = mg_region_series(shm, index - 1);
        if (index <= used && record->key.hash[0] == key.hash[0] &&
            record->key.hash[1] == key.hash[1]) {
            *series = record;
            return place;
        }
    }
    return place; /* not reached: there are twice as many places as series */
}

static bool make_series(struct mg_shm *shm, uint32_t metric_index, struct mg_cell_key key,
                        mg_str text, uint32_t *place)
{
    struct mg_shm_head *head = shm->head;
    struct mg_metric_record *metric = mg_region_metric(shm, metric_index);
    const uint32_t index = head->series_used;
    struct mg_series_record *record = mg_region_series(shm, index);
    const bool is_full = metric->series >= head->series_each || index == head->series ||
                         head->series_text - head->series_text_used < text.len;
    if (is_full || !take_words(head, metric->width, &record->word)) {
        return false;
    }
    record->text = head->series_text_used;
    record->text_bytes = (uint32_t)text.len;
    if (text.len > 0) {
        memcpy((char *)mg_region_at(shm, head->at_series_text) + record->text, text.ptr, text.len);
    }
    head->series_text_used += (uint32_t)text.len;
    record->metric = metric_index;
    record->key = key;
    __atomic_store_n(place, index + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&head->series_used, index + 1, __ATOMIC_RELEASE);
    /* Last: who sees that the metric is full can find all that are in it. */
    __atomic_store_n(&metric->series, metric->series + 1, __ATOMIC_RELEASE);
    return true;
}

static struct mg_series_record *find_or_make(struct mg_shm *shm, uint32_t metric,
                                             struct mg_cell_key key, mg_str text)
{
    struct mg_series_record *series;
    const uint32_t count =
        __atomic_load_n(&mg_region_metric(shm, metric)->series, __ATOMIC_ACQUIRE);
    (void)find_place(shm, key, &series);
    if (series || count >= shm->head->series_each) {
        return series;
    }
    const uint32_t guard = mg_region_open_shard(shm);
    mg_shard_lock(shm, guard);
    uint32_t *place = find_place(shm, key, &series);
    if (!series && make_series(shm, metric, key, text, place)) {
        series = mg_region_series(shm, *place - 1);
    }
    mg_shard_unlock(shm, guard);
    return series;
}

uint32_t mg_series_open(struct mg_shm *shm, uint32_t metric, const mg_str *values, bool *full)
{
    struct mg_metric_record *record = mg_region_metric(shm, metric);
    char bytes[KEY_BYTES];
    memcpy(bytes, "metric", 4);
    memcpy(bytes + 4, &metric, sizeof metric);
    const size_t length = join(record, values, bytes + 8);
    const struct mg_cell_key key = mg_shm_key(shm, mg_str_make(bytes, 8 + length));
    const struct mg_series_record *series =
        find_or_make(shm, metric, key, mg_str_make(bytes + 8, length));
    if (full) {
        *full = !series;
    }
    if (!series) {
        __atomic_fetch_add(&record->overflowed, 1, __ATOMIC_RELAXED);
        return record->overflow;
    }
    return series->word;
}

uint64_t *mg_metric_words(struct mg_shm *shm, uint32_t worker)
{
    mg_require(worker <= shm->head->workers);
    return (uint64_t *)mg_region_at(shm, shm->head->at_metric_words) +
           (size_t)worker * shm->head->metric_words;
}

/* --- values that are doubles ------------------------------------------------------------------ */

static double as_real(uint64_t word)
{
    double value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static uint64_t as_word(double value)
{
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

void mg_real_add(uint64_t *word, double amount)
{
    *word = as_word(as_real(*word) + amount);
}

/* One word, and nobody concludes anything from it: relaxed. */
void mg_gauge_set(struct mg_shm *shm, uint32_t series, double value)
{
    uint64_t *words = mg_metric_words(shm, shm->head->workers);
    __atomic_store_n(&words[series], as_word(value), __ATOMIC_RELAXED);
}

void mg_gauge_add(struct mg_shm *shm, uint32_t series, double amount)
{
    uint64_t *word = &mg_metric_words(shm, shm->head->workers)[series];
    uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(word, &seen, as_word(as_real(seen) + amount), true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

void mg_histogram_observe(const struct mg_shm *shm, uint32_t metric, uint64_t *words,
                          uint32_t series, double value)
{
    const struct mg_metric_record *record = mg_region_metric(shm, metric);
    uint32_t bucket = 0;
    while (bucket < record->bound_count && !(value <= record->bounds[bucket])) {
        bucket++;
    }
    words[series + bucket]++;
    mg_real_add(&words[series + record->bound_count + 1], value);
}

/* --- reading ---------------------------------------------------------------------------------- */

uint32_t mg_metric_count(const struct mg_shm *shm)
{
    return __atomic_load_n(&shm->head->metrics_used, __ATOMIC_ACQUIRE);
}

const struct mg_metric_record *mg_metric_record(const struct mg_shm *shm, uint32_t metric)
{
    return mg_region_metric(shm, metric);
}

uint32_t mg_series_count(const struct mg_shm *shm)
{
    return __atomic_load_n(&shm->head->series_used, __ATOMIC_ACQUIRE);
}

void mg_series_read(const struct mg_shm *shm, uint32_t index, uint32_t *metric, uint32_t *word,
                    mg_str *values)
{
    const struct mg_series_record *series = mg_region_series(shm, index);
    const char *text = (const char *)mg_region_at(shm, shm->head->at_series_text) + series->text;
    size_t left = series->text_bytes;
    *metric = series->metric;
    *word = series->word;
    for (uint32_t i = 0; i < mg_region_metric(shm, series->metric)->label_count; i++) {
        values[i] = mg_str_make(text, strnlen(text, left));
        const size_t step = values[i].len < left ? values[i].len + 1 : left;
        text += step;
        left -= step;
    }
}

double mg_metric_sum(const struct mg_shm *shm, uint32_t metric, uint32_t word, bool count)
{
    const struct mg_shm_head *head = shm->head;
    const uint64_t *words = mg_region_at(shm, head->at_metric_words);
    const uint32_t unit = mg_region_metric(shm, metric)->unit;
    uint64_t whole = 0;
    double real = 0;
    for (uint32_t worker = 0; worker <= head->workers; worker++, words += head->metric_words) {
        const uint64_t value = __atomic_load_n(&words[word], __ATOMIC_RELAXED);
        whole += value;
        real += as_real(value);
    }
    if (count || unit == MG_UNIT_WHOLE) {
        return (double)whole;
    }
    return unit == MG_UNIT_REAL ? real : (double)whole / 1e6;
}
