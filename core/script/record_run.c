/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a line for the next ones. */
#include "script/record_run.h"

static bool is_of_route(enum mg_record_field field)
{
    switch (field) {
    case MG_RECORD_SCHEME:
    case MG_RECORD_PROTOCOL:
    case MG_RECORD_TLS:
    case MG_RECORD_ROUTE:
    case MG_RECORD_SERVICE:
    case MG_RECORD_UPSTREAM:
    case MG_RECORD_WORKER:
    case MG_RECORD_GENERATION:
        return true;
    default:
        return false;
    }
}

void mg_record_run_join(struct mg_record *record)
{
    struct mg_record_item *item = &record->items[record->count - 1];
    if (record->options.form != MG_RECORD_JSON || !is_of_route(item->field)) {
        return;
    }
    if (!record->runs) {
        record->runs = mg_arena_zalloc(&record->arena, sizeof *record->runs);
    }
    if (!record->run || record->run_end != record->count - 1) {
        record->run = item->run = mg_arena_zalloc(&record->arena, sizeof *record->run);
    }
    record->run->count++;
    record->run_end = record->count;
}

static struct mg_record_run_key key_of(const struct mg_req *req, uint32_t worker)
{
    const struct mg_record_run_key key = {
        .route = req->route,
        .service = req->service,
        .generation = req->config ? req->config->generation : 0,
        .worker = worker,
        .minor = req->head.minor,
        .has_request_line = req->head.method.len > 0,
        .is_usable = req->up.target_host.len == 0 && req->up.upstream.len == 0,
    };
    return key;
}

static bool is_same(const struct mg_record_run_key *a, const struct mg_record_run_key *b)
{
    return a->route == b->route && a->service == b->service && a->generation == b->generation &&
           a->worker == b->worker && a->minor == b->minor &&
           a->has_request_line == b->has_request_line && a->is_usable == b->is_usable;
}

void mg_record_runs_begin(const struct mg_record *record, const struct mg_req *req, uint32_t worker)
{
    struct mg_record_runs *runs = record->runs;
    if (!runs) {
        return;
    }
    const struct mg_record_run_key key = key_of(req, worker);
    if (runs->epoch == 0 || !is_same(&runs->key, &key)) {
        runs->key = key;
        runs->epoch++;
    }
}

void mg_record_run_keep(const struct mg_record *record, struct mg_record_run *run, mg_str made)
{
    run->epoch = 0;
    if (record->runs->key.is_usable && made.len <= sizeof run->text) {
        if (made.len > 0) {
            memcpy(run->text, made.ptr, made.len);
        }
        run->bytes = (uint32_t)made.len;
        run->epoch = record->runs->epoch;
    }
}
