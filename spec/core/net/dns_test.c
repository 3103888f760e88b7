/* SPDX-License-Identifier: Apache-2.0 */
/* The resolver against a name server of its own: cache, TTL, stale and negative answers. */
#include "net/dns.h"

#include "support/name_server.h"
#include "support/sockets.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct mg_loop loop;
    struct name_server server;
    struct mg_dns *dns;
};

/* A query and what it was told. */
struct wait {
    struct mg_dns_query query;
    int fired, status, count;
    char first[INET6_ADDRSTRLEN];
    int v4, v6;
};

static const struct mg_dns_options defaults = {
    .timeout_ms = 2000, .tries = 2, .stale_ms = 3600 * 1000, .negative_ms = 1000};

static void open_with(struct fixture *f, const struct name_record *records,
                      struct mg_dns_options options, bool is_virtual)
{
    assert_int_equal(is_virtual ? mg_loop_open_virtual(&f->loop, 0) : mg_loop_open(&f->loop), 0);
    name_server_open(&f->server, &f->loop);
    f->server.records = records;
    options.servers = f->server.address;
    assert_int_equal(mg_dns_open(&f->dns, &f->loop, &options), 0);
}

static void open_all(struct fixture *f, const struct name_record *records)
{
    open_with(f, records, defaults, true);
}

static void close_all(struct fixture *f)
{
    mg_dns_close(f->dns);
    name_server_close(&f->server);
    mg_loop_close(&f->loop);
}

