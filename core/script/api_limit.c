/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaf functions of the plugin rate-limit (ffi.h, section policies): a set of limits with the key
 * of the present request, decided in one step. What a request holds goes into its arena's cleanups
 * with the index of the worker only, since the request may outlive its generation and this set with
 * it.
 */
#include "base/shm.h"
#include "base/shm_limits.h"
#include "model/limit.h"
#include "net/loop.h"
#include "script/export.h"
#include "script/record_text.h"

#include "script/api_limits.h"

#include "script/ffi_log.h"
#include "script/ffi_plan.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define LONG_PART 128 /* a longer part is hashed down */
#define NOTE_BYTES 1024
#define NEAR 5 /* a limit is near when less than this part of it is left */

/* --- making --------------------------------------------------------------------------------- */

MG_FFI_EXPORT struct mg_ffi_limits *mg_ffi_limits_new(struct mg_vm *vm)
{
    if (!vm->options.shm || !vm->loop) {
        return NULL;
    }
    struct mg_ffi_limits *limits = calloc(1, sizeof *limits);
    mg_require(limits != NULL);
    limits->vm = vm;
    limits->shm = vm->options.shm;
    mg_limits_define(limits);
    return limits;
}

MG_FFI_EXPORT void mg_ffi_limits_free(struct mg_ffi_limits *limits)
{
    if (limits && limits->async) {
        mg_limit_async_release(limits->async);
    }
    if (limits && limits->leases) {
        mg_limit_leases_release(limits->leases);
    }
    if (limits && limits->store) {
        mg_limit_store_release(limits->store);
    }
    free(limits);
}

int64_t mg_limits_now_ms(const struct mg_ffi_limits *limits)
{
    return mg_shm_now_ms(limits->shm, mg_loop_now_ms(limits->vm->loop));
}

MG_FFI_EXPORT int mg_ffi_limits_add(struct mg_ffi_limits *limits,
                                    const struct mg_ffi_limit_rule *rule, const char *identity,
                                    size_t identity_len, const char *name, size_t name_len)
{
    if (limits->count == MG_LIMITS_AT_ONCE || rule->algorithm < 0 ||
        rule->algorithm >= MG_LIMIT_ALGORITHMS) {
        return MG_EINVALID;
    }
    struct mg_limits_entry *entry = &limits->entries[limits->count];
    *entry = (struct mg_limits_entry){
        .limit = {.rule = {.algorithm = (enum mg_limit_algorithm)rule->algorithm,
                           .align_first = rule->align_first != 0,
                           .quota = (int64_t)rule->quota,
                           .calendar = (enum mg_calendar)rule->calendar,
                           .window_ms = (int64_t)rule->window_ms,
                           .burst = (int64_t)rule->burst,
                           .max_delay_ms = (int64_t)rule->max_delay_ms},
                  .shadow = rule->shadow != 0,
                  .max_keys = (uint32_t)rule->max_keys}};
    int err = mg_limit_open(limits->shm, &entry->limit, mg_str_make(identity, identity_len),
                            mg_str_make(name, name_len), mg_limits_now_ms(limits));
    entry->rule = entry->limit.rule;
    if (err == 0 && limits->async) {
        err = mg_limit_async_add(limits->async, &entry->limit, mg_str_make(identity, identity_len),
                                 mg_limits_now_ms(limits));
    }
    if (err == 0) {
        mg_limits_publish(limits, entry);
    }
    return err ? err : limits->count++;
}

MG_FFI_EXPORT int mg_ffi_limits_ban(struct mg_ffi_limits *limits,
                                    const struct mg_ffi_ban_rule *rule, const char *identity,
                                    size_t identity_len, const char *name, size_t name_len)
{
    limits->ban = (struct mg_limit_ban){.rule = {.after = (int64_t)rule->after,
                                                 .within_ms = (int64_t)rule->within_ms,
                                                 .for_ms = (int64_t)rule->for_ms,
                                                 .factor_percent = (int64_t)(rule->factor * 100),
                                                 .max_ms = (int64_t)rule->max_ms,
                                                 .forget_ms = (int64_t)rule->forget_ms,
                                                 .extend = rule->extend != 0},
                                        .max_keys = (uint32_t)rule->max_keys};
    const int err =
        mg_limit_ban_open(limits->shm, &limits->ban, mg_str_make(identity, identity_len),
                          mg_str_make(name, name_len), mg_limits_now_ms(limits));
    limits->has_ban = err == 0;
    return err;
}

