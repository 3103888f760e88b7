/* SPDX-License-Identifier: Apache-2.0 */
/* script/api_limit: keys, decisions and slots of the plugin rate-limit, without Lua. */
#include "base/shm.h"
#include "net/loop.h"
#include "script/vm.h"
#include "support/request.h"

#include "script/ffi.h"

#define KEY(literal) (literal), sizeof(literal) - 1

struct bench {
    struct mg_req *req;
    struct mg_loop loop;
    struct mg_vm vm;
    struct mg_ffi_limits *limits;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_int_equal(request_setup((void **)&bench->req), 0);
    assert_int_equal(mg_loop_open_virtual(&bench->loop, 1700000000000), 0);
    assert_int_equal(mg_shm_create(16 << 20, 1, &bench->vm.options.shm), 0);
    mg_shm_tick(bench->vm.options.shm, mg_loop_now_ms(&bench->loop), 1700000000000);
    bench->vm.options.stats = mg_shm_stats(bench->vm.options.shm, 0);
    bench->vm.loop = &bench->loop;
    bench->limits = mg_ffi_limits_new(&bench->vm);
    assert_non_null(bench->limits);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    void *req = bench->req;
    mg_ffi_limits_free(bench->limits); /* before the request ends, as a generation may be */
    request_teardown(&req);
    mg_shm_close(bench->vm.options.shm);
    mg_loop_close(&bench->loop);
    free(bench);
    return 0;
}

static int add(struct bench *bench, int algorithm, double quota, const char *name)
{
    const struct mg_ffi_limit_rule rule = {.algorithm = algorithm,
                                           .quota = quota,
                                           .window_ms = 60000,
                                           .burst = quota,
                                           .max_keys = 1024};
    return mg_ffi_limits_add(bench->limits, &rule, name, strlen(name), name, strlen(name));
}

/* A decision of limit 0 about the client's address under those prefixes. */
static int take_address(struct bench *bench, const char *ip, int ipv4_bits, int ipv6_bits)
{
    bench->req->client_ip = mg_str_from(ip);
    mg_ffi_limits_key(bench->limits);
    mg_ffi_limits_address(bench->limits, 1, bench->req, ipv4_bits, ipv6_bits);
    mg_ffi_limits_use(bench->limits, 0, 1, -1);
    return mg_ffi_limits_take(bench->limits, bench->req)->admitted;
}

static void what_is_no_address_is_a_key_as_it_stands(void **state)
{
    struct bench *bench = *state;
    static const char *const texts[] = {
        "1.2.3.4", "01.2.3.4",  "1.2.3.04", "1.2.3.256", "1.2.3",      "1.2.3.", ".1.2.3",
        "1..2.3",  "1.2.3.4.5", "1.2.3.4 ", "1.2.3.00",  "1.2.3.1000", "unix:",  ""};
    add(bench, 0, 1, "minute");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(take_address(bench, texts[i], 32, 64), 1);
        assert_int_equal(take_address(bench, texts[i], 32, 64), 0);
    }
    assert_int_equal(take_address(bench, "::ffff:1.2.3.4", 32, 64), 0); /* the first */
    assert_int_equal(take_address(bench, "1.2.3.0", 32, 64), 1);
    assert_int_equal(take_address(bench, "255.255.255.255", 32, 64), 1);
    assert_int_equal(take_address(bench, "0.0.0.0", 32, 64), 1);
}

static void addresses_of_one_network_share_a_key(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(add(bench, 0, 1, "a"), 0);
    assert_int_equal(take_address(bench, "192.0.2.1", 32, 64), 1);
    assert_int_equal(take_address(bench, "192.0.2.2", 32, 64), 1);
    assert_int_equal(take_address(bench, "::ffff:192.0.2.1", 32, 64), 0); /* the first */
    assert_int_equal(take_address(bench, "2001:db8::1", 32, 64), 1);
    assert_int_equal(take_address(bench, "2001:db8::ffff:1", 32, 64), 0); /* the same /64 */
    assert_int_equal(take_address(bench, "2001:DB8:0:0::7%eth0", 32, 64), 0);
    assert_int_equal(take_address(bench, "2001:db8:0:1::1", 32, 64), 1);
    assert_int_equal(take_address(bench, "198.51.100.7", 23, 64), 1);
    assert_int_equal(take_address(bench, "198.51.101.9", 23, 64), 0);
    assert_int_equal(take_address(bench, "198.51.102.9", 23, 64), 1);
    assert_int_equal(take_address(bench, "unix:", 32, 64), 1); /* no address: as text */
    assert_int_equal(take_address(bench, "unix:", 32, 64), 0);
}

