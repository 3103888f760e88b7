/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision over a ban and several limits as one step: all their cells are locked, all are
 * looked at, and only then are all charged, or none. Nothing in between allocates, waits or calls
 * the system.
 */
#include "base/shm.h"
#include "model/limit.h"

#include <string.h>

#define BAN_PLACE 0 /* in a decision with a ban */

/* One limit under decision. */
struct trial {
    const struct mg_limit_ask *ask;
    struct mg_limit_rule rule; /* of the request, in the cell it is decided in */
    struct mg_limit_view view;
    struct mg_cell_place *place;
    struct mg_cell_place *former; /* NULL: the limit was not edited */
    uint32_t hold;
    bool impossible; /* no record, or no room in the ledger */
    bool charged;
};

/* All of a decision. */
struct decision {
    struct mg_shm *shm;
    const struct mg_limit_request *request;
    struct trial trials[MG_LIMITS_AT_ONCE];
    struct mg_cell_ask asks[MG_CELLS_AT_ONCE];
    struct mg_cell_place places[MG_CELLS_AT_ONCE];
    unsigned places_count;
    struct mg_cell_place *ban; /* NULL: none */
    struct mg_ban_state ban_state;
};

/* --- before the locks ----------------------------------------------------------------------- */

static struct mg_cell_place *ask_cell(struct decision *decision, struct mg_cell_key key,
                                      uint32_t record)
{
    const unsigned at = decision->places_count++;
    decision->asks[at] =
        (struct mg_cell_ask){.key = key, .record = record, .network = decision->request->network};
    return &decision->places[at];
}

/* What may take other locks, or fail. */
static void prepare(struct decision *decision, struct trial *trial)
{
    const struct mg_limit_request *request = decision->request;
    struct mg_limit *limit = trial->ask->limit;
    trial->impossible = !mg_limit_renew(decision->shm, limit, request->now_ms);
    if (limit->rule.algorithm == MG_LIMIT_CONCURRENCY && !trial->impossible &&
        trial->ask->cost > 0) {
        trial->hold = mg_hold_take(decision->shm, request->worker, (uint32_t)trial->ask->cost);
        trial->impossible = trial->hold == 0;
    }
    trial->place = ask_cell(decision, trial->ask->key, limit->record);
    if (trial->ask->former_key.hash[0] != 0) {
        trial->former = ask_cell(decision, trial->ask->former_key, limit->former.record);
        decision->asks[decision->places_count - 1].peek = true;
    }
}

static void begin(struct decision *decision)
{
    const struct mg_limit_request *request = decision->request;
    const struct mg_limit_ban *ban = request->ban;
    mg_require(request->count >= 1 && request->count <= MG_LIMITS_AT_ONCE);
    if (ban && mg_limit_record_is(decision->shm, ban->record, ban->id)) {
        decision->ban = ask_cell(decision, request->ban_key, ban->record);
        decision->asks[BAN_PLACE].own_or_none = true;
    }
    for (unsigned i = 0; i < request->count; i++) {
        decision->trials[i] = (struct trial){.ask = &request->asks[i]};
        prepare(decision, &decision->trials[i]);
    }
    mg_cells_lock(decision->shm, decision->asks, decision->places_count, request->now_ms,
                  decision->places);
}

/* --- under the locks ------------------------------------------------------------------------ */

/* What a key's first use in an edited limit begins with. */
static void seed(const struct mg_limit_request *request, struct trial *trial, int64_t *state)
{
    const struct mg_limit_rule *before = &trial->ask->limit->former.rule;
    struct mg_limit_view view;
    mg_limit_look(&trial->rule, NULL, request->now_ms, 0, &view);
    memcpy(state, view.state, sizeof view.state);
    mg_limit_add_up_to_full(&trial->rule, state, request->now_ms,
                            mg_limit_used(before, trial->former->cell->state, request->now_ms));
}

static bool has_former(const struct trial *trial)
{
    return trial->former && trial->former->cell && !trial->former->fresh &&
           !trial->former->overflow;
}

