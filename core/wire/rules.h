/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a proxy does to a head (RFC 9110, 7; RFC 9112, 3 and 6): checks above the tokeniser, body
 * framing, hop-by-hop fields, trust in forwarding fields, the gateway's own fields. Works on parsed
 * heads only; knows no routes and no Lua.
 */
#pragma once

#include "base/err.h"
#include "wire/http1.h"
#include "wire/uri.h"

/* --- requests --- */

/* Rules M11-M14, M18 of hardening: sets framing, content_length, keep_alive, expect_continue,
 * wants_upgrade. *host: from Host or the absolute-form authority, which must agree (MG_EHOST);
 * without the port where it is the scheme's, and the Host field gets that form too.
 * MG_EHOST, MG_EFRAMING, MG_ECODING, MG_EEXPECT, MG_ESYNTAX (a repeated single-valued field). */
MG_NODISCARD int mg_rules_check_request(struct mg_request_head *head, const struct mg_uri *uri,
                                        struct mg_host *host);

/* A Host field that was understood, so that the next one with the same bytes need not be read
 * again: it was in its one form, "name" or "name:port". All zero: none. */
struct mg_rules_host_memo {
    uint32_t bytes, name_bytes;
    int32_t port;
    char text[64];
};
/* The same with a memory; the answer is the same. */
MG_NODISCARD int mg_rules_check_request_with(struct mg_request_head *head, const struct mg_uri *uri,
                                             struct mg_rules_host_memo *memo, struct mg_host *host);

struct mg_rules_trust {
    bool peer_is_trusted;         /* its address is in trusted_ips */
    const mg_str *identity_names; /* fields that plugins declare as theirs, lower case */
    size_t identity_count;
    mg_str request_id_name;       /* of gateway.headers.request_id; empty = none */
    enum mg_header_id request_id; /* of that name; OTHER: fields are compared with the name */
};

/* Removes hop-by-hop fields (Connection and what it lists, Keep-Alive, Proxy-Connection, TE,
 * Trailer, Transfer-Encoding, Upgrade, Proxy-Authenticate, Proxy-Authorization, Expect), and from
 * untrusted peers Forwarded, X-Forwarded-*, X-Real-IP, X-Original-*, X-Rewrite-*, a malformed
 * request id, and the identity names; names compare with case folded and '_' equal to '-'. Also
 * drops '_' aliases of fields the gateway sets. Content-Length stays. Returns how many untrusted
 * fields were dropped. */
uint32_t mg_rules_clean_request(struct mg_headers *headers, const struct mg_rules_trust *trust);

struct mg_rules_forward {
    mg_str peer_ip; /* appended to X-Forwarded-For */
    mg_str proto;   /* "http" or "https" */
    mg_str host;    /* with the port unless it is the scheme's; empty = no X-Forwarded-Host */
    uint16_t port;  /* server port the client used */
    mg_str path;    /* canonical path as received, for X-Forwarded-Path */
    mg_str prefix;  /* stripped prefix, empty = no X-Forwarded-Prefix */
    mg_str via;     /* pseudonym, empty = no Via */
    mg_str via_1_1; /* "1.1 " and the pseudonym, ready for use; may be empty */
    uint8_t minor;  /* version of the client's message, for Via */
};

/* Adds X-Forwarded-For (appended), -Proto, -Host, -Port, -Path, -Prefix (a trusted peer's values of
 * the others are kept) and Via. */
void mg_rules_add_forwarding(struct mg_headers *headers, const struct mg_rules_forward *forward);

/* Times our own pseudonym stands in Via: a loop when >= 5 (MG_ELOOP is the caller's). */
uint32_t mg_rules_count_via(const struct mg_headers *headers, mg_str pseudonym);

/* Value acceptable as request id: 1-64 of [A-Za-z0-9._~+/=:@-]. */
bool mg_rules_is_request_id(mg_str value);

/* --- answers --- */

/* Rules R01-R03: sets framing, content_length, keep_alive. asked: method of the request.
 * MG_EBAD_RESPONSE. */
MG_NODISCARD int mg_rules_check_response(struct mg_response_head *head, enum mg_method asked);

/* Removes hop-by-hop fields and what Connection lists. Content-Length stays. */
void mg_rules_clean_response(struct mg_headers *headers);

/* Sec-WebSocket-Accept that answers the key (RFC 6455, 4.2.2), in the arena. */
mg_str mg_rules_websocket_accept(struct mg_arena *arena, mg_str key);
