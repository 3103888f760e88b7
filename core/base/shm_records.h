/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies in the shared region, as plain structs of fixed layout without pointers: a worker's
 * slot, a limiter's cell and record, a breaker's record, a store's record, the records of upstreams
 * and their targets, those of log sinks, metrics and their series. Who may change what stands in
 * shm.h, shm_cells.h, shm_words.h, shm_upstreams.h, shm_sinks.h and shm_metrics.h. A change in here
 * raises MG_SHM_LAYOUT (shm_region.h).
 */
#pragma once

#include <stdint.h>

#define MG_SHM_MAX_SERIES 100000

/* What a region is to have room for. */
struct mg_shm_wish {
    uint32_t workers;
    uint32_t series;   /* of one metric; 0 = 250 */
    uint64_t cells;    /* of limiters: the sum of max_keys over all limits */
    uint64_t breakers; /* at least; there are never less than 512 */
    uint64_t keyed;    /* breakers by key: the sum of max_keys over all entries */
};

#define MG_SLOT_TEXT 64

/* Written by its worker alone, with plain stores; read by the master. */
struct mg_slot {
    int32_t pid;
    uint32_t ready;      /* the worker serves */
    uint64_t generation; /* the one it serves */
    uint64_t beat;       /* one per loop turn */
    uint32_t waiting;    /* inside the poll call */
    uint32_t running;    /* inside Lua; then the texts below say where */
    char plugin[MG_SLOT_TEXT], phase[24], route[MG_SLOT_TEXT], request_id[MG_SLOT_TEXT];
} __attribute__((aligned(64)));

struct mg_cell_key {
    uint64_t hash[2];
};

#define MG_CELL_HELD INT64_MAX /* free_at_ms of a cell that something is held in */

struct mg_cell {
    struct mg_cell_key key; /* 0, 0: never used */
    int64_t free_at_ms;     /* from then on it is as good as new */
    uint32_t limit : 24;    /* index of its limit's record, plus 1; 0 = none */
    uint32_t network : 8;   /* class of the client's network */
    uint32_t era;           /* of the clock; another era's state is void (mg_shm_tick) */
    int64_t state[4];       /* of the algorithm */
};

#define MG_NETWORKS 256 /* classes that clients' networks are hashed into */
#define MG_LIMIT_RULE_BYTES 64

struct mg_limit_record {
    struct mg_cell_key id;     /* 0, 0: free */
    struct mg_cell_key family; /* limits that follow one another by edits of window or algorithm */
    uint32_t max_keys;
    char name[36];
    int64_t used_ms;   /* last opened or given a new key */
    int64_t window_ms; /* how long its counts mean something after an edit; 0 = not at all */
    unsigned char rule[MG_LIMIT_RULE_BYTES];    /* opaque here */
    uint32_t is_current;                        /* of its family */
    uint32_t until;                             /* word of a cell's state that is a time, plus 1 */
    uint32_t former;                            /* the one before, plus 1; 0 = none ... */
    struct mg_cell_key former_id;               /* ... if that record still has this id ... */
    int64_t former_until_ms;                    /* ... which counts until then */
    uint32_t live __attribute__((aligned(64))); /* cells with its keys; by compare-and-swap */
    uint32_t live_of[MG_NETWORKS];              /* of them, by class of network */
    uint64_t overflowed;                        /* decisions in an overflow cell */
    uint64_t near;                              /* admitted when less than a fifth was left */
    uint64_t over_admit;                        /* units that may be admitted too much */
    uint64_t bans;                              /* begun by a denial of this limit */
    uint64_t running, swept;                    /* cells whose time runs: known, found so far */
    struct mg_cell overflow __attribute__((aligned(64))); /* where the table has no room for one */
};

#define MG_BREAKER_BUCKETS 60
#define MG_BREAKER_CALLS 1024
#define MG_BREAKER_NAME 96
#define MG_BREAKER_COUNTERS 40
#define MG_BREAKER_RECENT 16

