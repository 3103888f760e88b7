/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long each plugin took of a request, waits included, the log phase excluded: the parts of
 * t.plugins. Only in generations of which an access log shows it (lua/moongate/runtime/chain.lua):
 * there the functions of chains say whose turn it is by one more call.
 *
 *     mg_ffi_took(req, 3);      // the turn 3 begins, and the one before is over
 *     mg_took_end(req, now_us); // the chain is over
 *     mg_took_of(req, 3, &us);
 */
#pragma once

#include "model/req.h"

/* Of the plugin to which the turn belongs, over all its turns; false where it did not run, and for
 * all its turns but the first. */
bool mg_took_of(const struct mg_req *req, uint32_t turn, uint64_t *us);
void mg_took_close(struct mg_req *req, uint64_t now_us);

static inline void mg_took_end(struct mg_req *req, uint64_t now_us)
{
    if (__builtin_expect(req->took != NULL, 0)) {
        mg_took_close(req, now_us);
    }
}
