/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fields that an access-log line can show (policies, 4.2), and a line's compiled form: for
 * script/record.c and script/record_value.c. record.h has the functions.
 */
#pragma once

#include "base/arena.h"
#include "script/redact.h"

struct mg_record_run;
struct mg_record_runs;
struct mg_record_stamp;

enum mg_record_form {
    MG_RECORD_JSON,
    MG_RECORD_COMBINED,
    MG_RECORD_TEMPLATE,
};

enum mg_record_client_ip {
    MG_CLIENT_IP_FULL,
    MG_CLIENT_IP_PREFIX, /* the first 24 bits, of IPv6 48 */
    MG_CLIENT_IP_HASH,
    MG_CLIENT_IP_NONE,
};

/* id, name; where the name has no dot it can stand in JSON, where it is marked true in a template
 * */
#define MG_RECORD_MAP(X)                                                                           \
    X(TS, "ts", true)                                                                              \
    X(REQUEST_ID, "request_id", true)                                                              \
    X(TRACE_ID, "trace_id", true)                                                                  \
    X(SPAN_ID, "span_id", true)                                                                    \
    X(CLIENT_IP, "client_ip", true)                                                                \
    X(PEER_IP, "peer_ip", true)                                                                    \
    X(METHOD, "method", true)                                                                      \
    X(SCHEME, "scheme", true)                                                                      \
    X(HOST, "host", true)                                                                          \
    X(PATH, "path", true)                                                                          \
    X(QUERY, "query", true)                                                                        \
    X(PROTOCOL, "protocol", true)                                                                  \
    X(TLS, "tls", false) /* absent: no listener speaks it yet */                                   \
    X(ROUTE, "route", true)                                                                        \
    X(SERVICE, "service", true)                                                                    \
    X(UPSTREAM, "upstream", true)                                                                  \
    X(CONSUMER, "consumer", true)                                                                  \
    X(STATUS, "status", true)                                                                      \
    X(OUTCOME, "outcome", true)                                                                    \
    X(ENDED_BY, "ended_by", true)                                                                  \
    X(ENDED_IN, "ended_in", true)                                                                  \
    X(BYTES_IN, "bytes_in", true)                                                                  \
    X(BYTES_OUT, "bytes_out", true)                                                                \
    X(BODY_BYTES_OUT, "body_bytes_out", true)                                                      \
    X(T, "t", false)                                                                               \
    X(TRIES, "tries", false)                                                                       \
    X(RETRIES, "retries", true)                                                                    \
    X(LIMIT, "limit", false)                                                                       \
    X(BREAKER, "breaker", false)                                                                   \
    X(USER_AGENT, "user_agent", true)                                                              \
    X(REFERER, "referer", true)                                                                    \
    X(WORKER, "worker", true)                                                                      \
    X(GENERATION, "generation", true)                                                              \
    X(PLUGIN_MS, "plugin_ms", false)                                                               \
    X(REQ_BODY, "req_body", true)                                                                  \
    X(RESP_BODY, "resp_body", true)                                                                \
    X(T_HEAD, "t.head", true)                                                                      \
    X(T_PLUGINS, "t.plugins", true)                                                                \
    X(T_DELAY, "t.delay", true)                                                                    \
    X(T_QUEUE, "t.queue", true)                                                                    \
    X(T_CONNECT, "t.connect", true)                                                                \
    X(T_TTFB, "t.ttfb", true)                                                                      \
    X(T_UPSTREAM, "t.upstream", true)                                                              \
    X(T_TOTAL, "t.total", true)

enum mg_record_field {
#define MG_RECORD_ENUM(id, name, in_template) MG_RECORD_##id,
    MG_RECORD_MAP(MG_RECORD_ENUM)
#undef MG_RECORD_ENUM
        MG_RECORD_REQ_HEADER, /* req.header.NAME; in JSON all of them are one object, req_headers */
    MG_RECORD_RESP_HEADER,    /* resp.header.NAME */
    MG_RECORD_ALL_REQ_HEADERS, /* req_headers, resp_headers: for expressions */
    MG_RECORD_ALL_RESP_HEADERS,
    MG_RECORD_LITERAL,  /* of a template */
    MG_RECORD_CONSTANT, /* a custom field whose value is known */
};

struct mg_record_item {
    enum mg_record_field field;
    mg_str key;                /* of JSON, with comma and colon: ,"status":  Behind it a quote. */
    mg_str text;               /* header name, literal, or JSON of a constant */
    mg_str fallback;           /* of a template, where there is no value */
    bool secret;               /* a header that is taken out */
    bool url;                  /* a header that holds one: Referer, Location */
    struct mg_record_run *run; /* that begins here, or NULL; see record_run.h */
    uint32_t step;             /* that writes it, and perhaps others beside it */
};

/* record_fast.c's: how items are written straight from the request. */
struct mg_record_step {
    const char *key;
    uint8_t key_length;
    uint8_t shape; /* of the value; 0: it has to be written otherwise */
    uint16_t at;   /* where it lies in the request */
    uint32_t item; /* the first one */
    union {
        struct mg_record_stamp *stamp;
        struct mg_record_run *run;
        uint64_t headers; /* bits by enum mg_header_id */
    };
};

struct mg_record_options {
    enum mg_record_form form;
    enum mg_record_client_ip client_ip;
    enum mg_redact_action action;
    mg_str hash_key;        /* for hashes; empty = random */
    size_t line_bytes;      /* longest line with its LF */
    uint32_t body_bytes[2]; /* of bodies that are shown, by enum mg_seen_side; 0: none */
    mg_str body_types;      /* of those, each with a blank behind it */
};

struct mg_record {
    struct mg_arena arena;
    struct mg_record_options options;
    struct mg_redact redact;
    struct mg_record_item *items;
    uint32_t count, capacity;
    struct mg_record_step *steps; /* one less than there is room for: an end follows */
    uint32_t step_count;
    struct mg_record_runs *runs; /* NULL: there is no run */
    struct mg_record_run *run;   /* the last one, */
    uint32_t run_end;            /* and where the item is that may continue it */
    size_t fast_bytes;           /* record_fast.c's: bound of what has one */
    char *room;                  /* line_bytes */
};
