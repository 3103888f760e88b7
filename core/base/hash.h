/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes and their texts. Digests (SHA-1 for protocols that ask for it, SHA-256) come from
 * libcrypto, which only this file knows. Tables whose keys a peer chooses use SipHash with a random
 * key; tables made from our own configuration use the cheaper mix. No state, any thread.
 *
 *     uint8_t digest[MG_SHA256_BYTES];
 *     mg_hash_sha256(bytes, digest);
 *     char text[2 * MG_SHA256_BYTES];
 *     mg_hash_hex(digest, sizeof digest, text);
 */
#pragma once

#include "base/str.h"

#define MG_SHA1_BYTES 20
#define MG_SHA256_BYTES 32
#define MG_SIPHASH_KEY_BYTES 16

/* FIPS 180-4. Memory for libcrypto's context failing is fatal. */
void mg_hash_sha1(mg_str bytes, uint8_t digest[MG_SHA1_BYTES]);
void mg_hash_sha256(mg_str bytes, uint8_t digest[MG_SHA256_BYTES]);

/* Lower-case hex: writes 2 * count characters to text, no NUL. */
void mg_hash_hex(const uint8_t *bytes, size_t count, char *text);

/* Characters that mg_hash_base64 writes for count bytes, padding included. */
#define MG_BASE64_CHARS(count) (((count) + 2) / 3 * 4)
/* Base64 with padding (RFC 4648, 4), no NUL; returns the number of characters. */
size_t mg_hash_base64(const uint8_t *bytes, size_t count, char *text);

/* SipHash-2-4 (Aumasson and Bernstein, 2012): who does not know the key cannot make collisions. */
uint64_t mg_hash_siphash(const uint8_t key[MG_SIPHASH_KEY_BYTES], mg_str bytes);
/* Fills a key from the system's random source; a failure is fatal. */
void mg_hash_random_key(uint8_t key[MG_SIPHASH_KEY_BYTES]);

/* Fast 64-bit hash without a key: only for names that our own configuration gives. The same bytes
 * and seed give the same value in every process of one build, not across machines of other byte
 * order. */
uint64_t mg_hash_mix(mg_str bytes, uint64_t seed);

/* The next of a row of numbers that only look random (xorshift32: Marsaglia, 2003), to spread times
 * and choices. Any state begins a row. */
uint32_t mg_hash_next_random(uint32_t *state);