static void print(const struct sockaddr_storage *address, char *text, size_t bytes)
{
    const void *binary =
        address->ss_family == AF_INET
            ? (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr
            : (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    assert_non_null(inet_ntop(address->ss_family, binary, text, (socklen_t)bytes));
}

static void on_answer(struct mg_dns_query *query, int status, const struct mg_dns_answer *answer)
{
    struct wait *wait = MG_CONTAINER(query, struct wait, query);
    wait->fired++;
    wait->status = status;
    assert_true((status == 0) == (answer != NULL));
    wait->count = answer ? answer->count : 0;
    for (int i = 0; i < wait->count; i++) {
        wait->v4 += answer->addresses[i].ss_family == AF_INET;
        wait->v6 += answer->addresses[i].ss_family == AF_INET6;
    }
    if (answer) {
        print(&answer->addresses[0], wait->first, sizeof wait->first);
    }
}

static void start(struct fixture *f, const char *name, struct wait *wait)
{
    *wait = (struct wait){.query.fn = on_answer};
    assert_int_equal(mg_dns_resolve(f->dns, mg_str_from(name), &wait->query), 0);
    assert_int_equal(wait->fired, 0); /* never before the call has returned */
}

static bool has_fired(void *context)
{
    return ((struct wait *)context)->fired > 0;
}

static struct wait resolve(struct fixture *f, const char *name)
{
    struct wait wait;
    start(f, name, &wait);
    sockets_run_until(&f->loop, has_fired, &wait);
    assert_int_equal(wait.fired, 1);
    return wait;
}

static int cached(struct fixture *f, const char *name)
{
    struct mg_dns_answer answer;
    return mg_dns_cached(f->dns, mg_str_from(name), &answer);
}

static void pass(struct fixture *f, uint64_t ms)
{
    mg_clock_advance(&f->loop.clock, ms * 1000);
    mg_loop_turn(&f->loop);
}

static void expect_literal(struct fixture *f, const char *host, const char *text)
{
    struct mg_dns_answer answer;
    char printed[INET6_ADDRSTRLEN];
    assert_int_equal(mg_dns_cached(f->dns, mg_str_from(host), &answer), 0);
    assert_int_equal(answer.count, 1);
    print(answer.addresses, printed, sizeof printed);
    assert_string_equal(printed, text);
    const struct wait wait = resolve(f, host);
    assert_int_equal(wait.status, 0);
    assert_string_equal(wait.first, text);
}

static void literals_need_no_query(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, (const struct name_record[]){{"192.0.2.9", ANSWER_SILENCE, 0, 0}, {.name = NULL}});
    expect_literal(&f, "192.0.2.9", "192.0.2.9");
    expect_literal(&f, "2001:db8::9", "2001:db8::9");
    expect_literal(&f, "[::1]", "::1");
    expect_literal(&f, "192.0.2.9", "192.0.2.9");
    assert_int_equal(f.server.asked_a + f.server.asked_aaaa, 0);
    close_all(&f);
}

static void names_of_the_hosts_file_need_no_server(void **state)
{
    (void)state;
    struct fixture f;
    const struct name_record records[] = {{"localhost", ANSWER_SILENCE, 0, 0}, {.name = NULL}};
    open_all(&f, records);
    const struct wait wait = resolve(&f, "localhost");
    assert_int_equal(wait.status, 0);
    assert_true(wait.v4 >= 1);
    assert_int_equal(f.server.asked_a + f.server.asked_aaaa, 0);
    assert_int_equal(cached(&f, "localhost"), 0);
    close_all(&f);
}

static void an_answer_serves_until_its_ttl_is_over(void **state)
{
    (void)state;
    struct fixture f;
    const struct name_record records[] = {
        {"a.test", ANSWER_A, 30, 2}, {"a.test", ANSWER_AAAA, 60, 1}, {.name = NULL}};
    open_all(&f, records);
    assert_int_equal(cached(&f, "a.test"), MG_EAGAIN);
    const struct wait wait = resolve(&f, "a.test");
    assert_int_equal(wait.status, 0);
    assert_int_equal(wait.v4, 2);
    assert_int_equal(wait.v6, 1);
    pass(&f, 29999);
    assert_int_equal(cached(&f, "A.Test"), 0);
    resolve(&f, "A.TEST");
    assert_int_equal(f.server.asked_a, 1);
    pass(&f, 1);
    assert_int_equal(cached(&f, "a.test"), MG_EAGAIN);
    resolve(&f, "a.test");
    assert_int_equal(f.server.asked_a, 2);
    assert_int_equal(f.server.asked_aaaa, 2);
    close_all(&f);
}

static void a_ttl_is_clamped(void **state)
{
    (void)state;
    struct fixture f;
    const struct name_record records[] = {
        {"short.test", ANSWER_A, 0, 1}, {"long.test", ANSWER_A, 100000, 1}, {.name = NULL}};
    open_all(&f, records);
    resolve(&f, "short.test");
    resolve(&f, "long.test");
    pass(&f, 999);
    assert_int_equal(cached(&f, "short.test"), 0);
    pass(&f, 1);
    assert_int_equal(cached(&f, "short.test"), MG_EAGAIN);
    pass(&f, 3599 * 1000 - 1);
    assert_int_equal(cached(&f, "long.test"), 0);
    pass(&f, 1);
    assert_int_equal(cached(&f, "long.test"), MG_EAGAIN);
    close_all(&f);
}

static void an_aliass_ttl_counts(void **state)
{
    (void)state;
    struct fixture f;
    const struct name_record records[] = {
        {"w.test", ANSWER_CNAME, 5, 0}, {"w.test", ANSWER_A, 300, 1}, {.name = NULL}};
    open_all(&f, records);
    assert_string_equal(resolve(&f, "w.test").first, "192.0.2.1");
    pass(&f, 5000);
    assert_int_equal(cached(&f, "w.test"), MG_EAGAIN);
    close_all(&f);
}

static void one_query_serves_all_who_wait(void **state)
{
    (void)state;
    struct fixture f;
    struct wait first, second, cancelled;
    const struct name_record records[] = {{"a.test", ANSWER_A, 30, 1}, {.name = NULL}};
    open_all(&f, records);
    start(&f, "a.test", &first);
    start(&f, "a.test", &cancelled);
    start(&f, "A.test", &second);
    mg_dns_cancel(&cancelled.query);
    mg_dns_cancel(&cancelled.query);
    sockets_run_until(&f.loop, has_fired, &second);
    assert_int_equal(first.fired, 1);
    assert_int_equal(cancelled.fired, 0);
    assert_int_equal(f.server.asked_a, 1);
    mg_dns_cancel(&first.query); /* has fired: harmless */
    mg_dns_cancel(&(struct mg_dns_query){.fn = NULL});
    close_all(&f);
}

static void a_missing_name_is_remembered_briefly(void **state)
{
    (void)state;
    struct fixture f;
    const struct name_record later[] = {{"new.test", ANSWER_A, 30, 1}, {.name = NULL}};
    open_all(&f, (const struct name_record[]){{.name = NULL}});
    assert_int_equal(resolve(&f, "new.test").status, MG_EDNS);
    f.server.records = later;
    pass(&f, 999);
    assert_int_equal(cached(&f, "new.test"), MG_EDNS);
    assert_int_equal(resolve(&f, "new.test").status, MG_EDNS);
    assert_int_equal(f.server.asked_a, 0);
    pass(&f, 1);
    assert_int_equal(cached(&f, "new.test"), MG_EAGAIN);
    assert_int_equal(resolve(&f, "new.test").status, 0);
    close_all(&f);
}

static void a_name_without_addresses_is_a_failure(void **state)
{
    (void)state;
    struct fixture f;
    const struct name_record records[] = {{"mail.test", ANSWER_A, 30, 0}, {.name = NULL}};
    open_all(&f, records);
    assert_int_equal(resolve(&f, "mail.test").status, MG_EDNS);
    close_all(&f);
}

static const struct name_record good[] = {{"a.test", ANSWER_A, 10, 1}, {.name = NULL}};
static const struct name_record moved[] = {{"a.test", ANSWER_A, 10, 2}, {.name = NULL}};
static const struct name_record broken[] = {{"a.test", ANSWER_SERVFAIL, 0, 0}, {.name = NULL}};
static const struct name_record silent[] = {{"a.test", ANSWER_SILENCE, 0, 0}, {.name = NULL}};
static const struct name_record gone[] = {{.name = NULL}};

static void a_stale_answer_serves_while_the_servers_fail(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, good);
    resolve(&f, "a.test");
    f.server.records = broken;
    pass(&f, 10000);
    assert_int_equal(cached(&f, "a.test"), MG_EAGAIN);
    struct wait wait = resolve(&f, "a.test");
    assert_int_equal(wait.status, 0);
    assert_string_equal(wait.first, "192.0.2.1");
    assert_int_equal(cached(&f, "a.test"), 0); /* without waiting from now on */
    const int asked = f.server.asked_a;
    pass(&f, 999);
    assert_int_equal(cached(&f, "a.test"), 0);
    assert_int_equal(f.server.asked_a, asked);
    f.server.records = moved;
    pass(&f, 1);
    assert_int_equal(cached(&f, "a.test"), 0); /* asks again, behind this request's back */
    while (f.server.asked_aaaa <= asked) {
        mg_loop_turn(&f.loop);
    }
    wait = resolve(&f, "a.test");
    assert_int_equal(wait.count, 2);
    close_all(&f);
}

