/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON writer. A table is an array when all its keys are whole numbers from 1 and it is not too
 * sparse (lua-cjson's rule), when it is empty and says so, or when its metatable is array_mt.
 * Strings go out as they are, escaped but not checked for UTF-8.
 */
#include "script/json_encode.h"

#include <lauxlib.h>
#include <lua.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

const char mg_json_array_mt = 0, mg_json_empty_array_mt = 0, mg_json_empty_array = 0;

enum {
    LONGEST_NUMBER = 32,
    LONGEST_ESCAPE = 6,        /* \u001f */
    PIECE = 256,               /* bytes of a string escaped at once */
    EXACT_INTEGER = 100000000, /* whole numbers below print the same with %.14g and %d */
};

struct writer {
    lua_State *L;
    const struct mg_json *settings;
    struct mg_json_text *text;
    int depth;
    const char *failure;
};

static int encode_value(struct writer *w, int index);

static int fail(struct writer *w, const char *failure)
{
    w->failure = failure;
    return -1;
}

static int put(struct writer *w, const char *bytes, size_t length)
{
    char *end = mg_json_text_reserve(w->text, length);
    if (!end) {
        return fail(w, "not enough memory");
    }
    memcpy(end, bytes, length);
    w->text->length += length;
    return 0;
}

static int put_char(struct writer *w, char c)
{
    return put(w, &c, 1);
}

/* Writes the escape of c, if it has one, and returns its length, else 0. */
static size_t escape(const struct mg_json *settings, unsigned char c, char *out)
{
    static const char hex[] = "0123456789abcdef";
    static const char names[] = "\bb\nn\tt\ff\rr\"\"\\\\";
    if (c == '/' && !settings->escape_slash) {
        return 0;
    }
    if (c > '\\' && c < 0x7f) {
        return 0;
    }
    out[0] = '\\';
    if (c == '/') {
        out[1] = '/';
        return 2;
    }
    for (const char *p = names; *p; p += 2) {
        if ((unsigned char)*p == c) {
            out[1] = p[1];
            return 2;
        }
    }
    if (c >= ' ' && c != 0x7f) {
        return 0;
    }
    memcpy(out + 1, "u00", 3);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return LONGEST_ESCAPE;
}

/* In pieces, so that the room for escapes stays small beside a long text. */
static int encode_string(struct writer *w, const char *text, size_t length)
{
    if (put_char(w, '"') < 0) {
        return -1;
    }
    for (size_t i = 0; i < length;) {
        size_t stop = length - i < PIECE ? length : i + PIECE;
        char *start = mg_json_text_reserve(w->text, PIECE * LONGEST_ESCAPE);
        char *end = start;
        if (!start) {
            return fail(w, "not enough memory");
        }
        for (; i < stop; i++) {
            size_t taken = escape(w->settings, (unsigned char)text[i], end);
            if (taken == 0) {
                *end = text[i];
                taken = 1;
            }
            end += taken;
        }
        w->text->length += (size_t)(end - start);
    }
    return put_char(w, '"');
}

static int put_number(struct writer *w, double value)
{
    char digits[LONGEST_NUMBER];
    int length;
    if (value > -EXACT_INTEGER && value < EXACT_INTEGER && (double)(int)value == value &&
        w->settings->precision >= 8 && (value != 0 || !signbit(value))) {
        length = snprintf(digits, sizeof digits, "%d", (int)value);
    } else {
        length = snprintf(digits, sizeof digits, "%.*g", w->settings->precision, value);
    }
    return put(w, digits, (size_t)length);
}

static int encode_number(struct writer *w, double value)
{
    if (!isnan(value) && !isinf(value)) {
        return put_number(w, value);
    }
    switch (w->settings->encode_numbers) {
    case MG_JSON_NUMBERS_NULL:
        return put(w, "null", 4);
    case MG_JSON_NUMBERS_ALLOW:
        return isnan(value) ? put(w, "NaN", 3)
               : value > 0  ? put(w, "Infinity", 8)
                            : put(w, "-Infinity", 9);
    case MG_JSON_NUMBERS_REFUSE:
        break;
    }
    return fail(w, "Cannot serialise number: must not be NaN or Infinity");
}

/* The largest key where all keys are whole numbers from 1 (0 for an empty table), else -1. Sets
 * *is_sparse where an array would have too many holes. */
static double array_length(struct writer *w, int index, bool *is_sparse)
{
    lua_State *L = w->L;
    const struct mg_json *s = w->settings;
    double largest = 0;
    double items = 0;
    *is_sparse = false;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        double key = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        if (key < 1 || floor(key) != key || isinf(key)) {
            lua_pop(L, 1);
            return -1;
        }
        largest = key > largest ? key : largest;
        items++;
    }
    *is_sparse =
        s->sparse_ratio > 0 && largest > items * s->sparse_ratio && largest > s->sparse_safe;
    return largest;
}

