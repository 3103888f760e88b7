/* SPDX-License-Identifier: Apache-2.0 */
#include "model/limit_lease.h"

#include "base/shm.h"
#include "net/loop.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024 /* a power of 2 */
#define LEASES 16384 /* at most; further keys ask Redis */
#define LOW 4        /* a chunk is low when less than this part of it is left */
#define OLD 4        /* it is old when less than this part of its time is left */
#define ARENA_BYTES 4096

/* The units of one key. Times: ms of the loop's clock. */
struct lease {
    struct mg_link link, order; /* in its bucket; among all */
    struct mg_limit_leases *leases;
    uint64_t hash;
    struct mg_limit_remote remote; /* rule: of the units; its texts are in here */
    struct mg_limit_rule former;
    int64_t units, charged_in;
    uint64_t until_ms;       /* units may be spent until then */
    int64_t remaining;       /* in Redis, when it was asked last */
    uint64_t reset_at_ms;    /* of the limit */
    uint64_t seen_ms;        /* last request */
    uint64_t rests_until_ms; /* it was full: not asked in the background before that */
    uint64_t sent_ms;        /* when the command was */
    bool is_hot;             /* there was a second request */
    bool is_asking;          /* the command is under way */
    struct mg_redis_command command;
    struct mg_deadline end;
    struct mg_limit_ban ban; /* where has_ban */
    bool has_ban;
    mg_str ban_key;
    struct mg_cell_key ban_cell;
    uint8_t network;
};

struct mg_limit_leases {
    uint32_t references;
    struct mg_limit_store *store;
    struct mg_limit_store_parts parts;
    struct mg_limit_lease_options options;
    struct mg_arena arena; /* of the words of a command */
    struct mg_link order;
    uint32_t count;
    struct mg_loop_closer closer; /* linked while there are any */
    struct mg_link buckets[BUCKETS];
};

struct mg_limit_leases *mg_limit_leases_new(struct mg_limit_store *store,
                                            const struct mg_limit_lease_options *options)
{
    struct mg_limit_leases *leases = calloc(1, sizeof *leases);
    mg_require(leases != NULL);
    leases->references = 1;
    leases->store = mg_limit_store_hold(store);
    leases->parts = *mg_limit_store_parts(store);
    leases->options = *options;
    mg_arena_init(&leases->arena, ARENA_BYTES);
    mg_link_init(&leases->order);
    mg_link_init(&leases->closer.link);
    for (int i = 0; i < BUCKETS; i++) {
        mg_link_init(&leases->buckets[i]);
    }
    return leases;
}

struct mg_limit_leases *mg_limit_leases_hold(struct mg_limit_leases *leases)
{
    leases->references++;
    return leases;
}

void mg_limit_leases_release(struct mg_limit_leases *leases)
{
    mg_require(leases->references > 0);
    if (--leases->references > 0) {
        return;
    }
    mg_arena_deinit(&leases->arena);
    mg_limit_store_release(leases->store);
    free(leases);
}

bool mg_limit_lease_is_for(const struct mg_limit_rule *rule)
{
    return rule->algorithm != MG_LIMIT_CONCURRENCY && rule->algorithm != MG_LIMIT_LEAKY_BUCKET;
}

int64_t mg_limit_lease_chunk(const struct mg_limit_lease_options *options,
                             const struct mg_limit_rule *rule)
{
    const bool is_bucket =
        rule->algorithm == MG_LIMIT_TOKEN_BUCKET || rule->algorithm == MG_LIMIT_GCRA;
    const uint32_t workers = options->workers > 0 ? options->workers : 1;
    int64_t chunk = rule->quota * options->permille / 1000 / workers;
    chunk = is_bucket && chunk > rule->burst ? rule->burst : chunk;
    return chunk > 1 ? chunk : 1;
}

int64_t mg_limit_leases_over_admit(const struct mg_limit_leases *leases,
                                   const struct mg_limit_rule *rule)
{
    if (rule->algorithm == MG_LIMIT_FIXED_WINDOW || !mg_limit_lease_is_for(rule)) {
        return 0;
    }
    return mg_limit_store_instances(leases->store) * leases->options.workers *
           mg_limit_lease_chunk(&leases->options, rule);
}

/* --- one lease ------------------------------------------------------------------------------ */

static uint64_t now_ms(const struct mg_limit_leases *leases)
{
    return mg_loop_now_ms(leases->parts.loop);
}

