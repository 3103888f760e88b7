/* SPDX-License-Identifier: Apache-2.0 */
#include "model/limit_async.h"

#include "base/shm.h"
#include "net/loop.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024  /* a power of 2 */
#define DELTAS 16384  /* keys with units that are not sent */
#define NEXT_MS 5     /* until the next ones of a round */
#define HOLDS_FIRST 8 /* room of a delta at first */

/* Units of one key that wait to be sent, or are under way. */
struct delta {
    struct mg_link link, order; /* in its bucket; among those that wait */
    struct mg_redis_command command;
    struct mg_limit_async *async;
    struct mg_limit_async_ask ask; /* remote: the one in here */
    struct mg_limit_remote remote; /* cost: its units */
    uint64_t hash;
    uint8_t network;
    uint32_t *holds; /* in the ledger, one for each admission */
    uint32_t hold_count, hold_size;
};

struct mg_limit_async {
    uint32_t references;
    struct mg_limit_store *store;
    struct mg_limit_store_parts parts;
    struct mg_limit_async_options options;
    unsigned count;
    struct {
        struct mg_limit whole, unsent;
    } limits[MG_LIMITS_AT_ONCE];
    struct mg_arena arena; /* of the words of a command */
    struct mg_deadline flush_at;
    struct mg_link deltas; /* that wait, oldest first */
    uint32_t delta_count;  /* with those under way */
    struct mg_link buckets[BUCKETS];
};

struct mg_limit_async *mg_limit_async_new(struct mg_limit_store *store,
                                          const struct mg_limit_async_options *options)
{
    struct mg_limit_async *async = calloc(1, sizeof *async);
    mg_require(async != NULL);
    async->references = 1;
    async->store = mg_limit_store_hold(store);
    async->parts = *mg_limit_store_parts(store);
    async->options = *options;
    mg_arena_init(&async->arena, 4096);
    mg_deadline_init(&async->flush_at);
    mg_link_init(&async->deltas);
    for (int i = 0; i < BUCKETS; i++) {
        mg_link_init(&async->buckets[i]);
    }
    return async;
}

void mg_limit_async_release(struct mg_limit_async *async)
{
    mg_require(async->references > 0);
    if (--async->references > 0) {
        return;
    }
    mg_deadline_cancel(&async->flush_at);
    mg_arena_deinit(&async->arena);
    mg_limit_store_release(async->store);
    free(async);
}

static int open_beside(struct mg_limit_async *async, struct mg_limit *limit, mg_str identity,
                       const char *kind, const char *name, int64_t now_ms)
{
    const mg_str tail = mg_str_from(kind);
    char *text = mg_arena_alloc(&async->arena, identity.len + 1 + tail.len);
    memcpy(text, identity.ptr, identity.len);
    text[identity.len] = '\n';
    memcpy(text + identity.len + 1, tail.ptr, tail.len);
    return mg_limit_open(async->parts.shm, limit, mg_str_make(text, identity.len + 1 + tail.len),
                         mg_str_from(name), now_ms);
}

int mg_limit_async_add(struct mg_limit_async *async, const struct mg_limit *limit, mg_str identity,
                       int64_t now_ms)
{
    mg_require(async->count < MG_LIMITS_AT_ONCE);
    struct mg_limit *whole = &async->limits[async->count].whole;
    struct mg_limit *unsent = &async->limits[async->count].unsent;
    *whole = (struct mg_limit){
        .rule = limit->rule, .shadow = limit->shadow, .max_keys = limit->max_keys};
    *unsent =
        (struct mg_limit){.rule = {.algorithm = MG_LIMIT_CONCURRENCY, .quota = MG_LIMIT_QUOTA_MAX},
                          .max_keys = limit->max_keys};
    const int err = open_beside(async, whole, identity, "whole", limit->name, now_ms);
    if (err) {
        return err;
    }
    async->count++;
    return open_beside(async, unsent, identity, "unsent", limit->name, now_ms);
}

void mg_limit_async_keys(struct mg_limit_async *async, unsigned limit, mg_str key, int64_t now_ms,
                         struct mg_limit_async_keys *keys)
{
    const struct mg_limit *whole = &async->limits[limit].whole;
    keys->whole = mg_limit_key(async->parts.shm, whole, key);
    keys->former = whole->former.until_ms > 0
                       ? mg_limit_former_key(async->parts.shm, whole, key, now_ms)
                       : (struct mg_cell_key){.hash = {0, 0}};
    keys->unsent = mg_limit_key(async->parts.shm, &async->limits[limit].unsent, key);
}

/* --- units that wait ------------------------------------------------------------------------ */

static void on_flush_due(struct mg_deadline *deadline);

static void arm(struct mg_limit_async *async, uint64_t ms)
{
    struct mg_loop *loop = async->parts.loop;
    if (!mg_deadline_armed(&async->flush_at)) {
        mg_deadline_arm(mg_deadlines_class(&loop->deadlines, ms), &async->flush_at, on_flush_due,
                        mg_loop_now_ms(loop));
    }
}