MG_FFI_EXPORT void mg_ffi_limits_count_denied(struct mg_ffi_limits *limits)
{
    limits->count_denied = true;
}

MG_FFI_EXPORT const struct mg_ffi_limit_answer *mg_ffi_limits_answer(
    const struct mg_ffi_limits *limits, int index)
{
    return &limits->entries[index].answer;
}

/* --- the key -------------------------------------------------------------------------------- */

MG_FFI_EXPORT void mg_ffi_limits_key(struct mg_ffi_limits *limits)
{
    limits->key_length = 0;
}

/* tag, length, bytes: no two lists of parts give the same key. */
static void add_part(struct mg_ffi_limits *limits, int tag, mg_str part)
{
    struct mg_cell_key hash;
    char digest[MG_LIMIT_KEY_CHARS];
    if (part.len > LONG_PART && limits->store) { /* the same on every host */
        mg_limit_key_text(part, digest);
        part = mg_str_make(digest, sizeof digest);
        tag |= 0x80;
    } else if (part.len > LONG_PART) {
        hash = mg_shm_key(limits->shm, part);
        part = mg_str_make((const char *)hash.hash, sizeof hash.hash);
        tag |= 0x80;
    }
    if (limits->key_length + 2 + part.len > MG_LIMITS_KEY_BYTES) { /* more than the schema allows */
        hash = mg_shm_key(limits->shm, mg_str_make(limits->key, limits->key_length));
        memcpy(limits->key, hash.hash, sizeof hash.hash);
        limits->key_length = sizeof hash.hash;
    }
    char *at = limits->key + limits->key_length;
    at[0] = (char)tag;
    at[1] = (char)part.len;
    memcpy(at + 2, part.ptr, part.len);
    limits->key_length += 2 + part.len;
}

MG_FFI_EXPORT void mg_ffi_limits_text(struct mg_ffi_limits *limits, int tag, const char *text,
                                      size_t len)
{
    add_part(limits, tag, mg_str_make(text, len));
}

/* Keeps the first `bits` bits. */
static void mask_bytes(uint8_t *bytes, unsigned count, int bits)
{
    for (unsigned i = 0; i < count; i++, bits -= 8) {
        if (bits <= 0) {
            bytes[i] = 0;
        } else if (bits < 8) {
            bytes[i] &= (uint8_t)(0xff << (8 - bits));
        }
    }
}

/* The four numbers of a v4 address as the gateway writes it; false: it may be one all the same. */
static bool plain_ipv4(mg_str ip, uint8_t out[4])
{
    const char *at = ip.ptr, *end = ip.ptr + ip.len;
    for (int i = 0; i < 4; i++) {
        const char *first = at;
        unsigned number = 0;
        for (unsigned digit; at < end && (digit = (unsigned)(*at - '0')) < 10; at++) {
            number = number * 10 + digit;
        }
        const ptrdiff_t digits = at - first;
        if (digits < 1 || digits > 3 || number > 255 || (*first == '0' && digits > 1)) {
            return false;
        }
        out[i] = (uint8_t)number;
        if (i < 3 && (at == end || *at++ != '.')) {
            return false;
        }
    }
    return at == end;
}

/* The bytes of an address: 4 or 16, 0 for what is none. A v4-mapped address is a v4 one, a zone is
 * dropped (plugins/rate-limit/README.md). */
static unsigned parse_address(mg_str ip, uint8_t out[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN];
    if (plain_ipv4(ip, out)) {
        return 4;
    }
    const ptrdiff_t zone = mg_str_find(ip, '%', 0);
    ip = zone < 0 ? ip : mg_str_slice(ip, 0, (size_t)zone);
    if (ip.len == 0 || ip.len >= sizeof text) {
        return 0;
    }
    memcpy(text, ip.ptr, ip.len);
    text[ip.len] = '\0';
    if (inet_pton(AF_INET, text, out) == 1) {
        return 4;
    }
    if (inet_pton(AF_INET6, text, out) != 1) {
        return 0;
    }
    if (memcmp(out, mapped, sizeof mapped) == 0) {
        memmove(out, out + sizeof mapped, 4);
        return 4;
    }
    return 16;
}

