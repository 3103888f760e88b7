/* SPDX-License-Identifier: Apache-2.0 */
/* Which upstream host a request goes to: a plugin's set_target, else balancing over the service's
 * group. */
#include "flow/exchange.h"

#include "base/hash.h"

static uint64_t hash_bytes(mg_str bytes)
{
    return bytes.len ? mg_hash_mix(bytes, 0) : 0;
}

/* Value of NAME in "a=1; NAME=value". */
static mg_str cookie_value(const struct mg_req *req, mg_str name)
{
    const struct mg_header *cookie = mg_headers_known(&req->head.headers, MG_HEADER_COOKIE);
    mg_str rest = cookie ? cookie->value : mg_str_make(NULL, 0);
    while (rest.len > 0) {
        const ptrdiff_t end = mg_str_find(rest, ';', 0);
        const size_t length = end < 0 ? rest.len : (size_t)end;
        const mg_str pair = mg_str_trim(mg_str_slice(rest, 0, length));
        if (mg_str_starts(pair, name) && pair.len > name.len && pair.ptr[name.len] == '=') {
            return mg_str_slice(pair, name.len + 1, pair.len);
        }
        rest = mg_str_slice(rest, length + 1, rest.len);
    }
    return mg_str_make(NULL, 0);
}

static mg_str argument_value(const struct mg_req *req, mg_str name)
{
    mg_str rest = req->uri.query;
    while (rest.len > 0) {
        const ptrdiff_t end = mg_str_find(rest, '&', 0);
        const size_t length = end < 0 ? rest.len : (size_t)end;
        const mg_str pair = mg_str_slice(rest, 0, length);
        if (mg_str_starts(pair, name) && pair.len > name.len && pair.ptr[name.len] == '=') {
            return mg_str_slice(pair, name.len + 1, pair.len);
        }
        rest = mg_str_slice(rest, length + 1, rest.len);
    }
    return mg_str_make(NULL, 0);
}

static mg_str capture_value(const struct mg_req *req, mg_str name)
{
    for (int i = 1; i < req->match.captures.count; i++) {
        if (mg_str_equal(mg_regex_group_name(req->match.regex, i), name)) {
            return req->match.captures.at[i];
        }
    }
    return mg_str_make(NULL, 0);
}

static mg_str hash_input(const struct mg_req *req, enum mg_hash_on on, mg_str name)
{
    const struct mg_header *field;
    switch (on) {
    case MG_HASH_CONSUMER:
        return req->up.hash_value;
    case MG_HASH_IP:
        return req->client_ip;
    case MG_HASH_HEADER:
        field = mg_headers_find(&req->head.headers, name, 0);
        return field ? field->value : mg_str_make(NULL, 0);
    case MG_HASH_COOKIE:
        return cookie_value(req, name);
    case MG_HASH_PATH:
        return req->uri.path;
    case MG_HASH_QUERY_ARG:
        return argument_value(req, name);
    case MG_HASH_URI_CAPTURE:
        return capture_value(req, name);
    default:
        return mg_str_make(NULL, 0);
    }
}

static uint64_t hash_request(const struct mg_req *req, const struct mg_upstream_config *upstream)
{
    if (!upstream || upstream->algorithm != MG_BALANCE_CONSISTENT_HASH) {
        return 0;
    }
    mg_str input = hash_input(req, upstream->hash_on, upstream->hash_name);
    if (input.len == 0) {
        input = hash_input(req, upstream->hash_fallback, upstream->hash_fallback_name);
    }
    return hash_bytes(input.len ? input : req->request_id); /* nothing to hash: spread evenly */
}

/* Fixed by a plugin: no balancing. */
static int pick_fixed(struct mg_exchange *x, struct mg_origin **origin)
{
    struct mg_req *req = &x->req;
    x->fixed = mg_pool_origin(x->server->parts.pool, req->up.target_host, req->up.target_port);
    *origin = x->fixed;
    x->settings = &req->config->gateway.upstream_defaults;
    return 0;
}

static struct mg_peer_group *find_group(struct mg_exchange *x)
{
    const struct mg_req *req = &x->req;
    struct mg_peers *peers = x->generation->peers;
    if (req->up.upstream.len) {
        return mg_peers_find(peers, req->up.upstream);
    }
    return mg_peers_group(peers, req->service->group);
}

int mg_target_pick(struct mg_exchange *x, struct mg_origin **origin)
{
    struct mg_req *req = &x->req;
    if (req->up.target_host.len) {
        return pick_fixed(x, origin);
    }
    struct mg_peer_group *group = find_group(x);
    if (!group) {
        return MG_ENO_TARGET;
    }
    x->settings =
        group->upstream ? &group->upstream->settings : &req->config->gateway.upstream_defaults;
    const struct mg_upstream_limits *limits = &x->settings->limits;
    if (group->inflight >= limits->requests || group->inflight >= limits->connections) {
        mg_stats_add(x->server->parts.stats,
                     group->inflight >= limits->requests ? MG_STAT_UPSTREAM_MAX_REQUESTS
                                                         : MG_STAT_UPSTREAM_MAX_CONNECTIONS,
                     1);
        return MG_EFULL;
    }
    if (x->tried == 0) {
        x->hash = hash_request(req, group->upstream);
    }
    struct mg_peer *peer = mg_peers_pick(group, x->hash, x->tried);
    if (!peer) {
        return MG_ENO_TARGET;
    }
    x->tried |= UINT64_C(1) << (peer->index % 64);
    if (!peer->origin) {
        peer->origin =
            mg_pool_origin(x->server->parts.pool, peer->target->host, peer->target->port);
    }
    x->group = group;
    x->peer = peer;
    mg_peer_begin(group, peer);
    *origin = peer->origin;
    return 0;
}

void mg_target_release(struct mg_exchange *x)
{
    if (x->peer) {
        mg_peer_end(x->group, x->peer);
        x->peer = NULL;
        x->group = NULL;
    }
    if (x->fixed) {
        mg_origin_release(x->fixed);
        x->fixed = NULL;
    }
}
