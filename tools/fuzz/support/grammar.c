/* SPDX-License-Identifier: Apache-2.0 */
/* Heads: start line, field lines, and what they say about the body (RFC 9112, 2 to 6). */
#include "support/grammar.h"

#include <string.h>

/* --- characters ------------------------------------------------------------------------------- */

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool grammar_is_tchar(char c)
{
    return is_alpha(c) || is_digit(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool grammar_is_text(char c)
{
    const unsigned char byte = (unsigned char)c;
    return byte == '\t' || byte == ' ' || (byte >= 0x21 && byte <= 0x7e) || byte >= 0x80;
}

static bool is_token(struct grammar_text text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!grammar_is_tchar(text.at[i])) {
            return false;
        }
    }
    return text.length > 0;
}

bool grammar_is(struct grammar_text text, const char *word)
{
    for (size_t i = 0; i < text.length; i++) {
        const char c = text.at[i];
        if (word[i] == '\0' || (is_alpha(c) ? c | 0x20 : c) != word[i]) {
            return false;
        }
    }
    return word[text.length] == '\0';
}

/* Without optional white space at its ends (RFC 9110, 5.6.3). */
static struct grammar_text trim(struct grammar_text text)
{
    while (text.length > 0 && (text.at[0] == ' ' || text.at[0] == '\t')) {
        text.at++;
        text.length--;
    }
    while (text.length > 0 &&
           (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t')) {
        text.length--;
    }
    return text;
}

/* --- lines ------------------------------------------------------------------------------------ */

struct reader {
    const char *bytes;
    size_t length, at;
    const struct grammar_limits *limits;
    struct grammar_message *message;
};

static bool refuse(struct grammar_message *message, const char *rule)
{
    message->head = GRAMMAR_REFUSE;
    message->rule = rule;
    return false;
}

/* A line ends with CRLF. M02: the RFC lets a recipient take a bare LF for it; a bare CR, NUL and
 * other controls are invalid anyway. False: refused, or there is no whole line. */
static bool take_line(struct reader *reader, struct grammar_text *line)
{
    line->at = reader->bytes + reader->at;
    for (size_t i = reader->at; i < reader->length; i++) {
        const char c = reader->bytes[i];
        if (c == '\r') {
            if (i + 1 == reader->length) {
                break;
            }
            if (reader->bytes[i + 1] != '\n') {
                return refuse(reader->message, "M02");
            }
            line->length = i - reader->at;
            reader->at = i + 2;
            return true;
        }
        if (!grammar_is_text(c)) {
            return refuse(reader->message, "M02");
        }
    }
    reader->message->head = GRAMMAR_MORE;
    return false;
}

/* --- start lines ------------------------------------------------------------------------------ */

/* HTTP-version = HTTP-name "/" DIGIT "." DIGIT (RFC 9112, 2.3). M05, R01: only 1.0 and 1.1. */
static bool read_version(struct grammar_text text, unsigned *minor)
{
    if (text.length != 8 || memcmp(text.at, "HTTP/1.", 7) != 0 ||
        (text.at[7] != '0' && text.at[7] != '1')) {
        return false;
    }
    *minor = (unsigned)(text.at[7] - '0');
    return true;
}

/* M06: of the registered methods those that llhttp 8.1 knows, without CONNECT and TRACE. */
static bool is_served(struct grammar_text method)
{
    static const char *const served[] = {
        "GET",        "HEAD",   "POST",      "PUT",         "DELETE",   "OPTIONS", "PATCH",
        "ACL",        "BIND",   "CHECKOUT",  "COPY",        "LINK",     "LOCK",    "M-SEARCH",
        "MERGE",      "MKCOL",  "MOVE",      "NOTIFY",      "PROPFIND", "PURGE",   "REBIND",
        "MKACTIVITY", "REPORT", "PROPPATCH", "SEARCH",      "SOURCE",   "UNBIND",  "UNLINK",
        "MKCALENDAR", "UNLOCK", "SUBSCRIBE", "UNSUBSCRIBE",
    };
    for (size_t i = 0; i < sizeof served / sizeof served[0]; i++) {
        if (strlen(served[i]) == method.length &&
            memcmp(served[i], method.at, method.length) == 0) {
            return true;
        }
    }
    return false;
}

/* request-line = method SP request-target SP HTTP-version (RFC 9112, 3) */
static bool read_request_line(struct reader *reader)
{
    struct grammar_message *message = reader->message;
    struct grammar_text line, words[3];
    if (!take_line(reader, &line)) {
        return false;
    }
    if (line.length > reader->limits->start_line) {
        return refuse(message, "limit");
    }
    size_t count = 0, from = 0;
    for (size_t i = 0; i <= line.length; i++) {
        if (i == line.length || line.at[i] == ' ') {
            if (count == 3) {
                return refuse(message, "M04");
            }
            words[count++] = (struct grammar_text){line.at + from, i - from};
            from = i + 1;
        }
    }
    if (count != 3 || !is_token(words[0]) || words[1].length == 0) {
        return refuse(message, "M04");
    }
    message->method = words[0];
    message->target = words[1];
    if (!read_version(words[2], &message->minor)) {
        return refuse(message, "M05");
    }
    return is_served(words[0]) || refuse(message, "M06");
}

/* status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112, 4). Lenient: servers
 * leave out the blank before no reason phrase at all. */
static bool read_status_line(struct reader *reader)
{
    struct grammar_message *message = reader->message;
    struct grammar_text line;
    if (!take_line(reader, &line)) {
        return false;
    }
    if (line.length > reader->limits->start_line) {
        return refuse(message, "limit");
    }
    if (line.length < 12 || !read_version((struct grammar_text){line.at, 8}, &message->minor) ||
        line.at[8] != ' ' || !is_digit(line.at[9]) || !is_digit(line.at[10]) ||
        !is_digit(line.at[11]) || (line.length > 12 && line.at[12] != ' ')) {
        return refuse(message, "R01");
    }
    message->status =
        (unsigned)((line.at[9] - '0') * 100 + (line.at[10] - '0') * 10 + (line.at[11] - '0'));
    return (message->status >= 100 && message->status <= 599) || refuse(message, "R01");
}

/* --- fields ----------------------------------------------------------------------------------- */

/* field-line = field-name ":" OWS field-value OWS (RFC 9112, 5). M07: obs-fold; M08, M09. */
static bool read_field(struct reader *reader, struct grammar_text line)
{
    struct grammar_message *message = reader->message;
    const char *colon = memchr(line.at, ':', line.length);
    if (!colon) {
        return refuse(message, "M09");
    }
    const struct grammar_text name = {line.at, (size_t)(colon - line.at)};
    const struct grammar_text rest = {colon + 1, line.length - name.length - 1};
    if (!is_token(name)) {
        return refuse(message, "M07-M09");
    }
    if (line.length > reader->limits->field_line || name.length > reader->limits->field_name ||
        message->field_count == reader->limits->fields) {
        return refuse(message, "limit");
    }
    message->fields[message->field_count++] = (struct grammar_field){name, trim(rest)};
    return true;
}

static bool read_fields(struct reader *reader)
{
    size_t bytes = 0;
    for (;;) {
        struct grammar_text line;
        if (!take_line(reader, &line)) {
            return false;
        }
        if (line.length == 0) {
            reader->message->head_end = reader->at;
            return true;
        }
        bytes += line.length + 2;
        if (!read_field(reader, line)) {
            return false;
        }
        if (bytes > reader->limits->field_bytes) {
            return refuse(reader->message, "limit");
        }
    }
}

/* The last field of that name, and how many there are. */
static size_t find(const struct grammar_message *message, const char *name,
                   struct grammar_text *value)
{
    size_t count = 0;
    for (size_t i = 0; i < message->field_count; i++) {
        if (grammar_is(message->fields[i].name, name)) {
            *value = message->fields[i].value;
            count++;
        }
    }
    return count;
}

/* --- what the fields say ---------------------------------------------------------------------- */

/* 1*DIGIT (RFC 9110, 8.6); M13: at most 19 of them. */
static bool read_length(struct grammar_text text, uint64_t *length)
{
    *length = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (!is_digit(text.at[i])) {
            return false;
        }
        *length = *length * 10 + (uint64_t)(text.at[i] - '0'); /* 19 digits fit into 64 bits */
    }
    return text.length >= 1 && text.length <= 19;
}

