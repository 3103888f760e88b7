/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *     0  3                                36               53
 */
#include "wire/trace.h"

#define LENGTH 55 /* of version 00; others may go on behind a '-' */
#define TRACE_AT 3
#define SPAN_AT 36
#define FLAGS_AT 53

/* Lower-case hex digits; *zero: are they all '0'? */
static bool is_hex(mg_str text, bool *zero)
{
    *zero = true;
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) {
            return false;
        }
        *zero = *zero && c == '0';
    }
    return true;
}

static bool parse(mg_str value, struct mg_trace *out)
{
    bool is_first, zero;
    if (value.len < LENGTH || value.ptr[TRACE_AT - 1] != '-' || value.ptr[SPAN_AT - 1] != '-' ||
        value.ptr[FLAGS_AT - 1] != '-') {
        return false;
    }
    const mg_str version = mg_str_slice(value, 0, 2);
    if (!is_hex(version, &is_first) || mg_str_equal(version, MG_STR("ff")) ||
        (value.len > LENGTH && (is_first || value.ptr[LENGTH] != '-')) ||
        !is_hex(mg_str_slice(value, FLAGS_AT, LENGTH), &zero)) {
        return false;
    }
    out->trace_id = mg_str_slice(value, TRACE_AT, SPAN_AT - 1);
    out->span_id = mg_str_slice(value, SPAN_AT, FLAGS_AT - 1);
    return is_hex(out->trace_id, &zero) && !zero && is_hex(out->span_id, &zero) && !zero;
}

bool mg_trace_of(const struct mg_headers *headers, struct mg_trace *out)
{
    const struct mg_header *field = mg_headers_known(headers, MG_HEADER_TRACEPARENT);
    return field &&
           !mg_headers_next(headers, MG_HEADER_TRACEPARENT,
                            (uint32_t)(field - headers->items) + 1) &&
           parse(field->value, out);
}
