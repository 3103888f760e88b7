/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions with which plugins make or change the answer (ffi.h, section PDK). */
#include "model/req.h"
#include "wire/write.h"
#include "script/export.h"
#include "script/ffi.h"

static bool is_status(int status)
{
    return status >= 100 && status <= 599;
}

MG_FFI_EXPORT int mg_ffi_response_status(struct mg_req *req, int status)
{
    if (req->head_sent) {
        return MG_FFI_TOO_LATE;
    }
    if (req->status == 0 || !is_status(status)) {
        return 0;
    }
    req->status = (uint16_t)status;
    return 1;
}

static void set_request_id(struct mg_req *req)
{
    const mg_str name = req->config->gateway.headers.request_id;
    if (name.len > 0 && req->request_id.len > 0) {
        mg_headers_set(&req->out, name, req->request_id);
    }
}

/* The fields asked for before are kept, in their order; those of an upstream's answer are not. */
MG_FFI_EXPORT int mg_ffi_response_exit(struct mg_req *req, int status, const char *body, size_t len)
{
    if (req->head_sent) {
        return MG_FFI_TOO_LATE;
    }
    if (!is_status(status)) {
        return 0;
    }
    req->status = (uint16_t)status;
    req->source = MG_SOURCE_EXIT;
    req->answer = mg_arena_copy_str(&req->arena, mg_str_make(body, len));
    mg_headers_init(&req->out, &req->arena);
    set_request_id(req);
    mg_req_replay_fields(req);
    return 1;
}

/* Room for an answer of so many bytes that is still growing: the next power of two, so that
 * printing piece by piece copies each byte twice at most, and the room follows from the length. */
static size_t answer_room(size_t len)
{
    size_t room = 256;
    while (room < len) {
        room *= 2;
    }
    return room;
}

MG_FFI_EXPORT int mg_ffi_response_append(struct mg_req *req, const char *text, size_t len)
{
    const mg_str before = req->answer;
    if (req->source != MG_SOURCE_EXIT || req->head_sent) {
        return 0;
    }
    char *place = (char *)before.ptr;
    if (before.len == 0 || answer_room(before.len) < before.len + len) {
        place = mg_arena_alloc(&req->arena, answer_room(before.len + len));
        memcpy(place, before.len ? before.ptr : "", before.len);
    }
    memcpy(place + before.len, text, len);
    req->answer = mg_str_make(place, before.len + len);
    return 1;
}

MG_FFI_EXPORT const char *mg_ffi_status_reason(int status)
{
    return is_status(status) ? mg_status_reason((uint16_t)status) : "";
}

/* filter_out's own bytes may not be given: Lua passes strings of its own. */
MG_FFI_EXPORT int mg_ffi_chunk_set(struct mg_req *req, const char *chunk, size_t len)
{
    mg_buf_clear(&req->filter_out);
    if (len > 0 && mg_buf_append(&req->filter_out, mg_str_make(chunk, len))) {
        return 0;
    }
    req->chunk = len > 0 ? mg_buf_view(&req->filter_out) : MG_STR("");
    return 1;
}

MG_FFI_EXPORT int mg_ffi_chunk_last(struct mg_req *req, int last)
{
    req->chunk_last = last != 0;
    return 1;
}

MG_FFI_EXPORT int mg_ffi_chunk_hold(struct mg_req *req)
{
    req->want_whole_body = true;
    return 1;
}

MG_FFI_EXPORT int mg_ffi_chunk_over(struct mg_req *req, const char *plugin, size_t len)
{
    req->chunk_over = true;
    req->ended_by = mg_arena_copy_str(&req->arena, mg_str_make(plugin, len));
    req->ended_in = MG_PHASE_BODY_FILTER;
    return 1;
}
