/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads on their way through the gateway, for the targets of requests and of answers: read, judged,
 * cleaned, written, and read back as the other side does. What comes back must be what was decided.
 *
 *     struct message_request request;
 *     if (message_read_request(&arena, head, &request) == 0)
 *         message_pass_request(&arena, &request, &trust);
 */
#pragma once

#include "wire/rules.h"

struct message_request {
    struct mg_request_head head;
    struct mg_uri uri;
    struct mg_host host;
};

/* head: one complete head. Also requires that each line of it became a well-formed field. */
int message_read_request(struct mg_arena *arena, mg_str head, struct message_request *request);
/* Sends it to an origin that reads it. */
void message_pass_request(struct mg_arena *arena, struct message_request *request,
                          const struct mg_rules_trust *trust);

/* asked: method of the request that it answers. */
int message_read_response(struct mg_arena *arena, mg_str head, enum mg_method asked,
                          struct mg_response_head *response);
/* Sends an answer that was judged to a client that reads it. */
void message_pass_response(struct mg_response_head *response, enum mg_method asked);
