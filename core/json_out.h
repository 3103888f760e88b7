/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes JSON text into a buffer, value by value, with the commas set and the texts escaped; for
 * the answers of the echo upstream and for `--json`. Over the buffer's cap nothing more is written
 * and failed is set. Nesting is the caller's to keep right.
 *
 *     struct mg_json_out json = {.buf = &buf};
 *     mg_json_out_open(&json, '{');
 *     mg_json_out_key(&json, MG_STR("workers"));
 *     mg_json_out_number(&json, 2);
 *     mg_json_out_close(&json, '}');
 */
#pragma once

#include "base/buf.h"

struct mg_json_out {
    struct mg_buf *buf;
    bool comma; /* the next value follows another one */
    bool failed;
};

void mg_json_out_open(struct mg_json_out *json, char bracket);  /* '{' or '[' */
void mg_json_out_close(struct mg_json_out *json, char bracket); /* '}' or ']' */
void mg_json_out_key(struct mg_json_out *json, mg_str key);
void mg_json_out_text(struct mg_json_out *json, mg_str text);
void mg_json_out_number(struct mg_json_out *json, uint64_t number);
void mg_json_out_bool(struct mg_json_out *json, bool value);
void mg_json_out_null(struct mg_json_out *json);

/* Key and value. */
void mg_json_out_text_field(struct mg_json_out *json, const char *key, mg_str text);
void mg_json_out_number_field(struct mg_json_out *json, const char *key, uint64_t number);
