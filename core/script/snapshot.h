/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the checked snapshot of lua/moongate/config (its head comment has the form) to struct
 * mg_config, router included. What the Lua side has checked is trusted; a table of another form is
 * a bug and gives an error, never a crash.
 *
 *     struct mg_config *config = mg_config_new();
 *     int err = mg_snapshot_build(L, -1, config, message, sizeof message);
 *     ...
 *     mg_config_free(config);          // after an error, too: it frees what was built so far
 */
#pragma once

#include "model/config.h"

struct lua_State;

/* Fills an empty configuration from the table at the stack index; generation and digest are the
 * caller's. Everything is copied: the table may go. The stack stays as it is. MG_EINVALID with a
 * sentence (a bad regex), MG_ELUA with one (a table of another form, Lua out of memory). */
MG_NODISCARD int mg_snapshot_build(struct lua_State *L, int index, struct mg_config *config,
                                   char *message, size_t message_bytes);
