/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building of marked tables, one entry at a time. All accesses are raw; the caller has checked that
 * the stack has room for ten more slots.
 */
#include "script/yaml_marks.h"

#include <lua.h>

#include <math.h>

enum { FIELD = 16384 }; /* range of a mark's column and length */

static double cut(size_t value)
{
    return value < FIELD ? (double)value : FIELD - 1;
}

double mg_yaml_mark(size_t line, size_t column, size_t end_line, size_t end_column)
{
    size_t length = end_line == line && end_column > column ? end_column - column : 0;
    return ((double)(line + 1) * FIELD + cut(column + 1)) * FIELD + cut(length);
}

double mg_yaml_mark_line(double mark)
{
    return floor(mark / FIELD / FIELD);
}

void mg_yaml_place(const char *text, size_t offset, size_t *line, size_t *column)
{
    *line = *column = 0;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            ++*line;
            *column = 0;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            ++*column;
        }
    }
}

static void new_field(lua_State *L, const char *name)
{
    lua_newtable(L);
    lua_setfield(L, -2, name);
}

void mg_yaml_push_pair(lua_State *L, int marks, bool is_map, double mark)
{
    lua_newtable(L);
    lua_createtable(L, 0, 5);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, marks);
    lua_pushstring(L, is_map ? "map" : "seq");
    lua_setfield(L, -2, "kind");
    lua_pushnumber(L, mark);
    lua_setfield(L, -2, "at");
    new_field(L, "values");
    if (is_map) {
        new_field(L, "keys");
        new_field(L, "order");
    }
}

/* Appends the value on top of the stack to the array in field name of the table at index. */
static void append(lua_State *L, int index, const char *name)
{
    lua_getfield(L, index, name);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
    lua_pop(L, 1);
}

double mg_yaml_place_key(lua_State *L, double mark)
{
    int key = lua_gettop(L);
    lua_getfield(L, key - 1, "keys");
    lua_pushvalue(L, key);
    lua_rawget(L, -2);
    double first = lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (first <= 0) {
        lua_pushvalue(L, key);
        lua_pushnumber(L, mark);
        lua_rawset(L, -3);
    }
    lua_settop(L, key);
    if (first <= 0) {
        append(L, key - 1, "order");
    }
    return first;
}

void mg_yaml_place_value(lua_State *L, double mark)
{
    int key = lua_gettop(L) - 1;
    lua_pushvalue(L, key);
    lua_pushvalue(L, key + 1);
    lua_rawset(L, key - 2);
    lua_getfield(L, key - 1, "values");
    lua_pushvalue(L, key);
    lua_pushnumber(L, mark);
    lua_rawset(L, -3);
    lua_settop(L, key - 1);
}

/* target[key] = source[key], for the key on top of the stack, in the tables at two indexes. */
static void copy_entry(lua_State *L, int target, int source)
{
    int key = lua_gettop(L);
    lua_pushvalue(L, key);
    lua_pushvalue(L, key);
    lua_rawget(L, source);
    lua_rawset(L, target);
    lua_settop(L, key);
}

/* The same for the sub-tables called name. */
static void copy_mark(lua_State *L, int target, int source, const char *name)
{
    int key = lua_gettop(L);
    lua_getfield(L, target, name);
    lua_getfield(L, source, name);
    lua_pushvalue(L, key);
    copy_entry(L, key + 1, key + 2);
    lua_settop(L, key);
}

void mg_yaml_merge(lua_State *L, int marks, int target)
{
    int source = lua_gettop(L);
    lua_pushvalue(L, source);
    lua_rawget(L, marks);
    int record = source + 1;
    lua_getfield(L, record, "order");
    int order = source + 2;
    int count = (int)lua_objlen(L, order);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, order, i);
        lua_pushvalue(L, -1);
        lua_rawget(L, target);
        bool missing = lua_isnil(L, -1);
        lua_pop(L, 1);
        if (missing) {
            copy_entry(L, target, source);
            copy_mark(L, target + 1, record, "keys");
            copy_mark(L, target + 1, record, "values");
            append(L, target + 1, "order");
        }
        lua_settop(L, order);
    }
    lua_settop(L, source);
}
