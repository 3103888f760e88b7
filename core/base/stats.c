/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the statistics, and sums of them. */
#include "base/stats.h"

struct description {
    const char *word, *text;
    bool gauge;
};

static const struct description descriptions[MG_STAT_COUNT] = {
#define MG_STAT_DESCRIBE(id, word_, gauge_, text_)                                                 \
    [MG_STAT_##id] = {.word = (word_), .text = (text_), .gauge = (gauge_)},
    MG_STAT_MAP(MG_STAT_DESCRIBE)
#undef MG_STAT_DESCRIBE
};

const char *mg_stat_word(enum mg_stat which)
{
    return descriptions[which].word;
}

const char *mg_stat_text(enum mg_stat which)
{
    return descriptions[which].text;
}

bool mg_stat_is_gauge(enum mg_stat which)
{
    return descriptions[which].gauge;
}

static void add_all(uint64_t *total, const uint64_t *part, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        total[i] += part[i];
    }
}

void mg_stats_sum(struct mg_stats *total, const struct mg_stats *part)
{
    add_all(total->value, part->value, MG_STAT_COUNT);
    add_all(total->outcome, part->outcome, MG_STATS_OUTCOMES);
    add_all(total->status_class, part->status_class, 6);
    add_all(total->reject, part->reject, MG_STATS_REJECTS);
}

void mg_stats_begin(struct mg_stats *stats)
{
    const uint64_t lines = stats->value[MG_STAT_LOG_QUEUED]; /* were in the last owner's memory */
    mg_stats_add(stats, MG_STAT_LOG_WORKER_DIED, lines);
    mg_stats_add(stats, MG_STAT_LOG_DROPPED, lines);
    for (unsigned i = 0; i < MG_STAT_COUNT; i++) {
        if (descriptions[i].gauge) {
            stats->value[i] = 0;
        }
    }
}
