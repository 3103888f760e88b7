/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates made with libcrypto. */
#include "support/certificates.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STARTED_S (-7200) /* certificates begin two hours ago */

static long serial;

static char *text_of(BIO *bio)
{
    char *bytes;
    const long length = BIO_get_mem_data(bio, &bytes);
    char *text = strndup(bytes, (size_t)length);
    assert_non_null(text);
    BIO_free(bio);
    return text;
}

static void add_extension(X509 *x509, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(x509, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void begin(struct certificate *certificate, const char *name, long ends_s)
{
    certificate->key = EVP_EC_gen("P-256");
    certificate->x509 = X509_new();
    assert_non_null(certificate->key);
    assert_non_null(certificate->x509);
    X509 *x509 = certificate->x509;
    assert_int_equal(X509_set_version(x509, 2), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x509), STARTED_S);
    X509_gmtime_adj(X509_getm_notAfter(x509), ends_s);
    X509_set_pubkey(x509, certificate->key);
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
}

static void end(struct certificate *certificate, struct certificate *issuer)
{
    X509_set_issuer_name(certificate->x509, X509_get_subject_name(issuer->x509));
    assert_true(X509_sign(certificate->x509, issuer->key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, certificate->x509), 1);
    certificate->pem = text_of(bio);
    bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, certificate->key, NULL, NULL, 0, NULL, NULL), 1);
    certificate->key_pem = text_of(bio);
}

void authority_open(struct authority *authority)
{
    struct certificate *self = &authority->self;
    begin(self, "Test authority", 3600);
    add_extension(self->x509, self->x509, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(self->x509, self->x509, NID_key_usage, "critical,keyCertSign,cRLSign");
    end(self, self);
}

void authority_close(struct authority *authority)
{
    certificate_free(&authority->self);
}

void certificate_make(struct certificate *certificate, struct authority *authority,
                      const char *names, long ends_s)
{
    begin(certificate, "Test certificate", ends_s);
    add_extension(certificate->x509, authority->self.x509, NID_subject_alt_name, names);
    end(certificate, &authority->self);
}

void certificate_free(struct certificate *certificate)
{
    X509_free(certificate->x509);
    EVP_PKEY_free(certificate->key);
    free(certificate->pem);
    free(certificate->key_pem);
}
