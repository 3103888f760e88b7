/* SPDX-License-Identifier: Apache-2.0 */
/* model/limit_script: the core and a real Redis, asked the same at the same times, say the same (R2
 * of the rate limits). MOONGATE_LONG=1 asks 50,000 times. */
#include "model/limit_script.h"

#include "base/shm.h"
#include "support/redis_client.h"
#include "support/redis_server.h"
#include "support/sockets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW INT64_C(1700000000250)
#define SOURCE_BYTES (64 * 1024)
#define HOLDS 64
#define NAME 48

struct bench {
    struct redis_server server;
    struct redis_client client;
    struct mg_redis_script *script;
    struct mg_shm *shm;
    struct mg_arena arena;
    struct mg_redis_command command;
    enum mg_redis_result result;
    struct mg_resp_reply reply;
    bool is_over;
    uint64_t random;
};

static uint32_t roll(struct bench *bench, uint32_t below)
{
    bench->random = bench->random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(bench->random >> 33) % below;
}

static size_t read_source(const char *name, char *out, size_t room)
{
    char path[512];
    snprintf(path, sizeof path, MOONGATE_SOURCE_DIR "/plugins/rate-limit/%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    const size_t length = fread(out, 1, room, file);
    fclose(file);
    assert_true(length > 0 && length < room);
    return length;
}

static int setup(void **state)
{
    static char source[SOURCE_BYTES];
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    redis_server_start(&bench->server, NULL);
    redis_client_open(&bench->client);
    redis_client_hold_up(&bench->client, bench->server.address);
    size_t length = read_source("limit.redis.lua", source, sizeof source);
    length += read_source("take.redis.lua", source + length, sizeof source - length);
    bench->script =
        mg_redis_script_hold(mg_redis_scripts(bench->client.set), mg_str_make(source, length));
    mg_arena_init(&bench->arena, 16384);
    bench->random = 7;
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    mg_resp_reply_deinit(&bench->reply);
    mg_arena_deinit(&bench->arena);
    mg_redis_script_release(bench->script);
    redis_client_close(&bench->client);
    redis_server_stop(&bench->server);
    free(bench);
    return 0;
}

/* --- asking --------------------------------------------------------------------------------- */

static void on_reply(struct mg_redis_command *command, enum mg_redis_result result,
                     struct mg_resp_reply *reply)
{
    struct bench *bench = MG_CONTAINER(command, struct bench, command);
    bench->result = result;
    bench->is_over = true;
    if (reply) {
        mg_resp_reply_move(&bench->reply, reply);
    }
}

static bool is_over(void *context)
{
    return ((struct bench *)context)->is_over;
}

static void run_script(struct bench *bench, const struct mg_limit_words *words)
{
    const struct mg_redis_ask ask = {.words = words->items,
                                     .count = words->count,
                                     .script = bench->script,
                                     .keys = words->keys,
                                     .key_count = words->key_count};
    bench->is_over = false;
    bench->command.fn = on_reply;
    assert_int_equal(mg_redis_send(bench->client.redis, &bench->command, &ask), MG_REDIS_OK);
    sockets_run_until(bench->client.loop, is_over, bench);
    if (bench->result != MG_REDIS_OK) {
        const mg_str text = bench->reply.count ? mg_resp_text(&bench->reply, &bench->reply.nodes[0])
                                               : MG_STR("no reply");
        fail_msg("%.*s", (int)text.len, text.ptr);
    }
}

static void release_in_redis(struct bench *bench, mg_str key, mg_str slot)
{
    mg_str items[] = {MG_STR("1"), MG_STR("release"), MG_STR("0"), MG_STR("1"), slot};
    const struct mg_limit_words words = {.keys = &key, .items = items, .key_count = 1, .count = 5};
    run_script(bench, &words);
}

/* --- an entry with its limits, and what both stores say
 * ----------------------------------------- */

struct held {
    uint32_t hold, limit;
    char slot[NAME + 8];
};

struct entry {
    unsigned number, count;
    struct mg_limit limits[4];
    char keys[4][NAME], ban_key[NAME];
    bool has_ban, count_denied;
    struct mg_limit_ban ban;
    struct held held[HOLDS];
    unsigned held_count, holders;
    struct mg_limit_answer answers[4]; /* of the last decision */
    struct mg_limit_remote remotes[4];
    bool banned;
};

static struct mg_limit_rule random_rule(struct bench *bench)
{
    static const int64_t windows[] = {100, 1000, 1337, 60000, 86400000};
    struct mg_limit_rule rule = {.algorithm =
                                     (enum mg_limit_algorithm)roll(bench, MG_LIMIT_ALGORITHMS),
                                 .align_first = roll(bench, 2) == 1,
                                 .quota = 1 + roll(bench, roll(bench, 4) ? 8 : 1000000),
                                 .window_ms = windows[roll(bench, 5)],
                                 .burst = 1 + roll(bench, 12),
                                 .max_delay_ms = roll(bench, 3000)};
    if (rule.algorithm == MG_LIMIT_FIXED_WINDOW && roll(bench, 4) == 0) {
        rule.calendar = roll(bench, 2) ? MG_CALENDAR_MONTH : MG_CALENDAR_YEAR;
        rule.window_ms = 0;
    }
    if (rule.algorithm == MG_LIMIT_CONCURRENCY) {
        rule.window_ms = 0;
    }
    return rule;
}

static void open_entry(struct bench *bench, struct entry *entry, unsigned number)
{
    *entry = (struct entry){.number = number, .count = 1 + roll(bench, 4)};
    entry->has_ban = roll(bench, 3) == 0;
    entry->count_denied = roll(bench, 3) == 0;
    for (unsigned i = 0; i < entry->count; i++) {
        struct mg_limit *limit = &entry->limits[i];
        *limit = (struct mg_limit){
            .rule = random_rule(bench), .shadow = roll(bench, 5) == 0, .max_keys = 4096};
        snprintf(entry->keys[i], NAME, "t:{%u}:limit %u", number, i);
        assert_int_equal(
            mg_limit_open(bench->shm, limit, mg_str_from(entry->keys[i]), MG_STR("n"), NOW), 0);
    }
    snprintf(entry->ban_key, NAME, "t:{%u}:ban", number);
    entry->ban = (struct mg_limit_ban){.rule = {.after = roll(bench, 4),
                                                .within_ms = 500 + roll(bench, 5000),
                                                .for_ms = 100 + roll(bench, 3000),
                                                .max_ms = 10000,
                                                .forget_ms = 1 + roll(bench, 20000),
                                                .factor_percent = 100 + roll(bench, 300),
                                                .extend = roll(bench, 3) == 0},
                                       .max_keys = 4096};
    assert_int_equal(
        mg_limit_ban_open(bench->shm, &entry->ban, mg_str_from(entry->ban_key), MG_STR("ban"), NOW),
        0);
}

static void fill_asks(struct bench *bench, struct entry *entry, struct mg_limit_ask *asks)
{
    for (unsigned i = 0; i < entry->count; i++) {
        struct mg_limit *limit = &entry->limits[i];
        const bool has_quota = roll(bench, 4) == 0;
        const int64_t quota = roll(bench, 10);
        const int64_t cost = roll(bench, 20) == 0 ? roll(bench, 1000001) : roll(bench, 4);
        asks[i] = (struct mg_limit_ask){.limit = limit,
                                        .key = mg_limit_key(bench->shm, limit, MG_STR("k")),
                                        .cost = cost,
                                        .has_quota = has_quota,
                                        .quota = quota};
        entry->remotes[i] = (struct mg_limit_remote){
            .rule = has_quota ? mg_limit_rule_with(&limit->rule, quota) : limit->rule,
            .shadow = limit->shadow,
            .cost = cost,
            .key = mg_str_from(entry->keys[i])};
    }
}

static void compare(const struct entry *entry, unsigned i, const struct mg_limit_answer *core,
                    const struct mg_limit_answer *redis)
{
    if (core->ok != redis->ok || core->too_big != redis->too_big ||
        core->charged != redis->charged || core->remaining != redis->remaining ||
        core->reset_ms != redis->reset_ms || core->retry_ms != redis->retry_ms ||
        core->delay_ms != redis->delay_ms || core->charged_in != redis->charged_in) {
        const struct mg_limit_rule *rule = &entry->remotes[i].rule;
        fail_msg("entry %u limit %u %s q %lld w %lld b %lld cost %lld: core ok %d big %d charged %d"
                 " left %lld reset %lld retry %lld delay %lld, redis %d %d %d %lld %lld %lld %lld",
                 entry->number, i, mg_limit_algorithm_name(rule->algorithm), (long long)rule->quota,
                 (long long)rule->window_ms, (long long)rule->burst,
                 (long long)entry->remotes[i].cost, core->ok, core->too_big, core->charged,
                 (long long)core->remaining, (long long)core->reset_ms, (long long)core->retry_ms,
                 (long long)core->delay_ms, redis->ok, redis->too_big, redis->charged,
                 (long long)redis->remaining, (long long)redis->reset_ms,
                 (long long)redis->retry_ms, (long long)redis->delay_ms);
    }
}

static void remember_holds(struct entry *entry, mg_str holder)
{
    for (unsigned i = 0; i < entry->count; i++) {
        if (entry->answers[i].hold != 0) {
            struct held *held = &entry->held[entry->held_count++];
            *held = (struct held){.hold = entry->answers[i].hold, .limit = i};
            snprintf(held->slot, sizeof held->slot, "%.*s:%lld", (int)holder.len, holder.ptr,
                     (long long)entry->remotes[i].cost);
        }
    }
}

static void decide(struct bench *bench, struct entry *entry, int64_t now)
{
    struct mg_limit_ask asks[4];
    struct mg_limit_words words;
    struct mg_limit_found found;
    char holder[NAME];
    fill_asks(bench, entry, asks);
    snprintf(holder, sizeof holder, "h-%u", entry->holders++);
    const struct mg_limit_request request = {
        .now_ms = now,
        .count_denied = entry->count_denied,
        .asks = asks,
        .count = entry->count,
        .ban = entry->has_ban ? &entry->ban : NULL,
        .ban_key = mg_limit_ban_key(bench->shm, &entry->ban, MG_STR("k"))};
    const struct mg_limit_remote_request remote = {.limits = entry->remotes,
                                                   .count = entry->count,
                                                   .count_denied = entry->count_denied,
                                                   .ban = entry->has_ban ? &entry->ban.rule : NULL,
                                                   .ban_key = mg_str_from(entry->ban_key),
                                                   .holder = mg_str_from(holder),
                                                   .hold_ttl_ms = INT64_C(366) * 86400000,
                                                   .now_ms = now};
    const struct mg_limit_verdict core = mg_limits_take(bench->shm, &request, entry->answers);
    mg_limit_words_take(&bench->arena, &remote, &words);
    run_script(bench, &words);
    assert_int_equal(mg_limit_reply_read(&bench->reply, &remote, &found), 0);
    assert_int_equal(core.banned, found.verdict.banned);
    assert_int_equal(core.admitted, found.verdict.admitted);
    assert_int_equal(core.ban_began, found.verdict.ban_began);
    assert_int_equal(core.ban_ms, found.verdict.ban_ms);
    assert_int_equal(core.delay_ms, found.verdict.delay_ms);
    assert_int_equal(found.repaired, 0);
    entry->banned = core.banned;
    for (unsigned i = 0; !core.banned && i < entry->count; i++) {
        compare(entry, i, &entry->answers[i], &found.answers[i]);
    }
    if (core.admitted) {
        remember_holds(entry, remote.holder);
    }
}

static void release_one(struct bench *bench, struct entry *entry, unsigned which)
{
    struct held *held = &entry->held[which];
    mg_limit_release(bench->shm, 0, held->hold);
    release_in_redis(bench, mg_str_from(entry->keys[held->limit]), mg_str_from(held->slot));
    *held = entry->held[--entry->held_count];
}

/* The last decision's charges turn out to have cost something else. */
static void correct(struct bench *bench, struct entry *entry, int64_t now)
{
    struct mg_limit_words words;
    for (unsigned i = 0; !entry->banned && i < entry->count; i++) {
        struct mg_limit_remote *remote = &entry->remotes[i];
        if (!entry->answers[i].charged || remote->rule.algorithm == MG_LIMIT_CONCURRENCY) {
            continue;
        }
        remote->cost = (int64_t)roll(bench, 7) - 4;
        remote->charged_in = entry->answers[i].charged_in;
        const struct mg_limit_remote_request request = {
            .limits = remote, .count = 1, .now_ms = now};
        mg_limit_words_amend(&bench->arena, &request, &words);
        run_script(bench, &words);
        const bool in_redis = bench->reply.nodes[0].value == 0;
        const bool in_core =
            mg_limit_correct(bench->shm, &entry->limits[i], &entry->answers[i], now, remote->cost);
        /* what is as good as new is gone from the core, and may stand in Redis for a moment */
        assert_true(in_redis || !in_core);
    }
}

static int64_t step(struct bench *bench, int64_t now)
{
    switch (roll(bench, 8)) {
    case 0:
        return now - roll(bench, 50);
    case 1:
        return now + roll(bench, 3000);
    case 2:
        return now + (roll(bench, 20) ? 0 : (int64_t)roll(bench, 100000000));
    default:
        return now + roll(bench, 120);
    }
}

static void r2_core_and_redis_decide_alike(void **state)
{
    struct bench *bench = *state;
    struct entry *entry = malloc(sizeof *entry);
    assert_non_null(entry);
    const unsigned entries = getenv("MOONGATE_LONG") ? 1000 : 80;
    for (unsigned number = 0; number < entries; number++) {
        int64_t now = NOW + roll(bench, 1000000);
        assert_int_equal(mg_shm_create(4 << 20, 1, &bench->shm), 0);
        open_entry(bench, entry, number);
        for (unsigned i = 0; i < 50; i++) {
            now = step(bench, now);
            decide(bench, entry, now);
            while (entry->held_count > HOLDS - 4 ||
                   (entry->held_count > 0 && roll(bench, 3) == 0)) {
                release_one(bench, entry, roll(bench, entry->held_count));
            }
            if (roll(bench, 6) == 0) {
                correct(bench, entry, now);
            }
            mg_arena_reset(&bench->arena);
        }
        while (entry->held_count > 0) {
            release_one(bench, entry, 0);
        }
        mg_shm_close(bench->shm);
    }
    free(entry);
}

/* --- what a concurrency limit holds --------------------------------------------------------- */

struct taking {
    const char *holder;
    int64_t quota, cost, hold_ms, now;
};

static bool takes(struct bench *bench, struct taking taking)
{
    const struct mg_limit_remote limit = {
        .rule = {.algorithm = MG_LIMIT_CONCURRENCY, .quota = taking.quota},
        .cost = taking.cost,
        .key = MG_STR("t:{c}:in flight")};
    const struct mg_limit_remote_request request = {.limits = &limit,
                                                    .count = 1,
                                                    .holder = mg_str_from(taking.holder),
                                                    .hold_ttl_ms = taking.hold_ms,
                                                    .now_ms = taking.now};
    struct mg_limit_words words;
    struct mg_limit_found found;
    mg_limit_words_take(&bench->arena, &request, &words);
    run_script(bench, &words);
    assert_int_equal(mg_limit_reply_read(&bench->reply, &request, &found), 0);
    assert_int_equal(found.repaired, 0);
    return found.verdict.admitted;
}

static void cancel(struct bench *bench, const char *slot, const char *now)
{
    mg_str key = MG_STR("t:{c}:in flight");
    mg_str items[] = {mg_str_from(now), MG_STR("cancel"), MG_STR("500"), MG_STR("1"),
                      mg_str_from(slot)};
    const struct mg_limit_words words = {.keys = &key, .items = items, .key_count = 1, .count = 5};
    run_script(bench, &words);
}

static void what_was_given_up_is_not_taken_later(void **state)
{
    struct bench *bench = *state;
    cancel(bench, "a:1", "1000");
    assert_false(takes(bench, (struct taking){"a", 2, 1, 9000, 1400}));
    assert_true(takes(bench, (struct taking){"b", 2, 1, 9000, 1400}));
    assert_true(takes(bench, (struct taking){"c", 2, 1, 9000, 1400}));
    assert_false(takes(bench, (struct taking){"d", 2, 1, 9000, 1400}));
    cancel(bench, "b:1", "1450"); /* the take came first */
    assert_true(takes(bench, (struct taking){"d", 2, 1, 9000, 1450}));
    release_in_redis(bench, MG_STR("t:{c}:in flight"), MG_STR("c:1"));
    release_in_redis(bench, MG_STR("t:{c}:in flight"), MG_STR("d:1"));
    assert_false(takes(bench, (struct taking){"a", 2, 1, 9000, 1499}));
    assert_true(takes(bench, (struct taking){"a", 2, 1, 9000, 1501})); /* forgotten */
}

static void what_had_no_news_for_too_long_is_free_after_a_denial_too(void **state)
{
    struct bench *bench = *state;
    assert_true(takes(bench, (struct taking){"a", 2, 1, 100, 1000}));
    assert_true(takes(bench, (struct taking){"b", 2, 1, 9000, 1000}));
    assert_false(takes(bench, (struct taking){"c", 2, 2, 9000, 1200}));
    assert_true(takes(bench, (struct taking){"d", 2, 1, 9000, 1200}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(r2_core_and_redis_decide_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_given_up_is_not_taken_later, setup, teardown),
        cmocka_unit_test_setup_teardown(what_had_no_news_for_too_long_is_free_after_a_denial_too,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
