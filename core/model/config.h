/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One generation's configuration snapshot as plain C data: immutable once built, shared by all
 * requests of the generation, freed as a whole (everything lives in one arena). script/snapshot.c
 * fills it from the validated Lua table; model/route_compile.c compiles the router from it; flow
 * reads it. Times are milliseconds, sizes bytes; 0 means "none" or "unlimited" where the document
 * says so.
 */
#pragma once

#include "base/arena.h"
#include "wire/chunk.h"
#include "wire/http1.h"
#include "wire/regex.h"
#include "wire/uri.h"

#include <stdbool.h>
#include <stdint.h>

struct mg_router;
struct mg_route_meter;
struct mg_service_meter;
struct mg_route_runs;
struct mg_peers;

enum mg_phase {
    MG_PHASE_INIT_WORKER,
    MG_PHASE_CONFIGURE,
    MG_PHASE_REWRITE,
    MG_PHASE_ACCESS,
    MG_PHASE_RESPONSE,
    MG_PHASE_HEADER_FILTER,
    MG_PHASE_BODY_FILTER,
    MG_PHASE_LOG,
    MG_PHASE_TIMER,
    MG_PHASE_COUNT
};
#define MG_PHASE_BIT(phase) (1U << (phase))
/* "access"; static */
const char *mg_phase_name(enum mg_phase phase);

/* gateway.limits; a route may have its own copy with some values replaced */
struct mg_limits {
    uint64_t header_timeout, body_timeout, body_total_timeout, send_timeout, keepalive_timeout,
        tunnel_timeout;
    uint64_t body_min_rate; /* bytes a second, after 5 s */
    uint64_t connect_timeout, read_timeout, write_timeout, request_timeout;
    struct mg_http1_limits request_head; /* request_line, header_bytes, ... */
    uint32_t query_args, cookies;
    struct mg_chunk_limits chunk;
    struct mg_http1_limits response_head;
    uint32_t interim_responses;
    uint64_t request_body; /* 0 = unlimited */
    uint64_t request_buffer, response_buffer;
    uint32_t connections; /* of a worker; 0 = derive from the open-file limit */
    uint32_t connection_requests;
    uint64_t lua_memory;
    uint32_t regex_match_limit;
};

struct mg_listener_config {
    mg_str address; /* as written */
    int backlog;
    struct mg_uri_rules uri;
};

struct mg_cidr { /* IPv4 is kept v4-mapped; bits counts from the start of the 16 bytes */
    uint8_t address[16];
    uint8_t bits;
};

struct mg_upstream_limits {
    uint32_t connections, pending, requests;
    uint32_t target_connections; /* of each target, 0 = none */
};

enum mg_retry_on { /* bits: after what a request is tried once more */
                   MG_RETRY_CONNECT_FAILURE = 1,
                   MG_RETRY_RESET_BEFORE_SEND = 2,
                   MG_RETRY_RETRY_AFTER = 4, /* 503 with Retry-After of at most 1 s */
                   MG_RETRY_RESET_BEFORE_HEADERS = 8,
                   MG_RETRY_HEAD_TIMEOUT = 16,
};
#define MG_RETRY_STATUS_FIRST 400
#define MG_RETRY_STATUS_END 600

struct mg_retry { /* gateway.retry, or an upstream's own */
    uint32_t attempts;
    uint32_t on;              /* enum mg_retry_on */
    uint32_t methods;         /* 1 << enum mg_method */
    uint64_t statuses[4];     /* a bit for each from MG_RETRY_STATUS_FIRST */
    uint64_t per_try_timeout; /* to the answer's head, 0 = none */
    uint64_t backoff_base, backoff_max;
    uint32_t budget; /* percent of the first tries */
};

