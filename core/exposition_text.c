/* SPDX-License-Identifier: Apache-2.0 */
#include "exposition_text.h"

#include "base/escape.h"

#include <math.h>
#include <stdio.h>

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
#define EXACT 9007199254740992.0   /* 2^53: whole numbers below are whole */

/* The caller bounds what is put in a buffer; one without a bound that matters does not fill. */
static void put(struct mg_buf *out, mg_str text)
{
    (void)!mg_buf_append(out, text);
}

static void put_value(struct mg_buf *out, mg_str text)
{
    while (text.len > 0) {
        const unsigned char first = (unsigned char)text.ptr[0];
        const size_t length = mg_utf8_length(text);
        if (first == '\n') {
            put(out, MG_STR("\\n"));
        } else if (first == '"' || first == '\\') {
            const char escaped[] = {'\\', (char)first};
            put(out, mg_str_make(escaped, 2));
        } else if (length == 0 || first < 0x20 || first == 0x7f) {
            put(out, MG_STR(REPLACEMENT));
        } else {
            put(out, mg_str_slice(text, 0, length));
        }
        text = mg_str_slice(text, length > 0 ? length : 1, text.len);
    }
}

void mg_text_family(struct mg_buf *out, const char *name, const char *type, const char *help)
{
    put(out, MG_STR("# HELP "));
    put(out, mg_str_from(name));
    put(out, MG_STR(" "));
    put_value(out, mg_str_from(help));
    put(out, MG_STR("\n# TYPE "));
    put(out, mg_str_from(name));
    put(out, MG_STR(" "));
    put(out, mg_str_from(type));
    put(out, MG_STR("\n"));
}

static void put_number(struct mg_buf *out, double value)
{
    char text[40];
    if (isnan(value) || isinf(value)) {
        snprintf(text, sizeof text, "%s", isnan(value) ? "NaN" : (value > 0 ? "+Inf" : "-Inf"));
    } else if (value == floor(value) && fabs(value) < EXACT) {
        snprintf(text, sizeof text, "%.0f", value);
    } else {
        snprintf(text, sizeof text, "%.15g", value);
    }
    put(out, mg_str_from(text));
}

void mg_text_sample(struct mg_buf *out, const char *name, const struct mg_text_label *labels,
                    uint32_t count, double value)
{
    put(out, mg_str_from(name));
    for (uint32_t i = 0; i < count; i++) {
        put(out, i == 0 ? MG_STR("{") : MG_STR(","));
        put(out, mg_str_from(labels[i].name));
        put(out, MG_STR("=\""));
        put_value(out, labels[i].value);
        put(out, MG_STR("\""));
    }
    put(out, count > 0 ? MG_STR("} ") : MG_STR(" "));
    put_number(out, value);
    put(out, MG_STR("\n"));
}
