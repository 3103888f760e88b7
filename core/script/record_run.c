/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a line for the next ones. */
#include "script/record_run.h"

static bool is_of_route(enum mg_record_field field)
{
    switch (field) {
    case MG_RECORD_SCHEME:
    case MG_RECORD_PROTOCOL:
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
    if (!record->run || record->run_end != record->count - 1) {
        record->run = item->run = mg_arena_zalloc(&record->arena, sizeof *record->run);
    }
    record->run->count++;
    record->run_end = record->count;
}

struct mg_record_run_key mg_record_run_key(const struct mg_req *req, uint32_t worker)
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
           a->has_request_line == b->has_request_line;
}

bool mg_record_run_recall(const struct mg_record_run *run, const struct mg_record_run_key *key,
                          struct mg_record_text *text)
{
    if (run->bytes == 0 || run->bytes > (size_t)(text->end - text->at) || !key->is_usable ||
        !is_same(&run->key, key)) {
        return false;
    }
    mg_record_put(text, mg_str_make(run->text, run->bytes));
    return true;
}

void mg_record_run_keep(struct mg_record_run *run, const struct mg_record_run_key *key, mg_str made)
{
    run->bytes = 0;
    if (key->is_usable && made.len > 0 && made.len <= sizeof run->text) {
        memcpy(run->text, made.ptr, made.len);
        run->bytes = (uint32_t)made.len;
        run->key = *key;
    }
}
