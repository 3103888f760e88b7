/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Connection field: what both ends of one connection agree on (RFC 9110, 7.6.1). Its options
 * are few in any honest message, so their number has a limit.
 *
 *     struct mg_connection connection;
 *     int err = mg_connection_parse(&headers, &connection);
 *     if (!err && connection.close) ...
 */
#pragma once

#include "base/err.h"
#include "wire/headers.h"

#define MG_CONNECTION_OPTIONS 32

struct mg_connection {
    bool close, keep_alive, upgrade;
    uint32_t count;
    mg_str names[MG_CONNECTION_OPTIONS]; /* the other options: names of fields to remove */
};

/* Reads all Connection fields. MG_ESYNTAX: more than MG_CONNECTION_OPTIONS other options. The names
 * live as long as the fields' values. */
MG_NODISCARD int mg_connection_parse(const struct mg_headers *headers,
                                     struct mg_connection *connection);
/* Whether the options list the name. */
bool mg_connection_lists(const struct mg_connection *connection, mg_str name);
