/* SPDX-License-Identifier: Apache-2.0 */
/* Plans: the request first, then the answer to it. */
#include "plan.h"

#include <inttypes.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* --- the request --- */

static const char *const usual_methods[] = {"GET",    "HEAD",    "POST", "PUT",
                                            "DELETE", "OPTIONS", "PATCH"};
static const char *const rare_methods[] = {"PROPFIND", "PROPPATCH", "MKCOL",  "COPY",      "MOVE",
                                           "LOCK",     "UNLOCK",    "SEARCH", "MERGE",     "REPORT",
                                           "PURGE",    "LINK",      "NOTIFY", "MKCALENDAR"};
static const char *const hosts[] = {
    "shop.example", "a", "127.0.0.1:8000", "[::1]:8443", "xn--bcher-kva.example", "x_y.example:81"};
static const char *const request_names[] = {
    "Accept",        "Accept-Encoding", "Accept-Language", "User-Agent",    "Referer",
    "Cookie",        "Content-Type",    "Authorization",   "If-None-Match", "Cache-Control",
    "Content-Range", "Origin",          "Pragma",          "Max-Forwards",  "Priority"};

static mg_str any(struct dice *dice, const char *const *list, size_t count)
{
    return mg_str_from(list[dice_below(dice, (uint32_t)count)]);
}

static void add_known(struct message *message, struct mg_arena *arena, struct dice *dice,
                      const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (dice_chance(dice, 120)) {
            message_add(message, text_any_case(arena, dice, names[i]), text_value(arena, dice, 6),
                        true);
        }
    }
}

/* Fields of this hop, and claims that only a trusted peer may make: they must not arrive. */
static void add_dropped(struct message *message, struct dice *dice)
{
    static const struct {
        mg_str name, value;
    } all[] = {
        {{"Keep-Alive", 10}, {"timeout=5", 9}},
        {{"Proxy-Connection", 16}, {"keep-alive", 10}},
        {{"TE", 2}, {"trailers", 8}},
        {{"Trailer", 7}, {"X-Trailer-1", 11}},
        {{"Proxy-Authorization", 19}, {"Basic eDp5", 10}},
        {{"X-Forwarded-For", 15}, {"192.0.2.7", 9}},
        {{"x-forwarded-host", 16}, {"other.example", 13}},
        {{"X_Forwarded_For", 15}, {"192.0.2.8", 9}},
        {{"Forwarded", 9}, {"for=192.0.2.9", 13}},
        {{"X-Real-IP", 9}, {"192.0.2.10", 10}},
        {{"X-Original-URL", 14}, {"/admin", 6}},
        {{"Content_Length", 14}, {"7", 1}},
    };
    for (size_t i = 0; i < COUNT(all); i++) {
        if (dice_chance(dice, 30)) {
            message_add(message, all[i].name, all[i].value, false);
        }
    }
}

/* What the client says about the connection, with one more name that it takes off the message. */
static void add_connection(struct message *message, struct mg_arena *arena, struct dice *dice,
                           bool is_old, bool stays)
{
    const bool lists = dice_chance(dice, 60);
    const mg_str option = !stays && !is_old ? MG_STR("close")
                          : stays && is_old ? MG_STR("keep-alive")
                          : dice_chance(dice, 200)
                              ? (stays ? MG_STR("keep-alive") : MG_STR("close"))
                              : MG_STR("");
    if (option.len > 0) {
        message_add(message, MG_STR("Connection"),
                    text_any_case(arena, dice, mg_arena_copy(arena, option)), false);
    }
    if (lists) {
        message_add(message, MG_STR("Connection"), MG_STR("x-hop, , TE"), false);
        message_add(message, MG_STR("X-Hop"), text_value(arena, dice, 5), false);
    }
}

static void choose_request_body(struct plan *plan, struct dice *dice)
{
    const bool usual = mg_str_equal(plan->method, MG_STR("POST")) ||
                       mg_str_equal(plan->method, MG_STR("PUT")) ||
                       mg_str_equal(plan->method, MG_STR("PATCH"));
    struct message *request = &plan->request;
    enum framing framing = FRAMING_NONE;
    if (dice_chance(dice, usual ? 950 : 150)) {
        framing = plan->is_old || dice_chance(dice, 500) ? FRAMING_LENGTH : FRAMING_CHUNKED;
    }
    message_set_body(request, &plan->arena, dice, framing);
    const bool has_body = framing == FRAMING_CHUNKED || request->body_bytes > 0;
    plan->expects = has_body && !plan->is_old && dice_chance(dice, 120);
    plan->waits = plan->expects && dice_chance(dice, 800);
    if (plan->expects) {
        message_add(request, MG_STR("Expect"), text_any_case(&plan->arena, dice, "100-continue"),
                    false);
    }
}

