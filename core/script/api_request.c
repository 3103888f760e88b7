/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions with which the PDK reads a request (ffi.h, section PDK): texts, numbers,
 * measures. */
#include "model/req.h"
#include "script/export.h"
#include "script/ffi.h"

/* Stores a view; tells whether there is anything at all (an empty text is something). */
static int give(struct mg_ffi_str *out, mg_str text)
{
    out->ptr = text.ptr;
    out->len = text.len;
    return text.ptr != NULL;
}

static mg_str none(void)
{
    return mg_str_make(NULL, 0);
}

static mg_str present(mg_str text)
{
    return text.ptr ? text : MG_STR("");
}

static mg_str when(bool condition, mg_str text)
{
    return condition ? present(text) : none();
}

static mg_str unless_empty(mg_str text)
{
    return text.len ? text : none();
}

static mg_str upstream_query(const struct mg_req *req)
{
    if (req->up.query_set || req->up.has_query) {
        return when(req->up.has_query, req->up.query);
    }
    return when(req->uri.has_query, req->uri.query);
}

static mg_str route_prefix(const struct mg_req *req)
{
    return when(req->match.path != NULL, mg_str_slice(req->uri.path, 0, req->match.matched));
}

static mg_str client_text(const struct mg_req *req, int which)
{
    switch (which) {
    case MG_FFI_METHOD:
        return req->head.method;
    case MG_FFI_TARGET:
        return req->head.target;
    case MG_FFI_PATH:
        return req->uri.path;
    case MG_FFI_RAW_PATH:
        return req->uri.raw_path;
    case MG_FFI_QUERY:
        return when(req->uri.has_query, req->uri.query);
    case MG_FFI_HOST:
        return present(req->host.name);
    case MG_FFI_PEER_IP:
        return present(req->peer_ip);
    case MG_FFI_CLIENT_IP:
        return present(req->client_ip);
    default:
        return present(req->request_id);
    }
}

static mg_str route_text(const struct mg_req *req, int which)
{
    const struct mg_route *route = req->route;
    const struct mg_service *service = req->service;
    switch (which) {
    case MG_FFI_ROUTE_ID:
        return route ? route->id : none();
    case MG_FFI_ROUTE_NAME:
        return route ? unless_empty(route->name) : none();
    case MG_FFI_SERVICE_ID:
        return service ? service->id : none();
    case MG_FFI_SERVICE_NAME:
        return service ? unless_empty(service->name) : none();
    case MG_FFI_SERVICE_HOST:
        return service ? service->host : none();
    default:
        return route_prefix(req);
    }
}

static mg_str upstream_text(const struct mg_req *req, int which)
{
    switch (which) {
    case MG_FFI_UP_METHOD:
        return req->up.method.len ? req->up.method : req->head.method;
    case MG_FFI_UP_PATH:
        return unless_empty(req->up.path);
    case MG_FFI_UP_QUERY:
        return upstream_query(req);
    case MG_FFI_UP_HOST:
        return unless_empty(req->up.host);
    default:
        return when(req->held, req->held_body);
    }
}

static mg_str answer_text(const struct mg_req *req, int which)
{
    switch (which) {
    case MG_FFI_BODY:
        return when(req->body_state == MG_BODY_WHOLE, req->body);
    case MG_FFI_ANSWER:
        return unless_empty(req->answer);
    case MG_FFI_CHUNK:
        return present(req->chunk);
    case MG_FFI_OUTCOME:
        return mg_str_from(mg_outcome_word(req->outcome));
    case MG_FFI_ENDED_BY:
        return unless_empty(req->ended_by);
    case MG_FFI_CONSUMER:
        return unless_empty(req->consumer);
    case MG_FFI_NOTE_LIMIT:
        return unless_empty(req->note_limit);
    case MG_FFI_NOTE_BREAKER:
        return unless_empty(req->note_breaker);
    default:
        return none();
    }
}

MG_FFI_EXPORT int mg_ffi_req_text(struct mg_req *req, int which, struct mg_ffi_str *out)
{
    if (which <= MG_FFI_REQUEST_ID) {
        return give(out, client_text(req, which));
    }
    if (which <= MG_FFI_PREFIX) {
        return give(out, route_text(req, which));
    }
    return give(out,
                which <= MG_FFI_HELD_BODY ? upstream_text(req, which) : answer_text(req, which));
}