/* Transfer-Encoding and Content-Length (RFC 9112, 6.1 to 6.3). M12, M13, R02: one line of either,
 * never both, "chunked" alone, from HTTP/1.1 on. */
static bool read_framing(struct grammar_message *message)
{
    struct grammar_text coding = {0}, length = {0};
    const size_t codings = find(message, "transfer-encoding", &coding);
    const size_t lengths = find(message, "content-length", &length);
    message->body = GRAMMAR_NONE;
    if (codings > 1 || lengths > 1 || (codings > 0 && lengths > 0)) {
        return refuse(message, "M12, M13");
    }
    if (codings > 0) {
        message->body = GRAMMAR_CHUNKED;
        return (message->minor > 0 && grammar_is(coding, "chunked")) || refuse(message, "M12");
    }
    if (lengths > 0) {
        message->body = GRAMMAR_LENGTH;
        const char *end = length.at + length.length;
        while (*end == ' ') {
            end++;
        }
        if (*end == '\t') { /* M01: llhttp takes blanks behind the digits, and no tab */
            return refuse(message, "M01");
        }
        return read_length(length, &message->length) || refuse(message, "M13");
    }
    return true;
}

/* Connection (RFC 9112, 9.3). Limit: 32 options beside the three known ones. */
static bool read_connection(struct grammar_message *message)
{
    bool close = false, keep_alive = false;
    unsigned others = 0;
    for (size_t i = 0; i < message->field_count; i++) {
        struct grammar_text left = message->fields[i].value;
        while (grammar_is(message->fields[i].name, "connection") && left.length > 0) {
            const char *comma = memchr(left.at, ',', left.length);
            const size_t taken = comma ? (size_t)(comma - left.at) : left.length;
            const struct grammar_text option = trim((struct grammar_text){left.at, taken});
            const size_t step = taken + (comma != NULL);
            left = (struct grammar_text){left.at + step, left.length - step};
            close = close || grammar_is(option, "close");
            keep_alive = keep_alive || grammar_is(option, "keep-alive");
            others += option.length > 0 && !grammar_is(option, "close") &&
                      !grammar_is(option, "keep-alive") && !grammar_is(option, "upgrade");
        }
    }
    message->persistent = !close && (message->minor > 0 || keep_alive);
    return others <= 32 || refuse(message, "limit");
}

