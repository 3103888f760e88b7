/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a proxy does to a head: hop-by-hop fields, fields of peers that are not trusted, the walk
 * through X-Forwarded-For, the request id, forwarding fields. The first byte chooses peer and
 * configuration, the rest are field lines. They go the gateway's own way from the bytes on
 * (flow/head.c); which fields are left, in which order, who the client is and what was counted must
 * be what the words of the manual give, applied to each field by itself.
 *
 * Covers: core/flow/head.c core/wire/rules_clean.c core/wire/rules_forward.c
 * Covers: core/wire/connection.c core/wire/headers.c core/model/config.c
 */
#include "flow/client.h"
#include "flow/exchange.h"
#include "wire/rules.h"
#include "wire/write.h"

#include <arpa/inet.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TRUSTED = 1, IDENTITY = 2, OTHER_ID_NAME = 4, IP6 = 8, NO_ID = 16 };
enum { FIELDS = 110 };

static const struct mg_http1_limits limits = {.request_line = 100,
                                              .header_bytes = 32768,
                                              .header_line = 8192,
                                              .header_name = 256,
                                              .header_count = 100};

static const mg_str identity_names[] = {{"x-consumer-id", 13}, {"x-user_name", 11}};

struct trial {
    struct mg_exchange exchange;
    struct mg_server server;
    struct mg_client client;
    struct mg_config *config;
    struct mg_stats stats;
    unsigned options;
    /* the naive answer */
    struct mg_header fields[FIELDS];
    uint32_t count, dropped;
};

/* --- set-up ----------------------------------------------------------------------------------- */

static void open_trial(struct trial *c, unsigned options)
{
    static const char *const ranges[] = {"10.0.0.0/8", "192.0.2.7", "2001:db8::/33"};
    c->options = options;
    c->config = mg_config_new();
    struct mg_gateway *gateway = &c->config->gateway;
    gateway->trusted = mg_arena_zalloc(&c->config->arena, 3 * sizeof *gateway->trusted);
    gateway->trusted_count = 3;
    for (unsigned i = 0; i < 3; i++) {
        mg_require(mg_cidr_parse(mg_str_from(ranges[i]), &gateway->trusted[i]) == 0);
    }
    gateway->headers.request_id = options & NO_ID           ? MG_STR("")
                                  : options & OTHER_ID_NAME ? MG_STR("X-Trace-Number")
                                                            : MG_STR("X-Request-ID");
    gateway->headers.request_id_kind = mg_header_id_of(gateway->headers.request_id);
    gateway->headers.via = MG_STR("moongate");
    c->config->identity_names = (mg_str *)(uintptr_t)identity_names;
    c->config->identity_count = options & IDENTITY ? 2 : 0;
    const char *peer = options & TRUSTED ? (options & IP6 ? "2001:db8::1" : "10.1.2.3")
                                         : (options & IP6 ? "2001:db9::1" : "11.1.2.3");
    memcpy(c->client.peer.ip, peer, strlen(peer) + 1);
    c->client.port = 8000;
    c->server.parts.stats = &c->stats;
    c->exchange.server = &c->server;
    c->exchange.client = &c->client;
    mg_arena_init(&c->exchange.req.arena, 4096);
    mg_buf_init(&c->exchange.req.filter_out, 1024);
    mg_req_reset(&c->exchange.req);
    c->exchange.req.config = c->config;
}

static void close_trial(struct trial *c)
{
    mg_arena_deinit(&c->exchange.req.arena);
    mg_buf_deinit(&c->exchange.req.filter_out);
    mg_config_free(c->config);
    free(c);
}

/* --- the naive answer: fields ----------------------------------------------------------------- */

static bool is_one_of(mg_str name, const char *words, bool folded)
{
    while (*words) {
        const size_t length = strcspn(words, " ");
        const mg_str word = mg_str_make(words, length);
        if (folded ? mg_str_field_equal(name, word) : mg_str_iequal(name, word)) {
            return true;
        }
        words += length + strspn(words + length, " ");
    }
    return false;
}