static int client_int(const struct mg_req *req, int which)
{
    switch (which) {
    case MG_FFI_MINOR:
        return req->head.method.len > 0 ? req->head.minor : -1;
    case MG_FFI_PEER_PORT:
        return req->peer_port;
    case MG_FFI_SERVER_PORT:
        return req->server_port;
    case MG_FFI_CLIENT_PORT:
        return req->client_port;
    case MG_FFI_HOST_PORT:
        return req->host.port;
    case MG_FFI_PEER_TRUSTED:
        return req->peer_trusted;
    case MG_FFI_HAS_QUERY:
        return req->uri.has_query;
    case MG_FFI_CONNECTION_REQUESTS:
        return (int)req->connection_requests;
    case MG_FFI_BODY_STATE:
        return (int)req->body_state;
    default:
        return req->client_gone;
    }
}

static int route_int(const struct mg_req *req, int which)
{
    switch (which) {
    case MG_FFI_ROUTE_INDEX:
        return req->route ? (int)req->route->index : -1;
    case MG_FFI_SERVICE_PORT:
        return req->service ? req->service->port : -1;
    case MG_FFI_CAPTURES:
        return req->match.regex ? req->match.captures.count : 0;
    case MG_FFI_STRIP_PATH:
        return req->route && req->route->strip_path;
    default:
        return req->route && req->route->https && !req->route->http;
    }
}

static int answer_int(const struct mg_req *req, int which)
{
    switch (which) {
    case MG_FFI_STATUS:
        return req->status;
    case MG_FFI_UP_STATUS:
        return req->up_status;
    case MG_FFI_SOURCE:
        return (int)req->source;
    case MG_FFI_HEAD_SENT:
        return req->head_sent;
    case MG_FFI_HELD:
        return req->held;
    case MG_FFI_CHUNK_LAST:
        return req->chunk_last;
    case MG_FFI_TRIES:
        return (int)req->try_count;
    default:
        return -1;
    }
}

MG_FFI_EXPORT int mg_ffi_req_int(struct mg_req *req, int which)
{
    if (which <= MG_FFI_CLIENT_GONE) {
        return client_int(req, which);
    }
    return which <= MG_FFI_STRIP_PATH ? route_int(req, which) : answer_int(req, which);
}

/* Milliseconds between two instants; -1 when one of them did not happen. */
static double between(uint64_t begin_us, uint64_t end_us)
{
    return begin_us && end_us >= begin_us ? (double)(end_us - begin_us) / 1000.0 : -1.0;
}

static double duration(const struct mg_req *req, int which)
{
    const double total = between(req->started_us, req->ended_us);
    const double upstream = between(req->upstream_begin_us, req->upstream_head_us);
    const double receive = between(req->upstream_head_us, req->upstream_end_us);
    switch (which) {
    case MG_FFI_TOTAL_MS:
        return total;
    case MG_FFI_GATEWAY_MS:
        return total < 0 ? total
                         : total - (upstream > 0 ? upstream : 0) - (receive > 0 ? receive : 0);
    case MG_FFI_UPSTREAM_MS:
        return upstream;
    default:
        return receive;
    }
}

static const struct mg_limits *limits_of(const struct mg_req *req)
{
    return req->route && req->route->limits ? req->route->limits : &req->config->gateway.limits;
}

MG_FFI_EXPORT double mg_ffi_req_measure(struct mg_req *req, int which)
{
    switch (which) {
    case MG_FFI_STARTED_MS:
        return (double)req->started_wall_ms;
    case MG_FFI_BYTES_IN:
        return (double)req->bytes_in;
    case MG_FFI_BYTES_OUT:
        return (double)req->bytes_out;
    case MG_FFI_BODY_BYTES_IN:
        return (double)req->body_bytes_in;
    case MG_FFI_BODY_BYTES_OUT:
        return (double)req->body_bytes_out;
    case MG_FFI_RESPONSE_BUFFER:
        return (double)limits_of(req)->response_buffer;
    case MG_FFI_CONNECTION_ID:
        return (double)req->connection_id;
    default:
        return duration(req, which);
    }
}

MG_FFI_EXPORT int mg_ffi_req_try(struct mg_req *req, int index, struct mg_ffi_str *target,
                                 int *status)
{
    if (index < 0 || (uint32_t)index >= req->try_count || index >= MG_TRIES) {
        return 0;
    }
    *status = req->tries[index].status;
    give(target, present(req->tries[index].target));
    return 1;
}

MG_FFI_EXPORT int mg_ffi_req_capture(struct mg_req *req, int group, struct mg_ffi_str *name,
                                     struct mg_ffi_str *value)
{
    const struct mg_match *match = &req->match;
    if (!match->regex || group < 0 || group >= match->captures.count || group >= MG_REGEX_GROUPS) {
        return 0;
    }
    give(name, present(mg_regex_group_name(match->regex, group)));
    return give(value, match->captures.at[group]);
}