static void enter(struct mg_limit_async *async, struct delta *delta)
{
    mg_list_append(&async->buckets[delta->hash & (BUCKETS - 1)], &delta->link);
    mg_list_append(&async->deltas, &delta->order);
    arm(async, async->options.interval_ms);
}

static struct delta *find(struct mg_limit_async *async, uint64_t hash, mg_str key)
{
    struct mg_link *head = &async->buckets[hash & (BUCKETS - 1)];
    for (struct mg_link *at = head->next; at != head; at = at->next) {
        struct delta *delta = MG_CONTAINER(at, struct delta, link);
        if (delta->hash == hash && mg_str_equal(delta->remote.key, key)) {
            return delta;
        }
    }
    return NULL;
}

static struct delta *delta_of(struct mg_limit_async *async, const struct mg_limit_async_ask *ask,
                              uint8_t network)
{
    const uint64_t hash = ask->keys.whole.hash[1];
    const mg_str key = ask->remote->key;
    struct delta *delta = find(async, hash, key);
    if (delta) {
        return delta;
    }
    delta = calloc(1, sizeof *delta + key.len);
    mg_require(delta != NULL);
    memcpy(delta + 1, key.ptr, key.len);
    async->references++;
    async->delta_count++;
    delta->async = async;
    delta->ask = *ask;
    delta->ask.remote = &delta->remote;
    delta->hash = hash;
    delta->network = network;
    delta->remote = (struct mg_limit_remote){.shadow = ask->remote->shadow,
                                             .key = mg_str_make((char *)(delta + 1), key.len)};
    enter(async, delta);
    return delta;
}

static void put_hold(struct delta *delta, uint32_t hold)
{
    if (delta->hold_count == delta->hold_size) {
        delta->hold_size = delta->hold_size ? 2 * delta->hold_size : HOLDS_FIRST;
        delta->holds = realloc(delta->holds, delta->hold_size * sizeof *delta->holds);
        mg_require(delta->holds != NULL);
    }
    delta->holds[delta->hold_count++] = hold;
}

static void free_delta(struct delta *delta)
{
    struct mg_limit_async *async = delta->async;
    for (uint32_t i = 0; i < delta->hold_count; i++) {
        mg_limit_release(async->parts.shm, async->options.worker, delta->holds[i]);
    }
    free(delta->holds);
    free(delta);
    async->delta_count--;
    mg_limit_async_release(async);
}

/* --- the decision --------------------------------------------------------------------------- */

static int64_t most_unsent(const struct mg_limit_async *async, const struct mg_limit_rule *rule)
{
    const int64_t hosts = mg_limit_store_instances(async->store);
    const int64_t most = rule->quota * async->options.over_admit_permille / 1000 / hosts;
    return most > 1 ? most : 1;
}

/* Takes what will not be confirmed for a while; false: that would be too much. holds: 0 where none
 * was needed. */
static bool reserve(struct mg_limit_async *async, const struct mg_limit_request *request,
                    const struct mg_limit_async_ask *asks, unsigned count, uint32_t *holds)
{
    struct mg_limit_ask unsent[MG_LIMITS_AT_ONCE];
    struct mg_limit_answer answers[MG_LIMITS_AT_ONCE];
    struct mg_limit_request with = *request;
    with.asks = unsent;
    with.count = 0;
    for (unsigned i = 0; i < count; i++) {
        holds[i] = 0;
        if (asks[i].remote->cost > 0) {
            unsent[with.count++] =
                (struct mg_limit_ask){.limit = &async->limits[asks[i].limit].unsent,
                                      .key = asks[i].keys.unsent,
                                      .cost = asks[i].remote->cost,
                                      .has_quota = true,
                                      .quota = most_unsent(async, &asks[i].remote->rule)};
        }
    }
    if (async->delta_count + count > DELTAS ||
        (with.count > 0 && !mg_limits_take(async->parts.shm, &with, answers).admitted)) {
        return false;
    }
    for (unsigned i = 0, k = 0; i < count; i++) {
        if (asks[i].remote->cost > 0) {
            holds[i] = answers[k++].hold;
        }
    }
    return true;
}

