/* SPDX-License-Identifier: Apache-2.0 */
/* Limits and bans as they stand in shared memory: opened, named, corrected. */
#include "model/limit.h"

#include "base/shm.h"
#include "base/shm_limits.h"

#include <stdio.h>
#include <string.h>

#define CONCURRENCY_NO_WINDOW 0

static void copy_name(char *place, mg_str name)
{
    const size_t length = name.len < MG_LIMIT_NAME ? name.len : MG_LIMIT_NAME - 1;
    memset(place, 0, MG_LIMIT_NAME);
    memcpy(place, name.ptr, length);
}

/* --- limits --------------------------------------------------------------------------------- */

/* Algorithm, window and where it begins: another one of these counts anew. */
static struct mg_cell_key id_of(const struct mg_shm *shm, const struct mg_limit *limit,
                                struct mg_cell_key family)
{
    char text[80];
    const struct mg_limit_rule *rule = &limit->rule;
    const int length =
        snprintf(text, sizeof text, "%d %lld %d %d %d", (int)rule->algorithm,
                 (long long)rule->window_ms, rule->align_first, (int)rule->calendar, limit->shadow);
    return mg_shm_key_with(shm, family, mg_str_make(text, (size_t)length));
}

static int64_t window_of(const struct mg_limit_rule *rule, int64_t now_ms)
{
    if (rule->algorithm == MG_LIMIT_CONCURRENCY) {
        return CONCURRENCY_NO_WINDOW;
    }
    if (rule->calendar != MG_CALENDAR_NONE) {
        return mg_calendar_period(rule->calendar, now_ms).end_ms - now_ms;
    }
    return rule->window_ms;
}

static void read_former(const struct mg_shm *shm, struct mg_limit *limit)
{
    struct mg_limit_record own, former;
    limit->former = (struct mg_limit_former){.until_ms = 0};
    if (!mg_limit_record_read(shm, limit->record, &own) || own.former == 0 ||
        !mg_limit_record_is(shm, own.former - 1, own.former_id) ||
        !mg_limit_record_read(shm, own.former - 1, &former) ||
        limit->rule.algorithm == MG_LIMIT_CONCURRENCY) {
        return;
    }
    memcpy(&limit->former.rule, former.rule, sizeof limit->former.rule);
    if (mg_limit_rule_check(&limit->former.rule) == 0) { /* else the memory was written over */
        limit->former.id = own.former_id;
        limit->former.record = own.former - 1;
        limit->former.until_ms = own.former_until_ms;
    }
}

_Static_assert(sizeof(struct mg_limit_rule) <= MG_LIMIT_RULE_BYTES, "a record keeps the rule");

static int open_record(struct mg_shm *shm, struct mg_limit *limit, int64_t now_ms)
{
    const struct mg_limit_opening opening = {
        .id = limit->id,
        .family = limit->family,
        .name = mg_str_from(limit->name),
        .max_keys = limit->max_keys,
        .window_ms = window_of(&limit->rule, now_ms),
        .rule = &limit->rule,
        .rule_bytes = sizeof limit->rule,
    };
    const int record = mg_limit_record_open(shm, &opening, now_ms);
    if (record >= 0) {
        limit->record = (uint32_t)record;
        read_former(shm, limit);
    }
    return record < 0 ? record : 0;
}

int mg_limit_open(struct mg_shm *shm, struct mg_limit *limit, mg_str identity, mg_str name,
                  int64_t now_ms)
{
    const int err = mg_limit_rule_check(&limit->rule);
    if (err || limit->max_keys < 1) {
        return MG_EINVALID;
    }
    copy_name(limit->name, name);
    limit->family = mg_shm_key(shm, identity);
    limit->id = id_of(shm, limit, limit->family);
    return open_record(shm, limit, now_ms);
}

bool mg_limit_renew(struct mg_shm *shm, struct mg_limit *limit, int64_t now_ms)
{
    return mg_limit_record_is(shm, limit->record, limit->id) ||
           open_record(shm, limit, now_ms) == 0;
}

struct mg_cell_key mg_limit_key(const struct mg_shm *shm, const struct mg_limit *limit, mg_str key)
{
    return mg_shm_key_with(shm, limit->id, key);
}

