/* SPDX-License-Identifier: Apache-2.0 */
/* Digests by libcrypto's EVP; SipHash, the mix, hex and base64 are our own. */
#include "base/hash.h"

#include "base/err.h"

#include <openssl/evp.h>

#include <sys/random.h>

static void digest_with(const EVP_MD *md, mg_str bytes, uint8_t *digest, unsigned expected)
{
    unsigned written = 0;
    const int ok =
        EVP_Digest(bytes.len > 0 ? bytes.ptr : "", bytes.len, digest, &written, md, NULL);
    mg_require(ok == 1 && written == expected);
}

void mg_hash_sha1(mg_str bytes, uint8_t digest[MG_SHA1_BYTES])
{
    digest_with(EVP_sha1(), bytes, digest, MG_SHA1_BYTES);
}

void mg_hash_sha256(mg_str bytes, uint8_t digest[MG_SHA256_BYTES])
{
    digest_with(EVP_sha256(), bytes, digest, MG_SHA256_BYTES);
}

void mg_hash_hex(const uint8_t *bytes, size_t count, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
}

/* One group of up to three bytes to four characters. */
static void base64_group(const uint8_t *bytes, size_t count, char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint32_t bits = (uint32_t)bytes[0] << 16 | (count > 1 ? (uint32_t)bytes[1] << 8 : 0) |
                          (count > 2 ? bytes[2] : 0U);
    text[0] = digits[bits >> 18];
    text[1] = digits[bits >> 12 & 63];
    text[2] = count > 1 ? digits[bits >> 6 & 63] : '=';
    text[3] = count > 2 ? digits[bits & 63] : '=';
}

size_t mg_hash_base64(const uint8_t *bytes, size_t count, char *text)
{
    char *at = text;
    for (size_t i = 0; i < count; i += 3) {
        base64_group(bytes + i, count - i, at);
        at += 4;
    }
    return (size_t)(at - text);
}

/* --- SipHash --- */

static uint64_t load64(const void *place)
{
    uint64_t word;
    memcpy(&word, place, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The last len < 8 bytes as a little-endian number. */
static uint64_t load_tail(const char *place, size_t len)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++) {
        word |= (uint64_t)(uint8_t)place[i] << (8 * i);
    }
    return word;
}

static uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

/* Inline, so that the words stay in registers. */
static inline __attribute__((always_inline)) void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static inline __attribute__((always_inline)) void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

uint64_t mg_hash_siphash(const uint8_t key[MG_SIPHASH_KEY_BYTES], mg_str bytes)
{
    /* the initial words are the ASCII text of the paper: "somepseudorandomlygeneratedbytes" */
    const uint64_t k0 = load64(key), k1 = load64(key + 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575U, k1 ^ 0x646f72616e646f6dU, k0 ^ 0x6c7967656e657261U,
                     k1 ^ 0x7465646279746573U};
    const size_t whole = bytes.len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        sip_word(v, load64(bytes.ptr + i));
    }
    const uint64_t tail = bytes.len > whole ? load_tail(bytes.ptr + whole, bytes.len & 7) : 0;
    sip_word(v, tail | (uint64_t)bytes.len << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void mg_hash_random_key(uint8_t key[MG_SIPHASH_KEY_BYTES])
{
    /* up to 256 bytes come whole and are not interrupted once the source is ready (getrandom(2)) */
    mg_require(getrandom(key, MG_SIPHASH_KEY_BYTES, 0) == MG_SIPHASH_KEY_BYTES);
}

/* --- mix --- */

/* High and low half of the product, folded: every input bit reaches every output bit. */
static uint64_t fold(uint64_t a, uint64_t b)
{
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t mg_hash_mix(mg_str bytes, uint64_t seed)
{
    /* odd constants with about half their bits set: binary digits of the square roots of 2 and 3 */
    const uint64_t c0 = 0x6a09e667f3bcc909U, c1 = 0xbb67ae8584caa73bU;
    uint64_t sum = seed ^ fold(bytes.len ^ c0, c1);
    const size_t whole = bytes.len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        sum = fold(sum ^ load64(bytes.ptr + i) ^ c0, c1);
    }
    if (bytes.len > whole) {
        sum = fold(sum ^ load_tail(bytes.ptr + whole, bytes.len & 7) ^ c0, c1);
    }
    return fold(sum ^ c1, c0);
}

uint32_t mg_hash_next_random(uint32_t *state)
{
    *state |= *state == 0; /* from 0 comes nothing but 0 */
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}
