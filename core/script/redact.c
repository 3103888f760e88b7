/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redaction. The scanner reads a text once, decoded, and keeps the name that it is in:
 *
 *     /path?a=1&user[password]=x#f     & ; ? #  { } , ( ) blank     begin a new name
 *              name     value          [ ] .                        end one part of a name
 *                                      = :                          end the name: secret or not
 *
 * A secret value goes on to the next '&' or '#' as sent (in the path also to '/', '?' or ';'), so
 * an encoded '&' stays inside it. One that begins with a quote goes on behind the last quote.
 */
#define _GNU_SOURCE /* memrchr */
#include "script/redact.h"

#define HASH_CHARS 16

static char fold(char c)
{
    return c == '-' ? '_' : mg_char_lower(c);
}

/* --- names --- */

static uint64_t length_bit(size_t length)
{
    return 1ULL << (length < 63 ? length : 63);
}

static bool is_listed(const struct mg_redact_names *names, mg_str folded)
{
    if ((names->lengths & length_bit(folded.len)) == 0) {
        return false;
    }
    for (uint32_t i = 0; i < names->count; i++) {
        if (mg_str_equal(names->items[i], folded)) {
            return true;
        }
    }
    return false;
}

int mg_redact_add(struct mg_redact *redact, enum mg_redact_kind kind, mg_str name)
{
    struct mg_redact_names *names = kind == MG_REDACT_HEADER ? &redact->headers : &redact->names;
    if (name.len == 0 || name.len > MG_REDACT_NAME_BYTES) {
        return MG_EINVALID;
    }
    char *folded = mg_arena_copy(redact->arena, name);
    for (size_t i = 0; i < name.len; i++) {
        folded[i] = fold(folded[i]);
    }
    if (names->count == names->capacity) {
        const uint32_t capacity = names->capacity ? names->capacity * 2 : 16;
        mg_str *items = mg_arena_alloc(redact->arena, capacity * sizeof *items);
        if (names->count > 0) {
            memcpy(items, names->items, names->count * sizeof *items);
        }
        names->items = items;
        names->capacity = capacity;
    }
    names->items[names->count++] = mg_str_make(folded, name.len);
    names->lengths |= length_bit(name.len);
    return 0;
}

bool mg_redact_is_header(const struct mg_redact *redact, mg_str name)
{
    char folded[MG_REDACT_NAME_BYTES];
    if (name.len > sizeof folded) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        folded[i] = fold(name.ptr[i]);
    }
    return is_listed(&redact->headers, mg_str_make(folded, name.len));
}

/* --- what stands for a secret --- */

void mg_redact_init(struct mg_redact *redact, struct mg_arena *arena, enum mg_redact_action action,
                    mg_str key)
{
    *redact = (struct mg_redact){.arena = arena, .action = action};
    if (key.len > sizeof redact->key) { /* RFC 2104, 2 */
        mg_hash_sha256(key, redact->key);
    } else if (key.len > 0) {
        memcpy(redact->key, key.ptr, key.len);
    } else {
        mg_hash_random_key(redact->key);
        mg_hash_random_key(redact->key + MG_SIPHASH_KEY_BYTES);
    }
}

mg_str mg_redact_hash(const struct mg_redact *redact, struct mg_arena *arena, mg_str text)
{
    uint8_t *inner = mg_arena_alloc(arena, MG_REDACT_KEY_BYTES + text.len);
    uint8_t outer[MG_REDACT_KEY_BYTES + MG_SHA256_BYTES], digest[MG_SHA256_BYTES];
    for (size_t i = 0; i < MG_REDACT_KEY_BYTES; i++) {
        inner[i] = redact->key[i] ^ 0x36;
        outer[i] = redact->key[i] ^ 0x5c;
    }
    if (text.len > 0) {
        memcpy(inner + MG_REDACT_KEY_BYTES, text.ptr, text.len);
    }
    mg_hash_sha256(mg_str_make((const char *)inner, MG_REDACT_KEY_BYTES + text.len),
                   outer + MG_REDACT_KEY_BYTES);
    mg_hash_sha256(mg_str_make((const char *)outer, sizeof outer), digest);
    char *hex = mg_arena_alloc(arena, HASH_CHARS);
    mg_hash_hex(digest, HASH_CHARS / 2, hex);
    return mg_str_make(hex, HASH_CHARS);
}

mg_str mg_redact_secret(const struct mg_redact *redact, struct mg_arena *arena, mg_str secret)
{
    switch (redact->action) {
    case MG_REDACT_HASH:
        return mg_redact_hash(redact, arena, secret);
    case MG_REDACT_REMOVE:
        return (mg_str){0};
    default:
        return MG_STR("***");
    }
}

/* --- the scanner --- */

