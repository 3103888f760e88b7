/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The field traceparent (W3C Trace Context, 3.2): version, trace, span of whoever calls, flags.
 *
 *     struct mg_trace trace;
 *     if (mg_trace_of(&req->head.headers, &trace)) ... trace.trace_id ...
 */
#pragma once

#include "wire/headers.h"

struct mg_trace {
    mg_str trace_id; /* 32 lower-case hex digits, not all zero; borrowed from the field */
    mg_str span_id;  /* 16 of them */
};

/* False unless there is exactly one such field and it is valid. Of a version above 00 the first
 * four parts count (3.2.4). */
bool mg_trace_of(const struct mg_headers *headers, struct mg_trace *out);
