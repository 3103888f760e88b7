/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access-log line of a request (policies, 4.2): what a line shows is compiled once per plugin
 * entry, then each request becomes one line in three forms: JSON, Apache's combined, or a template.
 * Secrets are taken out before a byte is written. No text of a peer can end the line.
 *
 *     struct mg_record *record = mg_record_new(&options);
 *     err = mg_record_add(record, MG_STR("status"), MG_STR(""));          // a field
 *     err = mg_record_add(record, MG_STR("req.header.x-a"), MG_STR("none")); // one with a default
 *     mg_record_add_literal(record, MG_STR(" "));                         // templates only
 *     size_t length = mg_record_write(record, req, worker, MG_STR(""), room, bytes); // with its LF
 */
#pragma once

#include "model/req.h"
#include "script/record_fields.h"

/* Nothing to redact yet: add names and headers to record->redact before the fields. */
struct mg_record *mg_record_new(const struct mg_record_options *options);
void mg_record_free(struct mg_record *record);
/* A field by its name in the map, or req.header.NAME, resp.header.NAME. MG_EINVALID: no such
 * field, or not in this form. */
MG_NODISCARD int mg_record_add(struct mg_record *record, mg_str name, mg_str fallback);
void mg_record_add_literal(struct mg_record *record, mg_str text);
/* A field of JSON whose value is that JSON text, on one line. */
void mg_record_add_constant(struct mg_record *record, mg_str key, mg_str json);
/* The line, with its LF, in a room of at least 256 bytes: at most bytes and options.line_bytes
 * long. Where it is longer the longest values are cut, then fields are left out; JSON says so by
 * "truncated":true. members: further ones of JSON, each with a comma before it; left out as a whole
 * where they do not fit. Uses the request's arena. */
size_t mg_record_write(const struct mg_record *record, struct mg_req *req, uint32_t worker,
                       mg_str members, char *room, size_t bytes);
