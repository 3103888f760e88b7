/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rate-limit does in C for most requests (script/hook_plan.h): makes the keys, decides, and,
 * where the request is admitted at once, sets the fields that tell of the limit and leaves the
 * note. Whatever else comes of it, the plugin's hook does (plugins/rate-limit/engine.lua), from the
 * decision on. Which entries have a plan says plugins/rate-limit/plan.lua.
 */
#include "base/shm.h"
#include "model/limit.h"
#include "script/export.h"
#include "script/hook_plan.h"
#include "script/record_text.h"

#include "script/api_limits.h"

#include "script/ffi_log.h"
#include "script/ffi_plan.h"

#include <stdlib.h>

#define ARENA_BYTES 1024
#define ADDRESS_BYTES 44 /* a longer text is not remembered */
#define BLOCK_BYTES 32   /* notes are copied in such blocks; the last holds a hash, too */
#define KNOWN_BITS 6     /* so many addresses are, of those asked for last */
#define MOST_PARTS 128   /* of all keys */

/* Tags of lua/moongate/key.lua. */
enum { VALUE = 1, ADDRESS_INSTEAD = 2, SHARED = 3 };

struct part {
    struct part *next;
    int kind; /* MG_FFI_PART_* */
    int which;
    int counter; /* of mg_ffi_limits_part */
    mg_str name;
};

/* Limits whose keys are made of the same parts; without any it is the ban's key. */
struct group {
    struct group *next;
    struct part *parts, **parts_end;
    uint32_t limits; /* bits by index */
    bool is_ban, shadow;
};

/* Fields of an answer: limit, remaining, seconds until there is more. */
struct triple {
    struct triple *next;
    mg_str names[3];
    enum mg_header_id ids[3];
};

/* The cell of an address, as it is written: what it takes two SipHashes to find. */
struct known {
    uint32_t length; /* of the address; 0: none */
    char ip[ADDRESS_BYTES];
    struct mg_cell_key key;
};

struct mg_ffi_limits_plan {
    struct mg_hook_plan access, header_filter;
    struct mg_arena arena;
    struct mg_ffi_limits *limits;
    double cost;
    int prefixes[2]; /* bits of an address that count: v4, v6 */
    int missing;     /* MG_FFI_MISSING_* */
    bool enforces;
    struct group *groups, **groups_end;
    struct triple *triples, **triples_end;
    uint32_t judged; /* bits by index */
    mg_str quotas[MG_LIMITS_AT_ONCE];
    mg_str notes[MG_LIMITS_AT_ONCE]; /* the begin of a note, up to "remaining" */
    mg_str note_middle;              /* from there up to the key's hash */
    struct known known[1 << KNOWN_BITS];
};

/* --- making --------------------------------------------------------------------------------- */

static mg_hook_plan_fn run_access, run_access_by_address, run_header_filter;

static bool is_by_address(const struct mg_ffi_limits_plan *plan);

MG_FFI_EXPORT struct mg_ffi_limits_plan *mg_ffi_limits_plan(
    struct mg_ffi_limits *limits, const struct mg_ffi_limits_plan_form *form)
{
    struct mg_ffi_limits_plan *plan = calloc(1, sizeof *plan);
    mg_require(plan != NULL);
    mg_arena_init(&plan->arena, ARENA_BYTES);
    plan->access.run = run_access;
    plan->header_filter.run = run_header_filter;
    plan->limits = limits;
    plan->cost = form->cost;
    plan->prefixes[0] = form->ipv4_bits;
    plan->prefixes[1] = form->ipv6_bits;
    plan->missing = form->missing;
    plan->enforces = form->enforces != 0;
    plan->groups_end = &plan->groups;
    plan->triples_end = &plan->triples;
    return plan;
}

MG_FFI_EXPORT void mg_ffi_limits_plan_free(struct mg_ffi_limits_plan *plan)
{
    mg_arena_deinit(&plan->arena);
    free(plan);
}

MG_FFI_EXPORT void mg_ffi_limits_plan_group(struct mg_ffi_limits_plan *plan, int is_ban, int shadow)
{
    struct group *group = mg_arena_zalloc(&plan->arena, sizeof *group);
    group->parts_end = &group->parts;
    group->is_ban = is_ban != 0;
    group->shadow = shadow != 0;
    *plan->groups_end = group;
    plan->groups_end = &group->next;
}