static void set_request_line(struct plan *plan, struct dice *dice)
{
    struct mg_arena *arena = &plan->arena;
    const uint32_t kind = dice_below(dice, 20);
    plan->method = kind < 8    ? MG_STR("GET")
                   : kind < 19 ? any(dice, usual_methods, COUNT(usual_methods))
                               : any(dice, rare_methods, COUNT(rare_methods));
    plan->is_head = mg_str_equal(plan->method, MG_STR("HEAD"));
    plan->is_old = dice_chance(dice, 80);
    plan->host = any(dice, hosts, COUNT(hosts));
    const mg_str path = text_path(arena, dice);
    const bool has_query = dice_chance(dice, 400);
    const mg_str query = has_query ? text_query(arena, dice) : MG_STR("");
    plan->target = mg_arena_format(arena, "%.*s%s%.*s", MG_STR_ARG(path), has_query ? "?" : "",
                                   MG_STR_ARG(query));
    const bool absolute = dice_chance(dice, 40);
    plan->request.start =
        mg_arena_format(arena, "%.*s %s%.*s%.*s HTTP/1.%d", MG_STR_ARG(plan->method),
                        absolute ? "http://" : "", absolute ? (int)plan->host.len : 0,
                        plan->host.ptr, MG_STR_ARG(plan->target), plan->is_old ? 0 : 1);
}

static mg_str own_field(struct plan *plan)
{
    return mg_arena_format(&plan->arena, "%016" PRIx64 "-%" PRIu32, plan->seed, plan->number);
}

static void make_request(struct plan *plan)
{
    struct dice dice = dice_for(plan->seed, plan->number, DICE_REQUEST);
    struct message *request = &plan->request;
    set_request_line(plan, &dice);
    plan->client_cut = (enum cut)(dice_chance(&dice, 300) ? dice_between(&dice, 1, 2) : 0);
    plan->client_stays = dice_chance(&dice, plan->is_old ? 500 : 900);
    message_add_random(request, &plan->arena, &dice, 8);
    message_add(request, text_any_case(&plan->arena, &dice, "Host"), plan->host, false);
    add_connection(request, &plan->arena, &dice, plan->is_old, plan->client_stays);
    add_known(request, &plan->arena, &dice, request_names, COUNT(request_names));
    message_add(request, MG_STR(PLAN_FIELD), own_field(plan), true);
    add_dropped(request, &dice);
    choose_request_body(plan, &dice);
    message_add_random(request, &plan->arena, &dice, 16);
}

/* --- the answer --- */

static const uint16_t statuses[] = {201, 202, 203, 206, 207, 226, 299, 300, 301, 302, 303,
                                    307, 308, 400, 401, 403, 404, 405, 409, 410, 416, 418,
                                    422, 429, 451, 500, 501, 502, 503, 504, 507, 599};
static const char *const response_names[] = {
    "Content-Type",  "ETag",   "Cache-Control", "Vary", "Set-Cookie", "Location",
    "Last-Modified", "Server", "Retry-After",   "Link", "Expires",    "Set-Cookie"};

static void add_interims(struct plan *plan, struct dice *dice)
{
    static const char *const lines[] = {"HTTP/1.1 100 Continue", "HTTP/1.1 102 Processing",
                                        "HTTP/1.1 103 Early Hints", "HTTP/1.1 199 "};
    if (!dice_chance(dice, 60)) {
        return;
    }
    plan->interim_count = dice_between(dice, 1, PLAN_INTERIMS);
    for (uint32_t i = 0; i < plan->interim_count; i++) {
        plan->interims[i].start = any(dice, lines, COUNT(lines));
        message_add_random(&plan->interims[i], &plan->arena, dice, 4);
    }
}

static uint16_t choose_status(struct dice *dice)
{
    const uint32_t kind = dice_below(dice, 20);
    return kind < 11    ? 200
           : kind == 11 ? 204
           : kind == 12 ? 304
                        : statuses[dice_below(dice, COUNT(statuses))];
}