bool mg_limit_async_take(struct mg_limit_async *async, const struct mg_limit_request *request,
                         const struct mg_limit_async_ask *asks, unsigned count,
                         struct mg_limit_verdict *verdict, struct mg_limit_answer *answers)
{
    uint32_t holds[MG_LIMITS_AT_ONCE];
    struct mg_limit_ask whole[MG_LIMITS_AT_ONCE];
    struct mg_limit_request with = *request;
    if (!reserve(async, request, asks, count, holds)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        whole[i] = (struct mg_limit_ask){.limit = &async->limits[asks[i].limit].whole,
                                         .key = asks[i].keys.whole,
                                         .former_key = asks[i].keys.former,
                                         .cost = asks[i].remote->cost,
                                         .has_quota = asks[i].has_quota,
                                         .quota = asks[i].remote->rule.quota};
    }
    with.asks = whole;
    with.count = count;
    *verdict = mg_limits_take(async->parts.shm, &with, answers);
    for (unsigned i = 0; i < count; i++) {
        if (holds[i] != 0 && verdict->admitted && answers[i].charged) {
            struct delta *delta = delta_of(async, &asks[i], request->network);
            delta->remote.rule = asks[i].remote->rule;
            delta->remote.cost += asks[i].remote->cost;
            put_hold(delta, holds[i]);
        } else if (holds[i] != 0) {
            mg_limit_release(async->parts.shm, async->options.worker, holds[i]);
        }
    }
    return true;
}

int64_t mg_limit_async_unsent(struct mg_limit_async *async, const struct mg_limit_async_ask *ask,
                              int64_t now_ms)
{
    return mg_limit_in_flight(async->parts.shm, &async->limits[ask->limit].unsent, ask->keys.unsent,
                              now_ms);
}

void mg_limit_async_learn(struct mg_limit_async *async, const struct mg_limit_async_ask *ask,
                          uint8_t network, int64_t now_ms, const int64_t *state, int64_t reset_ms)
{
    const struct mg_limit_rule *rule = &ask->remote->rule;
    struct mg_limit_view view;
    memcpy(view.state, state, sizeof view.state);
    mg_limit_charge(rule, &view, mg_limit_async_unsent(async, ask, now_ms));
    const struct mg_limit_elsewhere elsewhere = {
        .rule = rule, .parts = 1, .state = view.state, .reset_ms = reset_ms};
    (void)mg_limit_learn(async->parts.shm, &async->limits[ask->limit].whole, ask->keys.whole,
                         network, now_ms, &elsewhere);
}

/* --- sending -------------------------------------------------------------------------------- */

/* Was not confirmed: it goes on waiting, with what came meanwhile. */
static void keep(struct delta *delta)
{
    struct mg_limit_async *async = delta->async;
    struct delta *other = find(async, delta->hash, delta->remote.key);
    if (!other) {
        enter(async, delta);
        return;
    }
    other->remote.cost += delta->remote.cost;
    for (uint32_t i = 0; i < delta->hold_count; i++) {
        put_hold(other, delta->holds[i]);
    }
    delta->hold_count = 0;
    free_delta(delta);
}

static void on_confirmed(struct mg_redis_command *command, enum mg_redis_result result,
                         struct mg_resp_reply *reply)
{
    struct delta *delta = MG_CONTAINER(command, struct delta, command);
    struct mg_limit_async *async = delta->async;
    const struct mg_limit_remote_request request = {.limits = &delta->remote, .count = 1};
    struct mg_limit_found found;
    if (result != MG_REDIS_OK || mg_limit_reply_read(reply, &request, &found) != 0) {
        keep(delta);
        return;
    }
    const int64_t now_ms = mg_shm_now_ms(async->parts.shm, mg_loop_now_ms(async->parts.loop));
    for (uint32_t i = 0; i < delta->hold_count; i++) {
        mg_limit_release(async->parts.shm, async->options.worker, delta->holds[i]);
    }
    delta->hold_count = 0;
    mg_limit_async_learn(async, &delta->ask, delta->network, now_ms, found.states[0],
                         found.answers[0].reset_ms);
    mg_limit_store_answered(async->store);
    free_delta(delta);
}

static void send_delta(struct delta *delta)
{
    struct mg_limit_async *async = delta->async;
    const struct mg_limit_remote_request request = {
        .limits = &delta->remote, .count = 1, .holder = MG_STR("-"), .charges_all = true};
    struct mg_limit_words words;
    mg_link_remove(&delta->link);
    mg_link_remove(&delta->order);
    mg_limit_words_take(&async->arena, &request, &words);
    delta->command.fn = on_confirmed;
    if (mg_limit_store_send_aside(async->store, &delta->command, &words) != MG_REDIS_OK) {
        keep(delta);
    }
    mg_arena_reset(&async->arena);
}

/* All of a turn leave in one write. */
static void on_flush_due(struct mg_deadline *deadline)
{
    struct mg_limit_async *async = MG_CONTAINER(deadline, struct mg_limit_async, flush_at);
    const struct mg_link *last = async->deltas.prev;
    bool is_last = mg_list_empty(&async->deltas);
    async->references++;
    for (int i = 0; i < MG_LIMIT_STORE_AT_ONCE && !is_last; i++) {
        struct mg_link *first = async->deltas.next;
        is_last = first == last; /* what could not be sent stands behind it */
        send_delta(MG_CONTAINER(first, struct delta, order));
    }
    if (!mg_list_empty(&async->deltas)) {
        arm(async, is_last ? async->options.interval_ms : NEXT_MS);
    }
    mg_limit_async_release(async);
}
