/* SPDX-License-Identifier: Apache-2.0 */
/* The values of a record's fields. */
#include "script/record_value.h"

#include "script/redact_body.h"
#include "script/seen.h"
#include "wire/trace.h"

#include <arpa/inet.h>

/* --- addresses --- */

static mg_str ip_prefix(struct mg_arena *arena, mg_str ip)
{
    char text[INET6_ADDRSTRLEN] = "";
    uint8_t address[16] = {0};
    if (ip.len >= sizeof text) {
        return MG_STR("");
    }
    memcpy(text, ip.ptr, ip.len);
    if (inet_pton(AF_INET, text, address) == 1) {
        address[3] = 0; /* /24 */
        inet_ntop(AF_INET, address, text, sizeof text);
    } else if (inet_pton(AF_INET6, text, address) == 1) {
        memset(address + 6, 0, 10); /* /48 */
        inet_ntop(AF_INET6, address, text, sizeof text);
    } else {
        return ip; /* "unix:" */
    }
    return mg_arena_copy_str(arena, mg_str_from(text));
}

mg_str mg_record_ip(const struct mg_record *record, struct mg_req *req, mg_str ip)
{
    switch (record->options.client_ip) {
    case MG_CLIENT_IP_PREFIX:
        return ip_prefix(&req->arena, ip);
    case MG_CLIENT_IP_HASH:
        return mg_redact_hash(&record->redact, &req->arena, ip);
    case MG_CLIENT_IP_NONE:
        return MG_STR("");
    default:
        return ip;
    }
}

/* --- texts --- */

mg_str mg_record_protocol(const struct mg_req *req)
{
    if (req->head.method.len == 0) { /* no request line was understood */
        return MG_STR("");
    }
    return req->head.minor == 0 ? MG_STR("HTTP/1.0") : MG_STR("HTTP/1.1");
}

mg_str mg_record_query(const struct mg_record *record, struct mg_req *req)
{
    return mg_redact_query(&record->redact, &req->arena, req->uri.query);
}

mg_str mg_record_path(const struct mg_record *record, struct mg_req *req)
{
    const mg_str path = req->uri.path;
    if (path.len == 0 || !memchr(path.ptr, '=', path.len)) {
        return path;
    }
    return mg_redact_url(&record->redact, &req->arena, path);
}

static mg_str name_or_id(mg_str name, mg_str id)
{
    return name.len > 0 ? name : id;
}

/* The upstream of the service, or its host where it has none; a plugin's choice first. */
static mg_str upstream_name(const struct mg_req *req)
{
    if (req->up.target_host.len > 0) {
        return req->up.target_host;
    }
    if (req->up.upstream.len > 0) {
        return req->up.upstream;
    }
    if (!req->service) {
        return MG_STR("");
    }
    return req->service->upstream ? req->service->upstream->name : req->service->host;
}

static mg_str header_value(const struct mg_record *record, const struct mg_record_item *item,
                           struct mg_req *req, const struct mg_headers *headers)
{
    const struct mg_header *first = mg_headers_find(headers, item->text, 0);
    if (!first) {
        return (mg_str){0};
    }
    const mg_str value =
        mg_headers_find(headers, item->text, (uint32_t)(first - headers->items) + 1)
            ? mg_headers_join(headers, item->text)
            : first->value;
    if (item->secret) {
        return mg_redact_secret(&record->redact, &req->arena, value);
    }
    return item->url ? mg_redact_url(&record->redact, &req->arena, value)
                     : mg_redact_query(&record->redact, &req->arena, value);
}

bool mg_record_holds_url(mg_str header)
{
    return mg_str_iequal(header, MG_STR("referer")) || mg_str_iequal(header, MG_STR("location")) ||
           mg_str_iequal(header, MG_STR("content-location"));
}

mg_str mg_record_header(const struct mg_record *record, struct mg_req *req,
                        const struct mg_headers *headers, mg_str name)
{
    const struct mg_record_item item = {.text = name,
                                        .secret = mg_redact_is_header(&record->redact, name),
                                        .url = mg_record_holds_url(name)};
    return header_value(record, &item, req, headers);
}

