/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS (1.2 and later) as a converter of bytes, without any I/O: the only file that knows libssl.
 * Clients only, up to now. The chain and the name of the peer are verified unless told otherwise.
 *
 *     struct mg_tls_context *context;
 *     int err = mg_tls_context_new(&context, &options, message, sizeof message);
 *     struct mg_tls *tls = mg_tls_client(context, MG_STR("redis.example.com"));
 *     err = mg_tls_handshake(tls);            // MG_EAGAIN: send what is there, feed what comes
 *     send(mg_tls_output(tls)); mg_tls_sent(tls, n);
 *     err = mg_tls_feed(tls, bytes_from_the_peer);
 *     err = mg_tls_write(tls, plain);         // becomes output
 *     err = mg_tls_read(tls, room, bytes, &got);
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

struct mg_tls_context; /* settings of many sessions */
struct mg_tls;         /* one session */

struct mg_tls_options {
    bool no_verify;
    /* PEM: who is trusted. Empty: the system's list, of which libssl reads the file of an issuer
     * when it first sees one. */
    mg_str ca;
    mg_str cert, key; /* PEM: our own, for peers that ask; empty: none */
};

/* The texts are copied. MG_EINVALID with a sentence in message: a text is no PEM, key and
 * certificate do not belong together. */
MG_NODISCARD int mg_tls_context_new(struct mg_tls_context **out,
                                    const struct mg_tls_options *options, char *message,
                                    size_t message_bytes);
void mg_tls_context_free(struct mg_tls_context *context);

/* name: of the peer, verified; a host name is sent too, an IP address is not. It lives on without
 * the context. About 30 KB while nothing is under way. */
struct mg_tls *mg_tls_client(struct mg_tls_context *context, mg_str name);
void mg_tls_free(struct mg_tls *tls);

/* 0: done; MG_EAGAIN: bytes of the peer are needed; MG_ETLS, see mg_tls_error. Either way there may
 * be output. */
MG_NODISCARD int mg_tls_handshake(struct mg_tls *tls);
/* What came from the socket; copied. */
void mg_tls_feed(struct mg_tls *tls, mg_str bytes);
/* Plain bytes: 0 and how many; MG_EAGAIN; MG_ECLOSED: the peer has ended in order; MG_ETLS. */
MG_NODISCARD int mg_tls_read(struct mg_tls *tls, char *room, size_t bytes, size_t *got);
/* Makes output of plain bytes, of all of them. After the handshake. MG_ETLS. */
MG_NODISCARD int mg_tls_write(struct mg_tls *tls, mg_str bytes);
/* Makes output of our orderly end (close_notify): nothing is written any more, reading goes on. A
 * session that is not yet up, or has failed, says nothing. */
void mg_tls_end(struct mg_tls *tls);
/* What is to be written to the socket; lives until the next call. */
mg_str mg_tls_output(const struct mg_tls *tls);
void mg_tls_sent(struct mg_tls *tls, size_t bytes);
/* Why it failed: "certificate verify failed: self-signed certificate". Lives as long as tls. */
const char *mg_tls_error(const struct mg_tls *tls);
