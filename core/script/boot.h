/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What C hands to Lua when a state starts: package.loaded['moongate.runtime.boot'], a table with
 *
 *   shared                      light userdata, struct mg_ffi_shared *
 *   ffi_source                  text of ffi.h
 *   lua_path, plugins_path      folders
 *   bundle(name) -> text|nil    entry of the bundle; absent when sources come from disk
 *   bundle_names(prefix) -> array of names
 *   log(level, component, text) a line of the error log
 *   limit_text() -> text        which limit was reached, for whom
 *   blocked(turn) -> 0|1|2      quarantine: 0 run it, 1 skip it, 2 fail; passed(turn): it ran
 *   count_abort()               for statistics
 *   address(offset)             light userdata inside the shared struct
 *   list(folder) -> array       names of files and folders in it
 *   sha1(text) -> text          40 hexadecimal digits
 *   phases {name -> number}, errors {NAME -> code}, unwind {NAME -> number}
 *   worker, workers, version, bare
 */
#pragma once

struct lua_State;
struct mg_vm;

/* Pushes the table. Raises Lua errors (a file that cannot be read): call it protected. */
void mg_boot_push(struct mg_vm *vm, struct lua_State *L);
/* Pushes the source of a module of our own, by its name, and its chunk name ("@path"); raises. */
void mg_boot_push_module(struct mg_vm *vm, struct lua_State *L, const char *module);
