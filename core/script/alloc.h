/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting allocator of a Lua state: stands before LuaJIT's own one (which gives a closed state's
 * memory back as a whole) and refuses what would pass the limit. Lua then raises "not enough
 * memory"; after a full collection the state is usable again (docs/threat-model.md).
 *
 *     lua_State *L = luaL_newstate();
 *     mg_alloc_attach(&alloc, L, limits->lua_memory);
 *     if (mg_alloc_wants_collection(&alloc)) lua_gc(L, LUA_GCCOLLECT, 0);
 *     mg_alloc_close(&alloc, L);                  // instead of lua_close
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;

struct mg_alloc {
    void *(*next)(void *context, void *memory, size_t old_bytes, size_t new_bytes);
    void *next_context;
    size_t used_bytes, peak_bytes;
    size_t limit_bytes; /* SIZE_MAX = none */
    size_t soft_bytes;  /* 80 % of it, or more while live data stays above that */
    bool enforced;      /* only while Lua runs protected: a refusal elsewhere would abort */
    uint64_t refused;   /* allocations, since the start */
};

/* limit_bytes 0: none. */
void mg_alloc_attach(struct mg_alloc *alloc, struct lua_State *L, uint64_t limit_bytes);
/* Changes the limit of a state that is already counted. */
void mg_alloc_set_limit(struct mg_alloc *alloc, uint64_t limit_bytes);
/* After a full collection: when the next one is wanted. */
void mg_alloc_set_soft(struct mg_alloc *alloc);
/* lua_close. */
void mg_alloc_close(struct mg_alloc *alloc, struct lua_State *L);

/* Over 80 % of the limit: time for a full collection. */
static inline bool mg_alloc_wants_collection(const struct mg_alloc *alloc)
{
    return alloc->used_bytes > alloc->soft_bytes;
}

/* Over 90 % of the limit: asked after a full collection, the state is beyond help. */
bool mg_alloc_is_exhausted(const struct mg_alloc *alloc);