static bool has_metatable(lua_State *L, int index, const char *key)
{
    if (!lua_getmetatable(L, index)) {
        return false;
    }
    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

/* 1: written; 0: the value has no JSON form and is left out; -1: failed. */
static int encode_item(struct writer *w)
{
    int type = lua_type(w->L, -1);
    bool is_known = type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER ||
                    type == LUA_TSTRING || type == LUA_TTABLE || type == LUA_TLIGHTUSERDATA;
    if (!is_known && w->settings->skip_unsupported) {
        return 0;
    }
    return encode_value(w, lua_gettop(w->L)) < 0 ? -1 : 1;
}

static int encode_array(struct writer *w, int index, double length)
{
    lua_State *L = w->L;
    bool first = true;
    if (put_char(w, '[') < 0) {
        return -1;
    }
    for (double i = 1; i <= length; i++) {
        size_t before = w->text->length;
        if (!first && put_char(w, ',') < 0) {
            return -1;
        }
        lua_rawgeti(L, index, (int)i);
        int rc = encode_item(w);
        if (rc < 0) {
            return -1;
        }
        lua_pop(L, 1);
        if (rc == 0) {
            w->text->length = before;
        } else {
            first = false;
        }
    }
    return put_char(w, ']');
}

static int encode_key(struct writer *w, int index)
{
    size_t length;
    int type = lua_type(w->L, index);
    if (type == LUA_TSTRING) {
        const char *text = lua_tolstring(w->L, index, &length);
        return encode_string(w, text, length);
    }
    if (type != LUA_TNUMBER) {
        return fail(w, "Cannot serialise table: table key must be a number or string");
    }
    return put_char(w, '"') < 0 || encode_number(w, lua_tonumber(w->L, index)) < 0 ||
                   put_char(w, '"') < 0
               ? -1
               : 0;
}

static int encode_object(struct writer *w, int index)
{
    lua_State *L = w->L;
    bool first = true;
    if (put_char(w, '{') < 0) {
        return -1;
    }
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        size_t before = w->text->length;
        int top = lua_gettop(L);
        if ((!first && put_char(w, ',') < 0) || encode_key(w, top - 1) < 0 ||
            put_char(w, ':') < 0) {
            return -1;
        }
        int rc = encode_item(w);
        if (rc < 0) {
            return -1;
        }
        lua_pop(L, 1);
        if (rc == 0) {
            w->text->length = before;
        } else {
            first = false;
        }
    }
    return put_char(w, '}');
}

static int encode_table_body(struct writer *w, int index)
{
    lua_State *L = w->L;
    bool is_sparse;
    if (has_metatable(L, index, &mg_json_array_mt)) {
        return encode_array(w, index, (double)lua_objlen(L, index));
    }
    double length = array_length(w, index, &is_sparse);
    if (length == 0 &&
        (!w->settings->empty_table_as_object || has_metatable(L, index, &mg_json_empty_array_mt))) {
        return put(w, "[]", 2);
    }
    if (length <= 0) {
        return encode_object(w, index);
    }
    if (!is_sparse) {
        return encode_array(w, index, length);
    }
    if (w->settings->sparse_convert) {
        return encode_object(w, index);
    }
    return fail(w, "Cannot serialise table: excessively sparse array");
}

static int encode_table(struct writer *w, int index)
{
    if (++w->depth > w->settings->encode_depth || !lua_checkstack(w->L, 8)) {
        lua_pushfstring(w->L, "Cannot serialise, excessive depth (%d)", w->depth);
        return fail(w, lua_tostring(w->L, -1));
    }
    int rc = encode_table_body(w, index);
    w->depth--;
    return rc;
}

static int encode_light(struct writer *w, const void *pointer)
{
    if (!pointer) {
        return put(w, "null", 4);
    }
    if (pointer == &mg_json_empty_array) {
        return put(w, "[]", 2);
    }
    return fail(w, "Cannot serialise userdata: type not supported");
}

static int encode_value(struct writer *w, int index)
{
    lua_State *L = w->L;
    size_t length;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return put(w, "null", 4);
    case LUA_TBOOLEAN:
        return lua_toboolean(L, index) ? put(w, "true", 4) : put(w, "false", 5);
    case LUA_TNUMBER:
        return encode_number(w, lua_tonumber(L, index));
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &length);
        return encode_string(w, text, length);
    case LUA_TTABLE:
        return encode_table(w, index);
    case LUA_TLIGHTUSERDATA:
        return encode_light(w, lua_touserdata(L, index));
    default:
        lua_pushfstring(L, "Cannot serialise %s: type not supported", luaL_typename(L, index));
        return fail(w, lua_tostring(L, -1));
    }
}

const char *mg_json_encode(lua_State *L, int index, const struct mg_json *settings,
                           struct mg_json_text *text)
{
    struct writer w = {.L = L, .settings = settings, .text = text};
    encode_value(&w, index);
    return w.failure;
}
