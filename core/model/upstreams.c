/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of records, each word read once. */
#include "model/upstreams.h"

#include <string.h>

static void copy_name(char to[MG_UPSTREAM_NAME], const struct mg_upstream_head *head)
{
    memcpy(to, head->name, MG_UPSTREAM_NAME);
    to[MG_UPSTREAM_NAME - 1] = '\0';
}

static void copy_words(uint64_t *to, const uint64_t *from, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        to[i] = mg_word_load(&from[i]);
    }
}

bool mg_upstream_view(struct mg_shm *shm, uint32_t index, uint64_t generation, uint64_t now_ms,
                      struct mg_upstream_view *view)
{
    const struct mg_upstream_record *record = mg_upstream_record(shm, index);
    if (!record || record->head.generation < generation) {
        return false;
    }
    *view = (struct mg_upstream_view){.requests = mg_word_load(&record->first_tries),
                                      .retry_budget = mg_retry_left(record, now_ms)};
    copy_name(view->name, &record->head);
    copy_words(view->retries, record->retries, MG_RETRY_RESULTS);
    copy_words(view->ejections, record->ejections, MG_EJECT_REASONS);
    copy_words(view->full, record->full, MG_FULL_LIMITS);
    return true;
}

bool mg_target_view(struct mg_shm *shm, uint32_t index, uint64_t generation, uint64_t now_ms,
                    struct mg_target_view *view)
{
    const struct mg_target_record *record = mg_target_record(shm, index);
    const struct mg_upstream_record *upstream =
        record ? mg_upstream_record(shm, record->upstream) : NULL;
    if (!upstream || record->head.generation < generation) {
        return false;
    }
    *view = (struct mg_target_view){.upstream_index = record->upstream,
                                    .weight = record->weight,
                                    .ejected = mg_word_load(&record->ejected),
                                    .checks_ok = mg_word_load(&record->checks[0]),
                                    .checks_failed = mg_word_load(&record->checks[1])};
    view->state = mg_health_state(record, now_ms, &view->left_ms);
    copy_name(view->upstream, &upstream->head);
    copy_name(view->name, &record->head);
    return true;
}
