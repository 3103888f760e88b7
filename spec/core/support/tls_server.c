/* SPDX-License-Identifier: Apache-2.0 */
/* A TLS server without sockets. */
#include "support/tls_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

void tls_server_open(struct tls_server *server, const struct certificate *certificate,
                     const struct authority *client_authority)
{
    server->context = SSL_CTX_new(TLS_server_method());
    assert_non_null(server->context);
    assert_int_equal(SSL_CTX_use_certificate(server->context, certificate->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(server->context, certificate->key), 1);
    if (client_authority) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(server->context), client_authority->self.x509);
        SSL_CTX_set_verify(server->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                           NULL);
    }
    server->ssl = SSL_new(server->context);
    server->in = BIO_new(BIO_s_mem());
    server->out = BIO_new(BIO_s_mem());
    SSL_set_bio(server->ssl, server->in, server->out);
    SSL_set_accept_state(server->ssl);
}

void tls_server_close(struct tls_server *server)
{
    SSL_free(server->ssl);
    SSL_CTX_free(server->context);
}

bool tls_server_take(struct tls_server *server, mg_str bytes)
{
    if (bytes.len > 0) {
        assert_int_equal(BIO_write(server->in, bytes.ptr, (int)bytes.len), (int)bytes.len);
    }
    return SSL_is_init_finished(server->ssl) || SSL_do_handshake(server->ssl) == 1;
}

size_t tls_server_output(struct tls_server *server, char *room, size_t bytes)
{
    const int got = BIO_read(server->out, room, (int)bytes);
    return got > 0 ? (size_t)got : 0;
}

void tls_server_say(struct tls_server *server, const char *text)
{
    assert_int_equal(SSL_write(server->ssl, text, (int)strlen(text)), (int)strlen(text));
}

const char *tls_server_heard(struct tls_server *server)
{
    static char text[4096];
    const int got = SSL_read(server->ssl, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    return text;
}
