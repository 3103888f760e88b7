/* SPDX-License-Identifier: Apache-2.0 */
/* TLS as a client: whom it trusts, and in any cutting of the bytes. */
#include "net/tls.h"

#include "support/tls_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define HOUR_S 3600

static struct authority authority, stranger;

static int open_authorities(void **state)
{
    (void)state;
    authority_open(&authority);
    authority_open(&stranger);
    return 0;
}

static int close_authorities(void **state)
{
    (void)state;
    authority_close(&authority);
    authority_close(&stranger);
    return 0;
}

static struct mg_tls_context *context_of(const struct mg_tls_options *options)
{
    struct mg_tls_context *context;
    char message[128];
    assert_int_equal(mg_tls_context_new(&context, options, message, sizeof message), 0);
    return context;
}

/* Moves what both sides have, in pieces, until the client is done or has failed. */
static int shake_hands(struct mg_tls *client, struct tls_server *server, size_t piece)
{
    char room[64 * 1024];
    int err = MG_EAGAIN;
    for (int round = 0; round < 20000 && err == MG_EAGAIN; round++) {
        err = mg_tls_handshake(client);
        const mg_str output = mg_str_slice(mg_tls_output(client), 0, piece);
        if (output.len > 0) {
            (void)tls_server_take(server, output);
            mg_tls_sent(client, output.len);
        }
        const size_t got = tls_server_output(server, room, piece);
        if (got > 0) {
            mg_tls_feed(client, mg_str_make(room, got));
        }
    }
    const mg_str rest = mg_tls_output(client); /* its last message, or its alert */
    (void)tls_server_take(server, rest);
    mg_tls_sent(client, rest.len);
    return err;
}

/* The result of a handshake with that name and trust. */
static int meet(const struct mg_tls_options *options, const char *name,
                const struct certificate *certificate, char *why)
{
    struct mg_tls_context *context = context_of(options);
    struct mg_tls *client = mg_tls_client(context, mg_str_from(name));
    struct tls_server server;
    tls_server_open(&server, certificate, NULL);
    const int err = shake_hands(client, &server, 1 << 20);
    snprintf(why, 192, "%s", mg_tls_error(client));
    tls_server_close(&server);
    mg_tls_free(client);
    mg_tls_context_free(context);
    return err;
}

static void only_the_right_peer_is_trusted(void **state)
{
    struct certificate good, late, strange;
    const struct mg_tls_options trust = {.ca = mg_str_from(authority.self.pem)};
    const struct mg_tls_options nobody = {.ca = mg_str_from(stranger.self.pem)};
    const struct mg_tls_options anybody = {.no_verify = true};
    const struct mg_tls_options system = {.no_verify = false};
    char why[192];
    (void)state;
    certificate_make(&good, &authority, "DNS:redis.test,DNS:*.fleet.test,IP:127.0.0.1,IP:::1",
                     HOUR_S);
    certificate_make(&late, &authority, "DNS:redis.test", -60);
    certificate_make(&strange, &stranger, "DNS:redis.test", HOUR_S);
    assert_int_equal(meet(&trust, "redis.test", &good, why), 0);
    assert_int_equal(meet(&trust, "REDIS.test", &good, why), 0);
    assert_int_equal(meet(&trust, "a.fleet.test", &good, why), 0);
    assert_int_equal(meet(&trust, "127.0.0.1", &good, why), 0);
    assert_int_equal(meet(&trust, "::1", &good, why), 0);
    assert_int_equal(meet(&anybody, "other.test", &strange, why), 0);
    assert_int_equal(meet(&trust, "other.test", &good, why), MG_ETLS);
    assert_non_null(strstr(why, "ostname mismatch"));
    assert_int_equal(meet(&trust, "a.b.fleet.test", &good, why), MG_ETLS);
    assert_int_equal(meet(&trust, "127.0.0.2", &good, why), MG_ETLS);
    assert_non_null(strstr(why, "IP address mismatch"));
    assert_int_equal(meet(&trust, "redis.test.", &good, why), 0);
    assert_int_equal(meet(&trust, "::1%lo", &good, why), 0);
    assert_int_equal(meet(&trust, "[::1]", &good, why), 0);
    assert_int_equal(meet(&trust, "", &good, why), MG_ETLS);
    assert_string_equal(why, "there is no name that a certificate could have");
    assert_int_equal(meet(&trust, "redis.test", &late, why), MG_ETLS);
    assert_non_null(strstr(why, "certificate has expired"));
    assert_int_equal(meet(&trust, "redis.test", &strange, why), MG_ETLS);
    assert_non_null(strstr(why, "certificate verify failed: "));
    assert_int_equal(meet(&nobody, "redis.test", &good, why), MG_ETLS);
    assert_int_equal(meet(&system, "redis.test", &good, why), MG_ETLS);
    certificate_free(&good);
    certificate_free(&late);
    certificate_free(&strange);
}

