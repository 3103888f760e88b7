/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 messages read a second time, straight from the grammar of RFC 9112, RFC 9110 and RFC
 * 3986, to compare the gateway with. It shares nothing with core/: no header, no table, no way of
 * working. It reads a whole message from one piece of memory, by recursive descent, and keeps
 * nothing between calls.
 *
 * Where the gateway refuses what the RFCs allow, the place in grammar*.c names the rule of the
 * gateway that does (M.. and R.. of the table in docs/threat-model.md, or "limit"); where it takes
 * what they do not ask it to refuse, the place says "lenient" and why.
 *
 *     struct grammar_message message;
 *     grammar_read_request(&limits, bytes, length, &message);
 *     if (message.head == GRAMMAR_ACCEPT) ... message.fields[0].name ...
 *     grammar_read_body(&limits, bytes, length, octets, &message);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRAMMAR_FIELDS 64
#define GRAMMAR_HOST_BYTES 256

enum grammar_verdict {
    GRAMMAR_ACCEPT,
    GRAMMAR_MORE, /* nothing wrong so far, and not complete */
    GRAMMAR_REFUSE,
};

enum grammar_body {
    GRAMMAR_NONE,
    GRAMMAR_LENGTH,
    GRAMMAR_CHUNKED,
    GRAMMAR_CLOSE, /* until the connection ends */
};

struct grammar_text {
    const char *at;
    size_t length;
};

struct grammar_field {
    struct grammar_text name, value;
};

struct grammar_limits {
    size_t start_line, field_line, field_name, field_bytes, fields;
    size_t chunk_line, chunk_extensions, trailers, trailer_bytes;
};

struct grammar_message {
    enum grammar_verdict head;
    const char *rule;         /* that refused, static */
    size_t head_at, head_end; /* first byte of the start line, first byte behind the head */
    struct grammar_text method, target;
    unsigned minor, status;
    struct grammar_field fields[GRAMMAR_FIELDS];
    size_t field_count;
    char host[GRAMMAR_HOST_BYTES]; /* lower case, no dot at the end, or the address in brackets */
    size_t host_length;            /* 0 = none */
    long port;                     /* -1 = none */
    enum grammar_body body;
    uint64_t length; /* as Content-Length says */
    bool persistent;
    /* set by grammar_read_body */
    enum grammar_verdict whole;
    size_t end; /* of the message, when whole is GRAMMAR_ACCEPT */
    size_t octet_count;
};

/* limits.fields must be at most GRAMMAR_FIELDS. */
void grammar_read_request(const struct grammar_limits *limits, const char *bytes, size_t length,
                          struct grammar_message *message);
/* to_head: it answers a HEAD. */
void grammar_read_response(const struct grammar_limits *limits, const char *bytes, size_t length,
                           bool to_head, struct grammar_message *message);
/* Behind an accepted head. octets: room for length bytes. */
void grammar_read_body(const struct grammar_limits *limits, const char *bytes, size_t length,
                       char *octets, struct grammar_message *message);

/* The canonical form of a path (hardening rules of docs/threat-model.md, "one canonical request")
 * in room for 3 bytes for each of the path and one more; its length, or 0 when it is refused. */
size_t grammar_path(struct grammar_text path, char *room);
/* The target of a request: refused or not; *authority of an absolute form, *path (raw, "/" for
 * an empty one, "*" for the asterisk form). */
bool grammar_target(struct grammar_text target, bool is_options, struct grammar_text *authority,
                    struct grammar_text *path, bool *secure);
/* uri-host [ ":" port ]: refused or not. room: GRAMMAR_HOST_BYTES. */
bool grammar_host(struct grammar_text text, char *room, size_t *length, long *port);

/* RFC 9110, 5.6.2 */
bool grammar_is_tchar(char c);
/* RFC 9110, 5.5: HTAB, SP, VCHAR, obs-text */
bool grammar_is_text(char c);
/* Without regard to ASCII case. */
bool grammar_is(struct grammar_text text, const char *word);
