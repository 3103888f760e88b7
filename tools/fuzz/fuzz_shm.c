/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared region as another process image finds it: a region with limits, cells, ledgers and
 * breakers in use gets arbitrary bytes written over its head, ledgers, journals, records and cells
 * (not over the locks themselves), and is mapped again. It is refused, or every operation on it
 * stays inside the cells, records and entries that its layout has, and no arithmetic overflows.
 *
 * Input: a count of patches, the patches (area, 2 bytes of place, length, bytes), then operations.
 *
 * Covers: core/base/shm.c core/base/shm_region.c core/base/shm_cells.c core/base/shm_holds.c
 * Covers: core/base/shm_keyed.c core/base/shm_words.c
 * Covers: core/model/limit_rule.c core/model/limit_take.c
 * Covers: core/model/breaker.c core/model/breaker_window.c core/model/breaker_change.c
 * Covers: core/model/breaker_hand.c core/model/breaker_view.c
 */
#define _GNU_SOURCE
#include "base/hash.h"
#include "base/shm.h"
#include "base/shm_cells.h"
#include "base/shm_region.h"
#include "model/breaker.h"
#include "model/breaker_hand.h"
#include "model/breaker_view.h"
#include "model/limit.h"
#include "support/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORKERS = 2, LIMITS = 6, KEYS = 3, HOLDS = 32, OPERATIONS = 64 };

static const int64_t begin_ms = INT64_C(1700000000000);

struct work {
    struct mg_shm *shm;
    struct mg_limit limits[LIMITS];
    struct mg_limit_ban ban;
    struct mg_breaker breaker;
    struct mg_shm_head head;       /* to be written over the region's, last */
    uint64_t cells[LIMITS * KEYS]; /* offsets of cells in use */
    uint32_t holds[HOLDS], hold_count;
    struct mg_limit_answer charged; /* the last charge, of limits[charged_limit] */
    unsigned charged_limit;
    int64_t now_ms;
};

/* --- a region in use -------------------------------------------------------------------------- */

static struct mg_limit_rule rule_of(unsigned i)
{
    return (struct mg_limit_rule){.algorithm = (enum mg_limit_algorithm)(i % MG_LIMIT_ALGORITHMS),
                                  .quota = 3 + i,
                                  .burst = 4,
                                  .window_ms = i > 4 ? 3600000 : 1000,
                                  .align_first = i > 4};
}

static mg_str key_of(unsigned i)
{
    static const char keys[] = "abcdefgh";
    return mg_str_make(keys + i % KEYS, 1);
}

/* Also a second time: their records are looked for again. */
static void open_limits(struct work *work)
{
    for (unsigned i = 0; i < LIMITS; i++) {
        const mg_str name = mg_str_slice(MG_STR("limits"), i, 6);
        work->limits[i] = (struct mg_limit){.rule = rule_of(i), .max_keys = i == 1 ? 1 : 100};
        const int err = mg_limit_open(work->shm, &work->limits[i], name, name, work->now_ms);
        mg_require(err == 0 || err == MG_EFULL);
    }
}

static void open_ban(struct work *work)
{
    work->ban = (struct mg_limit_ban){.rule = {.after = 1,
                                               .within_ms = 1000,
                                               .for_ms = 10,
                                               .factor_percent = 200,
                                               .max_ms = 100,
                                               .forget_ms = 100},
                                      .max_keys = 64};
    const int err =
        mg_limit_ban_open(work->shm, &work->ban, MG_STR("ban"), MG_STR("ban"), work->now_ms);
    mg_require(err == 0 || err == MG_EFULL);
}

static void open_breaker(struct work *work, bool by_count)
{
    work->breaker = (struct mg_breaker){.rule = {.by_count = by_count,
                                                 .window_ms = 10000,
                                                 .buckets = 10,
                                                 .window_calls = 20,
                                                 .min_requests = 2,
                                                 .failure_share = MG_BREAKER_SHARE(50),
                                                 .network_share = MG_BREAKER_SHARE(50),
                                                 .consecutive = 3,
                                                 .open_base_ms = 100,
                                                 .open_max_ms = 1000,
                                                 .open_factor = 2000,
                                                 .open_jitter = MG_BREAKER_SHARE(10),
                                                 .probes = 2,
                                                 .probe_results = 2,
                                                 .probe_good = MG_BREAKER_SHARE(50),
                                                 .slow_share = MG_BREAKER_SHARE(50),
                                                 .max_keys = 16,
                                                 .ramp_ms = by_count ? 0 : 500}};
    const int err = mg_breaker_open(work->shm, &work->breaker, MG_STR("b"), work->now_ms);
    mg_require(err == 0 || err == MG_EFULL);
    work->breaker.shm = err ? NULL : work->shm;
}

