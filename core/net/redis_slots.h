/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash slots of a cluster (redis.io, "Cluster specification"): which slot a key has, and which
 * server serves a slot, as CLUSTER SLOTS or a redirection says.
 *
 *     uint16_t slot = mg_redis_slot_of(MG_STR("mg:rl:{abc}:minute"));   // of "abc" alone
 *     int err = mg_redis_slots_read(slots, reply, MG_STR("10.0.0.1"));
 *     const struct mg_redis_address *server = mg_redis_slots_server(slots, slot);
 */
#pragma once

#include "net/redis_options.h"
#include "net/resp.h"

#define MG_REDIS_SLOTS 16384
#define MG_REDIS_MASTERS 1024 /* of a cluster, at most */

struct mg_redis_slots;

/* CRC16 (XMODEM) of the key, or of what stands between its first '{' and the next '}' unless that
 * is nothing. */
uint16_t mg_redis_slot_of(mg_str key);

struct mg_redis_slots *mg_redis_slots_new(void);
void mg_redis_slots_free(struct mg_redis_slots *slots);
/* Takes over the reply of CLUSTER SLOTS. asked: host of the server that sent it, which stands for
 * one that does not know its own address. MG_EBAD_RESPONSE: no such reply, or no slot is served;
 * then nothing has changed. */
MG_NODISCARD int mg_redis_slots_read(struct mg_redis_slots *slots,
                                     const struct mg_resp_reply *reply, mg_str asked);
/* The master of a slot, or NULL. Lives until the next change. */
const struct mg_redis_address *mg_redis_slots_server(const struct mg_redis_slots *slots,
                                                     uint16_t slot);
/* The masters, by number from 0 on, or NULL. */
const struct mg_redis_address *mg_redis_slots_master(const struct mg_redis_slots *slots,
                                                     uint32_t number);
/* Every slot has the same master. */
bool mg_redis_slots_equal(const struct mg_redis_slots *a, const struct mg_redis_slots *b);
/* A slot has moved there. */
void mg_redis_slots_move(struct mg_redis_slots *slots, uint16_t slot,
                         const struct mg_redis_address *server);
/* Reads "MOVED 3999 127.0.0.1:6381" or "ASK ...": the slot and the server, whose host is a view of
 * text, and empty when the sender means itself. MG_EBAD_RESPONSE. */
MG_NODISCARD int mg_redis_redirection(mg_str text, uint16_t *slot, struct mg_redis_address *server);
