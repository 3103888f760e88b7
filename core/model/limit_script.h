/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision of mg_limits_take in Redis: the words for the script of the plugin rate-limit
 * (plugins/rate-limit/take.redis.lua, which lists them) and what its replies mean. No I/O.
 *
 *     struct mg_limit_words words;
 *     mg_limit_words_take(&arena, &request, &words);
 *     ... mg_redis_send with words.keys and words.items ...
 *     if (mg_limit_reply_read(reply, &request, &found)) ...      // it is no such reply
 */
#pragma once

#include "base/arena.h"
#include "model/limit.h"
#include "net/resp.h"

#define MG_LIMIT_KEY_CHARS 22 /* of a request's key as Redis sees it: 128 bits, base64url */
#define MG_LIMIT_KIND_BYTES 64

/* One limit of a request. */
struct mg_limit_remote {
    struct mg_limit_rule rule; /* of the request: mg_limit_rule_with */
    bool shadow;
    int64_t cost;                       /* amend: to be added to the charge; add: to be added */
    int64_t charged_in;                 /* amend: as in struct mg_limit_answer */
    int64_t unsent;                     /* take: admitted before, and not charged there yet */
    mg_str key;                         /* its name in Redis */
    mg_str former_key;                  /* empty: none */
    const struct mg_limit_rule *former; /* what is counted there */
};

struct mg_limit_remote_request {
    const struct mg_limit_remote *limits;
    unsigned count; /* 1 .. MG_LIMITS_AT_ONCE */
    bool count_denied;
    bool charges_all;              /* they were admitted: whatever is counted */
    const struct mg_ban_rule *ban; /* may be NULL */
    mg_str ban_key;
    mg_str holder; /* names what the request holds; [A-Za-z0-9-] */
    int64_t hold_ttl_ms;
    int64_t now_ms; /* for tests; 0: Redis' own time */
};

struct mg_limit_words {
    mg_str *keys, *items; /* memory of the arena */
    uint32_t key_count, count;
};

/* In place of a raw key: SHA-256 of those bytes, cut. */
void mg_limit_key_text(mg_str bytes, char text[MG_LIMIT_KEY_CHARS]);
/* "fixed-window+60000": algorithm, window and where it begins; another one of these counts anew.
 * Returns its length. */
size_t mg_limit_kind(const struct mg_limit_rule *rule, char text[MG_LIMIT_KIND_BYTES]);

/* Decides on all limits and charges all, or none. */
void mg_limit_words_take(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                         struct mg_limit_words *words);
/* Charges as much of the cost of one limit as there is room for, and looks at the ban. */
void mg_limit_words_lease(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                          struct mg_limit_words *words);
/* Corrects charges. */
void mg_limit_words_amend(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                          struct mg_limit_words *words);
/* Adds units, up to the quota. */
void mg_limit_words_add(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                        struct mg_limit_words *words);
/* The ban lasts so long from now at least; so many in a row. */
void mg_limit_words_ban(struct mg_arena *arena, const struct mg_limit_remote_request *request,
                        int64_t left_ms, int64_t in_a_row, struct mg_limit_words *words);

struct mg_limit_found {
    struct mg_limit_verdict verdict;
    int64_t bans_in_a_row;
    int64_t repaired; /* values in Redis that were none */
    int64_t leased;   /* lease: units that were charged */
    struct mg_limit_answer answers[MG_LIMITS_AT_ONCE];
    int64_t states[MG_LIMITS_AT_ONCE][4]; /* as in limit_rule.h, by Redis' clock */
};

/* The reply to a take, or a lease; MG_EBAD_RESPONSE. */
MG_NODISCARD int mg_limit_reply_read(const struct mg_resp_reply *reply,
                                     const struct mg_limit_remote_request *request,
                                     struct mg_limit_found *found);
