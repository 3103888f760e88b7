/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of libssl between two memory BIOs. */
#include "net/tls.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_BYTES 254  /* of a host name, NUL included */
#define KEPT_BYTES 4096 /* of a buffer that is empty */

struct mg_tls_context {
    SSL_CTX *ssl;
};

struct mg_tls {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    bool has_no_name;
    char error[192]; /* set: the session is over */
};

/* --- settings --------------------------------------------------------------------------------- */

static BIO *bio_of(mg_str text)
{
    BIO *bio = BIO_new_mem_buf(text.ptr, (int)text.len);
    mg_require(bio != NULL);
    return bio;
}

/* Nobody is asked for the password of an encrypted key. */
static int no_password(char *room, int size, int writing, void *context)
{
    (void)room;
    (void)size;
    (void)writing;
    (void)context;
    return 0;
}

/* The certificates of a text were read until there was no more, rather than until one that is
 * broken. */
static bool at_the_end(void)
{
    const unsigned long last = ERR_peek_last_error();
    ERR_clear_error();
    return ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
}

static bool add_ca(SSL_CTX *ssl, mg_str text)
{
    BIO *bio = bio_of(text);
    X509 *certificate;
    int count = 0;
    bool added = true;
    while (added && (certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
        added = X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), certificate) == 1;
        count += added;
        X509_free(certificate);
    }
    BIO_free(bio);
    return added && count > 0 && at_the_end();
}

/* The certificate, and those that lead from it to one that the peer knows. */
static bool use_cert(SSL_CTX *ssl, mg_str text)
{
    BIO *bio = bio_of(text);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    bool used = certificate && SSL_CTX_use_certificate(ssl, certificate) == 1;
    X509_free(certificate);
    while (used && (certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
        used = SSL_CTX_add1_chain_cert(ssl, certificate) == 1;
        X509_free(certificate);
    }
    BIO_free(bio);
    return used && at_the_end();
}

static bool use_key(SSL_CTX *ssl, mg_str text)
{
    BIO *bio = bio_of(text);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    const bool used = key && SSL_CTX_use_PrivateKey(ssl, key) == 1;
    EVP_PKEY_free(key);
    BIO_free(bio);
    return used;
}

static bool trust(SSL_CTX *ssl, const struct mg_tls_options *options)
{
    if (options->no_verify && options->ca.len == 0) {
        return true;
    }
    return options->ca.len > 0 ? add_ca(ssl, options->ca)
                               : SSL_CTX_set_default_verify_paths(ssl) == 1;
}

/* What is wrong, or NULL. */
static const char *apply(SSL_CTX *ssl, const struct mg_tls_options *options)
{
    if (!trust(ssl, options)) {
        return "ca holds no certificate, or a broken one";
    }
    if ((options->cert.len > 0) != (options->key.len > 0)) {
        return "cert and key belong together";
    }
    if (options->cert.len > 0 && !use_cert(ssl, options->cert)) {
        return "cert holds no certificate, or a broken one";
    }
    if (options->key.len > 0 && !use_key(ssl, options->key)) {
        return "key holds no private key, an encrypted one, or not that of cert";
    }
    return NULL;
}

int mg_tls_context_new(struct mg_tls_context **out, const struct mg_tls_options *options,
                       char *message, size_t message_bytes)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
    mg_require(ssl != NULL);
    mg_require(SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS); /* an idle session holds none */
    SSL_CTX_set_verify(ssl, options->no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    ERR_clear_error();
    const char *wrong = apply(ssl, options);
    ERR_clear_error();
    *out = NULL;
    if (wrong) {
        snprintf(message, message_bytes, "%s", wrong);
        SSL_CTX_free(ssl);
        return MG_EINVALID;
    }
    *out = malloc(sizeof **out);
    mg_require(*out != NULL);
    (*out)->ssl = ssl;
    return 0;
}

void mg_tls_context_free(struct mg_tls_context *context)
{
    if (context) {
        SSL_CTX_free(context->ssl); /* sessions hold it too */
        free(context);
    }
}

/* --- a session -------------------------------------------------------------------------------- */

static bool is_address(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* The name as certificates have it: an address without brackets and zone, a host without the last
 * dot. false: it can be no name. */
static bool clean_name(mg_str name, char text[NAME_BYTES])
{
    if (name.len > 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
        name = mg_str_slice(name, 1, name.len - 1);
    }
    const ptrdiff_t zone = mg_str_find(name, '%', 0);
    if (zone >= 0) {
        name.len = (size_t)zone;
    }
    if (name.len > 0 && name.ptr[name.len - 1] == '.') {
        name.len--;
    }
    if (name.len == 0 || name.len >= NAME_BYTES || memchr(name.ptr, '\0', name.len)) {
        return false;
    }
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return true;
}

/* Addresses are verified and not sent (RFC 6066, 3). */
static void expect_name(struct mg_tls *tls, mg_str name)
{
    char text[NAME_BYTES];
    if (!clean_name(name, text)) {
        tls->has_no_name = SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE;
    } else if (is_address(text)) {
        mg_require(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), text) == 1);
    } else {
        SSL_set_hostflags(tls->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        tls->has_no_name =
            SSL_set1_host(tls->ssl, text) != 1 || SSL_set_tlsext_host_name(tls->ssl, text) != 1;
    }
}

struct mg_tls *mg_tls_client(struct mg_tls_context *context, mg_str name)
{
    struct mg_tls *tls = calloc(1, sizeof *tls);
    mg_require(tls != NULL);
    tls->ssl = SSL_new(context->ssl);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    mg_require(tls->ssl && tls->in && tls->out);
    BIO_set_mem_eof_return(tls->in, -1); /* empty is not the end */
    BIO_set_mem_eof_return(tls->out, -1);
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_connect_state(tls->ssl);
    expect_name(tls, name);
    return tls;
}

void mg_tls_free(struct mg_tls *tls)
{
    if (tls) {
        SSL_free(tls->ssl);
        free(tls);
    }
}

static void set_error(struct mg_tls *tls)
{
    const unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    const long verified = SSL_get_verify_result(tls->ssl);
    if (tls->error[0]) {
        return;
    }
    if (verified != X509_V_OK && SSL_get_verify_mode(tls->ssl) != SSL_VERIFY_NONE) {
        snprintf(tls->error, sizeof tls->error, "certificate verify failed: %s",
                 X509_verify_cert_error_string(verified));
    } else if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
               ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER) {
        snprintf(tls->error, sizeof tls->error, "the peer does not speak TLS");
    } else {
        snprintf(tls->error, sizeof tls->error, "%s", reason ? reason : "the peer broke TLS off");
    }
}

