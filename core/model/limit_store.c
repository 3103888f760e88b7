/* SPDX-License-Identifier: Apache-2.0 */
#include "model/limit_store.h"

#include "base/hash.h"
#include "base/shm.h"
#include "base/shm_words.h"
#include "model/limit_debt.h"
#include "net/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEAT_MS 2000      /* between two signs of life */
#define FIRST_BEAT_MS 200 /* until the first one is answered */
#define DEAD_MS "6000"    /* a host without a sign of life is dead */
#define NAME_CHARS 16     /* of the host, of the store */
#define ASIDE_MS 1000     /* for the reply to what no request waits for */
#define NEXT_MS 20        /* until the next ones */
#define ROUND_OF_HOLDS 3  /* renewals in the time that holds last */
#define ARENA_BYTES 8192
#define COUNTER_CHARS 24
#define OVERHEAD 8 /* characters of a key besides its parts */

/* A command that nobody waits for. */
struct told {
    struct mg_redis_command command;
    struct mg_limit_store *store;
    struct mg_limit_debt *debt; /* that it pays; NULL: none */
};

struct mg_limit_store {
    uint32_t references;
    struct mg_limit_store_parts parts;
    struct mg_redis *redis;
    struct mg_redis_script *script;
    mg_str prefix;
    bool tag_is_prefix, has_met; /* has_met: a sign of life was answered */
    uint64_t timeout_ms;
    int64_t hold_ttl_ms;
    uint32_t fixed; /* instances; 0: those that are alive */
    char host[NAME_CHARS], own[NAME_CHARS];
    uint64_t names;
    struct mg_arena arena; /* of the words of a command */
    struct mg_redis_command beat;
    struct mg_deadline beat_at, renew_at, pay_at;
    struct mg_link slots; /* struct mg_limit_slot; first those not renewed in this round */
    uint64_t round;
    struct mg_limit_debts debts;
    struct mg_loop_closer closer; /* linked while it owes something: then nobody else may have it */
};

/* --- life ----------------------------------------------------------------------------------- */

static void arm(struct mg_limit_store *store, struct mg_deadline *deadline, uint64_t ms,
                void (*fn)(struct mg_deadline *deadline))
{
    struct mg_loop *loop = store->parts.loop;
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, ms), deadline, fn, mg_loop_now_ms(loop));
}

static void send_beat(struct mg_limit_store *store);

static void on_beat_due(struct mg_deadline *deadline)
{
    send_beat(MG_CONTAINER(deadline, struct mg_limit_store, beat_at));
}

static void name_it(struct mg_limit_store *store)
{
    uint8_t random[MG_SIPHASH_KEY_BYTES];
    mg_hash_random_key(random);
    mg_hash_hex(random, sizeof store->own / 2, store->own);
    const struct mg_cell_key host = mg_shm_key(store->parts.shm, MG_STR("host"));
    mg_hash_hex((const uint8_t *)host.hash, sizeof store->host / 2, store->host);
}

struct mg_limit_store *mg_limit_store_new(const struct mg_limit_store_parts *parts,
                                          const struct mg_limit_store_options *options)
{
    struct mg_limit_store *store = calloc(1, sizeof *store + options->prefix.len + 1);
    mg_require(store != NULL);
    char *prefix = (char *)(store + 1);
    memcpy(prefix, options->prefix.ptr, options->prefix.len);
    store->references = 1;
    store->parts = *parts;
    store->redis = mg_redis_share(options->redis);
    store->script = mg_redis_script_hold(mg_redis_scripts(parts->set), options->script);
    store->prefix = mg_str_make(prefix, options->prefix.len);
    store->tag_is_prefix = options->tag_is_prefix;
    store->timeout_ms = options->timeout_ms;
    store->hold_ttl_ms = options->hold_ttl_ms;
    store->fixed = options->instances;
    name_it(store);
    mg_arena_init(&store->arena, ARENA_BYTES);
    mg_deadline_init(&store->beat_at);
    mg_deadline_init(&store->renew_at);
    mg_deadline_init(&store->pay_at);
    mg_link_init(&store->slots);
    mg_limit_debts_init(&store->debts);
    mg_link_init(&store->closer.link);
    mg_word_store(mg_redis_instances(store->redis), mg_limit_store_instances(store));
    send_beat(store);
    return store;
}

