/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling what a line shows, and writing lines. */
#include "script/record.h"

#include "base/escape.h"
#include "script/record_fast.h"
#include "script/record_run.h"
#include "script/record_text.h"
#include "script/record_value.h"
#include "script/took.h"
#include "script/turn.h"
#include "script/vm.h"

#include <stdlib.h>

#define ARENA_BYTES 4096
#define SMALLEST_CAP 32 /* of one value, before fields are left out */

#define TRUNCATED ",\"truncated\":true"

/* --- compiling --- */

struct mg_record *mg_record_new(const struct mg_record_options *options)
{
    struct mg_record *record = calloc(1, sizeof *record);
    mg_require(record != NULL);
    mg_arena_init(&record->arena, ARENA_BYTES);
    record->options = *options;
    record->options.hash_key = (mg_str){0};
    record->options.body_types = mg_arena_copy_str(&record->arena, options->body_types);
    mg_redact_init(&record->redact, &record->arena, options->action, options->hash_key);
    record->room = malloc(options->line_bytes);
    mg_require(record->room != NULL);
    return record;
}

void mg_record_free(struct mg_record *record)
{
    if (!record) {
        return;
    }
    mg_arena_deinit(&record->arena);
    free(record->room);
    free(record);
}

static struct mg_record_item *add_item(struct mg_record *record)
{
    if (record->count == record->capacity) {
        const uint32_t capacity = record->capacity ? record->capacity * 2 : 32;
        struct mg_record_item *items = mg_arena_zalloc(&record->arena, capacity * sizeof *items);
        if (record->count > 0) {
            memcpy(items, record->items, record->count * sizeof *items);
        }
        record->items = items;
        mg_record_fast_make_room(record, capacity);
        record->capacity = capacity;
    }
    return &record->items[record->count++];
}

/* ,"key": with the comma, which the first field of an object overwrites, and behind its end a
 * quote, for texts */
static mg_str make_key(struct mg_record *record, mg_str name)
{
    const size_t room = name.len * MG_ESCAPE_JSON_GROWTH;
    char *key = mg_arena_zalloc(&record->arena, room + 4 + MG_RECORD_PADDING);
    size_t taken;
    const size_t length = mg_escape_json(key + 2, room, name, &taken);
    key[0] = ',';
    key[1] = key[length + 2] = '"';
    key[length + 3] = ':';
    key[length + 4] = '"';
    return mg_str_make(key, length + 4);
}

struct field_name {
    const char *name;
    bool in_template;
};

static const struct field_name field_names[] = {
#define MG_RECORD_NAME(id, name, in_template) {name, in_template},
    MG_RECORD_MAP(MG_RECORD_NAME)
#undef MG_RECORD_NAME
};

static int find_field(mg_str name, enum mg_record_form form, enum mg_record_field *field)
{
    for (size_t i = 0; i < sizeof field_names / sizeof field_names[0]; i++) {
        if (mg_str_equal(name, mg_str_from(field_names[i].name))) {
            *field = (enum mg_record_field)i;
            const bool in_json = mg_str_find(name, '.', 0) < 0;
            return (form == MG_RECORD_JSON ? in_json : field_names[i].in_template) ? 0
                                                                                   : MG_EINVALID;
        }
    }
    return MG_EINVALID;
}

static bool take_prefix(mg_str *name, mg_str prefix)
{
    if (!mg_str_starts(*name, prefix) || name->len == prefix.len) {
        return false;
    }
    *name = mg_str_slice(*name, prefix.len, name->len);
    return true;
}

