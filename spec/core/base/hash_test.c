/* SPDX-License-Identifier: Apache-2.0 */
/* base/hash against the test vectors of the standards. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_hex(const uint8_t *bytes, size_t count, const char *expected)
{
    char text[2 * MG_SHA256_BYTES + 1] = {0};
    mg_hash_hex(bytes, count, text);
    assert_string_equal(text, expected);
}

static void sha1_gives_the_digests_of_fips_180(void **state)
{
    (void)state;
    uint8_t digest[MG_SHA1_BYTES];
    mg_hash_sha1(MG_STR("abc"), digest);
    assert_hex(digest, sizeof digest, "a9993e364706816aba3e25717850c26c9cd0d89d");
    mg_hash_sha1(mg_str_make(NULL, 0), digest);
    assert_hex(digest, sizeof digest, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

static void sha256_gives_the_digests_of_fips_180(void **state)
{
    (void)state;
    uint8_t digest[MG_SHA256_BYTES];
    mg_hash_sha256(MG_STR("abc"), digest);
    assert_hex(digest, sizeof digest,
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    mg_hash_sha256(MG_STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), digest);
    assert_hex(digest, sizeof digest,
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void hex_is_lower_case_and_covers_every_byte(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 256; i++) {
        const uint8_t byte = (uint8_t)i;
        char text[3] = {0}, expected[3];
        mg_hash_hex(&byte, 1, text);
        snprintf(expected, sizeof expected, "%02x", i);
        assert_string_equal(text, expected);
    }
}

static void base64_pads_as_rfc_4648_shows(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xfe\xfb", "//77"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t count = strlen(cases[i][0]);
        char text[16] = {0};
        assert_int_equal(mg_hash_base64((const uint8_t *)cases[i][0], count, text),
                         MG_BASE64_CHARS(count));
        assert_string_equal(text, cases[i][1]);
    }
}

static void siphash_gives_the_vectors_of_its_authors(void **state)
{
    (void)state;
    uint8_t key[MG_SIPHASH_KEY_BYTES];
    char input[16];
    for (unsigned i = 0; i < 16; i++) {
        key[i] = (uint8_t)i;
        input[i] = (char)i;
    }
    /* appendix A of the paper: fifteen bytes; and the first vectors of the reference table */
    assert_true(mg_hash_siphash(key, mg_str_make(input, 15)) == 0xa129ca6149be45e5U);
    assert_true(mg_hash_siphash(key, mg_str_make(NULL, 0)) == 0x726fdb47dd0e0e31U);
    assert_true(mg_hash_siphash(key, mg_str_make(input, 1)) == 0x74f839c593dc67fdU);
    assert_true(mg_hash_siphash(key, mg_str_make(input, 8)) == 0x93f5f5799a932462U);
}

static void random_keys_differ(void **state)
{
    (void)state;
    uint8_t one[MG_SIPHASH_KEY_BYTES] = {0}, two[MG_SIPHASH_KEY_BYTES] = {0};
    mg_hash_random_key(one);
    mg_hash_random_key(two);
    assert_memory_not_equal(one, two, sizeof one);
}

static void mix_depends_on_every_byte_the_length_and_the_seed(void **state)
{
    (void)state;
    char bytes[40];
    memset(bytes, 'a', sizeof bytes);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        const uint64_t before = mg_hash_mix(mg_str_make(bytes, len), 7);
        assert_true(before == mg_hash_mix(mg_str_make(bytes, len), 7));
        assert_true(before != mg_hash_mix(mg_str_make(bytes, len), 8));
        for (size_t i = 0; i < len; i++) {
            bytes[i] ^= 1;
            assert_true(before != mg_hash_mix(mg_str_make(bytes, len), 7));
            bytes[i] ^= 1;
        }
        if (len > 0) {
            assert_true(before != mg_hash_mix(mg_str_make(bytes, len - 1), 7));
        }
    }
}

static void mix_spreads_similar_names_over_a_small_table(void **state)
{
    (void)state;
    unsigned buckets[256] = {0};
    for (int i = 0; i < 10000; i++) {
        char name[32];
        const int len = snprintf(name, sizeof name, "route-%d.example.com", i);
        buckets[mg_hash_mix(mg_str_make(name, (size_t)len), 0) & 255]++;
    }
    for (int i = 0; i < 256; i++) { /* 39 expected, standard deviation 6.2 */
        assert_in_range(buckets[i], 8, 80);
    }
}

static void numbers_that_look_random_never_get_stuck(void **state)
{
    uint32_t row = 0, same = 0, ones = 0;
    (void)state;
    for (int i = 0; i < 1000; i++) {
        const uint32_t before = row;
        same += mg_hash_next_random(&row) == before;
        ones += row & 1;
    }
    assert_int_equal(same, 0);
    assert_in_range(ones, 400, 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha1_gives_the_digests_of_fips_180),
        cmocka_unit_test(sha256_gives_the_digests_of_fips_180),
        cmocka_unit_test(hex_is_lower_case_and_covers_every_byte),
        cmocka_unit_test(base64_pads_as_rfc_4648_shows),
        cmocka_unit_test(siphash_gives_the_vectors_of_its_authors),
        cmocka_unit_test(random_keys_differ),
        cmocka_unit_test(mix_depends_on_every_byte_the_length_and_the_seed),
        cmocka_unit_test(mix_spreads_similar_names_over_a_small_table),
        cmocka_unit_test(numbers_that_look_random_never_get_stuck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
