/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions behind moongate.access_log (ffi.h, section log). */
#include "base/shm_cells.h"
#include "net/sink.h"
#include "net/sink_taken.h"
#include "script/hook_plan.h"
#include "script/record.h"
#include "script/record_value.h"
#include "script/vm.h"
#include "wire/trace.h"

#include "script/export.h"
#include "script/ffi.h"
#include "script/ffi_log.h"
#include "script/ffi_plan.h"

#include <stdio.h>
#include <stdlib.h>

#define INFO 6 /* severity of syslog */

static mg_str given(struct mg_ffi_str text)
{
    return mg_str_make(text.ptr, text.len);
}

/* A random key, as long as the shared memory lives: the same in all workers. */
static mg_str key_of_start(const struct mg_vm *vm, struct mg_cell_key *room)
{
    if (!vm->options.shm) {
        return MG_STR("");
    }
    *room = mg_shm_key(vm->options.shm, MG_STR("access-log"));
    return mg_str_make((const char *)room, sizeof *room);
}

MG_FFI_EXPORT struct mg_record *mg_ffi_log_record(struct mg_vm *vm,
                                                  const struct mg_ffi_log_form *form)
{
    struct mg_cell_key room;
    const struct mg_record_options options = {
        .form = (enum mg_record_form)form->form,
        .client_ip = (enum mg_record_client_ip)form->client_ip,
        .action = (enum mg_redact_action)form->action,
        .hash_key = form->hash_key.len > 0 ? given(form->hash_key) : key_of_start(vm, &room),
        .line_bytes = (size_t)form->line_bytes,
        .body_bytes = {(uint32_t)form->request_body, (uint32_t)form->response_body},
        .body_types = given(form->body_types),
    };
    for (unsigned side = 0; side < 2; side++) { /* the most that any entry wants */
        if (options.body_bytes[side] > vm->seen_bytes[side]) {
            vm->seen_bytes[side] = options.body_bytes[side];
        }
    }
    return mg_record_new(&options);
}

MG_FFI_EXPORT void mg_ffi_log_record_free(struct mg_record *record)
{
    mg_record_free(record);
}

MG_FFI_EXPORT int mg_ffi_log_hide(struct mg_record *record, int is_header, const char *name,
                                  size_t len)
{
    return mg_redact_add(&record->redact, is_header ? MG_REDACT_HEADER : MG_REDACT_NAME,
                         mg_str_make(name, len)) == 0;
}

MG_FFI_EXPORT int mg_ffi_log_field(struct mg_record *record, const char *name, size_t len,
                                   const char *fallback, size_t fallback_len)
{
    return mg_record_add(record, mg_str_make(name, len), mg_str_make(fallback, fallback_len)) == 0;
}

MG_FFI_EXPORT void mg_ffi_log_literal(struct mg_record *record, const char *text, size_t len)
{
    mg_record_add_literal(record, mg_str_make(text, len));
}

MG_FFI_EXPORT void mg_ffi_log_constant(struct mg_record *record, const char *key, size_t len,
                                       const char *json, size_t json_len)
{
    mg_record_add_constant(record, mg_str_make(key, len), mg_str_make(json, json_len));
}

static struct mg_sink_settings settings_of(const struct mg_ffi_log_target *target)
{
    return (struct mg_sink_settings){
        .kind = (enum mg_sink_kind)target->kind,
        .path = given(target->path),
        .mode = (mode_t)target->mode,
        .reopen_check_ms = (uint64_t)target->reopen_ms,
        .queue_bytes = (size_t)target->queue_bytes,
        .queue_entries = (uint32_t)target->queue_entries,
        .drop_newest = target->drop_newest != 0,
        .name = given(target->name),
        .host = given(target->host),
        .port = (uint16_t)target->port,
        .connect_ms = (uint64_t)target->connect_ms,
        .timeout_ms = (uint64_t)target->timeout_ms,
        .first_ms = (uint64_t)target->first_ms,
        .max_ms = (uint64_t)target->max_ms,
        .for_ms = (uint64_t)target->for_ms,
        .batch = (uint32_t)target->batch,
        .flush_ms = (uint64_t)target->flush_ms,
        .tls = target->tls != 0,
        .no_verify = target->no_verify != 0,
        .server_name = given(target->server_name),
        .ca = given(target->ca),
        .cert = given(target->cert),
        .key = given(target->key),
        .syslog = target->syslog != 0,
        .facility = (uint32_t)target->facility,
        .tag = given(target->tag),
        .method = given(target->method),
        .target = given(target->target),
        .host_field = given(target->host_field),
        .headers = given(target->headers),
        .content_type = given(target->content_type),
        .encoding = (enum mg_sink_encoding)target->encoding,
        .gzip = target->gzip != 0,
        .keepalive_ms = (uint64_t)target->keepalive_ms,
    };
}

MG_FFI_EXPORT struct mg_sink *mg_ffi_log_sink(struct mg_vm *vm,
                                              const struct mg_ffi_log_target *target, char *message,
                                              size_t room)
{
    const struct mg_sink_settings settings = settings_of(target);
    struct mg_sink *sink;
    if (!vm->options.sinks) {
        snprintf(message, room, "this process has no log sinks");
        return NULL;
    }
    return mg_sink_open(vm->options.sinks, &settings, &sink, message, room) ? NULL : sink;
}

MG_FFI_EXPORT void mg_ffi_log_sink_free(struct mg_sink *sink)
{
    mg_sink_close(sink);
}

/* --- which requests ------------------------------------------------------------------------- */

