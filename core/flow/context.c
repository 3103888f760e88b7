/* SPDX-License-Identifier: Apache-2.0 */
/* When is a draining worker done? */
#include "flow/context.h"

void mg_server_check_drained(struct mg_server *server)
{
    if (!server->draining || server->client_count > 0 || server->exchanges_active > 0) {
        return;
    }
    void (*on_drained)(void *) = server->on_drained;
    server->on_drained = NULL;
    if (on_drained) {
        on_drained(server->context);
    }
}
