/* SPDX-License-Identifier: Apache-2.0 */
/* What the gateway adds: forwarding fields, Via, ids, and the answer to a WebSocket key. */
#include "wire/rules.h"

#include "base/hash.h"

static mg_str join_3(struct mg_arena *arena, mg_str a, mg_str b, mg_str c)
{
    const mg_str parts[] = {a, b, c};
    char *joined = mg_arena_alloc(arena, a.len + b.len + c.len), *at = joined;
    for (int i = 0; i < 3; i++) {
        if (parts[i].len > 0) {
            memcpy(at, parts[i].ptr, parts[i].len);
            at += parts[i].len;
        }
    }
    return mg_str_make(joined, (size_t)(at - joined));
}

/* A trusted peer's value stands; those of others were deleted before. */
static void add_unless_there(struct mg_headers *headers, enum mg_header_id id, mg_str name,
                             mg_str value)
{
    if (!mg_headers_has(headers, id)) {
        mg_headers_add_known(headers, id, name, value);
    }
}

static void append_peer(struct mg_headers *headers, mg_str peer_ip)
{
    const mg_str name = MG_STR("X-Forwarded-For");
    if (!mg_headers_has(headers, MG_HEADER_X_FORWARDED_FOR)) {
        mg_headers_add_known(headers, MG_HEADER_X_FORWARDED_FOR, name, peer_ip);
        return;
    }
    const mg_str before = mg_headers_join(headers, name);
    mg_headers_set(headers, name, join_3(headers->arena, before, MG_STR(", "), peer_ip));
}

static mg_str port_text(struct mg_arena *arena, uint16_t port)
{
    char digits[5], *at = digits + sizeof digits;
    unsigned rest = port;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    return mg_arena_copy_str(arena, mg_str_make(at, (size_t)(digits + sizeof digits - at)));
}

void mg_rules_add_forwarding(struct mg_headers *headers, const struct mg_rules_forward *forward)
{
    append_peer(headers, forward->peer_ip);
    add_unless_there(headers, MG_HEADER_X_FORWARDED_PROTO, MG_STR("X-Forwarded-Proto"),
                     forward->proto);
    if (forward->host.len > 0) { /* HTTP/1.0 may send none */
        add_unless_there(headers, MG_HEADER_X_FORWARDED_HOST, MG_STR("X-Forwarded-Host"),
                         forward->host);
    }
    if (!mg_headers_has(headers, MG_HEADER_X_FORWARDED_PORT)) {
        mg_headers_add_known(headers, MG_HEADER_X_FORWARDED_PORT, MG_STR("X-Forwarded-Port"),
                             port_text(headers->arena, forward->port));
    }
    add_unless_there(headers, MG_HEADER_X_FORWARDED_PATH, MG_STR("X-Forwarded-Path"),
                     forward->path);
    if (forward->prefix.len > 0) {
        add_unless_there(headers, MG_HEADER_X_FORWARDED_PREFIX, MG_STR("X-Forwarded-Prefix"),
                         forward->prefix);
    }
    if (forward->via.len > 0) { /* a field line of its own joins the list at its end */
        const mg_str version = forward->minor == 0 ? MG_STR("1.0 ") : MG_STR("1.1 ");
        const bool ready = forward->minor > 0 && forward->via_1_1.len > 0;
        mg_headers_add_known(headers, MG_HEADER_VIA, MG_STR("Via"),
                             ready ? forward->via_1_1
                                   : join_3(headers->arena, version, forward->via, MG_STR("")));
    }
}

/* The second word of a Via element: received-protocol RWS received-by [ RWS comment ] (RFC 9110,
 * 7.6.3). */
static mg_str received_by(mg_str element)
{
    size_t at = 0;
    while (at < element.len && element.ptr[at] != ' ' && element.ptr[at] != '\t') {
        at++;
    }
    const mg_str rest = mg_str_trim(mg_str_slice(element, at, element.len));
    size_t end = 0;
    while (end < rest.len && rest.ptr[end] != ' ' && rest.ptr[end] != '\t') {
        end++;
    }
    return mg_str_slice(rest, 0, end);
}

uint32_t mg_rules_count_via(const struct mg_headers *headers, mg_str pseudonym)
{
    uint32_t count = 0;
    if (!mg_headers_has(headers, MG_HEADER_VIA) || pseudonym.len == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < headers->count; i++) {
        mg_str rest = headers->items[i].value, element;
        while (headers->items[i].id == MG_HEADER_VIA && mg_str_next_element(&rest, &element)) {
            count += mg_str_iequal(received_by(element), pseudonym);
        }
    }
    return count;
}

static bool is_id_mark(char c)
{
    switch (c) {
    case '-':
    case '.':
    case '_':
    case '~':
    case '+':
    case '/':
    case '=':
    case ':':
    case '@':
        return true;
    default:
        return false;
    }
}

bool mg_rules_is_request_id(mg_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        const char c = value.ptr[i], lower = mg_char_lower(c);
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && !is_id_mark(c)) {
            return false;
        }
    }
    return value.len >= 1 && value.len <= 64;
}

mg_str mg_rules_websocket_accept(struct mg_arena *arena, mg_str key)
{
    uint8_t digest[MG_SHA1_BYTES];
    const mg_str guid = MG_STR("258EAFA5-E914-47DA-95CA-C5AB0DC85B11"); /* RFC 6455, 1.3 */
    mg_hash_sha1(join_3(arena, key, guid, MG_STR("")), digest);
    char *text = mg_arena_alloc(arena, MG_BASE64_CHARS(MG_SHA1_BYTES));
    return mg_str_make(text, mg_hash_base64(digest, sizeof digest, text));
}