struct scan {
    const struct mg_redact *redact;
    struct mg_arena *arena;
    mg_str text;
    size_t at;                    /* next byte to read */
    size_t copied;                /* bytes of text that are in out, or left out of it */
    size_t name_at;               /* where the argument began */
    size_t authority, user_end;   /* where they are in the text ... */
    bool has_authority, has_user; /* ... if they are */
    bool has_scheme;              /* what stands before it is one: no name, no secret */
    bool in_path;
    bool found; /* a part of the name was listed */
    char name[MG_REDACT_NAME_BYTES];
    size_t name_len; /* over MG_REDACT_NAME_BYTES: too long to be listed */
    char *out;       /* NULL until something is taken out */
    size_t out_len;
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = mg_char_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* What \\uXXXX of JSON stands for, with the 'u' at that place; 0: it is none, or not ASCII. */
static char unicode(mg_str text, size_t at)
{
    int code = 0;
    if (text.len - at < 5 || text.ptr[at] != 'u') {
        return 0;
    }
    for (size_t i = at + 1; i < at + 5; i++) {
        const int digit = hex_value(text.ptr[i]);
        code = digit < 0 || code > 7 ? 0x80 : code * 16 + digit;
    }
    return code < 0x80 ? (char)code : 0;
}

/* The character at scan->at, decoded; moves behind it. */
static char next_char(struct scan *scan)
{
    const char c = scan->text.ptr[scan->at++];
    const char escaped = c == '\\' ? unicode(scan->text, scan->at) : 0;
    if (escaped) {
        scan->at += 5;
        return escaped;
    }
    if (c != '%' || scan->text.len - scan->at < 2) {
        return c;
    }
    const int high = hex_value(scan->text.ptr[scan->at]);
    const int low = hex_value(scan->text.ptr[scan->at + 1]);
    if (high < 0 || low < 0) {
        return c;
    }
    scan->at += 2;
    return (char)(high * 16 + low);
}

/* The name so far, or a part of it, is complete. */
static void end_part(struct scan *scan)
{
    scan->found =
        scan->found || (scan->name_len <= sizeof scan->name &&
                        is_listed(&scan->redact->names, mg_str_make(scan->name, scan->name_len)));
    scan->name_len = 0;
}

static void begin_name(struct scan *scan)
{
    scan->name_len = 0;
    scan->name_at = scan->at;
    scan->found = false;
}

/* Behind the last quote, where a quote opens the value, maybe one of a string in a string: a value
 * of JSON. Without another quote it is cut, and goes on to the end. */
static size_t quoted_end(mg_str text, size_t at)
{
    while (at < text.len && (text.ptr[at] == ' ' || text.ptr[at] == '\\')) {
        at++;
    }
    if (at == text.len || (text.ptr[at] != '"' && text.ptr[at] != '\'')) {
        return at;
    }
    const char *last = memrchr(text.ptr + at, text.ptr[at], text.len - at);
    return last > text.ptr + at ? (size_t)(last - text.ptr) + 1 : text.len;
}

/* Only blanks between the quote that ended a listed part and its colon: JSON. */
static bool is_key_of_json(const struct scan *scan)
{
    size_t at = scan->at;
    while (at < scan->text.len && scan->text.ptr[at] == ' ') {
        at++;
    }
    return scan->found && scan->name_len == 0 && at < scan->text.len && scan->text.ptr[at] == ':';
}

static size_t value_end(const struct scan *scan)
{
    size_t end = quoted_end(scan->text, scan->at);
    for (; end < scan->text.len; end++) {
        const char c = scan->text.ptr[end];
        if (c == '&' || c == '#' || (scan->in_path && (c == '/' || c == '?' || c == ';'))) {
            break;
        }
    }
    return end;
}

static void emit(struct scan *scan, mg_str bytes)
{
    if (bytes.len > 0) {
        memcpy(scan->out + scan->out_len, bytes.ptr, bytes.len);
    }
    scan->out_len += bytes.len;
}

/* What was read up to there goes to out as it is. */
static void copy_to(struct scan *scan, size_t end)
{
    if (!scan->out) { /* each value of 1 byte or more becomes at most 16 */
        scan->out = mg_arena_alloc(scan->arena, scan->text.len * (HASH_CHARS + 1));
    }
    emit(scan, mg_str_slice(scan->text, scan->copied, end));
    scan->copied = end;
}

/* text[at .. end) is a secret; the argument began at name_at. */
static void take_out(struct scan *scan, size_t end)
{
    const mg_str secret = mg_str_slice(scan->text, scan->at, end);
    const mg_str instead = mg_redact_secret(scan->redact, scan->arena, secret);
    if (instead.ptr) {
        copy_to(scan, scan->at);
        emit(scan, instead);
    } else {
        const bool is_before = scan->name_at >= scan->copied;
        copy_to(scan, is_before ? scan->name_at : scan->at);
        end += end < scan->text.len && scan->text.ptr[end] == '&';
    }
    scan->copied = scan->at = end;
    begin_name(scan);
}

/* Was it the ':' of "https://"? */
static bool is_scheme(const struct scan *scan)
{
    return scan->has_authority && scan->at + 2 == scan->authority;
}

static void read_char(struct scan *scan)
{
    const size_t from = scan->at;
    const char c = next_char(scan);
    switch (c) {
    case '?':
    case '#':
        scan->in_path = scan->in_path && scan->at - from > 1;
        /* fall through */
    case '&':
    case ';':
    case '{':
    case '}':
    case ',':
    case '(':
    case ')':
        begin_name(scan);
        break;
    case ' ':
        if (!is_key_of_json(scan)) {
            begin_name(scan);
        }
        break;
    case '[':
    case ']':
    case '.':
        end_part(scan);
        break;
    case '=':
    case ':':
        end_part(scan);
        if (scan->found && scan->at < scan->text.len && !is_scheme(scan)) {
            take_out(scan, value_end(scan));
        } else {
            begin_name(scan);
        }
        break;
    case '"': /* around a key of JSON, which may stand in a string of JSON */
    case '\'':
    case '\\':
        if (scan->name_len > 0) {
            end_part(scan);
        }
        break;
    case '/':
        if (scan->in_path) {
            begin_name(scan);
            break;
        }
        /* fall through */
    default:
        if (scan->name_len < sizeof scan->name) {
            scan->name[scan->name_len] = fold(c);
        }
        scan->name_len++;
    }
}

/* The end of host and port, which have no secrets where they follow a scheme. */
static size_t host_end(mg_str text, size_t at)
{
    while (at < text.len) {
        const char c = text.ptr[at], lower = mg_char_lower(c);
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && !memchr(".-_:[]", c, 6)) {
            break;
        }
        at++;
    }
    return at;
}

