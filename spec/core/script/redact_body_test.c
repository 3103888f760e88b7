/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets in bodies: forms and JSON, whole or cut anywhere. */
#include "script/redact_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct mg_arena arena;
    struct mg_redact redact;
};

static void begin(struct fixture *f, enum mg_redact_action action)
{
    mg_arena_init(&f->arena, 4096);
    mg_redact_init(&f->redact, &f->arena, action, MG_STR("a key"));
    assert_int_equal(mg_redact_add(&f->redact, MG_REDACT_NAME, MG_STR("token")), 0);
    assert_int_equal(mg_redact_add(&f->redact, MG_REDACT_NAME, MG_STR("api_key")), 0);
}

static void expect(struct fixture *f, const char *body, const char *wanted)
{
    const mg_str clean = mg_redact_body(&f->redact, &f->arena, mg_str_from(body));
    char text[1024];
    snprintf(text, sizeof text, "%.*s", MG_STR_ARG(clean));
    assert_string_equal(text, wanted);
}

static void secrets_are_taken_out_wherever_they_stand(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"a=1&token=x&b=2", "a=1&token=***&b=2"},
        {"just a text", "just a text"},
        {"{\"a\":1}", "{\"a\":1}"},
        {"{\"token\":\"x\",\"a\":1}", "{\"token\":\"***\",\"a\":1}"},
        {" {\"Token\" : \"x\\\"y\" }", " {\"Token\" : \"***\" }"},
        {"{\"token\":12.5,\"a\":1}", "{\"token\":\"***\",\"a\":1}"},
        {"{\"token\":null}", "{\"token\":\"***\"}"},
        {"{\"token\":{\"x\":[\"}\",1]},\"a\":1}", "{\"token\":\"***\",\"a\":1}"},
        {"{\"token\":[[1],{}],\"a\":1}", "{\"token\":\"***\",\"a\":1}"},
        {"[{\"API-Key\":\"x\"},{\"api_key\":\"y\"}]",
         "[{\"API-Key\":\"***\"},{\"api_key\":\"***\"}]"},
        {"{\"user[token]\":\"x\",\"a.api_key.b\":\"y\"}",
         "{\"user[token]\":\"***\",\"a.api_key.b\":\"***\"}"},
        {"{\"t\\u006Fken\":\"x\"}", "{\"t\\u006Fken\":\"***\"}"},
        {"{\"url\":\"http://u:p@h/?token=x&a=1\"}", "{\"url\":\"http://***@h/?token=***&a=1\"}"},
        {"{\"text\":\"{\\\"token\\\":\\\"x\\\"}\"}", "{\"text\":\"{\\\"token\\\":***\"}"},
        {"{\"token\":\"x\"}\n{\"token\":\"y\"}\n", "{\"token\":\"***\"}\n{\"token\":\"***\"}\n"},
        {"{\"a\":true,\"b\":[null,-1.5e+3,false],\"c\":{}}",
         "{\"a\":true,\"b\":[null,-1.5e+3,false],\"c\":{}}"},
        {"{\"x\"token\":\"x\"}", "{\"x\"***"},
        {"{\"a\":\"\\\"token\":\"x\"}", "{\"a\":***"},
        {"{token:\"x\"}", "{***"},
        {"{'token':'x'}", "{***"},
        {"{\"text\":\"x\\\"token\\\":\\\"x\\\"\"}", "{\"text\":\"x\\\"token\\\":***\"}"},
        {"{\"token\":\"token\":\"x\"}", "{\"token\":\"***\"***"},
        {"{\"tok%65n\":\"x\"}", "{\"tok%65n\":\"***\"}"},
        {"{\"a\\\"token\":\"x\"}", "{\"a\\\"token\":\"***\"}"},
        {"{\"a\\u\\\"token\":\"x\"}", "{\"a\\u\\\"token\":\"***\"}"},
        {"{\"?token=x\":1}", "{\"?token=***\":1}"},
        {"{\"a.token:1&token=x\":1}", "{\"a.token:***&token=***\":1}"},
        {"{\"u\":\"http:\\/\\/u:p@h\\/\"}", "{\"u\":\"http://***@h/\"}"},
        {"{\"u\":\"http://u:p", "{\"u\":\"http://***"},
        {"{\"u\":\" token://token:'n/token:x", "{\"u\":\" token://***"},
        {"[\"?a=1\\u0026token=x\"]", "[\"?a=1\\u0026token=***\"]"},
        {"[\"to\\u006ben\\u003dx\"]", "[\"to\\u006ben\\u003d***\"]"},
        {"[\"{\\\"token\\\":\\\"a&b\\\"}\"]", "[\"{\\\"token\\\":***\"]"},
        {"x \"token\" : \"a&b\"&c", "x \"token\" :***&c"},
        {"[\"http://h&token=x\"]", "[\"http://h&token=***\"]"},
        {"[\"token://token:80/token:x\"]", "[\"token://token:80/token:***\"]"},
        {"[\"&token=x&a://h\"]", "[\"&token=***&a://h\"]"},
        {"{\"token\":", "{\"token\":"},
        {"{\"token\"", "{\"token\""},
        {"{\"token\": \"cut", "{\"token\": \"***\""},
        {"{\"token\":\"cut\\", "{\"token\":\"***\""},
        {"{\"token\":{\"a\":\"cu", "{\"token\":\"***\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        begin(&f, MG_REDACT_MASK);
        expect(&f, cases[i][0], cases[i][1]);
        mg_arena_deinit(&f.arena);
    }
}

