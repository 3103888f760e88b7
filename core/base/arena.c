/* SPDX-License-Identifier: Apache-2.0 */
/* Bump allocation over chained blocks. The oldest block survives a reset, larger ones do not. */
#include "base/arena.h"

#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define MG_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MG_POISON 1
#endif
#endif

struct mg_arena_block {
    struct mg_arena_block *older;
    size_t bytes; /* of data, behind this head */
} __attribute__((aligned(16)));

struct mg_arena_cleanup {
    struct mg_arena_cleanup *next;
    void (*fn)(void *context);
    void *context;
};

void mg_arena_init(struct mg_arena *arena, size_t block_bytes)
{
    *arena = (struct mg_arena){.block_bytes = block_bytes};
}

static char *block_data(struct mg_arena_block *block)
{
    return (char *)(block + 1);
}

void *mg_arena_alloc_slow(struct mg_arena *arena, size_t bytes)
{
    const size_t rounded = (bytes + 15) & ~(size_t)15;
    mg_require(rounded >= bytes);
    const size_t wanted = rounded > arena->block_bytes ? rounded : arena->block_bytes;
    struct mg_arena_block *block = malloc(sizeof *block + wanted);
    mg_require(block != NULL);
    *block = (struct mg_arena_block){.older = arena->blocks, .bytes = wanted};
    if (arena->blocks) {
        arena->used_bytes += arena->blocks->bytes;
    }
    arena->blocks = block;
    arena->at = block_data(block) + rounded;
    arena->end = block_data(block) + wanted;
    return block_data(block);
}

static void run_cleanups(struct mg_arena *arena)
{
    while (arena->cleanups) {
        struct mg_arena_cleanup *cleanup = arena->cleanups;
        arena->cleanups = cleanup->next;
        cleanup->fn(cleanup->context);
    }
}

void mg_arena_reset(struct mg_arena *arena)
{
    run_cleanups(arena);
    struct mg_arena_block *block = arena->blocks;
    if (!block) {
        return;
    }
    while (block->older) {
        struct mg_arena_block *older = block->older;
        free(block);
        block = older;
    }
    if (block->bytes > arena->block_bytes) {
        free(block);
        mg_arena_init(arena, arena->block_bytes);
        return;
    }
#ifdef MG_POISON
    memset(block_data(block), 0xdb, block->bytes); /* stale slices show up in sanitizer builds */
#endif
    arena->blocks = block;
    arena->at = block_data(block);
    arena->end = arena->at + block->bytes;
    arena->used_bytes = 0;
}

void mg_arena_deinit(struct mg_arena *arena)
{
    run_cleanups(arena);
    struct mg_arena_block *block = arena->blocks;
    while (block) {
        struct mg_arena_block *older = block->older;
        free(block);
        block = older;
    }
    mg_arena_init(arena, arena->block_bytes);
}

void *mg_arena_zalloc(struct mg_arena *arena, size_t bytes)
{
    void *memory = mg_arena_alloc(arena, bytes);
    memset(memory, 0, bytes);
    return memory;
}

char *mg_arena_copy(struct mg_arena *arena, mg_str bytes)
{
    char *copy = mg_arena_alloc(arena, bytes.len + 1);
    if (bytes.len > 0) {
        memcpy(copy, bytes.ptr, bytes.len);
    }
    copy[bytes.len] = '\0';
    return copy;
}

mg_str mg_arena_copy_str(struct mg_arena *arena, mg_str bytes)
{
    return mg_str_make(mg_arena_copy(arena, bytes), bytes.len);
}

mg_str mg_arena_format(struct mg_arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    mg_require(length >= 0);
    char *text = mg_arena_alloc(arena, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return mg_str_make(text, (size_t)length);
}

void mg_arena_defer(struct mg_arena *arena, void (*fn)(void *context), void *context)
{
    struct mg_arena_cleanup *cleanup = mg_arena_alloc(arena, sizeof *cleanup);
    *cleanup = (struct mg_arena_cleanup){.next = arena->cleanups, .fn = fn, .context = context};
    arena->cleanups = cleanup;
}
