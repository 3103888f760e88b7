/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the processor for memory that is about to be used. With thousands of connections the state
 * of each has left the caches when its next event comes; asked for in one go, and before a system
 * call, its lines arrive side by side instead of one after the other.
 *
 *     mg_prefetch(client, sizeof *client);     // then recv(), then client is read and written
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define MG_CACHE_LINE 64

/* To be written. Any address will do: nothing is read, and what is not there is not asked for. */
static inline void mg_prefetch(const void *at, size_t bytes)
{
#pragma GCC unroll 64
    for (size_t i = 0; i < bytes; i += MG_CACHE_LINE) {
        /* as a number: what lies behind the object may be asked for, too */
        __builtin_prefetch((const void *)((uintptr_t)at + i), 1);
    }
    /* gcc takes a function that does nothing but this for one without effect, and drops the call */
    __asm__ volatile("");
}
