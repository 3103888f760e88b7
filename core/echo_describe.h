/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The echo upstream's JSON answer: what it received.
 *
 *     {"method": "POST", "url": "http://host/path?a=1", "path": "/path", "uri_args": {"a": "1"},
 *      "headers": {"host": "host"}, "post_data": {"kind": "form", "text": "b=2", "bytes": 3,
 *      "params": {"b": "2"}}, "vars": {"remote_addr": "127.0.0.1", ...}}
 *
 * Names of headers are in lower case. What came more than once is an array, an argument without '='
 * is true. post_data is null without a body; its text holds at most MG_ECHO_BODY_BYTES octets.
 */
#pragma once

#include "base/buf.h"
#include "net/io.h"
#include "wire/http1.h"

#define MG_ECHO_BODY_BYTES (1024 * 1024)

struct mg_echo_request {
    const struct mg_request_head *head;
    mg_str path, query; /* of the target, as sent */
    bool has_query;
    mg_str body;         /* the octets kept */
    uint64_t body_bytes; /* all octets that came */
    const struct mg_address *peer;
    uint16_t port; /* we listen on */
};

/* Appends to out; scratch memory comes from the arena. false: over the buffer's cap. */
bool mg_echo_describe(struct mg_buf *out, struct mg_arena *arena,
                      const struct mg_echo_request *request);
