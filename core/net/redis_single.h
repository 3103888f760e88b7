/* SPDX-License-Identifier: Apache-2.0 */
/* Topology `single`: one server, always the same. */
#pragma once

#include "net/redis_instance.h"

extern const struct mg_redis_ops mg_redis_single_ops;
