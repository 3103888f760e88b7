/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a checked Lua table into C data, for script/snapshot*.c. All access is raw: no metamethod
 * runs. A value of the wrong type is a bug of the loader and raises a Lua error that names the
 * field; text is copied into the configuration's arena.
 *
 *     mg_snapshot_text(reader, at, "name");              // "" where unset
 *     if (mg_snapshot_open(reader, at, "limits")) {      // pushes the table
 *         ...
 *         lua_pop(reader->L, 1);
 *     }
 */
#pragma once

#include "model/config.h"

#include <lua.h>

struct mg_snapshot_reader {
    lua_State *L;
    struct mg_config *config;
    int entities; /* stack index of the map: entity's table -> light userdata */
};

/* In all of them: at is the absolute stack index of a table; null counts as unset. */

/* The field is a table: pushes it. Unset: pushes nothing and returns false. */
bool mg_snapshot_open(struct mg_snapshot_reader *reader, int at, const char *name);
mg_str mg_snapshot_text(struct mg_snapshot_reader *reader, int at, const char *name);
/* In ASCII lower case. */
mg_str mg_snapshot_lower(struct mg_snapshot_reader *reader, int at, const char *name);
/* A whole number of 0 or more; fallback where unset. */
uint64_t mg_snapshot_number(struct mg_snapshot_reader *reader, int at, const char *name,
                            uint64_t fallback);
/* A whole number that fits. */
int32_t mg_snapshot_int32(struct mg_snapshot_reader *reader, int at, const char *name,
                          int32_t fallback);
bool mg_snapshot_flag(struct mg_snapshot_reader *reader, int at, const char *name, bool fallback);
/* Cleared memory in the arena for so many items; NULL for none. */
void *mg_snapshot_array(struct mg_snapshot_reader *reader, uint32_t count, size_t item_bytes);
/* Elements of the array field, 0 where unset. */
uint32_t mg_snapshot_count(struct mg_snapshot_reader *reader, int at, const char *name);
/* The texts of an array field in the arena; lower: in lower case. */
mg_str *mg_snapshot_texts(struct mg_snapshot_reader *reader, int at, const char *name, bool lower,
                          uint32_t *count);
/* The text on top of the stack, which is popped. */
mg_str mg_snapshot_pop_text(struct mg_snapshot_reader *reader, const char *name, bool lower);

/* Where the number of a field belongs in a struct; ends with a NULL name. */
struct mg_snapshot_field {
    const char *name;
    size_t offset;
    size_t bytes; /* 4 or 8 */
};
#define MG_SNAPSHOT_FIELD(type, member, name)                                                      \
    {                                                                                              \
        (name), offsetof(type, member), sizeof(((type *)0)->member)                                \
    }
/* Stores the fields that are set. */
void mg_snapshot_numbers(struct mg_snapshot_reader *reader, int at,
                         const struct mg_snapshot_field *fields, void *target);

/* Remembers that the table at the stack index is this entity. */
void mg_snapshot_remember(struct mg_snapshot_reader *reader, int at, void *entity);
/* The entity that the field refers to, or NULL. */
void *mg_snapshot_reference(struct mg_snapshot_reader *reader, int at, const char *name);