/* A request's address is asked for several times, and read once. */
static const struct mg_limits_client *client_of(struct mg_ffi_limits *limits,
                                                const struct mg_req *req)
{
    struct mg_limits_client *client = &limits->client;
    if (client->req != req || client->number != req->number ||
        client->ip.ptr != req->client_ip.ptr || client->ip.len != req->client_ip.len) {
        client->req = req;
        client->number = req->number;
        client->ip = req->client_ip;
        client->count = parse_address(req->client_ip, client->bytes);
    }
    return client;
}

/* The bytes that count of the client's address, or its text where it is no address. */
static mg_str network_bytes(struct mg_ffi_limits *limits, const struct mg_req *req, int ipv4_bits,
                            int ipv6_bits, uint8_t out[16])
{
    const struct mg_limits_client *client = client_of(limits, req);
    const int bits = client->count == 4 ? ipv4_bits : ipv6_bits;
    if (client->count == 0) {
        return req->client_ip;
    }
    memcpy(out, client->bytes, sizeof client->bytes);
    if (bits < (int)client->count * 8) {
        mask_bytes(out, client->count, bits);
    }
    return mg_str_make((const char *)out, client->count);
}

MG_FFI_EXPORT void mg_ffi_limits_address(struct mg_ffi_limits *limits, int tag, struct mg_req *req,
                                         int ipv4_bits, int ipv6_bits)
{
    uint8_t bytes[16];
    add_part(limits, tag, network_bytes(limits, req, ipv4_bits, ipv6_bits, bytes));
}

MG_FFI_EXPORT void mg_ffi_limits_use(struct mg_ffi_limits *limits, int index, double cost,
                                     double quota)
{
    struct mg_limits_entry *entry = &limits->entries[index];
    const mg_str key = mg_str_make(limits->key, limits->key_length);
    entry->key = mg_limit_key(limits->shm, &entry->limit, key);
    entry->former_key =
        entry->limit.former.until_ms > 0
            ? mg_limit_former_key(limits->shm, &entry->limit, key, mg_limits_now_ms(limits))
            : (struct mg_cell_key){.hash = {0, 0}};
    entry->cost = (int64_t)cost;
    entry->quota = (int64_t)quota;
    if (limits->async) {
        mg_limit_async_keys(limits->async, (unsigned)index, key, mg_limits_now_ms(limits),
                            &entry->async_keys);
    }
    memcpy(entry->hash, limits->hash, sizeof entry->hash);
    entry->asked = true;
}

MG_FFI_EXPORT void mg_ffi_limits_use_ban(struct mg_ffi_limits *limits)
{
    limits->ban_key =
        mg_limit_ban_key(limits->shm, &limits->ban, mg_str_make(limits->key, limits->key_length));
    memcpy(limits->ban_hash, limits->hash, sizeof limits->ban_hash);
    limits->ban_asked = limits->has_ban;
}

/* Of what network the client is: v4 /16, v6 /48, hashed into a class. */
uint8_t mg_limits_network_of(struct mg_ffi_limits *limits, const struct mg_req *req)
{
    uint8_t bytes[16];
    return mg_shm_class(limits->shm, network_bytes(limits, req, 16, 48, bytes));
}

/* --- the decision --------------------------------------------------------------------------- */

/* A slot that a request holds until its arena is reset. */
struct held {
    struct mg_shm *shm;
    uint32_t worker, hold;
};

static void release(void *context)
{
    const struct held *held = context;
    mg_limit_release(held->shm, held->worker, held->hold);
}

void mg_limits_keep(struct mg_ffi_limits *limits, struct mg_req *req, uint32_t hold)
{
    struct held *held = mg_arena_alloc(&req->arena, sizeof *held);
    *held = (struct held){.shm = limits->shm, .worker = limits->vm->options.worker, .hold = hold};
    mg_arena_defer(&req->arena, release, held);
}

static void count_decision(struct mg_ffi_limits *limits, bool admitted, int overflows,
                           int shadow_denials)
{
    struct mg_stats *stats = limits->vm->options.stats;
    if (stats) {
        mg_stats_add(stats, admitted ? MG_STAT_LIMIT_ALLOWED : MG_STAT_LIMIT_DENIED, 1);
        mg_stats_add(stats, MG_STAT_LIMIT_OVERFLOW, (uint64_t)overflows);
        mg_stats_add(stats, MG_STAT_LIMIT_SHADOW_DENIED, (uint64_t)shadow_denials);
    }
}

static bool is_near(const struct mg_limit_answer *answer)
{
    return answer->ok && answer->remaining * NEAR < answer->quota;
}

