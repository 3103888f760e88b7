/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one request: a bump allocator over chained blocks, freed as a whole, with cleanups.
 * The first block stays with the arena over resets, so a request that fits allocates nothing.
 * Memory is aligned to 16 bytes and not cleared. Out of memory aborts the process: sizes that a
 * peer chooses are held to caps before they come here.
 *
 *     struct mg_arena arena;
 *     mg_arena_init(&arena, 4096);
 *     char *copy = mg_arena_copy(&arena, bytes);
 *     mg_arena_defer(&arena, close_file, file);     // runs at reset, last registered first
 *     mg_arena_reset(&arena);
 */
#pragma once

#include "base/str.h"

#include <stddef.h>

struct mg_arena_block;
struct mg_arena_cleanup;

struct mg_arena {
    char *at, *end;
    struct mg_arena_block *blocks; /* newest first; the last one is kept over resets */
    struct mg_arena_cleanup *cleanups;
    size_t block_bytes;
    size_t used_bytes; /* in blocks already full, for statistics */
};

/* No memory is taken before the first allocation. */
void mg_arena_init(struct mg_arena *arena, size_t block_bytes);
/* Runs the cleanups, keeps the first block. */
void mg_arena_reset(struct mg_arena *arena);
/* Runs the cleanups, frees everything; the arena can be used again. */
void mg_arena_deinit(struct mg_arena *arena);
/* Takes a new block when the current one is full. For mg_arena_alloc. */
void *mg_arena_alloc_slow(struct mg_arena *arena, size_t bytes);

static inline void *mg_arena_alloc(struct mg_arena *arena, size_t bytes)
{
    const size_t rounded = (bytes + 15) & ~(size_t)15;
    if (rounded < bytes || rounded > (size_t)(arena->end - arena->at)) {
        return mg_arena_alloc_slow(arena, bytes);
    }
    void *memory = arena->at;
    arena->at += rounded;
    return memory;
}

/* Cleared memory. */
void *mg_arena_zalloc(struct mg_arena *arena, size_t bytes);
/* A copy of the bytes with a terminating NUL after them. */
char *mg_arena_copy(struct mg_arena *arena, mg_str bytes);
mg_str mg_arena_copy_str(struct mg_arena *arena, mg_str bytes);
/* printf into the arena; for rare paths. */
mg_str mg_arena_format(struct mg_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* fn(context) runs when the arena is reset. */
void mg_arena_defer(struct mg_arena *arena, void (*fn)(void *context), void *context);