int mg_record_add(struct mg_record *record, mg_str name, mg_str fallback)
{
    struct mg_record_item item = {.field = MG_RECORD_REQ_HEADER};
    mg_str header = name;
    if (mg_str_equal(name, MG_STR("req_headers")) || mg_str_equal(name, MG_STR("resp_headers"))) {
        *add_item(record) = (struct mg_record_item){
            .field = name.ptr[2] == 'q' ? MG_RECORD_ALL_REQ_HEADERS : MG_RECORD_ALL_RESP_HEADERS,
            .key = make_key(record, name)};
        mg_record_fast_join(record);
        return record->options.form == MG_RECORD_JSON ? 0 : MG_EINVALID;
    }
    if (take_prefix(&header, MG_STR("resp.header."))) {
        item.field = MG_RECORD_RESP_HEADER;
    } else if (!take_prefix(&header, MG_STR("req.header."))) {
        const int err = find_field(name, record->options.form, &item.field);
        if (err) {
            return err;
        }
        header = item.field == MG_RECORD_USER_AGENT ? MG_STR("user-agent")
                 : item.field == MG_RECORD_REFERER  ? MG_STR("referer")
                                                    : MG_STR("");
    }
    item.text = mg_arena_copy_str(&record->arena, header);
    item.secret = header.len > 0 && mg_redact_is_header(&record->redact, header);
    item.url = mg_record_holds_url(header);
    item.key = make_key(record, item.field >= MG_RECORD_REQ_HEADER ? header : name);
    item.fallback = mg_arena_copy_str(&record->arena, fallback);
    *add_item(record) = item;
    mg_record_run_join(record);
    mg_record_fast_join(record);
    return 0;
}

void mg_record_add_literal(struct mg_record *record, mg_str text)
{
    *add_item(record) = (struct mg_record_item){.field = MG_RECORD_LITERAL,
                                                .text = mg_arena_copy_str(&record->arena, text)};
}

void mg_record_add_constant(struct mg_record *record, mg_str key, mg_str json)
{
    *add_item(record) = (struct mg_record_item){.field = MG_RECORD_CONSTANT,
                                                .key = make_key(record, key),
                                                .text = mg_arena_copy_str(&record->arena, json)};
    mg_record_fast_join(record);
}

/* --- JSON --- */

struct line {
    struct mg_record_text text;
    const struct mg_record *record;
    struct mg_req *req;
    uint32_t worker;
    mg_str members;
};

static void put_key(struct line *line, mg_str key)
{
    mg_record_put_padded(&line->text, key.ptr, key.len);
}

static void put_value(struct line *line, const struct mg_record_value *value)
{
    switch (value->kind) {
    case MG_RECORD_NUMBER:
        mg_record_put_u64(&line->text, value->number);
        break;
    case MG_RECORD_SPAN:
        mg_record_put_ms(&line->text, value->number);
        break;
    case MG_RECORD_TIME:
        mg_record_put_char(&line->text, '"');
        mg_record_put_ts(&line->text, line->req->started_wall_ms);
        mg_record_put_char(&line->text, '"');
        break;
    default:
        mg_record_put_json(&line->text, value->text);
        break;
    }
}

/* Closes an object or array whose members all began with a comma: the first becomes the bracket. */
static void close_group(struct line *line, char *begin, const char *brackets)
{
    if (line->text.at == begin) {
        mg_record_put_char(&line->text, brackets[0]);
    } else {
        *begin = brackets[0];
    }
    mg_record_put_char(&line->text, brackets[1]);
}

static void put_spans(struct line *line)
{
    static const char keys[][MG_RECORD_PADDING] = {
        ",\"head\":",    ",\"plugins\":", ",\"delay\":",    ",\"queue\":",
        ",\"connect\":", ",\"ttfb\":",    ",\"upstream\":", ",\"total\":",
    };
    static const uint8_t lengths[] = {8, 11, 9, 9, 11, 8, 12, 9};
    char *begin = line->text.at;
    for (unsigned i = 0; i < sizeof lengths; i++) {
        uint64_t us;
        if (mg_record_span(line->req, (enum mg_record_field)(MG_RECORD_T_HEAD + i), &us)) {
            put_key(line, mg_str_make(keys[i], lengths[i]));
            mg_record_put_ms(&line->text, us);
        }
    }
    close_group(line, begin, "{}");
}