/* Of an answer without a body the fields may still speak of one (RFC 9110, 8.6; 9112, 6.1). */
static void speak_of_body(struct plan *plan, struct dice *dice, uint8_t minor)
{
    const uint32_t kind = plan->status == 204 ? 0 : dice_below(dice, minor ? 3 : 2);
    struct message *response = &plan->response;
    if (kind == 1) {
        plan->tells_length = true;
        response->body_bytes = dice_bits(dice, 40);
        message_add(response, MG_STR("Content-Length"),
                    mg_arena_format(&plan->arena, "%" PRIu64, response->body_bytes), false);
    } else if (kind == 2) {
        message_add(response, MG_STR("Transfer-Encoding"), MG_STR("chunked"), false);
    }
}

static void choose_response_body(struct plan *plan, struct dice *dice, uint8_t minor)
{
    plan->has_body = !plan->is_head && plan->status != 204 && plan->status != 304;
    const uint32_t kind = dice_below(dice, 20);
    if (!plan->has_body) {
        speak_of_body(plan, dice, minor);
        return;
    }
    const enum framing framing = kind < 9             ? FRAMING_LENGTH
                                 : kind < 18 && minor ? FRAMING_CHUNKED
                                                      : FRAMING_CLOSE;
    message_set_body(&plan->response, &plan->arena, dice, framing);
    if (framing == FRAMING_CLOSE) {
        plan->upstream_stays = false;
    }
}

static void make_response(struct plan *plan)
{
    struct dice dice = dice_for(plan->seed, plan->number, DICE_RESPONSE);
    struct mg_arena *arena = &plan->arena;
    struct message *response = &plan->response;
    const uint8_t minor = dice_chance(&dice, 80) ? 0 : 1;
    plan->upstream_cut = (enum cut)(dice_chance(&dice, 300) ? dice_between(&dice, 1, 2) : 0);
    plan->status = choose_status(&dice);
    plan->upstream_stays = dice_chance(&dice, 900);
    plan->is_early = plan->request.body_bytes > 0 && !plan->is_old && dice_chance(&dice, 40);
    plan->is_slow = plan->is_early && dice_chance(&dice, 500);
    if (minor == 1) {
        add_interims(plan, &dice);
    }
    const mg_str reason = text_value(arena, &dice, 5);
    response->start =
        mg_arena_format(arena, "HTTP/1.%d %d %.*s", minor, plan->status, MG_STR_ARG(reason));
    message_add_random(response, arena, &dice, 8);
    add_known(response, arena, &dice, response_names, COUNT(response_names));
    message_add(response, MG_STR(PLAN_FIELD), own_field(plan), true);
    choose_response_body(plan, &dice, minor);
    if (response->framing != FRAMING_CLOSE || dice_chance(&dice, 500)) {
        add_connection(response, arena, &dice, minor == 0, plan->upstream_stays);
    }
    if (dice_chance(&dice, 40)) {
        message_add(response, MG_STR("Keep-Alive"), MG_STR("timeout=60"), false);
        message_add(response, MG_STR("Proxy-Authenticate"), MG_STR("Basic"), false);
    }
    message_add_random(response, arena, &dice, 16);
}

void plan_make(struct plan *plan, uint64_t seed, uint32_t number)
{
    *plan = (struct plan){.seed = seed, .number = number};
    mg_arena_init(&plan->arena, 8192);
    make_request(plan);
    make_response(plan);
}

void plan_free(struct plan *plan)
{
    mg_arena_deinit(&plan->arena);
}

bool plan_read_field(mg_str value, uint64_t *seed, uint32_t *number)
{
    uint64_t decimal;
    *seed = 0;
    if (value.len < 18 || value.ptr[16] != '-' ||
        !mg_str_to_u64(mg_str_slice(value, 17, value.len), &decimal) || decimal > UINT32_MAX) {
        return false;
    }
    for (int i = 0; i < 16; i++) {
        const char *digits = "0123456789abcdef";
        const char *at = memchr(digits, value.ptr[i], 16);
        if (!at) {
            return false;
        }
        *seed = *seed << 4 | (uint64_t)(at - digits);
    }
    *number = (uint32_t)decimal;
    return true;
}