static void a_stale_answer_serves_when_the_servers_are_silent(void **state)
{
    (void)state;
    struct fixture f;
    struct wait wait;
    open_all(&f, good);
    resolve(&f, "a.test");
    f.server.records = silent;
    pass(&f, 10000);
    start(&f, "a.test", &wait);
    pass(&f, 199);
    assert_int_equal(wait.fired, 0);
    pass(&f, 1);
    assert_int_equal(wait.fired, 1);
    assert_int_equal(wait.status, 0);
    assert_int_equal(cached(&f, "a.test"), 0);
    close_all(&f);
}

static void a_stale_answer_ends_after_its_time(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, good);
    resolve(&f, "a.test");
    f.server.records = broken;
    pass(&f, 10000 + 3600 * 1000 - 1);
    assert_int_equal(resolve(&f, "a.test").status, 0);
    pass(&f, 1);
    assert_int_equal(resolve(&f, "a.test").status, MG_EDNS);
    close_all(&f);
}

static void a_name_that_is_gone_is_not_served_stale(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, good);
    resolve(&f, "a.test");
    f.server.records = gone;
    pass(&f, 10000);
    assert_int_equal(resolve(&f, "a.test").status, MG_EDNS);
    close_all(&f);
}

static const struct name_record half[] = {
    {"h.test", ANSWER_A, 1, 1}, {"h.test", ANSWER_SILENCE, 0, 0}, {.name = NULL}};

static bool has_asked_both(void *context)
{
    const struct name_server *server = context;
    return server->asked_a > 0 && server->asked_aaaa > 0;
}

static void one_family_waits_for_the_other_only_briefly(void **state)
{
    (void)state;
    struct fixture f;
    struct wait wait;
    open_all(&f, half);
    start(&f, "h.test", &wait);
    sockets_run_until(&f.loop, has_asked_both, &f.server);
    while (mg_deadlines_next(&f.loop.deadlines) > mg_loop_now_ms(&f.loop) + 50) {
        mg_loop_turn(&f.loop); /* until the answer for A is in */
    }
    pass(&f, 49);
    assert_int_equal(wait.fired, 0);
    pass(&f, 1);
    assert_int_equal(wait.fired, 1);
    assert_int_equal(wait.count, 1);
    close_all(&f);
}

/* The silent half of the old lookup must not hold the new one up. */
static void asks_anew_when_half_an_answer_is_out_of_date(void **state)
{
    (void)state;
    struct fixture f;
    struct wait wait;
    open_all(&f, half);
    start(&f, "h.test", &wait);
    sockets_run_until(&f.loop, has_asked_both, &f.server);
    while (wait.fired == 0) {
        pass(&f, 10);
    }
    pass(&f, 1000);
    assert_int_equal(cached(&f, "h.test"), MG_EAGAIN);
    start(&f, "h.test", &wait);
    while (wait.fired == 0) {
        pass(&f, 10);
    }
    assert_int_equal(wait.status, 0);
    assert_int_equal(f.server.asked_a, 2);
    close_all(&f);
}

