/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each field of an access-log record says of a request, for script/record.c: a text, a
 * number, a time span, or nothing. Texts are redacted already.
 */
#pragma once

#include "model/req.h"
#include "script/record_fields.h"

enum mg_record_kind {
    MG_RECORD_NOTHING,
    MG_RECORD_TEXT,
    MG_RECORD_NUMBER,
    MG_RECORD_SPAN, /* number is microseconds */
    MG_RECORD_TIME, /* wall time of the request's begin */
};

struct mg_record_value {
    enum mg_record_kind kind;
    mg_str text; /* lives as long as the request */
    uint64_t number;
};

/* Of a field that has one value: not T, TRIES, LIMIT, BREAKER, PLUGIN_MS, LITERAL, CONSTANT. */
struct mg_record_value mg_record_value(const struct mg_record *record,
                                       const struct mg_record_item *item, struct mg_req *req,
                                       uint32_t worker);
/* One of MG_RECORD_T_HEAD to MG_RECORD_T_TOTAL; false where it did not happen. */
bool mg_record_span(const struct mg_req *req, enum mg_record_field field, uint64_t *us);
/* "HTTP/1.1" */
mg_str mg_record_protocol(const struct mg_req *req);
/* The query without secrets, without '?'. */
mg_str mg_record_query(const struct mg_record *record, struct mg_req *req);
mg_str mg_record_path(const struct mg_record *record, struct mg_req *req);
/* All fields of that name, joined, without secrets. */
mg_str mg_record_header(const struct mg_record *record, struct mg_req *req,
                        const struct mg_headers *headers, mg_str name);
/* Is it a header whose value is a URL? */
bool mg_record_holds_url(mg_str header);
/* An address as options.client_ip has it; empty = not shown. */
mg_str mg_record_ip(const struct mg_record *record, struct mg_req *req, mg_str ip);
