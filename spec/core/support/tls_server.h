/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of a TLS session in tests: libssl's server between two memory BIOs.
 *
 *     struct tls_server server;
 *     tls_server_open(&server, &certificate, NULL);
 *     tls_server_take(&server, bytes);                // from the client
 *     ... tls_server_output(&server, room, size) ...  // for it
 */
#pragma once

#include "base/str.h"

#include "support/certificates.h"

#include <openssl/ssl.h>

struct tls_server {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out;
};

/* client_authority: clients must show a certificate of it; NULL: they need none. */
void tls_server_open(struct tls_server *server, const struct certificate *certificate,
                     const struct authority *client_authority);
void tls_server_close(struct tls_server *server);
/* Takes bytes and goes on with the handshake; true: it is done. */
bool tls_server_take(struct tls_server *server, mg_str bytes);
/* What is to be sent to the client: how many bytes. */
size_t tls_server_output(struct tls_server *server, char *room, size_t bytes);
/* Plain bytes. */
void tls_server_say(struct tls_server *server, const char *text);
/* Plain bytes that came, or "". */
const char *tls_server_heard(struct tls_server *server);
