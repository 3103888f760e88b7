/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything here writes at a place behind which there is room enough, which the caller has seen
 * to: a key is copied as MG_RECORD_PADDING bytes, whatever its length, and the value behind it
 * overwrites what was too much.
 */
#include "script/record_fast.h"

#include "base/escape.h"

#define NUMBER_BYTES 20
#define SPAN_BYTES 26 /* of a time: a number, a dot, three digits */
#define SPANS_BYTES (8 * (MG_RECORD_PADDING + SPAN_BYTES) + 2)
#define TRY_BYTES (5 * (MG_RECORD_PADDING + SPAN_BYTES) + 2)
#define TS_BYTES 26
#define SECOND_BYTES 20 /* of a time: 2026-11-24T03:40:00. */

/* The time of the line before, up to its second. */
struct mg_record_stamp {
    int64_t second;
    char text[TS_BYTES];
};

/* How a value is found in the request, at item->at. */
enum shape {
    OTHERWISE,  /* not here */
    TEXT,       /* a mg_str; nothing where it is empty */
    UNLESS_SET, /* nothing, where the mg_str is empty; else not here */
    NUMBER_64,
    NUMBER_16,
    TIME,
    SPANS,
    TRIES,
    RETRIES,
    OUTCOME,
    NOTE, /* a mg_str that is a JSON object */
    PATH,
    USER_AGENT,
    ABSENT, /* no request has it yet */
    HEADER, /* nothing, where the field item->at is not in the request's head; else not here */
};

static void set_shape(struct mg_record_item *item, enum shape shape, size_t at)
{
    item->shape = (uint8_t)shape;
    item->at = (uint16_t)at;
}

#define PLACE(member) offsetof(struct mg_req, member)

static void plan_text(const struct mg_record *record, struct mg_record_item *item)
{
    const bool is_full = record->options.client_ip == MG_CLIENT_IP_FULL;
    switch (item->field) {
    case MG_RECORD_REQUEST_ID:
        set_shape(item, TEXT, PLACE(request_id));
        break;
    case MG_RECORD_CLIENT_IP:
        set_shape(item, is_full ? TEXT : OTHERWISE, PLACE(client_ip));
        break;
    case MG_RECORD_PEER_IP:
        set_shape(item, is_full ? TEXT : OTHERWISE, PLACE(peer_ip));
        break;
    case MG_RECORD_METHOD:
        set_shape(item, TEXT, PLACE(head.method));
        break;
    case MG_RECORD_HOST:
        set_shape(item, TEXT, PLACE(host.name));
        break;
    case MG_RECORD_PATH:
        set_shape(item, PATH, 0);
        break;
    case MG_RECORD_CONSUMER:
        set_shape(item, TEXT, PLACE(consumer));
        break;
    case MG_RECORD_ENDED_BY:
        set_shape(item, TEXT, PLACE(ended_by));
        break;
    case MG_RECORD_ENDED_IN:
        set_shape(item, UNLESS_SET, PLACE(ended_by));
        break;
    case MG_RECORD_LIMIT:
        set_shape(item, NOTE, PLACE(note_limit));
        break;
    case MG_RECORD_BREAKER:
        set_shape(item, NOTE, PLACE(note_breaker));
        break;
    case MG_RECORD_TRACE_ID:
    case MG_RECORD_SPAN_ID:
        set_shape(item, HEADER, MG_HEADER_TRACEPARENT);
        break;
    case MG_RECORD_REFERER:
        set_shape(item, HEADER, MG_HEADER_REFERER);
        break;
    case MG_RECORD_USER_AGENT:
        set_shape(item, item->secret ? OTHERWISE : USER_AGENT, 0);
        break;
    default:
        break;
    }
}

static void plan_other(struct mg_record *record, struct mg_record_item *item)
{
    switch (item->field) {
    case MG_RECORD_TS:
        set_shape(item, TIME, 0);
        item->stamp = mg_arena_zalloc(&record->arena, sizeof *item->stamp);
        break;
    case MG_RECORD_STATUS:
        set_shape(item, NUMBER_16, PLACE(status));
        break;
    case MG_RECORD_BYTES_IN:
        set_shape(item, NUMBER_64, PLACE(bytes_in));
        break;
    case MG_RECORD_BYTES_OUT:
        set_shape(item, NUMBER_64, PLACE(bytes_out));
        break;
    case MG_RECORD_BODY_BYTES_OUT:
        set_shape(item, NUMBER_64, PLACE(body_bytes_out));
        break;
    case MG_RECORD_TLS:
        set_shape(item, ABSENT, 0);
        break;
    case MG_RECORD_T:
        set_shape(item, SPANS, 0);
        break;
    case MG_RECORD_TRIES:
        set_shape(item, TRIES, 0);
        break;
    case MG_RECORD_RETRIES:
        set_shape(item, RETRIES, 0);
        break;
    case MG_RECORD_OUTCOME:
        set_shape(item, OUTCOME, 0);
        break;
    default:
        break;
    }
}

