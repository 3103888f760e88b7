/* SPDX-License-Identifier: Apache-2.0 */
/* The shared region as a whole: making, mapping, workers' slots, statistics, the common time. */
#define _GNU_SOURCE /* memfd_create */
#include "base/shm.h"

#include "base/hash.h"
#include "base/shm_cells.h"
#include "base/shm_keyed.h"
#include "base/shm_region.h"
#include "base/shm_sinks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "MG-SHM\r\n"
#define DEFAULT_BREAKERS 512
#define DEFAULT_SERIES 250
#define STEP_MS 1000        /* a larger difference of the clocks is a jump ... */
#define JUMP_HOLDS_MS 60000 /* ... and is followed when it has held that long */
/* When 4 of 5 cells are in use, about 1.4 % of new keys find both their groups full. */
#define CELLS_WITH_ROOM(cells) ((cells) + (cells) / 4)

/* So that few keys find both their groups full before their entry has max_keys of them. */
#define KEYED_WITH_ROOM(keyed) (((keyed) + (keyed) / 4 + 8) / MG_KEYED_GROUP * MG_KEYED_GROUP)

/* With the least of each. */
static struct mg_shm_wish completed(const struct mg_shm_wish *wish)
{
    struct mg_shm_wish full = *wish;
    full.breakers = wish->breakers > DEFAULT_BREAKERS ? wish->breakers : DEFAULT_BREAKERS;
    full.series = wish->series > 0 ? wish->series : DEFAULT_SERIES;
    full.keyed = wish->keyed > 0 ? KEYED_WITH_ROOM(wish->keyed) : 0;
    return full;
}

uint64_t mg_shm_bytes_needed(const struct mg_shm_wish *wish)
{
    const struct mg_shm_wish full = completed(wish);
    const uint64_t wanted = CELLS_WITH_ROOM(wish->cells);
    struct mg_shm_head head;
    uint64_t bytes = wanted * sizeof(struct mg_cell);
    do {
        bytes += 16 * 1024 + bytes / 65536;
    } while (!mg_region_plan(&head, bytes, &full, 1) ||
             (uint64_t)head.shards * MG_SHARD_CELLS < wanted);
    return bytes;
}

static int map_region(int fd, uint64_t bytes, struct mg_shm **out)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    struct mg_shm *shm = malloc(sizeof *shm);
    mg_require(shm != NULL);
    *shm = (struct mg_shm){.fd = fd, .bytes = bytes, .head = memory};
    *out = shm;
    return 0;
}

static int start_region(struct mg_shm *shm, const struct mg_shm_head *plan)
{
    *shm->head = *plan;
    mg_hash_random_key(shm->head->keys[0]);
    mg_hash_random_key(shm->head->keys[1]);
    for (uint32_t i = 0; i < plan->workers; i++) {
        mg_region_ledger(shm, i)->mark = 1;
    }
    const int err = mg_region_start(shm);
    memcpy(shm->head->magic, MAGIC, sizeof shm->head->magic);
    return err;
}

/* What the limits do not need may go to metrics. */
static bool plan_richly(struct mg_shm_head *plan, uint64_t bytes, const struct mg_shm_wish *wish)
{
    uint32_t level = MG_METRICS_LEVELS;
    while (level > 1 && (!mg_region_plan(plan, bytes, wish, level) ||
                         (uint64_t)plan->shards * MG_SHARD_CELLS < CELLS_WITH_ROOM(wish->cells))) {
        level /= 2;
    }
    return mg_region_plan(plan, bytes, wish, level);
}

