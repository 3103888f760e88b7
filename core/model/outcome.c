/* SPDX-License-Identifier: Apache-2.0 */
/* Words of outcomes. */
#include "model/outcome.h"

#include <string.h>

static const char *const words[MG_OUTCOME_COUNT] = {
#define MG_OUTCOME_TEXT(id, word) [MG_OUTCOME_##id] = word,
    MG_OUTCOME_MAP(MG_OUTCOME_TEXT)
#undef MG_OUTCOME_TEXT
};

static const uint8_t lengths[MG_OUTCOME_COUNT] = {
#define MG_OUTCOME_LENGTH(id, word) [MG_OUTCOME_##id] = sizeof(word) - 1,
    MG_OUTCOME_MAP(MG_OUTCOME_LENGTH)
#undef MG_OUTCOME_LENGTH
};

const char *mg_outcome_word(enum mg_outcome outcome)
{
    return (unsigned)outcome < MG_OUTCOME_COUNT ? words[outcome] : "internal";
}

mg_str mg_outcome_text(enum mg_outcome outcome)
{
    return (unsigned)outcome < MG_OUTCOME_COUNT ? mg_str_make(words[outcome], lengths[outcome])
                                                : MG_STR("internal");
}

bool mg_outcome_is_denial(enum mg_outcome outcome)
{
    switch (outcome) {
    case MG_OUTCOME_LIMITED:
    case MG_OUTCOME_BANNED:
    case MG_OUTCOME_STORE_DENIED:
    case MG_OUTCOME_BREAKER_OPEN:
    case MG_OUTCOME_PROBE_TIMEOUT:
    case MG_OUTCOME_AUTH_DENIED:
    case MG_OUTCOME_ACCESS_DENIED:
        return true;
    default:
        return false;
    }
}

enum mg_outcome mg_outcome_of(const char *word, unsigned length)
{
    for (unsigned i = 0; i < MG_OUTCOME_COUNT; i++) {
        if (strlen(words[i]) == length && memcmp(words[i], word, length) == 0) {
            return (enum mg_outcome)i;
        }
    }
    return MG_OUTCOME_COUNT;
}