struct mg_cell_key mg_limit_former_key(const struct mg_shm *shm, const struct mg_limit *limit,
                                       mg_str key, int64_t now_ms)
{
    return now_ms < limit->former.until_ms ? mg_shm_key_with(shm, limit->former.id, key)
                                           : (struct mg_cell_key){0};
}

void mg_limit_release(struct mg_shm *shm, uint32_t worker, uint32_t hold)
{
    mg_hold_give_back(shm, worker, hold);
}

/* --- one cell, without a decision ----------------------------------------------------------- */

static void write_state(struct mg_shm *shm, struct mg_cell_place *place, int64_t free_at_ms,
                        const int64_t *state)
{
    struct mg_cell image = {.free_at_ms = free_at_ms};
    memcpy(image.state, state, sizeof image.state);
    mg_cells_write(shm, place, &image, 0, 0);
}

/* With the quota that the request had: another burst would cut the bucket. */
static struct mg_limit_rule rule_of_answer(const struct mg_limit *limit,
                                           const struct mg_limit_answer *answer)
{
    const int64_t factor = answer->overflow ? MG_LIMIT_OVERFLOW_FACTOR : 1;
    struct mg_limit_rule rule = mg_limit_rule_with(&limit->rule, answer->quota / factor);
    rule.quota *= factor;
    rule.burst *= factor;
    return rule;
}

bool mg_limit_correct(struct mg_shm *shm, const struct mg_limit *limit,
                      const struct mg_limit_answer *answer, int64_t now_ms, int64_t units)
{
    if (answer->cell.hash[0] == 0 || !answer->charged ||
        !mg_limit_record_is(shm, limit->record, limit->id)) {
        return false;
    }
    const struct mg_limit_rule rule = rule_of_answer(limit, answer);
    const struct mg_cell_ask ask = {.key = answer->cell, .record = limit->record, .peek = true};
    struct mg_cell_place place;
    mg_cells_lock(shm, &ask, 1, now_ms, &place);
    bool counts = place.cell && !place.fresh;
    if (counts) {
        struct mg_limit_view view;
        mg_limit_look(&rule, place.cell->state, now_ms, 0, &view);
        counts = mg_limit_amend(&rule, view.state, answer->charged_in, units);
        if (counts) {
            place.overflow = answer->overflow;
            place.network = place.cell->network;
            write_state(shm, &place, mg_limit_free_at(&rule, view.state), view.state);
        }
    }
    mg_cells_unlock(shm, &place, 1);
    return counts;
}

bool mg_limit_learn(struct mg_shm *shm, struct mg_limit *limit, struct mg_cell_key key,
                    uint8_t network, int64_t now_ms, const struct mg_limit_elsewhere *elsewhere)
{
    if (limit->rule.algorithm == MG_LIMIT_CONCURRENCY || !mg_limit_renew(shm, limit, now_ms)) {
        return false;
    }
    int64_t state[4];
    mg_limit_part_of(elsewhere->rule, elsewhere->state, elsewhere->reset_ms, elsewhere->parts,
                     &limit->rule, now_ms, state);
    const struct mg_cell_ask ask = {
        .key = key, .record = limit->record, .network = network, .own_or_none = true};
    struct mg_cell_place place;
    mg_cells_lock(shm, &ask, 1, now_ms, &place);
    const int64_t known =
        place.cell && !place.fresh ? mg_limit_used(&limit->rule, place.cell->state, now_ms) : 0;
    if (place.cell && mg_limit_used(&limit->rule, state, now_ms) >= known) {
        write_state(shm, &place, mg_limit_free_at(&limit->rule, state), state);
    }
    mg_cells_unlock(shm, &place, 1);
    return place.cell != NULL;
}

int64_t mg_limit_in_flight(struct mg_shm *shm, const struct mg_limit *limit, struct mg_cell_key key,
                           int64_t now_ms)
{
    const struct mg_cell_ask ask = {.key = key, .record = limit->record, .peek = true};
    struct mg_cell_place place;
    mg_cells_lock(shm, &ask, 1, now_ms, &place);
    const int64_t units = place.cell && !place.fresh ? place.cell->state[0] : 0;
    mg_cells_unlock(shm, &place, 1);
    return units > 0 ? units : 0;
}

