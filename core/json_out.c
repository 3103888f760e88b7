/* SPDX-License-Identifier: Apache-2.0 */
/* JSON output: every value goes through begin_value, which sets the comma before it. */
#include "json_out.h"

#include "base/escape.h"

#include <inttypes.h>
#include <stdio.h>

static void put(struct mg_json_out *json, mg_str text)
{
    if (!json->failed && mg_buf_append(json->buf, text)) {
        json->failed = true;
    }
}

static void begin_value(struct mg_json_out *json)
{
    if (json->comma) {
        put(json, MG_STR(","));
    }
    json->comma = true;
}

void mg_json_out_open(struct mg_json_out *json, char bracket)
{
    begin_value(json);
    put(json, mg_str_make(&bracket, 1));
    json->comma = false;
}

void mg_json_out_close(struct mg_json_out *json, char bracket)
{
    put(json, mg_str_make(&bracket, 1));
    json->comma = true;
}

static void put_string(struct mg_json_out *json, mg_str text)
{
    put(json, MG_STR("\""));
    while (text.len > 0 && !json->failed) {
        char piece[1024];
        size_t taken;
        const size_t length = mg_escape_json(piece, sizeof piece, text, &taken);
        put(json, mg_str_make(piece, length));
        text = mg_str_slice(text, taken, text.len);
    }
    put(json, MG_STR("\""));
}

void mg_json_out_key(struct mg_json_out *json, mg_str key)
{
    begin_value(json);
    put_string(json, key);
    put(json, MG_STR(":"));
    json->comma = false;
}

void mg_json_out_text(struct mg_json_out *json, mg_str text)
{
    begin_value(json);
    put_string(json, text);
}

void mg_json_out_number(struct mg_json_out *json, uint64_t number)
{
    char text[24];
    const int length = snprintf(text, sizeof text, "%" PRIu64, number);
    begin_value(json);
    put(json, mg_str_make(text, (size_t)length));
}

void mg_json_out_bool(struct mg_json_out *json, bool value)
{
    begin_value(json);
    put(json, value ? MG_STR("true") : MG_STR("false"));
}

void mg_json_out_null(struct mg_json_out *json)
{
    begin_value(json);
    put(json, MG_STR("null"));
}

void mg_json_out_text_field(struct mg_json_out *json, const char *key, mg_str text)
{
    mg_json_out_key(json, mg_str_from(key));
    mg_json_out_text(json, text);
}

void mg_json_out_number_field(struct mg_json_out *json, const char *key, uint64_t number)
{
    mg_json_out_key(json, mg_str_from(key));
    mg_json_out_number(json, number);
}
