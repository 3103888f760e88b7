/* SPDX-License-Identifier: Apache-2.0 */
/* A strict reader of messages that the gateway has written. */
#include "reader.h"

enum { MOST_HEAD = 256 * 1024 };

void reader_init(struct reader *reader, const struct reader_user *user, void *context)
{
    *reader = (struct reader){.user = user, .context = context};
    mg_buf_init(&reader->line, MOST_HEAD);
}

void reader_deinit(struct reader *reader)
{
    mg_buf_deinit(&reader->line);
}

void reader_expect(struct reader *reader, enum framing framing, uint64_t length)
{
    reader->framing = framing;
    reader->left = length;
}

void reader_stop(struct reader *reader)
{
    reader->stopped = true;
}

bool reader_is_inside(const struct reader *reader)
{
    return reader->state != READ_HEAD || reader->line.len > 0;
}

/* --- heads --- */

mg_str head_value(const struct head *head, const char *name)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (mg_str_iequal(head->fields[i].name, mg_str_from(name))) {
            return head->fields[i].value;
        }
    }
    return mg_str_make(NULL, 0);
}

bool head_has_option(const struct head *head, const char *option)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        mg_str rest = head->fields[i].value, element;
        while (mg_str_iequal(head->fields[i].name, MG_STR("connection")) &&
               mg_str_next_element(&rest, &element)) {
            if (mg_str_iequal(element, mg_str_from(option))) {
                return true;
            }
        }
    }
    return false;
}

/* Takes a line with its CRLF off the front; false when there is none, or a lone LF or CR. */
static bool take_line(mg_str *rest, mg_str *line)
{
    const ptrdiff_t lf = mg_str_find(*rest, '\n', 0);
    if (lf < 1 || rest->ptr[lf - 1] != '\r') {
        return false;
    }
    *line = mg_str_slice(*rest, 0, (size_t)lf - 1);
    *rest = mg_str_slice(*rest, (size_t)lf + 1, rest->len);
    return mg_str_find(*line, '\r', 0) < 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const char *take_field(struct head *head, mg_str line)
{
    const ptrdiff_t colon = mg_str_find(line, ':', 0);
    const size_t at = (size_t)colon;
    if (colon < 1 || at + 1 >= line.len || line.ptr[at + 1] != ' ' || is_blank(line.ptr[0])) {
        return "a field is not written as 'name: value'";
    }
    if (head->field_count == READER_FIELDS) {
        return "there are too many fields";
    }
    const mg_str value = mg_str_slice(line, at + 2, line.len);
    if (value.len > 0 && (is_blank(value.ptr[0]) || is_blank(value.ptr[value.len - 1]))) {
        return "a value has a blank at one end";
    }
    head->fields[head->field_count].name = mg_str_slice(line, 0, at);
    head->fields[head->field_count++].value = value;
    return NULL;
}

static const char *read_framing(struct head *head)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < head->field_count; i++) {
        count += mg_str_iequal(head->fields[i].name, MG_STR("content-length")) ||
                 mg_str_iequal(head->fields[i].name, MG_STR("transfer-encoding"));
    }
    const mg_str length = head_value(head, "content-length");
    const mg_str coding = head_value(head, "transfer-encoding");
    head->has_length = length.ptr != NULL;
    head->is_chunked = coding.ptr != NULL;
    if (count > 1 || (coding.ptr && !mg_str_equal(coding, MG_STR("chunked"))) ||
        (length.ptr && !mg_str_to_u64(length, &head->length))) {
        return "the length is ambiguous";
    }
    return NULL;
}

static const char *parse_head(struct head *head, mg_str bytes)
{
    mg_str line;
    *head = (struct head){.field_count = 0};
    if (!take_line(&bytes, &head->start)) {
        return "the start line does not end in CR LF";
    }
    while (take_line(&bytes, &line)) {
        if (line.len == 0) {
            return bytes.len == 0 ? read_framing(head) : "the head ends early";
        }
        const char *wrong = take_field(head, line);
        if (wrong) {
            return wrong;
        }
    }
    return "a line of the head does not end in CR LF";
}

/* --- bodies --- */

static const char *end_message(struct reader *reader)
{
    reader->state = READ_HEAD;
    return reader->user->on_end(reader->context);
}