static mg_str known_header(const struct mg_record *record, const struct mg_record_item *item,
                           struct mg_req *req, enum mg_header_id id)
{
    const struct mg_header *field = mg_headers_known(&req->head.headers, id);
    if (!field) {
        return (mg_str){0};
    }
    if (item->secret) {
        return mg_redact_secret(&record->redact, &req->arena, field->value);
    }
    return id == MG_HEADER_REFERER ? mg_redact_url(&record->redact, &req->arena, field->value)
                                   : mg_redact_query(&record->redact, &req->arena, field->value);
}

/* Is the type, "text/plain; charset=utf-8", one of those that are shown? */
static bool is_shown_type(mg_str types, mg_str type)
{
    size_t length = 0;
    while (length < type.len && type.ptr[length] != ';' && type.ptr[length] != ' ') {
        length++;
    }
    type = mg_str_slice(type, 0, length);
    while (types.len > 0) {
        const size_t end = (size_t)mg_str_find(types, ' ', 0);
        const mg_str one = mg_str_slice(types, 0, end);
        const bool any = end > 1 && one.ptr[end - 1] == '*'; /* all of text */
        if (any ? type.len >= end - 1 &&
                      mg_str_iequal(mg_str_slice(type, 0, end - 1), mg_str_slice(one, 0, end - 1))
                : mg_str_iequal(type, one)) {
            return true;
        }
        types = mg_str_slice(types, end + 1, types.len);
    }
    return false;
}

/* Not one that is packed: no secret could be found in it. */
static mg_str body_of(const struct mg_record *record, struct mg_req *req, enum mg_seen_side side,
                      const struct mg_headers *headers)
{
    const struct mg_header *type = mg_headers_known(headers, MG_HEADER_CONTENT_TYPE);
    const struct mg_header *coding = mg_headers_find(headers, MG_STR("content-encoding"), 0);
    const uint32_t most = record->options.body_bytes[side], seen = req->seen[side].len;
    if (most == 0 || seen == 0 || !type ||
        !is_shown_type(record->options.body_types, type->value) ||
        (coding && !mg_str_iequal(coding->value, MG_STR("identity")))) {
        return (mg_str){0};
    }
    return mg_redact_body(&record->redact, &req->arena,
                          mg_str_make(req->seen[side].octets, seen < most ? seen : most));
}

/* Of the caller's: the gateway makes no spans of its own. */
static mg_str trace_part(const struct mg_req *req, enum mg_record_field field)
{
    struct mg_trace trace;
    if (!mg_trace_of(&req->head.headers, &trace)) {
        return (mg_str){0};
    }
    return field == MG_RECORD_TRACE_ID ? trace.trace_id : trace.span_id;
}

static mg_str text_of(const struct mg_record *record, const struct mg_record_item *item,
                      struct mg_req *req)
{
    switch (item->field) {
    case MG_RECORD_REQUEST_ID:
        return req->request_id;
    case MG_RECORD_TRACE_ID:
    case MG_RECORD_SPAN_ID:
        return trace_part(req, item->field);
    case MG_RECORD_CLIENT_IP:
        return mg_record_ip(record, req, req->client_ip);
    case MG_RECORD_PEER_IP:
        return mg_record_ip(record, req, req->peer_ip);
    case MG_RECORD_METHOD:
        return req->head.method;
    case MG_RECORD_SCHEME:
        return req->head.method.len > 0 ? MG_STR("http") : MG_STR("");
    case MG_RECORD_HOST:
        return req->host.name;
    case MG_RECORD_PATH:
        return mg_record_path(record, req);
    case MG_RECORD_QUERY:
        return mg_record_query(record, req);
    case MG_RECORD_PROTOCOL:
        return mg_record_protocol(req);
    case MG_RECORD_ROUTE:
        return req->route ? name_or_id(req->route->name, req->route->id) : MG_STR("");
    case MG_RECORD_SERVICE:
        return req->service ? name_or_id(req->service->name, req->service->id) : MG_STR("");
    case MG_RECORD_UPSTREAM:
        return upstream_name(req);
    case MG_RECORD_CONSUMER:
        return req->consumer;
    case MG_RECORD_OUTCOME:
        return mg_outcome_text(req->outcome);
    case MG_RECORD_ENDED_BY:
        return req->ended_by;
    case MG_RECORD_ENDED_IN:
        return req->ended_by.len > 0 ? mg_str_from(mg_phase_name(req->ended_in)) : MG_STR("");
    case MG_RECORD_USER_AGENT:
        return known_header(record, item, req, MG_HEADER_USER_AGENT);
    case MG_RECORD_REFERER:
        return known_header(record, item, req, MG_HEADER_REFERER);
    case MG_RECORD_REQ_BODY:
        return body_of(record, req, MG_SEEN_REQUEST, &req->head.headers);
    case MG_RECORD_RESP_BODY:
        return body_of(record, req, MG_SEEN_RESPONSE, &req->out);
    case MG_RECORD_REQ_HEADER:
        return header_value(record, item, req, &req->head.headers);
    case MG_RECORD_RESP_HEADER:
        return header_value(record, item, req, &req->out);
    default:
        return MG_STR("");
    }
}

