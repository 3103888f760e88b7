/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Understanding a request's head before any policy sees it: parsing, the canonical target, the
 * rules, who the client is, what may be trusted, the request id.
 */
#include "flow/exchange.h"

#include "wire/rules.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define VIA_LOOP 5 /* our own pseudonym this often: the request runs in circles */

static uint64_t mix(uint64_t x) /* splitmix64's finaliser */
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

#ifdef __SSE2__

/* A half byte each, as digits. */
static __m128i digits_of(__m128i halves)
{
    const __m128i letters = _mm_cmpgt_epi8(halves, _mm_set1_epi8(9));
    const __m128i moved = _mm_and_si128(letters, _mm_set1_epi8('a' - '9' - 1));
    return _mm_add_epi8(_mm_add_epi8(halves, moved), _mm_set1_epi8('0'));
}

/* 32 hex digits, in no order of note. */
static void put_digits(char *to, const uint64_t words[2])
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)words);
    const __m128i low = _mm_set1_epi8(0x0f);
    const __m128i first = digits_of(_mm_and_si128(_mm_srli_epi16(bytes, 4), low));
    const __m128i second = digits_of(_mm_and_si128(bytes, low));
    _mm_storeu_si128((__m128i *)(void *)to, first);
    _mm_storeu_si128((__m128i *)(void *)(to + 16), second);
}

#else

static void put_digits(char *to, const uint64_t words[2])
{
    for (unsigned i = 0; i < 32; i++) {
        to[i] = "0123456789abcdef"[words[i / 16] >> i % 16 * 4 & 15];
    }
}

#endif

mg_str mg_head_request_id(struct mg_exchange *x)
{
    struct mg_server *server = x->server;
    server->id_count++;
    const uint64_t words[2] = {mix(server->id_seed + server->id_count * 0x9e3779b97f4a7c15U),
                               mix(server->id_seed ^ (server->id_count << 20))};
    char *text = mg_arena_alloc(&x->req.arena, 32);
    put_digits(text, words);
    return mg_str_make(text, 32);
}

static void set_request_id(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    struct mg_headers *headers = &req->head.headers;
    const mg_str name = req->config->gateway.headers.request_id;
    const enum mg_header_id kind = req->config->gateway.headers.request_id_kind;
    const struct mg_header *given = name.len ? mg_headers_find_known(headers, kind, name, 0) : NULL;
    const bool good = given && mg_rules_is_request_id(given->value);
    req->request_id = good ? given->value : mg_head_request_id(x);
    const bool only =
        good && !mg_headers_find_known(headers, kind, name, mg_headers_place(headers, given) + 1);
    if (name.len && !only) {
        mg_headers_set_known(headers, kind, name, req->request_id);
    }
}

/* Takes the last element off a list, with its comma. */
static mg_str take_last(mg_str *list)
{
    size_t from = list->len;
    while (from > 0 && list->ptr[from - 1] != ',') {
        from--;
    }
    const mg_str element = mg_str_trim(mg_str_slice(*list, from, list->len));
    *list = mg_str_slice(*list, 0, from > 0 ? from - 1 : 0);
    return element;
}

/* Walks X-Forwarded-For from the right to the first address outside trusted_ips; what is no address
 * ends the walk at the hop behind it. */
static mg_str forwarded_client(struct mg_req *req)
{
    const struct mg_gateway *gateway = &req->config->gateway;
    mg_str left = mg_headers_join(&req->head.headers, MG_STR("x-forwarded-for"));
    mg_str found = req->peer_ip;
    while (left.len > 0) {
        const mg_str element = take_last(&left);
        if (element.len == 0) {
            continue; /* elements that are empty do not count (RFC 9110, 5.6.1) */
        }
        if (mg_address_canonical(&req->arena, element, &found) != 0 ||
            !mg_cidr_match(gateway->trusted, gateway->trusted_count, found)) {
            break;
        }
    }
    return found;
}

void mg_head_peer(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    struct mg_client *client = x->client;
    const struct mg_gateway *gateway = &req->config->gateway;
    /* a copy: the client may be gone before its request is logged */
    req->peer_ip = mg_arena_copy_str(&req->arena, mg_str_from(client->peer.ip));
    req->peer_port = client->peer.port;
    req->server_port = client->port;
    req->peer_trusted = gateway->trusted_count > 0 &&
                        mg_cidr_match(gateway->trusted, gateway->trusted_count, req->peer_ip);
    req->client_ip = req->peer_ip;
    req->client_port = req->peer_port;
    req->connection_id = client->id;
    req->connection_requests = client->requests;
    if (client->listener < gateway->listener_count) {
        req->uri_rules = gateway->listeners[client->listener].uri;
    }
}

