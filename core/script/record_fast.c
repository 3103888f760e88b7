/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether there is room enough is asked once a line: all that has a bound is counted when the line
 * is compiled (record->fast_bytes), and what has none is held against the rest, `spare`. Keys and
 * literals are copied in blocks of fixed size, whatever their length, and what follows overwrites
 * what was too much.
 */
#include "script/record_fast.h"

#include "base/escape.h"
#include "script/record_run.h"

#define AHEAD_BYTES MG_RECORD_PADDING /* what may be written behind the end */
#define LITERAL_BYTES 16
#define NUMBER_BYTES MG_RECORD_DIGITS
#define SPAN_BYTES (MG_RECORD_DIGITS + 4)
#define SPANS_BYTES (8 * (LITERAL_BYTES + SPAN_BYTES) + 2)
#define TRY_BYTES (5 * (LITERAL_BYTES + SPAN_BYTES) + 2) /* without its texts */
#define TS_BYTES 26
#define SECOND_BYTES 20 /* of a time: 2026-11-24T03:40:00. */

/* The time of the line before, up to its second. */
struct mg_record_stamp {
    int64_t second_ms; /* when it began; 0: there is none */
    char text[TS_BYTES];
};

/* How a value is found in the request, at step->at. */
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
    HEADERS, /* nothing, where none of those fields is in the request's head; else not here */
    RUN,     /* see record_run.h */
    END,
};

static void set_shape(struct mg_record_step *step, enum shape shape, size_t at)
{
    step->shape = (uint8_t)shape;
    step->at = (uint16_t)at;
}

static void set_header(struct mg_record_step *step, enum mg_header_id id)
{
    step->shape = HEADERS;
    step->headers = (uint64_t)1 << id;
}

#define PLACE(member) offsetof(struct mg_req, member)

static void plan_text(const struct mg_record *record, const struct mg_record_item *item,
                      struct mg_record_step *step)
{
    const bool is_full = record->options.client_ip == MG_CLIENT_IP_FULL;
    switch (item->field) {
    case MG_RECORD_REQUEST_ID:
        set_shape(step, TEXT, PLACE(request_id));
        break;
    case MG_RECORD_CLIENT_IP:
        set_shape(step, is_full ? TEXT : OTHERWISE, PLACE(client_ip));
        break;
    case MG_RECORD_PEER_IP:
        set_shape(step, is_full ? TEXT : OTHERWISE, PLACE(peer_ip));
        break;
    case MG_RECORD_METHOD:
        set_shape(step, TEXT, PLACE(head.method));
        break;
    case MG_RECORD_HOST:
        set_shape(step, TEXT, PLACE(host.name));
        break;
    case MG_RECORD_PATH:
        set_shape(step, PATH, 0);
        break;
    case MG_RECORD_CONSUMER:
        set_shape(step, TEXT, PLACE(consumer));
        break;
    case MG_RECORD_ENDED_BY:
        set_shape(step, TEXT, PLACE(ended_by));
        break;
    case MG_RECORD_ENDED_IN:
        set_shape(step, UNLESS_SET, PLACE(ended_by));
        break;
    case MG_RECORD_LIMIT:
        set_shape(step, NOTE, PLACE(note_limit));
        break;
    case MG_RECORD_BREAKER:
        set_shape(step, NOTE, PLACE(note_breaker));
        break;
    case MG_RECORD_TRACE_ID:
    case MG_RECORD_SPAN_ID:
        set_header(step, MG_HEADER_TRACEPARENT);
        break;
    case MG_RECORD_REFERER:
        set_header(step, MG_HEADER_REFERER);
        break;
    case MG_RECORD_USER_AGENT:
        set_shape(step, item->secret ? OTHERWISE : USER_AGENT, 0);
        break;
    default:
        break;
    }
}