/* Ejection of single targets by what becomes of requests; 0 turns a rule off. */
struct mg_outlier {
    uint32_t consecutive;       /* failures in a row */
    uint32_t failure_percent;   /* of the results of the last 10 s ... */
    uint32_t min_requests;      /* ... when there are so many */
    uint32_t max_eject_percent; /* of the targets at a time */
    uint32_t panic_percent;     /* fewer healthy targets than that: all are used */
    uint32_t open_factor;
    uint64_t open_base, open_max; /* how long, the first time and at most */
    uint64_t ramp;                /* slow start after it */
};

struct mg_upstream_settings {
    uint32_t keepalive;
    uint64_t keepalive_idle;
    struct mg_upstream_limits limits;
    bool allow_link_local;
    struct mg_retry retry;
    struct mg_outlier outlier;
};

struct mg_gateway {
    struct mg_limits limits;
    struct mg_listener_config *listeners;
    uint32_t listener_count;
    struct mg_cidr *trusted;
    uint32_t trusted_count;
    struct mg_upstream_settings upstream_defaults;
    struct {
        mg_str request_id;                 /* field name, empty = none */
        enum mg_header_id request_id_kind; /* id of that name */
        mg_str via;                        /* pseudonym, empty = none */
        mg_str via_1_1;                    /* "1.1 " and the pseudonym; empty where that is */
        mg_str server;                     /* value, empty = none */
        bool latency, kong_names;
    } headers;
    struct {
        uint32_t timeout, tries, stale, negative;
    } dns;
    struct {
        mg_str level, file; /* file empty or "stderr" = stderr */
    } log;
    uint64_t drain_delay, drain_timeout;
    uint64_t watchdog_ms, init_timeout, plugins_drain_timeout; /* 0 = none */
    uint32_t max_generations;
    uint32_t workers; /* 0 = auto */
    uint64_t shared_memory;
    mg_str user;
};

enum mg_balance {
    MG_BALANCE_ROUND_ROBIN,
    MG_BALANCE_LEAST_CONNECTIONS,
    MG_BALANCE_CONSISTENT_HASH,
    MG_BALANCE_LATENCY,
};

enum mg_hash_on {
    MG_HASH_NONE,
    MG_HASH_CONSUMER,
    MG_HASH_IP,
    MG_HASH_HEADER,
    MG_HASH_COOKIE,
    MG_HASH_PATH,
    MG_HASH_QUERY_ARG,
    MG_HASH_URI_CAPTURE,
};

struct mg_target {
    mg_str host; /* name, literal, or "unix:/path" */
    uint16_t port;
    uint32_t weight;
};

#define MG_STATUS_BITS 1000

/* Kong's healthchecks, active or passive: so many in a row change a target's health; 0 = off. */
struct mg_health_rule {
    uint64_t healthy[(MG_STATUS_BITS + 63) / 64]; /* a bit for each status */
    uint64_t unhealthy[(MG_STATUS_BITS + 63) / 64];
    uint32_t successes, tcp_failures, timeouts, http_failures;
};

static inline bool mg_health_rule_is_on(const struct mg_health_rule *rule)
{
    return rule->tcp_failures > 0 || rule->timeouts > 0 || rule->http_failures > 0;
}

struct mg_check_header {
    mg_str name, value;
};

struct mg_active_check {
    bool tcp;             /* connect only */
    uint64_t timeout;     /* ms */
    uint32_t concurrency; /* checks of one upstream at a time */
    mg_str path;
    struct mg_check_header *headers;
    uint32_t header_count;
    uint64_t healthy_interval, unhealthy_interval; /* ms, 0 = such targets are not checked */
};

struct mg_upstream_config {
    mg_str id, name;
    enum mg_balance algorithm;
    enum mg_hash_on hash_on, hash_fallback;
    mg_str hash_name, hash_fallback_name; /* of the header, cookie, argument or capture */
    mg_str hash_cookie_path;
    mg_str host_header; /* empty = the target's host */
    struct mg_target *targets;
    uint32_t target_count;
    uint32_t slots;
    uint32_t threshold; /* share of the weight that must be healthy, 1/1000 %, 0 = off */
    struct mg_health_rule passive, active;
    struct mg_active_check check;
    struct mg_upstream_settings settings;
};

