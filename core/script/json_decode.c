/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON reader, recursive; the depth is capped by the settings (1000), which bounds the C stack too.
 * The message forms are lua-cjson's, since plugins match them.
 */
#include "script/json_decode.h"

#include "script/json_encode.h"

#include <lua.h>

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { LONGEST_TOKEN_SHOWN = 20 };

struct reader {
    lua_State *L;
    const struct mg_json *settings;
    struct mg_json_text *scratch;
    const char *start, *p, *end;
    int depth;
    const char *failure;
};

static int read_value(struct reader *r);

static int fail_at(struct reader *r, const char *expected, const char *found, const char *at)
{
    lua_pushfstring(r->L, "Expected %s but found %s at character %d", expected, found,
                    (int)(at - r->start) + 1);
    r->failure = lua_tostring(r->L, -1);
    return -1;
}

static const char *token_name(const struct reader *r)
{
    if (r->p == r->end) {
        return "T_END";
    }
    switch (*r->p) {
    case '{':
        return "T_OBJ_BEGIN";
    case '}':
        return "T_OBJ_END";
    case '[':
        return "T_ARR_BEGIN";
    case ']':
        return "T_ARR_END";
    case ',':
        return "T_COMMA";
    case ':':
        return "T_COLON";
    case '"':
        return "T_STRING";
    default:
        return "invalid token";
    }
}

static int fail(struct reader *r, const char *expected)
{
    return fail_at(r, expected, token_name(r), r->p);
}

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r')) {
        r->p++;
    }
}

