/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions behind moongate.metrics (ffi.h, section metrics): a plugin's own metrics. */
#include "base/shm_metrics.h"
#include "script/vm.h"

#include "script/export.h"
#include "script/ffi.h"

#include <stdio.h>

#define NOWHERE (-1)     /* no shared memory: nothing is counted */
#define LABELS_BYTES 256 /* names of all labels of a metric */

/* Splits "route kind" in place; how many names there are, or -1: too many, or too long. */
static int split(char *labels, const char *names[MG_METRIC_LABELS])
{
    int count = 0;
    for (char *at = labels; *at;) {
        if (count == MG_METRIC_LABELS) {
            return -1;
        }
        names[count++] = at;
        while (*at && *at != ' ') {
            at++;
        }
        if (*at) {
            *at++ = '\0';
        }
    }
    return count;
}

MG_FFI_EXPORT int mg_ffi_metric_open(struct mg_vm *vm, const struct mg_ffi_metric_def *def)
{
    char labels[LABELS_BYTES];
    const char *names[MG_METRIC_LABELS] = {NULL};
    const int length = snprintf(labels, sizeof labels, "%s", def->labels);
    const int count = length < (int)sizeof labels ? split(labels, names) : -1;
    if (count < 0 || def->bound_count < 0) {
        return MG_EINVALID;
    }
    const struct mg_metric_def wanted = {.name = mg_str_from(def->name),
                                         .help = mg_str_from(def->help),
                                         .type = (enum mg_metric_type)def->type,
                                         .unit = MG_UNIT_REAL,
                                         .labels = names,
                                         .label_count = (uint32_t)count,
                                         .bounds = def->bounds,
                                         .bound_count = (uint32_t)def->bound_count};
    return vm->options.shm ? mg_metric_open(vm->options.shm, &wanted) : NOWHERE;
}

MG_FFI_EXPORT int mg_ffi_metric_series(struct mg_vm *vm, int metric,
                                       const struct mg_ffi_str *values)
{
    mg_str texts[MG_METRIC_LABELS];
    struct mg_shm *shm = vm->options.shm;
    const uint32_t count = mg_metric_record(shm, (uint32_t)metric)->label_count;
    bool full;
    for (uint32_t i = 0; i < count; i++) {
        texts[i] = mg_str_make(values[i].ptr, values[i].len);
    }
    const uint32_t word = mg_series_open(shm, (uint32_t)metric, texts, &full);
    return full ? -1 - (int)word : (int)word;
}

MG_FFI_EXPORT void mg_ffi_metric_count(struct mg_vm *vm, int metric, int series, double value,
                                       int set)
{
    struct mg_shm *shm = vm->options.shm;
    const uint32_t word = (uint32_t)(series < 0 ? -1 - series : series);
    uint64_t *words = mg_metric_words(shm, vm->options.worker);
    switch (mg_metric_record(shm, (uint32_t)metric)->type) {
    case MG_METRIC_COUNTER:
        mg_real_add(&words[word], value);
        break;
    case MG_METRIC_HISTOGRAM:
        mg_histogram_observe(shm, (uint32_t)metric, words, word, value);
        break;
    default:
        if (set) {
            mg_gauge_set(shm, word, value);
        } else {
            mg_gauge_add(shm, word, value);
        }
    }
}