/* One decision; where its cell stands is known afterwards. */
static void take(struct work *work, unsigned which, unsigned key, uint32_t worker)
{
    struct mg_limit *limit = &work->limits[which % LIMITS];
    const struct mg_limit_ask ask = {
        .limit = limit, .key = mg_limit_key(work->shm, limit, key_of(key)), .cost = 1};
    struct mg_limit_answer answer;
    const struct mg_limit_request request = {
        .worker = worker,
        .now_ms = work->now_ms,
        .network = (uint8_t)key,
        .asks = &ask,
        .count = 1,
        .ban = &work->ban,
        .ban_key = mg_limit_ban_key(work->shm, &work->ban, key_of(key))};
    const struct mg_limit_verdict verdict = mg_limits_take(work->shm, &request, &answer);
    if (verdict.banned) {
        return;
    }
    const bool admitted = verdict.admitted;
    mg_require(admitted == (answer.ok || limit->shadow) && (answer.hold == 0 || admitted));
    if (answer.hold != 0 && worker == 1 && work->hold_count < HOLDS) {
        work->holds[work->hold_count++] = answer.hold;
    }
}

static void fill(struct work *work)
{
    memset(work->shm->head->keys, 7, sizeof work->shm->head->keys); /* the same places each time */
    mg_shm_tick(work->shm, 1000, begin_ms);
    open_limits(work);
    open_ban(work);
    open_breaker(work, false);
    for (char key = 0; key < 4; key++) {
        struct mg_breaker keyed;
        mg_breaker_of_key(&work->breaker, mg_str_make(&key, 1), begin_ms, &keyed);
        mg_require(keyed.keyed);
    }
    mg_require(mg_store_record_open(work->shm, MG_STR("s0"), MG_STR("store"), begin_ms) == 0);
    for (unsigned i = 0; i < LIMITS * KEYS; i++) {
        struct mg_cell_place place;
        const struct mg_limit *limit = &work->limits[i % LIMITS];
        take(work, i, i / LIMITS, 0);
        const struct mg_cell_ask ask = {.key = mg_limit_key(work->shm, limit, key_of(i / LIMITS)),
                                        .record = limit->record};
        mg_cells_lock(work->shm, &ask, 1, work->now_ms, &place);
        work->cells[i] = mg_region_offset(work->shm, place.cell);
        mg_cells_unlock(work->shm, &place, 1);
    }
}

/* --- patches ---------------------------------------------------------------------------------- */

/* Begin and size of what a patch may write over. */
static char *area_of(struct work *work, unsigned area, unsigned place, size_t *size)
{
    const struct mg_shm *shm = work->shm;
    switch (area % 8) {
    case 0:
        *size = sizeof work->head;
        return (char *)&work->head;
    case 1:
        *size = sizeof(struct mg_ledger) + 8 * sizeof(struct mg_hold_entry);
        return (char *)mg_region_ledger(shm, place % WORKERS);
    case 2:
        *size = sizeof(struct mg_shard) - offsetof(struct mg_shard, cell);
        return (char *)mg_region_shard(shm, place % (mg_region_open_shard(shm) + 1)) +
               offsetof(struct mg_shard, cell);
    case 3:
        *size = sizeof(struct mg_limit_record);
        return (char *)mg_region_limit(shm, place % LIMITS);
    case 4:
        *size = sizeof(struct mg_breaker_record);
        return (char *)mg_region_breaker(
            shm, place % 4 == 3 ? shm->head->breakers + place % shm->head->keyed : 0);
    case 5:
        *size = sizeof(struct mg_slot);
        return (char *)mg_shm_slot(work->shm, place % WORKERS);
    case 6:
        *size = sizeof(struct mg_store_record);
        return (char *)mg_region_store(shm, 0);
    default:
        *size = sizeof(struct mg_cell);
        return mg_region_at(shm, work->cells[place % (LIMITS * KEYS)]);
    }
}

/* The lock is as a worker that was killed with it leaves it. */
static void kill_owner(struct mg_shard *shard)
{
#ifdef __GLIBC__
    shard->mutex.__data.__lock = 0x40000000; /* FUTEX_OWNER_DIED */
#else
    (void)shard;
#endif
}

