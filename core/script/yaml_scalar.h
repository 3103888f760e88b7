/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plain YAML scalar means: YAML 1.2's core schema without infinities, and the words and
 * digits that YAML 1.1 readers understand otherwise ("traps").
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct lua_State;

/* Pushes null (NULL light userdata), a boolean, a number or the text itself. text ends with a NUL.
 * */
void mg_yaml_push_plain(struct lua_State *L, const char *text, size_t length);

/* Is the plain scalar one that YAML 1.1 reads otherwise (no, 010, 22:30)? Then writes a sentence
 * that says so, cut to size bytes. */
bool mg_yaml_is_trap(const char *text, size_t length, char *sentence, size_t size);