static const char *begin_body(struct reader *reader)
{
    switch (reader->framing) {
    case FRAMING_CHUNKED:
        reader->state = READ_CHUNK_LINE;
        return NULL;
    case FRAMING_CLOSE:
        reader->state = READ_OCTETS;
        reader->left = UINT64_MAX;
        return NULL;
    case FRAMING_LENGTH:
        reader->state = READ_OCTETS;
        return reader->left > 0 ? NULL : end_message(reader);
    default:
        return end_message(reader);
    }
}

static const char *take_head(struct reader *reader)
{
    const char *wrong = parse_head(&reader->head, mg_buf_view(&reader->line));
    reader->framing = FRAMING_NONE;
    wrong = wrong ? wrong : reader->user->on_head(reader->context, &reader->head);
    mg_buf_clear(&reader->line);
    return wrong ? wrong : begin_body(reader);
}

/* Lower-case digits, nothing else. */
static const char *take_chunk_line(struct reader *reader)
{
    static const char digits[] = "0123456789abcdef";
    const mg_str line = mg_buf_view(&reader->line);
    uint64_t size = 0;
    if (line.len < 3 || line.len > 18 || line.ptr[line.len - 2] != '\r') {
        return "a chunk line is malformed";
    }
    for (size_t i = 0; i + 2 < line.len; i++) {
        const char *at = memchr(digits, line.ptr[i], 16);
        if (!at) {
            return "a chunk size has other characters than digits";
        }
        size = size << 4 | (uint64_t)(at - digits);
    }
    mg_buf_clear(&reader->line);
    reader->left = size;
    reader->state = size > 0 ? READ_OCTETS : READ_LAST;
    return NULL;
}

static const char *take_crlf(struct reader *reader)
{
    const bool is_last = reader->state == READ_LAST;
    if (!mg_str_equal(mg_buf_view(&reader->line), MG_STR("\r\n"))) {
        return is_last ? "there are trailers" : "a chunk is longer than its size";
    }
    mg_buf_clear(&reader->line);
    reader->state = READ_CHUNK_LINE;
    return is_last ? end_message(reader) : NULL;
}

static const char *take_octets(struct reader *reader, mg_str *bytes)
{
    const size_t count = bytes->len < reader->left ? bytes->len : (size_t)reader->left;
    const mg_str octets = mg_str_slice(*bytes, 0, count);
    *bytes = mg_str_slice(*bytes, count, bytes->len);
    const char *wrong = reader->user->on_octets(reader->context, octets);
    if (wrong || reader->framing == FRAMING_CLOSE) {
        return wrong;
    }
    reader->left -= count;
    if (reader->left == 0 && reader->framing == FRAMING_CHUNKED) {
        reader->state = READ_CHUNK_END;
        return NULL;
    }
    return reader->left == 0 ? end_message(reader) : NULL;
}

/* Whether the line, or the head, that is being collected is whole. */
static bool is_whole(const struct reader *reader)
{
    const mg_str line = mg_buf_view(&reader->line);
    return reader->state == READ_HEAD ? mg_str_ends(line, MG_STR("\r\n\r\n"))
                                      : mg_str_ends(line, MG_STR("\n"));
}

/* Up to the next line feed. */
static const char *take_part_of_line(struct reader *reader, mg_str *bytes)
{
    const ptrdiff_t lf = mg_str_find(*bytes, '\n', 0);
    const size_t count = lf < 0 ? bytes->len : (size_t)lf + 1;
    if (mg_buf_append(&reader->line, mg_str_slice(*bytes, 0, count)) != 0) {
        return "a head is too large";
    }
    *bytes = mg_str_slice(*bytes, count, bytes->len);
    if (!is_whole(reader)) {
        return NULL;
    }
    switch (reader->state) {
    case READ_HEAD:
        return take_head(reader);
    case READ_CHUNK_LINE:
        return take_chunk_line(reader);
    default:
        return take_crlf(reader);
    }
}

const char *reader_feed(struct reader *reader, mg_str bytes)
{
    const char *wrong = NULL;
    while (bytes.len > 0 && !wrong) {
        if (reader->stopped && reader->state == READ_HEAD) {
            return "there are bytes after the last message";
        }
        wrong = reader->state == READ_OCTETS ? take_octets(reader, &bytes)
                                             : take_part_of_line(reader, &bytes);
    }
    return wrong;
}

const char *reader_finish(struct reader *reader)
{
    if (reader->state == READ_OCTETS && reader->framing == FRAMING_CLOSE) {
        return end_message(reader);
    }
    return reader_is_inside(reader) ? "the connection ended inside a message" : NULL;
}
