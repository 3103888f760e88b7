/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A short way for heads of which there can be no two opinions, which are nearly all: a start line
 * and fields of the simplest form are cut here, everything else is left to llhttp (wire/http1).
 * What this way takes, llhttp takes too, with the same slices; the fuzz targets of requests and
 * answers hold each head against both.
 *
 *     if (!mg_http1_is_plain_target(target) || !mg_http1_cut_plain(fields, &headers)) {
 *         // ask llhttp, which may take the head or refuse it
 *     }
 */
#pragma once

#include "wire/headers.h"

/* A path, perhaps with a query, of bytes that need no encoding there (RFC 3986, 3.3 and 3.4). */
bool mg_http1_is_plain_target(mg_str target);

/* fields: from behind the start line to the end of the head, with the empty line. The headers must
 * be empty; where the answer is false they hold a part of the fields. Plain is NAME ":" VALUE CR LF
 * without tabs and other controls, and no field that decides where the message ends, apart from
 * one Content-Length of digits and a Connection that is keep-alive or close. */
bool mg_http1_cut_plain(mg_str fields, struct mg_headers *headers);