static int take_parts(struct bench *bench, const char *first, const char *second)
{
    mg_ffi_limits_key(bench->limits);
    mg_ffi_limits_text(bench->limits, 1, first, strlen(first));
    mg_ffi_limits_text(bench->limits, 2, second, strlen(second));
    mg_ffi_limits_use(bench->limits, 0, 1, -1);
    return mg_ffi_limits_take(bench->limits, bench->req)->admitted;
}

static void parts_of_a_key_do_not_run_together(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(add(bench, 0, 1, "a"), 0);
    assert_int_equal(take_parts(bench, "a", "bc"), 1);
    assert_int_equal(take_parts(bench, "ab", "c"), 1);
    assert_int_equal(take_parts(bench, "ab", "c"), 0);
    assert_int_equal(take_parts(bench, "", ""), 1);
    char longer[400];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(take_parts(bench, longer, "a"), 1);
    assert_int_equal(take_parts(bench, longer, "a"), 0);
    longer[300] = 'y';
    assert_int_equal(take_parts(bench, longer, "a"), 1); /* all of it counts */
}

static void a_tag_keeps_parts_of_other_meaning_apart(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(add(bench, 0, 1, "a"), 0);
    for (int tag = 0; tag < 3; tag++) {
        mg_ffi_limits_key(bench->limits);
        mg_ffi_limits_text(bench->limits, tag, KEY("same"));
        mg_ffi_limits_use(bench->limits, 0, 1, -1);
        assert_int_equal(mg_ffi_limits_take(bench->limits, bench->req)->admitted, 1);
    }
}

static void many_long_parts_still_make_different_keys(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(add(bench, 0, 1, "a"), 0);
    char part[128];
    memset(part, 'p', sizeof part);
    for (int changed = 0; changed < 12; changed++) {
        mg_ffi_limits_key(bench->limits);
        for (int i = 0; i < 12; i++) {
            part[0] = i == changed ? 'q' : 'p';
            mg_ffi_limits_text(bench->limits, 1, part, sizeof part);
        }
        mg_ffi_limits_use(bench->limits, 0, 1, -1);
        assert_int_equal(mg_ffi_limits_take(bench->limits, bench->req)->admitted, 1);
    }
}

static void only_limits_with_a_key_take_part(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(add(bench, 1, 5, "minute"), 0);
    assert_int_equal(add(bench, 2, 1, "burst"), 1);
    for (int i = 0; i < 5; i++) {
        mg_ffi_limits_key(bench->limits);
        mg_ffi_limits_use(bench->limits, 0, 1, -1);
        assert_int_equal(mg_ffi_limits_take(bench->limits, bench->req)->admitted, 1);
        assert_int_equal(mg_ffi_limits_answer(bench->limits, 0)->remaining, 4 - i);
        assert_int_equal(mg_ffi_limits_answer(bench->limits, 1)->asked, 0);
    }
    assert_int_equal(mg_ffi_limits_take(bench->limits, bench->req)->admitted,
                     1); /* nobody was asked */
    mg_ffi_limits_key(bench->limits);
    mg_ffi_limits_use(bench->limits, 0, 1, -1);
    mg_ffi_limits_use(bench->limits, 1, 1, -1);
    assert_int_equal(mg_ffi_limits_take(bench->limits, bench->req)->admitted, 0);
    assert_int_equal(mg_ffi_limits_answer(bench->limits, 0)->ok, 0);
    assert_true(mg_ffi_limits_answer(bench->limits, 0)->retry_ms > 0);
    assert_int_equal(mg_ffi_limits_answer(bench->limits, 1)->ok, 1);
    const struct mg_stats *stats = bench->vm.options.stats;
    assert_int_equal(stats->value[MG_STAT_LIMIT_ALLOWED], 5);
    assert_int_equal(stats->value[MG_STAT_LIMIT_DENIED], 1);
}

