/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS on a stream that is connected: after the handshake the stream reads and writes plain bytes,
 * and its owner sees no other difference.
 *
 *     mg_tls_stream_start(io, mg_tls_client(context, name), on_secure, self);
 *     // on_secure: 0, then mg_io_write as ever; or an error, then the owner closes
 */
#pragma once

#include "net/io.h"
#include "net/tls.h"

/* 0: the handshake is done, and the peer is who it should be; MG_ETLS with a sentence; MG_ECLOSED
 * or a libuv code when the connection ended before. */
typedef void mg_tls_stream_fn(void *context, int status, const char *text);

/* Takes tls, and reads from now on. fn fires once, later, unless the stream is closed before; until
 * then mg_io_write fails with UV_ENOTCONN. The stream's handler sees no end that fn was told of.
 *
 * Ends: MG_ECLOSED is the peer's close_notify; a connection that ends without it is
 * UV_ECONNRESET, since the end may be forged. mg_io_shutdown sends our close_notify and FIN, and
 * reading goes on; mg_io_close sends it as far as the kernel takes it at once. */
void mg_tls_stream_start(struct mg_io *io, struct mg_tls *tls, mg_tls_stream_fn *fn, void *context);
/* Why a stream ended with MG_ETLS; "" for one without TLS. Lives as long as io. */
const char *mg_tls_stream_error(const struct mg_io *io);
