/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions behind moongate.http (ffi.h, section HTTP client): a call belongs to Lua, which
 * frees it; the wait for its answer belongs to the scheduler, which may give it up. */
#include "net/http_call.h"
#include "script/sched.h"
#include "script/vm.h"

#include "script/export.h"
#include "script/ffi.h"

#include <stdlib.h>

struct mg_ffi_http {
    struct mg_vm *vm;
    struct mg_http_call *call;
    struct mg_ticket ticket;
    bool has_ticket;
};

MG_FFI_EXPORT struct mg_ffi_http *mg_ffi_http_new(struct mg_vm *vm)
{
    if (!vm->loop || !vm->options.pool) {
        return NULL;
    }
    struct mg_ffi_http *http = calloc(1, sizeof *http);
    mg_require(http != NULL);
    http->vm = vm;
    const struct mg_limits *given = vm->config ? &vm->config->gateway.limits : NULL;
    const struct mg_http_limits limits =
        given ? (struct mg_http_limits){.head = given->response_head,
                                        .chunk = given->chunk,
                                        .interims = given->interim_responses,
                                        .body = given->response_buffer}
              : (struct mg_http_limits){0};
    http->call = mg_http_call_new(vm->loop, vm->options.pool, given ? &limits : NULL);
    return http;
}

MG_FFI_EXPORT void mg_ffi_http_free(struct mg_ffi_http *http)
{
    if (http->has_ticket) { /* it may have failed to start, or nobody has waited for it */
        mg_sched_forget(http->vm, http->ticket, http);
    }
    mg_http_call_free(http->call);
    free(http);
}

MG_FFI_EXPORT int mg_ffi_http_field(struct mg_ffi_http *http, const char *name, size_t name_len,
                                    const char *value, size_t value_len)
{
    struct mg_http_call *call = http->call;
    const int checked = mg_ffi_field_check(name, name_len, value, value_len);
    if (checked == 1) {
        mg_headers_add(&call->fields, mg_arena_copy_str(&call->arena, mg_str_make(name, name_len)),
                       mg_arena_copy_str(&call->arena, mg_str_make(value, value_len)));
    }
    return checked;
}

static void on_cancel(void *context)
{
    struct mg_ffi_http *http = context;
    mg_http_call_cancel(http->call);
}

static void on_done(void *context, int status)
{
    struct mg_ffi_http *http = context;
    mg_sched_wake(http->vm, http->ticket, status); /* may free http */
}

static mg_str given(struct mg_ffi_str text)
{
    return mg_str_make(text.ptr, text.len);
}

static uint64_t to_ms(double ms)
{
    return ms > 0 && ms < 4e12 ? (uint64_t)ms : 0;
}

/* The list of the system says who is trusted. */
static struct mg_tls_context *tls_of(struct mg_vm *vm, bool verified)
{
    struct mg_tls_context **tls = &vm->tls[verified ? 0 : 1];
    if (!*tls) {
        const struct mg_tls_options options = {.no_verify = !verified};
        char message[128];
        mg_require(mg_tls_context_new(tls, &options, message, sizeof message) == 0);
    }
    return *tls;
}

MG_FFI_EXPORT int mg_ffi_http_start(struct mg_ffi_http *http, const struct mg_ffi_http_ask *ask)
{
    struct mg_http_ask plain = {
        .host = given(ask->host),
        .port = (uint16_t)ask->port,
        .method = given(ask->method),
        .path = given(ask->path),
        .host_field = given(ask->host_field),
        .body = given(ask->body),
        .timeout_ms = to_ms(ask->timeout_ms),
        .keepalive_ms = to_ms(ask->keepalive_ms),
    };
    if (ask->tls) {
        plain.tls = tls_of(http->vm, ask->tls == 1);
        plain.kind = ask->tls == 1 ? MG_STR(" tls") : MG_STR(" tls, any peer");
        plain.server_name = plain.host;
    }
    const int err = mg_sched_begin(http->vm, on_cancel, http, &http->ticket);
    http->has_ticket = err == 0;
    return err ? err : mg_http_call_start(http->call, &plain, on_done, http);
}

MG_FFI_EXPORT int mg_ffi_http_status(struct mg_ffi_http *http)
{
    return http->call->head.status;
}

MG_FFI_EXPORT int mg_ffi_http_at(struct mg_ffi_http *http, int index, struct mg_ffi_str *name,
                                 struct mg_ffi_str *value)
{
    const struct mg_headers *headers = &http->call->head.headers;
    if (index < 0 || (uint32_t)index >= headers->count) {
        return 0;
    }
    const struct mg_header *field = &headers->items[index];
    *name = (struct mg_ffi_str){.ptr = field->name.ptr, .len = field->name.len};
    *value = (struct mg_ffi_str){.ptr = field->value.ptr, .len = field->value.len};
    return 1;
}

MG_FFI_EXPORT int mg_ffi_http_body(struct mg_ffi_http *http, struct mg_ffi_str *out)
{
    const mg_str body = mg_buf_view(&http->call->body);
    *out = (struct mg_ffi_str){.ptr = body.len ? body.ptr : "", .len = body.len};
    return 1;
}

MG_FFI_EXPORT int mg_ffi_http_reason(struct mg_ffi_http *http, struct mg_ffi_str *out)
{
    const mg_str reason = http->call->reason;
    *out = (struct mg_ffi_str){.ptr = reason.len ? reason.ptr : "", .len = reason.len};
    return reason.len > 0;
}

MG_FFI_EXPORT const char *mg_ffi_err_text(int err)
{
    return mg_err_text(err);
}
