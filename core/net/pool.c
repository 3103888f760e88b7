/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool. An idle connection has a small record of its own (deadline and place in the list),
 * taken from a free list, so that going idle and coming back allocate nothing.
 */
#include "net/pool.h"

#include "base/prefetch.h"
#include "base/stats.h"
#include "net/listen.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BUCKETS 256
#define EVENT_US 100 /* more than the loop takes for an event, as a rule */

struct idle {
    struct mg_link link; /* in origin->idle, or in pool->spare */
    struct mg_deadline deadline;
    struct mg_io *io;
    struct mg_origin *origin;
};

struct mg_pool {
    struct mg_loop *loop;
    struct mg_dns *dns;
    struct mg_stats *stats; /* NULL: nobody counts */
    struct mg_link buckets[BUCKETS];
    struct mg_link spare; /* struct idle */
    struct mg_listen_address redirect;
    bool is_redirected;
    uint64_t random;
};

struct mg_origin {
    struct mg_link bucket;
    struct mg_pool *pool; /* NULL: the pool has been closed */
    struct mg_link idle;  /* used last first */
    struct mg_link warm;  /* the same, of this turn: not polled since */
    uint64_t warm_turn;   /* of the loop */
    struct mg_link dials;
    struct mg_deadline_class *idle_class; /* of the length that was used last */
    uint32_t references;
    uint32_t idle_count;
    uint16_t port;
    struct mg_listen_address unix_address; /* is_unix: this instead of host and port */
    int err;                               /* of the address */
    mg_str host;                           /* in name */
    size_t name_bytes;
    char name[];
};

/* --- pool and origins ------------------------------------------------------------------------- */

int mg_pool_open(struct mg_pool **out, struct mg_loop *loop, struct mg_dns *dns)
{
    struct mg_pool *pool = calloc(1, sizeof *pool);
    mg_require(pool != NULL);
    pool->loop = loop;
    pool->dns = dns;
    /* any start will do; workers should differ */
    pool->random = mg_clock_precise_us(&loop->clock) * 2654435761U + (uint64_t)getpid();
    mg_link_init(&pool->spare);
    for (size_t i = 0; i < BUCKETS; i++) {
        mg_link_init(&pool->buckets[i]);
    }
    *out = pool;
    return 0;
}

void mg_pool_count(struct mg_pool *pool, struct mg_stats *stats)
{
    pool->stats = stats;
}

/* FNV-1a over lower case; names come from the configuration and from plugins. */
static struct mg_link *bucket_of(struct mg_pool *pool, mg_str name)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < name.len; i++) {
        hash = (hash ^ (unsigned char)name.ptr[i]) * 16777619U;
    }
    return &pool->buckets[hash % BUCKETS];
}

static struct mg_origin *new_origin(struct mg_pool *pool, mg_str name)
{
    struct mg_origin *origin = calloc(1, sizeof *origin + name.len + 1);
    mg_require(origin != NULL);
    origin->pool = pool;
    origin->name_bytes = name.len;
    memcpy(origin->name, name.ptr, name.len);
    mg_link_init(&origin->idle);
    mg_link_init(&origin->warm);
    mg_link_init(&origin->dials);
    mg_link_init(&origin->bucket);
    mg_list_push(bucket_of(pool, name), &origin->bucket);
    return origin;
}

static struct mg_origin *find_origin(struct mg_pool *pool, mg_str name)
{
    struct mg_link *bucket = bucket_of(pool, name);
    for (struct mg_link *at = bucket->next; at != bucket; at = at->next) {
        struct mg_origin *origin = MG_CONTAINER(at, struct mg_origin, bucket);
        if (mg_str_equal(name, mg_origin_name(origin))) {
            return origin;
        }
    }
    return NULL;
}

static const char unix_prefix[] = "unix:";

