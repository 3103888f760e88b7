/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lua tables that remember where in a text they and their entries stand: the marks of yaml.h.
 *
 * "Pair" below means two stack slots, the value table T and its marks record R on top of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct lua_State;

/* A mark from zero-based places: see yaml.h. The end is exclusive. */
double mg_yaml_mark(size_t line, size_t column, size_t end_line, size_t end_column);
/* The line, from 1, of a mark. */
double mg_yaml_mark_line(double mark);

/* The zero-based place of the byte at offset; columns count characters of UTF-8. */
void mg_yaml_place(const char *text, size_t offset, size_t *line, size_t *column);

/* Pushes a pair and enters R in the table at stack index marks. */
void mg_yaml_push_pair(struct lua_State *L, int marks, bool is_map, double mark);

/* Stack: pair, key text. Enters the key and returns 0, or returns the mark of the first key of that
 * name where T has it already. The stack stays as it is. */
double mg_yaml_place_key(struct lua_State *L, double mark);

/* Stack: pair, key, value -> pair. */
void mg_yaml_place_value(struct lua_State *L, double mark);

/* Copies what T, at index target, lacks from the map on top of the stack, which has a record in
 * marks. The stack stays as it is. */
void mg_yaml_merge(struct lua_State *L, int marks, int target);
