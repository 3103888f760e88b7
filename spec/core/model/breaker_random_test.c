/* SPDX-License-Identifier: Apache-2.0 */
/* model/breaker: random events against a model that keeps every result in a list. */
#include "support/breaker.h"

static uint64_t seed;

static uint32_t roll(uint32_t n)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % n;
}

struct told {
    int64_t time;
    bool failed, network;
};

#define TOLD_MAX 100000
#define OPEN_MAX 40

/* Everything that is known, in the plainest form. Lists start anew with each transition. */
struct model {
    struct mg_breaker_rule rule;
    enum mg_breaker_state state;
    uint32_t n, epoch, slots;
    int64_t since, until;
    struct told told[TOLD_MAX];
    unsigned told_count;
    unsigned seen[3][3][7]; /* transitions by from, to, reason */
};

struct flight {
    struct mg_breaker_pass pass;
    enum mg_breaker_state state;
    uint32_t epoch;
};

static void model_move(struct model *model, enum mg_breaker_state to, enum mg_breaker_reason reason,
                       int64_t now)
{
    model->seen[model->state][to][reason]++;
    model->state = to;
    model->epoch++;
    model->since = now;
    model->told_count = 0;
}

static bool model_ask(struct model *model, int64_t now)
{
    if (model->state == MG_BREAKER_OPEN && now >= model->until) {
        model_move(model, MG_BREAKER_HALF_OPEN, MG_BREAKER_TIME, now);
    }
    if (model->state == MG_BREAKER_HALF_OPEN && model->slots < model->rule.probes) {
        model->slots++;
        return true;
    }
    return model->state == MG_BREAKER_CLOSED;
}

static bool in_window(const struct model *model, unsigned i, int64_t now)
{
    if (model->rule.by_count) {
        return i + model->rule.window_calls >= model->told_count;
    }
    const int64_t buckets = model->rule.buckets, window = model->rule.window_ms;
    return model->told[i].time * buckets / window > now * buckets / window - buckets;
}

static enum mg_breaker_reason model_trips(const struct model *model, int64_t now)
{
    const struct mg_breaker_rule *rule = &model->rule;
    uint64_t total = 0, failed = 0, network = 0, row = 0;
    for (unsigned i = 0; i < model->told_count; i++) {
        row = model->told[i].failed ? row + 1 : 0;
        if (in_window(model, i, now)) {
            total++;
            failed += model->told[i].failed;
            network += model->told[i].network;
        }
    }
    const double all = (double)total;
    if (total >= rule->min_requests) {
        if (rule->failure_share && (double)failed / all * 100000.0 >= rule->failure_share - 1e-6) {
            return MG_BREAKER_FAILURE_PERCENT;
        }
        if (rule->network_share && (double)network / all * 100000.0 >= rule->network_share - 1e-6) {
            return MG_BREAKER_NETWORK;
        }
    }
    return rule->consecutive && row >= rule->consecutive ? MG_BREAKER_CONSECUTIVE
                                                         : MG_BREAKER_NO_REASON;
}

static int64_t nominal_open(const struct model *model)
{
    double time = model->rule.open_base_ms;
    for (uint32_t i = 1; i < model->n; i++) {
        time *= model->rule.open_factor / 1000.0;
    }
    return (int64_t)(time < model->rule.open_max_ms ? time : model->rule.open_max_ms);
}

/* Opens for the time that the real one has drawn, after a look at that time. */
static void model_open(struct model *model, enum mg_breaker_reason reason, int64_t now,
                       const struct mg_breaker_change *change)
{
    const bool forget =
        model->state == MG_BREAKER_CLOSED && now - model->since >= model->rule.open_max_ms;
    model->n = forget ? 1 : model->n + 1;
    const int64_t nominal = nominal_open(model);
    const int64_t slack = nominal * model->rule.open_jitter / 100000 + 1;
    assert_true(change->open_ms >= nominal - slack && change->open_ms <= nominal + slack);
    assert_int_equal(change->n, model->n);
    model_move(model, MG_BREAKER_OPEN, reason, now);
    model->until = now + change->open_ms;
}

static void model_result(struct model *model, const struct flight *flight, int64_t now,
                         enum mg_breaker_result result, const struct mg_breaker_change *change)
{
    model->slots -= flight->state == MG_BREAKER_HALF_OPEN;
    if (result == MG_RESULT_NONE || flight->epoch != model->epoch) {
        return;
    }
    model->told[model->told_count++] = (struct told){
        .time = now, .failed = result != MG_RESULT_SUCCESS, .network = result == MG_RESULT_NETWORK};
    if (model->state == MG_BREAKER_CLOSED) {
        const enum mg_breaker_reason reason = model_trips(model, now);
        if (reason != MG_BREAKER_NO_REASON) {
            model_open(model, reason, now, change);
        }
        return;
    }
    const uint32_t required = model->rule.probe_results;
    unsigned bad = 0;
    for (unsigned i = 0; i < model->told_count; i++) {
        bad += model->told[i].failed;
    }
    const double good_needed = (double)required * model->rule.probe_good / 100000.0;
    if ((double)bad > (double)required - good_needed) {
        model_open(model, MG_BREAKER_PROBES_FAILED, now, change);
    } else if (model->told_count >= required) {
        model_move(model, MG_BREAKER_CLOSED, MG_BREAKER_PROBES_OK, now);
    }
}