/* The same on every host of a trace; without one it is the request's. */
static mg_str trace_id(const struct mg_req *req)
{
    struct mg_trace trace;
    return mg_trace_of(&req->head.headers, &trace) ? trace.trace_id : req->request_id;
}

static double share_of(mg_str id)
{
    uint8_t digest[MG_SHA256_BYTES];
    uint32_t number;
    mg_hash_sha256(id, digest);
    memcpy(&number, digest, sizeof number);
    return (double)number / 4294967296.0; /* 2 to the 32nd */
}

MG_FFI_EXPORT void mg_ffi_log_about(struct mg_req *req, struct mg_ffi_log_about *out)
{
    const char *word = mg_outcome_word(req->outcome);
    uint64_t us;
    *out = (struct mg_ffi_log_about){
        .status = req->status,
        .denied = mg_outcome_is_denial(req->outcome),
        .share = share_of(trace_id(req)),
        .outcome = {.ptr = word, .len = strlen(word)},
    };
    if (mg_record_span(req, MG_RECORD_T_TOTAL, &us)) {
        out->total_ms = (double)us / 1000;
    }
}

MG_FFI_EXPORT int mg_ffi_log_is_outcome(const char *word, size_t len)
{
    return mg_outcome_of(word, (unsigned)len) != MG_OUTCOME_COUNT;
}

MG_FFI_EXPORT void mg_ffi_log_filtered(struct mg_vm *vm, int reason)
{
    if (vm->options.stats) {
        mg_stats_add(vm->options.stats,
                     reason == 0 ? MG_STAT_LOG_FILTERED_WHEN : MG_STAT_LOG_FILTERED_SAMPLE, 1);
    }
}

/* --- lines ---------------------------------------------------------------------------------- */

static uint32_t worker_of(const struct mg_req *req)
{
    return req->vm ? req->vm->options.worker : 0;
}

MG_FFI_EXPORT void mg_ffi_log_text(struct mg_req *req, const struct mg_record *record,
                                   struct mg_ffi_str *out)
{
    const size_t length = mg_record_write(record, req, worker_of(req), MG_STR(""), record->room,
                                          record->options.line_bytes);
    *out = (struct mg_ffi_str){.ptr = record->room, .len = length - 1};
}

MG_FFI_EXPORT void mg_ffi_log_clean(struct mg_req *req, const struct mg_record *record,
                                    const char *text, size_t len, struct mg_ffi_str *out)
{
    const mg_str clean = mg_redact_url(&record->redact, &req->arena, mg_str_make(text, len));
    *out = (struct mg_ffi_str){.ptr = clean.ptr, .len = clean.len};
}

MG_FFI_EXPORT int mg_ffi_log_line(struct mg_req *req, const struct mg_record *record,
                                  struct mg_sink *sink, const char *members, size_t len,
                                  int severity)
{
    const size_t length = mg_record_write(record, req, worker_of(req), mg_str_make(members, len),
                                          record->room, mg_sink_line_bytes(sink));
    mg_sink_put(sink, mg_str_make(record->room, length), (unsigned)severity);
    return (int)length;
}

/* --- the plan: a line in each sink, for every request ---------------------------------------- */

struct log_plan {
    struct mg_hook_plan plan;
    uint32_t count;
    struct {
        const struct mg_record *record;
        struct mg_sink *sink;
    } * lines;
};

static enum mg_hook_plan_result run_log(struct mg_hook_plan *plan, struct mg_req *req)
{
    const struct log_plan *log = MG_CONTAINER(plan, struct log_plan, plan);
    for (uint32_t i = 0; i < log->count; i++) {
        mg_ffi_log_line(req, log->lines[i].record, log->lines[i].sink, "", 0, INFO);
    }
    return MG_PLAN_DONE;
}

MG_FFI_EXPORT struct mg_hook_plan *mg_ffi_log_plan(void)
{
    struct log_plan *log = calloc(1, sizeof *log);
    mg_require(log != NULL);
    log->plan.run = run_log;
    return &log->plan;
}

MG_FFI_EXPORT void mg_ffi_log_plan_add(struct mg_hook_plan *plan, const struct mg_record *record,
                                       struct mg_sink *sink)
{
    struct log_plan *log = MG_CONTAINER(plan, struct log_plan, plan);
    log->lines = realloc(log->lines, (log->count + 1) * sizeof *log->lines);
    mg_require(log->lines != NULL);
    log->lines[log->count].record = record;
    log->lines[log->count++].sink = sink;
}

MG_FFI_EXPORT void mg_ffi_log_plan_free(struct mg_hook_plan *plan)
{
    struct log_plan *log = MG_CONTAINER(plan, struct log_plan, plan);
    free(log->lines);
    free(log);
}

MG_FFI_EXPORT int mg_ffi_log_take(struct mg_sink *sink, struct mg_ffi_str *lines)
{
    const mg_str text = mg_sink_take(sink);
    *lines = (struct mg_ffi_str){.ptr = text.ptr, .len = text.len};
    return text.len > 0;
}

MG_FFI_EXPORT void mg_ffi_log_taken(struct mg_sink *sink, int delivered)
{
    mg_sink_taken(sink, delivered != 0);
}

MG_FFI_EXPORT void mg_ffi_log_counts(const struct mg_sink *sink, double counts[3])
{
    struct mg_sink_counts now;
    mg_sink_counts(sink, &now);
    counts[0] = (double)now.written;
    counts[1] = (double)now.dropped;
    counts[2] = (double)now.queued;
}