static void a_concurrency_slot_is_held_until_the_request_ends(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(add(bench, 4, 1, "inflight"), 0);
    mg_ffi_limits_key(bench->limits);
    mg_ffi_limits_use(bench->limits, 0, 1, -1);
    assert_int_equal(mg_ffi_limits_take(bench->limits, bench->req)->admitted, 1);
    mg_ffi_limits_use(bench->limits, 0, 1, -1);
    assert_int_equal(mg_ffi_limits_take(bench->limits, bench->req)->admitted, 0);
    mg_arena_reset(&bench->req->arena);
    mg_ffi_limits_use(bench->limits, 0, 1, -1);
    assert_int_equal(mg_ffi_limits_take(bench->limits, bench->req)->admitted, 1);
}

static void a_field_shows_a_whole_number(void **state)
{
    struct bench *bench = *state;
    static const struct {
        double number;
        const char *text;
    } cases[] = {{0, "0"}, {7, "7"}, {10, "10"}, {1000000000, "1000000000"}, {-3, "0"}};
    struct mg_ffi_str value;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(mg_ffi_limits_field(bench->req, KEY("X-Left"), cases[i].number), 1);
        assert_true(mg_ffi_fields_find(bench->req, MG_FFI_RESPONSE, KEY("x-left"), 0, &value) > 0);
        assert_int_equal(value.len, strlen(cases[i].text));
        assert_memory_equal(value.ptr, cases[i].text, value.len);
    }
    assert_int_equal(mg_ffi_limits_field(bench->req, KEY("no token"), 1), MG_FFI_BAD_NAME);
}

static void the_note_names_the_limit_and_the_shadows_that_would_deny(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(add(bench, 0, 10, "minute"), 0);
    const struct mg_ffi_limit_rule rule = {
        .algorithm = 0, .shadow = 1, .quota = 1, .window_ms = 60000, .max_keys = 1024};
    assert_int_equal(mg_ffi_limits_add(bench->limits, &rule, KEY("b"), KEY("b")), 1);
    assert_int_equal(mg_ffi_limits_add(bench->limits, &rule, KEY("c"), KEY("c")), 2);
    for (int i = 0; i < 2; i++) {
        mg_ffi_limits_key(bench->limits);
        for (int k = 0; k < 3; k++) {
            mg_ffi_limits_use(bench->limits, k, 1, -1);
        }
        assert_int_equal(mg_ffi_limits_take(bench->limits, bench->req)->admitted, 1);
    }
    mg_ffi_limits_note(bench->limits, bench->req, 0, KEY("allowed"));
    char note[256];
    snprintf(note, sizeof note, "%.*s", MG_STR_ARG(bench->req->note_limit));
    char *hash = strstr(note, "\"key_hash\":\"");
    assert_non_null(hash);
    memset(hash + 12, '0', 16);
    assert_string_equal(note, "{\"decision\":\"allowed\",\"name\":\"minute\",\"quota\":10,"
                              "\"remaining\":8,\"cost\":1,\"store\":\"local\","
                              "\"key_hash\":\"0000000000000000\",\"shadow\":[\"b\",\"c\"]}");
    assert_int_equal(bench->vm.options.stats->value[MG_STAT_LIMIT_SHADOW_DENIED], 2);
    mg_ffi_limits_note(bench->limits, bench->req, -1, KEY("exempt")); /* tells of no other key */
    assert_true(mg_str_equal(bench->req->note_limit, MG_STR("{\"decision\":\"exempt\"}")));
}

static void bad_rules_and_too_many_limits_are_refused(void **state)
{
    struct bench *bench = *state;
    assert_true(add(bench, 6, 1, "unknown") < 0);
    assert_true(add(bench, 0, 0, "zero") < 0);
    for (int i = 0; i < 16; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(add(bench, 0, 1, name), i);
    }
    assert_true(add(bench, 0, 1, "more") < 0);
    struct mg_vm without = {.loop = &bench->loop};
    assert_null(mg_ffi_limits_new(&without));
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_BENCH(what_is_no_address_is_a_key_as_it_stands),
        WITH_BENCH(addresses_of_one_network_share_a_key),
        WITH_BENCH(parts_of_a_key_do_not_run_together),
        WITH_BENCH(a_tag_keeps_parts_of_other_meaning_apart),
        WITH_BENCH(many_long_parts_still_make_different_keys),
        WITH_BENCH(only_limits_with_a_key_take_part),
        WITH_BENCH(a_concurrency_slot_is_held_until_the_request_ends),
        WITH_BENCH(a_field_shows_a_whole_number),
        WITH_BENCH(the_note_names_the_limit_and_the_shadows_that_would_deny),
        WITH_BENCH(bad_rules_and_too_many_limits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
