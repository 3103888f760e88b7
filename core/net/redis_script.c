/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of scripts. */
#include "net/redis_script.h"

#include "base/err.h"
#include "base/hash.h"

#include <stdlib.h>

void mg_redis_scripts_init(struct mg_redis_scripts *scripts)
{
    mg_link_init(&scripts->all);
}

void mg_redis_scripts_deinit(struct mg_redis_scripts *scripts)
{
    while (!mg_list_empty(&scripts->all)) {
        mg_link_remove(scripts->all.next);
    }
}

static struct mg_redis_script *new_script(struct mg_redis_scripts *scripts, mg_str source,
                                          const char *sha1)
{
    struct mg_redis_script *script = calloc(1, sizeof *script + source.len + 1);
    mg_require(script != NULL);
    char *copy = (char *)(script + 1);
    memcpy(copy, source.ptr, source.len);
    script->source = mg_str_make(copy, source.len);
    memcpy(script->sha1, sha1, MG_REDIS_SHA1_CHARS);
    mg_link_init(&script->link);
    mg_list_append(&scripts->all, &script->link);
    return script;
}

struct mg_redis_script *mg_redis_script_hold(struct mg_redis_scripts *scripts, mg_str source)
{
    uint8_t digest[MG_SHA1_BYTES];
    char sha1[MG_REDIS_SHA1_CHARS];
    mg_hash_sha1(source, digest);
    mg_hash_hex(digest, sizeof digest, sha1);
    for (struct mg_link *at = scripts->all.next; at != &scripts->all; at = at->next) {
        struct mg_redis_script *script = MG_CONTAINER(at, struct mg_redis_script, link);
        if (memcmp(script->sha1, sha1, sizeof sha1) == 0) {
            script->references++;
            return script;
        }
    }
    struct mg_redis_script *script = new_script(scripts, source, sha1);
    script->references = 1;
    return script;
}

void mg_redis_script_release(struct mg_redis_script *script)
{
    mg_require(script->references > 0);
    if (--script->references == 0) {
        mg_link_remove(&script->link);
        free(script);
    }
}