/* What libssl's answer means. */
static int result_of(struct mg_tls *tls, int answer)
{
    const int error = SSL_get_error(tls->ssl, answer);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return MG_EAGAIN;
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        return MG_ECLOSED;
    }
    set_error(tls);
    ERR_clear_error();
    return MG_ETLS;
}

int mg_tls_handshake(struct mg_tls *tls)
{
    if (tls->has_no_name) {
        snprintf(tls->error, sizeof tls->error, "there is no name that a certificate could have");
        return MG_ETLS;
    }
    ERR_clear_error();
    const int answer = SSL_do_handshake(tls->ssl);
    return answer == 1 ? 0 : result_of(tls, answer);
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* An idle session keeps no large buffer. */
static void shrink(BIO *bio)
{
    BUF_MEM *memory;
    if (BIO_pending(bio) == 0 && BIO_get_mem_ptr(bio, &memory) == 1 && memory->max > KEPT_BYTES) {
        memory = BUF_MEM_new();
        mg_require(memory != NULL && BIO_set_mem_buf(bio, memory, BIO_CLOSE) == 1);
        BIO_set_mem_eof_return(bio, -1);
    }
}

void mg_tls_feed(struct mg_tls *tls, mg_str bytes)
{
    if (bytes.len > 0) {
        mg_require(bytes.len <= INT_MAX);
        mg_require(BIO_write(tls->in, bytes.ptr, (int)bytes.len) == (int)bytes.len);
    }
}

int mg_tls_read(struct mg_tls *tls, char *room, size_t bytes, size_t *got)
{
    *got = 0;
    if (tls->error[0]) {
        return MG_ETLS;
    }
    ERR_clear_error();
    const int answer = SSL_read_ex(tls->ssl, room, bytes, got);
    if (answer == 1) {
        return 0;
    }
    shrink(tls->in);
    return result_of(tls, answer);
}

int mg_tls_write(struct mg_tls *tls, mg_str bytes)
{
    size_t written = 0;
    if (tls->error[0]) {
        return MG_ETLS;
    }
    if (bytes.len == 0) {
        return 0;
    }
    ERR_clear_error();
    const int answer = SSL_write_ex(tls->ssl, bytes.ptr, bytes.len, &written);
    if (answer == 1) {
        return 0;
    }
    /* A memory BIO takes all, and new handshakes are refused: there is nothing to wait for. */
    if (result_of(tls, answer) != MG_ETLS) {
        snprintf(tls->error, sizeof tls->error, "a write would have to wait for the peer");
    }
    return MG_ETLS;
}

void mg_tls_end(struct mg_tls *tls)
{
    if (!tls->error[0] && SSL_is_init_finished(tls->ssl) &&
        !(SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN)) {
        ERR_clear_error();
        (void)SSL_shutdown(tls->ssl);
        ERR_clear_error();
    }
}

mg_str mg_tls_output(const struct mg_tls *tls)
{
    char *bytes = NULL;
    const long length = BIO_get_mem_data(tls->out, &bytes);
    return mg_str_make(bytes, length > 0 ? (size_t)length : 0);
}

void mg_tls_sent(struct mg_tls *tls, size_t bytes)
{
    char scrap[4096];
    if (bytes > 0 && bytes == BIO_ctrl_pending(tls->out)) {
        mg_require(BIO_reset(tls->out) == 1);
        bytes = 0;
    }
    while (bytes > 0) {
        const int piece = bytes < sizeof scrap ? (int)bytes : (int)sizeof scrap;
        const int taken = BIO_read(tls->out, scrap, piece);
        mg_require(taken > 0);
        bytes -= (size_t)taken;
    }
    shrink(tls->out);
}

const char *mg_tls_error(const struct mg_tls *tls)
{
    return tls->error;
}