static void free_lease(struct lease *lease)
{
    struct mg_limit_leases *leases = lease->leases;
    mg_redis_cancel(&lease->command);
    mg_deadline_cancel(&lease->end);
    mg_link_remove(&lease->link);
    mg_link_remove(&lease->order);
    if (--leases->count == 0) {
        mg_link_remove(&leases->closer.link);
    }
    free(lease);
    mg_limit_leases_release(leases);
}

static void on_loop_close(struct mg_loop_closer *closer)
{
    struct mg_limit_leases *leases = MG_CONTAINER(closer, struct mg_limit_leases, closer);
    mg_limit_leases_hold(leases);
    while (!mg_list_empty(&leases->order)) {
        free_lease(MG_CONTAINER(leases->order.next, struct lease, order));
    }
    mg_limit_leases_release(leases);
}

static void on_end(struct mg_deadline *deadline);

static void arm(struct lease *lease)
{
    struct mg_limit_leases *leases = lease->leases;
    mg_deadline_cancel(&lease->end);
    mg_deadline_arm(mg_deadlines_class(&leases->parts.loop->deadlines, leases->options.ttl_ms),
                    &lease->end, on_end, now_ms(leases));
}

/* In Redis they are charged no more. */
static void give_back(struct lease *lease)
{
    struct mg_limit_leases *leases = lease->leases;
    struct mg_limit_remote remote = lease->remote;
    const struct mg_limit_remote_request request = {.limits = &remote, .count = 1};
    struct mg_limit_words words;
    const bool is_over =
        remote.rule.algorithm == MG_LIMIT_FIXED_WINDOW && now_ms(leases) >= lease->reset_at_ms;
    if (lease->units > 0 && !is_over) {
        remote.cost = -lease->units;
        remote.charged_in = lease->charged_in;
        mg_limit_words_amend(&leases->arena, &request, &words);
        mg_limit_store_tell(leases->store, &words);
        mg_arena_reset(&leases->arena);
    }
    lease->units = 0;
}

static void on_end(struct mg_deadline *deadline)
{
    struct lease *lease = MG_CONTAINER(deadline, struct lease, end);
    struct mg_limit_leases *leases = lease->leases;
    mg_limit_leases_hold(leases);
    if (lease->units > 0 && now_ms(leases) >= lease->until_ms) {
        give_back(lease);
    }
    if (lease->units == 0 && !lease->is_asking &&
        now_ms(leases) - lease->seen_ms >= leases->options.ttl_ms) {
        free_lease(lease);
    } else {
        arm(lease);
    }
    mg_limit_leases_release(leases);
}

static uint64_t hash_of(const struct mg_limit_leases *leases, mg_str key)
{
    return mg_shm_key(leases->parts.shm, key).hash[1];
}

static struct lease *find(struct mg_limit_leases *leases, uint64_t hash, mg_str key)
{
    struct mg_link *head = &leases->buckets[hash & (BUCKETS - 1)];
    for (struct mg_link *at = head->next; at != head; at = at->next) {
        struct lease *lease = MG_CONTAINER(at, struct lease, link);
        if (lease->hash == hash && mg_str_equal(lease->remote.key, key)) {
            return lease;
        }
    }
    return NULL;
}

static mg_str put_text(char **at, mg_str text)
{
    const mg_str copy = mg_str_make(*at, text.len);
    if (text.len > 0) {
        memcpy(*at, text.ptr, text.len);
    }
    *at += text.len;
    return copy;
}

static struct lease *new_lease(struct mg_limit_leases *leases, uint64_t hash,
                               const struct mg_limit_remote *remote,
                               const struct mg_limit_lease_request *request)
{
    const mg_str ban_key = request->ban ? request->ban_key : MG_STR("");
    struct lease *lease =
        calloc(1, sizeof *lease + remote->key.len + remote->former_key.len + ban_key.len + 1);
    mg_require(lease != NULL);
    char *at = (char *)(lease + 1);
    lease->leases = mg_limit_leases_hold(leases);
    lease->hash = hash;
    lease->remote = *remote;
    lease->remote.key = put_text(&at, remote->key);
    lease->remote.former_key = put_text(&at, remote->former_key);
    lease->ban_key = put_text(&at, ban_key);
    lease->seen_ms = now_ms(leases);
    mg_deadline_init(&lease->end);
    mg_list_append(&leases->buckets[hash & (BUCKETS - 1)], &lease->link);
    mg_list_append(&leases->order, &lease->order);
    if (leases->count++ == 0) {
        leases->closer.fn = on_loop_close;
        mg_list_append(&leases->parts.loop->closers, &leases->closer.link);
    }
    arm(lease);
    return lease;
}