struct mg_service {
    mg_str id, name;
    mg_str host; /* "unix:/path" for a unix socket */
    uint16_t port;
    mg_str path; /* canonical, or empty */
    uint64_t connect_timeout, read_timeout, write_timeout;
    int32_t retries; /* -1 = those of settings */
    bool enabled;
    struct mg_upstream_config *upstream;  /* whose name is the host, or NULL */
    struct mg_upstream_settings settings; /* of the upstream, or the defaults */
    uint32_t group;                       /* index in mg_peers */
    struct mg_service_meter *meter;       /* model/meter.c's */
    uint32_t line;
};

struct mg_route_path {
    mg_str text; /* prefix, or the regex without '~' */
    bool is_regex;
};

struct mg_route_header {
    mg_str name;
    mg_str *values;            /* lower case; "~*re" is a regex */
    struct mg_regex **regexes; /* beside values; NULL where the value is plain */
    uint32_t value_count;
};

struct mg_route {
    mg_str id, name;
    struct mg_service *service; /* NULL = none */
    mg_str *methods;
    uint32_t method_count;
    mg_str *hosts; /* lower case, maybe with a wildcard and a port */
    uint32_t host_count;
    struct mg_route_path *paths;
    uint32_t path_count;
    struct mg_route_header *headers;
    uint32_t header_count;
    bool strip_path, preserve_host, request_buffering, response_buffering;
    bool http, https; /* protocols */
    uint16_t https_redirect_status;
    int32_t regex_priority;
    bool websocket;
    mg_str *trailers; /* names let through, lower case */
    uint32_t trailer_count;
    const struct mg_limits *limits; /* the gateway's, or the route's own */
    uint32_t index;                 /* in mg_config.routes, file order */
    uint32_t line;
    /* filled by the script layer when the handler chains are built */
    uint32_t phases;     /* MG_PHASE_BIT: phases in which some plugin of the route may run */
    uint32_t chain;      /* index of its chain there */
    bool body_read_only; /* every body_filter plugin promises not to change a chunk */
    struct mg_route_meter *meter; /* model/meter.c's */
    struct mg_route_runs *runs;   /* script/runs.c's */
};

struct mg_config {
    struct mg_arena arena;
    uint64_t generation;
    mg_str file;   /* name of the configuration file, for messages */
    mg_str digest; /* hex */
    struct mg_gateway gateway;
    struct mg_service *services;
    uint32_t service_count;
    struct mg_route *routes;
    uint32_t route_count;
    struct mg_upstream_config *upstreams;
    uint32_t upstream_count;
    struct mg_router *router;
    /* phases with a plugin of global scope: for rewrite, and for requests without a route */
    uint32_t global_phases;
    struct mg_route_runs *runs; /* script/runs.c's, of requests without a route */
    uint32_t global_chain;
    bool global_body_read_only;
    mg_str *identity_names; /* lower case, all IDENTITY_HEADERS of loaded plugins */
    uint32_t identity_count;
};

/* Empty, with an arena; freed by mg_config_free (regexes and router too). */
struct mg_config *mg_config_new(void);
void mg_config_free(struct mg_config *config);

/* Is the address (text, v4 or v6) inside one of the ranges? */
bool mg_cidr_match(const struct mg_cidr *ranges, uint32_t count, mg_str ip);
/* One text for one address, in the arena: IPv6 as RFC 5952 writes it, a v4-mapped one as IPv4.
 * MG_EINVALID, and *out is not touched: no address, or one with a prefix, port or zone. */
MG_NODISCARD int mg_address_canonical(struct mg_arena *arena, mg_str text, mg_str *out);
/* "10.0.0.0/8", "::1"; MG_EINVALID. */
MG_NODISCARD int mg_cidr_parse(mg_str text, struct mg_cidr *out);
