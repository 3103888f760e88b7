/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a reload changes, in a few words, from two bundles: entities by the checker's summary (lines
 * "KIND NAME DIGEST"), Lua files by their text.
 *
 *     1 route added, 2 routes changed, plugin file plugins/tenant.lua changed
 */
#pragma once

#include "base/buf.h"
#include "script/bundle.h"

/* Appends one line with its line end; "nothing has changed" when that is so. */
void mg_difference_describe(const struct mg_bundle *before, const struct mg_bundle *after,
                            struct mg_buf *out);
