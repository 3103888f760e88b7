/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What JSON's reader and writer share: their settings and a growing text of their own.
 *
 * Each Lua instance of cjson (cjson.new()) owns one `struct mg_json`, a userdata. Its text is kept
 * between calls, so that encoding a small value takes no memory but the result's. `busy` guards it
 * against a finaliser that encodes while we do: such a call works on a text of its own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct mg_json_text {
    char *data;
    size_t length, size;
};

enum mg_json_numbers {
    MG_JSON_NUMBERS_REFUSE,
    MG_JSON_NUMBERS_ALLOW,
    MG_JSON_NUMBERS_NULL, /* encode only: NaN and infinities become null */
};

struct mg_json {
    struct mg_json_text text;
    bool busy;
    /* encode */
    bool empty_table_as_object, escape_slash, skip_unsupported, keep_buffer;
    bool sparse_convert;
    int sparse_ratio, sparse_safe;
    int encode_depth;
    int precision; /* significant digits */
    enum mg_json_numbers encode_numbers;
    /* decode */
    bool array_with_mt;
    bool refuse_duplicates; /* of names in an object */
    int decode_depth;
    enum mg_json_numbers decode_numbers;
};

/* Makes room for more bytes and returns the end of the text, or NULL when memory is out. */
char *mg_json_text_reserve(struct mg_json_text *text, size_t more);
/* Empties the text and gives its memory back. */
void mg_json_text_free(struct mg_json_text *text);