struct mg_limit_store *mg_limit_store_hold(struct mg_limit_store *store)
{
    store->references++;
    return store;
}

void mg_limit_store_release(struct mg_limit_store *store)
{
    mg_require(store->references > 0);
    if (--store->references > 0) {
        return;
    }
    mg_redis_cancel(&store->beat);
    mg_deadline_cancel(&store->beat_at);
    mg_deadline_cancel(&store->renew_at);
    mg_deadline_cancel(&store->pay_at);
    mg_limit_debts_deinit(&store->debts);
    mg_arena_deinit(&store->arena);
    mg_redis_script_release(store->script);
    mg_redis_release(store->redis);
    free(store);
}

/* --- names ---------------------------------------------------------------------------------- */

uint32_t mg_limit_store_instances(const struct mg_limit_store *store)
{
    const uint64_t alive = mg_word_load(mg_redis_hosts(store->redis));
    return store->fixed > 0 ? store->fixed : alive > 0 ? (uint32_t)alive : 1;
}

const struct mg_limit_store_parts *mg_limit_store_parts(const struct mg_limit_store *store)
{
    return &store->parts;
}

int64_t mg_limit_store_hold_ttl_ms(const struct mg_limit_store *store)
{
    return store->hold_ttl_ms;
}

static void put(char **at, mg_str text)
{
    memcpy(*at, text.ptr, text.len);
    *at += text.len;
}

/* PREFIX:{HASH}:COUNTER, or {PREFIX}:HASH:COUNTER: what is in braces tells the slot. */
mg_str mg_limit_store_key(const struct mg_limit_store *store, struct mg_arena *arena, mg_str hash,
                          mg_str counter)
{
    char *text = mg_arena_alloc(arena, store->prefix.len + hash.len + counter.len + OVERHEAD);
    char *at = text;
    const bool by_key = !store->tag_is_prefix;
    put(&at, by_key ? MG_STR("") : MG_STR("{"));
    put(&at, store->prefix);
    put(&at, by_key ? MG_STR(":{") : MG_STR("}:"));
    put(&at, hash);
    put(&at, by_key ? MG_STR("}:") : MG_STR(":"));
    put(&at, counter);
    return mg_str_make(text, (size_t)(at - text));
}

mg_str mg_limit_store_name(struct mg_limit_store *store, struct mg_arena *arena)
{
    char text[NAME_CHARS + COUNTER_CHARS];
    const int length = snprintf(text, sizeof text, "%.*s-%llx", NAME_CHARS, store->own,
                                (unsigned long long)++store->names);
    return mg_arena_copy_str(arena, mg_str_make(text, (size_t)length));
}

/* --- telling -------------------------------------------------------------------------------- */

static enum mg_redis_result send_within(struct mg_limit_store *store,
                                        struct mg_redis_command *command,
                                        const struct mg_limit_words *words, uint64_t timeout_ms)
{
    const struct mg_redis_ask ask = {.words = words->items,
                                     .count = words->count,
                                     .script = store->script,
                                     .keys = words->keys,
                                     .key_count = words->key_count,
                                     .timeout_ms = timeout_ms};
    return mg_redis_send(store->redis, command, &ask);
}

enum mg_redis_result mg_limit_store_send(struct mg_limit_store *store,
                                         struct mg_redis_command *command,
                                         const struct mg_limit_words *words)
{
    return send_within(store, command, words, store->timeout_ms);
}