/* The origin's name in one piece, to be freed; where the host lies in it comes out. */
static char *make_name(mg_str host, uint16_t port, mg_str kind, mg_str *name, mg_str *host_in_name)
{
    const bool is_unix = mg_str_starts(host, mg_str_from(unix_prefix));
    const bool is_bracketed = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    host = is_bracketed ? mg_str_slice(host, 1, host.len - 1) : host;
    const bool is_v6 = !is_unix && mg_str_find(host, ':', 0) >= 0;
    const size_t size = host.len + sizeof "[]:65535" + kind.len;
    char *text = malloc(size);
    mg_require(text != NULL);
    char *at = text;
    if (is_v6) {
        *at++ = '[';
    }
    *host_in_name = mg_str_make(at, host.len);
    for (size_t i = 0; i < host.len; i++) {
        *at++ = is_unix ? host.ptr[i] : mg_char_lower(host.ptr[i]);
    }
    if (!is_unix) {
        at += snprintf(at, size - (size_t)(at - text), "%s:%u", is_v6 ? "]" : "", (unsigned)port);
    }
    for (size_t i = 0; i < kind.len; i++) {
        *at++ = kind.ptr[i];
    }
    *name = mg_str_make(text, (size_t)(at - text));
    return text;
}

struct mg_origin *mg_pool_origin(struct mg_pool *pool, mg_str host, uint16_t port)
{
    return mg_pool_origin_of(pool, host, port, MG_STR(""));
}

struct mg_origin *mg_pool_origin_of(struct mg_pool *pool, mg_str host, uint16_t port, mg_str kind)
{
    mg_str name, host_in_name;
    char *text = make_name(host, port, kind, &name, &host_in_name);
    struct mg_origin *origin = find_origin(pool, name);
    if (!origin) {
        origin = new_origin(pool, name);
        origin->host = mg_str_make(origin->name + (host_in_name.ptr - text), host_in_name.len);
        origin->port = port;
        if (mg_str_starts(host, mg_str_from(unix_prefix))) {
            origin->err = mg_listen_parse(host, &origin->unix_address);
        }
    }
    free(text);
    origin->references++;
    return origin;
}

mg_str mg_origin_name(const struct mg_origin *origin)
{
    return mg_str_make(origin->name, origin->name_bytes);
}

static void free_unused(struct mg_origin *origin)
{
    if (origin->references == 0 && origin->idle_count == 0 && mg_list_empty(&origin->dials)) {
        mg_link_remove(&origin->bucket);
        free(origin);
    }
}

void mg_origin_hold(struct mg_origin *origin)
{
    origin->references++;
}

void mg_origin_release(struct mg_origin *origin)
{
    mg_require(origin->references > 0);
    origin->references--;
    free_unused(origin);
}

/* --- idle connections ------------------------------------------------------------------------- */

static void count_idle(struct mg_origin *origin, int change)
{
    struct mg_stats *stats = origin->pool->stats;
    origin->idle_count += (uint32_t)change;
    if (stats) {
        mg_stats_add(stats, MG_STAT_UPSTREAM_IDLE, (uint64_t)change);
        mg_stats_add(stats, MG_STAT_UPSTREAM_CONNECTIONS, (uint64_t)change);
    }
}

/* Takes the connection off the idle list; the record goes back to the spare ones. */
static struct mg_io *unlink_idle(struct idle *idle)
{
    struct mg_io *io = idle->io;
    mg_deadline_cancel(&idle->deadline);
    mg_link_remove(&idle->link);
    count_idle(idle->origin, -1);
    mg_list_push(&idle->origin->pool->spare, &idle->link);
    mg_io_set_handler(io, NULL, NULL);
    return io;
}

static void close_idle(struct idle *idle)
{
    struct mg_origin *origin = idle->origin;
    mg_io_close(unlink_idle(idle));
    free_unused(origin);
}

/* Nobody asked for bytes: a peer that sends some all the same is not to be trusted with a
 * request. */
static void on_data(void *context, mg_str bytes)
{
    (void)bytes;
    close_idle(context);
}

static void on_end(void *context, int status)
{
    (void)status;
    close_idle(context);
}