/* What the server was told of the name it is called by, or "". */
static const char *name_sent(const char *name)
{
    static char sent[256];
    const struct mg_tls_options anybody = {.no_verify = true};
    struct certificate certificate;
    struct tls_server server;
    certificate_make(&certificate, &authority, "DNS:redis.test", HOUR_S);
    struct mg_tls_context *context = context_of(&anybody);
    struct mg_tls *client = mg_tls_client(context, mg_str_from(name));
    tls_server_open(&server, &certificate, NULL);
    assert_int_equal(shake_hands(client, &server, 1 << 20), 0);
    const char *found = SSL_get_servername(server.ssl, TLSEXT_NAMETYPE_host_name);
    snprintf(sent, sizeof sent, "%s", found ? found : "");
    tls_server_close(&server);
    mg_tls_free(client);
    mg_tls_context_free(context);
    certificate_free(&certificate);
    return sent;
}

static void host_names_are_sent_and_addresses_are_not(void **state)
{
    (void)state;
    assert_string_equal(name_sent("redis.test"), "redis.test");
    assert_string_equal(name_sent("redis.test."), "redis.test");
    assert_string_equal(name_sent("127.0.0.1"), "");
    assert_string_equal(name_sent("fe80::1%eth0"), "");
    assert_string_equal(name_sent(""), "");
}

/* A server that speaks one version alone. */
static int meet_version(int version, char *why)
{
    const struct mg_tls_options trust = {.ca = mg_str_from(authority.self.pem)};
    struct certificate certificate;
    struct tls_server server;
    certificate_make(&certificate, &authority, "DNS:redis.test", HOUR_S);
    struct mg_tls_context *context = context_of(&trust);
    struct mg_tls *client = mg_tls_client(context, MG_STR("redis.test"));
    tls_server_open(&server, &certificate, NULL);
    SSL_set_security_level(server.ssl, 0);
    assert_int_equal(SSL_set_cipher_list(server.ssl, "ALL:@SECLEVEL=0"), 1);
    assert_int_equal(SSL_set_min_proto_version(server.ssl, version), 1);
    assert_int_equal(SSL_set_max_proto_version(server.ssl, version), 1);
    const int err = shake_hands(client, &server, 1 << 20);
    snprintf(why, 192, "%s", mg_tls_error(client));
    tls_server_close(&server);
    mg_tls_free(client);
    mg_tls_context_free(context);
    certificate_free(&certificate);
    return err;
}

static void versions_below_1_2_are_refused(void **state)
{
    char why[192];
    (void)state;
    assert_int_equal(meet_version(TLS1_1_VERSION, why), MG_ETLS);
    assert_non_null(strstr(why, "protocol version"));
    assert_int_equal(meet_version(TLS1_2_VERSION, why), 0);
    assert_int_equal(meet_version(TLS1_3_VERSION, why), 0);
}

