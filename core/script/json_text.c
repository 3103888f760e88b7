/* SPDX-License-Identifier: Apache-2.0 */
/* Growth of the text that JSON is written into: doubling, from 1 KiB. */
#include "script/json_text.h"

#include <stdint.h>
#include <stdlib.h>

enum { FIRST_SIZE = 1024 };

char *mg_json_text_reserve(struct mg_json_text *text, size_t more)
{
    size_t need;
    if (__builtin_add_overflow(text->length, more, &need) || need > SIZE_MAX / 2) {
        return NULL;
    }
    if (need > text->size) {
        size_t size = text->size ? text->size : FIRST_SIZE;
        while (size < need) {
            size *= 2;
        }
        char *data = realloc(text->data, size);
        if (!data) {
            return NULL;
        }
        text->data = data;
        text->size = size;
    }
    return text->data + text->length;
}

void mg_json_text_free(struct mg_json_text *text)
{
    free(text->data);
    *text = (struct mg_json_text){.data = NULL};
}
