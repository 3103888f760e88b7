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
    struct mg_limit_ban ban; /* where ban_key is not empty */
    mg_str ban_key;
    struct mg_cell_key ban_cell;
    int64_t charged_in; /* of units that are given back */
    uint32_t *holds;    /* in the ledger, one for each admission */
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
    struct mg_loop_closer closer; /* linked once something waits */
    struct mg_link deltas;        /* that wait, oldest first */
    uint32_t delta_count;         /* with those under way */
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
    mg_link_init(&async->closer.link);
    mg_link_init(&async->deltas);
    for (int i = 0; i < BUCKETS; i++) {
        mg_link_init(&async->buckets[i]);
    }
    return async;
}

struct mg_limit_async *mg_limit_async_hold(struct mg_limit_async *async)
{
    async->references++;
    return async;
}

void mg_limit_async_release(struct mg_limit_async *async)
{
    mg_require(async->references > 0);
    if (--async->references > 0) {
        return;
    }
    mg_deadline_cancel(&async->flush_at);
    mg_link_remove(&async->closer.link);
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
    if (limit->rule.algorithm == MG_LIMIT_CONCURRENCY) {
        async->count++;
        return 0;
    }
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
static void on_loop_close(struct mg_loop_closer *closer);

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
    if (mg_list_empty(&async->closer.link)) {
        async->closer.fn = on_loop_close;
        mg_list_append(&async->parts.loop->closers, &async->closer.link);
    }
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

static mg_str put_text(char **at, mg_str text)
{
    const mg_str copy = mg_str_make(*at, text.len);
    memcpy(*at, text.ptr, text.len);
    *at += text.len;
    return copy;
}

static struct delta *delta_of(struct mg_limit_async *async, const struct mg_limit_async_ask *ask,
                              const struct mg_limit_async_ban *ban, uint8_t network)
{
    const uint64_t hash = ask->keys.whole.hash[1];
    const mg_str key = ask->remote->key;
    struct delta *delta = find(async, hash, key);
    if (delta) {
        return delta;
    }
    const mg_str ban_key = ban && ban->ban ? ban->key : MG_STR("");
    delta = calloc(1, sizeof *delta + key.len + ban_key.len);
    mg_require(delta != NULL);
    char *at = (char *)(delta + 1);
    async->references++;
    async->delta_count++;
    delta->async = async;
    delta->ask = *ask;
    delta->ask.remote = &delta->remote;
    delta->hash = hash;
    delta->network = network;
    delta->remote = (struct mg_limit_remote){
        .rule = ask->remote->rule, .shadow = ask->remote->shadow, .key = put_text(&at, key)};
    delta->ban_key = put_text(&at, ban_key);
    if (ban_key.len > 0) {
        delta->ban = *ban->ban;
        delta->ban_cell = ban->cell;
    }
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

int64_t mg_limit_async_over_admit(const struct mg_limit_async *async,
                                  const struct mg_limit_rule *rule)
{
    return rule->algorithm == MG_LIMIT_CONCURRENCY
               ? 0
               : mg_limit_store_instances(async->store) * most_unsent(async, rule);
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
                         const struct mg_limit_async_ban *ban, struct mg_limit_verdict *verdict,
                         struct mg_limit_answer *answers)
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
            struct delta *delta = delta_of(async, &asks[i], ban, request->network);
            delta->remote.rule = asks[i].remote->rule;
            delta->remote.cost += asks[i].remote->cost;
            put_hold(delta, holds[i]);
        } else if (holds[i] != 0) {
            mg_limit_release(async->parts.shm, async->options.worker, holds[i]);
        }
    }
    return true;
}

bool mg_limit_async_correct(struct mg_limit_async *async, const struct mg_limit_async_ask *ask,
                            uint8_t network, const struct mg_limit_answer *answer, bool in_store,
                            int64_t units)
{
    const int64_t now_ms = mg_shm_now_ms(async->parts.shm, mg_loop_now_ms(async->parts.loop));
    struct mg_limit_answer here = *answer;
    if (in_store) {
        here.cell = ask->keys.whole;
    }
    const bool counts =
        mg_limit_correct(async->parts.shm, &async->limits[ask->limit].whole, &here, now_ms, units);
    if (counts && !in_store) {
        struct delta *delta = delta_of(async, ask, NULL, network);
        delta->remote.cost += units;
        delta->charged_in = answer->charged_in;
    }
    return counts;
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

static void on_taken_back(struct mg_redis_command *command, enum mg_redis_result result,
                          struct mg_resp_reply *reply)
{
    struct delta *delta = MG_CONTAINER(command, struct delta, command);
    struct mg_limit_async *async = delta->async;
    if (result != MG_REDIS_OK) {
        keep(delta);
        return;
    }
    const bool is_lost =
        reply->count > 0 && reply->nodes[0].type == MG_RESP_INTEGER && reply->nodes[0].value > 0;
    if (is_lost && async->parts.stats) {
        mg_stats_add(async->parts.stats, MG_STAT_LIMIT_LOST, 1);
    }
    mg_limit_store_answered(async->store);
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
    if (delta->ban_key.len > 0 && found.verdict.ban_ms > 0) {
        mg_limit_ban_learn(async->parts.shm, &delta->ban, delta->ban_cell, delta->network, now_ms,
                           found.verdict.ban_ms, found.bans_in_a_row);
    }
    mg_limit_store_answered(async->store);
    free_delta(delta);
}

static void make_words(struct delta *delta, struct mg_limit_words *words)
{
    struct mg_arena *arena = &delta->async->arena;
    struct mg_limit_remote_request request = {
        .limits = &delta->remote, .count = 1, .holder = MG_STR("-"), .charges_all = true};
    if (delta->remote.cost < 0) {
        delta->remote.charged_in = delta->charged_in;
        delta->command.fn = on_taken_back;
        mg_limit_words_amend(arena, &request, words);
        return;
    }
    if (delta->ban_key.len > 0) {
        request.ban = &delta->ban.rule;
        request.ban_key = delta->ban_key;
    }
    delta->command.fn = on_confirmed;
    mg_limit_words_take(arena, &request, words);
}

static void send_delta(struct delta *delta)
{
    struct mg_limit_async *async = delta->async;
    struct mg_limit_words words;
    mg_link_remove(&delta->link);
    mg_link_remove(&delta->order);
    if (delta->remote.cost == 0 && delta->ban_key.len == 0) { /* all was given back */
        free_delta(delta);
        return;
    }
    make_words(delta, &words);
    if (mg_limit_store_send_aside(async->store, &delta->command, &words) != MG_REDIS_OK) {
        keep(delta);
    }
    mg_arena_reset(&async->arena);
}

/* What waits at the very end is lost. */
static void on_loop_close(struct mg_loop_closer *closer)
{
    struct mg_limit_async *async = MG_CONTAINER(closer, struct mg_limit_async, closer);
    async->references++;
    while (!mg_list_empty(&async->deltas)) {
        struct delta *delta = MG_CONTAINER(async->deltas.next, struct delta, order);
        mg_link_remove(&delta->link);
        mg_link_remove(&delta->order);
        free_delta(delta);
    }
    mg_limit_async_release(async);
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