void mg_limits_count_known(struct mg_ffi_limits *limits, const struct mg_limits_entry *entry)
{
    if (is_near(&entry->found)) {
        mg_limit_record_near(limits->shm, entry->limit.record);
    }
    if (limits->vm->options.stats) {
        mg_stats_add(limits->vm->options.stats, MG_STAT_LIMIT_ALLOWED, 1);
    }
}

static void show_answer(struct mg_limits_entry *entry)
{
    const struct mg_limit_answer *found = &entry->found;
    entry->answer = (struct mg_ffi_limit_answer){.asked = 1,
                                                 .ok = found->ok,
                                                 .too_big = found->too_big,
                                                 .overflow = found->overflow,
                                                 .quota = (double)found->quota,
                                                 .remaining = (double)found->remaining,
                                                 .reset_ms = (double)found->reset_ms,
                                                 .retry_ms = (double)found->retry_ms,
                                                 .delay_ms = (double)found->delay_ms};
}

/* Fills in what is asked of the limits that were given a key; how many. */
static unsigned collect(struct mg_ffi_limits *limits, struct mg_limit_ask *asks,
                        struct mg_limits_entry **entries)
{
    unsigned count = 0;
    for (int i = 0; i < limits->count; i++) {
        struct mg_limits_entry *entry = &limits->entries[i];
        entry->answer.asked = entry->asked;
        if (entry->asked) {
            entry->asked = false;
            entries[count] = entry;
            asks[count++] = (struct mg_limit_ask){.limit = &entry->limit,
                                                  .key = entry->key,
                                                  .former_key = entry->former_key,
                                                  .cost = entry->cost,
                                                  .has_quota = entry->quota >= 0,
                                                  .quota = entry->quota};
        }
    }
    return count;
}

static void show_answers(struct mg_ffi_limits *limits, struct mg_req *req,
                         const struct mg_limit_answer *answers, struct mg_limits_entry **entries,
                         unsigned count)
{
    int overflows = 0, shadow_denials = 0;
    for (unsigned i = 0; i < count; i++) {
        entries[i]->found = answers[i];
        show_answer(entries[i]);
        overflows += answers[i].overflow;
        shadow_denials += entries[i]->limit.shadow && !answers[i].ok;
        if (limits->verdict.admitted && is_near(&answers[i])) {
            mg_limit_record_near(limits->shm, entries[i]->limit.record);
        }
        if (answers[i].hold != 0) {
            mg_limits_keep(limits, req, answers[i].hold);
        }
    }
    count_decision(limits, limits->verdict.admitted, overflows, shadow_denials);
    if (__builtin_expect(limits->verdict.ban_began != 0, 0)) {
        mg_limits_count_ban(limits, entries, count);
    }
}

static void show_ban(struct mg_ffi_limits *limits, struct mg_limits_entry **entries, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        entries[i]->answer.asked = 0;
        entries[i]->found.charged = false;
    }
    count_decision(limits, false, 0, 0);
}

void mg_limits_show(struct mg_ffi_limits *limits, struct mg_req *req,
                    const struct mg_limit_verdict *verdict, const struct mg_limit_answer *answers,
                    struct mg_limits_entry **entries, unsigned count)
{
    limits->verdict = (struct mg_ffi_limit_verdict){.admitted = verdict->admitted,
                                                    .banned = verdict->banned,
                                                    .ban_began = verdict->ban_began,
                                                    .ban_ms = (double)verdict->ban_ms,
                                                    .delay_ms = (double)verdict->delay_ms};
    if (verdict->banned) {
        show_ban(limits, entries, count);
    } else {
        show_answers(limits, req, answers, entries, count);
    }
}

MG_FFI_EXPORT const struct mg_ffi_limit_verdict *mg_ffi_limits_take(struct mg_ffi_limits *limits,
                                                                    struct mg_req *req)
{
    struct mg_limit_ask asks[MG_LIMITS_AT_ONCE];
    struct mg_limit_answer answers[MG_LIMITS_AT_ONCE];
    struct mg_limits_entry *entries[MG_LIMITS_AT_ONCE];
    const unsigned count = collect(limits, asks, entries);
    const bool ban_asked = limits->ban_asked;
    limits->ban_asked = false;
    limits->verdict = (struct mg_ffi_limit_verdict){.admitted = 1};
    limits->decided_in_store = false;
    if (count == 0) {
        return &limits->verdict;
    }
    const struct mg_limit_request request = {.worker = limits->vm->options.worker,
                                             .now_ms = mg_limits_now_ms(limits),
                                             .network = mg_limits_network_of(limits, req),
                                             .count_denied = limits->count_denied,
                                             .asks = asks,
                                             .count = count,
                                             .ban = ban_asked ? &limits->ban : NULL,
                                             .ban_key = limits->ban_key};
    const struct mg_limit_verdict verdict = mg_limits_take(limits->shm, &request, answers);
    mg_limits_show(limits, req, &verdict, answers, entries, count);
    return &limits->verdict;
}

