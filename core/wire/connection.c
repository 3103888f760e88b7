/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the Connection field. */
#include "wire/connection.h"

/* One option: a flag of ours, or a name to keep. */
static int take_option(struct mg_connection *connection, mg_str option)
{
    if (mg_str_iequal(option, MG_STR("keep-alive"))) {
        connection->keep_alive = true;
    } else if (mg_str_iequal(option, MG_STR("close"))) {
        connection->close = true;
    } else if (mg_str_iequal(option, MG_STR("upgrade"))) {
        connection->upgrade = true;
    } else if (connection->count < MG_CONNECTION_OPTIONS) {
        connection->names[connection->count++] = option;
    } else {
        return MG_ESYNTAX;
    }
    return 0;
}

int mg_connection_parse(const struct mg_headers *headers, struct mg_connection *connection)
{
    connection->close = connection->keep_alive = connection->upgrade = false;
    connection->count = 0;
    if (!mg_headers_has(headers, MG_HEADER_CONNECTION)) {
        return 0;
    }
    for (uint32_t i = 0; i < headers->count; i++) {
        if (headers->items[i].id != MG_HEADER_CONNECTION) {
            continue;
        }
        mg_str rest = headers->items[i].value, option;
        while (mg_str_next_element(&rest, &option)) {
            const int err = take_option(connection, option);
            if (err) {
                return err;
            }
        }
    }
    return 0;
}

bool mg_connection_lists(const struct mg_connection *connection, mg_str name)
{
    for (uint32_t i = 0; i < connection->count; i++) {
        if (mg_str_iequal(connection->names[i], name)) {
            return true;
        }
    }
    return false;
}