/* A part of a key counts wherever it stands, and a name of MG_REDACT_NAME_BYTES is one. */
static void keys_of_any_length_are_read(void **state)
{
    (void)state;
    char name[MG_REDACT_NAME_BYTES + 2], body[1024], wanted[1024];
    for (int length = MG_REDACT_NAME_BYTES - 1; length <= MG_REDACT_NAME_BYTES + 1; length++) {
        struct fixture f;
        memset(name, 'n', sizeof name);
        name[length] = '\0';
        begin(&f, MG_REDACT_MASK);
        const int err = mg_redact_add(&f.redact, MG_REDACT_NAME, mg_str_from(name));
        assert_int_equal(err, length <= MG_REDACT_NAME_BYTES ? 0 : MG_EINVALID);
        snprintf(body, sizeof body, "{\"%0300d.%s\":\"x\"}", 0, name);
        snprintf(wanted, sizeof wanted, "{\"%0300d.%s\":\"%s\"}", 0, name, err ? "x" : "***");
        expect(&f, body, wanted);
        mg_arena_deinit(&f.arena);
    }
}

static void other_actions_keep_json_json(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, MG_REDACT_REMOVE);
    expect(&f, "{\"token\":\"x\",\"a\":1}", "{\"token\":null,\"a\":1}");
    mg_arena_deinit(&f.arena);
    begin(&f, MG_REDACT_HASH);
    const mg_str clean = mg_redact_body(&f.redact, &f.arena, MG_STR("{\"token\":\"x\",\"a\":1}"));
    assert_int_equal(clean.len, strlen("{\"token\":\"0123456789abcdef\",\"a\":1}"));
    mg_arena_deinit(&f.arena);
}

/* However the body is cut, nothing of the secret is seen. */
static void no_cut_shows_a_secret(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"a\":[1,{\"token\":\"S3CRET\"}],\"api_key\":[\"S3CRET\",{\"b\":\"S3CRET\"}],\"c\":3}",
        "token=S3CRET&a=1&user[api_key]=S3CRET",
        "[\"token=S3CRET\",{\"x\":\"{\\\"token\\\":\\\"S3CRET\\\"}\"}]",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        for (size_t length = 0; length <= strlen(bodies[i]); length++) {
            struct fixture f;
            begin(&f, MG_REDACT_MASK);
            const mg_str clean =
                mg_redact_body(&f.redact, &f.arena, mg_str_make(bodies[i], length));
            assert_true(mg_str_find(clean, 'S', 0) < 0); /* the letter stands in secrets only */
            mg_arena_deinit(&f.arena);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_taken_out_wherever_they_stand),
        cmocka_unit_test(keys_of_any_length_are_read),
        cmocka_unit_test(other_actions_keep_json_json),
        cmocka_unit_test(no_cut_shows_a_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
