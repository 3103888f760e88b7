/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets, hosts and paths (RFC 9112, 3.2; RFC 3986), with the rules of one canonical request. M19
 * and M11 are narrower than the RFCs on purpose: what two readers could take in two ways is
 * refused.
 */
#include "support/grammar.h"

#include <arpa/inet.h>
#include <string.h>

/* --- escapes ---------------------------------------------------------------------------------- */

static bool is_alpha(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_unreserved(int c)
{
    return is_alpha(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

/* pchar without pct-encoded (RFC 3986, 3.3) */
static bool is_plain(char c)
{
    return is_unreserved(c) || (c != '\0' && strchr("!$&'()*+,;=:@", c) != NULL);
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte of the escape at that place, or -1. */
static int escape_at(struct grammar_text text, size_t at)
{
    if (at + 2 >= text.length || text.at[at] != '%' || hex(text.at[at + 1]) < 0 ||
        hex(text.at[at + 2]) < 0) {
        return -1;
    }
    return hex(text.at[at + 1]) * 16 + hex(text.at[at + 2]);
}

static bool between(int byte, int low, int high)
{
    return byte >= low && byte <= high;
}

/* UTF8-2, UTF8-3 or UTF8-4 of RFC 3629, section 4, in escapes: how many bytes, 0 = none. */
static size_t utf8_at(struct grammar_text text, size_t at)
{
    int b[4];
    for (size_t i = 0; i < 4; i++) {
        b[i] = escape_at(text, at + 3 * i);
    }
    const bool tail2 = between(b[2], 0x80, 0xbf), tail3 = tail2 && between(b[3], 0x80, 0xbf);
    if (between(b[0], 0xc2, 0xdf) && between(b[1], 0x80, 0xbf)) {
        return 2;
    }
    if (((b[0] == 0xe0 && between(b[1], 0xa0, 0xbf)) ||
         (between(b[0], 0xe1, 0xec) && between(b[1], 0x80, 0xbf)) ||
         (b[0] == 0xed && between(b[1], 0x80, 0x9f)) ||
         (between(b[0], 0xee, 0xef) && between(b[1], 0x80, 0xbf))) &&
        tail2) {
        return 3;
    }
    if (((b[0] == 0xf0 && between(b[1], 0x90, 0xbf)) ||
         (between(b[0], 0xf1, 0xf3) && between(b[1], 0x80, 0xbf)) ||
         (b[0] == 0xf4 && between(b[1], 0x80, 0x8f))) &&
        tail3) {
        return 4;
    }
    return 0;
}

static size_t put_escape(char *room, int byte)
{
    const char *const digits = "0123456789ABCDEF";
    room[0] = '%';
    room[1] = digits[byte / 16];
    room[2] = digits[byte % 16];
    return 3;
}

/* --- paths ------------------------------------------------------------------------------------ */

/* Escapes in their one form (RFC 3986, 6.2.2): how long, or 0 when refused. */
static size_t normalise(struct grammar_text path, char *room)
{
    size_t length = 0;
    for (size_t at = 0; at < path.length;) {
        const char c = path.at[at];
        if (c == '%') {
            const int byte = escape_at(path, at);
            const size_t sequence = byte >= 0x80 ? utf8_at(path, at) : 1;
            if (byte < 0x20 || byte == 0x7f || byte == '/' || byte == '\\' || sequence == 0) {
                return 0;
            }
            for (size_t i = 0; i < sequence; i++, at += 3) {
                if (is_unreserved(byte)) {
                    room[length++] = (char)byte;
                } else {
                    length += put_escape(room + length, escape_at(path, at));
                }
            }
            continue;
        }
        if (c < 0x21 || c == 0x7f || c == '#' ||
            c == '\\') { /* char may be signed: over 0x7f too */
            return 0;
        }
        if (is_plain(c) || c == '/') {
            room[length++] = c;
        } else {
            length += put_escape(room + length, (unsigned char)c);
        }
        at++;
    }
    return length;
}

/* "..;x" and ".;x": some servers cut parameters off before they look for dot segments. */
static bool is_disguised(struct grammar_text segment)
{
    size_t dots = 0;
    while (dots < segment.length && segment.at[dots] == '.') {
        dots++;
    }
    const size_t left = segment.length - dots;
    return (dots == 1 || dots == 2) && ((left >= 1 && segment.at[dots] == ';') ||
                                        (left >= 3 && memcmp(segment.at + dots, "%3B", 3) == 0));
}

static bool is(struct grammar_text segment, const char *word)
{
    return segment.length == strlen(word) && memcmp(segment.at, word, segment.length) == 0;
}

/* Length of path without its last segment, the slash before that included. */
static size_t drop_segment(const char *path, size_t length)
{
    do {
        length--;
    } while (path[length] != '/');
    return length;
}

/* Segments one by one (RFC 3986, 5.2.4); empty ones are merged. */
size_t grammar_path(struct grammar_text path, char *room)
{
    char normal[3 * 4096];
    if (path.length == 0 || path.length > 4096 || path.at[0] != '/') {
        return 0;
    }
    const size_t length = normalise(path, normal);
    size_t kept = 0;
    for (size_t at = 0; at < length;) {
        size_t end = at + 1;
        while (end < length && normal[end] != '/') {
            end++;
        }
        const struct grammar_text segment = {normal + at + 1, end - at - 1};
        const bool last = end == length, up = is(segment, "..");
        if (is_disguised(segment) || (up && kept == 0)) {
            return 0;
        }
        if (up) {
            kept = drop_segment(room, kept);
        }
        const bool gone = up || is(segment, ".") || segment.length == 0;
        if (!gone || last) {
            room[kept++] = '/';
        }
        if (!gone) {
            memcpy(room + kept, segment.at, segment.length);
            kept += segment.length;
        }
        at = end;
    }
    return kept;
}

/* --- targets ---------------------------------------------------------------------------------- */

static bool starts(struct grammar_text text, const char *word)
{
    const size_t length = strlen(word);
    return text.length >= length && grammar_is((struct grammar_text){text.at, length}, word);
}

static size_t find_any(struct grammar_text text, size_t from, const char *marks)
{
    while (from < text.length && (text.at[from] == '\0' || !strchr(marks, text.at[from]))) {
        from++;
    }
    return from;
}

/* A query may hold what a path may, and '?' (RFC 3986, 3.4); other printable bytes are encoded on
 * the way. No fragment. */
static bool is_query(struct grammar_text query)
{
    for (size_t i = 0; i < query.length; i++) {
        const unsigned char c = (unsigned char)query.at[i];
        if (c == '#' || c < 0x21 || c >= 0x7f) {
            return false;
        }
    }
    return true;
}

bool grammar_target(struct grammar_text target, bool is_options, struct grammar_text *authority,
                    struct grammar_text *path, bool *secure)
{
    *authority = (struct grammar_text){target.at, 0};
    *secure = starts(target, "https://");
    size_t from = 0;
    if (is(target, "*")) {
        *path = target;
        return is_options;
    }
    if (*secure || starts(target, "http://")) { /* absolute-form (RFC 9112, 3.2.2) */
        const size_t begin = *secure ? 8 : 7;
        from = find_any(target, begin, "/?");
        *authority = (struct grammar_text){target.at + begin, from - begin};
        if (authority->length == 0) {
            return false;
        }
    } else if (target.at[0] != '/') {
        return false; /* authority-form, asterisk-form with more, or nothing known */
    }
    const size_t end = find_any(target, from, "?");
    *path = (struct grammar_text){target.at + from, end - from};
    if (path->length == 0) {
        /* an OPTIONS without path and query asks for the server (RFC 9112, 3.2.4) */
        *path = (struct grammar_text){is_options && end == target.length ? "*" : "/", 1};
    }
    return end == target.length ||
           is_query((struct grammar_text){target.at + end + 1, target.length - end - 1});
}

/* --- hosts ------------------------------------------------------------------------------------ */

/* port = *DIGIT (RFC 3986, 3.2.3); M11: 1 to 65535, at most 5 digits. */
static bool read_port(struct grammar_text text, long *port)
{
    long number = 0;
    *port = -1;
    for (size_t i = 0; i < text.length; i++) {
        if (i == 5 || text.at[i] < '0' || text.at[i] > '9') {
            return false;
        }
        number = number * 10 + (text.at[i] - '0');
    }
    if (text.length > 0) {
        *port = number;
    }
    return text.length == 0 || (number > 0 && number <= 65535);
}

/* IP-literal; M11: no IPvFuture, no zone. */
static bool read_address(struct grammar_text inside, char *room, size_t *length)
{
    char text[64];
    struct in6_addr address;
    if (inside.length >= 46 || memchr(inside.at, 0, inside.length)) {
        return false;
    }
    memcpy(text, inside.at, inside.length);
    text[inside.length] = '\0';
    if (inet_pton(AF_INET6, text, &address) != 1) {
        return false;
    }
    room[0] = '[';
    inet_ntop(AF_INET6, &address, room + 1, GRAMMAR_HOST_BYTES - 2);
    *length = strlen(room);
    room[(*length)++] = ']';
    return true;
}

/* reg-name; M11: labels of unreserved characters, none empty, 255 bytes. The dot of the root label
 * does not count. */
static bool read_name(struct grammar_text text, char *room, size_t *length)
{
    if (text.length > 1 && text.at[text.length - 1] == '.') {
        text.length--;
    }
    bool in_label = false;
    for (size_t i = 0; i < text.length; i++) {
        const char c = text.at[i];
        if (i == 255 || !is_unreserved(c) || (c == '.' && !in_label)) {
            return false;
        }
        in_label = c != '.';
        room[i] = is_alpha(c) ? (char)(c | 0x20) : c;
    }
    *length = text.length;
    return in_label;
}

bool grammar_host(struct grammar_text text, char *room, size_t *length, long *port)
{
    const bool literal = text.length > 0 && text.at[0] == '[';
    const size_t close = literal ? find_any(text, 0, "]") : 0;
    if (close == text.length) {
        return false;
    }
    const size_t end = literal ? close + 1 : find_any(text, 0, ":");
    if (end < text.length && text.at[end] != ':') {
        return false;
    }
    const size_t digits = end < text.length ? end + 1 : end;
    if (!read_port((struct grammar_text){text.at + digits, text.length - digits}, port)) {
        return false;
    }
    return literal ? read_address((struct grammar_text){text.at + 1, close - 1}, room, length)
                   : read_name((struct grammar_text){text.at, end}, room, length);
}