/* --- numbers --- */

static bool between(uint64_t from_us, uint64_t to_us, uint64_t *us)
{
    if (from_us == 0 || to_us < from_us) {
        return false;
    }
    *us = to_us - from_us;
    return true;
}

bool mg_record_span(const struct mg_req *req, enum mg_record_field field, uint64_t *us)
{
    const bool tried = req->try_count > 0;
    switch (field) {
    case MG_RECORD_T_HEAD:
        return between(req->started_us, req->head_us, us);
    case MG_RECORD_T_PLUGINS:
        *us = req->plugins_us;
        return true;
    case MG_RECORD_T_DELAY:
        *us = req->delay_us;
        return req->delay_us > 0;
    case MG_RECORD_T_QUEUE:
        *us = req->queue_us;
        return req->queue_us > 0;
    case MG_RECORD_T_CONNECT:
        *us = req->connect_us;
        return tried;
    case MG_RECORD_T_TTFB:
        return between(req->upstream_begin_us, req->upstream_head_us, us);
    case MG_RECORD_T_UPSTREAM:
        return between(req->upstream_begin_us, req->upstream_end_us, us);
    default:
        return between(req->started_us, req->ended_us, us);
    }
}

static struct mg_record_value number(uint64_t value)
{
    return (struct mg_record_value){.kind = MG_RECORD_NUMBER, .number = value};
}

struct mg_record_value mg_record_value(const struct mg_record *record,
                                       const struct mg_record_item *item, struct mg_req *req,
                                       uint32_t worker)
{
    struct mg_record_value value = {.kind = MG_RECORD_NOTHING};
    switch (item->field) {
    case MG_RECORD_TS:
        value.kind = MG_RECORD_TIME;
        return value;
    case MG_RECORD_STATUS:
        return number(req->status);
    case MG_RECORD_BYTES_IN:
        return number(req->bytes_in);
    case MG_RECORD_BYTES_OUT:
        return number(req->bytes_out);
    case MG_RECORD_BODY_BYTES_OUT:
        return number(req->body_bytes_out);
    case MG_RECORD_RETRIES:
        return number(req->try_count > 0 ? req->try_count - 1 : 0);
    case MG_RECORD_WORKER:
        return number(worker);
    case MG_RECORD_GENERATION:
        return number(req->config ? req->config->generation : 0);
    case MG_RECORD_T_HEAD:
    case MG_RECORD_T_PLUGINS:
    case MG_RECORD_T_DELAY:
    case MG_RECORD_T_QUEUE:
    case MG_RECORD_T_CONNECT:
    case MG_RECORD_T_TTFB:
    case MG_RECORD_T_UPSTREAM:
    case MG_RECORD_T_TOTAL:
        value.kind =
            mg_record_span(req, item->field, &value.number) ? MG_RECORD_SPAN : MG_RECORD_NOTHING;
        return value;
    default:
        value.text = text_of(record, item, req);
        value.kind = value.text.len > 0 ? MG_RECORD_TEXT : MG_RECORD_NOTHING;
        return value;
    }
}
