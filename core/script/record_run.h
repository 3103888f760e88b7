/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields of a JSON line that are the same for all requests of a route, such as service and worker.
 * Those that stand side by side are a run, whose text is kept from line to line; another route's
 * takes its place.
 *
 *     mg_record_run_join(record);                       // after each field that was added
 *     const struct mg_record_run_key key = mg_record_run_key(req, worker);
 *     if (!mg_record_run_recall(item->run, &key, &text)) {
 *         ...                                           // item->run->count fields, one by one
 *         mg_record_run_keep(item->run, &key, written);
 *     }
 */
#pragma once

#include "model/req.h"
#include "script/record_fields.h"
#include "script/record_text.h"

#define MG_RECORD_RUN_BYTES 512 /* a longer text is not kept */

/* All that the fields of a run depend on. Routes and services do not change while the configuration
 * lives, and the record lives no longer. */
struct mg_record_run_key {
    const struct mg_route *route;
    const struct mg_service *service;
    uint64_t generation;
    uint32_t worker;
    uint8_t minor;
    bool has_request_line;
    bool is_usable; /* false: a plugin chose the upstream */
};

struct mg_record_run {
    uint32_t count; /* of fields */
    uint32_t bytes; /* of text, 0: none is kept */
    struct mg_record_run_key key;
    char text[MG_RECORD_RUN_BYTES];
};

/* The field that was added last continues the run before it, begins one, or belongs to none. */
void mg_record_run_join(struct mg_record *record);

struct mg_record_run_key mg_record_run_key(const struct mg_req *req, uint32_t worker);
/* Puts the text that is kept for the key, if there is one and it fits. */
bool mg_record_run_recall(const struct mg_record_run *run, const struct mg_record_run_key *key,
                          struct mg_record_text *text);
/* Keeps the text that the fields have made. */
void mg_record_run_keep(struct mg_record_run *run, const struct mg_record_run_key *key,
                        mg_str made);