int mg_shm_create_with(uint64_t bytes, const struct mg_shm_wish *wish, struct mg_shm **shm)
{
    struct mg_shm_head plan = {.layout = MG_SHM_LAYOUT, .sizes = mg_region_sizes()};
    const struct mg_shm_wish full = completed(wish);
    if (full.workers < 1 || full.workers > MG_SHM_MAX_WORKERS || full.series > MG_SHM_MAX_SERIES ||
        !plan_richly(&plan, bytes, &full)) {
        return MG_EINVALID;
    }
    const int fd = memfd_create("moongate", MFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int err = ftruncate(fd, (off_t)bytes) == 0 ? map_region(fd, bytes, shm) : -errno;
    if (err) {
        close(fd);
        return err;
    }
    err = start_region(*shm, &plan);
    if (err) {
        mg_shm_close(*shm);
        *shm = NULL;
    }
    return err;
}

int mg_shm_create(uint64_t bytes, uint32_t workers, struct mg_shm **shm)
{
    return mg_shm_create_with(bytes, &(struct mg_shm_wish){.workers = workers}, shm);
}

int mg_shm_attach(int fd, struct mg_shm **shm)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return -errno;
    }
    if (info.st_size < (off_t)sizeof(struct mg_shm_head)) {
        return MG_EINVALID;
    }
    struct mg_shm *mapped = NULL;
    int err = map_region(fd, (uint64_t)info.st_size, &mapped);
    if (err) {
        return err;
    }
    const struct mg_shm_head *head = mapped->head;
    if (memcmp(head->magic, MAGIC, sizeof head->magic) != 0 || head->bytes != mapped->bytes) {
        err = MG_EINVALID;
    } else if (head->layout != MG_SHM_LAYOUT || head->sizes != mg_region_sizes()) {
        err = MG_EUNSUPPORTED;
    } else if (head->workers > MG_SHM_MAX_WORKERS || !mg_region_is_sound(mapped)) {
        err = MG_EINVALID;
    }
    if (err) {
        mapped->fd = -1; /* the caller's still */
        mg_shm_close(mapped);
        return err;
    }
    *shm = mapped;
    return 0;
}

void mg_shm_close(struct mg_shm *shm)
{
    if (!shm) {
        return;
    }
    munmap(shm->head, shm->bytes);
    if (shm->fd >= 0) {
        close(shm->fd);
    }
    free(shm);
}

int mg_shm_fd(const struct mg_shm *shm)
{
    return shm->fd;
}

void mg_shm_room(const struct mg_shm *shm, struct mg_shm_room *room)
{
    const struct mg_shm_head *head = shm->head;
    *room = (struct mg_shm_room){.bytes = head->bytes,
                                 .workers = head->workers,
                                 .cells = head->shards * MG_SHARD_CELLS,
                                 .limits = head->limits,
                                 .breakers = head->breakers,
                                 .keyed = head->keyed,
                                 .series = head->series_each,
                                 .holds = head->holds - 1};
}

/* --- workers -------------------------------------------------------------------------------- */

struct mg_slot *mg_shm_slot(struct mg_shm *shm, uint32_t index)
{
    mg_require(index < shm->head->workers);
    return (struct mg_slot *)mg_region_at(shm, shm->head->at_slots) + index;
}

struct mg_stats *mg_shm_stats(struct mg_shm *shm, uint32_t index)
{
    mg_require(index <= shm->head->workers);
    const uint64_t each = (sizeof(struct mg_stats) + 63) / 64 * 64;
    return mg_region_at(shm, shm->head->at_stats + index * each);
}

void mg_shm_stats_sum(struct mg_shm *shm, struct mg_stats *total)
{
    *total = (struct mg_stats){0};
    for (uint32_t i = 0; i <= shm->head->workers; i++) {
        mg_stats_sum(total, mg_shm_stats(shm, i));
    }
}

void mg_slot_begin(struct mg_slot *slot, int32_t pid)
{
    memset(slot, 0, sizeof *slot);
    slot->pid = pid;
}

void mg_slot_ready(struct mg_slot *slot, uint64_t generation)
{
    *(volatile uint64_t *)&slot->generation = generation;
    *(volatile uint32_t *)&slot->ready = 1;
}

/* Cut to the place, always ended by a NUL. */
static void copy_text(char *place, size_t room, mg_str text)
{
    const size_t length = text.len < room ? text.len : room - 1;
    if (length > 0) {
        memcpy(place, text.ptr, length);
    }
    place[length] = '\0';
}

