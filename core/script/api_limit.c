/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaf functions of the plugin rate-limit (ffi.h, section policies): a set of limits with the key
 * of the present request, decided in one step. What a request holds goes into its arena's cleanups
 * with the index of the worker only, since the request may outlive its generation and this set with
 * it.
 */
#include "base/shm.h"
#include "model/limit.h"
#include "model/req.h"
#include "net/loop.h"
#include "script/export.h"
#include "script/vm.h"
#include "script/ffi.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_BYTES 1024 /* six parts, and room */
#define LONG_PART 128  /* a longer part is hashed down */
#define NOTE_BYTES 1024

struct entry {
    struct mg_limit limit;
    struct mg_cell_key key;
    bool asked; /* has a key for the coming decision */
    struct mg_ffi_limit_answer answer;
};

struct mg_ffi_limits {
    struct mg_vm *vm;
    struct mg_shm *shm;
    int count;
    size_t key_length;
    char key[KEY_BYTES];
    struct entry entries[MG_LIMITS_AT_ONCE];
};

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
    return limits;
}

MG_FFI_EXPORT void mg_ffi_limits_free(struct mg_ffi_limits *limits)
{
    free(limits);
}

static int64_t now_ms(const struct mg_ffi_limits *limits)
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
    struct entry *entry = &limits->entries[limits->count];
    *entry =
        (struct entry){.limit = {.rule = {.algorithm = (enum mg_limit_algorithm)rule->algorithm,
                                          .align_first = rule->align_first != 0,
                                          .quota = (int64_t)rule->quota,
                                          .window_ms = (int64_t)rule->window_ms,
                                          .burst = (int64_t)rule->burst},
                                 .shadow = rule->shadow != 0,
                                 .max_keys = (uint32_t)rule->max_keys}};
    const int err = mg_limit_open(limits->shm, &entry->limit, mg_str_make(identity, identity_len),
                                  mg_str_make(name, name_len), now_ms(limits));
    return err ? err : limits->count++;
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
    if (part.len > LONG_PART) {
        hash = mg_shm_key(limits->shm, part);
        part = mg_str_make((const char *)hash.hash, sizeof hash.hash);
        tag |= 0x80;
    }
    if (limits->key_length + 2 + part.len > KEY_BYTES) { /* more parts than the schema allows */
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

/* The bytes that count of an address: 4 or 16, 0 for what is none. A v4-mapped address is a v4 one,
 * a zone is dropped (policies.md 2.2). */
static unsigned address_bytes(mg_str ip, int ipv4_bits, int ipv6_bits, uint8_t out[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN];
    const ptrdiff_t zone = mg_str_find(ip, '%', 0);
    ip = zone < 0 ? ip : mg_str_slice(ip, 0, (size_t)zone);
    if (ip.len == 0 || ip.len >= sizeof text) {
        return 0;
    }
    memcpy(text, ip.ptr, ip.len);
    text[ip.len] = '\0';
    if (inet_pton(AF_INET, text, out) == 1) {
        mask_bytes(out, 4, ipv4_bits);
        return 4;
    }
    if (inet_pton(AF_INET6, text, out) != 1) {
        return 0;
    }
    if (memcmp(out, mapped, sizeof mapped) == 0) {
        memmove(out, out + sizeof mapped, 4);
        mask_bytes(out, 4, ipv4_bits);
        return 4;
    }
    mask_bytes(out, 16, ipv6_bits);
    return 16;
}

MG_FFI_EXPORT void mg_ffi_limits_address(struct mg_ffi_limits *limits, int tag, struct mg_req *req,
                                         int ipv4_bits, int ipv6_bits)
{
    uint8_t bytes[16];
    const unsigned count = address_bytes(req->client_ip, ipv4_bits, ipv6_bits, bytes);
    add_part(limits, tag, count > 0 ? mg_str_make((const char *)bytes, count) : req->client_ip);
}

MG_FFI_EXPORT void mg_ffi_limits_use(struct mg_ffi_limits *limits, int index)
{
    struct entry *entry = &limits->entries[index];
    entry->key =
        mg_limit_key(limits->shm, &entry->limit, mg_str_make(limits->key, limits->key_length));
    entry->asked = true;
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

static void keep(struct mg_ffi_limits *limits, struct mg_req *req, uint32_t hold)
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

MG_FFI_EXPORT int mg_ffi_limits_take(struct mg_ffi_limits *limits, struct mg_req *req)
{
    struct mg_limit_ask asks[MG_LIMITS_AT_ONCE];
    struct mg_limit_answer answers[MG_LIMITS_AT_ONCE];
    struct entry *entries[MG_LIMITS_AT_ONCE];
    unsigned count = 0;
    for (int i = 0; i < limits->count; i++) {
        struct entry *entry = &limits->entries[i];
        entry->answer.asked = entry->asked;
        if (entry->asked) {
            entry->asked = false;
            entries[count] = entry;
            asks[count++] =
                (struct mg_limit_ask){.limit = &entry->limit, .key = entry->key, .cost = 1};
        }
    }
    if (count == 0) {
        return 1;
    }
    const bool admitted = mg_limits_take(limits->shm, limits->vm->options.worker, now_ms(limits),
                                         asks, count, answers);
    int overflows = 0, shadow_denials = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct mg_limit_answer *answer = &answers[i];
        entries[i]->answer = (struct mg_ffi_limit_answer){.asked = 1,
                                                          .ok = answer->ok,
                                                          .too_big = answer->too_big,
                                                          .overflow = answer->overflow,
                                                          .remaining = (double)answer->remaining,
                                                          .reset_ms = (double)answer->reset_ms,
                                                          .retry_ms = (double)answer->retry_ms};
        overflows += answer->overflow;
        shadow_denials += entries[i]->limit.shadow && !answer->ok;
        if (answer->hold != 0) {
            keep(limits, req, answer->hold);
        }
    }
    count_decision(limits, admitted, overflows, shadow_denials);
    return admitted;
}

MG_FFI_EXPORT void mg_ffi_limits_missing(struct mg_ffi_limits *limits)
{
    if (limits->vm->options.stats) {
        mg_stats_add(limits->vm->options.stats, MG_STAT_LIMIT_KEY_MISSING, 1);
    }
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
    return mg_ffi_response_field(req, MG_FFI_SET, name, len, digits + at, sizeof digits - at);
}

/* Names of limits are [a-z0-9_-] and need no escaping. */
static int list_shadows(const struct mg_ffi_limits *limits, char *out, size_t room)
{
    int length = 0;
    for (int i = 0; i < limits->count; i++) {
        const struct entry *entry = &limits->entries[i];
        if (entry->limit.shadow && entry->answer.asked && !entry->answer.ok) {
            length += snprintf(out + length, room - (size_t)length, "%s\"%s\"",
                               length > 0 ? "," : ",\"shadow\":[", entry->limit.name);
        }
    }
    return length > 0 ? length + snprintf(out + length, room - (size_t)length, "]") : 0;
}

MG_FFI_EXPORT int mg_ffi_limits_note(struct mg_ffi_limits *limits, struct mg_req *req, int index,
                                     const char *decision, size_t len)
{
    char text[NOTE_BYTES];
    const struct entry *entry = &limits->entries[index];
    int length = snprintf(text, sizeof text,
                          "{\"name\":\"%s\",\"decision\":\"%.*s\",\"quota\":%lld,"
                          "\"remaining\":%.0f,\"cost\":1,\"store\":\"local\","
                          "\"key_hash\":\"%016llx\"",
                          entry->limit.name, (int)len, decision, (long long)entry->limit.rule.quota,
                          entry->answer.remaining, (unsigned long long)entry->key.hash[1]);
    length += list_shadows(limits, text + length, sizeof text - (size_t)length);
    req->note_limit = mg_arena_format(&req->arena, "%.*s}", length, text);
    return 1;
}