enum mg_redis_result mg_limit_store_send_aside(struct mg_limit_store *store,
                                               struct mg_redis_command *command,
                                               const struct mg_limit_words *words)
{
    return send_within(store, command, words,
                       store->timeout_ms > ASIDE_MS ? store->timeout_ms : ASIDE_MS);
}

static void count_lost(const struct mg_limit_store *store)
{
    if (store->parts.stats) {
        mg_stats_add(store->parts.stats, MG_STAT_LIMIT_LOST, 1);
    }
}

static void owe_again(struct mg_limit_store *store, struct mg_limit_debt *debt);

static void on_told(struct mg_redis_command *command, enum mg_redis_result result,
                    struct mg_resp_reply *reply)
{
    struct told *told = MG_CONTAINER(command, struct told, command);
    struct mg_limit_store *store = told->store;
    if (result != MG_REDIS_OK && told->debt) {
        owe_again(store, told->debt);
    } else if (result != MG_REDIS_OK) {
        count_lost(store);
    } else {
        free(told->debt);
        const bool is_lost = reply->count > 0 && reply->nodes[0].type == MG_RESP_INTEGER &&
                             reply->nodes[0].value > 0; /* amend: the charge no longer counts */
        if (is_lost) {
            count_lost(store);
        }
    }
    free(told);
    mg_limit_store_release(store);
}

/* debt: owned from now on. */
static void tell(struct mg_limit_store *store, const struct mg_limit_words *words,
                 struct mg_limit_debt *debt)
{
    struct told *told = calloc(1, sizeof *told);
    mg_require(told != NULL);
    told->command.fn = on_told;
    told->store = mg_limit_store_hold(store);
    told->debt = debt;
    const enum mg_redis_result result = mg_limit_store_send_aside(store, &told->command, words);
    if (result != MG_REDIS_OK) {
        on_told(&told->command, result, NULL);
    }
}

void mg_limit_store_tell(struct mg_limit_store *store, const struct mg_limit_words *words)
{
    tell(store, words, NULL);
}

/* --- signs of life -------------------------------------------------------------------------- */

static void on_beat(struct mg_redis_command *command, enum mg_redis_result result,
                    struct mg_resp_reply *reply)
{
    struct mg_limit_store *store =
        mg_limit_store_hold(MG_CONTAINER(command, struct mg_limit_store, beat));
    const bool is_number =
        result == MG_REDIS_OK && reply->count > 0 && reply->nodes[0].type == MG_RESP_INTEGER;
    if (is_number && reply->nodes[0].value > 0 && reply->nodes[0].value <= UINT32_MAX) {
        mg_word_store(mg_redis_hosts(store->redis), (uint64_t)reply->nodes[0].value);
        mg_word_store(mg_redis_instances(store->redis), mg_limit_store_instances(store));
        store->has_met = true;
        mg_limit_store_answered(store);
    }
    arm(store, &store->beat_at, store->has_met ? BEAT_MS : FIRST_BEAT_MS, on_beat_due);
    mg_limit_store_release(store);
}

static void send_beat(struct mg_limit_store *store)
{
    mg_str key = mg_arena_format(&store->arena, "%.*s:hosts", MG_STR_ARG(store->prefix));
    mg_str items[] = {MG_STR(""), MG_STR("host"), mg_str_make(store->host, sizeof store->host),
                      MG_STR(DEAD_MS)};
    const struct mg_limit_words words = {.keys = &key, .items = items, .key_count = 1, .count = 4};
    store->beat.fn = on_beat;
    if (mg_limit_store_send_aside(store, &store->beat, &words) != MG_REDIS_OK) {
        arm(store, &store->beat_at, BEAT_MS, on_beat_due);
    }
    mg_arena_reset(&store->arena);
}

/* --- what is held --------------------------------------------------------------------------- */

static void tell_slot(struct mg_limit_store *store, struct mg_limit_slot *slot, mg_str operation,
                      mg_str life)
{
    mg_str items[] = {MG_STR(""), operation, life, MG_STR("1"), slot->name};
    const struct mg_limit_words words = {
        .keys = &slot->key, .items = items, .key_count = 1, .count = 5};
    tell(store, &words, NULL);
}

