/* SPDX-License-Identifier: Apache-2.0 */
/* Heads as they came against heads as they were planned. */
#include "compare.h"

#include <inttypes.h>

static const char *complain(struct plan *plan, const char *what, mg_str planned, mg_str seen)
{
    return mg_arena_format(&plan->arena, "%s: planned '%.*s', but got '%.*s'", what,
                           MG_STR_ARG(planned), MG_STR_ARG(seen))
        .ptr;
}

static bool is_listed(mg_str name, const char *const *list)
{
    for (; *list; list++) {
        if (mg_str_iequal(name, mg_str_from(*list))) {
            return true;
        }
    }
    return false;
}

/* The next planned field from *at on that passes, or NULL. */
static const struct field *next_planned(const struct message *message, uint32_t *at)
{
    while (*at < message->field_count) {
        const struct field *field = &message->fields[(*at)++];
        if (field->passes) {
            return field;
        }
    }
    return NULL;
}

/* own: what the gateway itself may add. */
static const char *compare_fields(struct plan *plan, const struct message *message,
                                  const struct head *head, const char *const *own)
{
    uint32_t at = 0;
    const struct field *planned = next_planned(message, &at);
    for (uint32_t i = 0; i < head->field_count; i++) {
        const mg_str name = head->fields[i].name, value = head->fields[i].value;
        if (planned && mg_str_equal(name, planned->name)) {
            if (!mg_str_equal(value, planned->value)) {
                return complain(plan, "a value", planned->value, value);
            }
            planned = next_planned(message, &at);
        } else if (!is_listed(name, own)) {
            return complain(plan, "a field", planned ? planned->name : MG_STR(""), name);
        }
    }
    return planned ? complain(plan, "a field", planned->name, MG_STR("nothing")) : NULL;
}

static const char *compare_value(struct plan *plan, const struct head *head, const char *name,
                                 mg_str planned)
{
    const mg_str value = head_value(head, name);
    return mg_str_equal(value, planned) ? NULL : complain(plan, name, planned, value);
}

/* --- requests --- */

static const char *compare_request_framing(struct plan *plan, const struct head *head)
{
    const struct message *request = &plan->request;
    const bool chunked = request->framing == FRAMING_CHUNKED;
    const bool length = request->framing == FRAMING_LENGTH;
    if (head->is_chunked != chunked || (length && !head->has_length) ||
        (head->has_length && head->length != request->body_bytes)) {
        return "the body is framed in another way";
    }
    return NULL;
}

static const char *compare_forwarding(struct plan *plan, const struct head *head,
                                      const struct ledger *ledger)
{
    struct mg_arena *arena = &plan->arena;
    const ptrdiff_t question = mg_str_find(plan->target, '?', 0);
    const struct {
        const char *name;
        mg_str value;
    } all[] = {
        {"Host", mg_arena_format(arena, "127.0.0.1:%" PRIu16, ledger->upstream_port)},
        {"X-Forwarded-For", MG_STR("127.0.0.1")},
        {"X-Forwarded-Proto", MG_STR("http")},
        {"X-Forwarded-Host", plan->host},
        {"X-Forwarded-Port", mg_arena_format(arena, "%" PRIu16, ledger->gateway_port)},
        {"X-Forwarded-Path",
         question < 0 ? plan->target : mg_str_slice(plan->target, 0, (size_t)question)},
        {"Via", plan->is_old ? MG_STR("1.0 moongate") : MG_STR("1.1 moongate")},
    };
    const char *wrong = NULL;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && !wrong; i++) {
        wrong = compare_value(plan, head, all[i].name, all[i].value);
    }
    return wrong;
}

const char *compare_request(struct plan *plan, const struct head *head, const struct ledger *ledger)
{
    static const char *const own[] = {"Host",
                                      "X-Forwarded-For",
                                      "X-Forwarded-Proto",
                                      "X-Forwarded-Host",
                                      "Content-Length",
                                      "Transfer-Encoding",
                                      "X-Forwarded-Port",
                                      "X-Forwarded-Path",
                                      "Via",
                                      "X-Request-ID",
                                      NULL};
    const mg_str start = mg_arena_format(&plan->arena, "%.*s %.*s HTTP/1.1",
                                         MG_STR_ARG(plan->method), MG_STR_ARG(plan->target));
    const char *wrong = mg_str_equal(start, head->start)
                            ? NULL
                            : complain(plan, "the request line", start, head->start);
    wrong = wrong ? wrong : compare_fields(plan, &plan->request, head, own);
    wrong = wrong ? wrong : compare_forwarding(plan, head, ledger);
    return wrong ? wrong : compare_request_framing(plan, head);
}