/* -1 where four hexadecimal digits do not follow. */
static int32_t read_hex4(const char *p, const char *end)
{
    int32_t value = 0;
    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

static char *put_utf8(char *out, int32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    if (code < 0x800) {
        *out++ = (char)(0xc0 | (code >> 6));
    } else {
        if (code < 0x10000) {
            *out++ = (char)(0xe0 | (code >> 12));
        } else {
            *out++ = (char)(0xf0 | (code >> 18));
            *out++ = (char)(0x80 | ((code >> 12) & 0x3f));
        }
        *out++ = (char)(0x80 | ((code >> 6) & 0x3f));
    }
    *out++ = (char)(0x80 | (code & 0x3f));
    return out;
}

/* *p is behind `\u`. Reads one code point, a surrogate pair included; -1 on a lone surrogate. */
static int32_t read_code(const char **p, const char *end)
{
    int32_t code = read_hex4(*p, end);
    if (code < 0) {
        return -1;
    }
    *p += 4;
    if (code < 0xd800 || code > 0xdfff) {
        return code;
    }
    int32_t low = -1;
    if (code < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        low = read_hex4(*p + 2, end);
    }
    if (low < 0xdc00 || low > 0xdfff) {
        return -1;
    }
    *p += 6;
    return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

/* The bytes of a string with escapes, from r->p to its closing quote; out has room for all of
 * them. */
static int unescape(struct reader *r, const char *close, char *out, size_t *length)
{
    static const char names[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    char *begin = out;
    const char *p = r->p;
    while (p < close) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        const char *at = p;
        char c = p[1];
        p += 2;
        if (c == 'u') {
            int32_t code = read_code(&p, close);
            if (code < 0) {
                return fail_at(r, "value", "invalid unicode escape code", at);
            }
            out = put_utf8(out, code);
            continue;
        }
        const char *name = names;
        while (*name && *name != c) {
            name += 2;
        }
        if (!*name) {
            return fail_at(r, "value", "invalid escape code", at);
        }
        *out++ = name[1];
    }
    *length = (size_t)(out - begin);
    return 0;
}

static int read_string(struct reader *r)
{
    const char *open = r->p;
    bool has_escape = false;
    const char *p = ++r->p;
    for (; p < r->end && *p != '"'; p++) {
        if ((unsigned char)*p < ' ') {
            return fail_at(r, "value", "invalid token", p);
        }
        if (*p == '\\') {
            has_escape = true;
            if (++p == r->end) {
                break;
            }
        }
    }
    if (p >= r->end) {
        return fail_at(r, "value", "unexpected end of string", open);
    }
    if (!has_escape) {
        lua_pushlstring(r->L, r->p, (size_t)(p - r->p));
    } else {
        size_t length = 0;
        r->scratch->length = 0;
        char *out = mg_json_text_reserve(r->scratch, (size_t)(p - r->p));
        if (!out) {
            return fail_at(r, "value", "a string too long for the memory", open);
        }
        if (unescape(r, p, out, &length) < 0) {
            return -1;
        }
        lua_pushlstring(r->L, out, length);
    }
    r->p = p + 1;
    return 0;
}

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

/* End of a number in RFC 8259's form at p, or NULL. */
static const char *number_end(const char *p, const char *end)
{
    p += p < end && *p == '-';
    const char *digits = p;
    p = skip_digits(p, end);
    if (p == digits || (*digits == '0' && p - digits > 1)) {
        return NULL;
    }
    if (p < end && *p == '.') {
        digits = p + 1;
        p = skip_digits(digits, end);
        if (p == digits) {
            return NULL;
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '-' || *p == '+');
        digits = p;
        p = skip_digits(digits, end);
        if (p == digits) {
            return NULL;
        }
    }
    return p;
}

static const char *word_end(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p > ' ' && !strchr(",]}:\"[{", *p)) {
        p++;
    }
    return p;
}

/* Numbers that JSON has not, in the settings' loose mode: NaN, infinities, hexadecimal, leading
 * zeros. Lua's own conversion judges them. */
static int read_loose_number(struct reader *r)
{
    lua_State *L = r->L;
    const char *end = word_end(r->p, r->end);
    const char *p = r->p + (r->p < end && *r->p == '-');
    size_t length = (size_t)(end - p);
    double sign = *r->p == '-' ? -1 : 1;
    if ((length == 3 && strncasecmp(p, "nan", 3) == 0)) {
        lua_pushnumber(L, (lua_Number)__builtin_nan(""));
    } else if ((length == 3 && strncasecmp(p, "inf", 3) == 0) ||
               (length == 8 && strncasecmp(p, "infinity", 8) == 0)) {
        lua_pushnumber(L, sign * __builtin_inf());
    } else {
        lua_pushlstring(L, p, length);
        if (length == 0 || *p < '0' || *p > '9' || !lua_isnumber(L, -1)) {
            lua_pop(L, 1);
            return fail_at(r, "value", "invalid number", r->p);
        }
        double value = sign * lua_tonumber(L, -1);
        lua_pop(L, 1);
        lua_pushnumber(L, value);
    }
    r->p = end;
    return 0;
}

static int read_number(struct reader *r)
{
    lua_State *L = r->L;
    const char *end = number_end(r->p, r->end);
    if (!end || end != word_end(r->p, r->end)) {
        return r->settings->decode_numbers == MG_JSON_NUMBERS_ALLOW
                   ? read_loose_number(r)
                   : fail_at(r, "value", "invalid number", r->p);
    }
    if (end - r->p < 9 && skip_digits(r->p, end) == end) {
        int value = 0;
        for (; r->p < end; r->p++) {
            value = value * 10 + (*r->p - '0');
        }
        lua_pushinteger(L, value);
        return 0;
    }
    lua_pushlstring(L, r->p, (size_t)(end - r->p));
    lua_Number value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (isinf(value) && r->settings->decode_numbers != MG_JSON_NUMBERS_ALLOW) {
        return fail_at(r, "value", "a number out of range", r->p);
    }
    lua_pushnumber(L, value);
    r->p = end;
    return 0;
}

static int read_word(struct reader *r)
{
    size_t length = (size_t)(word_end(r->p, r->end) - r->p);
    if (length == 4 && memcmp(r->p, "true", 4) == 0) {
        lua_pushboolean(r->L, 1);
    } else if (length == 5 && memcmp(r->p, "false", 5) == 0) {
        lua_pushboolean(r->L, 0);
    } else if (length == 4 && memcmp(r->p, "null", 4) == 0) {
        lua_pushlightuserdata(r->L, NULL);
    } else if (length > 0 && r->settings->decode_numbers == MG_JSON_NUMBERS_ALLOW &&
               strchr("nNiI", *r->p)) {
        return read_loose_number(r);
    } else {
        return fail(r, "value");
    }
    r->p += length;
    return 0;
}

static int descend(struct reader *r)
{
    if (++r->depth > r->settings->decode_depth || !lua_checkstack(r->L, 8)) {
        lua_pushfstring(r->L, "Found too many nested data structures (%d)", r->depth);
        r->failure = lua_tostring(r->L, -1);
        return -1;
    }
    r->p++;
    skip_space(r);
    return 0;
}

/* Behind a member: *is_last where `close` came; an error where neither it nor a comma did. */
static int read_separator(struct reader *r, char close, const char *expected, bool *is_last)
{
    skip_space(r);
    *is_last = r->p < r->end && *r->p == close;
    if (!*is_last && (r->p == r->end || *r->p != ',')) {
        return fail(r, expected);
    }
    r->p++;
    if (!*is_last) {
        skip_space(r);
    }
    return 0;
}

static void set_array_metatable(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&mg_json_array_mt);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
}

