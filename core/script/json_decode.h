/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON text to Lua value, by the letter of RFC 8259 (numbers may be looser where the settings say
 * so). Invalid UTF-8 passes as it is; of equal names the last counts; null is the NULL light
 * userdata.
 */
#pragma once

#include "script/json_text.h"

struct lua_State;

/* Pushes the value and returns NULL; or returns what went wrong: a sentence on top of the stack,
 * with the character position from 1. scratch holds strings with escapes while they are put
 * together. */
const char *mg_json_decode(struct lua_State *L, const char *text, size_t length,
                           const struct mg_json *settings, struct mg_json_text *scratch);
