/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of the Prometheus text format 0.0.4. Values of labels are anybody's text: quotes,
 * backslashes and line ends are escaped, other control characters and what is not UTF-8 become
 * U+FFFD, so that no value can end its line or its quotes.
 *
 *     mg_text_family(out, "moongate_connections", "gauge", "client connections open");
 *     const struct mg_text_label label = {"state", MG_STR("idle")};
 *     mg_text_sample(out, "moongate_connections", &label, 1, 17);
 */
#pragma once

#include "base/buf.h"

struct mg_text_label {
    const char *name;
    mg_str value;
};

/* HELP and TYPE; type: "counter", "gauge", "histogram". */
void mg_text_family(struct mg_buf *out, const char *name, const char *type, const char *help);
void mg_text_sample(struct mg_buf *out, const char *name, const struct mg_text_label *labels,
                    uint32_t count, double value);