MG_FFI_EXPORT void mg_ffi_limits_plan_part(struct mg_ffi_limits_plan *plan, int kind, int which,
                                           const char *name, size_t len, int counter)
{
    struct group *group = MG_CONTAINER(plan->groups_end, struct group, next);
    struct part *part = mg_arena_zalloc(&plan->arena, sizeof *part);
    part->kind = kind;
    part->which = which;
    part->counter = counter;
    part->name = mg_arena_copy_str(&plan->arena, mg_str_make(name, len));
    *group->parts_end = part;
    group->parts_end = &part->next;
}

static mg_str number_text(struct mg_arena *arena, int64_t number)
{
    char *text = mg_arena_alloc(arena, MG_RECORD_DIGITS);
    const char *end = mg_record_digits(text, number > 0 ? (uint64_t)number : 0);
    return mg_str_make(text, (size_t)(end - text));
}

static mg_str padded(struct mg_arena *arena, mg_str text)
{
    char *bytes = mg_arena_zalloc(arena, text.len + BLOCK_BYTES);
    memcpy(bytes, text.ptr, text.len);
    return mg_str_make(bytes, text.len);
}

/* The parts of a note that are the same for all requests; names need no escaping. */
static void make_note(struct mg_ffi_limits_plan *plan, int index)
{
    const struct mg_limits_entry *entry = &plan->limits->entries[index];
    struct mg_arena *arena = &plan->arena;
    plan->notes[index] = padded(
        arena, mg_arena_format(
                   arena, "{\"decision\":\"allowed\",\"name\":\"%s\",\"quota\":%lld,\"remaining\":",
                   entry->limit.name, (long long)entry->limit.rule.quota));
    plan->note_middle =
        padded(arena, mg_arena_format(arena, ",\"cost\":%lld,\"store\":\"local\",\"key_hash\":\"",
                                      (long long)plan->cost));
}

MG_FFI_EXPORT void mg_ffi_limits_plan_limit(struct mg_ffi_limits_plan *plan, int index, int judged)
{
    struct group *group = MG_CONTAINER(plan->groups_end, struct group, next);
    group->limits |= 1U << index;
    plan->judged |= judged ? 1U << index : 0;
    make_note(plan, index);
    plan->quotas[index] = number_text(&plan->arena, plan->limits->entries[index].limit.rule.quota);
}

MG_FFI_EXPORT void mg_ffi_limits_plan_triple(struct mg_ffi_limits_plan *plan, const char *limit,
                                             const char *remaining, const char *reset)
{
    struct triple *triple = mg_arena_zalloc(&plan->arena, sizeof *triple);
    const char *const names[] = {limit, remaining, reset};
    for (int i = 0; i < 3; i++) {
        triple->names[i] = mg_arena_copy_str(&plan->arena, mg_str_from(names[i]));
        triple->ids[i] = mg_header_id_of(triple->names[i]);
    }
    *plan->triples_end = triple;
    plan->triples_end = &triple->next;
}

MG_FFI_EXPORT struct mg_hook_plan *mg_ffi_limits_plan_of(struct mg_ffi_limits_plan *plan, int phase)
{
    plan->access.run = is_by_address(plan) ? run_access_by_address : run_access;
    return phase == MG_PHASE_ACCESS          ? &plan->access
           : phase == MG_PHASE_HEADER_FILTER ? &plan->header_filter
                                             : NULL;
}

/* --- the keys ------------------------------------------------------------------------------- */

enum found { FOUND, MISSING, ASK_LUA };

static enum found add_text(struct mg_ffi_limits *limits, struct mg_req *req, int which)
{
    struct mg_ffi_str text;
    if (mg_ffi_req_text(req, which, &text) == 0 || text.len == 0) {
        return MISSING;
    }
    mg_ffi_limits_text(limits, VALUE, text.ptr, text.len);
    return FOUND;
}

