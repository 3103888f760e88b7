/* SPDX-License-Identifier: Apache-2.0 */
#include "model/limit_script.h"

#include "base/hash.h"

#include <stdio.h>
#include <string.h>

#define HEAD 13 /* words before the limits */
#define EACH 10 /* words of a limit */
#define REPLY_HEAD 5
#define REPLY_EACH 9
#define NUMBER_CHARS 24
#define FORMER_CHARS 128
#define HASHED_BYTES 16 /* of the digest */

enum { CLOCK, FIRST, MONTH, YEAR }; /* where a fixed window begins */

/* --- names ---------------------------------------------------------------------------------- */

void mg_limit_key_text(mg_str bytes, char text[MG_LIMIT_KEY_CHARS])
{
    uint8_t digest[MG_SHA256_BYTES];
    char padded[MG_BASE64_CHARS(HASHED_BYTES)];
    mg_hash_sha256(bytes, digest);
    mg_hash_base64(digest, HASHED_BYTES, padded);
    for (int i = 0; i < MG_LIMIT_KEY_CHARS; i++) { /* base64url, without padding */
        text[i] = (char)(padded[i] == '+' ? '-' : padded[i] == '/' ? '_' : padded[i]);
    }
}

static int begin_of(const struct mg_limit_rule *rule)
{
    switch (rule->calendar) {
    case MG_CALENDAR_MONTH:
        return MONTH;
    case MG_CALENDAR_YEAR:
        return YEAR;
    default:
        return rule->align_first ? FIRST : CLOCK;
    }
}

size_t mg_limit_kind(const struct mg_limit_rule *rule, char text[MG_LIMIT_KIND_BYTES])
{
    static const char *const begins[] = {
        [CLOCK] = "", [FIRST] = "+first", [MONTH] = "+month", [YEAR] = "+year"};
    char window[NUMBER_CHARS] = "";
    if (rule->algorithm != MG_LIMIT_CONCURRENCY && rule->calendar == MG_CALENDAR_NONE) {
        snprintf(window, sizeof window, "+%lld", (long long)rule->window_ms);
    }
    const int length =
        snprintf(text, MG_LIMIT_KIND_BYTES, "%s%s%s", mg_limit_algorithm_name(rule->algorithm),
                 window, begins[begin_of(rule)]);
    return (size_t)length;
}

/* --- words ---------------------------------------------------------------------------------- */

static mg_str number(struct mg_arena *arena, int64_t value)
{
    char digits[NUMBER_CHARS];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        digits[--at] = '-';
    }
    return mg_arena_copy_str(arena, mg_str_make(digits + at, sizeof digits - at));
}

static void begin(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                  mg_str operation, struct mg_limit_words *words)
{
    const size_t keys = 2 * (size_t)request->count + 1;
    const size_t items = HEAD + EACH * (size_t)request->count;
    words->keys = mg_arena_alloc(arena, keys * sizeof *words->keys);
    words->items = mg_arena_alloc(arena, items * sizeof *words->items);
    words->key_count = 0;
    words->count = HEAD;
    for (int i = 0; i < HEAD; i++) {
        words->items[i] = MG_STR("0");
    }
    words->items[0] = request->now_ms > 0 ? number(arena, request->now_ms) : MG_STR("");
    words->items[1] = operation;
}

static mg_str truth(bool value)
{
    return value ? MG_STR("1") : MG_STR("0");
}

static void put_ban(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                    struct mg_limit_words *words)
{
    const struct mg_ban_rule *ban = request->ban;
    mg_str *items = words->items;
    items[3] = MG_STR("1");
    items[4] = number(arena, ban->after);
    items[5] = number(arena, ban->within_ms);
    items[6] = number(arena, ban->for_ms);
    items[7] = number(arena, ban->factor_percent);
    items[8] = number(arena, ban->max_ms);
    items[9] = number(arena, ban->forget_ms);
    items[10] = truth(ban->extend);
    words->keys[words->key_count++] = request->ban_key;
}

static void put_limit(struct mg_arena *arena, const struct mg_limit_remote *limit, mg_str former,
                      struct mg_limit_words *words)
{
    mg_str *items = words->items + words->count;
    items[0] = number(arena, limit->rule.algorithm);
    items[1] = number(arena, limit->rule.quota);
    items[2] = number(arena, limit->rule.window_ms);
    items[3] = number(arena, limit->rule.burst);
    items[4] = number(arena, limit->rule.max_delay_ms);
    items[5] = number(arena, begin_of(&limit->rule));
    items[6] = truth(limit->shadow);
    items[7] = number(arena, limit->cost);
    items[8] = former;
    items[9] = number(arena, limit->unsent);
    words->count += EACH;
}

static mg_str former_of(struct mg_arena *arena, const struct mg_limit_remote *limit)
{
    if (limit->former_key.len == 0) {
        return MG_STR("");
    }
    const struct mg_limit_rule *rule = limit->former;
    char text[FORMER_CHARS];
    const int length = snprintf(text, sizeof text, "%d %lld %lld %lld %d", (int)rule->algorithm,
                                (long long)rule->quota, (long long)rule->window_ms,
                                (long long)rule->burst, begin_of(rule));
    return mg_arena_copy_str(arena, mg_str_make(text, (size_t)length));
}

