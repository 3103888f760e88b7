/* SPDX-License-Identifier: Apache-2.0 */
#include "exposition_limits.h"

#include "base/shm_limits.h"
#include "base/shm_words.h"
#include "exposition_scrape.h"
#include "exposition_text.h"
#include "net/redis_breaker.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* --- limits ----------------------------------------------------------------------------------- */

#define POLICIES 128 /* names of limits that are told apart */

struct policy {
    char name[36];
    uint64_t keys, max_keys, near, over_admit, overflowed, bans;
};

/* Limits of many routes have one name: they are one policy. */
static struct policy *policy_of(struct policy *policies, uint32_t *count, const char *name)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (strcmp(policies[i].name, name) == 0) {
            return &policies[i];
        }
    }
    if (*count == POLICIES) {
        return &policies[POLICIES - 1];
    }
    struct policy *policy = &policies[(*count)++];
    snprintf(policy->name, sizeof policy->name, "%s", *count == POLICIES ? "__overflow__" : name);
    return policy;
}

static uint32_t read_policies(struct mg_shm *shm, struct policy policies[POLICIES])
{
    struct mg_limit_record record;
    struct mg_shm_room room;
    uint32_t count = 0;
    mg_shm_room(shm, &room);
    for (uint32_t i = 0; i < room.limits; i++) {
        if (mg_limit_record_read(shm, i, &record)) {
            struct policy *policy = policy_of(policies, &count, record.name);
            policy->keys += record.live;
            policy->max_keys += record.max_keys;
            policy->near += record.near;
            policy->overflowed += record.overflowed;
            policy->bans += record.bans;
            policy->over_admit =
                record.over_admit > policy->over_admit ? record.over_admit : policy->over_admit;
        }
    }
    return count;
}

static void put_policies(const struct mg_scrape *scrape, size_t member)
{
    struct policy policies[POLICIES] = {{.keys = 0}};
    const uint32_t count = read_policies(scrape->shm, policies);
    for (uint32_t i = 0; i < count; i++) {
        const struct mg_text_label label = {"policy", mg_str_from(policies[i].name)};
        uint64_t value;
        memcpy(&value, (const char *)&policies[i] + member, sizeof value);
        mg_scrape_put(scrape, &label, 1, value);
    }
}

static void limit_keys(const struct mg_scrape *scrape)
{
    put_policies(scrape, offsetof(struct policy, keys));
}

static void limit_max_keys(const struct mg_scrape *scrape)
{
    put_policies(scrape, offsetof(struct policy, max_keys));
}

static void limit_near(const struct mg_scrape *scrape)
{
    put_policies(scrape, offsetof(struct policy, near));
}

static void limit_over_admit(const struct mg_scrape *scrape)
{
    put_policies(scrape, offsetof(struct policy, over_admit));
}

static void limit_overflow(const struct mg_scrape *scrape)
{
    put_policies(scrape, offsetof(struct policy, overflowed));
}

static void limit_bans(const struct mg_scrape *scrape)
{
    put_policies(scrape, offsetof(struct policy, bans));
}

static void limit_banned_keys(const struct mg_scrape *scrape)
{
    struct mg_limit_record record;
    struct mg_shm_room room;
    uint64_t sum = 0;
    mg_shm_room(scrape->shm, &room);
    for (uint32_t i = 0; i < room.limits; i++) {
        sum += mg_limit_record_read(scrape->shm, i, &record) ? record.running : 0;
    }
    mg_scrape_put(scrape, NULL, 0, sum);
}

/* --- stores ----------------------------------------------------------------------------------- */

static mg_str store_name(const struct mg_store_record *store)
{
    return mg_str_make(store->name, strnlen(store->name, sizeof store->name));
}

/* The first store of each name; NULL: none, or another has the name already. */
static const struct mg_store_record *first_of_name(struct mg_shm *shm, uint32_t index)
{
    const struct mg_store_record *store = mg_store_record(shm, index);
    for (uint32_t i = 0; store && i < index; i++) {
        const struct mg_store_record *other = mg_store_record(shm, i);
        if (other && mg_str_equal(store_name(other), store_name(store))) {
            return NULL;
        }
    }
    return store;
}

