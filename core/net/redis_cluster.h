/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topology `cluster`: several masters, each with some of the hash slots. The map of slots is asked
 * for when the first server answers, and again (at most once a second) after MOVED and while a
 * master has no connection. Redirections of single commands are followed from what they say. While
 * the breaker is open, for two seconds, a change of the map leads to an early probe.
 */
#pragma once

#include "net/redis_instance.h"

extern const struct mg_redis_ops mg_redis_cluster_ops;

/* The slot of a command by the word that is its key (-1: it has none, any server will do). */
int32_t mg_redis_cluster_slot(const mg_str *words, uint32_t count);