void mg_record_fast_plan(struct mg_record *record, struct mg_record_item *item)
{
    if (record->options.form == MG_RECORD_JSON && item->key.len <= MG_RECORD_PADDING) {
        plan_text(record, item);
        plan_other(record, item);
    }
}

/* --- writing -------------------------------------------------------------------------------- */

static char *put_key(char *at, mg_str key)
{
    memcpy(at, key.ptr, MG_RECORD_PADDING);
    return at + key.len;
}

/* A literal of ours, with its bytes at the front of a padded array. */
struct literal {
    char bytes[MG_RECORD_PADDING];
    uint8_t length;
};

#define LITERAL(text)                                                                              \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static char *put_literal(char *at, const struct literal *literal)
{
    memcpy(at, literal->bytes, MG_RECORD_PADDING);
    return at + literal->length;
}

static bool has_room(const struct mg_record_text *text, size_t bytes)
{
    return (size_t)(text->end - text->at) >= bytes;
}

/* Puts a JSON string at `at` if no byte has to be escaped; NULL: one has. */
static char *put_string(char *at, mg_str value)
{
    if (!mg_escape_copy_plain(at + 1, value)) {
        return NULL;
    }
    at[0] = at[value.len + 1] = '"';
    return at + value.len + 2;
}

static bool put_text(const struct mg_record_item *item, mg_str value, struct mg_record_text *text)
{
    if (value.len == 0) {
        return true;
    }
    if (!has_room(text, MG_RECORD_PADDING + value.len + 2)) {
        return false;
    }
    char *end = put_string(put_key(text->at, item->key), value);
    text->at = end ? end : text->at;
    return end != NULL;
}

/* What does not look like an object of one line is looked at more closely by record.c. */
static bool put_note(const struct mg_record_item *item, mg_str note, struct mg_record_text *text)
{
    if (note.len == 0) {
        return true;
    }
    if (note.len < 2 || note.ptr[0] != '{' || note.ptr[note.len - 1] != '}' ||
        !has_room(text, MG_RECORD_PADDING + note.len)) {
        return false;
    }
    char *at = put_key(text->at, item->key);
    if (!mg_escape_copy_printable(at, note)) {
        return false;
    }
    text->at = at + note.len;
    return true;
}

/* With one of the marks there may be a secret in it (script/redact.h). */
static bool put_user_agent(const struct mg_record_item *item, const struct mg_req *req,
                           struct mg_record_text *text)
{
    const struct mg_header *field = mg_headers_known(&req->head.headers, MG_HEADER_USER_AGENT);
    return !field ||
           (!mg_str_has_one_of(field->value, "%\\=:") && put_text(item, field->value, text));
}

static bool put_number(const struct mg_record_item *item, uint64_t value,
                       struct mg_record_text *text)
{
    if (!has_room(text, MG_RECORD_PADDING + NUMBER_BYTES)) {
        return false;
    }
    text->at = mg_record_digits(put_key(text->at, item->key), value);
    return true;
}

static char *put_span(char *at, const struct literal *key, uint64_t from_us, uint64_t to_us)
{
    if (from_us == 0 || to_us < from_us) {
        return at;
    }
    return mg_record_ms(put_literal(at, key), to_us - from_us);
}

static bool put_spans(const struct mg_record_item *item, const struct mg_req *req,
                      struct mg_record_text *text)
{
    static const struct literal head = LITERAL(",\"head\":"), plugins = LITERAL(",\"plugins\":"),
                                delay = LITERAL(",\"delay\":"), queue = LITERAL(",\"queue\":"),
                                connect = LITERAL(",\"connect\":"), ttfb = LITERAL(",\"ttfb\":"),
                                upstream = LITERAL(",\"upstream\":"),
                                total = LITERAL(",\"total\":");
    if (!has_room(text, MG_RECORD_PADDING + SPANS_BYTES)) {
        return false;
    }
    char *begin = put_key(text->at, item->key);
    char *at = put_span(begin, &head, req->started_us, req->head_us);
    at = mg_record_ms(put_literal(at, &plugins), req->plugins_us);
    if (req->delay_us > 0) {
        at = mg_record_ms(put_literal(at, &delay), req->delay_us);
    }
    if (req->queue_us > 0) {
        at = mg_record_ms(put_literal(at, &queue), req->queue_us);
    }
    if (req->try_count > 0) {
        at = mg_record_ms(put_literal(at, &connect), req->connect_us);
    }
    at = put_span(at, &ttfb, req->upstream_begin_us, req->upstream_head_us);
    at = put_span(at, &upstream, req->upstream_begin_us, req->upstream_end_us);
    at = put_span(at, &total, req->started_us, req->ended_us);
    *begin = '{'; /* over the first comma */
    *at = '}';
    text->at = at + 1;
    return true;
}