static int read_array(struct reader *r)
{
    lua_State *L = r->L;
    if (descend(r) < 0) {
        return -1;
    }
    lua_newtable(L);
    if (r->settings->array_with_mt) {
        set_array_metatable(L);
    }
    bool is_last = r->p < r->end && *r->p == ']';
    r->p += is_last;
    for (int i = 1; !is_last; i++) {
        if (read_value(r) < 0) {
            return -1;
        }
        lua_rawseti(L, -2, i);
        if (read_separator(r, ']', "comma or array end", &is_last) < 0) {
            return -1;
        }
    }
    r->depth--;
    return 0;
}

/* Puts the value on the stack into the object, under the name below it, which began at a place. */
static int add_member(struct reader *r, const char *name_at)
{
    lua_State *L = r->L;
    if (r->settings->refuse_duplicates) {
        lua_pushvalue(L, -2);
        lua_rawget(L, -4);
        if (!lua_isnil(L, -1)) {
            return fail_at(r, "another name", "one that the object has", name_at);
        }
        lua_pop(L, 1);
    }
    lua_rawset(L, -3);
    return 0;
}

static int read_object(struct reader *r)
{
    lua_State *L = r->L;
    if (descend(r) < 0) {
        return -1;
    }
    lua_newtable(L);
    bool is_last = r->p < r->end && *r->p == '}';
    r->p += is_last;
    while (!is_last) {
        if (r->p == r->end || *r->p != '"') {
            return fail(r, "object key string");
        }
        const char *name_at = r->p;
        if (read_string(r) < 0) {
            return -1;
        }
        skip_space(r);
        if (r->p == r->end || *r->p != ':') {
            return fail(r, "colon");
        }
        r->p++;
        skip_space(r);
        if (read_value(r) < 0) {
            return -1;
        }
        if (add_member(r, name_at) < 0) {
            return -1;
        }
        if (read_separator(r, '}', "comma or object end", &is_last) < 0) {
            return -1;
        }
    }
    r->depth--;
    return 0;
}

static int read_value(struct reader *r)
{
    if (r->p == r->end) {
        return fail(r, "value");
    }
    switch (*r->p) {
    case '{':
        return read_object(r);
    case '[':
        return read_array(r);
    case '"':
        return read_string(r);
    case '-':
    case '0' ... '9':
        return read_number(r);
    default:
        return read_word(r);
    }
}

const char *mg_json_decode(lua_State *L, const char *text, size_t length,
                           const struct mg_json *settings, struct mg_json_text *scratch)
{
    struct reader r = {.L = L,
                       .settings = settings,
                       .scratch = scratch,
                       .start = text,
                       .p = text,
                       .end = text + length};
    skip_space(&r);
    if (read_value(&r) < 0) {
        return r.failure;
    }
    skip_space(&r);
    if (r.p < r.end) {
        fail(&r, "the end");
    }
    return r.failure;
}
