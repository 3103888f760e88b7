/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an accepted configuration to a gateway that may fork its workers: error log, user, shared
 * memory, listeners. What fails is said in one sentence on stderr, and nothing is left behind.
 */
#pragma once

#include "master_state.h"

/* Raises the soft limit of open files to the hard one. */
void mg_master_raise_files(void);
/* Room for C functions that call each other through Lua; before the workers are forked. */
void mg_master_raise_stack(void);
/* master->bundle is there. 0, or the exit code: 78 for what only another configuration mends, 1 for
 * what the machine refuses. */
int mg_master_start(struct mg_master *master);
/* Removes what mg_master_start made; safe when it failed or was not called. */
void mg_master_end(struct mg_master *master);