/* Is it an option of any Connection field? */
static bool is_in_connection(const struct mg_headers *headers, mg_str name)
{
    for (uint32_t i = 0; i < headers->count; i++) {
        const mg_str value = headers->items[i].value;
        size_t from = 0;
        for (size_t at = 0;
             at <= value.len && mg_str_iequal(headers->items[i].name, MG_STR("connection")); at++) {
            if (at == value.len || value.ptr[at] == ',') {
                if (mg_str_iequal(mg_str_trim(mg_str_slice(value, from, at)), name)) {
                    return !is_one_of(name, "close keep-alive upgrade", false);
                }
                from = at + 1;
            }
        }
    }
    return false;
}

static bool is_hop_by_hop(const struct mg_headers *headers, mg_str name)
{
    return is_one_of(name,
                     "connection keep-alive proxy-connection te trailer transfer-encoding upgrade "
                     "proxy-authenticate proxy-authorization expect",
                     false) ||
           (is_in_connection(headers, name) && !is_one_of(name, "host content-length", false));
}

static bool is_of_family(mg_str name)
{
    static const mg_str families[] = {
        {"x-forwarded-", 12}, {"x-original-", 11}, {"x-rewrite-", 10}};
    for (unsigned i = 0; i < 3; i++) {
        if (mg_str_field_equal(mg_str_slice(name, 0, families[i].len), families[i])) {
            return true;
        }
    }
    return false;
}

static bool is_identity(const struct trial *c, mg_str name)
{
    return (c->options & IDENTITY) && is_one_of(name, "x-consumer-id x-user-name", true);
}

/* A name with '_' that somebody could take for a field that the gateway reads or sets. */
static bool is_alias(const struct trial *c, mg_str name)
{
    return mg_str_find(name, '_', 0) >= 0 &&
           (is_one_of(name,
                      "content-length transfer-encoding keep-alive proxy-connection "
                      "proxy-authenticate proxy-authorization max-forwards x-real-ip x-request-id",
                      true) ||
            is_of_family(name) || is_identity(c, name) ||
            mg_str_field_equal(name, c->config->gateway.headers.request_id));
}

static bool is_good_id(mg_str value)
{
    bool good = value.len >= 1 && value.len <= 64;
    for (size_t i = 0; i < value.len; i++) {
        const char ch = value.ptr[i], small = mg_char_lower(ch);
        good = good && ((small >= 'a' && small <= 'z') || (ch >= '0' && ch <= '9') ||
                        (ch != '\0' && strchr("._~+/=:@-", ch) != NULL));
    }
    return good;
}

static bool is_untrusted(const struct trial *c, const struct mg_header *field, bool *has_id)
{
    if (is_alias(c, field->name)) {
        return true;
    }
    if (c->options & TRUSTED) {
        return false;
    }
    if (is_one_of(field->name, "forwarded x-real-ip", true) || is_of_family(field->name) ||
        is_identity(c, field->name)) {
        return true;
    }
    if (!mg_str_iequal(field->name, c->config->gateway.headers.request_id)) {
        return false;
    }
    const bool bad = *has_id || !is_good_id(field->value);
    *has_id = true;
    return bad;
}

/* The request's id: the first that is well-formed stands alone, else there is a new one. */
static void expect_id(struct trial *c)
{
    const mg_str name = c->config->gateway.headers.request_id;
    const mg_str id = c->exchange.req.request_id;
    mg_require(is_good_id(id));
    uint32_t kept = 0;
    bool found = false;
    for (uint32_t i = 0; i < c->count && name.len > 0; i++) {
        if (!mg_str_iequal(c->fields[i].name, name)) {
            c->fields[kept++] = c->fields[i];
        } else if (!found) {
            found = true;
            mg_require(!is_good_id(c->fields[i].value) || mg_str_equal(c->fields[i].value, id));
            c->fields[kept++] = (struct mg_header){.name = name, .value = id};
        }
    }
    if (name.len > 0) {
        c->count = kept;
        if (!found) {
            c->fields[c->count++] = (struct mg_header){.name = name, .value = id};
        }
    }
}

static void expect_fields(struct trial *c, const struct mg_headers *before)
{
    bool has_id = false;
    for (uint32_t i = 0; i < before->count; i++) {
        const struct mg_header *field = &before->items[i];
        if (is_hop_by_hop(before, field->name)) {
            continue;
        }
        if (is_untrusted(c, field, &has_id)) {
            c->dropped++;
            continue;
        }
        c->fields[c->count++] = *field;
    }
    expect_id(c);
}

