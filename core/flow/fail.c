/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where an error becomes an answer, and where the outcome's word is chosen. */
#include "flow/exchange.h"

struct answer {
    uint16_t status;
    enum mg_outcome outcome;
};

/* What the client did wrong. */
static bool client_answer(int error, struct answer *out)
{
    switch (error) {
    case MG_ELINE_TOO_LONG:
        *out = (struct answer){414, MG_OUTCOME_TOO_LARGE};
        return true;
    case MG_EHEAD_TOO_LARGE:
        *out = (struct answer){431, MG_OUTCOME_TOO_LARGE};
        return true;
    case MG_EBODY_TOO_LARGE:
        *out = (struct answer){413, MG_OUTCOME_TOO_LARGE};
        return true;
    case MG_EVERSION:
        *out = (struct answer){505, MG_OUTCOME_BAD_REQUEST};
        return true;
    case MG_EMETHOD:
    case MG_ECODING:
        *out = (struct answer){501, MG_OUTCOME_BAD_REQUEST};
        return true;
    case MG_EHEAD_TIMEOUT:
        *out = (struct answer){408, MG_OUTCOME_HEADER_TIMEOUT};
        return true;
    case MG_EBODY_TIMEOUT:
        *out = (struct answer){408, MG_OUTCOME_BODY_TIMEOUT};
        return true;
    case MG_EEXPECT:
        *out = (struct answer){417, MG_OUTCOME_BAD_REQUEST};
        return true;
    case MG_ELOOP:
        *out = (struct answer){508, MG_OUTCOME_BAD_REQUEST};
        return true;
    case MG_ESYNTAX:
    case MG_EHOST:
    case MG_EFRAMING:
    case MG_ETARGET:
    case MG_ECHUNK:
    case MG_ETRAILER:
        *out = (struct answer){400, MG_OUTCOME_BAD_REQUEST};
        return true;
    default:
        return false;
    }
}

static struct answer timeout_answer(const struct mg_exchange *x)
{
    if (x->upstream.state == MG_UPSTREAM_DIALLING || !x->head_out) {
        return (struct answer){504, MG_OUTCOME_UPSTREAM_CONNECT_TIMEOUT};
    }
    const bool in_body = x->req.up_status != 0;
    return (struct answer){504, in_body ? MG_OUTCOME_UPSTREAM_BODY_TIMEOUT
                                        : MG_OUTCOME_UPSTREAM_TIMEOUT};
}

/* What the upstream did, or did not. */
static struct answer upstream_answer(const struct mg_exchange *x, int error)
{
    switch (error) {
    case MG_ENO_TARGET:
        return (struct answer){503, MG_OUTCOME_UPSTREAM_NO_TARGET};
    case MG_EFULL:
        return (struct answer){503, MG_OUTCOME_UPSTREAM_FULL};
    case MG_EDNS:
        return (struct answer){502, MG_OUTCOME_UPSTREAM_DNS};
    case MG_ETIMEOUT:
        return timeout_answer(x);
    case MG_EBAD_RESPONSE:
        return (struct answer){502, MG_OUTCOME_UPSTREAM_BAD_RESPONSE};
    case MG_ERESPONSE_TOO_LARGE:
        return (struct answer){502, MG_OUTCOME_UPSTREAM_TOO_LARGE};
    case MG_ESHORT_BODY:
        return (struct answer){502, MG_OUTCOME_UPSTREAM_BODY_RESET};
    case MG_ENO_MEMORY:
        return (struct answer){500, MG_OUTCOME_INTERNAL};
    default:
        break;
    }
    if (x->req.up_status != 0) {
        return (struct answer){502, MG_OUTCOME_UPSTREAM_BODY_RESET};
    }
    const bool connected = x->head_out;
    return (struct answer){502,
                           connected ? MG_OUTCOME_UPSTREAM_RESET : MG_OUTCOME_UPSTREAM_REFUSED};
}

static const char *message_of(uint16_t status)
{
    switch (status) { /* the sentences that Kong's clients expect */
    case 500:
        return "An unexpected error occurred";
    case 502:
        return "An invalid response was received from the upstream server";
    case 503:
        return "The upstream server is currently unavailable";
    case 504:
        return "The upstream server is timing out";
    default:
        return NULL;
    }
}

void mg_fail_with(struct mg_exchange *x, uint16_t status, enum mg_outcome outcome)
{
    struct mg_req *req = &x->req;
    if (x->state == MG_EXCHANGE_LOG) {
        return;
    }
    if (x->waiting) { /* told when the handler that runs has finished */
        x->doomed_status = status;
        x->doomed_outcome = outcome;
        mg_attempt_end(x);
        mg_exchange_body_lost(x, MG_ECLOSED);
        return;
    }
    req->outcome = outcome;
    mg_attempt_end(x);
    mg_respond_forget(x);
    if (!x->client) {
        mg_finish(x);
        return;
    }
    if (req->head_sent) { /* an answer that cannot be finished must not look finished */
        mg_client_cut(x->client);
        return;
    }
    if (x->answered_locally) { /* a filter of our own answer failed */
        x->phases &= MG_PHASE_BIT(MG_PHASE_LOG);
    } else if (x->filtered_part) { /* filters that collect must not add that to this answer */
        x->phases &= ~MG_PHASE_BIT(MG_PHASE_BODY_FILTER);
    }
    mg_buf_clear(&x->hold);
    req->want_whole_body = false;
    req->held = false;
    mg_req_problem(req, status, message_of(status));
    if (outcome == MG_OUTCOME_UPSTREAM_FULL) {
        mg_headers_set(&req->out, MG_STR("Retry-After"), MG_STR("1"));
    }
    mg_respond_local(x);
}

enum mg_outcome mg_fail_outcome(const struct mg_exchange *x, int error)
{
    struct answer answer;
    return client_answer(error, &answer) ? answer.outcome : upstream_answer(x, error).outcome;
}

void mg_fail(struct mg_exchange *x, int error)
{
    struct answer answer;
    if (client_answer(error, &answer)) {
        x->close = true;
        mg_stats_reject(x->server->parts.stats, error);
    } else {
        answer = upstream_answer(x, error);
    }
    mg_fail_with(x, answer.status, answer.outcome);
}
