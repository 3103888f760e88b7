/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks that send batches of lines in HTTP requests, one at a time. */
#pragma once

#include "net/sink_base.h"

extern const struct mg_sink_type mg_sink_http;