struct mg_breaker_record {
    struct mg_cell_key id; /* 0, 0: free */
    char name[MG_BREAKER_NAME];
    int64_t used_ms; /* last opened or asked */
    /* of records by key (shm_keyed.h) */
    int64_t forget_ms;   /* after so long CLOSED and unused it is as good as new */
    uint32_t owner_back; /* so many records before it stands its owner; 0: it has a name */
    uint32_t keys;       /* of an owner: records by key that are in use */
    uint64_t blemish_ms; /* window by time: when the last result came that is no plain success */
    uint64_t state __attribute__((aligned(64))); /* its lowest three bits 0: CLOSED */
    uint64_t results;                            /* of probes in this epoch */
    uint64_t consecutive;                        /* failures in a row in this epoch */
    uint64_t window;  /* digest of the window's shape and how often it changed */
    uint64_t calls;   /* window by count: results so far in this epoch */
    uint64_t ramp;    /* part of a request that RAMP owes in this epoch */
    uint64_t unheard; /* a bit for each of `recent` that no worker has told plugins of */
    uint64_t shadow;  /* 1: it only watches */
    uint64_t counters[MG_BREAKER_COUNTERS] __attribute__((aligned(64))); /* only grow */
    uint64_t recent[MG_BREAKER_RECENT];                                  /* transitions, by epoch */
    struct mg_cell probes __attribute__((aligned(64)));                  /* state[0]: slots taken */
    union {
        struct {
            uint64_t total, failures, network, slow;
        } buckets[MG_BREAKER_BUCKETS];
        struct {
            uint64_t failed[MG_BREAKER_CALLS / 64], network[MG_BREAKER_CALLS / 64],
                slow[MG_BREAKER_CALLS / 64];
        } ring;
    };
};

#define MG_STORES 32 /* records in a region */
#define MG_STORE_NAME 64
#define MG_STORE_WINDOW 16
#define MG_STORE_RESULTS 32

/* A store that the limits and plugins ask (Redis): its breaker and what became of operations. */
struct mg_store_record {
    struct mg_cell_key id; /* 0, 0: free */
    char name[MG_STORE_NAME];
    int64_t used_ms;                             /* last opened or asked */
    uint64_t state __attribute__((aligned(64))); /* of its breaker, see net/redis_breaker.c */
    uint64_t consecutive;                        /* failures in a row */
    uint64_t reason;                             /* of the last failure */
    uint64_t opened;                             /* times it opened */
    uint64_t hosts;                              /* that count limits in it; 0 = not known */
    uint64_t instances;                          /* the same, or as configured; 0 = no limits */
    uint64_t opened_ms;                          /* monotonic; when it opened last */
    uint64_t open_ms;                            /* that it was open, before that */
    uint64_t window[MG_STORE_WINDOW];            /* failures of a short time each */
    uint64_t results[MG_STORE_RESULTS] __attribute__((aligned(64))); /* operations, by result */
};

#define MG_UPSTREAM_NAME 96
#define MG_RETRY_RESULTS 3 /* model/retry.h */
#define MG_EJECT_REASONS 5 /* model/health.h */
#define MG_FULL_LIMITS 4   /* model/peer.h */
#define MG_HEALTH_BUCKETS 10

/* What begins the records of upstreams and of targets. */
struct mg_upstream_head {
    struct mg_cell_key id; /* 0, 0: free */
    int64_t used_ms;       /* monotonic; last opened or touched */
    uint64_t generation;   /* the newest one that has it */
    char name[MG_UPSTREAM_NAME];
};

/* An upstream, or the host of a service without one: what all workers count of it. */
struct mg_upstream_record {
    struct mg_upstream_head head;
    uint64_t first_tries __attribute__((aligned(64))); /* requests that were tried at all */
    uint64_t budget;                                   /* of retries, see model/retry.c ... */
    uint64_t budget_each;                              /* ... thousandths a first try adds */
    uint64_t retries[MG_RETRY_RESULTS];
    uint64_t ejections[MG_EJECT_REASONS];
    uint64_t full[MG_FULL_LIMITS]; /* requests refused */
};