static void put_plugins(struct line *line)
{
    const struct mg_req *req = line->req;
    char *begin = line->text.at;
    for (uint32_t turn = 1; req->took && turn < req->vm->turn_count; turn++) {
        uint64_t us;
        if (mg_took_of(req, turn, &us)) {
            mg_record_put_char(&line->text, ',');
            mg_record_put_json(&line->text, mg_str_from(req->vm->turns[turn].plugin));
            mg_record_put_char(&line->text, ':');
            mg_record_put_ms(&line->text, us);
        }
    }
    close_group(line, begin, "{}");
}

static void put_try(struct line *line, const struct mg_try *try)
{
    struct mg_record_text *text = &line->text;
    mg_record_put(text, MG_STR(",{\"target\":"));
    mg_record_put_json(text, try->target);
    if (try->status > 0) {
        mg_record_put(text, MG_STR(",\"status\":"));
        mg_record_put_u64(text, try->status);
    }
    mg_record_put(text, MG_STR(",\"outcome\":"));
    mg_record_put_json(text, mg_outcome_text(try->outcome));
    mg_record_put(text, MG_STR(",\"connect\":"));
    mg_record_put_ms(text, try->connect_us);
    if (try->ttfb_us > 0) {
        mg_record_put(text, MG_STR(",\"ttfb\":"));
        mg_record_put_ms(text, try->ttfb_us);
    }
    mg_record_put_char(text, '}');
}

static void put_tries(struct line *line)
{
    char *begin = line->text.at;
    for (uint32_t i = 0; i < line->req->try_count && i < MG_TRIES; i++) {
        put_try(line, &line->req->tries[i]);
    }
    close_group(line, begin, "[]");
}

/* A note is a JSON object that a policy made; with a control character it is none, and only text.
 * */
static void put_note(struct line *line, mg_str note)
{
    const char *end = note.ptr + note.len;
    if (note.len > 1 && note.ptr[0] == '{' && end[-1] == '}' &&
        mg_find_control(note.ptr, end) == end) {
        mg_record_put(&line->text, note);
    } else {
        mg_record_put_json(&line->text, note);
    }
}

/* All header items of one side, as one object at the place of the first. */
static void put_headers(struct line *line, uint32_t first)
{
    const struct mg_record *record = line->record;
    const enum mg_record_field field = record->items[first].field;
    char *begin = line->text.at;
    for (uint32_t i = first; i < record->count; i++) {
        if (record->items[i].field != field) {
            continue;
        }
        const struct mg_record_value value =
            mg_record_value(record, &record->items[i], line->req, line->worker);
        if (value.kind != MG_RECORD_NOTHING) {
            put_key(line, record->items[i].key);
            put_value(line, &value);
        }
    }
    close_group(line, begin, "{}");
}

static bool is_first_of_side(const struct mg_record *record, uint32_t at)
{
    for (uint32_t i = 0; i < at; i++) {
        if (record->items[i].field == record->items[at].field) {
            return false;
        }
    }
    return true;
}

static void put_header_group(struct line *line, uint32_t at)
{
    if (!is_first_of_side(line->record, at)) {
        return;
    }
    mg_record_put(&line->text, line->record->items[at].field == MG_RECORD_REQ_HEADER
                                   ? MG_STR(",\"req_headers\":")
                                   : MG_STR(",\"resp_headers\":"));
    put_headers(line, at);
}

/* Each name once, in lower case; values redacted. */
static void put_all_headers(struct line *line, const struct mg_headers *headers)
{
    char *begin = line->text.at;
    for (uint32_t i = 0; i < headers->count; i++) {
        const mg_str name = headers->items[i].name;
        if (mg_headers_find(headers, name, 0) != &headers->items[i]) {
            continue;
        }
        char *lower = mg_arena_copy(&line->req->arena, name);
        for (size_t at = 0; at < name.len; at++) {
            lower[at] = mg_char_lower(lower[at]);
        }
        mg_record_put_char(&line->text, ',');
        mg_record_put_json(&line->text, mg_str_make(lower, name.len));
        mg_record_put_char(&line->text, ':');
        mg_record_put_json(&line->text, mg_record_header(line->record, line->req, headers, name));
    }
    close_group(line, begin, "{}");
}

