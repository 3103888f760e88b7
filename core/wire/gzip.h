/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip (RFC 1952) by zlib, for batches that are sent whole.
 *
 *     struct mg_buf out;
 *     mg_buf_init(&out, 1 << 20);
 *     int err = mg_gzip(&out, batch);
 */
#pragma once

#include "base/buf.h"

/* Appends bytes as one gzip member, packed fast rather than small: about 10 ms a MiB.
 * MG_ENO_MEMORY: over the cap of out, which is then as it was. */
MG_NODISCARD int mg_gzip(struct mg_buf *out, mg_str bytes);
