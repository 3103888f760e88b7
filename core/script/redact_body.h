/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets taken out of bodies, of which only the beginning may be there: forms and JSON. A value
 * whose end is not there is taken out to the end.
 *
 *     mg_redact_body(&redact, arena, MG_STR("{\"a\":1,\"token\":\"s3cr"));  // {"a":1,"token":"***"
 */
#pragma once

#include "script/redact.h"

/* text itself when nothing had to go; else in the arena. */
mg_str mg_redact_body(const struct mg_redact *redact, struct mg_arena *arena, mg_str text);