static void put_json_item(struct line *line, uint32_t at)
{
    const struct mg_record_item *item = &line->record->items[at];
    const struct mg_req *req = line->req;
    struct mg_record_value value;
    switch (item->field) {
    case MG_RECORD_T:
        put_key(line, item->key);
        put_spans(line);
        break;
    case MG_RECORD_PLUGIN_MS:
        if (req->took) {
            put_key(line, item->key);
            put_plugins(line);
        }
        break;
    case MG_RECORD_TRIES:
        put_key(line, item->key);
        put_tries(line);
        break;
    case MG_RECORD_LIMIT:
    case MG_RECORD_BREAKER: {
        const mg_str note = item->field == MG_RECORD_LIMIT ? req->note_limit : req->note_breaker;
        if (note.len > 0) {
            put_key(line, item->key);
            put_note(line, note);
        }
        break;
    }
    case MG_RECORD_REQ_HEADER:
    case MG_RECORD_RESP_HEADER:
        put_header_group(line, at);
        break;
    case MG_RECORD_ALL_REQ_HEADERS:
    case MG_RECORD_ALL_RESP_HEADERS:
        put_key(line, item->key);
        put_all_headers(line,
                        item->field == MG_RECORD_ALL_REQ_HEADERS ? &req->head.headers : &req->out);
        break;
    case MG_RECORD_CONSTANT:
        put_key(line, item->key);
        mg_record_put(&line->text, item->text);
        break;
    default:
        value = mg_record_value(line->record, item, line->req, line->worker);
        if (value.kind != MG_RECORD_NOTHING) {
            put_key(line, item->key);
            put_value(line, &value);
        }
        break;
    }
}

/* Fields that do not fit are left out whole, so the line is always JSON. */
static bool put_whole_item(struct line *line, uint32_t at)
{
    char *before = line->text.at;
    line->text.full = false;
    put_json_item(line, at);
    if (line->text.full) {
        line->text.at = before;
        return false;
    }
    return true;
}

/* A run of fields; the next line may have it, too. */
static bool put_run(struct line *line, struct mg_record_run *run, uint32_t at)
{
    struct mg_record_text *text = &line->text;
    const char *before = text->at;
    bool whole = true;
    for (uint32_t i = at; i < at + run->count; i++) {
        whole = put_whole_item(line, i) && whole;
    }
    if (whole && !text->cut) {
        mg_record_run_keep(line->record, run, mg_str_make(before, (size_t)(text->at - before)));
    }
    return whole;
}

static void put_json(struct line *line)
{
    const struct mg_record *record = line->record;
    struct mg_record_text *text = &line->text;
    char *begin = text->at;
    const bool is_uncut = text->cap == SIZE_MAX; /* else values are cut */
    bool left_out = false;
    text->end -= sizeof TRUNCATED + 2; /* room for the end of the object */
    mg_record_runs_begin(record, line->req, line->worker);
    for (uint32_t i = 0;;) {
        i = is_uncut ? mg_record_fast_put(record, i, line->req, text) : i;
        if (i == record->count) {
            break;
        }
        struct mg_record_run *run = is_uncut ? record->items[i].run : NULL;
        left_out = !(run ? put_run(line, run, i) : put_whole_item(line, i)) || left_out;
        i += run ? run->count : 1;
    }
    text->full = false;
    mg_record_put(text, line->members);
    left_out = left_out || text->full;
    text->end += sizeof TRUNCATED + 2;
    if (text->cut || left_out) {
        mg_record_put(text, MG_STR(TRUNCATED));
    }
    close_group(line, begin, "{}");
    text->full = left_out;
}

/* --- text forms --- */

