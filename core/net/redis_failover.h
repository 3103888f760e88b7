/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topology `sentinel`: one master, which may be another one tomorrow. The sentinels are asked all
 * the time; a lost master, READONLY, and an open breaker make that faster. A new master is used as
 * soon as it is named and says itself that it is one; the old one may still answer what it was
 * sent.
 */
#pragma once

#include "net/redis_instance.h"

extern const struct mg_redis_ops mg_redis_failover_ops;