/* M14: two lines of a field that has one value. M18: an expectation that nobody knows. */
static bool read_others(struct grammar_message *message)
{
    static const char *const single[] = {"authorization", "content-type", "content-range", "range",
                                         "max-forwards"};
    struct grammar_text value;
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        if (find(message, single[i], &value) > 1) {
            return refuse(message, "M14");
        }
    }
    const size_t expectations = find(message, "expect", &value);
    if (expectations > 1 || (expectations == 1 && !grammar_is(value, "100-continue"))) {
        return refuse(message, "M18");
    }
    return true;
}

/* M11, M19: Host (RFC 9112, 3.2), and an absolute form that says the same. */
static bool read_target(struct grammar_message *message)
{
    struct grammar_text value, authority, path;
    char other[GRAMMAR_HOST_BYTES], room[3 * 4096 + 1];
    size_t other_length;
    long other_port;
    bool secure;
    const size_t hosts = find(message, "host", &value);
    message->port = -1;
    if (!grammar_target(message->target, grammar_is(message->method, "options"), &authority, &path,
                        &secure) ||
        path.length > 4096 || (path.at[0] == '/' && grammar_path(path, room) == 0)) {
        return refuse(message, "M19");
    }
    if (hosts > 1 || (hosts == 0 && message->minor > 0)) {
        return refuse(message, "M11");
    }
    if (hosts == 1 && !grammar_host(value, message->host, &message->host_length, &message->port)) {
        return refuse(message, "M11");
    }
    if (authority.length == 0) {
        return true;
    }
    if (!grammar_host(authority, other, &other_length, &other_port)) {
        return refuse(message, "M11");
    }
    if (hosts == 0) {
        memcpy(message->host, other, other_length);
        message->host_length = other_length;
        message->port = other_port;
        return true;
    }
    const long usual = secure ? 443 : 80;
    const bool same =
        other_length == message->host_length && memcmp(other, message->host, other_length) == 0 &&
        (other_port < 0 ? usual : other_port) == (message->port < 0 ? usual : message->port);
    return same || refuse(message, "M19");
}

/* --- whole heads ------------------------------------------------------------------------------ */

static struct reader begin(const struct grammar_limits *limits, const char *bytes, size_t length,
                           struct grammar_message *message)
{
    memset(message, 0, sizeof *message);
    return (struct reader){.bytes = bytes, .length = length, .limits = limits, .message = message};
}

void grammar_read_request(const struct grammar_limits *limits, const char *bytes, size_t length,
                          struct grammar_message *message)
{
    struct reader reader = begin(limits, bytes, length, message);
    /* RFC 9112, 2.2: at least one empty line before it is ignored. M03: no more than one. */
    if (length >= 2 && bytes[0] == '\r' && bytes[1] == '\n') {
        reader.at = message->head_at = 2;
    }
    if (read_request_line(&reader) && read_fields(&reader) && read_target(message) &&
        read_framing(message) && read_others(message) && read_connection(message)) {
        message->head = GRAMMAR_ACCEPT;
    }
}

/* RFC 9112, 6.3, steps 1, 2 and 8. R03: a length or coding where there can be no body. R05: after a
 * 408, which may be the answer to no request of ours, there is no other. */
static bool read_body_of_response(struct grammar_message *message, bool to_head)
{
    message->persistent = message->persistent && message->status != 408;
    if (message->status < 200 || message->status == 204) {
        const bool framed = message->body != GRAMMAR_NONE;
        message->body = GRAMMAR_NONE;
        return !framed || refuse(message, "R03");
    }
    if (to_head || message->status == 304) {
        message->body = GRAMMAR_NONE;
    } else if (message->body == GRAMMAR_NONE) {
        message->body = GRAMMAR_CLOSE;
        message->persistent = false;
    }
    return true;
}

void grammar_read_response(const struct grammar_limits *limits, const char *bytes, size_t length,
                           bool to_head, struct grammar_message *message)
{
    struct reader reader = begin(limits, bytes, length, message);
    if (read_status_line(&reader) && read_fields(&reader) && read_framing(message) &&
        read_connection(message) && read_body_of_response(message, to_head)) {
        message->head = GRAMMAR_ACCEPT;
    }
}