static void put_request_line(struct line *line)
{
    struct mg_req *req = line->req;
    const mg_str query = mg_record_query(line->record, req);
    if (req->head.method.len == 0) {
        mg_record_put_char(&line->text, '-'); /* as Apache does where there was no request line */
        return;
    }
    mg_record_put_plain(&line->text, req->head.method);
    mg_record_put_char(&line->text, ' ');
    mg_record_put_plain(&line->text, mg_record_path(line->record, req));
    if (query.len > 0) {
        mg_record_put_char(&line->text, '?');
        mg_record_put_plain(&line->text, query);
    }
    mg_record_put_char(&line->text, ' ');
    mg_record_put(&line->text, mg_record_protocol(req));
}

static void put_field(struct line *line, enum mg_record_field field, mg_str header)
{
    const struct mg_record_item item = {
        .field = field, .secret = mg_redact_is_header(&line->record->redact, header)};
    const struct mg_record_value value =
        mg_record_value(line->record, &item, line->req, line->worker);
    mg_record_put_plain(&line->text, value.text);
}

/* %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" */
static void put_combined(struct line *line)
{
    struct mg_record_text *text = &line->text;
    put_field(line, MG_RECORD_CLIENT_IP, MG_STR(""));
    mg_record_put(text, MG_STR(" - "));
    put_field(line, MG_RECORD_CONSUMER, MG_STR(""));
    mg_record_put_char(text, ' ');
    mg_record_put_clf_time(text, line->req->started_wall_ms);
    mg_record_put(text, MG_STR(" \""));
    put_request_line(line);
    mg_record_put(text, MG_STR("\" "));
    mg_record_put_u64(text, line->req->status);
    mg_record_put_char(text, ' ');
    if (line->req->body_bytes_out > 0) {
        mg_record_put_u64(text, line->req->body_bytes_out);
    } else {
        mg_record_put_char(text, '-');
    }
    mg_record_put(text, MG_STR(" \""));
    put_field(line, MG_RECORD_REFERER, MG_STR("referer"));
    mg_record_put(text, MG_STR("\" \""));
    put_field(line, MG_RECORD_USER_AGENT, MG_STR("user-agent"));
    mg_record_put_char(text, '"');
}

static void put_template(struct line *line)
{
    for (uint32_t i = 0; i < line->record->count; i++) {
        const struct mg_record_item *item = &line->record->items[i];
        if (item->field == MG_RECORD_LITERAL) {
            mg_record_put(&line->text, item->text);
            continue;
        }
        const struct mg_record_value value =
            mg_record_value(line->record, item, line->req, line->worker);
        switch (value.kind) {
        case MG_RECORD_NOTHING:
            mg_record_put_plain(&line->text, item->fallback);
            break;
        case MG_RECORD_TIME:
            mg_record_put_ts(&line->text, line->req->started_wall_ms);
            break;
        case MG_RECORD_TEXT:
            mg_record_put_plain(&line->text, value.text);
            break;
        default:
            put_value(line, &value);
            break;
        }
    }
}

/* --- the line --- */

static void put_line(struct line *line)
{
    switch (line->record->options.form) {
    case MG_RECORD_COMBINED:
        put_combined(line);
        break;
    case MG_RECORD_TEMPLATE:
        put_template(line);
        break;
    default:
        put_json(line);
        break;
    }
}

size_t mg_record_write(const struct mg_record *record, struct mg_req *req, uint32_t worker,
                       mg_str members, char *room, size_t bytes)
{
    const size_t most = bytes < record->options.line_bytes ? bytes : record->options.line_bytes;
    struct line line = {.record = record, .req = req, .worker = worker, .members = members};
    size_t cap = SIZE_MAX;
    for (;;) { /* the second time around values are cut, to less each time */
        line.text = (struct mg_record_text){.at = room, .end = room + most - 1, .cap = cap};
        put_line(&line);
        if (!line.text.full || cap < SMALLEST_CAP) {
            break;
        }
        cap = cap == SIZE_MAX ? most / 4 : cap / 2;
    }
    *line.text.at++ = '\n';
    return (size_t)(line.text.at - room);
}
