/* SPDX-License-Identifier: Apache-2.0 */
/* A request's reset, its recorded field changes, and the answers the gateway itself makes. */
#include "model/req.h"

#include "base/escape.h"
#include "wire/write.h"

void mg_req_reset(struct mg_req *req)
{
    mg_arena_reset(&req->arena);
    mg_buf_clear(&req->filter_out);
    req->number++;
    const size_t from = offsetof(struct mg_req, config);
    memset((char *)req + from, 0, offsetof(struct mg_req, match.captures.at) - from);
    mg_headers_init(&req->head.headers, &req->arena);
    mg_headers_init(&req->out, &req->arena);
    mg_headers_init(&req->up_headers, &req->arena);
}

static void change_field(struct mg_req *req, const struct mg_field_op *op)
{
    switch (op->kind) {
    case MG_FIELD_SET:
        mg_headers_set_known(&req->out, op->id, op->name, op->value);
        break;
    case MG_FIELD_ADD:
        mg_headers_add_known(&req->out, op->id, op->name, op->value);
        break;
    default:
        mg_headers_remove(&req->out, op->name);
        break;
    }
}

void mg_req_field(struct mg_req *req, int kind, mg_str name, mg_str value)
{
    mg_req_field_kept(req, kind, mg_header_id_of(name), mg_arena_copy_str(&req->arena, name),
                      mg_arena_copy_str(&req->arena, value));
}

void mg_req_field_kept(struct mg_req *req, int kind, enum mg_header_id id, mg_str name,
                       mg_str value)
{
    const struct mg_field_op field = {.kind = kind == MG_FIELD_SET   ? MG_FIELD_SET
                                              : kind == MG_FIELD_ADD ? MG_FIELD_ADD
                                                                     : MG_FIELD_CLEAR,
                                      .id = id,
                                      .name = name,
                                      .value = value};
    if (req->status != 0) {
        change_field(req, &field);
        return;
    }
    struct mg_field_op *op = mg_arena_alloc(&req->arena, sizeof *op);
    *op = field;
    if (req->ops_last) {
        req->ops_last->next = op;
    } else {
        req->ops_first = op;
    }
    req->ops_last = op;
}

void mg_req_replay_fields(struct mg_req *req)
{
    for (const struct mg_field_op *op = req->ops_first; op; op = op->next) {
        change_field(req, op);
    }
    req->ops_first = req->ops_last = NULL;
}

/* A JSON string with its quotes. */
static mg_str json_string(struct mg_arena *arena, mg_str text)
{
    const size_t room = text.len * MG_ESCAPE_JSON_GROWTH;
    char *out = mg_arena_alloc(arena, room + 2);
    size_t taken;
    const size_t length = mg_escape_json(out + 1, room, text, &taken);
    out[0] = out[length + 1] = '"';
    return mg_str_make(out, length + 2);
}

void mg_req_problem(struct mg_req *req, uint16_t status, const char *message)
{
    const char *reason = mg_status_reason(status);
    const char *title = reason[0] ? reason : "Error";
    const mg_str title_json = json_string(&req->arena, mg_str_from(title));
    const mg_str message_json = json_string(&req->arena, mg_str_from(message ? message : title));
    const mg_str id_json = json_string(&req->arena, req->request_id);
    req->status = status;
    req->source = MG_SOURCE_ERROR;
    req->answer = mg_arena_format(&req->arena,
                                  "{\"type\":\"about:blank\",\"title\":%.*s,\"status\":%u,"
                                  "\"request_id\":%.*s,\"message\":%.*s}\n",
                                  MG_STR_ARG(title_json), (unsigned)status, MG_STR_ARG(id_json),
                                  MG_STR_ARG(message_json));
    mg_headers_init(&req->out, &req->arena);
    mg_headers_add(&req->out, MG_STR("Content-Type"), MG_STR("application/problem+json"));
    mg_headers_add(&req->out, MG_STR("Cache-Control"), MG_STR("no-store"));
}