/* --- answers --- */

static const char *const response_own[] = {
    "Date",       "Server",       "Via", "Content-Length", "Transfer-Encoding",
    "Connection", "X-Request-ID", NULL};
static const char *const policies_own[] = {"Date",
                                           "Server",
                                           "Via",
                                           "Content-Length",
                                           "Transfer-Encoding",
                                           "Connection",
                                           "X-Request-ID",
                                           "X-RateLimit-Limit",
                                           "X-RateLimit-Remaining",
                                           "X-RateLimit-Reset",
                                           NULL};

static const char *compare_status(struct plan *plan, const struct head *head)
{
    const mg_str start = mg_arena_format(&plan->arena, "HTTP/1.1 %d ", plan->status);
    return mg_str_starts(head->start, start)
               ? NULL
               : complain(plan, "the status line", start, head->start);
}

/* Without a body: only what the upstream told of one that it did not send. */
static const char *compare_absent_body(const struct plan *plan, const struct head *head)
{
    const uint64_t told = plan->tells_length ? plan->response.body_bytes : 0;
    if (head->is_chunked || head->has_length != plan->tells_length ||
        (head->has_length && head->length != told)) {
        return "it speaks of a body in another way than the upstream";
    }
    return NULL;
}

/* A known length stays one; else it is chunked, or for old clients lasts until the close. */
static const char *compare_response_framing(const struct plan *plan, const struct head *head,
                                            bool filtered)
{
    if (!plan->has_body) {
        return compare_absent_body(plan, head);
    }
    if (head->has_length && head->length != plan->response.body_bytes) {
        return "the body has another length";
    }
    if (!filtered && plan->response.framing == FRAMING_LENGTH && !head->has_length) {
        return "a known length was lost";
    }
    if (!head->has_length && head->is_chunked == plan->is_old) {
        return plan->is_old ? "a client of HTTP/1.0 gets chunks" : "the body has no framing";
    }
    return NULL;
}

/* Whether it may stay open, and whether it must. */
static const char *compare_persistence(const struct plan *plan, const struct head *head,
                                       bool *stays)
{
    const bool delimited = !plan->has_body || head->has_length || head->is_chunked;
    const bool closes = head_has_option(head, "close");
    *stays = delimited && !closes && (!plan->is_old || head_has_option(head, "keep-alive"));
    if (*stays && !plan->client_stays) {
        return "the connection stays, against the client's wish";
    }
    if (!*stays && plan->client_stays && delimited && !plan->is_early) {
        return "the connection closes without need";
    }
    return NULL;
}

const char *compare_response(struct plan *plan, const struct head *head,
                             const struct ledger *ledger, bool *stays)
{
    const mg_str via = mg_str_starts(plan->response.start, MG_STR("HTTP/1.0"))
                           ? MG_STR("1.0 moongate")
                           : MG_STR("1.1 moongate");
    const char *wrong = compare_status(plan, head);
    wrong = wrong ? wrong
                  : compare_fields(plan, &plan->response, head,
                                   ledger->filtered ? policies_own : response_own);
    wrong = wrong ? wrong : compare_value(plan, head, "Via", via);
    wrong = wrong ? wrong : compare_response_framing(plan, head, ledger->filtered);
    return wrong ? wrong : compare_persistence(plan, head, stays);
}

const char *compare_interim(struct plan *plan, const struct message *interim,
                            const struct head *head)
{
    static const char *const own[] = {NULL};
    const mg_str start = mg_str_slice(interim->start, 0, sizeof "HTTP/1.1 103 " - 1);
    if (!mg_str_starts(head->start, start) || head->has_length || head->is_chunked) {
        return complain(plan, "an interim answer", interim->start, head->start);
    }
    return compare_fields(plan, interim, head, own);
}