static void patch(struct work *work, struct input *input)
{
    const unsigned area = input_byte(input), place = input_byte(input);
    const unsigned offset = input_byte(input);
    const mg_str bytes = input_bytes(input, 1 + input_byte(input) % 64);
    size_t size;
    char *begin = area_of(work, area, place, &size);
    const size_t at = size <= 256 ? offset % size : offset * 8 % size;
    if (bytes.len > 0) {
        memcpy(begin + at, bytes.ptr, bytes.len < size - at ? bytes.len : size - at);
    }
}

/* --- operations ------------------------------------------------------------------------------- */

static bool is_in(uint64_t offset, uint64_t from, uint64_t size, uint64_t count)
{
    return offset >= from && offset < from + size * count;
}

/* Where a decision would write. */
static void require_place(struct work *work, unsigned which, unsigned key)
{
    const struct mg_shm_head *head = work->shm->head;
    struct mg_limit *limit = &work->limits[which % LIMITS];
    const struct mg_cell_ask ask = {.key = mg_limit_key(work->shm, limit, key_of(key)),
                                    .record = limit->record};
    struct mg_cell_place place;
    mg_cells_lock(work->shm, &ask, 1, work->now_ms, &place);
    const uint64_t offset = mg_region_offset(work->shm, place.cell);
    mg_require(is_in(offset, head->at_cells, sizeof(struct mg_cell),
                     (uint64_t)head->shards * MG_SHARD_CELLS) ||
               is_in(offset, head->at_limits, sizeof(struct mg_limit_record), head->limits));
    mg_require(place.shard <= mg_region_open_shard(work->shm));
    mg_cells_unlock(work->shm, &place, 1);
}

static void ask_breaker(struct work *work, unsigned argument)
{
    struct mg_breaker_pass pass;
    struct mg_breaker_change change;
    if (work->breaker.shm) {
        struct mg_breaker asked = work->breaker;
        const char key = (char)(argument / 32);
        if (argument & 16) {
            mg_breaker_of_key(&work->breaker, mg_str_make(&key, 1), work->now_ms, &asked);
        }
        mg_breaker_ask(&asked, 1, work->now_ms, &pass, &change);
        const struct mg_breaker_told told = {.result = (enum mg_breaker_result)(argument % 5),
                                             .slow = (argument & 8) != 0,
                                             .random = argument * 0x01010101U};
        mg_breaker_result(&asked, 1, work->now_ms, &pass, &told, &change);
        mg_breaker_slow(&asked, work->now_ms, argument, &pass, &change);
    }
}

static void force_breaker(struct work *work, unsigned argument)
{
    struct mg_breaker_change change;
    const int err = mg_breaker_by_hand(work->shm, MG_STR("b"), (enum mg_breaker_hand)(argument % 4),
                                       argument / 4, work->now_ms, &change);
    mg_require(err == 0 || err == MG_ENOT_FOUND);
    struct mg_breaker_record *record = mg_breaker_record(work->shm, 0);
    struct mg_breaker_event event;
    for (unsigned i = 0; record && mg_breaker_heard(record, &event); i++) {
        mg_require(i < 64 && event.to < MG_BREAKER_STATES);
    }
}

static void view_breakers(struct work *work)
{
    struct mg_breaker_view view;
    for (uint32_t i = 0; i < work->shm->head->breakers_used && i < 4; i++) {
        if (mg_breaker_view(work->shm, i, work->now_ms, &view)) {
            mg_require(strnlen(view.name, sizeof view.name) < sizeof view.name);
            mg_require(mg_breaker_state_name(view.state) != NULL);
        }
    }
}

static void look_around(struct work *work)
{
    struct mg_stats total;
    struct mg_shm_room room;
    struct mg_limit_record record;
    mg_shm_stats_sum(work->shm, &total);
    mg_shm_room(work->shm, &room);
    mg_require(room.workers >= 1 && room.bytes == work->shm->bytes);
    for (uint32_t i = 0; i < LIMITS; i++) {
        (void)mg_limit_record_read(work->shm, i, &record);
    }
    (void)mg_holds_count(work->shm, 0);
}

