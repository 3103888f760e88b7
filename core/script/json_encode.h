/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lua value to JSON text. Touches no metamethod and raises nothing (but Lua's own out-of-memory
 * error while its stack grows): a failure is a code, and the caller raises or returns it.
 */
#pragma once

#include "script/json_text.h"

struct lua_State;

/* Registry keys whose values are the metatables array_mt and empty_array_mt; their addresses, as
 * light userdata, also serve as sentinels: that of mg_json_empty_array is cjson.empty_array. */
extern const char mg_json_array_mt, mg_json_empty_array_mt, mg_json_empty_array;

/* Appends the value at stack index to text. Returns NULL, or what went wrong: a static sentence,
 * or one that stands on top of the stack (an offending type is named there). */
const char *mg_json_encode(struct lua_State *L, int index, const struct mg_json *settings,
                           struct mg_json_text *text);
