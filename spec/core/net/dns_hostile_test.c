/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name servers that lie (EXT-01): answers cut anywhere, names that point at themselves, answers to
 * other questions, endless aliases, and random changes. A query always ends, once, with few
 * addresses or with an error; memory errors are the sanitizers' to find.
 */
#include "net/dns.h"

#include "support/sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HEAD_BYTES 12
#define ROOM 1024

struct answer {
    unsigned char bytes[ROOM];
    size_t len;
};

/* The server, and what it does to each answer. */
struct fixture {
    struct mg_loop loop;
    struct mg_dns *dns;
    uv_poll_t poll;
    int fd;
    char address[32];
    void (*spoil)(struct answer *answer, unsigned how);
    unsigned how;
    /* the query */
    struct mg_dns_query query;
    int fired, status, count;
};

/* --- the server ------------------------------------------------------------------------------- */

static void put(struct answer *answer, const void *bytes, size_t count)
{
    assert_true(count <= ROOM - answer->len);
    memcpy(answer->bytes + answer->len, bytes, count);
    answer->len += count;
}

/* Owner (a pointer), type, class, TTL of 60 s, data. */
static void put_record(struct answer *answer, size_t owner_at, unsigned char type, const void *data,
                       unsigned char bytes)
{
    const unsigned char head[] = {(unsigned char)(0xc0 | owner_at >> 8),
                                  (unsigned char)owner_at,
                                  0,
                                  type,
                                  0,
                                  1,
                                  0,
                                  0,
                                  0,
                                  60,
                                  0,
                                  bytes};
    put(answer, head, sizeof head);
    put(answer, data, bytes);
    answer->bytes[7]++;
}

/* Keeps head and question of a query; a query has one question and no name is compressed. */
static void begin_answer(struct answer *answer)
{
    size_t at = HEAD_BYTES;
    while (answer->bytes[at] != 0) {
        at += answer->bytes[at] + 1U;
        assert_true(at < answer->len);
    }
    answer->len = at + 5;
    answer->bytes[2] = 0x81;
    answer->bytes[3] = 0x80;
    memset(answer->bytes + 6, 0, 6);
}

static void put_address(struct answer *answer, size_t owner_at)
{
    static const unsigned char aaaa[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    static const unsigned char a[4] = {192, 0, 2, 1};
    const bool is_v6 = answer->bytes[answer->len - 3] == 28; /* of the question */
    put_record(answer, owner_at, is_v6 ? 28 : 1, is_v6 ? aaaa : a, is_v6 ? 16 : 4);
}

static void on_query(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct fixture *f = MG_CONTAINER(poll, struct fixture, poll);
    struct answer answer;
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    mg_loop_wake(&f->loop);
    const ssize_t count =
        recvfrom(f->fd, answer.bytes, ROOM, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
    if (count > HEAD_BYTES) {
        answer.len = (size_t)count;
        begin_answer(&answer);
        f->spoil(&answer, f->how);
        (void)sendto(f->fd, answer.bytes, answer.len, 0, (struct sockaddr *)&from, length);
    }
}

static void open_all(struct fixture *f, void (*spoil)(struct answer *answer, unsigned how))
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof in;
    *f = (struct fixture){.spoil = spoil, .fd = socket(AF_INET, SOCK_DGRAM, 0)};
    assert_int_equal(bind(f->fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(getsockname(f->fd, (struct sockaddr *)&in, &length), 0);
    snprintf(f->address, sizeof f->address, "127.0.0.1:%u", ntohs(in.sin_port));
    const struct mg_dns_options options = {
        .timeout_ms = 20, .tries = 1, .negative_ms = 1, .servers = f->address};
    assert_int_equal(mg_loop_open(&f->loop), 0);
    assert_int_equal(uv_poll_init(&f->loop.uv, &f->poll, f->fd), 0);
    assert_int_equal(uv_poll_start(&f->poll, UV_READABLE, on_query), 0);
    assert_int_equal(mg_dns_open(&f->dns, &f->loop, &options), 0);
}

static void close_all(struct fixture *f)
{
    mg_dns_close(f->dns);
    uv_close((uv_handle_t *)&f->poll, NULL);
    mg_loop_close(&f->loop);
    close(f->fd);
}

/* --- the query -------------------------------------------------------------------------------- */

static void on_answer(struct mg_dns_query *query, int status, const struct mg_dns_answer *answer)
{
    struct fixture *f = MG_CONTAINER(query, struct fixture, query);
    f->fired++;
    f->status = status;
    f->count = answer ? answer->count : 0;
}

static bool has_fired(void *context)
{
    return ((struct fixture *)context)->fired > 0;
}

/* A new name each time: nothing is cached. */
static int resolve(struct fixture *f, unsigned how)
{
    char name[32];
    const int length = snprintf(name, sizeof name, "n%u.test", how);
    f->how = how;
    f->fired = 0;
    f->query = (struct mg_dns_query){.fn = on_answer};
    assert_int_equal(mg_dns_resolve(f->dns, mg_str_make(name, (size_t)length), &f->query), 0);
    sockets_run_until(&f->loop, has_fired, f);
    assert_int_equal(f->fired, 1);
    assert_true(f->count <= 2 * MG_DNS_ADDRESSES && (f->status == 0) == (f->count > 0));
    return f->status;
}

/* --- lies ------------------------------------------------------------------------------------- */

static void cut(struct answer *answer, unsigned how)
{
    put_address(answer, HEAD_BYTES);
    answer->len = how < answer->len ? how : answer->len;
}

static void ext_01_dns_answers_that_are_cut_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, cut);
    const unsigned whole = HEAD_BYTES + (unsigned)sizeof "nNN.test" + 1 + 4 + 12 + 4;
    for (unsigned length = 1; length < whole; length++) {
        assert_int_equal(resolve(&f, length), MG_EDNS);
    }
    assert_int_equal(resolve(&f, 1000), 0);
    close_all(&f);
}

/* The owner of the record is a pointer to itself, behind the end, or a label of a reserved kind. */
static void misdirect(struct answer *answer, unsigned how)
{
    const size_t at = answer->len;
    put_address(answer, HEAD_BYTES);
    static const unsigned targets[] = {0, 2, 500, 0x3fff};
    const size_t target = how == 0 ? at : targets[how % 4];
    answer->bytes[at] = (unsigned char)(how == 4 ? 0x80 : 0xc0 | target >> 8);
    answer->bytes[at + 1] = (unsigned char)target;
}

static void ext_01_dns_names_that_lead_nowhere_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, misdirect);
    for (unsigned how = 0; how <= 4; how++) {
        resolve(&f, how); /* pointers into the head may be names: any end will do */
        assert_true(how == 1 || f.status == MG_EDNS);
    }
    close_all(&f);
}