/* Several limits in one step, with what a request may ask of them. */
static void take_several(struct work *work, unsigned argument)
{
    struct mg_limit_ask asks[2];
    struct mg_limit_answer answers[2];
    for (unsigned i = 0; i < 2; i++) {
        const unsigned which = (argument + i * (1 + argument / 64)) % LIMITS;
        struct mg_limit *limit = &work->limits[which];
        asks[i] = (struct mg_limit_ask){
            .limit = limit,
            .key = mg_limit_key(work->shm, limit, key_of(argument)),
            .former_key = mg_limit_former_key(work->shm, limit, key_of(argument), work->now_ms),
            .cost = argument % 4,
            .has_quota = (argument & 16) != 0,
            .quota = argument % 3 * 10000};
    }
    const struct mg_limit_request request = {.worker = 1,
                                             .now_ms = work->now_ms,
                                             .network = (uint8_t)argument,
                                             .count_denied = (argument & 32) != 0,
                                             .asks = asks,
                                             .count = asks[0].limit == asks[1].limit ? 1 : 2};
    const struct mg_limit_verdict verdict = mg_limits_take(work->shm, &request, answers);
    for (unsigned i = 0; i < request.count; i++) {
        mg_require(!verdict.admitted || answers[i].ok || asks[i].limit->shadow);
        if (answers[i].hold != 0) {
            mg_limit_release(work->shm, 1, answers[i].hold);
        } else if (answers[i].charged && !answers[i].overflow) {
            work->charged = answers[i];
            work->charged_limit = (unsigned)(asks[i].limit - work->limits);
        }
    }
}

/* What was charged last is corrected. */
static void correct(struct work *work, unsigned argument)
{
    struct mg_limit *limit = &work->limits[work->charged_limit];
    if (work->charged.charged && limit->rule.algorithm != MG_LIMIT_CONCURRENCY) {
        (void)mg_limit_correct(work->shm, limit, &work->charged, work->now_ms,
                               (int64_t)argument - 128);
    }
}

/* The configuration has another algorithm, window or calendar in that limit's place. */
static void edit_limit(struct work *work, unsigned argument)
{
    const unsigned which = argument % LIMITS;
    struct mg_limit_rule rule = rule_of(argument / LIMITS);
    rule.calendar = argument & 64 ? MG_CALENDAR_MONTH : MG_CALENDAR_NONE;
    rule.algorithm = rule.calendar == MG_CALENDAR_NONE ? rule.algorithm : MG_LIMIT_FIXED_WINDOW;
    rule.max_delay_ms = argument & 32 ? 500 : 0;
    const mg_str name = mg_str_slice(MG_STR("limits"), which, 6);
    work->limits[which] =
        (struct mg_limit){.rule = rule, .max_keys = 100, .shadow = argument & 128};
    const int err = mg_limit_open(work->shm, &work->limits[which], name, name, work->now_ms);
    mg_require(err == 0 || err == MG_EFULL);
}

static void change_ban(struct work *work, unsigned argument)
{
    const struct mg_cell_key key = mg_limit_ban_key(work->shm, &work->ban, key_of(argument));
    const int64_t words[4] = {work->now_ms + argument, argument, work->now_ms, argument};
    struct mg_ban_state state;
    mg_ban_state_read(&work->ban.rule, words, &state);
    if (argument & 1) {
        mg_require(mg_limit_ban_left_ms(work->shm, &work->ban, key, work->now_ms, &state) >= 0);
        (void)mg_limit_ban_lift(work->shm, &work->ban, key, work->now_ms);
    } else {
        (void)mg_limit_ban_until(work->shm, &work->ban, key, (uint8_t)argument, work->now_ms,
                                 &state);
    }
}

static void use_stores(struct work *work, unsigned argument)
{
    char identity[8];
    const int length = snprintf(identity, sizeof identity, "s%u", argument % (MG_STORES + 2));
    const int index = mg_store_record_open(work->shm, mg_str_make(identity, (size_t)length),
                                           MG_STR("store"), work->now_ms);
    mg_require(index == MG_EFULL || (index >= 0 && (uint32_t)index < MG_STORES));
    for (uint32_t i = 0; i <= MG_STORES; i++) {
        struct mg_store_record *record = mg_store_record(work->shm, i);
        mg_require(!record || i < MG_STORES);
        if (record && (argument & 64)) {
            mg_store_record_used(record, work->now_ms);
        }
    }
}

/* What a worker writes of itself. */
static void use_slot(struct work *work, unsigned argument)
{
    const mg_str text = mg_str_slice(MG_STR("0123456789012345678901234567890123456789"
                                            "0123456789012345678901234567890123456789"),
                                     0, argument % 80);
    struct mg_slot *slot = mg_shm_slot(work->shm, argument % WORKERS);
    mg_slot_begin(slot, 1);
    mg_slot_ready(slot, argument);
    mg_slot_running(slot, text, text, text, text);
    mg_slot_plugin(slot, text);
    mg_require(strnlen(slot->plugin, sizeof slot->plugin) < sizeof slot->plugin);
    mg_slot_idle(slot);
    mg_stats_add(mg_shm_stats(work->shm, argument % (WORKERS + 1)), MG_STAT_REQUESTS, 1);
    mg_shm_publish_generation(work->shm, argument);
    mg_require(mg_shm_published_generation(work->shm) == argument);
}