MG_FFI_EXPORT const struct mg_ffi_limit_verdict *mg_ffi_limits_verdict(
    const struct mg_ffi_limits *limits)
{
    return &limits->verdict;
}

/* --- what clients and the access log see ---------------------------------------------------- */

/* Here and not in Lua: a loop over digits there ends the compiled path of every request. */
MG_FFI_EXPORT int mg_ffi_limits_field(struct mg_req *req, const char *name, size_t len,
                                      double number)
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = number > 0 ? (uint64_t)number : 0;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    const mg_str field = mg_str_make(name, len);
    if (!mg_is_token(field)) {
        return MG_FFI_BAD_NAME;
    }
    if (req->head_sent) {
        return MG_FFI_TOO_LATE;
    }
    mg_req_field(req, MG_FIELD_SET, field, mg_str_make(digits + at, sizeof digits - at));
    return 1;
}

/* Names of limits and decisions are [a-z0-9_-] and need no escaping. */
static void put_text(struct mg_record_text *note, mg_str member, mg_str value)
{
    mg_record_put(note, member);
    mg_record_put(note, value);
    mg_record_put_char(note, '"');
}

static void put_number(struct mg_record_text *note, mg_str member, int64_t value)
{
    mg_record_put(note, member);
    mg_record_put_u64(note, value > 0 ? (uint64_t)value : 0);
}

static void put_hash(struct mg_record_text *note, uint64_t hash)
{
    mg_record_put(note, MG_STR(",\"key_hash\":\""));
    mg_record_put_hex(note, hash);
    mg_record_put_char(note, '"');
}

static void put_shadows(struct mg_record_text *note, const struct mg_ffi_limits *limits)
{
    bool any = false;
    for (int i = 0; i < limits->count; i++) {
        const struct mg_limits_entry *entry = &limits->entries[i];
        if (entry->limit.shadow && entry->answer.asked && !entry->answer.ok) {
            put_text(note, any ? MG_STR(",\"") : MG_STR(",\"shadow\":[\""),
                     mg_str_from(entry->limit.name));
            any = true;
        }
    }
    if (any) {
        mg_record_put_char(note, ']');
    }
}

MG_FFI_EXPORT int mg_ffi_limits_note(struct mg_ffi_limits *limits, struct mg_req *req, int index,
                                     const char *decision, size_t len)
{
    char bytes[NOTE_BYTES];
    struct mg_record_text note = {.at = bytes, .end = bytes + sizeof bytes, .cap = SIZE_MAX};
    put_text(&note, MG_STR("{\"decision\":\""), mg_str_make(decision, len));
    if (index >= 0) {
        const struct mg_limits_entry *entry = &limits->entries[index];
        const bool is_banned = !entry->answer.asked; /* then no limit was looked at */
        put_text(&note, MG_STR(",\"name\":\""), mg_str_from(entry->limit.name));
        put_number(&note, MG_STR(",\"quota\":"),
                   entry->quota >= 0 ? entry->quota : entry->limit.rule.quota);
        put_number(&note, MG_STR(",\"remaining\":"), is_banned ? 0 : entry->found.remaining);
        put_number(&note, MG_STR(",\"cost\":"), entry->cost);
        mg_record_put(&note, limits->decided_in_store ? MG_STR(",\"store\":\"redis\"")
                                                      : MG_STR(",\"store\":\"local\""));
        if (limits->store) {
            put_text(&note, MG_STR(",\"key_hash\":\""),
                     mg_str_make(entry->hash, sizeof entry->hash));
        } else {
            put_hash(&note, entry->key.hash[1]);
        }
        put_shadows(&note, limits);
    }
    mg_record_put_char(&note, '}');
    req->note_limit = mg_arena_copy_str(&req->arena, mg_str_make(bytes, (size_t)(note.at - bytes)));
    return 1;
}