static void plan_other(struct mg_record *record, const struct mg_record_item *item,
                       struct mg_record_step *step)
{
    switch (item->field) {
    case MG_RECORD_TS:
        set_shape(step, TIME, 0);
        step->stamp = mg_arena_zalloc(&record->arena, sizeof *step->stamp);
        break;
    case MG_RECORD_STATUS:
        set_shape(step, NUMBER_16, PLACE(status));
        break;
    case MG_RECORD_BYTES_IN:
        set_shape(step, NUMBER_64, PLACE(bytes_in));
        break;
    case MG_RECORD_BYTES_OUT:
        set_shape(step, NUMBER_64, PLACE(bytes_out));
        break;
    case MG_RECORD_BODY_BYTES_OUT:
        set_shape(step, NUMBER_64, PLACE(body_bytes_out));
        break;
    case MG_RECORD_T:
        set_shape(step, SPANS, 0);
        break;
    case MG_RECORD_TRIES:
        set_shape(step, TRIES, 0);
        break;
    case MG_RECORD_RETRIES:
        set_shape(step, RETRIES, 0);
        break;
    case MG_RECORD_OUTCOME:
        set_shape(step, OUTCOME, 0);
        break;
    default:
        break;
    }
}

/* The most bytes of a step, as far as they have a bound. */
static size_t bound_of(const struct mg_record_step *step)
{
    const size_t quotes = 2;
    switch ((enum shape)step->shape) {
    case NUMBER_64:
    case NUMBER_16:
    case RETRIES:
        return step->key_length + NUMBER_BYTES;
    case TIME:
        return step->key_length + TS_BYTES;
    case SPANS:
        return step->key_length + SPANS_BYTES;
    default:
        return step->key_length + quotes;
    }
}

/* Is nothing to be written where one header is absent, as for the step before? */
static bool joins_headers(const struct mg_record *record, const struct mg_record_step *step)
{
    return step->shape == HEADERS && record->step_count > 0 &&
           record->steps[record->step_count - 1].shape == HEADERS;
}

void mg_record_fast_make_room(struct mg_record *record, uint32_t capacity)
{
    struct mg_record_step *steps = mg_arena_zalloc(&record->arena, (capacity + 1) * sizeof *steps);
    if (record->step_count > 0) {
        memcpy(steps, record->steps, record->step_count * sizeof *steps);
    }
    record->steps = steps;
}

void mg_record_fast_join(struct mg_record *record)
{
    const uint32_t index = record->count - 1;
    struct mg_record_item *item = &record->items[index];
    struct mg_record_step step = {.key = item->key.ptr, .item = index};
    const bool continues_run = !item->run && record->run && record->run_end == record->count;
    if (item->run) {
        step.shape = RUN;
        step.run = item->run;
    } else if (!continues_run && item->key.len < MG_RECORD_PADDING &&
               record->options.form == MG_RECORD_JSON) {
        step.key_length = (uint8_t)item->key.len;
        plan_text(record, item, &step);
        plan_other(record, item, &step);
    }
    if (joins_headers(record, &step)) {
        record->steps[record->step_count - 1].headers |= step.headers;
    } else if (!continues_run) {
        record->steps[record->step_count++] = step;
    }
    item->step = record->step_count - 1;
    record->steps[record->step_count] =
        (struct mg_record_step){.shape = END, .item = record->count};
    record->fast_bytes = record->fast_bytes > 0 ? record->fast_bytes : AHEAD_BYTES;
    record->fast_bytes += bound_of(&step);
}

/* --- writing -------------------------------------------------------------------------------- */

/* Where the next byte goes, and how many bytes without a bound there is room for. */
struct place {
    char *at;
    size_t spare;
};

static inline char *put_key(char *at, const struct mg_record_step *step)
{
    memcpy(at, step->key, MG_RECORD_PADDING);
    return at + step->key_length;
}

/* A literal of ours, with its bytes at the front of a padded array. */
struct literal {
    char bytes[LITERAL_BYTES];
    uint8_t length;
};

#define LITERAL(text)                                                                              \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static inline char *put_literal(char *at, const struct literal *literal)
{
    memcpy(at, literal->bytes, LITERAL_BYTES);
    return at + literal->length;
}

