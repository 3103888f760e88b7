/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A name server of a test: on 127.0.0.1, by UDP, and by TCP for answers over 1232 bytes, served by
 * the loop under test. It answers from a table of the test, or keeps silent, and counts what it was
 * asked.
 *
 *     struct name_server server;
 *     name_server_open(&server, &loop);
 *     server.records = records;                  // ends with a record without a name
 *     options.servers = server.address;
 *     ...
 *     name_server_close(&server);                // before mg_loop_close
 */
#pragma once

#include "net/loop.h"

enum name_answer {
    ANSWER_A,     /* 192.0.2.1 ... 192.0.2.count */
    ANSWER_LOCAL, /* A: 127.0.0.1 ... 127.0.0.count */
    ANSWER_AAAA,  /* 2001:db8::1 ... */
    ANSWER_CNAME, /* an alias of the next record, which follows in the same answer */
    ANSWER_SERVFAIL,
    ANSWER_SILENCE, /* for both families, when it comes first; else for the one not listed */
};

/* A name that is not listed does not exist (NXDOMAIN); a family that is not, has no data. */
struct name_record {
    const char *name;
    enum name_answer answer;
    uint32_t ttl_s;
    int count;
};

struct name_server {
    struct mg_loop *loop;
    uv_poll_t udp, listener, tcp;
    int udp_fd, listener_fd, tcp_fd;   /* tcp: one connection at a time, -1 = none */
    char address[32];                  /* "127.0.0.1:PORT" */
    const struct name_record *records; /* may change at any time */
    int asked_a, asked_aaaa;           /* of listed names */
    int asked_by_tcp;
};

void name_server_open(struct name_server *server, struct mg_loop *loop);
void name_server_close(struct name_server *server);
