/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An explanation (explain.h) as data, and its two forms. All texts are borrowed from the checker
 * and from the arena of whoever gathered it.
 */
#pragma once

#include "base/buf.h"
#include "model/route.h"
#include "script/checker.h"

#define MG_EXPLANATION_SKIPPED 100 /* routes tried in vain that are told */

struct mg_skipped_route {
    const struct mg_route *route;
    mg_str reason;
};

struct mg_explanation {
    const struct mg_config *config;
    mg_str method;
    struct mg_host host; /* of the request; name empty = none given */
    struct mg_uri uri;
    bool is_https;
    bool has_match;
    struct mg_match match;
    mg_str sent_path; /* to the upstream */
    struct mg_checker_plugin *plugins;
    size_t plugin_count;
    struct mg_skipped_route skipped[MG_EXPLANATION_SKIPPED];
    size_t skipped_count, skipped_more;
};

void mg_explanation_text(const struct mg_explanation *explanation, struct mg_buf *out);
void mg_explanation_json(const struct mg_explanation *explanation, struct mg_buf *out);