/* Puts the inside of a JSON string and the quote behind it, if no byte has to be escaped; NULL: one
 * has. */
static inline char *put_string(char *at, mg_str value)
{
    if (!mg_escape_copy_plain(at, value)) {
        return NULL;
    }
    at[value.len] = '"';
    return at + value.len + 1;
}

/* Behind the key stands a quote. */
static inline bool put_text(const struct mg_record_step *step, mg_str value, struct place *place)
{
    if (value.len == 0) {
        return true;
    }
    if (value.len > place->spare) {
        return false;
    }
    char *end = put_string(put_key(place->at, step) + 1, value);
    if (!end) {
        return false;
    }
    place->spare -= value.len;
    place->at = end;
    return true;
}

/* What does not look like an object of one line is looked at more closely by record.c. */
static bool put_note(const struct mg_record_step *step, mg_str note, struct place *place)
{
    if (note.len == 0) {
        return true;
    }
    if (note.len < 2 || note.ptr[0] != '{' || note.ptr[note.len - 1] != '}' ||
        note.len > place->spare) {
        return false;
    }
    char *at = put_key(place->at, step);
    if (!mg_escape_copy_printable(at, note)) {
        return false;
    }
    place->spare -= note.len;
    place->at = at + note.len;
    return true;
}

/* With one of the marks there may be a secret in it (script/redact.h). */
static bool put_user_agent(const struct mg_record_step *step, const struct mg_req *req,
                           struct place *place)
{
    const struct mg_header *field = mg_headers_known(&req->head.headers, MG_HEADER_USER_AGENT);
    return !field ||
           (!mg_str_has_one_of(field->value, "%\\=:") && put_text(step, field->value, place));
}

static inline bool put_number(const struct mg_record_step *step, uint64_t value,
                              struct place *place)
{
    place->at = mg_record_digits(put_key(place->at, step), value);
    return true;
}

static inline char *put_span(char *at, const struct literal *key, uint64_t from_us, uint64_t to_us)
{
    if (from_us == 0 || to_us < from_us) {
        return at;
    }
    return mg_record_ms(put_literal(at, key), to_us - from_us);
}

static char *put_spans(char *at, const struct mg_req *req)
{
    static const struct literal head = LITERAL(",\"head\":"), plugins = LITERAL(",\"plugins\":"),
                                delay = LITERAL(",\"delay\":"), queue = LITERAL(",\"queue\":"),
                                connect = LITERAL(",\"connect\":"), ttfb = LITERAL(",\"ttfb\":"),
                                upstream = LITERAL(",\"upstream\":"),
                                total = LITERAL(",\"total\":");
    char *begin = at;
    at = put_span(at, &head, req->started_us, req->head_us);
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
    return at + 1;
}