static void look(const struct mg_limit_request *request, struct trial *trial)
{
    const struct mg_limit_ask *ask = trial->ask;
    const struct mg_limit_rule *rule = &ask->limit->rule;
    trial->rule = ask->has_quota ? mg_limit_rule_with(rule, ask->quota) : *rule;
    if (trial->place->overflow) {
        trial->rule.quota *= MG_LIMIT_OVERFLOW_FACTOR;
        trial->rule.burst *= MG_LIMIT_OVERFLOW_FACTOR;
    }
    int64_t seeded[4];
    const int64_t *state = trial->place->fresh ? NULL : trial->place->cell->state;
    if (!state && has_former(trial)) {
        seed(request, trial, seeded);
        state = seeded;
    }
    mg_limit_look(&trial->rule, state, request->now_ms, ask->cost, &trial->view);
    if (trial->impossible) {
        trial->view.ok = false;
        trial->view.retry_ms = MG_LIMIT_CONCURRENCY_RETRY_MS;
    }
}

static void write(struct decision *decision, struct trial *trial)
{
    struct mg_cell image = {.free_at_ms = mg_limit_free_at(&trial->rule, trial->view.state)};
    memcpy(image.state, trial->view.state, sizeof image.state);
    mg_cells_write(decision->shm, trial->place, &image, decision->request->worker, trial->hold);
    trial->charged = true;
    if (has_former(trial)) {
        mg_cells_empty(decision->shm, trial->former); /* its count goes on in the new one */
    }
}

static void charge_all(struct decision *decision)
{
    for (unsigned i = 0; i < decision->request->count; i++) {
        struct trial *trial = &decision->trials[i];
        if (trial->view.ok && trial->ask->cost > 0) {
            mg_limit_charge(&trial->rule, &trial->view, trial->ask->cost);
            write(decision, trial);
        }
    }
}

/* A client that goes on in spite of denials stays out. */
static void charge_denied(struct decision *decision)
{
    for (unsigned i = 0; i < decision->request->count; i++) {
        struct trial *trial = &decision->trials[i];
        if (!trial->ask->limit->shadow && trial->rule.algorithm != MG_LIMIT_CONCURRENCY &&
            !trial->impossible && trial->rule.quota > 0) {
            mg_limit_charge_denied(&trial->rule, trial->view.state, trial->ask->cost);
            write(decision, trial);
        }
    }
}

/* --- the ban -------------------------------------------------------------------------------- */

static void write_ban(struct decision *decision)
{
    const struct mg_limit_ban *ban = decision->request->ban;
    struct mg_cell image = {.free_at_ms = mg_ban_free_at(&ban->rule, &decision->ban_state)};
    memcpy(image.state, decision->ban_state.words, sizeof image.state);
    mg_cells_write(decision->shm, decision->ban, &image, decision->request->worker, 0);
}

static bool is_banned(struct decision *decision, struct mg_limit_verdict *verdict)
{
    if (!decision->ban || !decision->ban->cell || decision->ban->fresh) {
        return false;
    }
    mg_ban_state_read(&decision->request->ban->rule, decision->ban->cell->state,
                      &decision->ban_state);
    const int64_t now_ms = decision->request->now_ms;
    if (mg_ban_left_ms(&decision->ban_state, now_ms) == 0) {
        return false;
    }
    if (mg_ban_extend(&decision->request->ban->rule, &decision->ban_state, now_ms)) {
        write_ban(decision);
    }
    verdict->banned = true;
    verdict->ban_ms = mg_ban_left_ms(&decision->ban_state, now_ms);
    return true;
}

/* A key that shares its count with others is never banned: it may be innocent. */
static bool shares_count(const struct decision *decision)
{
    for (unsigned i = 0; i < decision->request->count; i++) {
        if (decision->trials[i].place->overflow && !decision->trials[i].view.ok) {
            return true;
        }
    }
    return false;
}

static void note_denial(struct decision *decision, struct mg_limit_verdict *verdict)
{
    if (!decision->request->ban) {
        return;
    }
    if (!decision->ban || !decision->ban->cell || shares_count(decision)) {
        verdict->ban_refused = true;
        return;
    }
    const int64_t now_ms = decision->request->now_ms;
    verdict->ban_began = mg_ban_deny(&decision->request->ban->rule, &decision->ban_state, now_ms);
    verdict->ban_ms = mg_ban_left_ms(&decision->ban_state, now_ms);
    write_ban(decision);
}

/* --- the whole ------------------------------------------------------------------------------ */