/* NULL: its target has to be escaped. */
static char *put_try(char *at, const struct mg_try *try)
{
    static const struct literal target = LITERAL(",{\"target\":"), status = LITERAL(",\"status\":"),
                                outcome = LITERAL(",\"outcome\":"),
                                connect = LITERAL(",\"connect\":"), ttfb = LITERAL(",\"ttfb\":");
    at = put_string(put_literal(at, &target), try->target);
    if (at && try->status > 0) {
        at = mg_record_digits(put_literal(at, &status), try->status);
    }
    if (at) {
        at = put_string(put_literal(at, &outcome), mg_outcome_text(try->outcome));
    }
    if (at) {
        at = mg_record_ms(put_literal(at, &connect), try->connect_us);
        if (try->ttfb_us > 0) {
            at = mg_record_ms(put_literal(at, &ttfb), try->ttfb_us);
        }
        *at++ = '}';
    }
    return at;
}

static bool put_tries(const struct mg_record_item *item, const struct mg_req *req,
                      struct mg_record_text *text)
{
    char *begin = text->at, *at = begin;
    for (uint32_t i = 0; at && i < req->try_count && i < MG_TRIES; i++) {
        const size_t bytes = MG_RECORD_PADDING + TRY_BYTES + req->tries[i].target.len;
        if (i == 0 && (size_t)(text->end - at) >= bytes) {
            begin = at = put_key(at, item->key);
        }
        if ((size_t)(text->end - at) < bytes) {
            return false;
        }
        at = put_try(at, &req->tries[i]);
    }
    if (!at || at == text->at) { /* none: an empty list, which is rare */
        return false;
    }
    *begin = '[';
    *at = ']';
    text->at = at + 1;
    return true;
}

/* The text with its quotes, made anew once a second. */
static void renew_stamp(struct mg_record_stamp *stamp, int64_t wall_ms)
{
    struct mg_record_text text = {.at = stamp->text, .end = stamp->text + TS_BYTES};
    mg_record_put_char(&text, '"');
    mg_record_put_ts(&text, wall_ms);
    mg_record_put_char(&text, '"');
    stamp->second = wall_ms / 1000;
}

static bool put_time(const struct mg_record_item *item, int64_t wall_ms,
                     struct mg_record_text *text)
{
    struct mg_record_stamp *stamp = item->stamp;
    const unsigned ms = (unsigned)((uint64_t)wall_ms % 1000);
    if (wall_ms < 1000 || !has_room(text, MG_RECORD_PADDING + TS_BYTES)) {
        return false;
    }
    if (stamp->second != wall_ms / 1000) {
        renew_stamp(stamp, wall_ms);
    }
    char *at = put_key(text->at, item->key);
    memcpy(at, stamp->text, TS_BYTES);
    at[SECOND_BYTES + 1] = (char)('0' + ms / 100);
    at[SECOND_BYTES + 2] = (char)('0' + ms / 10 % 10);
    at[SECOND_BYTES + 3] = (char)('0' + ms % 10);
    text->at = at + TS_BYTES;
    return true;
}

bool mg_record_fast_put(const struct mg_record_item *item, struct mg_req *req,
                        struct mg_record_text *text)
{
    const char *place = (const char *)req + item->at;
    mg_str value;
    uint64_t number = 0;
    switch ((enum shape)item->shape) {
    case TEXT:
        memcpy(&value, place, sizeof value);
        return put_text(item, value, text);
    case PATH: /* with a '=' it may hold a secret */
        value = req->uri.path;
        return (value.len == 0 || !memchr(value.ptr, '=', value.len)) &&
               put_text(item, value, text);
    case NOTE:
        memcpy(&value, place, sizeof value);
        return put_note(item, value, text);
    case UNLESS_SET:
        memcpy(&value, place, sizeof value);
        return value.len == 0;
    case NUMBER_64:
        memcpy(&number, place, sizeof number);
        return put_number(item, number, text);
    case NUMBER_16:
        return put_number(item, req->status, text);
    case TIME:
        return put_time(item, req->started_wall_ms, text);
    case SPANS:
        return put_spans(item, req, text);
    case TRIES:
        return put_tries(item, req, text);
    case RETRIES:
        return put_number(item, req->try_count > 0 ? req->try_count - 1 : 0, text);
    case OUTCOME:
        return put_text(item, mg_outcome_text(req->outcome), text);
    case USER_AGENT:
        return put_user_agent(item, req, text);
    case ABSENT:
        return true;
    case HEADER:
        return mg_headers_known(&req->head.headers, (enum mg_header_id)item->at) == NULL;
    default:
        return false;
    }
}
