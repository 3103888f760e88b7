/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What would happen to a request, read off a checked configuration (docs/operating.md):
 *
 *     request   GET shop.example /orders/7 (sent as /7: strip_path)
 *     route     orders          moongate.yml:7   host any, path /orders, methods any
 *     chain     1 rate-limit    route; access header_filter
 *     upstream  orders          127.0.0.1:9101
 *     timeouts  connect 2s, write 60s, read 5s, total none; 1 retry
 *     not taken orders-v2       moongate.yml:31  header X-Version is missing
 */
#pragma once

#include "base/buf.h"
#include "script/checker.h"

#define MG_EXPLAIN_HEADERS 64

struct mg_explain_ask {
    const char *method, *url;
    const char *headers[MG_EXPLAIN_HEADERS]; /* "Name: value" */
    size_t header_count;
};

/* Appends the text, or one JSON object, to out; *found: a route takes the request. MG_EINVALID: the
 * method, URL or a header cannot be read; MG_ETARGET, MG_EHOST: the gateway would refuse it with
 * 400; with a sentence. */
MG_NODISCARD int mg_explain(struct mg_checker *checker, const struct mg_explain_ask *ask, bool json,
                            struct mg_buf *out, bool *found, char *message, size_t message_bytes);
