/* SPDX-License-Identifier: Apache-2.0 */
/* Raw access to checked tables. */
#include "script/snapshot_read.h"

#include <lauxlib.h>

/* Pushes the field; null becomes nil. Returns its type. */
static int push_field(struct mg_snapshot_reader *reader, int at, const char *name)
{
    lua_State *L = reader->L;
    lua_pushstring(L, name);
    lua_rawget(L, at);
    if (lua_type(L, -1) == LUA_TLIGHTUSERDATA) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    return lua_type(L, -1);
}

static void refuse(struct mg_snapshot_reader *reader, const char *name, const char *wanted)
{
    luaL_error(reader->L, "snapshot: '%s' is %s, not %s", name, luaL_typename(reader->L, -1),
               wanted);
}

bool mg_snapshot_open(struct mg_snapshot_reader *reader, int at, const char *name)
{
    luaL_checkstack(reader->L, 8, "snapshot");
    const int type = push_field(reader, at, name);
    if (type == LUA_TNIL) {
        lua_pop(reader->L, 1);
        return false;
    }
    if (type != LUA_TTABLE) {
        refuse(reader, name, "a table");
    }
    return true;
}

mg_str mg_snapshot_pop_text(struct mg_snapshot_reader *reader, const char *name, bool lower)
{
    if (lua_type(reader->L, -1) != LUA_TSTRING) {
        refuse(reader, name, "text");
    }
    size_t length;
    const char *text = lua_tolstring(reader->L, -1, &length);
    char *copy = mg_arena_copy(&reader->config->arena, mg_str_make(text, length));
    for (size_t i = 0; lower && i < length; i++) {
        copy[i] = mg_char_lower(copy[i]);
    }
    lua_pop(reader->L, 1);
    return mg_str_make(copy, length);
}

static mg_str read_text(struct mg_snapshot_reader *reader, int at, const char *name, bool lower)
{
    if (push_field(reader, at, name) == LUA_TNIL) {
        lua_pop(reader->L, 1);
        return MG_STR("");
    }
    return mg_snapshot_pop_text(reader, name, lower);
}

mg_str mg_snapshot_text(struct mg_snapshot_reader *reader, int at, const char *name)
{
    return read_text(reader, at, name, false);
}

mg_str mg_snapshot_lower(struct mg_snapshot_reader *reader, int at, const char *name)
{
    return read_text(reader, at, name, true);
}

/* The number of a field; false where unset. */
static bool read_number(struct mg_snapshot_reader *reader, int at, const char *name, double least,
                        double most, double *value)
{
    const int type = push_field(reader, at, name);
    if (type == LUA_TNIL) {
        lua_pop(reader->L, 1);
        return false;
    }
    if (type != LUA_TNUMBER) {
        refuse(reader, name, "a number");
    }
    *value = lua_tonumber(reader->L, -1);
    if (!(*value >= least && *value <= most) || *value != (double)(int64_t)*value) {
        refuse(reader, name, "a whole number in range");
    }
    lua_pop(reader->L, 1);
    return true;
}

uint64_t mg_snapshot_number(struct mg_snapshot_reader *reader, int at, const char *name,
                            uint64_t fallback)
{
    double value;
    return read_number(reader, at, name, 0, 0x1p53, &value) ? (uint64_t)value : fallback;
}

int32_t mg_snapshot_int32(struct mg_snapshot_reader *reader, int at, const char *name,
                          int32_t fallback)
{
    double value;
    return read_number(reader, at, name, INT32_MIN, INT32_MAX, &value) ? (int32_t)value : fallback;
}

bool mg_snapshot_flag(struct mg_snapshot_reader *reader, int at, const char *name, bool fallback)
{
    const int type = push_field(reader, at, name);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN) {
        refuse(reader, name, "a boolean");
    }
    const bool value = type == LUA_TNIL ? fallback : lua_toboolean(reader->L, -1);
    lua_pop(reader->L, 1);
    return value;
}

void *mg_snapshot_array(struct mg_snapshot_reader *reader, uint32_t count, size_t item_bytes)
{
    return count == 0 ? NULL : mg_arena_zalloc(&reader->config->arena, count * item_bytes);
}

uint32_t mg_snapshot_count(struct mg_snapshot_reader *reader, int at, const char *name)
{
    if (!mg_snapshot_open(reader, at, name)) {
        return 0;
    }
    const size_t count = lua_objlen(reader->L, -1);
    lua_pop(reader->L, 1);
    if (count > UINT32_MAX) {
        luaL_error(reader->L, "snapshot: '%s' is too long", name);
    }
    return (uint32_t)count;
}

mg_str *mg_snapshot_texts(struct mg_snapshot_reader *reader, int at, const char *name, bool lower,
                          uint32_t *count)
{
    *count = mg_snapshot_count(reader, at, name);
    if (*count == 0) {
        return NULL;
    }
    mg_str *texts = mg_arena_alloc(&reader->config->arena, *count * sizeof *texts);
    mg_snapshot_open(reader, at, name);
    for (uint32_t i = 0; i < *count; i++) {
        lua_rawgeti(reader->L, -1, (int)i + 1);
        texts[i] = mg_snapshot_pop_text(reader, name, lower);
    }
    lua_pop(reader->L, 1);
    return texts;
}

void mg_snapshot_numbers(struct mg_snapshot_reader *reader, int at,
                         const struct mg_snapshot_field *fields, void *target)
{
    for (const struct mg_snapshot_field *field = fields; field->name; field++) {
        void *place = (char *)target + field->offset;
        double value;
        if (!read_number(reader, at, field->name, 0, field->bytes == 4 ? UINT32_MAX : 0x1p53,
                         &value)) {
            continue;
        }
        if (field->bytes == 4) {
            const uint32_t number = (uint32_t)value;
            memcpy(place, &number, sizeof number);
        } else {
            const uint64_t number = (uint64_t)value;
            memcpy(place, &number, sizeof number);
        }
    }
}

void mg_snapshot_remember(struct mg_snapshot_reader *reader, int at, void *entity)
{
    lua_pushvalue(reader->L, at);
    lua_pushlightuserdata(reader->L, entity);
    lua_rawset(reader->L, reader->entities);
}

void *mg_snapshot_reference(struct mg_snapshot_reader *reader, int at, const char *name)
{
    if (!mg_snapshot_open(reader, at, name)) {
        return NULL;
    }
    lua_rawget(reader->L, reader->entities);
    void *entity = lua_touserdata(reader->L, -1);
    if (!entity) {
        luaL_error(reader->L, "snapshot: '%s' refers to an entity that is not in it", name);
    }
    lua_pop(reader->L, 1);
    return entity;
}
