/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges parsed heads: rules M11 to M14, M18 and M20 of requests, R01 to R03 of answers
 * (docs/threat-model.md). What a head means is decided here and written into it; nobody asks its
 * fields again.
 */
#include "wire/rules.h"

#include "wire/connection.h"

/* Sets of field ids. */
#define BIT(id) ((uint64_t)1 << MG_HEADER_##id)

/* Fields whose meaning would depend on which of two lines a reader takes (M14; RFC 9110, 5.3). */
static const uint64_t single_valued =
    BIT(AUTHORIZATION) | BIT(CONTENT_TYPE) | BIT(CONTENT_RANGE) | BIT(RANGE) | BIT(MAX_FORWARDS);

/* The ids that stand more than once. */
static uint64_t repeated_ids(const struct mg_headers *headers)
{
    uint64_t seen = 0, repeated = 0;
    for (uint32_t i = 0; i < headers->count; i++) {
        const uint64_t bit = (uint64_t)1 << headers->items[i].id;
        repeated |= seen & bit;
        seen |= bit;
    }
    return repeated;
}

/* --- host --- */

static int32_t port_or(int32_t port, int32_t otherwise)
{
    return port < 0 ? otherwise : port;
}

/* What a host without a port means: connections are http, since TLS is not built yet. */
#define DEFAULT_PORT 80

/* Whether the text of a field is host's one form: "name" or "name:port". It was parsed into it. */
static bool is_host_text(mg_str text, const struct mg_host *host)
{
    const size_t len = host->name.len;
    if (!mg_str_starts(text, host->name)) {
        return false;
    }
    return host->port < 0 ? text.len == len
                          : text.len > len + 1 && text.ptr[len] == ':' && text.ptr[len + 1] != '0';
}

/* Gives the Host field the form in which it is understood: whoever reads it later, here or behind
 * us, decides by the same text. */
static void rewrite_host(struct mg_request_head *head, struct mg_host *host)
{
    struct mg_headers *headers = &head->headers;
    const struct mg_header *field = mg_headers_known(headers, MG_HEADER_HOST);
    host->port = host->port == DEFAULT_PORT ? -1 : host->port;
    if (field && is_host_text(field->value, host)) {
        return;
    }
    const mg_str text = host->port < 0 ? host->name
                                       : mg_arena_format(headers->arena, "%.*s:%d",
                                                         MG_STR_ARG(host->name), (int)host->port);
    if (field) {
        headers->items[mg_headers_place(headers, field)].value = text;
    } else {
        mg_headers_add_known(headers, MG_HEADER_HOST, MG_STR("Host"), text);
    }
}

/* Host, the authority of an absolute-form target, or both where they agree (RFC 9112, 3.2). */
static int find_host(const struct mg_request_head *head, const struct mg_uri *uri,
                     struct mg_host *host)
{
    const struct mg_header *field = mg_headers_known(&head->headers, MG_HEADER_HOST);
    struct mg_arena *arena = head->headers.arena;
    *host = (struct mg_host){.port = -1};
    if (!field && head->minor > 0) {
        return MG_EHOST;
    }
    if (field && mg_uri_parse_host(arena, field->value, host)) {
        return MG_EHOST;
    }
    if (uri->authority.len == 0) {
        return 0;
    }
    struct mg_host authority;
    if (mg_uri_parse_host(arena, uri->authority, &authority)) {
        return MG_EHOST;
    }
    if (!field) {
        *host = authority;
        return 0;
    }
    const int32_t usual = uri->default_port;
    const bool agree = mg_str_equal(authority.name, host->name) &&
                       port_or(authority.port, usual) == port_or(host->port, usual);
    return agree ? 0 : MG_EHOST;
}

static bool recall_host(const struct mg_rules_host_memo *memo, mg_str text, struct mg_host *host)
{
    if (text.len != memo->bytes || text.len == 0 || memcmp(text.ptr, memo->text, text.len) != 0) {
        return false;
    }
    *host = (struct mg_host){.name = mg_str_make(text.ptr, memo->name_bytes), .port = memo->port};
    return true;
}