static void decide(struct decision *decision, struct mg_limit_verdict *verdict)
{
    const struct mg_limit_request *request = decision->request;
    verdict->admitted = true;
    for (unsigned i = 0; i < request->count; i++) {
        look(request, &decision->trials[i]);
        verdict->admitted &= decision->trials[i].view.ok || request->asks[i].limit->shadow;
    }
    if (verdict->admitted) {
        charge_all(decision);
        return;
    }
    note_denial(decision, verdict);
    if (request->count_denied) {
        charge_denied(decision);
    }
}

static struct mg_limit_answer answer_of(const struct trial *trial, int64_t now_ms)
{
    const struct mg_limit_view *view = &trial->view;
    return (struct mg_limit_answer){
        .ok = view->ok,
        .too_big = view->too_big,
        .overflow = trial->place->overflow,
        .charged = trial->charged,
        .quota = trial->rule.quota,
        .remaining = mg_limit_remaining(&trial->rule, view->state, now_ms),
        .reset_ms = mg_limit_reset_ms(&trial->rule, view->state, now_ms),
        .retry_ms = view->retry_ms,
        .delay_ms = view->delay_ms,
        .hold = trial->hold,
        .cell = trial->place->embedded ? (struct mg_cell_key){.hash = {0, 0}} : trial->place->key,
        .charged_in = mg_limit_charged_in(&trial->rule, view->state),
    };
}

struct mg_limit_verdict mg_limits_take(struct mg_shm *shm, const struct mg_limit_request *request,
                                       struct mg_limit_answer *answers)
{
    struct decision decision;
    decision.shm = shm;
    decision.request = request;
    decision.places_count = 0;
    decision.ban = NULL;
    decision.ban_state = (struct mg_ban_state){0};
    struct mg_limit_verdict verdict = {0};
    begin(&decision);
    if (!is_banned(&decision, &verdict)) {
        decide(&decision, &verdict);
    }
    mg_cells_unlock(shm, decision.places, decision.places_count);
    for (unsigned i = 0; i < request->count; i++) {
        struct trial *trial = &decision.trials[i];
        if (trial->hold != 0 && !trial->charged) {
            mg_hold_drop(shm, request->worker, trial->hold);
            trial->hold = 0;
        }
        if (!verdict.banned) {
            answers[i] = answer_of(trial, request->now_ms);
            verdict.delay_ms = verdict.admitted && answers[i].delay_ms > verdict.delay_ms
                                   ? answers[i].delay_ms
                                   : verdict.delay_ms;
        }
    }
    return verdict;
}

/* --- the usual case ------------------------------------------------------------------------- */

static bool is_usual(const struct mg_shm *shm, const struct mg_limit_ask *ask)
{
    const struct mg_limit *limit = ask->limit;
    return ask->cost > 0 && !ask->has_quota && ask->former_key.hash[0] == 0 &&
           limit->rule.algorithm != MG_LIMIT_CONCURRENCY &&
           mg_limit_record_is(shm, limit->record, limit->id);
}

bool mg_limits_take_known(struct mg_shm *shm, const struct mg_limit_ask *ask, int64_t now_ms,
                          struct mg_limit_answer *answer)
{
    const struct mg_limit_rule *rule = &ask->limit->rule;
    struct mg_limit_view view;
    uint32_t shard;
    struct mg_cell *cell = is_usual(shm, ask) ? mg_cell_lock_own(shm, ask->key, &shard) : NULL;
    if (!cell) {
        return false;
    }
    mg_limit_look(rule, cell->state, now_ms, ask->cost, &view);
    const bool goes_on = view.ok && view.delay_ms == 0;
    if (goes_on) {
        mg_limit_charge(rule, &view, ask->cost);
        mg_cell_write_own(shm, shard, cell, ask->limit->record, view.state,
                          mg_limit_free_at(rule, view.state));
    }
    mg_cell_unlock_own(shm, shard);
    if (!goes_on) {
        return false;
    }
    *answer = (struct mg_limit_answer){
        .ok = true,
        .charged = true,
        .quota = rule->quota,
        .remaining = mg_limit_remaining(rule, view.state, now_ms),
        .reset_ms = mg_limit_reset_ms(rule, view.state, now_ms),
        .retry_ms = view.retry_ms,
        .cell = ask->key,
        .charged_in = mg_limit_charged_in(rule, view.state),
    };
    return true;
}