/* --- charging ------------------------------------------------------------------------------- */

static uint64_t soonest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Times run from when the command was sent: Redis has counted later than that. Units that it had
 * before were as good as given back and charged again. */
static void take_units(struct lease *lease, const struct mg_limit_answer *answer, int64_t units)
{
    const uint64_t ttl_ms = lease->leases->options.ttl_ms;
    if (lease->units > 0 && lease->charged_in != answer->charged_in) {
        give_back(lease);
    }
    lease->remaining = answer->remaining;
    lease->reset_at_ms = lease->sent_ms + (uint64_t)(answer->reset_ms > 0 ? answer->reset_ms : 0);
    if (units == 0) {
        lease->rests_until_ms = now_ms(lease->leases) + ttl_ms;
    }
    lease->charged_in = answer->charged_in;
    lease->units += units;
    if (lease->units > 0) {
        lease->until_ms = lease->sent_ms + ttl_ms;
        if (lease->remote.rule.algorithm == MG_LIMIT_FIXED_WINDOW) {
            lease->until_ms = soonest(lease->until_ms, lease->reset_at_ms);
        }
        arm(lease);
    }
}

static void on_charged(struct mg_redis_command *command, enum mg_redis_result result,
                       struct mg_resp_reply *reply)
{
    struct lease *lease = MG_CONTAINER(command, struct lease, command);
    struct mg_limit_leases *leases = lease->leases;
    const struct mg_limit_remote_request request = {.limits = &lease->remote, .count = 1};
    struct mg_limit_found found;
    lease->is_asking = false;
    if (result != MG_REDIS_OK || mg_limit_reply_read(reply, &request, &found) != 0) {
        lease->rests_until_ms = now_ms(leases) + leases->options.ttl_ms;
        return;
    }
    if (lease->has_ban && found.verdict.ban_ms > 0) {
        mg_limit_ban_learn(leases->parts.shm, &lease->ban, lease->ban_cell, lease->network,
                           mg_shm_now_ms(leases->parts.shm, now_ms(leases)), found.verdict.ban_ms,
                           found.bans_in_a_row);
    }
    take_units(lease, &found.answers[0], found.leased);
    mg_limit_store_answered(leases->store); /* may send */
}

/* Asks for what is missing of a chunk, if that is much, or what is there will be too old soon. */
static void fill_up(struct lease *lease)
{
    struct mg_limit_leases *leases = lease->leases;
    const int64_t chunk = mg_limit_lease_chunk(&leases->options, &lease->remote.rule);
    const uint64_t now = now_ms(leases);
    const bool is_low = lease->units * LOW < chunk && now >= lease->rests_until_ms;
    const bool is_old = lease->units > 0 && now + leases->options.ttl_ms / OLD >= lease->until_ms;
    if (lease->is_asking || !(is_low || is_old)) {
        return;
    }
    struct mg_limit_remote remote = lease->remote;
    remote.cost = chunk - lease->units;
    remote.former = remote.former_key.len > 0 ? &lease->former : NULL;
    const struct mg_limit_remote_request request = {.limits = &remote,
                                                    .count = 1,
                                                    .holder = MG_STR("-"),
                                                    .ban = lease->has_ban ? &lease->ban.rule : NULL,
                                                    .ban_key = lease->ban_key};
    struct mg_limit_words words;
    mg_limit_words_lease(&leases->arena, &request, &words);
    lease->command.fn = on_charged;
    lease->sent_ms = now;
    lease->is_asking =
        mg_limit_store_send_aside(leases->store, &lease->command, &words) == MG_REDIS_OK;
    mg_arena_reset(&leases->arena);
}

/* --- the decision --------------------------------------------------------------------------- */

static bool is_same_rule(const struct mg_limit_rule *a, const struct mg_limit_rule *b)
{
    return a->quota == b->quota && a->burst == b->burst && a->window_ms == b->window_ms &&
           a->algorithm == b->algorithm;
}