static bool is_in_region(void *context, const struct mg_breaker_view *view)
{
    (void)view;
    return ++*(unsigned *)context < 1000;
}

static void use_breakers(struct work *work, unsigned argument)
{
    unsigned count = 0;
    mg_breaker_visit(work->shm, work->now_ms, is_in_region, &count);
    mg_require(count <= work->shm->head->breakers);
    for (unsigned i = 0; i < argument % 16; i++) {
        char name[8];
        struct mg_breaker one = {.rule = work->breaker.rule};
        const int length = snprintf(name, sizeof name, "b%u", argument + i);
        const int err =
            mg_breaker_open(work->shm, &one, mg_str_make(name, (size_t)length), work->now_ms);
        mg_require(err == 0 || err == MG_EFULL);
    }
    const int index = mg_breaker_record_find(work->shm, MG_STR("b"));
    if (index >= 0 && (argument & 16)) {
        mg_breaker_record_drop(work->shm, (uint32_t)index);
    }
}

static void operate_more(struct work *work, unsigned operation, unsigned argument)
{
    switch (operation % 7) {
    case 0:
        take_several(work, argument);
        break;
    case 1:
        correct(work, argument);
        break;
    case 2:
        edit_limit(work, argument);
        break;
    case 3:
        change_ban(work, argument);
        break;
    case 4:
        use_stores(work, argument);
        break;
    case 5:
        use_slot(work, argument);
        break;
    default:
        use_breakers(work, argument);
    }
}

static void operate(struct work *work, unsigned operation, unsigned argument)
{
    if (operation >= 128) {
        operate_more(work, operation - 128, argument);
        return;
    }
    switch (operation % 9) {
    case 0:
    case 1:
        take(work, argument, argument / LIMITS, 1);
        break;
    case 2:
        require_place(work, argument, argument / LIMITS);
        break;
    case 3:
        ask_breaker(work, argument);
        break;
    case 4:
        work->now_ms += argument * argument;
        mg_shm_tick(work->shm, (uint64_t)work->now_ms - (uint64_t)begin_ms + 1000,
                    work->now_ms + (argument == 255 ? -7200000 : 0));
        break;
    case 5:
        if (work->hold_count > 0) {
            mg_limit_release(work->shm, 1, work->holds[--work->hold_count]);
        }
        break;
    case 6:
        (void)mg_shm_worker_died(work->shm, 0);
        break;
    case 7:
        open_breaker(work, argument & 1);
        force_breaker(work, argument / 2);
        view_breakers(work);
        break;
    default:
        look_around(work);
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

/* After a refusal the fd is ours still. */
static struct mg_shm *attach(struct mg_shm *first)
{
    struct mg_shm *shm = NULL;
    const int fd = dup(mg_shm_fd(first));
    mg_require(fd >= 0);
    const int err = mg_shm_attach(fd, &shm);
    mg_require((err == 0) == (shm != NULL));
    if (err) {
        mg_require(err == MG_EINVALID || err == MG_EUNSUPPORTED);
        close(fd);
    }
    return shm;
}

static void run(struct work *work, struct input *input)
{
    open_limits(work);
    for (unsigned i = 0; i < OPERATIONS && input_left(input); i++) {
        const unsigned operation = input_byte(input);
        operate(work, operation, input_byte(input));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {.at = data, .end = data + size};
    struct work work = {.now_ms = begin_ms};
    struct mg_shm *first;
    const struct mg_shm_wish wish = {.workers = WORKERS, .cells = 1, .breakers = 1, .keyed = 16};
    mg_require(mg_shm_create_with(mg_shm_bytes_needed(&wish), &wish, &first) == 0);
    work.shm = first;
    fill(&work);
    const unsigned patches = input_byte(&input) % 8, dead = input_byte(&input);
    struct mg_shard *shard = mg_region_shard(first, dead % (mg_region_open_shard(first) + 1));
    work.head = *first->head;
    for (unsigned i = 0; i < patches; i++) {
        patch(&work, &input);
    }
    *first->head = work.head;
    if (dead < 128) {
        kill_owner(shard);
    }
    work.shm = attach(first);
    if (work.shm) {
        run(&work, &input);
        mg_shm_close(work.shm);
    }
    mg_shm_close(first);
    return 0;
}
