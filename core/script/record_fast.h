/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The usual fields of a JSON line, written straight from the request: where a field's value lies is
 * found out when the line is compiled. Fields that need more (redaction, escapes, little room left,
 * runs that are not kept) are script/record.c's.
 *
 *     mg_record_run_join(record);                        // after each field that was added,
 *     mg_record_fast_join(record);                       // and then
 *     mg_record_runs_begin(record, req, worker);         // record_run.h
 *     i = mg_record_fast_put(record, i, req, &text);     // then item i otherwise, and on behind it
 */
#pragma once

#include "model/req.h"
#include "script/record_fields.h"
#include "script/record_text.h"

/* Of items. */
void mg_record_fast_make_room(struct mg_record *record, uint32_t capacity);
void mg_record_fast_join(struct mg_record *record);
/* Writes items from that one on, up to one that has to be written otherwise; its index, or
 * record->count. Only where values are not cut. */
uint32_t mg_record_fast_put(const struct mg_record *record, uint32_t from, const struct mg_req *req,
                            struct mg_record_text *text);
