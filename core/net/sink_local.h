/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks on this host: standard output, standard error, files. */
#pragma once

#include "net/sink_base.h"

extern const struct mg_sink_type mg_sink_local;