/* Only what was left as it came, and whose name is a part of it. */
static void remember_host(struct mg_rules_host_memo *memo, mg_str came, mg_str text,
                          const struct mg_host *host)
{
    if (came.ptr != text.ptr || came.len != text.len || host->name.ptr != text.ptr ||
        text.len > sizeof memo->text) {
        return;
    }
    memcpy(memo->text, text.ptr, text.len);
    memo->bytes = (uint32_t)text.len;
    memo->name_bytes = (uint32_t)host->name.len;
    memo->port = host->port;
}

static int settle_host(struct mg_request_head *head, const struct mg_uri *uri,
                       struct mg_rules_host_memo *memo, struct mg_host *host)
{
    const struct mg_header *field = mg_headers_known(&head->headers, MG_HEADER_HOST);
    const mg_str came = field ? field->value : mg_str_make(NULL, 0);
    if (uri->authority.len == 0 && recall_host(memo, came, host)) {
        return 0;
    }
    const int err = find_host(head, uri, host);
    if (err || host->name.len == 0) {
        return err;
    }
    rewrite_host(head, host);
    if (field) {
        remember_host(memo, came, field->value, host);
    }
    return 0;
}

/* --- framing --- */

/* A transfer coding of the IANA registry other than chunked, with the old names. */
static bool is_other_coding(mg_str coding)
{
    static const mg_str registered[] = {
        {"gzip", 4}, {"deflate", 7}, {"compress", 8}, {"x-gzip", 6}, {"x-compress", 10},
    };
    for (size_t i = 0; i < sizeof registered / sizeof registered[0]; i++) {
        if (mg_str_iequal(coding, registered[i])) {
            return true;
        }
    }
    return false;
}

/* A coding that exists but is not done here is told apart from an attempt to confuse (M12): codings
 * of the registry, then perhaps chunked at the end, with no empty element. */
static int judge_coding(mg_str value)
{
    if (mg_str_iequal(value, MG_STR("chunked"))) { /* names are case-blind, RFC 9112, 7 */
        return 0;
    }
    size_t from = 0;
    bool more = true;
    while (more) {
        const ptrdiff_t comma = mg_str_find(value, ',', from);
        more = comma >= 0;
        const mg_str coding =
            mg_str_trim(mg_str_slice(value, from, more ? (size_t)comma : value.len));
        const bool final_chunked = !more && from > 0 && mg_str_iequal(coding, MG_STR("chunked"));
        if (!is_other_coding(coding) && !final_chunked) {
            return MG_EFRAMING;
        }
        from = (size_t)comma + 1;
    }
    return MG_ECODING;
}

/* The framing that the fields give (RFC 9112, 6.3): NONE when there is neither length nor
 * coding. */
static int judge_framing(const struct mg_headers *headers, uint8_t minor, uint64_t repeated,
                         enum mg_framing *framing, uint64_t *content_length)
{
    const struct mg_header *coding = mg_headers_known(headers, MG_HEADER_TRANSFER_ENCODING);
    const struct mg_header *length = mg_headers_known(headers, MG_HEADER_CONTENT_LENGTH);
    *framing = MG_FRAMING_NONE;
    *content_length = 0;
    if (repeated & (BIT(TRANSFER_ENCODING) | BIT(CONTENT_LENGTH))) {
        return MG_EFRAMING;
    }
    if (coding) {
        *framing = MG_FRAMING_CHUNKED;
        return length || minor == 0 ? MG_EFRAMING : judge_coding(coding->value);
    }
    if (length) {
        *framing = MG_FRAMING_LENGTH;
        return mg_str_to_u64(length->value, content_length) ? 0 : MG_EFRAMING;
    }
    return 0;
}

/* --- requests --- */