void mg_slot_running(struct mg_slot *slot, mg_str plugin, mg_str phase, mg_str route,
                     mg_str request_id)
{
    copy_text(slot->plugin, sizeof slot->plugin, plugin);
    copy_text(slot->phase, sizeof slot->phase, phase);
    copy_text(slot->route, sizeof slot->route, route);
    copy_text(slot->request_id, sizeof slot->request_id, request_id);
    *(volatile uint32_t *)&slot->running = 1; /* the master reads when nothing moves any more */
}

void mg_slot_plugin(struct mg_slot *slot, mg_str plugin)
{
    copy_text(slot->plugin, sizeof slot->plugin, plugin);
}

uint32_t mg_shm_worker_died(struct mg_shm *shm, uint32_t index)
{
    struct mg_slot *slot = mg_shm_slot(shm, index);
    const uint32_t given = mg_holds_of_dead(shm, index);
    mg_stats_begin(mg_shm_stats(shm, index));
    mg_sinks_of_dead(shm, index);
    slot->pid = 0;
    slot->ready = slot->waiting = 0;
    return given;
}

/* --- the master's words --------------------------------------------------------------------- */

/* Release and acquire: who sees the number also sees what the master wrote before it. */
void mg_shm_publish_generation(struct mg_shm *shm, uint64_t number)
{
    __atomic_store_n(&shm->head->generation, number, __ATOMIC_RELEASE);
}

uint64_t mg_shm_published_generation(const struct mg_shm *shm)
{
    return __atomic_load_n(&shm->head->generation, __ATOMIC_ACQUIRE);
}

void mg_shm_set_draining(struct mg_shm *shm)
{
    __atomic_store_n(&shm->head->draining, 1, __ATOMIC_RELAXED);
}

bool mg_shm_is_draining(const struct mg_shm *shm)
{
    return __atomic_load_n(&shm->head->draining, __ATOMIC_RELAXED);
}

static void follow(struct mg_shm_head *head, int64_t offset_ms)
{
    if (head->has_offset && offset_ms < head->offset_ms - STEP_MS) {
        /* what was counted lies in the future now: its cells are void, or they would deny for as
         * long as the jump was */
        __atomic_store_n(&head->era, head->era + 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&head->offset_ms, offset_ms, __ATOMIC_RELEASE);
    head->has_offset = 1;
    head->has_candidate = 0;
}

static bool near(int64_t a, int64_t b)
{
    return a - b <= STEP_MS && b - a <= STEP_MS;
}

static void tell_time(struct mg_shm *shm, uint64_t monotonic_ms, int64_t wall_ms)
{
    struct mg_shm_head *head = shm->head;
    const int64_t offset_ms = wall_ms - (int64_t)monotonic_ms;
    if (!head->has_offset || near(offset_ms, head->offset_ms)) {
        follow(head, offset_ms);
    } else if (!head->has_candidate || !near(offset_ms, head->candidate_ms)) {
        head->candidate_ms = offset_ms;
        head->candidate_since_ms = monotonic_ms;
        head->has_candidate = 1;
    } else if (monotonic_ms - head->candidate_since_ms >= JUMP_HOLDS_MS) {
        follow(head, offset_ms);
    }
}

void mg_shm_tick(struct mg_shm *shm, uint64_t monotonic_ms, int64_t wall_ms)
{
    tell_time(shm, monotonic_ms, wall_ms);
    mg_cells_sweep(shm, mg_shm_now_ms(shm, monotonic_ms));
    mg_keyed_sweep(shm, mg_shm_now_ms(shm, monotonic_ms));
}

/* One word, so nobody sees half of a change. */
int64_t mg_shm_now_ms(const struct mg_shm *shm, uint64_t monotonic_ms)
{
    return (int64_t)monotonic_ms + __atomic_load_n(&shm->head->offset_ms, __ATOMIC_ACQUIRE);
}
