/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions behind moongate.regex (ffi.h, section PDK): PCRE2 with the limits of
 * wire/regex. */
#include "base/stats.h"
#include "model/config.h"
#include "script/vm.h"
#include "wire/regex.h"

#include "script/export.h"
#include "script/ffi.h"

#define MATCH_LIMIT 100000 /* while there is no configuration */

MG_FFI_EXPORT struct mg_regex *mg_ffi_regex_new(const char *pattern, size_t len, int caseless,
                                                char *message, size_t room)
{
    struct mg_regex *regex = NULL;
    const unsigned flags = caseless ? MG_REGEX_CASELESS : 0;
    if (mg_regex_new(&regex, mg_str_make(pattern, len), flags, message, room)) {
        return NULL;
    }
    return regex;
}

MG_FFI_EXPORT void mg_ffi_regex_free(struct mg_regex *regex)
{
    mg_regex_free(regex);
}

MG_FFI_EXPORT int mg_ffi_regex_exec(struct mg_vm *vm, const struct mg_regex *regex,
                                    const char *subject, size_t len, struct mg_ffi_str *groups)
{
    const uint32_t limit = vm->config ? vm->config->gateway.limits.regex_match_limit : 0;
    struct mg_regex_match match;
    const int found =
        mg_regex_exec(regex, mg_str_make(subject, len), 0, limit ? limit : MATCH_LIMIT, &match);
    if (found == MG_EFULL && vm->options.stats) {
        mg_stats_add(vm->options.stats, MG_STAT_REGEX_LIMIT, 1);
    }
    if (found <= 0) {
        return found;
    }
    for (int i = 0; i < match.count; i++) {
        groups[i] = (struct mg_ffi_str){.ptr = match.at[i].ptr, .len = match.at[i].len};
    }
    return match.count;
}