static void decide(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                   mg_str operation, struct mg_limit_words *words)
{
    begin(arena, request, operation, words);
    words->items[2] = request->charges_all ? MG_STR("2") : truth(request->count_denied);
    words->items[11] = request->holder;
    words->items[12] = number(arena, request->hold_ttl_ms);
    for (unsigned i = 0; i < request->count; i++) {
        words->keys[words->key_count++] = request->limits[i].key;
        put_limit(arena, &request->limits[i], former_of(arena, &request->limits[i]), words);
    }
    if (request->ban) {
        put_ban(arena, request, words);
    }
    for (unsigned i = 0; i < request->count; i++) {
        if (request->limits[i].former_key.len > 0) {
            words->keys[words->key_count++] = request->limits[i].former_key;
        }
    }
}

void mg_limit_words_take(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                         struct mg_limit_words *words)
{
    decide(arena, request, MG_STR("take"), words);
}

void mg_limit_words_lease(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                          struct mg_limit_words *words)
{
    decide(arena, request, MG_STR("lease"), words);
}

void mg_limit_words_amend(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                          struct mg_limit_words *words)
{
    begin(arena, request, MG_STR("amend"), words);
    for (unsigned i = 0; i < request->count; i++) {
        const struct mg_limit_remote *limit = &request->limits[i];
        words->keys[words->key_count++] = limit->key;
        put_limit(arena, limit, number(arena, limit->charged_in), words);
    }
}

void mg_limit_words_add(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                        struct mg_limit_words *words)
{
    begin(arena, request, MG_STR("add"), words);
    for (unsigned i = 0; i < request->count; i++) {
        words->keys[words->key_count++] = request->limits[i].key;
        put_limit(arena, &request->limits[i], MG_STR(""), words);
    }
}

void mg_limit_words_ban(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                        int64_t left_ms, int64_t in_a_row, struct mg_limit_words *words)
{
    begin(arena, request, MG_STR("ban"), words);
    put_ban(arena, request, words);
    words->items[11] = number(arena, left_ms);
    words->items[12] = number(arena, in_a_row);
}

/* --- replies -------------------------------------------------------------------------------- */

/* The whole numbers of a flat list; false: it is none, or shorter than it should be. */
static bool read_numbers(const struct mg_resp_reply *reply, uint32_t at, uint32_t count,
                         int64_t *numbers)
{
    if (reply->count < 1 || reply->nodes[0].type != MG_RESP_ARRAY ||
        reply->nodes[0].value < (int64_t)(at + count) || reply->count < 1 + at + count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct mg_resp_node *node = &reply->nodes[1 + at + i];
        if (node->type != MG_RESP_INTEGER) {
            return false;
        }
        numbers[i] = node->value;
    }
    return true;
}

static bool was_charged(const struct mg_limit_remote_request *request, unsigned i, bool admitted,
                        bool ok)
{
    const struct mg_limit_remote *limit = &request->limits[i];
    return admitted ? ok && limit->cost > 0
                    : request->count_denied && !limit->shadow && limit->rule.quota > 0 &&
                          limit->rule.algorithm != MG_LIMIT_CONCURRENCY;
}

static void read_limit(const struct mg_limit_remote_request *request, unsigned i,
                       const int64_t *numbers, struct mg_limit_found *found)
{
    const struct mg_limit_rule *rule = &request->limits[i].rule;
    int64_t *state = found->states[i];
    memcpy(state, numbers + 6, 3 * sizeof *state);
    state[3] = 0;
    found->answers[i] = (struct mg_limit_answer){
        .ok = numbers[0] == 1,
        .too_big = numbers[1] == 1,
        .charged = was_charged(request, i, found->verdict.admitted, numbers[0] == 1),
        .quota = rule->quota,
        .remaining = numbers[2],
        .reset_ms = numbers[3],
        .retry_ms = numbers[4],
        .delay_ms = numbers[5],
        .charged_in = mg_limit_charged_in(rule, state),
    };
}

int mg_limit_reply_read(const struct mg_resp_reply *reply,
                        const struct mg_limit_remote_request *request, struct mg_limit_found *found)
{
    int64_t numbers[REPLY_EACH];
    if (!read_numbers(reply, 0, REPLY_HEAD, numbers) || numbers[0] < 0 || numbers[0] > 3) {
        return MG_EBAD_RESPONSE;
    }
    found->verdict = (struct mg_limit_verdict){.admitted = numbers[0] == 1,
                                               .banned = numbers[0] == 2,
                                               .ban_began = numbers[0] == 3,
                                               .ban_ms = numbers[1],
                                               .delay_ms = numbers[3]};
    found->bans_in_a_row = numbers[2];
    found->repaired = numbers[4];
    for (unsigned i = 0; !found->verdict.banned && i < request->count; i++) {
        if (!read_numbers(reply, REPLY_HEAD + i * REPLY_EACH, REPLY_EACH, numbers)) {
            return MG_EBAD_RESPONSE;
        }
        read_limit(request, i, numbers, found);
        found->leased = numbers[0];
    }
    return 0;
}
