/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a log sink writes, and by which rules. Two sinks with equal settings are one. All texts are
 * borrowed here; a sink has its own copy (mg_sink_settings_copy).
 */
#pragma once

#include "base/str.h"

#include <sys/types.h>

enum mg_sink_kind {
    MG_SINK_STDOUT,
    MG_SINK_STDERR,
    MG_SINK_FILE,
    MG_SINK_DATAGRAM, /* a line each, over UDP or to a unix socket */
    MG_SINK_TCP,      /* a line each */
    MG_SINK_HTTP,     /* batches */
    MG_SINK_TAKEN,    /* batches that somebody above comes for */
};

enum mg_sink_encoding {
    MG_SINK_NDJSON, /* lines as they are */
    MG_SINK_JSON,   /* an array of them */
    MG_SINK_SINGLE, /* one line a request, without its LF */
};

struct mg_sink_settings {
    enum mg_sink_kind kind;
    mg_str path;              /* of a file; of a unix socket for datagrams */
    mode_t mode;              /* of a file that is made */
    uint64_t reopen_check_ms; /* how often the path is looked at, while lines are written */
    size_t queue_bytes;       /* of this worker */
    uint32_t queue_entries;
    bool drop_newest;

    /* over the network */
    mg_str name; /* what people call it, without secrets: "udp://127.0.0.1:514" */
    mg_str host;
    uint16_t port;
    uint64_t connect_ms;
    uint64_t timeout_ms; /* of a request; of TCP: how long nothing may be taken */
    uint64_t first_ms;   /* until a failure is tried again; doubles ... */
    uint64_t max_ms;     /* ... up to this */
    uint64_t for_ms;     /* then what failed is dropped */
    uint32_t batch;      /* lines of a request, or dropped together */
    uint64_t flush_ms;   /* HTTP: how long a line waits for others */
    bool tls;            /* of TCP and HTTP ... */
    bool no_verify;
    mg_str server_name;    /* ... whose certificate has this name; empty: host */
    mg_str ca, cert, key;  /* PEM, see net/tls.h */
    bool syslog;           /* RFC 5424 in front of each line; octet-counted over TCP (RFC 6587) */
    uint32_t facility;     /* its number */
    mg_str tag;            /* APP-NAME */
    mg_str method, target; /* HTTP: path with query */
    mg_str host_field;
    mg_str headers; /* "Name: value\n" each */
    mg_str content_type;
    enum mg_sink_encoding encoding;
    bool gzip;
    uint64_t keepalive_ms; /* how long its connection may idle; 0: one for each request */
};

/* The texts in one block of memory, each ended by NUL: free(*block). */
void mg_sink_settings_copy(struct mg_sink_settings *to, const struct mg_sink_settings *from,
                           char **block);
bool mg_sink_settings_equal(const struct mg_sink_settings *a, const struct mg_sink_settings *b);