/* Several fields of the name are joined, which is Lua's. */
static enum found add_header(struct mg_ffi_limits *limits, struct mg_req *req, mg_str name)
{
    struct mg_ffi_str value, more;
    const int at = mg_ffi_fields_find(req, MG_FFI_REQUEST, name.ptr, name.len, 0, &value);
    if (at == 0) {
        return MISSING;
    } else if (mg_ffi_fields_find(req, MG_FFI_REQUEST, name.ptr, name.len, at, &more) > 0) {
        return ASK_LUA;
    } else if (value.len == 0) {
        return MISSING;
    }
    mg_ffi_limits_text(limits, VALUE, value.ptr, value.len);
    return FOUND;
}

static enum found add_part(const struct mg_ffi_limits_plan *plan, struct mg_req *req,
                           const struct part *part)
{
    switch (part->kind) {
    case MG_FFI_PART_ADDRESS:
        mg_ffi_limits_address(plan->limits, VALUE, req, plan->prefixes[0], plan->prefixes[1]);
        return FOUND;
    case MG_FFI_PART_TEXT:
        return add_text(plan->limits, req, part->which);
    case MG_FFI_PART_EACH:
        if (add_text(plan->limits, req, part->which) == MISSING) {
            mg_ffi_limits_text(plan->limits, SHARED, "", 0);
        }
        return FOUND;
    case MG_FFI_PART_HEADER:
        return add_header(plan->limits, req, part->name);
    default:
        return FOUND; /* a constant, which is in the limit's identity */
    }
}

/* Counters of the parts that are missing: counted once C has made all keys. */
struct missed {
    unsigned count;
    int counters[MOST_PARTS];
};

/* Makes the key of a group as moongate.key does. MISSING: its limits are not asked. */
static enum found make_key(const struct mg_ffi_limits_plan *plan, struct mg_req *req,
                           const struct group *group, struct missed *missed)
{
    enum found whole = FOUND;
    mg_ffi_limits_key(plan->limits);
    for (const struct part *part = group->parts; part; part = part->next) {
        const enum found found = add_part(plan, req, part);
        if (found == ASK_LUA) {
            return ASK_LUA;
        } else if (found == FOUND) {
            continue;
        }
        missed->counters[missed->count++ % MOST_PARTS] = part->counter;
        if (plan->missing == MG_FFI_MISSING_IP) {
            mg_ffi_limits_address(plan->limits, ADDRESS_INSTEAD, req, plan->prefixes[0],
                                  plan->prefixes[1]);
        } else if (plan->missing == MG_FFI_MISSING_SHARED) {
            mg_ffi_limits_text(plan->limits, SHARED, "", 0);
        } else {
            whole = MISSING;
        }
    }
    return whole;
}

/* Gives each limit its key. False: Lua has to look. */
static bool ask(const struct mg_ffi_limits_plan *plan, struct mg_req *req)
{
    struct missed missed;
    missed.count = 0;
    for (const struct group *group = plan->groups; group; group = group->next) {
        const enum found found = make_key(plan, req, group, &missed);
        if (found == ASK_LUA || (found == MISSING && plan->missing == MG_FFI_MISSING_DENY &&
                                 !group->shadow && !group->is_ban)) {
            return false;
        } else if (found == FOUND && group->is_ban) {
            mg_ffi_limits_use_ban(plan->limits);
        }
        for (int i = 0; found == FOUND && group->limits >> i; i++) {
            if (group->limits >> i & 1) {
                mg_ffi_limits_use(plan->limits, i, plan->cost, -1);
            }
        }
    }
    for (unsigned i = 0; i < missed.count; i++) {
        mg_ffi_limits_missing(plan->limits, missed.counters[i % MOST_PARTS]);
    }
    return true;
}

/* --- one limit by address ------------------------------------------------------------------- */