/* A key that is asked again so soon is worth a lease. */
static void note_request(struct mg_limit_leases *leases, struct lease *lease,
                         const struct mg_limit_remote *remote,
                         const struct mg_limit_lease_request *request)
{
    if (!is_same_rule(&lease->remote.rule, &remote->rule)) {
        if (lease->is_asking) {
            return; /* its answer is of the rule before */
        }
        give_back(lease);
        lease->remote.rule = remote->rule;
        lease->rests_until_ms = 0;
    }
    lease->has_ban = request->ban != NULL;
    if (request->ban) {
        lease->ban = *request->ban;
        lease->ban_cell = request->ban_cell;
        lease->network = request->network;
    }
    if (remote->former_key.len == 0) {
        lease->remote.former_key = MG_STR("");
    } else if (remote->former) {
        lease->former = *remote->former;
    }
    lease->seen_ms = now_ms(leases);
}

static bool can_spend(const struct mg_limit_leases *leases, const struct lease *lease,
                      const struct mg_limit_remote *remote)
{
    return lease->units > 0 && lease->units >= remote->cost && now_ms(leases) < lease->until_ms &&
           is_same_rule(&lease->remote.rule, &remote->rule);
}

static void spend(struct lease *lease, int64_t cost, struct mg_limit_answer *answer)
{
    const uint64_t now = now_ms(lease->leases);
    lease->units -= cost;
    *answer = (struct mg_limit_answer){
        .ok = true,
        .charged = cost > 0,
        .quota = lease->remote.rule.quota,
        .remaining = lease->remaining + lease->units,
        .reset_ms = lease->reset_at_ms > now ? (int64_t)(lease->reset_at_ms - now) : 0,
        .charged_in = lease->charged_in,
    };
}

/* The leases of all limits; false: one of them has none, or not enough. */
static bool look(struct mg_limit_leases *leases, const struct mg_limit_lease_request *request,
                 struct lease **found)
{
    bool is_enough = true;
    for (unsigned i = 0; i < request->count; i++) {
        const struct mg_limit_remote *remote = &request->limits[i];
        const uint64_t hash = hash_of(leases, remote->key);
        found[i] = find(leases, hash, remote->key);
        if (found[i]) {
            found[i]->is_hot = true;
            note_request(leases, found[i], remote, request);
            is_enough = is_enough && can_spend(leases, found[i], remote);
        } else if (leases->count < LEASES) {
            struct lease *lease = new_lease(leases, hash, remote, request);
            note_request(leases, lease, remote, request);
            is_enough = false;
        } else {
            is_enough = false;
        }
    }
    return is_enough;
}

bool mg_limit_leases_take(struct mg_limit_leases *leases,
                          const struct mg_limit_lease_request *request,
                          struct mg_limit_answer *answers)
{
    struct lease *found[MG_LIMITS_AT_ONCE];
    for (unsigned i = 0; i < request->count; i++) {
        if (!mg_limit_lease_is_for(&request->limits[i].rule)) {
            return false;
        }
    }
    const bool is_enough = look(leases, request, found);
    for (unsigned i = 0; is_enough && i < request->count; i++) {
        spend(found[i], request->limits[i].cost, &answers[i]);
    }
    return is_enough;
}

void mg_limit_leases_fill_up(struct mg_limit_leases *leases,
                             const struct mg_limit_lease_request *request)
{
    for (unsigned i = 0; i < request->count; i++) {
        const mg_str key = request->limits[i].key;
        struct lease *lease = find(leases, hash_of(leases, key), key);
        if (lease && lease->is_hot) {
            fill_up(lease);
        }
    }
}

int64_t mg_limit_leases_left(struct mg_limit_leases *leases, mg_str key, int64_t remaining)
{
    struct lease *lease = find(leases, hash_of(leases, key), key);
    if (!lease) {
        return remaining;
    }
    lease->remaining = remaining;
    return remaining + (now_ms(leases) < lease->until_ms ? lease->units : 0);
}

bool mg_limit_leases_put(struct mg_limit_leases *leases, mg_str key, int64_t charged_in,
                         int64_t units)
{
    struct lease *lease = find(leases, hash_of(leases, key), key);
    if (!lease || lease->units == 0 || lease->charged_in != charged_in ||
        now_ms(leases) >= lease->until_ms ||
        lease->units + units > mg_limit_lease_chunk(&leases->options, &lease->remote.rule)) {
        return false;
    }
    lease->units += units;
    return true;
}