static void any_pieces_make_the_same_session(void **state)
{
    struct certificate certificate;
    const struct mg_tls_options trust = {.ca = mg_str_from(authority.self.pem)};
    char room[64];
    size_t got;
    (void)state;
    certificate_make(&certificate, &authority, "DNS:redis.test", HOUR_S);
    for (size_t piece = 1; piece <= 2048; piece *= 4) {
        struct mg_tls_context *context = context_of(&trust);
        struct mg_tls *client = mg_tls_client(context, MG_STR("redis.test"));
        struct tls_server server;
        mg_tls_context_free(context); /* the session lives on */
        tls_server_open(&server, &certificate, NULL);
        assert_int_equal(shake_hands(client, &server, piece), 0);
        assert_int_equal(mg_tls_write(client, MG_STR("hello")), 0);
        const mg_str output = mg_tls_output(client);
        assert_true(tls_server_take(&server, output));
        mg_tls_sent(client, output.len);
        assert_string_equal(tls_server_heard(&server), "hello");
        tls_server_say(&server, "good day");
        char wire[4096];
        const size_t length = tls_server_output(&server, wire, sizeof wire);
        for (size_t at = 0; at < length; at += piece) {
            mg_tls_feed(client, mg_str_slice(mg_str_make(wire, length), at, at + piece));
        }
        assert_int_equal(mg_tls_read(client, room, sizeof room, &got), 0);
        assert_int_equal(got, 8);
        assert_memory_equal(room, "good day", 8);
        assert_int_equal(mg_tls_read(client, room, sizeof room, &got), MG_EAGAIN);
        tls_server_close(&server);
        mg_tls_free(client);
    }
    certificate_free(&certificate);
}

static void our_certificate_is_shown_to_who_asks(void **state)
{
    struct certificate certificate, own;
    (void)state;
    certificate_make(&certificate, &authority, "DNS:redis.test", HOUR_S);
    certificate_make(&own, &stranger, "DNS:gateway.test", HOUR_S);
    const struct mg_tls_options trust = {.ca = mg_str_from(authority.self.pem),
                                         .cert = mg_str_from(own.pem),
                                         .key = mg_str_from(own.key_pem)};
    struct mg_tls_context *context = context_of(&trust);
    struct mg_tls *client = mg_tls_client(context, MG_STR("redis.test"));
    struct tls_server server;
    tls_server_open(&server, &certificate, &stranger);
    assert_int_equal(shake_hands(client, &server, 4096), 0);
    assert_true(tls_server_take(&server, MG_STR("")));
    tls_server_close(&server);
    mg_tls_free(client);
    mg_tls_context_free(context);
    certificate_free(&certificate);
    certificate_free(&own);
}

static void expect_refused(const struct mg_tls_options *options, const char *why)
{
    struct mg_tls_context *context;
    char message[128];
    assert_int_equal(mg_tls_context_new(&context, options, message, sizeof message), MG_EINVALID);
    assert_string_equal(message, why);
}

static void texts_that_are_no_pem_are_refused(void **state)
{
    const mg_str cert = mg_str_from(authority.self.pem), key = mg_str_from(authority.self.key_pem);
    const mg_str other = mg_str_from(stranger.self.key_pem);
    (void)state;
    expect_refused(&(struct mg_tls_options){.ca = MG_STR("x")},
                   "ca holds no certificate, or a broken one");
    expect_refused(&(struct mg_tls_options){.ca = key}, "ca holds no certificate, or a broken one");
    /* what is broken behind a good one is not passed over */
    char twice[16 * 1024];
    const int length = snprintf(twice, sizeof twice, "%s%.*s\n-----END CERTIFICATE-----\n",
                                authority.self.pem, 200, stranger.self.pem);
    expect_refused(&(struct mg_tls_options){.ca = mg_str_make(twice, (size_t)length)},
                   "ca holds no certificate, or a broken one");
    expect_refused(&(struct mg_tls_options){.cert = cert}, "cert and key belong together");
    expect_refused(&(struct mg_tls_options){.cert = key, .key = key},
                   "cert holds no certificate, or a broken one");
    expect_refused(&(struct mg_tls_options){.cert = cert, .key = other},
                   "key holds no private key, an encrypted one, or not that of cert");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_right_peer_is_trusted),
        cmocka_unit_test(host_names_are_sent_and_addresses_are_not),
        cmocka_unit_test(versions_below_1_2_are_refused),
        cmocka_unit_test(any_pieces_make_the_same_session),
        cmocka_unit_test(our_certificate_is_shown_to_who_asks),
        cmocka_unit_test(texts_that_are_no_pem_are_refused),
    };
    return cmocka_run_group_tests(tests, open_authorities, close_authorities);
}
