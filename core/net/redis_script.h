/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lua scripts that run inside Redis: known by the SHA1 of their source, loaded by every new
 * connection, called by EVALSHA. A worker has one registry; equal sources are one script.
 *
 *     struct mg_redis_script *script = mg_redis_script_hold(&scripts, source);
 *     ... script->sha1 ...
 *     mg_redis_script_release(script);
 */
#pragma once

#include "base/list.h"
#include "base/str.h"

#define MG_REDIS_SHA1_CHARS 40

struct mg_redis_scripts {
    struct mg_link all; /* struct mg_redis_script */
};

struct mg_redis_script {
    struct mg_link link;
    uint32_t references;
    mg_str source;
    char sha1[MG_REDIS_SHA1_CHARS + 1]; /* hex */
};

void mg_redis_scripts_init(struct mg_redis_scripts *scripts);
/* Scripts that are still held stay valid. */
void mg_redis_scripts_deinit(struct mg_redis_scripts *scripts);
/* The script with this source (copied), with one more reference. */
struct mg_redis_script *mg_redis_script_hold(struct mg_redis_scripts *scripts, mg_str source);
void mg_redis_script_release(struct mg_redis_script *script);
