/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of error codes, and the end of a process that found a bug in itself. */
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *mg_err_text(int err)
{
    switch (err) {
    case 0:
        return "success";
#define MG_ERR_CASE(name, number, text)                                                            \
    case MG_E##name:                                                                               \
        return text;
        MG_ERR_MAP(MG_ERR_CASE)
#undef MG_ERR_CASE
    default:
        return err > MG_ERR_BASE && err < 0 ? strerror(-err) : "unknown error";
    }
}

const char *mg_err_name(int err)
{
    switch (err) {
#define MG_ERR_CASE(name, number, text)                                                            \
    case MG_E##name:                                                                               \
        return #name;
        MG_ERR_MAP(MG_ERR_CASE)
#undef MG_ERR_CASE
    default:
        return NULL;
    }
}

void mg_require_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "moongate: bug: %s is false at %s:%d\n", condition, file, line);
    abort();
}
