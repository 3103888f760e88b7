/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML text to Lua values in which every key and every value keeps its place.
 *
 *     local yaml = require 'moongate.yaml'
 *     local value, marks, notes = yaml.parse(text)
 *
 * A text that cannot be read gives nil, { line =, column =, message =, limit = true or nil }.
 *
 * value   what the text says: tables, text, numbers, booleans; null is the NULL light userdata (the
 *         same as cjson.null). Keys are always text. An alias gives the very table of its anchor,
 *         so the result may share tables; it never has a cycle.
 * marks   marks[table], for each table of value:
 *             kind    'map' or 'seq'
 *             at      mark of the collection itself
 *             order   keys of a map as written (merged keys last)
 *             keys    key -> mark of the key (maps only)
 *             values  key or index -> mark of the value
 *         A mark is one number, (line * 16384 + column) * 16384 + length, counted in characters,
 *         line and column from 1. Length is 0 where the thing spans lines.
 * notes   array of { severity =, kind =, line =, column =, length =, message = }. Kinds:
 *         'duplicate' (severity 'error'; the first value stands), and 'trap' (severity 'warning';
 *         a plain scalar that YAML 1.1 reads otherwise).
 *
 * Plain scalars follow YAML 1.2: null, ~, true, false, decimal, 0o, 0x and decimal fractions; all
 * else is text. Merge keys (<<) work. One document; 4 MiB, depth 32, 10,000 nodes through aliases
 * (docs/configuration.md). Custom tags, non-scalar keys and aliases to an open node are errors.
 *
 * libyaml's state lives in a userdata with a finaliser, and its frames are never on the C stack
 * while Lua runs: an out-of-memory error of Lua leaks nothing.
 */
#pragma once

struct lua_State;

/* lua_CFunction for package.preload['moongate.yaml']: pushes the module table. */
int mg_yaml_open(struct lua_State *L);