/* Closed by a limit. */
static void retire_idle(struct idle *idle, enum mg_stat limit)
{
    struct mg_stats *stats = idle->origin->pool->stats;
    if (stats) {
        mg_stats_add(stats, limit, 1);
    }
    close_idle(idle);
}

static void on_idle_over(struct mg_deadline *deadline)
{
    retire_idle(MG_CONTAINER(deadline, struct idle, deadline), MG_STAT_UPSTREAM_KEEPALIVE_IDLE);
}

static const struct mg_io_handler idle_handler = {.on_data = on_data, .on_end = on_end};

static struct idle *spare_idle(struct mg_pool *pool)
{
    if (!mg_list_empty(&pool->spare)) {
        struct idle *idle = MG_CONTAINER(pool->spare.next, struct idle, link);
        mg_link_remove(&idle->link);
        return idle;
    }
    struct idle *idle = malloc(sizeof *idle);
    mg_require(idle != NULL);
    mg_link_init(&idle->link);
    mg_deadline_init(&idle->deadline);
    return idle;
}

static struct mg_deadline_class *idle_class(struct mg_origin *origin, uint64_t idle_ms)
{
    if (!origin->idle_class || origin->idle_class->timeout_ms != idle_ms) {
        origin->idle_class = mg_deadlines_class(&origin->pool->loop->deadlines, idle_ms);
    }
    return origin->idle_class;
}

/* The loop has polled since they went idle: they are in front of the others from now on. */
static void cool_down(struct mg_origin *origin)
{
    struct mg_link *warm = &origin->warm;
    if (origin->warm_turn == origin->pool->loop->turn || mg_list_empty(warm)) {
        return;
    }
    struct mg_link *first = warm->next, *last = warm->prev;
    mg_link_remove(warm);
    first->prev = &origin->idle;
    last->next = origin->idle.next;
    origin->idle.next->prev = last;
    origin->idle.next = first;
}

/* Whether an idle connection may still be believed to be silent because the last poll said so: not
 * when something, such as a plugin, has held this turn up. */
static bool was_polled_lately(const struct mg_loop *loop)
{
    const uint64_t usual_us = EVENT_US * (1 + mg_loop_events_of_turn(loop));
    return mg_clock_precise_us(&loop->clock) - loop->clock.now_us <= usual_us;
}

/* The one to take, or NULL. One of this turn only where there is no other. */
static struct idle *first_idle(struct mg_origin *origin, bool *is_warm)
{
    cool_down(origin);
    *is_warm = mg_list_empty(&origin->idle);
    struct mg_link *list = *is_warm ? &origin->warm : &origin->idle;
    return mg_list_empty(list) ? NULL : MG_CONTAINER(list->next, struct idle, link);
}

/* The next one to be taken, whose record the one before it has asked for. */
static void prefetch_next(const struct mg_origin *origin, const struct idle *taken)
{
    const struct mg_link *link = taken->link.next;
    if (link != &origin->idle && link != &origin->warm) {
        const struct idle *next = MG_CONTAINER(link, struct idle, link);
        mg_io_prefetch(next->io);
        mg_prefetch(link->next, sizeof *next);
    }
}

struct mg_io *mg_pool_take(struct mg_origin *origin, bool certain)
{
    bool is_warm;
    if (origin->idle_count == 0) {
        return NULL;
    }
    struct idle *idle = first_idle(origin, &is_warm);
    const struct mg_loop *loop = origin->pool->loop;
    const bool trusted = !certain && !mg_loop_hides_events(loop) && was_polled_lately(loop);
    while (idle && (is_warm || !trusted || mg_io_is_told(idle->io)) && mg_io_look(idle->io) != 0) {
        close_idle(idle);
        idle = first_idle(origin, &is_warm);
    }
    if (!idle) {
        return NULL;
    }
    if (mg_loop_is_wide(loop)) {
        prefetch_next(origin, idle);
    }
    return unlink_idle(idle);
}

