/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for tests, made in memory: an authority, and what it signs.
 *
 *     struct authority authority;
 *     authority_open(&authority);                      // authority.pem
 *     struct certificate server;
 *     certificate_make(&server, &authority, "DNS:redis.test,IP:127.0.0.1", 3600);
 *     ...                                              // server.pem, server.key_pem
 *     certificate_free(&server); authority_close(&authority);
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

struct certificate {
    X509 *x509;
    EVP_PKEY *key;
    char *pem, *key_pem;
};

struct authority {
    struct certificate self;
};

void authority_open(struct authority *authority);
void authority_close(struct authority *authority);
/* names: value of subjectAltName. ends_s: when it ends, seconds from now; may be past. */
void certificate_make(struct certificate *certificate, struct authority *authority,
                      const char *names, long ends_s);
void certificate_free(struct certificate *certificate);