/* NULL: its target has to be escaped. */
static char *put_try(char *at, const struct mg_try *try, mg_str outcome_text)
{
    static const struct literal target = LITERAL(",{\"target\":\""),
                                status = LITERAL(",\"status\":"),
                                outcome = LITERAL(",\"outcome\":\""),
                                connect = LITERAL(",\"connect\":"), ttfb = LITERAL(",\"ttfb\":");
    at = put_string(put_literal(at, &target), try->target);
    if (at && try->status > 0) {
        at = mg_record_digits(put_literal(at, &status), try->status);
    }
    if (at) {
        at = put_string(put_literal(at, &outcome), outcome_text);
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

static bool put_tries(const struct mg_record_step *step, const struct mg_req *req,
                      struct place *place)
{
    char *const begin = put_key(place->at, step), *at = begin;
    size_t spare = place->spare;
    for (uint32_t i = 0; i < req->try_count && i < MG_TRIES; i++) {
        const mg_str outcome = mg_outcome_text(req->tries[i].outcome);
        const size_t bytes = TRY_BYTES + req->tries[i].target.len + outcome.len;
        if (bytes > spare) {
            return false;
        }
        spare -= bytes;
        at = put_try(at, &req->tries[i], outcome);
        if (!at) {
            return false;
        }
    }
    if (at == begin) {
        *at++ = '[';
    }
    *begin = '['; /* over the first comma */
    *at = ']';
    place->spare = spare;
    place->at = at + 1;
    return true;
}

/* The text with its quotes, made anew once a second. */
static __attribute__((noinline)) void renew_stamp(struct mg_record_stamp *stamp, int64_t wall_ms)
{
    struct mg_record_text text = {.at = stamp->text, .end = stamp->text + TS_BYTES};
    mg_record_put_char(&text, '"');
    mg_record_put_ts(&text, wall_ms);
    mg_record_put_char(&text, '"');
    stamp->second_ms = wall_ms - wall_ms % 1000;
}

static inline bool put_time(const struct mg_record_step *step, int64_t wall_ms, struct place *place)
{
    struct mg_record_stamp *stamp = step->stamp;
    if (wall_ms < 1000) {
        return false;
    }
    if ((uint64_t)(wall_ms - stamp->second_ms) >= 1000) {
        renew_stamp(stamp, wall_ms);
    }
    char *at = put_key(place->at, step);
    memcpy(at, stamp->text, TS_BYTES);
    memcpy(at + SECOND_BYTES + 1, mg_record_padded + (wall_ms - stamp->second_ms) * 4, 3);
    place->at = at + TS_BYTES;
    return true;
}

static inline bool put_run(const struct mg_record *record, const struct mg_record_run *run,
                           struct place *place)
{
    if (run->epoch != record->runs->epoch || run->bytes > place->spare) {
        return false;
    }
    for (uint32_t at = 0; at < run->bytes; at += MG_RECORD_PADDING) {
        memcpy(place->at + at, run->text + at, MG_RECORD_PADDING);
    }
    place->spare -= run->bytes;
    place->at += run->bytes;
    return true;
}

/* True: the step is done. False: its items have to be written otherwise; the place has not
 * changed. */
static inline bool put_step(const struct mg_record *record, const struct mg_record_step *step,
                            const struct mg_req *req, struct place *place)
{
    const char *member = (const char *)req + step->at;
    mg_str value;
    uint64_t number = 0;
    switch ((enum shape)step->shape) {
    case TEXT:
        memcpy(&value, member, sizeof value);
        return put_text(step, value, place);
    case PATH: /* with a '=' it may hold a secret */
        value = req->uri.path;
        return (value.len == 0 || !memchr(value.ptr, '=', value.len)) &&
               put_text(step, value, place);
    case NOTE:
        memcpy(&value, member, sizeof value);
        return put_note(step, value, place);
    case UNLESS_SET:
        memcpy(&value, member, sizeof value);
        return value.len == 0;
    case NUMBER_64:
        memcpy(&number, member, sizeof number);
        return put_number(step, number, place);
    case NUMBER_16:
        return put_number(step, req->status, place);
    case TIME:
        return put_time(step, req->started_wall_ms, place);
    case SPANS:
        place->at = put_spans(put_key(place->at, step), req);
        return true;
    case TRIES:
        return put_tries(step, req, place);
    case RETRIES:
        return put_number(step, req->try_count > 0 ? req->try_count - 1 : 0, place);
    case OUTCOME:
        return put_text(step, mg_outcome_text(req->outcome), place);
    case USER_AGENT:
        return put_user_agent(step, req, place);
    case HEADERS:
        return (req->head.headers.known & step->headers) == 0;
    case RUN:
        return put_run(record, step->run, place);
    default: /* OTHERWISE, END */
        return false;
    }
}

uint32_t mg_record_fast_put(const struct mg_record *record, uint32_t from, const struct mg_req *req,
                            struct mg_record_text *text)
{
    const size_t room = (size_t)(text->end - text->at);
    const struct mg_record_step *step =
        &record->steps[from < record->count ? record->items[from].step : record->step_count];
    if (room < record->fast_bytes || step->item != from) {
        return from;
    }
    struct place place = {.at = text->at, .spare = room - record->fast_bytes};
    while (put_step(record, step, req, &place)) {
        step++;
    }
    text->at = place.at;
    return step->item;
}
