/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's own way from bytes to bytes, and back. */
#include "message.h"

#include "wire/write.h"

/* --- requests --------------------------------------------------------------------------------- */

static void require_well_formed(mg_str head, const struct mg_headers *headers)
{
    uint32_t lines = 0;
    for (size_t i = 0; i < head.len; i++) {
        lines += head.ptr[i] == '\n';
    }
    mg_require(headers->count + 2 == lines); /* start line and empty line */
    for (uint32_t i = 0; i < headers->count; i++) {
        mg_require(mg_is_token(headers->items[i].name));
        mg_require(mg_is_field_value(headers->items[i].value));
    }
}

/* llhttp takes a head that was taken, with the same slices, and refuses one that it refused. */
static void require_llhttp_agrees(struct mg_arena *arena, enum mg_http1_kind kind, mg_str head,
                                  int err, const struct mg_headers *headers)
{
    struct mg_headers theirs;
    mg_headers_init(&theirs, arena);
    if (err) {
        mg_require(headers->count == 0 || mg_http1_cut_with_llhttp(kind, head, &theirs) != 0);
        return;
    }
    mg_require(mg_http1_cut_with_llhttp(kind, head, &theirs) == 0);
    mg_require(theirs.count == headers->count && theirs.known == headers->known);
    for (uint32_t i = 0; i < theirs.count; i++) {
        const struct mg_header *a = &headers->items[i], *b = &theirs.items[i];
        mg_require(a->id == b->id && mg_str_equal(a->name, b->name));
        mg_require(a->name.ptr == b->name.ptr && mg_str_equal(a->value, b->value));
    }
}

int message_read_request(struct mg_arena *arena, mg_str head, struct message_request *request)
{
    const struct mg_uri_rules strict = {0};
    int err = mg_http1_parse_request(arena, head, &request->head);
    require_llhttp_agrees(arena, MG_HTTP1_REQUEST, head, err, &request->head.headers);
    if (!err) {
        require_well_formed(head, &request->head.headers);
        err = mg_uri_parse_target(arena, request->head.target, request->head.method_id, &strict,
                                  &request->uri);
    }
    return err ? err : mg_rules_check_request(&request->head, &request->uri, &request->host);
}

static mg_str host_text(struct mg_arena *arena, const struct mg_host *host)
{
    return host->port < 0 ? host->name
                          : mg_arena_format(arena, "%.*s:%d", MG_STR_ARG(host->name), host->port);
}

static void require_same_request(const struct message_request *in,
                                 const struct message_request *back)
{
    mg_require(mg_str_equal(back->uri.path, in->uri.path));
    mg_require(mg_str_equal(back->uri.raw_path, in->uri.path)); /* canonical as it is sent */
    mg_require(mg_str_equal(back->uri.query, in->uri.query));
    mg_require(back->uri.has_query == in->uri.has_query);
    mg_require(in->host.name.len == 0 ||
               (mg_str_equal(back->host.name, in->host.name) && back->host.port == in->host.port));
    mg_require(back->head.content_length == in->head.content_length);
    mg_require((back->head.framing == MG_FRAMING_CHUNKED) ==
               (in->head.framing == MG_FRAMING_CHUNKED));
    mg_require(mg_method_is_idempotent(back->head.method_id) ==
               mg_method_is_idempotent(in->head.method_id));
}

void message_pass_request(struct mg_arena *arena, struct message_request *request,
                          const struct mg_rules_trust *trust)
{
    mg_rules_clean_request(&request->head.headers, trust);
    const uint32_t fields = request->head.headers.count;
    const struct mg_write_request written = {
        .method = request->head.method,
        .path = request->uri.path,
        .query = request->uri.query,
        .has_query = request->uri.has_query,
        .host = request->host.name.len > 0 ? host_text(arena, &request->host) : MG_STR("origin"),
        .headers = &request->head.headers,
        .framing = {.kind = request->head.framing, .length = request->head.content_length},
    };
    struct mg_buf out;
    struct message_request back;
    mg_buf_init(&out, 64 * 1024);
    mg_require(mg_write_request_head(&out, &written) == 0);
    mg_require(message_read_request(arena, mg_buf_view(&out), &back) == 0);
    require_same_request(request, &back);
    mg_require(trust->peer_is_trusted ||
               !mg_headers_known(&back.head.headers, MG_HEADER_X_FORWARDED_FOR));
    mg_require(back.head.headers.count <= fields + 2); /* Host and a length */
    mg_buf_deinit(&out);
}

/* --- answers ---------------------------------------------------------------------------------- */

int message_read_response(struct mg_arena *arena, mg_str head, enum mg_method asked,
                          struct mg_response_head *response)
{
    const int err = mg_http1_parse_response(arena, head, response);
    require_llhttp_agrees(arena, MG_HTTP1_RESPONSE, head, err, &response->headers);
    return err ? err : mg_rules_check_response(response, asked);
}

void message_pass_response(struct mg_response_head *response, enum mg_method asked)
{
    struct mg_arena arena;
    struct mg_buf out;
    struct mg_response_head back;
    const enum mg_framing framing =
        response->framing == MG_FRAMING_CLOSE ? MG_FRAMING_CHUNKED : response->framing;
    mg_rules_clean_response(&response->headers);
    const struct mg_write_response written = {
        .status = response->status,
        .headers = &response->headers,
        .framing = {.kind = framing,
                    .length = response->content_length,
                    .omit = framing == MG_FRAMING_NONE},
        .server = MG_STR("moongate"),
        .via = MG_STR("1.1 moongate"),
    };
    mg_arena_init(&arena, 2048);
    mg_buf_init(&out, 64 * 1024);
    mg_require(mg_write_response_head(&out, &written) == 0);
    mg_require(message_read_response(&arena, mg_buf_view(&out), asked, &back) == 0);
    mg_require(back.status == response->status && back.framing == framing);
    mg_require(framing != MG_FRAMING_LENGTH || back.content_length == response->content_length);
    mg_require(!mg_headers_known(&back.headers, MG_HEADER_CONNECTION));
    mg_buf_deinit(&out);
    mg_arena_deinit(&arena);
}