static void read_authority(struct scan *scan)
{
    if (scan->has_user) {
        const mg_str user = mg_str_slice(scan->text, scan->at, scan->user_end);
        copy_to(scan, scan->at);
        emit(scan, mg_redact_secret(scan->redact, scan->arena, user));
        scan->copied = scan->user_end;
        scan->at = scan->user_end + (scan->user_end < scan->text.len); /* the '@' */
    }
    if (scan->has_scheme) {
        scan->at = host_end(scan->text, scan->at);
    }
    begin_name(scan);
}

static mg_str finish(struct scan *scan)
{
    while (scan->at < scan->text.len) {
        if (scan->has_authority && scan->at == scan->authority) {
            scan->has_authority = false;
            read_authority(scan);
        } else {
            read_char(scan);
        }
    }
    if (!scan->out) {
        return scan->text;
    }
    copy_to(scan, scan->text.len);
    return mg_str_make(scan->out, scan->out_len);
}

/* --- texts without secrets, which are most, are not scanned --- */

/* A part of a name as it stands in the text. */
static bool is_listed_part(const struct mg_redact_names *names, mg_str part)
{
    char folded[MG_REDACT_NAME_BYTES];
    if (part.len > sizeof folded || (names->lengths & length_bit(part.len)) == 0) {
        return false;
    }
    for (size_t i = 0; i < part.len; i++) {
        folded[i] = fold(part.ptr[i]);
    }
    return is_listed(names, mg_str_make(folded, part.len));
}

bool mg_redact_is_name(const struct mg_redact *redact, mg_str name)
{
    size_t from = 0;
    for (size_t i = 0; i <= name.len; i++) {
        if (i == name.len || name.ptr[i] == '[' || name.ptr[i] == ']' || name.ptr[i] == '.') {
            if (is_listed_part(&redact->names, mg_str_slice(name, from, i))) {
                return true;
            }
            from = i + 1;
        }
    }
    return false;
}

/* What stands before a part of a name, in the words of read_char. */
enum edge { NO_EDGE, PART_EDGE, NAME_EDGE, UNCLEAR_EDGE };

static enum edge edge_at(mg_str text, size_t at, size_t path_end)
{
    switch (text.ptr[at]) {
    case '[':
    case ']':
    case '.':
        return PART_EDGE;
    case '&':
    case ';':
    case '?':
    case '#':
    case '{':
    case '}':
    case ',':
    case '(':
    case ')':
    case ' ':
    case '=':
    case ':':
        return NAME_EDGE;
    case '/':
        return at < path_end ? NAME_EDGE : UNCLEAR_EDGE;
    case '"':
    case '\'':
    case '\\':
        return UNCLEAR_EDGE;
    default:
        return NO_EDGE;
    }
}