static void store_operations(const struct mg_scrape *scrape)
{
    for (uint32_t i = 0; i < MG_STORES; i++) {
        const struct mg_store_record *first = first_of_name(scrape->shm, i);
        for (unsigned k = 0; first && k < MG_REDIS_RESULT_COUNT; k++) {
            uint64_t sum = 0;
            for (uint32_t n = i; n < MG_STORES; n++) {
                const struct mg_store_record *store = mg_store_record(scrape->shm, n);
                const bool same = store && mg_str_equal(store_name(store), store_name(first));
                sum += same ? store->results[k] : 0;
            }
            if (sum > 0 || k == MG_REDIS_OK) {
                const char *result = mg_redis_result_word((enum mg_redis_result)k);
                const struct mg_text_label labels[] = {{"store", store_name(first)},
                                                       {"result", mg_str_from(result)}};
                mg_scrape_put(scrape, labels, 2, sum);
            }
        }
    }
}

/* Of stores with one name, the one used last counts. limits: only stores that limits are in. */
static void each_store(const struct mg_scrape *scrape, bool limits,
                       void (*fn)(const struct mg_scrape *, const struct mg_store_record *,
                                  const struct mg_text_label *))
{
    for (uint32_t i = 0; i < MG_STORES; i++) {
        const struct mg_store_record *last = first_of_name(scrape->shm, i);
        for (uint32_t n = i + 1; last && n < MG_STORES; n++) {
            const struct mg_store_record *store = mg_store_record(scrape->shm, n);
            if (store && mg_str_equal(store_name(store), store_name(last)) &&
                store->used_ms > last->used_ms) {
                last = store;
            }
        }
        if (last && (!limits || last->instances > 0)) {
            const struct mg_text_label label = {"store", store_name(last)};
            fn(scrape, last, &label);
        }
    }
}

static void put_open(const struct mg_scrape *scrape, const struct mg_store_record *store,
                     const struct mg_text_label *label)
{
    mg_scrape_put(scrape, label, 1, strcmp(mg_redis_breaker_state(store), "closed") != 0);
}

static void put_open_seconds(const struct mg_scrape *scrape, const struct mg_store_record *store,
                             const struct mg_text_label *label)
{
    const uint64_t ms = mg_redis_breaker_open_ms(store, scrape->monotonic_ms);
    mg_text_sample(scrape->out, scrape->name, label, 1, (double)ms / 1000);
}

static void put_instances(const struct mg_scrape *scrape, const struct mg_store_record *store,
                          const struct mg_text_label *label)
{
    mg_scrape_put(scrape, label, 1, store->instances);
}

static void store_breaker_open(const struct mg_scrape *scrape)
{
    each_store(scrape, false, put_open);
}

static void fallback_active(const struct mg_scrape *scrape)
{
    each_store(scrape, true, put_open);
}

static void fallback_seconds(const struct mg_scrape *scrape)
{
    each_store(scrape, true, put_open_seconds);
}

static void limit_instances(const struct mg_scrape *scrape)
{
    each_store(scrape, true, put_instances);
}

/* --- all of them ------------------------------------------------------------------------------ */

static const struct mg_scraped metrics[] = {
    {"moongate_ratelimit_keys", "gauge", "keys that have a counter of their own", limit_keys},
    {"moongate_ratelimit_max_keys", "gauge", "keys that can have one", limit_max_keys},
    {"moongate_ratelimit_near_total", "counter",
     "requests admitted when less than a fifth of the limit was left", limit_near},
    {"moongate_ratelimit_overflow_total", "counter",
     "decisions made in an overflow bucket: no room for the key", limit_overflow},
    {"moongate_ratelimit_bans_total", "counter", "bans begun, by the limit that denied",
     limit_bans},
    {"moongate_ratelimit_banned_keys", "gauge", "keys that are banned, counted anew every 2 s",
     limit_banned_keys},
    {"moongate_ratelimit_over_admit_bound", "gauge",
     "units that may be admitted too much, by all hosts together", limit_over_admit},
    {"moongate_ratelimit_instances", "gauge", "hosts that share the limits", limit_instances},
    {"moongate_ratelimit_fallback_active", "gauge", "1: limits are decided without the store",
     fallback_active},
    {"moongate_ratelimit_fallback_seconds_total", "counter",
     "time in which limits were decided without the store", fallback_seconds},
    {"moongate_store_operations_total", "counter", "operations of a Redis", store_operations},
    {"moongate_store_breaker_open", "gauge", "1: the Redis is given up for now",
     store_breaker_open},
};

bool mg_exposition_limit(struct mg_shm *shm, uint64_t now_ms, unsigned which, struct mg_buf *out)
{
    if (which >= sizeof metrics / sizeof metrics[0]) {
        return false;
    }
    mg_scrape_one(&metrics[which], shm, now_ms, out);
    return true;
}
