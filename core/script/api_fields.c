/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions over the three tables of fields that plugins see (ffi.h, section PDK): reading is
 * blind to case and to '_' against '-', writing checks every byte. */
#include "model/req.h"
#include "script/export.h"
#include "script/ffi.h"

static const struct mg_headers *table_of(const struct mg_req *req, int table)
{
    return table == MG_FFI_REQUEST    ? &req->head.headers
           : table == MG_FFI_UPSTREAM ? &req->up_headers
                                      : &req->out;
}

static void give(struct mg_ffi_str *out, mg_str text)
{
    out->ptr = text.ptr ? text.ptr : "";
    out->len = text.len;
}

MG_FFI_EXPORT int mg_ffi_fields_count(struct mg_req *req, int table)
{
    return (int)table_of(req, table)->count;
}

MG_FFI_EXPORT int mg_ffi_fields_at(struct mg_req *req, int table, int index,
                                   struct mg_ffi_str *name, struct mg_ffi_str *value)
{
    const struct mg_headers *headers = table_of(req, table);
    if (index < 0 || (uint32_t)index >= headers->count) {
        return 0;
    }
    give(name, headers->items[index].name);
    give(value, headers->items[index].value);
    return 1;
}

/* The first value that replaying the recorded changes would give. */
static int find_recorded(const struct mg_req *req, mg_str name, struct mg_ffi_str *value)
{
    int found = 0;
    for (const struct mg_field_op *op = req->ops_first; op; op = op->next) {
        if (!mg_str_field_equal(op->name, name)) {
            continue;
        }
        if (op->kind == MG_FIELD_CLEAR) {
            found = 0;
        } else if (op->kind == MG_FIELD_SET || !found) {
            give(value, op->value);
            found = 1;
        }
    }
    return found;
}

MG_FFI_EXPORT int mg_ffi_fields_find(struct mg_req *req, int table, const char *name, size_t len,
                                     int from, struct mg_ffi_str *value)
{
    const struct mg_headers *headers = table_of(req, table);
    const mg_str wanted = mg_str_make(name, len);
    const uint32_t start = from > 0 ? (uint32_t)from : 0;
    if (table == MG_FFI_RESPONSE && req->status == 0) {
        return start == 0 && find_recorded(req, wanted, value);
    }
    const struct mg_header *field =
        start < headers->count ? mg_headers_find_loose(headers, wanted, start) : NULL;
    if (!field) {
        return 0;
    }
    give(value, field->value);
    return (int)(field - headers->items) + 1;
}

MG_FFI_EXPORT int mg_ffi_field_check(const char *name, size_t name_len, const char *value,
                                     size_t value_len)
{
    if (!mg_is_token(mg_str_make(name, name_len))) {
        return MG_FFI_BAD_NAME;
    }
    return mg_is_field_value(mg_str_make(value, value_len)) ? 1 : MG_FFI_BAD_VALUE;
}

MG_FFI_EXPORT int mg_ffi_response_field(struct mg_req *req, int kind, const char *name,
                                        size_t name_len, const char *value, size_t value_len)
{
    const int checked = mg_ffi_field_check(name, name_len, value, value_len);
    if (checked < 0) {
        return checked;
    }
    if (req->head_sent) {
        return MG_FFI_TOO_LATE;
    }
    const int kinds[] = {MG_FIELD_SET, MG_FIELD_ADD, MG_FIELD_CLEAR};
    mg_req_field(req, kinds[kind], mg_str_make(name, name_len), mg_str_make(value, value_len));
    return 1;
}

static void change_request(struct mg_req *req, int kind, mg_str name, mg_str value)
{
    struct mg_headers *headers = &req->head.headers;
    if (kind == MG_FFI_CLEAR) {
        mg_headers_remove(headers, name);
        return;
    }
    const mg_str own_name = mg_arena_copy_str(&req->arena, name);
    const mg_str own_value = mg_arena_copy_str(&req->arena, value);
    if (kind == MG_FFI_ADD) {
        mg_headers_add(headers, own_name, own_value);
    } else {
        mg_headers_set(headers, own_name, own_value);
    }
}

/* Host is not forwarded from the table: the writer takes it from up.host. What is no host would be
 * refused or misread behind us; an empty one means that of the service. */
static bool change_host(struct mg_req *req, int kind, mg_str value)
{
    struct mg_host host;
    if (kind == MG_FFI_CLEAR || value.len == 0) {
        req->up.host = mg_str_make(NULL, 0);
        return true;
    }
    const mg_str copy = mg_arena_copy_str(&req->arena, value);
    if (mg_uri_parse_host(&req->arena, copy, &host) != 0) {
        return false;
    }
    req->up.host = copy;
    return true;
}

MG_FFI_EXPORT int mg_ffi_request_field(struct mg_req *req, int kind, const char *name,
                                       size_t name_len, const char *value, size_t value_len)
{
    const int checked = mg_ffi_field_check(name, name_len, value, value_len);
    if (checked < 0) {
        return checked;
    }
    const mg_str field = mg_str_make(name, name_len);
    if (mg_header_id_of(field) == MG_HEADER_HOST) {
        return change_host(req, kind, mg_str_make(value, value_len)) ? 1 : MG_FFI_BAD_VALUE;
    }
    change_request(req, kind, field, mg_str_make(value, value_len));
    return 1;
}
