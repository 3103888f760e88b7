/* SPDX-License-Identifier: Apache-2.0 */
/* Words of results, and which error reply means what. */
#include "net/redis_result.h"

struct meaning {
    const char *word, *prefix;
    bool is_illness;
};

static const struct meaning meanings[] = {
#define MEANING(id, word_, ill, prefix_)                                                           \
    {.word = (word_), .prefix = (prefix_), .is_illness = (ill)},
    MG_REDIS_RESULT_MAP(MEANING)
#undef MEANING
};

const char *mg_redis_result_word(enum mg_redis_result result)
{
    return meanings[result < MG_REDIS_RESULT_COUNT ? result : MG_REDIS_OTHER].word;
}

bool mg_redis_result_is_illness(enum mg_redis_result result, mg_str text)
{
    return meanings[result < MG_REDIS_RESULT_COUNT ? result : MG_REDIS_OTHER].is_illness &&
           !mg_str_equal(text, MG_STR("CLUSTERDOWN Hash slot not served"));
}

enum mg_redis_result mg_redis_result_of(mg_str error)
{
    const ptrdiff_t blank = mg_str_find(error, ' ', 0);
    const mg_str code = mg_str_slice(error, 0, blank < 0 ? error.len : (size_t)blank);
    for (unsigned i = 0; i < MG_REDIS_RESULT_COUNT; i++) {
        if (meanings[i].prefix && mg_str_equal(code, mg_str_from(meanings[i].prefix))) {
            return (enum mg_redis_result)i;
        }
    }
    if (mg_str_equal(code, MG_STR("WRONGPASS")) || mg_str_equal(code, MG_STR("NOPERM"))) {
        return MG_REDIS_AUTH;
    }
    return mg_str_equal(error, MG_STR("ERR max number of clients reached")) ? MG_REDIS_REFUSED
                                                                            : MG_REDIS_OTHER;
}
