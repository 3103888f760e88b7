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
 * Covers: core/base/shm_words.c core/model/limit_rule.c core/model/limit_take.c
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
    mg_require(admitted == answer.ok && (answer.hold == 0 || admitted));
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
        return (char *)mg_region_breaker(shm, 0);
    case 5:
        *size = sizeof(struct mg_slot);
        return (char *)mg_shm_slot(work->shm, place % WORKERS);
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
        mg_breaker_ask(&work->breaker, 1, work->now_ms, &pass, &change);
        const struct mg_breaker_told told = {.result = (enum mg_breaker_result)(argument % 5),
                                             .slow = (argument & 8) != 0,
                                             .random = argument * 0x01010101U};
        mg_breaker_result(&work->breaker, 1, work->now_ms, &pass, &told, &change);
        mg_breaker_slow(&work->breaker, work->now_ms, argument, &pass, &change);
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

static void operate(struct work *work, unsigned operation, unsigned argument)
{
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
    const uint64_t bytes = mg_shm_bytes_needed(WORKERS, 1, 1);
    mg_require(mg_shm_create(bytes, WORKERS, &first) == 0);
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
