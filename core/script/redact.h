/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets taken out of what is logged (policies, 4.1): whole header fields by name, and values of
 * arguments by name wherever a text looks like a query, a form, a URL or JSON in one of them. Names
 * compare without case, after percent-decoding, with '-' equal to '_'. In doubt more is taken out
 * than necessary, never less.
 *
 *     mg_redact_init(&redact, arena, MG_REDACT_MASK, key);
 *     mg_redact_add(&redact, MG_REDACT_NAME, MG_STR("token"));
 *     mg_redact_url(&redact, arena, MG_STR("/cb?a=1&Tok%65n=s3cret"));    // "/cb?a=1&Tok%65n=***"
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"

enum mg_redact_action {
    MG_REDACT_MASK,   /* *** */
    MG_REDACT_HASH,   /* 16 hex digits of an HMAC-SHA-256: equal secrets stay recognisable */
    MG_REDACT_REMOVE, /* nothing */
};

enum mg_redact_kind {
    MG_REDACT_HEADER, /* a field name */
    MG_REDACT_NAME,   /* an argument name */
};

#define MG_REDACT_NAME_BYTES 64 /* of the longest name that can be looked for */
#define MG_REDACT_KEY_BYTES 64  /* a block of SHA-256; a longer key is hashed first (RFC 2104, 2) */

struct mg_redact_names {
    mg_str *items; /* folded: lower case, '-' as '_' */
    uint32_t count, capacity;
    uint64_t lengths; /* bit n: a name has n bytes (63: or more) */
};

struct mg_redact {
    struct mg_arena *arena; /* of the names */
    enum mg_redact_action action;
    uint8_t key[MG_REDACT_KEY_BYTES]; /* of the HMAC, with zeros behind it */
    struct mg_redact_names headers, names;
};

/* key: of any length; empty: a random one. */
void mg_redact_init(struct mg_redact *redact, struct mg_arena *arena, enum mg_redact_action action,
                    mg_str key);
/* MG_EINVALID: empty, or longer than MG_REDACT_NAME_BYTES. */
MG_NODISCARD int mg_redact_add(struct mg_redact *redact, enum mg_redact_kind kind, mg_str name);
bool mg_redact_is_header(const struct mg_redact *redact, mg_str name);
/* Is it the name of a secret argument, or does it have a part that is one: user[password]? Decoded,
 * not folded. */
bool mg_redact_is_name(const struct mg_redact *redact, mg_str name);
/* What stands for a secret, in the arena or static; ptr NULL: it is to be left out. */
mg_str mg_redact_secret(const struct mg_redact *redact, struct mg_arena *arena, mg_str secret);
/* The text of a URL or of a field's value; text itself when nothing had to go. */
mg_str mg_redact_url(const struct mg_redact *redact, struct mg_arena *arena, mg_str text);
/* The same for one whose end is not there: it may end in the middle of a user's password. */
mg_str mg_redact_cut_url(const struct mg_redact *redact, struct mg_arena *arena, mg_str text);
/* The text of a query, without '?'. */
mg_str mg_redact_query(const struct mg_redact *redact, struct mg_arena *arena, mg_str query);
/* First 16 hex digits of the HMAC of text, in the arena. */
mg_str mg_redact_hash(const struct mg_redact *redact, struct mg_arena *arena, mg_str text);
