/* SPDX-License-Identifier: Apache-2.0 */
/* The words of a command. */
#include "net/redis_command.h"

#include "net/redis_script.h"

#include <stdlib.h>

#define WORDS_MOST (1024U * 1024)

static bool measure(const struct mg_redis_words *groups, uint32_t group_count, uint64_t *count,
                    size_t *bytes)
{
    for (uint32_t i = 0; i < group_count; i++) {
        *count += groups[i].count;
        for (uint32_t k = 0; k < groups[i].count; k++) {
            if (__builtin_add_overflow(*bytes, groups[i].items[k].len, bytes)) {
                return false;
            }
        }
    }
    return *count > 0 && *count <= WORDS_MOST;
}

static void copy_words(struct mg_redis_command *command, const struct mg_redis_words *groups,
                       uint32_t group_count)
{
    char *at = (char *)(command->lengths + command->count);
    uint32_t place = 0;
    for (uint32_t i = 0; i < group_count; i++) {
        for (uint32_t k = 0; k < groups[i].count; k++, place++) {
            const mg_str word = groups[i].items[k];
            command->argv[place] = at;
            command->lengths[place] = word.len;
            if (word.len > 0) {
                memcpy(at, word.ptr, word.len);
            }
            at += word.len;
        }
    }
}

int mg_redis_command_set(struct mg_redis_command *command, const struct mg_redis_words *groups,
                         uint32_t group_count)
{
    uint64_t count = 0;
    size_t bytes = 0;
    mg_redis_command_clear(command);
    if (!measure(groups, group_count, &count, &bytes) ||
        __builtin_add_overflow(bytes, count * (sizeof(char *) + sizeof(size_t)), &bytes)) {
        return MG_EINVALID;
    }
    command->argv = malloc(bytes);
    mg_require(command->argv != NULL);
    command->count = (uint32_t)count;
    command->lengths = (size_t *)(command->argv + count);
    copy_words(command, groups, group_count);
    return 0;
}

void mg_redis_command_use_source(struct mg_redis_command *command)
{
    command->argv[0] = "EVAL";
    command->lengths[0] = strlen("EVAL");
    command->argv[1] = command->script->source.ptr;
    command->lengths[1] = command->script->source.len;
    command->has_been_eval = true;
}

void mg_redis_command_clear(struct mg_redis_command *command)
{
    free(command->argv);
    free(command->host);
    command->argv = NULL;
    command->host = NULL;
    command->lengths = NULL;
    command->count = 0;
}