/* Could the name that ends at `end` be listed? Also yes where only the scanner knows. */
static bool may_be_secret(const struct mg_redact *redact, mg_str text, size_t end, size_t path_end)
{
    while (end > 0 && text.ptr[end - 1] == ' ') {
        end--;
    }
    size_t at = end, part_end = end;
    enum edge edge = NO_EDGE;
    while (at > 0 && edge != NAME_EDGE) {
        edge = edge_at(text, at - 1, path_end);
        if (edge == UNCLEAR_EDGE) {
            return true;
        }
        if (edge != NO_EDGE) {
            if (is_listed_part(&redact->names, mg_str_slice(text, at, part_end))) {
                return true;
            }
            part_end = at - 1;
        }
        at--;
    }
    return edge != NAME_EDGE && is_listed_part(&redact->names, mg_str_slice(text, at, part_end));
}

static bool may_hide_something(const struct mg_redact *redact, mg_str text, size_t path_end)
{
    if (!mg_str_has_one_of(text, "%\\=:")) { /* as most texts */
        return false;
    }
    if (memchr(text.ptr, '%', text.len) || memchr(text.ptr, '\\', text.len)) {
        return true; /* names may be encoded */
    }
    for (const char *mark = "=:"; *mark; mark++) {
        const char *at = text.ptr, *end = text.ptr + text.len;
        while ((at = memchr(at, *mark, (size_t)(end - at))) != NULL) {
            if (may_be_secret(redact, text, (size_t)(at - text.ptr), path_end)) {
                return true;
            }
            at++;
        }
    }
    return false;
}

mg_str mg_redact_query(const struct mg_redact *redact, struct mg_arena *arena, mg_str query)
{
    if (query.len == 0 || !may_hide_something(redact, query, 0)) {
        return query;
    }
    struct scan scan = {.redact = redact, .arena = arena, .text = query};
    return finish(&scan);
}

/* Where the authority stands, "user:password@host:port" (RFC 3986, 3.2); false without one. */
static bool find_authority(mg_str text, size_t *begin, size_t *end)
{
    size_t at = 0;
    while (at < text.len && text.ptr[at] != '/' && text.ptr[at] != '?' && text.ptr[at] != '#') {
        at++;
    }
    if (text.len - at < 2 || text.ptr[at] != '/' || text.ptr[at + 1] != '/' ||
        (at > 0 && text.ptr[at - 1] != ':')) {
        return false;
    }
    *begin = *end = at + 2;
    while (*end < text.len && text.ptr[*end] != '/' && text.ptr[*end] != '?' &&
           text.ptr[*end] != '#') {
        (*end)++;
    }
    return true;
}

/* In a text that is cut, where a quote in the authority may open a value that goes on behind it:
 * then the authority has no end that could be told. */
static size_t cut_authority_end(mg_str text, size_t begin, size_t end)
{
    const mg_str authority = mg_str_slice(text, begin, end);
    return mg_str_has_one_of(authority, "\"'\"'") ? text.len : end;
}

/* Nothing, or a scheme and ':' (RFC 3986, 3.1). */
static bool is_scheme_only(mg_str text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        const char c = text.ptr[i], lower = mg_char_lower(c);
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && !memchr("+-.", c, 3)) {
            return false;
        }
    }
    return true;
}

static size_t path_length(mg_str text)
{
    const char *fragment = memchr(text.ptr, '#', text.len);
    const size_t length = fragment ? (size_t)(fragment - text.ptr) : text.len;
    const char *query = memchr(text.ptr, '?', length);
    return query ? (size_t)(query - text.ptr) : length;
}

static mg_str clean_url(const struct mg_redact *redact, struct mg_arena *arena, mg_str text,
                        bool is_cut)
{
    struct scan scan = {.redact = redact, .arena = arena, .text = text, .in_path = true};
    size_t end = 0;
    scan.has_authority = find_authority(text, &scan.authority, &end);
    if (scan.has_authority) {
        scan.has_scheme = is_scheme_only(mg_str_slice(text, 0, scan.authority - 2));
        end = is_cut ? cut_authority_end(text, scan.authority, end) : end;
        const char *user = text.ptr + scan.authority;
        const char *at_sign = memrchr(user, '@', end - scan.authority);
        scan.has_user = at_sign || (is_cut && end == text.len && end > scan.authority);
        scan.user_end = at_sign ? (size_t)(at_sign - text.ptr) : end;
    }
    if (text.len == 0 || (!scan.has_user && !may_hide_something(redact, text, path_length(text)))) {
        return text;
    }
    return finish(&scan);
}

mg_str mg_redact_url(const struct mg_redact *redact, struct mg_arena *arena, mg_str text)
{
    return clean_url(redact, arena, text, false);
}

mg_str mg_redact_cut_url(const struct mg_redact *redact, struct mg_arena *arena, mg_str text)
{
    return clean_url(redact, arena, text, true);
}
