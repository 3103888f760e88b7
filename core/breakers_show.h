/* SPDX-License-Identifier: Apache-2.0 */
/* What `moongate breaker` shows of a breaker: a line with its history's last change, or JSON. */
#pragma once

#include "base/buf.h"
#include "json_out.h"
#include "model/breaker_view.h"

#define MG_BREAKERS_FORMAT 1 /* raised when a field of the JSON changes its meaning or goes */

/* Two lines for people. */
void mg_breakers_show_text(const struct mg_breaker_view *view, int64_t now_ms, struct mg_buf *out);
/* One object. */
void mg_breakers_show_json(const struct mg_breaker_view *view, struct mg_json_out *json);