void mg_limit_store_drop(struct mg_limit_store *store, mg_str key, mg_str name)
{
    struct mg_limit_slot slot = {.key = key, .name = name};
    tell_slot(store, &slot, MG_STR("release"), MG_STR("0"));
}

static void on_renewal_due(struct mg_deadline *deadline);

static void arm_renewal(struct mg_limit_store *store, bool is_over)
{
    const uint64_t ms = is_over ? (uint64_t)store->hold_ttl_ms / ROUND_OF_HOLDS : NEXT_MS;
    if (!mg_list_empty(&store->slots)) {
        arm(store, &store->renew_at, ms, on_renewal_due);
    }
}

/* Renews the first slots of the round; all of a turn leave in one write. */
static void on_renewal_due(struct mg_deadline *deadline)
{
    struct mg_limit_store *store = MG_CONTAINER(deadline, struct mg_limit_store, renew_at);
    char life[COUNTER_CHARS];
    const int length = snprintf(life, sizeof life, "%lld", (long long)store->hold_ttl_ms);
    for (int i = 0; i < MG_LIMIT_STORE_AT_ONCE && !mg_list_empty(&store->slots); i++) {
        struct mg_limit_slot *slot = MG_CONTAINER(store->slots.next, struct mg_limit_slot, link);
        if (slot->renewed == store->round) {
            store->round++;
            arm_renewal(store, true);
            return;
        }
        slot->renewed = store->round;
        mg_link_remove(&slot->link);
        mg_list_append(&store->slots, &slot->link);
        tell_slot(store, slot, MG_STR("renew"), mg_str_make(life, (size_t)length));
    }
    arm_renewal(store, false);
}

void mg_limit_slot_hold(struct mg_limit_store *store, struct mg_limit_slot *slot, mg_str key,
                        mg_str name, bool was_asked)
{
    *slot = (struct mg_limit_slot){.store = mg_limit_store_hold(store),
                                   .key = key,
                                   .name = name,
                                   .renewed = store->round,
                                   .was_asked = was_asked};
    mg_link_init(&slot->link);
    mg_list_append(&store->slots, &slot->link);
    if (!mg_deadline_armed(&store->renew_at)) {
        store->round++;
        arm_renewal(store, true);
    }
}

void mg_limit_slot_release(struct mg_limit_slot *slot)
{
    struct mg_limit_store *store = slot->store;
    mg_link_remove(&slot->link);
    if (mg_list_empty(&store->slots)) {
        mg_deadline_cancel(&store->renew_at);
    }
    if (slot->was_asked) {
        mg_limit_store_cancel(store, slot->key, slot->name);
    } else {
        mg_limit_store_drop(store, slot->key, slot->name);
    }
    mg_limit_store_release(store);
}

/* --- what is owed --------------------------------------------------------------------------- */

static int64_t now_ms(const struct mg_limit_store *store)
{
    return mg_shm_now_ms(store->parts.shm, mg_loop_now_ms(store->parts.loop));
}

/* What is owed at the very end is lost. */
static void on_loop_close(struct mg_loop_closer *closer)
{
    struct mg_limit_store *store = MG_CONTAINER(closer, struct mg_limit_store, closer);
    mg_limit_store_release(store);
}

/* The store stays for as long as it owes something. */
static void enter(struct mg_limit_store *store, struct mg_limit_debt *debt)
{
    mg_limit_debts_enter(&store->debts, debt);
    if (store->debts.count == 1) {
        mg_limit_store_hold(store);
        store->closer.fn = on_loop_close;
        mg_list_append(&store->parts.loop->closers, &store->closer.link);
    }
}

/* The caller has the store and the debt. */
static void leave(struct mg_limit_store *store, struct mg_limit_debt *debt)
{
    mg_limit_debts_leave(&store->debts, debt);
    if (store->debts.count == 0) {
        mg_link_remove(&store->closer.link);
        mg_limit_store_release(store);
    }
}

