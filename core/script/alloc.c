/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The count is exact, since Lua tells the old size with each call. What was in use before the
 * counter was attached is taken from lua_gc.
 */
#include "script/alloc.h"

#include <lua.h>

/* Lua assumes that freeing and shrinking never fail, so only growth is refused. */
static void *count(void *context, void *memory, size_t old_bytes, size_t new_bytes)
{
    struct mg_alloc *alloc = context;
    const size_t without = alloc->used_bytes - (memory ? old_bytes : 0);
    const size_t room = without < alloc->limit_bytes ? alloc->limit_bytes - without : 0;
    if (new_bytes > room && new_bytes > old_bytes && alloc->enforced) {
        alloc->refused++;
        return NULL;
    }
    void *result = alloc->next(alloc->next_context, memory, old_bytes, new_bytes);
    if (result || new_bytes == 0) {
        alloc->used_bytes = without + new_bytes;
        if (alloc->used_bytes > alloc->peak_bytes) {
            alloc->peak_bytes = alloc->used_bytes;
        }
    }
    return result;
}

void mg_alloc_set_limit(struct mg_alloc *alloc, uint64_t limit_bytes)
{
    alloc->limit_bytes = limit_bytes && limit_bytes < SIZE_MAX ? (size_t)limit_bytes : SIZE_MAX;
    mg_alloc_set_soft(alloc);
}

void mg_alloc_set_soft(struct mg_alloc *alloc)
{
    const size_t share = alloc->limit_bytes / 5 * 4;
    const size_t used =
        alloc->used_bytes < alloc->limit_bytes ? alloc->used_bytes : alloc->limit_bytes;
    const size_t middle = used + (alloc->limit_bytes - used) / 2;
    alloc->soft_bytes = share > middle ? share : middle;
}

void mg_alloc_attach(struct mg_alloc *alloc, struct lua_State *L, uint64_t limit_bytes)
{
    *alloc = (struct mg_alloc){0};
    mg_alloc_set_limit(alloc, limit_bytes);
    alloc->used_bytes =
        (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
    alloc->next = lua_getallocf(L, &alloc->next_context);
    lua_setallocf(L, count, alloc);
}

void mg_alloc_close(struct mg_alloc *alloc, lua_State *L)
{
    /* LuaJIT gives its arena back only to its own function. */
    lua_setallocf(L, alloc->next, alloc->next_context);
    lua_close(L);
}

bool mg_alloc_is_exhausted(const struct mg_alloc *alloc)
{
    return alloc->used_bytes > alloc->limit_bytes / 10 * 9;
}