/* Names without regard to case: an id's field gets the configured spelling. */
static void require_fields(const struct trial *c, const struct mg_headers *headers)
{
    mg_require(headers->count == c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        mg_require(mg_str_iequal(headers->items[i].name, c->fields[i].name));
        mg_require(mg_str_iequal(c->fields[i].name, MG_STR("host")) ||
                   mg_str_equal(headers->items[i].value, c->fields[i].value));
        mg_require(headers->items[i].id == mg_header_id_of(c->fields[i].name));
    }
}

/* --- the naive answer: the client ------------------------------------------------------------- */

/* IPv4 or IPv6 to 16 bytes; text that is neither is false. */
static bool parse_address(mg_str text, uint8_t out[16])
{
    char terminated[INET6_ADDRSTRLEN] = "";
    if (text.len >= sizeof terminated) {
        return false;
    }
    memcpy(terminated, text.ptr, text.len);
    if (strlen(terminated) != text.len) {
        return false;
    }
    memset(out, 0, 10);
    memset(out + 10, 0xff, 2);
    return inet_pton(AF_INET, terminated, out + 12) == 1 ||
           inet_pton(AF_INET6, terminated, out) == 1;
}

static bool is_trusted(const uint8_t a[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t single[4] = {192, 0, 2, 7}, documentation[4] = {0x20, 0x01, 0x0d, 0xb8};
    if (memcmp(a, mapped, 12) == 0) {
        return a[12] == 10 || memcmp(a + 12, single, 4) == 0;
    }
    return memcmp(a, documentation, 4) == 0 && a[4] < 0x80;
}

/* From the right to the first address that is not trusted. */
static void require_client(const struct trial *c)
{
    const struct mg_req *req = &c->exchange.req;
    uint8_t expected[16], given[16], next[16];
    mg_require(parse_address(req->peer_ip, expected) && parse_address(req->client_ip, given));
    bool walking = c->options & TRUSTED;
    for (uint32_t i = c->count; i > 0 && walking; i--) {
        const struct mg_header *field = &c->fields[i - 1];
        if (!mg_str_iequal(field->name, MG_STR("x-forwarded-for"))) {
            continue;
        }
        for (size_t at = field->value.len, end = at; walking; at--) {
            if (at > 0 && field->value.ptr[at - 1] != ',') {
                continue;
            }
            const mg_str element = mg_str_trim(mg_str_slice(field->value, at, end));
            if (element.len > 0) {
                walking = parse_address(element, next);
                if (walking) {
                    memcpy(expected, next, sizeof next);
                    walking = is_trusted(next);
                }
            }
            if (at == 0) {
                break;
            }
            end = at - 1;
        }
    }
    mg_require(memcmp(expected, given, sizeof given) == 0);
}

/* --- what goes on ----------------------------------------------------------------------------- */

static mg_str value_of(const struct mg_headers *headers, const char *name)
{
    const struct mg_header *field = mg_headers_find(headers, mg_str_from(name), 0);
    mg_require(field != NULL);
    return field->value;
}

/* The gateway's own fields come after the cleaning: no Connection can take them away. */
static void require_forwarding(struct trial *c)
{
    struct mg_req *req = &c->exchange.req;
    struct mg_headers *headers = &req->head.headers;
    const mg_str chain = mg_headers_join(headers, MG_STR("x-forwarded-for"));
    const uint32_t loops = mg_rules_count_via(headers, MG_STR("moongate"));
    const bool has_proto = mg_headers_find(headers, MG_STR("x-forwarded-proto"), 0) != NULL;
    const struct mg_rules_forward forward = {.peer_ip = req->peer_ip,
                                             .proto = MG_STR("http"),
                                             .host = req->host.name,
                                             .port = req->server_port,
                                             .path = req->uri.path,
                                             .prefix = MG_STR("/a"),
                                             .via = MG_STR("moongate"),
                                             .minor = req->head.minor};
    mg_rules_add_forwarding(headers, &forward);
    const mg_str now = value_of(headers, "x-forwarded-for");
    mg_require(mg_headers_count(headers, MG_HEADER_X_FORWARDED_FOR) == 1);
    mg_require(mg_str_starts(now, chain) && mg_str_ends(now, req->peer_ip));
    mg_require(now.len == chain.len + req->peer_ip.len + (chain.ptr ? 2 : 0));
    mg_require(has_proto || mg_str_equal(value_of(headers, "x-forwarded-proto"), MG_STR("http")));
    (void)value_of(headers, "x-forwarded-host");
    (void)value_of(headers, "x-forwarded-port");
    (void)value_of(headers, "x-forwarded-path");
    (void)value_of(headers, "x-forwarded-prefix");
    mg_require(mg_rules_count_via(headers, MG_STR("moongate")) == loops + 1);
}

/* The head for the origin has what we decided, and nothing of this hop. */
static void require_written(struct trial *c)
{
    struct mg_req *req = &c->exchange.req;
    struct mg_request_head back;
    struct mg_buf out;
    const struct mg_write_request request = {
        .method = req->head.method,
        .path = req->uri.path,
        .host = MG_STR("origin"),
        .headers = &req->head.headers,
        .framing = {.kind = req->head.framing, .length = req->head.content_length}};
    mg_buf_init(&out, 1024 * 1024);
    mg_require(mg_write_request_head(&out, &request) == 0);
    mg_require(mg_http1_parse_request(&req->arena, mg_buf_view(&out), &back) == 0);
    for (uint32_t i = 0; i < back.headers.count; i++) {
        mg_require(!is_one_of(back.headers.items[i].name,
                              "connection keep-alive proxy-connection te trailer upgrade "
                              "proxy-authenticate proxy-authorization expect",
                              false));
    }
    mg_buf_deinit(&out);
}

/* Answers are cleaned of the same fields of this hop, but for Expect, which says nothing there. */
static void require_clean_response(struct mg_headers *fields)
{
    struct mg_headers before;
    uint32_t at = 0;
    mg_headers_init(&before, fields->arena);
    mg_headers_copy(&before, fields);
    mg_rules_clean_response(fields);
    for (uint32_t i = 0; i < before.count; i++) {
        const mg_str name = before.items[i].name;
        if (!is_hop_by_hop(&before, name) ||
            (mg_str_iequal(name, MG_STR("expect")) && !is_in_connection(&before, name))) {
            mg_require(at < fields->count && mg_str_equal(fields->items[at++].name, name));
        }
    }
    mg_require(at == fields->count);
}

/* --- the whole -------------------------------------------------------------------------------- */

static void check(struct trial *c, mg_str head)
{
    struct mg_req *req = &c->exchange.req;
    struct mg_request_head before;
    mg_head_peer(&c->exchange);
    mg_require(req->peer_trusted == (c->options & TRUSTED));
    const int err = mg_head_understand(&c->exchange, head);
    if (err && err != MG_ELOOP) {
        return;
    }
    const mg_str copy = mg_arena_copy_str(&req->arena, head);
    mg_require(mg_http1_parse_request(&req->arena, copy, &before) == 0);
    mg_require((err == MG_ELOOP) ==
               (mg_rules_count_via(&req->head.headers, MG_STR("moongate")) > 4));
    expect_fields(c, &before.headers);
    require_fields(c, &req->head.headers);
    mg_require(c->stats.value[MG_STAT_UNTRUSTED_DROPPED] == c->dropped);
    require_client(c);
    require_forwarding(c);
    require_written(c);
    require_clean_response(&before.headers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mg_http1_scan scan = {0};
    struct mg_buf head;
    size_t used = 0;
    if (size < 1) {
        return 0;
    }
    mg_buf_init(&head, 1024 * 1024);
    mg_require(mg_buf_append(&head, MG_STR("GET /a HTTP/1.1\r\nHost: a\r\n")) == 0);
    mg_require(mg_buf_append(&head, mg_str_make((const char *)data + 1, size - 1)) == 0);
    mg_require(mg_buf_append(&head, MG_STR("\r\n\r\n")) == 0);
    const mg_str bytes = mg_buf_view(&head);
    if (mg_http1_scan(&scan, MG_HTTP1_REQUEST, &limits, bytes, &used) == 0) {
        struct trial *c = calloc(1, sizeof *c);
        mg_require(c != NULL);
        open_trial(c, data[0]);
        check(c, mg_str_slice(bytes, 0, used));
        close_trial(c);
    }
    mg_buf_deinit(&head);
    return 0;
}