/* A target of an upstream: its health, see model/health.c. */
struct mg_target_record {
    struct mg_upstream_head head; /* the name is "host:port" */
    uint32_t upstream;            /* index of its record */
    uint32_t weight;
    uint64_t state __attribute__((aligned(64)));
    uint64_t streak;                    /* failures in a row */
    uint64_t tallies;                   /* in a row: successes and three kinds of failures */
    uint64_t ejected;                   /* times it was taken out */
    uint64_t checks[2];                 /* active health checks: good ones, bad ones */
    uint64_t window[MG_HEALTH_BUCKETS]; /* results of a second each */
};

enum mg_sink_reason {
    MG_SINK_QUEUE_FULL,
    MG_SINK_RETRY_EXPIRED, /* not delivered for as long as is tried */
    MG_SINK_REFUSED,       /* the reader is gone, or does not want them */
    MG_SINK_TOO_BIG,       /* longer than the sink takes */
    MG_SINK_DISK,          /* the queue ran over while the file could not be written */
    MG_SINK_SHUTDOWN,      /* the process ended first */
    MG_SINK_WORKER_DIED,   /* with what was queued in it */
    MG_SINK_REASONS
};

#define MG_SINK_RECORDS 32 /* in a region; the last one is for all that have no room */
#define MG_SINK_NAME 128
#define MG_SINK_BUCKETS 10 /* of the histogram of flushes */

struct mg_sink_record {
    struct mg_cell_key id; /* 0, 0: free */
    char name[MG_SINK_NAME];
    int64_t used_ms; /* last opened */
};

/* One worker's part of a record, of all its sinks with that name together; plain stores. */
struct mg_sink_part {
    uint64_t offered, written; /* lines */
    uint64_t dropped[MG_SINK_REASONS];
    uint64_t bytes_written;
    uint64_t queue_bytes; /* now */
    uint64_t open, down;  /* sinks that are open, that fail; now */
    uint64_t died_told;   /* of dropped[WORKER_DIED]: in records of loss */
    int64_t since_ms;     /* wall time of the oldest line that may be queued */
    uint64_t flush_us, flush_buckets[MG_SINK_BUCKETS];
} __attribute__((aligned(64)));

enum mg_metric_type { MG_METRIC_COUNTER, MG_METRIC_GAUGE, MG_METRIC_HISTOGRAM };

enum mg_metric_unit {
    MG_UNIT_WHOLE,        /* words are numbers */
    MG_UNIT_MICROSECONDS, /* shown as seconds; bounds of buckets are microseconds too */
    MG_UNIT_REAL,         /* words are doubles, but for the counts of buckets */
};

#define MG_METRICS 256 /* records in a region */
#define MG_METRIC_NAME 96
#define MG_METRIC_HELP 160
#define MG_METRIC_LABELS 6
#define MG_METRIC_LABEL 32
#define MG_METRIC_BOUNDS 24

struct mg_metric_record {
    char name[MG_METRIC_NAME], help[MG_METRIC_HELP];
    char labels[MG_METRIC_LABELS][MG_METRIC_LABEL];
    double bounds[MG_METRIC_BOUNDS];
    uint32_t label_count, bound_count;
    uint32_t type, unit; /* enum mg_metric_type, enum mg_metric_unit */
    uint32_t width;      /* words of a series */
    uint32_t overflow;   /* first word of the series __overflow__ */
    uint32_t series;     /* made so far, without that one; under the lock */
    uint32_t hidden;     /* another definition has taken its name */
    uint64_t overflowed; /* openings that ended in __overflow__ */
};

struct mg_series_record {
    struct mg_cell_key key; /* of metric and values */
    uint32_t metric;
    uint32_t word;
    uint32_t text; /* offset of the values, each ended by a NUL */
    uint32_t text_bytes;
};