/* Id or question of another query: as if nobody had answered. */
static void mistake(struct answer *answer, unsigned how)
{
    put_address(answer, HEAD_BYTES);
    answer->bytes[how == 0 ? 0 : HEAD_BYTES + 1] ^= 1;
}

static void ext_01_dns_answers_to_other_questions_are_not_taken(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, mistake);
    assert_int_equal(resolve(&f, 0), MG_EDNS);
    assert_int_equal(resolve(&f, 1), MG_EDNS);
    close_all(&f);
}

/* question -> a.question -> b.question ... -> address */
static void alias(struct answer *answer, unsigned how)
{
    const bool is_v6 = answer->bytes[answer->len - 3] == 28;
    size_t owner_at = HEAD_BYTES;
    for (unsigned i = 0; i < how; i++) {
        const unsigned char name[] = {1, (unsigned char)('a' + i), 0xc0, HEAD_BYTES};
        put_record(answer, owner_at, 5, name, sizeof name);
        owner_at = answer->len - sizeof name;
    }
    static const unsigned char address[16] = {192, 0, 2, 1};
    put_record(answer, owner_at, is_v6 ? 28 : 1, address, is_v6 ? 16 : 4);
}

static void ext_01_no_more_than_8_dns_aliases_are_followed(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, alias);
    assert_int_equal(resolve(&f, 7), 0);
    assert_int_equal(resolve(&f, 8), 0);
    assert_int_equal(resolve(&f, 9), MG_EDNS);
    assert_int_equal(resolve(&f, 20), MG_EDNS);
    close_all(&f);
}

static void scramble(struct answer *answer, unsigned how)
{
    uint64_t random = how * UINT64_C(0x9e3779b97f4a7c15) + 1;
    alias(answer, how % 3);
    for (unsigned i = 0; i < 1 + how % 6; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        const size_t at = 2 + (size_t)(random >> 33) % (answer->len - 2); /* not the id */
        answer->bytes[at] = (unsigned char)(random >> 20);
    }
}

/* MOONGATE_DNS_ANSWERS: how many, 150 unless told. */
static void ext_01_random_dns_answers_do_no_harm(void **state)
{
    (void)state;
    struct fixture f;
    const char *wish = getenv("MOONGATE_DNS_ANSWERS");
    const unsigned count = wish ? (unsigned)strtoul(wish, NULL, 10) : 150;
    open_all(&f, scramble);
    for (unsigned how = 1; how <= count; how++) {
        resolve(&f, how);
    }
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ext_01_dns_answers_that_are_cut_are_refused),
        cmocka_unit_test(ext_01_dns_names_that_lead_nowhere_are_refused),
        cmocka_unit_test(ext_01_dns_answers_to_other_questions_are_not_taken),
        cmocka_unit_test(ext_01_no_more_than_8_dns_aliases_are_followed),
        cmocka_unit_test(ext_01_random_dns_answers_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
