/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets and hosts: the first byte chooses the listener's rules, the rest is taken as a path, a
 * query, a whole target and a host. What is accepted must be canonical for good: a second time
 * changes nothing, and decoding it does not bring a dot segment or a slash to light.
 *
 * Covers: core/wire/uri.c core/wire/uri_host.c
 */
#include "wire/uri.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_no_dots(mg_str path)
{
    size_t at = 0;
    while (at < path.len) {
        const ptrdiff_t slash = mg_str_find(path, '/', at + 1);
        const size_t end = slash < 0 ? path.len : (size_t)slash;
        const mg_str segment = mg_str_slice(path, at + 1, end);
        mg_require(!mg_str_equal(segment, MG_STR(".")) && !mg_str_equal(segment, MG_STR("..")));
        at = end;
    }
}

static void try_path(struct mg_arena *arena, mg_str path, const struct mg_uri_rules *rules)
{
    mg_str canonical, again;
    if (mg_uri_canonical_path(arena, path, rules, &canonical)) {
        return;
    }
    mg_require(canonical.len > 0 && canonical.ptr[0] == '/');
    mg_require(canonical.len == 1 || canonical.ptr[1] != '/');
    mg_require(mg_uri_canonical_path(arena, canonical, rules, &again) == 0);
    mg_require(again.ptr == canonical.ptr && again.len == canonical.len);
    require_no_dots(canonical);
    require_no_dots(mg_uri_decode(arena, canonical, false));
    for (size_t i = 0; i < canonical.len; i++) {
        const char c = canonical.ptr[i];
        mg_require(c > 0x20 && c < 0x7f && !strchr("\"#<>?[\\]^`{|}", c));
        mg_require(c != '/' || rules->keep_slashes || i + 1 == canonical.len ||
                   canonical.ptr[i + 1] != '/');
    }
}

static void try_query(struct mg_arena *arena, mg_str query)
{
    mg_str canonical, again;
    if (mg_uri_canonical_query(arena, query, &canonical)) {
        return;
    }
    mg_require(mg_uri_canonical_query(arena, canonical, &again) == 0);
    mg_require(again.ptr == canonical.ptr && again.len == canonical.len);
    mg_require(mg_uri_count_args(query) == mg_uri_count_args(canonical));
    /* both sides of us decode the same values */
    mg_require(
        mg_str_equal(mg_uri_decode(arena, query, true), mg_uri_decode(arena, canonical, true)));
}

static void try_host(struct mg_arena *arena, mg_str text)
{
    struct mg_host host, again;
    if (mg_uri_parse_host(arena, text, &host)) {
        return;
    }
    mg_require(mg_uri_parse_host(arena, host.name, &again) == 0);
    mg_require(mg_str_equal(host.name, again.name) && again.port == -1);
    mg_require(host.port >= -1 && host.port <= 65535);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    const struct mg_uri_rules rules = {
        .keep_slashes = data[0] & 1, .keep_encoded_slash = data[0] & 2, .any_utf8 = data[0] & 4};
    const mg_str text = mg_str_make((const char *)data + 1, size - 1);
    struct mg_arena arena;
    struct mg_uri uri;
    mg_arena_init(&arena, 4096);
    try_path(&arena, text, &rules);
    try_query(&arena, text);
    try_host(&arena, text);
    const enum mg_method method = data[0] & 8 ? MG_METHOD_OPTIONS : MG_METHOD_GET;
    if (mg_uri_parse_target(&arena, text, method, &rules, &uri) == 0) {
        mg_require(uri.path.ptr[0] == '/' || mg_str_equal(uri.path, MG_STR("*")));
        if (uri.authority.len > 0) {
            mg_require(uri.default_port == 80 || uri.default_port == 443);
        }
    }
    mg_arena_deinit(&arena);
    return 0;
}
