/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets in queries, URLs and fields, in every disguise that a reader behind us may undo. */
#define _GNU_SOURCE /* memmem */
#include "script/redact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct mg_arena arena;

static struct mg_redact make(enum mg_redact_action action)
{
    static const char *const names[] = {"token", "api_key", "password", "key", "code"};
    struct mg_redact redact;
    mg_redact_init(&redact, &arena, action, MG_STR("a key for tests"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(mg_redact_add(&redact, MG_REDACT_NAME, mg_str_from(names[i])), 0);
    }
    assert_int_equal(mg_redact_add(&redact, MG_REDACT_HEADER, MG_STR("X-Api-Key")), 0);
    return redact;
}

static int setup(void **state)
{
    (void)state;
    mg_arena_init(&arena, 4096);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mg_arena_deinit(&arena);
    return 0;
}

static void expect_text(mg_str got, const char *text, const char *wanted)
{
    if (!mg_str_equal(got, mg_str_from(wanted))) {
        fail_msg("%s became '%.*s', not '%s'", text, MG_STR_ARG(got), wanted);
    }
}

static void query_becomes(const char *text, const char *wanted)
{
    const struct mg_redact redact = make(MG_REDACT_MASK);
    expect_text(mg_redact_query(&redact, &arena, mg_str_from(text)), text, wanted);
}

static void url_becomes(const char *text, const char *wanted)
{
    const struct mg_redact redact = make(MG_REDACT_MASK);
    expect_text(mg_redact_url(&redact, &arena, mg_str_from(text)), text, wanted);
}

static void harmless_text_is_not_even_copied(void **state)
{
    (void)state;
    const struct mg_redact redact = make(MG_REDACT_MASK);
    static const char *const texts[] = {
        "",        "a=1&b=2", "tokens=1&mytoken=2", "https://h:8080/a?b=c", "100%", "a=%zz%4",
        "q=token", "/a:b/c=d"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const mg_str text = mg_str_from(texts[i]);
        assert_ptr_equal(mg_redact_query(&redact, &arena, text).ptr, text.ptr);
        assert_ptr_equal(mg_redact_url(&redact, &arena, text).ptr, text.ptr);
    }
}

static void arguments_are_masked_by_name(void **state)
{
    (void)state;
    query_becomes("token=s3cret", "token=***");
    query_becomes("a=1&token=s3cret&b=2", "a=1&token=***&b=2");
    query_becomes("token=a&token=b", "token=***&token=***");
    query_becomes("a=1;token=s3cret", "a=1;token=***");
    query_becomes("token=&a=1", "token=***&a=1");
    query_becomes("token", "token");
    query_becomes("token=", "token=");
}

static void names_match_without_case_and_escapes(void **state)
{
    (void)state;
    query_becomes("TOKEN=s3cret", "TOKEN=***");
    query_becomes("%74oken=s3cret", "%74oken=***");
    query_becomes("%54%4f%4B%45%4E=s3cret", "%54%4f%4B%45%4E=***");
    query_becomes("api-key=s3cret", "api-key=***");
    query_becomes("API%5FKey=s3cret", "API%5FKey=***");
}

static void an_encoded_separator_stays_inside_the_secret(void **state)
{
    (void)state;
    query_becomes("password=abc%26def&a=1", "password=***&a=1");
    query_becomes("password=abc%23def=ghi&a=1", "password=***&a=1");
    query_becomes("password=abc;def", "password=***");
}

static void nested_names_and_nested_urls_are_seen(void **state)
{
    (void)state;
    query_becomes("user[password]=x&user[name]=joe", "user[password]=***&user[name]=joe");
    query_becomes("user.password=x", "user.password=***");
    query_becomes("password[0]=x", "password[0]=***");
    query_becomes("next=https%3A%2F%2Fh%2F%3Ftoken%3Ds3cret&a=1",
                  "next=https%3A%2F%2Fh%2F%3Ftoken%3D***&a=1");
    query_becomes("next=/cb?token=s3cret&a=1", "next=/cb?token=***&a=1");
    query_becomes("q={\"password\":\"x\"}&a=1", "q={\"password\":***&a=1");
    query_becomes("q=%7B%22a%22%3A1%2C%22password%22%3A%22x%22%7D",
                  "q=%7B%22a%22%3A1%2C%22password%22%3A***");
}

static void urls_lose_secrets_in_every_part(void **state)
{
    (void)state;
    url_becomes("https://h/cb?code=s3cret&state=1", "https://h/cb?code=***&state=1");
    url_becomes("/cb#token=s3cret&x=1", "/cb#token=***&x=1");
    url_becomes("/cb?a=1#token=s3cret", "/cb?a=1#token=***");
    url_becomes("/a;token=s3cret/b;c=d?e=f", "/a;token=***/b;c=d?e=f");
    url_becomes("https://joe:s3cret@h:81/a", "https://***@h:81/a");
    url_becomes("//joe:s3cret@h/a?token=x", "//***@h/a?token=***");
    url_becomes("https://joe@evil@h/", "https://***@h/");
    url_becomes("https://token:80/", "https://token:80/"); /* a host, not a name */
    url_becomes("svn+ssh-2.0://token:80/", "svn+ssh-2.0://token:80/");
    url_becomes("//token:80/", "//token:80/");
    url_becomes("token:a://token:b/", "token:***//token:***/"); /* that is no scheme */
    url_becomes("a=b://token:c/", "a=b://token:***/");
    url_becomes("a b://u:p@token:c/", "a b://***@token:***/");
    url_becomes("?token=a/b?c&d=1", "?token=***&d=1");
}

static void a_secret_may_be_removed_or_hashed(void **state)
{
    (void)state;
    const struct mg_redact removing = make(MG_REDACT_REMOVE);
    expect_text(mg_redact_query(&removing, &arena, MG_STR("token=x&b=2")), "remove", "b=2");
    expect_text(mg_redact_query(&removing, &arena, MG_STR("a=1&token=x&b=2&key=3")), "remove",
                "a=1&b=2&");
    assert_null(mg_redact_secret(&removing, &arena, MG_STR("x")).ptr);

    const struct mg_redact hashing = make(MG_REDACT_HASH);
    const mg_str first = mg_redact_secret(&hashing, &arena, MG_STR("s3cret"));
    assert_int_equal(first.len, 16);
    assert_true(mg_str_equal(first, mg_redact_secret(&hashing, &arena, MG_STR("s3cret"))));
    assert_false(mg_str_equal(first, mg_redact_secret(&hashing, &arena, MG_STR("s3creu"))));
    const mg_str query = mg_redact_query(&hashing, &arena, MG_STR("token=s3cret&a=1"));
    assert_true(mg_str_starts(query, MG_STR("token=")) && mg_str_ends(query, MG_STR("&a=1")));
    assert_true(mg_str_equal(mg_str_slice(query, 6, 22), first));
}

/* As `printf s3cret | openssl dgst -sha256 -hmac KEY` computes it. */
static void the_hash_is_an_hmac(void **state)
{
    (void)state;
    static const char long_key[] =
        "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"; /* 65 bytes */
    struct mg_redact redact = make(MG_REDACT_HASH);
    expect_text(mg_redact_hash(&redact, &arena, MG_STR("s3cret")), "s3cret", "48caae276e1ee5dc");
    mg_redact_init(&redact, &arena, MG_REDACT_HASH, mg_str_from(long_key));
    expect_text(mg_redact_hash(&redact, &arena, MG_STR("s3cret")), "s3cret", "dd64e1d1b3d805c8");
}

static void header_names_match_in_any_spelling(void **state)
{
    (void)state;
    const struct mg_redact redact = make(MG_REDACT_MASK);
    assert_true(mg_redact_is_header(&redact, MG_STR("x-api-key")));
    assert_true(mg_redact_is_header(&redact, MG_STR("X_API_KEY")));
    assert_false(mg_redact_is_header(&redact, MG_STR("x-api-keys")));
    assert_false(mg_redact_is_header(&redact, MG_STR("token")));
    assert_false(mg_redact_is_header(&redact, MG_STR("")));
}

static void names_have_a_length(void **state)
{
    (void)state;
    struct mg_redact redact = make(MG_REDACT_MASK);
    char name[65];
    memset(name, 'n', sizeof name);
    assert_int_equal(mg_redact_add(&redact, MG_REDACT_NAME, MG_STR("")), MG_EINVALID);
    assert_int_equal(mg_redact_add(&redact, MG_REDACT_NAME, mg_str_make(name, 65)), MG_EINVALID);
    assert_int_equal(mg_redact_add(&redact, MG_REDACT_NAME, mg_str_make(name, 64)), 0);
    char text[80];
    memcpy(text, name, 64);
    memcpy(text + 64, "=s3cret", 8);
    assert_int_equal(mg_redact_query(&redact, &arena, mg_str_from(text)).len, 68);
}

/* Each byte of a listed name and of the '=' as it is, upper case, or percent-encoded, at a random
 * place of a random query: the secret never comes through. */
static void a_planted_secret_never_survives(void **state)
{
    (void)state;
    static const char *const names[] = {"token", "api_key", "password"};
    static const char *const before[] = {"a=1&", "", "x[", "q=%3F", "a;", "%7B%22", "z#"};
    const struct mg_redact redact = make(MG_REDACT_MASK);
    struct mg_arena results;
    mg_arena_init(&results, 4096);
    srand(11);
    for (int round = 0; round < 100000; round++) {
        char text[256];
        size_t length = (size_t)snprintf(text, sizeof text, "%s", before[rand() % 7]);
        for (const char *c = names[rand() % 3]; *c; c++) {
            const int how = rand() % 3;
            length += (size_t)snprintf(text + length, sizeof text - length,
                                       how == 0 ? "%c" : (how == 1 ? "%%%02x" : "%%%02X"), *c);
            if (how == 0 && rand() % 2 && *c != '_') {
                text[length - 1] = (char)(*c - 32);
            }
        }
        length += (size_t)snprintf(text + length, sizeof text - length, "%sS3CRET%s",
                                   rand() % 2 ? "=" : "%3D", rand() % 2 ? "&b=2" : "");
        const mg_str query = mg_redact_query(&redact, &results, mg_str_make(text, length));
        const mg_str url = mg_redact_url(&redact, &results, mg_str_make(text, length));
        if (memmem(query.ptr, query.len, "S3CRET", 6) || memmem(url.ptr, url.len, "S3CRET", 6)) {
            fail_msg("%s -> %.*s", text, MG_STR_ARG(query));
        }
        mg_arena_reset(&results);
    }
    mg_arena_deinit(&results);
}

/* Texts without '%' are first looked at from their '=' and ':' backwards. A '%' in front of them
 * makes the scanner read them all: the result must be the same. */
static void a_glance_misses_nothing_that_the_scanner_finds(void **state)
{
    (void)state;
    static const char *const words[] = {"token", "key", "Api-Key", "code", "a", "xtoken", "tokens"};
    static const char marks[] = "&;?#{},() []./=:=:\"'\\";
    mg_str (*const redactions[])(const struct mg_redact *, struct mg_arena *,
                                 mg_str) = {mg_redact_query, mg_redact_url};
    const struct mg_redact redact = make(MG_REDACT_MASK);
    struct mg_arena results;
    unsigned hidden = 0;
    mg_arena_init(&results, 4096);
    srand(12);
    for (unsigned round = 0; round < 300000; round++) {
        char text[256];
        size_t length =
            (size_t)snprintf(text, sizeof text, "%s", round % 2 ? "/%41/x/" : "/%41&x/");
        for (int i = 0; i < 8; i++) {
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%c",
                                       rand() % 4 ? words[rand() % 7] : "",
                                       marks[(size_t)rand() % (sizeof marks - 1)]);
        }
        const mg_str whole = mg_str_make(text, length), rest = mg_str_slice(whole, 5, length);
        const mg_str scanned = redactions[round % 2](&redact, &results, whole);
        const mg_str glanced = redactions[round % 2](&redact, &results, rest);
        if (!mg_str_ends(scanned, glanced) || scanned.len != glanced.len + 5) {
            fail_msg("%s -> %.*s", text, MG_STR_ARG(glanced));
        }
        hidden += glanced.ptr != rest.ptr;
        mg_arena_reset(&results);
    }
    assert_true(hidden > 10000);
    mg_arena_deinit(&results);
}

#define WITH_ARENA(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ARENA(harmless_text_is_not_even_copied),
        WITH_ARENA(arguments_are_masked_by_name),
        WITH_ARENA(names_match_without_case_and_escapes),
        WITH_ARENA(an_encoded_separator_stays_inside_the_secret),
        WITH_ARENA(nested_names_and_nested_urls_are_seen),
        WITH_ARENA(urls_lose_secrets_in_every_part),
        WITH_ARENA(a_secret_may_be_removed_or_hashed),
        WITH_ARENA(the_hash_is_an_hmac),
        WITH_ARENA(header_names_match_in_any_spelling),
        WITH_ARENA(names_have_a_length),
        WITH_ARENA(a_planted_secret_never_survives),
        WITH_ARENA(a_glance_misses_nothing_that_the_scanner_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
