/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the checker hands to the workers, as one sealed memfd: the expanded configuration, every Lua
 * source that was loaded, and a flat plan that the master reads without Lua. Its SHA-256 is the
 * generation's digest.
 *
 *   "MGBUNDLE" u32 version u32 entries, then entries: u32 name length, u32 data length, name, data,
 *   padded to 8 bytes. Names: "plan" (struct mg_plan as text lines "key value"), "config" (Lua
 *   literal of the expanded tree), "file" (name of the configuration file), "lua:PATH" (source by
 *   path or module).
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/shm.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define MG_PLAN_LISTENERS 64

struct mg_plan_listener {
    char address[128];
    int backlog;
};

/* What the master needs to know of a configuration. */
struct mg_plan {
    uint32_t workers;                               /* 0 = auto */
    uint64_t shared_memory;                         /* bytes wanted */
    uint64_t limit_cells, breakers, keyed_breakers; /* needed by the configuration */
    uint32_t metric_series;                         /* of one metric */
    char status[128];                               /* address, empty = none */
    uint32_t status_given;                          /* it was asked for: 1, else 0 */
    uint64_t watchdog_ms, drain_delay, drain_timeout, init_timeout; /* ms */
    uint32_t dns_timeout, dns_tries, dns_stale, dns_negative;       /* ms, but for tries */
    char user[64];
    char error_log[512]; /* empty = stderr */
    char log_level[16];
    struct mg_plan_listener listeners[MG_PLAN_LISTENERS];
    uint32_t listener_count;
    char digest[65]; /* hex SHA-256 of the whole bundle; computed when it is opened */
};

/* What a configuration asks of the shared memory. */
static inline struct mg_shm_wish mg_plan_memory(const struct mg_plan *plan, uint32_t workers)
{
    return (struct mg_shm_wish){.workers = workers,
                                .series = plan->metric_series,
                                .cells = plan->limit_cells,
                                .breakers = plan->breakers,
                                .keyed = plan->keyed_breakers};
}

struct mg_bundle {
    int fd;
    const char *data; /* mapped read-only */
    size_t bytes;
    struct mg_plan plan;
};

/* Builds in memory. */
struct mg_bundle_writer {
    struct mg_buf bytes;
    uint32_t entries;
};
void mg_bundle_writer_init(struct mg_bundle_writer *writer);
MG_NODISCARD int mg_bundle_writer_add(struct mg_bundle_writer *writer, mg_str name, mg_str data);
MG_NODISCARD int mg_bundle_writer_plan(struct mg_bundle_writer *writer, const struct mg_plan *plan);
/* Seals into a new memfd; the writer is emptied. The fd, or negative errno. */
int mg_bundle_writer_seal(struct mg_bundle_writer *writer);

/* Maps and checks a bundle; takes the fd on success. MG_EINVALID, errno. */
MG_NODISCARD int mg_bundle_open(struct mg_bundle *bundle, int fd);
void mg_bundle_close(struct mg_bundle *bundle);
/* An entry, borrowed from the mapping; false when there is none. */
bool mg_bundle_find(const struct mg_bundle *bundle, mg_str name, mg_str *data);
/* Calls fn for every entry whose name starts with the prefix. */
void mg_bundle_each(const struct mg_bundle *bundle, mg_str prefix,
                    void (*fn)(void *context, mg_str name, mg_str data), void *context);