static void no_more_than_64_addresses_are_used(void **state)
{
    (void)state;
    struct fixture f;
    const struct name_record records[] = {
        {"n63.test", ANSWER_A, 30, 63},     {"n64.test", ANSWER_A, 30, 64},
        {"n65.test", ANSWER_A, 30, 65},     {"both.test", ANSWER_A, 30, 40},
        {"both.test", ANSWER_AAAA, 30, 40}, {.name = NULL}};
    open_all(&f, records);
    assert_int_equal(resolve(&f, "n63.test").count, 63);
    assert_int_equal(resolve(&f, "n64.test").count, 64);
    assert_int_equal(resolve(&f, "n65.test").count, 64);
    assert_int_equal(resolve(&f, "both.test").count, 64);
    close_all(&f);
}

static void a_long_answer_comes_by_tcp(void **state)
{
    (void)state;
    struct fixture f;
    const struct name_record records[] = {{"big.test", ANSWER_AAAA, 30, 60}, {.name = NULL}};
    open_all(&f, records);
    assert_int_equal(resolve(&f, "big.test").v6, 60);
    assert_int_equal(f.server.asked_by_tcp, 1);
    close_all(&f);
}

static void silent_servers_are_given_up(void **state)
{
    (void)state;
    struct fixture f;
    struct mg_dns_options options = defaults;
    options.timeout_ms = 20;
    options.tries = 1;
    open_with(&f, silent, options, false);
    assert_int_equal(resolve(&f, "a.test").status, MG_EDNS);
    assert_int_equal(cached(&f, "a.test"), MG_EDNS);
    close_all(&f);
}

static void closing_tells_those_who_wait(void **state)
{
    (void)state;
    struct fixture f;
    struct wait wait;
    open_all(&f, silent);
    start(&f, "a.test", &wait);
    mg_loop_turn(&f.loop);
    close_all(&f);
    assert_int_equal(wait.fired, 1);
    assert_int_equal(wait.status, MG_ECANCELLED);
}

static void refuses_what_is_no_name_or_no_server(void **state)
{
    (void)state;
    struct fixture f;
    struct mg_dns *dns;
    struct mg_dns_query query = {.fn = on_answer};
    char name[MG_DNS_NAME_BYTES + 1];
    memset(name, 'a', sizeof name);
    open_all(&f, gone);
    assert_int_equal(mg_dns_resolve(f.dns, MG_STR(""), &query), MG_EINVALID);
    assert_int_equal(mg_dns_resolve(f.dns, MG_STR("a\0b"), &query), MG_EINVALID);
    assert_int_equal(mg_dns_resolve(f.dns, mg_str_make(name, sizeof name), &query), MG_EINVALID);
    assert_int_equal(resolve(&f, "no such.name").status, MG_EDNS);
    struct mg_dns_options options = defaults;
    options.servers = "nonsense";
    assert_int_equal(mg_dns_open(&dns, &f.loop, &options), MG_EINVALID);
    assert_null(dns);
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_need_no_query),
        cmocka_unit_test(names_of_the_hosts_file_need_no_server),
        cmocka_unit_test(an_answer_serves_until_its_ttl_is_over),
        cmocka_unit_test(a_ttl_is_clamped),
        cmocka_unit_test(an_aliass_ttl_counts),
        cmocka_unit_test(one_query_serves_all_who_wait),
        cmocka_unit_test(a_missing_name_is_remembered_briefly),
        cmocka_unit_test(a_name_without_addresses_is_a_failure),
        cmocka_unit_test(a_stale_answer_serves_while_the_servers_fail),
        cmocka_unit_test(a_stale_answer_serves_when_the_servers_are_silent),
        cmocka_unit_test(a_stale_answer_ends_after_its_time),
        cmocka_unit_test(a_name_that_is_gone_is_not_served_stale),
        cmocka_unit_test(one_family_waits_for_the_other_only_briefly),
        cmocka_unit_test(asks_anew_when_half_an_answer_is_out_of_date),
        cmocka_unit_test(no_more_than_64_addresses_are_used),
        cmocka_unit_test(a_long_answer_comes_by_tcp),
        cmocka_unit_test(silent_servers_are_given_up),
        cmocka_unit_test(closing_tells_those_who_wait),
        cmocka_unit_test(refuses_what_is_no_name_or_no_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