static struct mg_breaker_rule random_rule(void)
{
    static const uint32_t shares[] = {0, 10000, 33000, 50000, 100000};
    return (struct mg_breaker_rule){.by_count = roll(2) == 0,
                                    .window_ms = 1000 + roll(5000),
                                    .buckets = 1 + roll(60),
                                    .window_calls = 10 + roll(100),
                                    .min_requests = 1 + roll(30),
                                    .failure_share = shares[roll(5)],
                                    .network_share = shares[roll(5)],
                                    .consecutive = roll(3) == 0 ? 0 : 1 + roll(12),
                                    .open_base_ms = 100 + roll(400),
                                    .open_max_ms = 500 + roll(3000),
                                    .open_factor = 1000 + roll(3000),
                                    .open_jitter = shares[roll(3)],
                                    .probes = 1 + roll(4),
                                    .probe_results = 1 + roll(8),
                                    .probe_good = 1000 * (1 + roll(100))};
}

/* One event on both; they must agree in everything that can be seen. */
static void step(struct board *board, struct model *model, struct flight *flights, unsigned *count,
                 uint32_t failing)
{
    if (roll(20) == 0) {
        board->now += roll(roll(10) == 0 ? 6000 : 400);
    }
    if (*count == 0 || (*count < OPEN_MAX && roll(2) == 0)) {
        struct flight *flight = &flights[*count];
        const bool admitted = ask(board, &flight->pass);
        const uint32_t epoch = model->epoch;
        assert_int_equal(admitted, model_ask(model, board->now));
        assert_int_equal(board->change.happened, model->epoch != epoch);
        flight->state = model->state;
        flight->epoch = model->epoch;
        *count += admitted;
    } else {
        const unsigned at = roll(*count);
        const uint32_t dice = roll(100);
        const enum mg_breaker_result result = dice < 5          ? MG_RESULT_NONE
                                              : dice >= failing ? MG_RESULT_SUCCESS
                                              : dice % 3 == 0   ? MG_RESULT_NETWORK
                                                                : MG_RESULT_FAILURE;
        mg_breaker_result(&board->breaker, 0, board->now, roll(UINT32_MAX), &flights[at].pass,
                          result, &board->change);
        const uint32_t epoch = model->epoch;
        const enum mg_breaker_state from = model->state;
        model_result(model, &flights[at], board->now, result, &board->change);
        assert_int_equal(board->change.happened, model->epoch != epoch);
        if (board->change.happened) {
            assert_int_equal(board->change.from, from);
        }
        flights[at] = flights[--*count];
    }
    const struct mg_breaker_view real = view(board);
    assert_int_equal(real.state, model->state);
    assert_int_equal(real.epoch, model->epoch % (1 << 14));
    assert_int_equal(real.probes, model->slots);
}

static void run_random(struct board *board, struct model *model, int index, int events)
{
    struct flight flights[OPEN_MAX];
    unsigned count = 0;
    char name[32];
    snprintf(name, sizeof name, "random %d", index);
    board->now = START + roll(100000);
    model->rule = board->breaker.rule = random_rule();
    model->state = MG_BREAKER_CLOSED;
    model->n = model->epoch = model->slots = model->told_count = 0;
    model->since = 0;
    assert_int_equal(mg_breaker_open(board->shm, &board->breaker, mg_str_from(name), board->now),
                     0);
    const uint32_t failing = 5 + roll(80);
    for (int i = 0; i < events; i++) {
        step(board, model, flights, &count, failing);
    }
    while (count > 0) {
        count--;
        mg_breaker_result(&board->breaker, 0, board->now, 0, &flights[count].pass, MG_RESULT_NONE,
                          &board->change);
    }
}

static void random_events_agree_with_the_model_and_meet_every_edge(void **state)
{
    struct board *board = *state;
    struct model *model = calloc(1, sizeof *model);
    seed = 20240607;
    for (int i = 0; i < 400; i++) {
        run_random(board, model, i, 750); /* 300,000 events */
    }
    static const struct {
        enum mg_breaker_state from, to;
        enum mg_breaker_reason reason;
    } edges[] = {
        {MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_FAILURE_PERCENT},
        {MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_NETWORK},
        {MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_CONSECUTIVE},
        {MG_BREAKER_OPEN, MG_BREAKER_HALF_OPEN, MG_BREAKER_TIME},
        {MG_BREAKER_HALF_OPEN, MG_BREAKER_OPEN, MG_BREAKER_PROBES_FAILED},
        {MG_BREAKER_HALF_OPEN, MG_BREAKER_CLOSED, MG_BREAKER_PROBES_OK},
    };
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        assert_true(model->seen[edges[i].from][edges[i].to][edges[i].reason] > 50);
    }
    free(model);
}

int main(void)
{
#define WITH_BOARD(test) cmocka_unit_test_setup_teardown(test, board_setup, board_teardown)
    const struct CMUnitTest tests[] = {
        WITH_BOARD(random_events_agree_with_the_model_and_meet_every_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