static bool has_body(const struct mg_request_head *head)
{
    return head->framing == MG_FRAMING_CHUNKED || head->content_length > 0;
}

/* Only 100-continue is known (M18), and only from HTTP/1.1 on (RFC 9110, 10.1.1). */
static int judge_expect(struct mg_request_head *head, uint64_t repeated)
{
    const struct mg_header *expect = mg_headers_known(&head->headers, MG_HEADER_EXPECT);
    if (!expect) {
        return 0;
    }
    if ((repeated & BIT(EXPECT)) || !mg_str_iequal(expect->value, MG_STR("100-continue"))) {
        return MG_EEXPECT;
    }
    head->expect_continue = head->minor > 0 && has_body(head);
    return 0;
}

/* The one upgrade that is served: WebSocket by GET without a body, with one key (RFC 6455, 4.1). */
static bool asks_for_websocket(const struct mg_request_head *head, uint64_t repeated)
{
    const struct mg_header *upgrade = mg_headers_known(&head->headers, MG_HEADER_UPGRADE);
    if (!upgrade || head->method_id != MG_METHOD_GET || head->minor == 0 || has_body(head) ||
        !mg_headers_has(&head->headers, MG_HEADER_SEC_WEBSOCKET_KEY)) {
        return false;
    }
    return mg_str_iequal(upgrade->value, MG_STR("websocket")) &&
           !(repeated & (BIT(UPGRADE) | BIT(SEC_WEBSOCKET_KEY)));
}

int mg_rules_check_request(struct mg_request_head *head, const struct mg_uri *uri,
                           struct mg_host *host)
{
    struct mg_rules_host_memo none = {.bytes = 0};
    return mg_rules_check_request_with(head, uri, &none, host);
}

int mg_rules_check_request_with(struct mg_request_head *head, const struct mg_uri *uri,
                                struct mg_rules_host_memo *memo, struct mg_host *host)
{
    const uint64_t repeated = repeated_ids(&head->headers);
    struct mg_connection connection;
    if (repeated & BIT(HOST)) {
        return MG_EHOST;
    }
    int err = settle_host(head, uri, memo, host);
    if (err) {
        return err;
    }
    err =
        judge_framing(&head->headers, head->minor, repeated, &head->framing, &head->content_length);
    if (err) {
        return err;
    }
    if (repeated & single_valued) {
        return MG_ESYNTAX;
    }
    err = judge_expect(head, repeated);
    if (err) {
        return err;
    }
    err = mg_connection_parse(&head->headers, &connection);
    head->keep_alive = !connection.close && (head->minor > 0 || connection.keep_alive);
    head->wants_upgrade = connection.upgrade && asks_for_websocket(head, repeated);
    return err;
}

/* --- answers --- */

int mg_rules_check_response(struct mg_response_head *head, enum mg_method asked)
{
    const uint64_t repeated = repeated_ids(&head->headers);
    struct mg_connection connection;
    if (judge_framing(&head->headers, head->minor, repeated, &head->framing,
                      &head->content_length) ||
        mg_connection_parse(&head->headers, &connection)) {
        return MG_EBAD_RESPONSE;
    }
    head->keep_alive = !connection.close && (head->minor > 0 || connection.keep_alive) &&
                       head->status != 408; /* it may have been said of no request of ours */
    if (head->status < 200 || head->status == 204) {
        /* no length and no coding may stand here (RFC 9110, 8.6; RFC 9112, 6.1) */
        const bool framed = head->framing != MG_FRAMING_NONE;
        head->framing = MG_FRAMING_NONE;
        return framed ? MG_EBAD_RESPONSE : 0;
    }
    if (asked == MG_METHOD_HEAD || head->status == 304) {
        head->framing = MG_FRAMING_NONE; /* a length tells what GET would give */
        return 0;
    }
    if (head->framing == MG_FRAMING_NONE) {
        head->framing = MG_FRAMING_CLOSE;
        head->keep_alive = false;
    }
    return 0;
}