void mg_pool_put(struct mg_origin *origin, struct mg_io *io, uint32_t max_idle, uint64_t idle_ms)
{
    if (!origin->pool || max_idle == 0 || !mg_io_is_reusable(io)) {
        mg_io_set_handler(io, NULL, NULL);
        mg_io_close(io);
        return;
    }
    struct idle *idle = spare_idle(origin->pool);
    idle->io = io;
    idle->origin = origin;
    mg_io_set_handler(io, &idle_handler, idle);
    mg_io_set_read_size(io, MG_IO_READ_BYTES);
    mg_io_read_start(io);
    cool_down(origin);
    origin->warm_turn = origin->pool->loop->turn;
    mg_list_push(&origin->warm, &idle->link);
    count_idle(origin, 1);
    mg_deadline_arm(idle_class(origin, idle_ms), &idle->deadline, on_idle_over,
                    mg_loop_now_ms(origin->pool->loop));
    while (origin->idle_count > max_idle) {
        struct mg_link *list = mg_list_empty(&origin->idle) ? &origin->warm : &origin->idle;
        retire_idle(MG_CONTAINER(list->prev, struct idle, link), MG_STAT_UPSTREAM_KEEPALIVE);
    }
}

uint32_t mg_origin_idle(const struct mg_origin *origin)
{
    return origin->idle_count;
}

/* --- dialling --------------------------------------------------------------------------------- */

static void on_dial_over(void *owner)
{
    free_unused(owner);
}

/* xorshift64 */
static uint32_t next_random(struct mg_pool *pool)
{
    pool->random |= pool->random == 0;
    pool->random ^= pool->random << 13;
    pool->random ^= pool->random >> 7;
    pool->random ^= pool->random << 17;
    return (uint32_t)(pool->random >> 32);
}

static void set_unix(struct mg_dial_place *place, const struct mg_listen_address *address)
{
    memcpy(&place->unix_address, &address->sockaddr, sizeof place->unix_address);
    place->unix_length = address->length;
}

int mg_pool_dial(struct mg_origin *origin, struct mg_dial *dial, uint64_t timeout_ms)
{
    struct mg_pool *pool = origin->pool;
    dial->state = NULL;
    if (!pool || origin->err) {
        return pool ? origin->err : MG_ECLOSED;
    }
    struct mg_dial_place place = {.loop = pool->loop,
                                  .dns = pool->dns,
                                  .host = origin->host,
                                  .port = origin->port,
                                  .random = next_random(pool),
                                  .on_over = on_dial_over,
                                  .owner = origin};
    if (pool->is_redirected) {
        set_unix(&place, &pool->redirect);
    } else if (origin->unix_address.is_unix) {
        set_unix(&place, &origin->unix_address);
    }
    return mg_dial_start(dial, &place, timeout_ms, &origin->dials);
}

int mg_pool_redirect(struct mg_pool *pool, mg_str unix_address)
{
    pool->is_redirected = false;
    if (unix_address.len == 0) {
        return 0;
    }
    const int err = mg_listen_parse(unix_address, &pool->redirect);
    if (err || !pool->redirect.is_unix) {
        return MG_EINVALID;
    }
    pool->is_redirected = true;
    return 0;
}

/* --- closing ---------------------------------------------------------------------------------- */

/* New dials fail from here on; those under way are told. */
static void detach(struct mg_origin *origin)
{
    mg_origin_hold(origin);
    mg_link_remove(&origin->bucket);
    origin->warm_turn--; /* all of them are closed */
    cool_down(origin);
    while (!mg_list_empty(&origin->idle)) {
        close_idle(MG_CONTAINER(origin->idle.next, struct idle, link));
    }
    origin->pool = NULL;
    mg_dial_cancel_all(&origin->dials);
    mg_origin_release(origin);
}

void mg_pool_close(struct mg_pool *pool)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (!mg_list_empty(&pool->buckets[i])) {
            detach(MG_CONTAINER(pool->buckets[i].next, struct mg_origin, bucket));
        }
    }
    while (!mg_list_empty(&pool->spare)) {
        struct idle *idle = MG_CONTAINER(pool->spare.next, struct idle, link);
        mg_link_remove(&idle->link);
        free(idle);
    }
    free(pool);
}