/* That of the key, made where there is none; NULL: there are too many. */
static struct mg_limit_debt *debt_of(struct mg_limit_store *store, mg_str key, bool *is_new)
{
    struct mg_limit_debt *debt = mg_limit_debts_find(&store->debts, store->parts.shm, key);
    *is_new = debt == NULL;
    if (!debt && store->debts.count >= MG_LIMIT_DEBTS) {
        count_lost(store);
    } else if (!debt) {
        debt = mg_limit_debt_new(store->parts.shm, key);
        enter(store, debt);
    }
    return debt;
}

void mg_limit_store_owe(struct mg_limit_store *store, mg_str key, const struct mg_limit_rule *full,
                        const struct mg_limit_rule *share, int64_t now, int64_t units)
{
    bool is_new;
    struct mg_limit_debt *debt = debt_of(store, key, &is_new);
    if (debt) {
        mg_limit_debt_units(debt, is_new, full, share, now, units);
    }
}

void mg_limit_store_owe_ban(struct mg_limit_store *store, mg_str key,
                            const struct mg_limit_ban *ban, struct mg_cell_key cell)
{
    bool is_new;
    struct mg_limit_debt *debt = debt_of(store, key, &is_new);
    if (debt) {
        debt->kind = MG_LIMIT_DEBT_BAN;
        debt->ban = *ban;
        debt->cell = cell;
    }
}

/* Could not be paid. */
static void owe_again(struct mg_limit_store *store, struct mg_limit_debt *debt)
{
    const struct mg_limit_debt *other =
        mg_limit_debts_find(&store->debts, store->parts.shm, debt->key);
    if (!other && store->debts.count < MG_LIMIT_DEBTS) {
        enter(store, debt);
        return;
    }
    if (!other) {
        count_lost(store);
    } else if (debt->kind == MG_LIMIT_DEBT_UNITS) {
        const int64_t now = now_ms(store);
        mg_limit_store_owe(store, debt->key, &debt->full, &other->share, now,
                           mg_limit_used(&debt->share, debt->state, now));
    }
    free(debt);
}

static void pay(struct mg_limit_store *store, struct mg_limit_debt *debt)
{
    struct mg_limit_words words;
    if (mg_limit_debt_words(debt, store->parts.shm, now_ms(store), &store->arena, &words)) {
        tell(store, &words, debt);
    } else {
        free(debt);
    }
    mg_arena_reset(&store->arena);
}

void mg_limit_store_cancel(struct mg_limit_store *store, mg_str key, mg_str name)
{
    const mg_str both =
        mg_arena_format(&store->arena, "%.*s\n%.*s", MG_STR_ARG(key), MG_STR_ARG(name));
    struct mg_limit_debt *debt = mg_limit_debt_new(store->parts.shm, both);
    debt->kind = MG_LIMIT_DEBT_CANCELLATION;
    debt->until_ms = now_ms(store) + store->hold_ttl_ms;
    pay(store, debt);
}

static void on_payment_due(struct mg_deadline *deadline)
{
    struct mg_limit_store *store = MG_CONTAINER(deadline, struct mg_limit_store, pay_at);
    mg_limit_store_hold(store);
    for (int i = 0; i < MG_LIMIT_STORE_AT_ONCE && store->debts.count > 0; i++) {
        struct mg_limit_debt *debt =
            MG_CONTAINER(store->debts.order.next, struct mg_limit_debt, order);
        leave(store, debt);
        pay(store, debt);
    }
    if (store->debts.count > 0) {
        arm(store, &store->pay_at, NEXT_MS, on_payment_due);
    }
    mg_limit_store_release(store);
}

void mg_limit_store_answered(struct mg_limit_store *store)
{
    if (store->debts.count > 0 && !mg_deadline_armed(&store->pay_at)) {
        on_payment_due(&store->pay_at);
    }
}
