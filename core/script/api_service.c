/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions with which plugins change what goes to the upstream (ffi.h, section PDK). */
#include "model/req.h"
#include "script/export.h"
#include "script/ffi.h"
#include "script/sched.h"

static mg_str keep(struct mg_req *req, const char *text, size_t len)
{
    return mg_arena_copy_str(&req->arena, mg_str_make(text, len));
}

MG_FFI_EXPORT int mg_ffi_up_method(struct mg_req *req, const char *method, size_t len)
{
    if (mg_method_of(mg_str_make(method, len)) == MG_METHOD_UNKNOWN) {
        return 0;
    }
    req->up.method = keep(req, method, len);
    return 1;
}

MG_FFI_EXPORT int mg_ffi_up_path(struct mg_req *req, const char *path, size_t len)
{
    mg_str canonical;
    if (len == 0 || path[0] != '/' ||
        mg_uri_canonical_path(&req->arena, keep(req, path, len), &req->uri_rules, &canonical)) {
        return 0;
    }
    req->up.path = canonical;
    return 1;
}

/* What may stand in a request target unescaped: no control byte, no blank, no '#', nothing over
 * ASCII. */
static bool is_query(mg_str query)
{
    for (size_t i = 0; i < query.len; i++) {
        if (query.ptr[i] <= ' ' || query.ptr[i] >= 0x7f || query.ptr[i] == '#') {
            return false;
        }
    }
    return true;
}

MG_FFI_EXPORT int mg_ffi_up_query(struct mg_req *req, const char *query, size_t len)
{
    if (!is_query(mg_str_make(query, len))) {
        return 0;
    }
    req->up.query = keep(req, query, len);
    req->up.has_query = len > 0;
    req->up.query_set = true;
    return 1;
}

MG_FFI_EXPORT int mg_ffi_up_target(struct mg_req *req, const char *host, size_t len, int port)
{
    const mg_str text = mg_str_make(host, len);
    const bool is_unix = len > 6 && mg_str_starts(text, MG_STR("unix:/"));
    struct mg_host parsed;
    if (port < 0 || port > 65535 || (is_unix && memchr(host, 0, len))) {
        return 0;
    }
    if (!is_unix &&
        (len == 0 || mg_uri_parse_host(&req->arena, text, &parsed) || parsed.port >= 0)) {
        return 0;
    }
    req->up.target_host = is_unix ? keep(req, host, len) : parsed.name;
    req->up.target_port = (uint16_t)port;
    return 1;
}

MG_FFI_EXPORT int mg_ffi_up_upstream(struct mg_req *req, const char *name, size_t len)
{
    for (uint32_t i = 0; i < req->config->upstream_count; i++) {
        if (mg_str_equal(req->config->upstreams[i].name, mg_str_make(name, len))) {
            req->up.upstream = req->config->upstreams[i].name;
            return 1;
        }
    }
    return 0;
}

MG_FFI_EXPORT int mg_ffi_up_retries(struct mg_req *req, int retries)
{
    req->up.retries = retries;
    return 1;
}

MG_FFI_EXPORT int mg_ffi_up_timeouts(struct mg_req *req, int connect_ms, int write_ms, int read_ms)
{
    if (connect_ms <= 0 || write_ms <= 0 || read_ms <= 0) {
        return 0;
    }
    req->up.connect_timeout = (uint64_t)connect_ms;
    req->up.write_timeout = (uint64_t)write_ms;
    req->up.read_timeout = (uint64_t)read_ms;
    return 1;
}

MG_FFI_EXPORT int mg_ffi_up_buffer(struct mg_req *req)
{
    req->up.buffer_response = true;
    return 1;
}

MG_FFI_EXPORT int mg_ffi_req_set_body(struct mg_req *req, const char *body, size_t len)
{
    if (req->body_state == MG_BODY_READING) {
        return 0;
    }
    req->body = keep(req, body, len);
    req->body_state = MG_BODY_WHOLE;
    req->body_replaced = true;
    return 1;
}

MG_FFI_EXPORT int mg_ffi_req_body_result(struct mg_req *req, int status)
{
    switch (status) {
    case 0:
        return req->body_state == MG_BODY_WHOLE ? 1 : MG_FFI_BODY_FAILED;
    case MG_EAGAIN:
        return 0;
    case MG_EUNSUPPORTED:
        return MG_FFI_BODY_UNBUFFERED;
    case MG_EBODY_TOO_LARGE:
        return MG_FFI_BODY_TOO_LARGE;
    default:
        return MG_FFI_BODY_FAILED;
    }
}

/* The handler does not wait any more (wall_ms): what comes must not wake what it does next. */
static void on_wait_over(void *context)
{
    struct mg_req *req = context;
    if (req->body_state == MG_BODY_READING) {
        req->body_state = MG_BODY_UNREAD;
    }
}

MG_FFI_EXPORT int mg_ffi_req_read_body(struct mg_req *req)
{
    if (req->body_state == MG_BODY_WHOLE) {
        return 1;
    }
    struct mg_ticket ticket; /* mg_hook_resume knows which */
    const int err = req->ops->read_body(req);
    if (err == MG_EAGAIN && req->vm && mg_sched_begin(req->vm, on_wait_over, req, &ticket) != 0) {
        return MG_FFI_BODY_FAILED;
    }
    return mg_ffi_req_body_result(req, err);
}

MG_FFI_EXPORT int mg_ffi_req_consumer(struct mg_req *req, const char *name, size_t name_len,
                                      const char *id, size_t id_len)
{
    req->consumer = keep(req, name, name_len);
    req->up.hash_value = keep(req, id, id_len);
    return 1;
}