/* --- bans ----------------------------------------------------------------------------------- */

int mg_limit_ban_open(struct mg_shm *shm, struct mg_limit_ban *ban, mg_str identity, mg_str name,
                      int64_t now_ms)
{
    if (mg_ban_rule_check(&ban->rule) || ban->max_keys < 1) {
        return MG_EINVALID;
    }
    copy_name(ban->name, name);
    ban->id = mg_shm_key_with(shm, mg_shm_key(shm, identity), MG_STR("ban"));
    const struct mg_limit_opening opening = {.id = ban->id,
                                             .family = ban->id,
                                             .name = name,
                                             .max_keys = ban->max_keys,
                                             .until = MG_BAN_UNTIL + 1};
    const int record = mg_limit_record_open(shm, &opening, now_ms);
    ban->record = record < 0 ? 0 : (uint32_t)record;
    return record < 0 ? record : 0;
}

struct mg_cell_key mg_limit_ban_key(const struct mg_shm *shm, const struct mg_limit_ban *ban,
                                    mg_str key)
{
    return mg_shm_key_with(shm, ban->id, key);
}

bool mg_limit_ban_lift(struct mg_shm *shm, const struct mg_limit_ban *ban, struct mg_cell_key key,
                       int64_t now_ms)
{
    const struct mg_cell_ask ask = {.key = key, .record = ban->record, .peek = true};
    struct mg_cell_place place;
    mg_cells_lock(shm, &ask, 1, now_ms, &place);
    bool lifted = false;
    if (place.cell && !place.fresh) {
        struct mg_ban_state state;
        mg_ban_state_read(&ban->rule, place.cell->state, &state);
        lifted = mg_ban_left_ms(&state, now_ms) > 0;
        mg_cells_empty(shm, &place);
    }
    mg_cells_unlock(shm, &place, 1);
    return lifted;
}

int64_t mg_limit_ban_left_ms(struct mg_shm *shm, const struct mg_limit_ban *ban,
                             struct mg_cell_key key, int64_t now_ms, struct mg_ban_state *state)
{
    const struct mg_cell_ask ask = {.key = key, .record = ban->record, .peek = true};
    struct mg_cell_place place;
    *state = (struct mg_ban_state){0};
    mg_cells_lock(shm, &ask, 1, now_ms, &place);
    if (place.cell && !place.fresh) {
        mg_ban_state_read(&ban->rule, place.cell->state, state);
    }
    mg_cells_unlock(shm, &place, 1);
    return mg_ban_left_ms(state, now_ms);
}

bool mg_limit_ban_until(struct mg_shm *shm, const struct mg_limit_ban *ban, struct mg_cell_key key,
                        uint8_t network, int64_t now_ms, const struct mg_ban_state *state)
{
    const struct mg_cell_ask ask = {
        .key = key, .record = ban->record, .network = network, .own_or_none = true};
    struct mg_cell_place place;
    mg_cells_lock(shm, &ask, 1, now_ms, &place);
    if (place.cell) {
        struct mg_ban_state known = {0};
        if (!place.fresh) {
            mg_ban_state_read(&ban->rule, place.cell->state, &known);
        }
        if (mg_ban_left_ms(state, now_ms) > mg_ban_left_ms(&known, now_ms)) {
            write_state(shm, &place, mg_ban_free_at(&ban->rule, state), state->words);
        }
    }
    mg_cells_unlock(shm, &place, 1);
    return place.cell != NULL;
}

void mg_limit_ban_learn(struct mg_shm *shm, const struct mg_limit_ban *ban, struct mg_cell_key key,
                        uint8_t network, int64_t now_ms, int64_t left_ms, int64_t in_a_row)
{
    const struct mg_ban_state state = {
        .words = {now_ms / ban->rule.within_ms, 0, now_ms + left_ms, in_a_row}};
    (void)mg_limit_ban_until(shm, ban, key, network, now_ms, &state);
}
