/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of upstreams, from the section `gateway:` and from their entities, for
 * script/snapshot*.c. */
#pragma once

#include "script/snapshot_read.h"

/* Fills config->gateway.upstream_defaults: upstreams.defaults, and retry. at: the section. */
void mg_snapshot_upstream_defaults(struct mg_snapshot_reader *reader, int at);

/* Settings of the upstream or service host called name: upstreams.settings.NAME over the defaults.
 * at: the section. */
struct mg_upstream_settings mg_snapshot_upstream_settings(struct mg_snapshot_reader *reader, int at,
                                                          mg_str name);

/* What the field `healthchecks` of an upstream's entity says. */
void mg_snapshot_health(struct mg_snapshot_reader *reader, int at,
                        struct mg_upstream_config *upstream);
