/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields of a JSON line that are the same for all requests of a route, such as service and worker.
 * Those that stand side by side are a run, whose text is kept from line to line; another route's
 * takes its place.
 *
 *     mg_record_run_join(record);                    // after each field that was added
 *     mg_record_runs_begin(record, req, worker);     // then the runs of runs->epoch are right
 *     if (run->epoch != record->runs->epoch) {
 *         ...                                        // run->count fields, one by one
 *         mg_record_run_keep(record, run, written);
 *     }
 */
#pragma once

#include "model/req.h"
#include "script/record_fields.h"
#include "script/record_text.h"

#define MG_RECORD_RUN_BYTES 512 /* a longer text is not kept */

_Static_assert(MG_RECORD_RUN_BYTES % MG_RECORD_PADDING == 0, "texts are copied in such blocks");

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

/* Of a record. */
struct mg_record_runs {
    struct mg_record_run_key key; /* of the line before */
    uint64_t epoch;               /* counts how often it changed, from 1 */
};

struct mg_record_run {
    uint32_t count; /* of fields */
    uint32_t bytes; /* of text */
    uint64_t epoch; /* in which the text was made; 0: none is kept */
    char text[MG_RECORD_RUN_BYTES];
};

/* The field that was added last continues the run before it, begins one, or belongs to none. */
void mg_record_run_join(struct mg_record *record);
/* The next line is of that request. */
void mg_record_runs_begin(const struct mg_record *record, const struct mg_req *req,
                          uint32_t worker);
/* Keeps the text that the fields have made for this request. */
void mg_record_run_keep(const struct mg_record *record, struct mg_record_run *run, mg_str made);
