/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serialises heads anew from the parsed model (re-emit, never copy) into an output buffer, and
 * chunk framing. The writer checks names and values once more: a field with a forbidden byte is
 * left out.
 */
#pragma once

#include "base/buf.h"
#include "wire/http1.h"

struct mg_write_framing {
    enum mg_framing kind; /* CLOSE: no length field is written */
    uint64_t length;
    bool omit; /* write no length field at all (answers to HEAD without one, 1xx, 204, 304) */
};

struct mg_write_request {
    mg_str method, path, query; /* path is canonical */
    bool has_query;
    mg_str host; /* value of the Host field */
    /* Host, Content-Length, Transfer-Encoding, Connection are skipped */
    const struct mg_headers *headers;
    struct mg_write_framing framing;
    bool close;     /* "Connection: close" */
    mg_str upgrade; /* not empty: "Connection: upgrade" and "Upgrade: value" */
};

/* With framing NONE only POST, PUT and PATCH get "Content-Length: 0" (RFC 9110, 8.6). On an error
 * nothing is written. MG_ENO_MEMORY: over the buffer's cap. MG_EINVALID: a forbidden byte in
 * method, path, query, host or upgrade, or an empty path. */
MG_NODISCARD int mg_write_request_head(struct mg_buf *out, const struct mg_write_request *request);

struct mg_write_response {
    uint16_t status;
    /* Content-Length, Transfer-Encoding, Connection are skipped */
    const struct mg_headers *headers;
    struct mg_write_framing framing;
    bool close;
    bool keep_alive; /* "Connection: keep-alive", for HTTP/1.0 clients that asked */
    mg_str upgrade;
    mg_str date;   /* written unless the table has Date; empty = none */
    mg_str server; /* written unless the table has Server; empty = none */
    mg_str via;    /* whole value of a Via field to append; empty = none */
};

/* The reason phrase is our own. With framing NONE "Content-Length: 0" is written; 1xx and 204 never
 * get a length or coding. On an error nothing is written. MG_ENO_MEMORY: over the buffer's cap.
 * MG_EINVALID: a status outside 100-999, a forbidden byte in upgrade. */
MG_NODISCARD int mg_write_response_head(struct mg_buf *out,
                                        const struct mg_write_response *response);

/* "Not Found"; "" for a status without a registered phrase. Static. */
const char *mg_status_reason(uint16_t status);

/* Chunk-size line for a chunk of bytes > 0: writes at most 20 bytes to place, returns how many. */
size_t mg_write_chunk_head(char place[20], uint64_t bytes);
#define MG_CHUNK_END MG_STR("\r\n")
#define MG_CHUNK_LAST MG_STR("0\r\n\r\n")
