/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The usual fields of a JSON line, written straight from the request: where a field's value lies is
 * found out when the line is compiled, and whether it fits is looked at once for each field. Fields
 * that need more (redaction, escapes, little room left) are script/record.c's.
 *
 *     mg_record_fast_plan(record, item);                  // after each field that was added
 *     if (!mg_record_fast_put(item, req, &text)) ...      // nothing was written
 */
#pragma once

#include "model/req.h"
#include "script/record_fields.h"
#include "script/record_text.h"

void mg_record_fast_plan(struct mg_record *record, struct mg_record_item *item);
/* True: the item stands in the text, or has no value. False: it has to be written otherwise. Only
 * where values are not cut. */
bool mg_record_fast_put(const struct mg_record_item *item, struct mg_req *req,
                        struct mg_record_text *text);
