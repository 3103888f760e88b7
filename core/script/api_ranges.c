/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions for lists of address ranges (ffi.h, section policies). */
#include "model/config.h"
#include "model/req.h"
#include "script/export.h"
#include "script/ffi.h"

#include <stdlib.h>

struct mg_ffi_ranges {
    struct mg_cidr *of;
    uint32_t count;
};

MG_FFI_EXPORT struct mg_ffi_ranges *mg_ffi_ranges_new(void)
{
    struct mg_ffi_ranges *ranges = calloc(1, sizeof *ranges);
    mg_require(ranges != NULL);
    return ranges;
}

MG_FFI_EXPORT void mg_ffi_ranges_free(struct mg_ffi_ranges *ranges)
{
    free(ranges->of);
    free(ranges);
}

MG_FFI_EXPORT int mg_ffi_ranges_add(struct mg_ffi_ranges *ranges, const char *text, size_t len)
{
    struct mg_cidr range;
    if (mg_cidr_parse(mg_str_make(text, len), &range)) {
        return -1;
    }
    ranges->of = realloc(ranges->of, (ranges->count + 1) * sizeof range);
    mg_require(ranges->of != NULL);
    ranges->of[ranges->count++] = range;
    return 0;
}

MG_FFI_EXPORT int mg_ffi_ranges_has_client(const struct mg_ffi_ranges *ranges, struct mg_req *req)
{
    return mg_cidr_match(ranges->of, ranges->count, req->client_ip);
}
