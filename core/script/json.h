/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Lua modules `cjson` and `cjson.safe` (docs/plugin-reference.md):
 *
 *     encode(value) -> text            decode(text) -> value          new() -> instance of its own
 *     null, empty_array                sentinels: NULL, and a value that encodes as []
 *     array_mt, empty_array_mt         metatables: always an array; [] when empty
 *     encode_empty_table_as_object(true)      encode_escape_forward_slash(true)
 *     encode_skip_unsupported_value_types(false)
 *     encode_number_precision(14)             1 to 17 significant digits
 *     encode_sparse_array(false, 2, 10)       convert to object, ratio (0 = off), harmless size
 *     encode_max_depth(1000)                  encode_invalid_numbers(false)      also true, "null"
 *     encode_keep_buffer(true)                decode_max_depth(1000)
 *     decode_invalid_numbers(false)           decode_array_with_array_mt(false)
 *     decode_refuse_duplicate_names(false)    ours: of {"a":1,"a":2} readers take one or the other
 *
 * A setter returns the setting, and only that without an argument. `cjson` raises errors;
 * `cjson.safe` returns nil and the message from encode and decode.
 */
#pragma once

struct lua_State;

/* lua_CFunctions for package.preload['cjson'] and ['cjson.safe']: each pushes its module table. */
int mg_json_open(struct lua_State *L);
int mg_json_open_safe(struct lua_State *L);