static void clean_head(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    const struct mg_config *config = req->config;
    const struct mg_rules_trust trust = {
        .peer_is_trusted = req->peer_trusted,
        .identity_names = config->identity_names,
        .identity_count = config->identity_count,
        .request_id_name = config->gateway.headers.request_id,
        .request_id = config->gateway.headers.request_id_kind,
    };
    const uint32_t dropped = mg_rules_clean_request(&req->head.headers, &trust);
    if (dropped > 0) {
        mg_stats_add(x->server->parts.stats, MG_STAT_UNTRUSTED_DROPPED, dropped);
    }
    if (req->peer_trusted) {
        req->client_ip = forwarded_client(req);
    }
}

/* The head is refused: the log may tell what of it was understood, a method that is known and a
 * path in its canonical form, and not a byte more. */
static void forget_head(struct mg_req *req, bool has_target)
{
    mg_headers_init(&req->head.headers, &req->arena);
    req->head.target = mg_str_make(NULL, 0);
    req->uri.raw_path = mg_str_make(NULL, 0);
    req->host = (struct mg_host){.port = -1};
    if (req->head.method_id == MG_METHOD_UNKNOWN) {
        req->head.method = mg_str_make(NULL, 0);
    }
    if (!has_target) {
        req->uri = (struct mg_uri){.path = mg_str_make(NULL, 0)};
    }
}

/* Syntax and rules: what needs no knowledge of who the client is. */
static int parse_head(struct mg_exchange *x, mg_str bytes)
{
    struct mg_req *req = &x->req;
    const mg_str copy = mg_arena_copy_str(&req->arena, bytes);
    int err = mg_http1_parse_request(&req->arena, copy, &req->head);
    if (!err) {
        err = mg_uri_parse_target(&req->arena, req->head.target, req->head.method_id,
                                  &req->uri_rules, &req->uri);
    }
    if (err) {
        forget_head(req, false);
        return err;
    }
    err = mg_rules_check_request_with(&req->head, &req->uri, &x->server->host_memo, &req->host);
    if (err) {
        forget_head(req, true);
    }
    return err;
}

int mg_head_understand(struct mg_exchange *x, mg_str bytes)
{
    struct mg_req *req = &x->req;
    const int err = parse_head(x, bytes);
    if (err) {
        return err;
    }
    const struct mg_header *upgrade = mg_headers_known(&req->head.headers, MG_HEADER_UPGRADE);
    if (req->head.wants_upgrade && upgrade && req->head.method_id == MG_METHOD_GET &&
        req->head.framing == MG_FRAMING_NONE &&
        mg_str_iequal(upgrade->value, MG_STR("websocket"))) {
        x->upgrade = upgrade->value;
    }
    clean_head(x);
    set_request_id(x);
    const mg_str via = req->config->gateway.headers.via;
    return via.len && mg_rules_count_via(&req->head.headers, via) >= VIA_LOOP ? MG_ELOOP : 0;
}

/* Of all Cookie fields: a server may read them as one. */
static uint32_t count_cookies(const struct mg_headers *headers)
{
    uint32_t count = 0;
    const struct mg_header *field = mg_headers_known(headers, MG_HEADER_COOKIE);
    while (field) {
        count++;
        for (size_t at = 0; at < field->value.len; at++) {
            count += field->value.ptr[at] == ';';
        }
        field = mg_headers_next(headers, MG_HEADER_COOKIE, mg_headers_place(headers, field) + 1);
    }
    return count;
}

int mg_head_check_counts(const struct mg_exchange *x, const struct mg_limits *limits)
{
    const struct mg_req *req = &x->req;
    if (req->uri.query.len > 0 && mg_uri_count_args(req->uri.query) > limits->query_args) {
        mg_stats_add(x->server->parts.stats, MG_STAT_QUERY_ARGS, 1);
        return MG_ETARGET;
    }
    if (count_cookies(&req->head.headers) > limits->cookies) {
        mg_stats_add(x->server->parts.stats, MG_STAT_COOKIES, 1);
        return MG_ESYNTAX;
    }
    return 0;
}