static uint64_t load_8(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* 8 bytes or more: the last word overlaps the one before it. */
static bool same_text(const char *a, const char *b, size_t length)
{
    for (size_t i = 0; i + 8 < length; i += 8) {
        if (load_8(a + i) != load_8(b + i)) {
            return false;
        }
    }
    return load_8(a + length - 8) == load_8(b + length - 8);
}

/* Is the key that of mg_ffi_limits_use, and the whole of it the address? */
static bool is_by_address(const struct mg_ffi_limits_plan *plan)
{
    const struct group *group = plan->groups;
    return plan->limits->count == 1 && !plan->limits->has_ban && group && !group->next &&
           group->limits == 1 && group->parts && !group->parts->next &&
           group->parts->kind == MG_FFI_PART_ADDRESS && plan->cost >= 1;
}

/* The key of the plan's one limit, of the request's address. */
static struct mg_cell_key key_of_address(struct mg_ffi_limits_plan *plan, struct mg_req *req)
{
    const mg_str ip = req->client_ip;
    struct known *known = NULL;
    if (ip.len >= 8 && ip.len <= ADDRESS_BYTES) {
        const uint64_t mixed =
            (load_8(ip.ptr) * 31 + load_8(ip.ptr + ip.len - 8)) * UINT64_C(0x9e3779b97f4a7c15);
        known = &plan->known[mixed >> (64 - KNOWN_BITS)];
        if (known->length == ip.len && same_text(known->ip, ip.ptr, ip.len)) {
            return known->key;
        }
    }
    struct mg_ffi_limits *limits = plan->limits;
    mg_ffi_limits_key(limits);
    mg_ffi_limits_address(limits, VALUE, req, plan->prefixes[0], plan->prefixes[1]);
    const struct mg_cell_key key = mg_limit_key(limits->shm, &limits->entries[0].limit,
                                                mg_str_make(limits->key, limits->key_length));
    if (known) {
        known->length = (uint32_t)ip.len;
        memcpy(known->ip, ip.ptr, ip.len);
        known->key = key;
    }
    return key;
}

/* Decides in the way for keys that are known. False: nothing is done. */
static bool take_known(struct mg_ffi_limits_plan *plan, struct mg_req *req)
{
    struct mg_ffi_limits *limits = plan->limits;
    struct mg_limits_entry *entry = &limits->entries[0];
    if (entry->limit.former.until_ms > 0) {
        return false;
    }
    const struct mg_limit_ask ask = {
        .limit = &entry->limit, .key = key_of_address(plan, req), .cost = (int64_t)plan->cost};
    if (!mg_limits_take_known(limits->shm, &ask, mg_limits_now_ms(limits), &entry->found)) {
        return false;
    }
    entry->key = ask.key;
    mg_limits_count_known(limits, entry);
    return true;
}

/* --- what clients and the access log see ---------------------------------------------------- */

static double share_left(const struct mg_limits_entry *entry)
{
    const int64_t quota = entry->limit.rule.quota;
    return (double)entry->found.remaining / (double)(quota > 1 ? quota : 1);
}

/* Is a nearer to its end than b? As in policy.lua. */
static bool is_tighter(const struct mg_limits_entry *a, const struct mg_limits_entry *b)
{
    const bool counts = a->limit.rule.algorithm != MG_LIMIT_CONCURRENCY;
    if (counts != (b->limit.rule.algorithm != MG_LIMIT_CONCURRENCY)) {
        return counts;
    }
    const double left = share_left(a), other = share_left(b);
    return left < other || (!(left > other) && a->found.reset_ms > b->found.reset_ms);
}

/* The limit to show: the tightest; -1: none was asked. */
static int pick(const struct mg_ffi_limits_plan *plan)
{
    const struct mg_limits_entry *entries = plan->limits->entries;
    int shown = -1;
    for (int i = 0; plan->judged >> i; i++) {
        if ((plan->judged >> i & 1) && entries[i].answer.asked &&
            (shown < 0 || is_tighter(&entries[i], &entries[shown]))) {
            shown = i;
        }
    }
    return shown;
}

/* remaining: its text, if no more than the quota remains. */
static void set_fields(const struct mg_ffi_limits_plan *plan, struct mg_req *req,
                       const struct mg_limits_entry *shown, mg_str remaining)
{
    const struct mg_limit_rule *rule = &shown->limit.rule;
    const int64_t most = rule->quota > rule->burst ? rule->quota : rule->burst;
    const int64_t seconds = (shown->found.reset_ms + 999) / 1000;
    const mg_str values[] = {plan->quotas[shown - plan->limits->entries],
                             shown->found.remaining <= most ? remaining
                                                            : number_text(&req->arena, most),
                             number_text(&req->arena, seconds > 1 ? seconds : 1)};
    for (const struct triple *triple = plan->triples; triple; triple = triple->next) {
        for (int i = 0; i < 3; i++) {
            mg_req_field_kept(req, MG_FIELD_SET, triple->ids[i], triple->names[i], values[i]);
        }
    }
}

static char *put_block(char *at, mg_str padded)
{
    for (size_t i = 0; i < padded.len; i += BLOCK_BYTES) {
        memcpy(at + i, padded.ptr + i, BLOCK_BYTES);
    }
    return at + padded.len;
}

/* As mg_ffi_limits_note does. */
static void note(const struct mg_ffi_limits_plan *plan, struct mg_req *req, int shown,
                 mg_str remaining)
{
    const struct mg_limits_entry *entry = &plan->limits->entries[shown];
    const mg_str begin = plan->notes[shown], middle = plan->note_middle;
    char *bytes =
        mg_arena_alloc(&req->arena, begin.len + MG_RECORD_DIGITS + middle.len + BLOCK_BYTES);
    char *at = put_block(bytes, begin);
    memcpy(at, remaining.ptr, MG_RECORD_DIGITS); /* number_text gives so many */
    at = put_block(at + remaining.len, middle);
    at = mg_record_hex(at, entry->key.hash[1]);
    memcpy(at, "\"}", 2);
    req->note_limit = mg_str_make(bytes, (size_t)(at + 2 - bytes));
}

/* --- the phases of a request ---------------------------------------------------------------- */

/* Does one of the limits that only watch say no? Then there is more to note. */
static bool would_deny(const struct mg_ffi_limits *limits)
{
    for (int i = 0; i < limits->count; i++) {
        if (limits->entries[i].answer.asked && !limits->entries[i].answer.ok) {
            return true;
        }
    }
    return false;
}

static void show(const struct mg_ffi_limits_plan *plan, struct mg_req *req, int shown)
{
    const struct mg_limits_entry *entry = &plan->limits->entries[shown];
    const mg_str remaining = number_text(&req->arena, entry->found.remaining);
    note(plan, req, shown, remaining);
    if (plan->enforces) {
        set_fields(plan, req, entry, remaining);
    }
}

static enum mg_hook_plan_result run_access(struct mg_hook_plan *base, struct mg_req *req)
{
    const struct mg_ffi_limits_plan *plan = MG_CONTAINER(base, struct mg_ffi_limits_plan, access);
    if (!ask(plan, req)) {
        return MG_PLAN_LUA;
    }
    const struct mg_ffi_limit_verdict *verdict = mg_ffi_limits_take(plan->limits, req);
    if (!verdict->admitted || verdict->banned || verdict->ban_began || verdict->delay_ms > 0 ||
        would_deny(plan->limits)) {
        return MG_PLAN_REST;
    }
    const int shown = pick(plan);
    if (shown >= 0) {
        show(plan, req, shown);
    }
    return MG_PLAN_DONE;
}

/* The same, where there is one limit by address. */
static enum mg_hook_plan_result run_access_by_address(struct mg_hook_plan *base, struct mg_req *req)
{
    struct mg_ffi_limits_plan *plan = MG_CONTAINER(base, struct mg_ffi_limits_plan, access);
    if (!take_known(plan, req)) {
        return run_access(base, req);
    }
    if (plan->judged & 1) {
        show(plan, req, 0);
    }
    return MG_PLAN_DONE;
}

/* Where the upstream tells of limits of its own, Lua compares. */
static enum mg_hook_plan_result run_header_filter(struct mg_hook_plan *base, struct mg_req *req)
{
    const struct mg_ffi_limits_plan *plan =
        MG_CONTAINER(base, struct mg_ffi_limits_plan, header_filter);
    for (const struct triple *triple = plan->triples; triple; triple = triple->next) {
        const mg_str name = triple->names[1];
        for (uint32_t i = 0; i < req->up_headers.count; i++) {
            if (req->up_headers.items[i].name.len == name.len &&
                mg_str_field_equal(req->up_headers.items[i].name, name)) {
                return MG_PLAN_LUA;
            }
        }
    }
    return MG_PLAN_DONE;
}
