/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/breaker: random events against a model that keeps every result in a list (B1 of the
 * policies' tests). 1,050,000 events; MOONGATE_BREAKER_EVENTS says how many otherwise.
 */
#include "model/breaker_hand.h"
#include "support/breaker.h"

static uint64_t seed;

static uint32_t roll(uint32_t n)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % n;
}

struct heard {
    int64_t time, slow_time;
    bool failed, network, slow, no_row;
};

#define RUN_EVENTS 750
#define OPEN_MAX 40
#define ENDED_MAX 30
#define ENDLESS INT64_MAX

/* Everything that is known, in the plainest form. Lists start anew with each transition. */
struct model {
    struct mg_breaker_rule rule;
    enum mg_breaker_state state;
    uint32_t n, epoch, slots;
    int64_t since, until;
    uint64_t ramp_sum; /* of the shares of all requests since RAMP began */
    struct heard heard[RUN_EVENTS];
    unsigned heard_count;
    uint64_t open_ms, stale, ignored, rejected;
    unsigned seen[MG_BREAKER_STATES][MG_BREAKER_STATES][MG_BREAKER_REASONS];
    unsigned events;
};

struct flight {
    struct mg_breaker_pass pass;
    enum mg_breaker_state state;
    uint32_t epoch;
    int heard; /* its place in the model's list, or -1 */
};

static void model_move(struct model *model, enum mg_breaker_state to, enum mg_breaker_reason reason,
                       int64_t now)
{
    if (model->state == MG_BREAKER_OPEN || model->state == MG_BREAKER_FORCED_OPEN) {
        model->open_ms += (uint64_t)(now - model->since);
    }
    model->seen[model->state][to][reason]++;
    model->state = to;
    model->epoch++;
    model->since = now;
    model->heard_count = 0;
    model->ramp_sum = 0;
}

/* A straight line from 10 % to 100 %; every whole that the shares add up to lets one pass. */
static bool model_ramp(struct model *model, int64_t now)
{
    const int64_t gone = now - model->since;
    const uint64_t before = model->ramp_sum / 100000;
    model->ramp_sum += (uint64_t)(10000 + 90000 * gone / model->rule.ramp_ms);
    return model->ramp_sum / 100000 > before;
}

static bool model_ask(struct model *model, int64_t now)
{
    if (model->state == MG_BREAKER_OPEN && now >= model->until) {
        model_move(model, MG_BREAKER_HALF_OPEN, MG_BREAKER_TIME, now);
    } else if (model->state >= MG_BREAKER_FORCED_OPEN && now >= model->until) {
        model_move(model, MG_BREAKER_CLOSED, MG_BREAKER_TIME, now);
    } else if (model->state == MG_BREAKER_RAMP && now - model->since >= model->rule.ramp_ms) {
        model_move(model, MG_BREAKER_CLOSED, MG_BREAKER_RAMP_DONE, now);
    }
    if (model->state == MG_BREAKER_HALF_OPEN && model->slots < model->rule.probes) {
        model->slots++;
        return true;
    }
    return model->state == MG_BREAKER_CLOSED || model->state == MG_BREAKER_FORCED_CLOSED ||
           (model->state == MG_BREAKER_RAMP && model_ramp(model, now));
}

static bool in_time(const struct model *model, int64_t time, int64_t now)
{
    const int64_t buckets = model->rule.buckets, window = model->rule.window_ms;
    return time * buckets / window > now * buckets / window - buckets;
}

/* What the window holds. */
static struct mg_breaker_counts model_window(const struct model *model, int64_t now)
{
    const struct mg_breaker_rule *rule = &model->rule;
    struct mg_breaker_counts counts = {0};
    for (unsigned i = 0; i < model->heard_count; i++) {
        const struct heard *heard = &model->heard[i];
        const bool by_count = rule->by_count && i + rule->window_calls >= model->heard_count;
        if (by_count || (!rule->by_count && in_time(model, heard->time, now))) {
            counts.total++;
            counts.failures += heard->failed;
            counts.network += heard->network;
        }
        counts.slow +=
            heard->slow && (by_count || (!rule->by_count && in_time(model, heard->slow_time, now)));
    }
    return counts;
}

static enum mg_breaker_reason model_trips(const struct model *model, int64_t now)
{
    const struct mg_breaker_rule *rule = &model->rule;
    const struct mg_breaker_counts counts = model_window(model, now);
    const double total = (double)counts.total, failed = (double)counts.failures,
                 network = (double)counts.network, slow = (double)counts.slow;
    uint64_t row = 0;
    for (unsigned i = 0; i < model->heard_count; i++) {
        const struct heard *heard = &model->heard[i];
        row = heard->no_row ? row : heard->failed ? row + 1 : 0;
    }
    if (total >= rule->min_requests) {
        if (rule->failure_share && failed / total * 100000.0 >= rule->failure_share - 1e-6) {
            return MG_BREAKER_FAILURE_PERCENT;
        }
        if (rule->network_share && network / total * 100000.0 >= rule->network_share - 1e-6) {
            return MG_BREAKER_NETWORK;
        }
        if (rule->slow_share && slow / total * 100000.0 >= rule->slow_share - 1e-6) {
            return MG_BREAKER_SLOW;
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

static void model_look(struct model *model, int64_t now, const struct mg_breaker_change *change)
{
    const enum mg_breaker_reason reason = model_trips(model, now);
    if (reason != MG_BREAKER_NO_REASON) {
        model_open(model, model->state == MG_BREAKER_RAMP ? MG_BREAKER_RAMP_FAILED : reason, now,
                   change);
    }
}

static void model_probe(struct model *model, int64_t now, const struct mg_breaker_change *change)
{
    const uint32_t required = model->rule.probe_results;
    unsigned bad = 0;
    for (unsigned i = 0; i < model->heard_count; i++) {
        bad += model->heard[i].failed;
    }
    const double good_needed = (double)required * model->rule.probe_good / 100000.0;
    if ((double)bad > (double)required - good_needed) {
        model_open(model, MG_BREAKER_PROBES_FAILED, now, change);
    } else if (model->heard_count >= required) {
        model_move(model, model->rule.ramp_ms ? MG_BREAKER_RAMP : MG_BREAKER_CLOSED,
                   MG_BREAKER_PROBES_OK, now);
    }
}

static void model_result(struct model *model, struct flight *flight, int64_t now,
                         const struct mg_breaker_told *told, const struct mg_breaker_change *change)
{
    const bool left = told->result == MG_RESULT_LEFT;
    model->slots -= flight->state == MG_BREAKER_HALF_OPEN;
    flight->heard = -1;
    if (told->result == MG_RESULT_NONE ||
        (left && (!told->slow || flight->state == MG_BREAKER_HALF_OPEN))) {
        model->ignored++;
        return;
    }
    if (flight->epoch != model->epoch) {
        model->stale++;
        return;
    }
    if (model->state == MG_BREAKER_FORCED_CLOSED) {
        return;
    }
    flight->heard = (int)model->heard_count;
    model->heard[model->heard_count++] =
        (struct heard){.time = now,
                       .slow_time = now,
                       .failed = !left && told->result != MG_RESULT_SUCCESS,
                       .network = told->result == MG_RESULT_NETWORK,
                       .slow = told->slow,
                       .no_row = left};
    if (model->state == MG_BREAKER_HALF_OPEN) {
        flight->heard = -1;
        model_probe(model, now, change);
    } else {
        model_look(model, now, change);
    }
}

static void model_slow(struct model *model, const struct flight *flight, int64_t now,
                       const struct mg_breaker_change *change)
{
    if (flight->heard < 0 || flight->epoch != model->epoch) {
        return;
    }
    struct heard *heard = &model->heard[flight->heard];
    heard->slow = true;
    heard->slow_time = now;
    const enum mg_breaker_state state = model->state;
    const uint32_t row = model->rule.consecutive;
    model->rule.consecutive = 0; /* it is looked at with results only */
    model_look(model, now, change);
    model->rule.consecutive = row;
    assert_true(state == MG_BREAKER_CLOSED || state == MG_BREAKER_RAMP);
}

static void model_hand(struct model *model, enum mg_breaker_hand hand, int64_t for_ms, int64_t now)
{
    if (hand == MG_BREAKER_HAND_OPEN || hand == MG_BREAKER_HAND_CLOSED) {
        model_move(model,
                   hand == MG_BREAKER_HAND_OPEN ? MG_BREAKER_FORCED_OPEN : MG_BREAKER_FORCED_CLOSED,
                   MG_BREAKER_FORCED, now);
        model->until = for_ms > 0 ? now + for_ms : ENDLESS;
    } else if (hand == MG_BREAKER_HAND_RESET) {
        model->n = 0;
        model_move(model, MG_BREAKER_CLOSED, MG_BREAKER_RESET, now);
    } else if (model->state >= MG_BREAKER_FORCED_OPEN) {
        model_move(model, MG_BREAKER_CLOSED, MG_BREAKER_AUTO, now);
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
                                    .slow_share = shares[roll(5)],
                                    .consecutive = roll(3) == 0 ? 0 : 1 + roll(12),
                                    .open_base_ms = 100 + roll(400),
                                    .open_max_ms = 500 + roll(3000),
                                    .open_factor = 1000 + roll(3000),
                                    .open_jitter = shares[roll(3)],
                                    .probes = 1 + roll(4),
                                    .probe_results = 1 + roll(8),
                                    .probe_good = 1000 * (1 + roll(100)),
                                    .ramp_ms = roll(3) == 0 ? 0 : 1 + roll(3000)};
}

struct run {
    struct board *board;
    struct model *model;
    struct flight flights[OPEN_MAX];
    unsigned count;
    struct flight ended[ENDED_MAX]; /* some whose result is recorded: they may prove slow */
    unsigned ended_count;
    uint32_t failing, slow, hand;
};

static void one_asks(struct run *run)
{
    struct flight *flight = &run->flights[run->count];
    const bool admitted = ask(run->board, &flight->pass);
    assert_int_equal(admitted, model_ask(run->model, run->board->now));
    flight->state = run->model->state;
    flight->epoch = run->model->epoch;
    run->count += admitted;
    run->model->rejected += !admitted;
}

static enum mg_breaker_result random_result(const struct run *run)
{
    const uint32_t dice = roll(100);
    return roll(100) < 5          ? MG_RESULT_NONE
           : roll(100) < 5        ? MG_RESULT_LEFT
           : dice >= run->failing ? MG_RESULT_SUCCESS
           : dice % 3 == 0        ? MG_RESULT_NETWORK
                                  : MG_RESULT_FAILURE;
}

/* A flight ends. */
static void one_is_told(struct run *run)
{
    struct board *board = run->board;
    struct flight *flight = &run->flights[roll(run->count)];
    const struct mg_breaker_told told = {
        .result = random_result(run), .slow = roll(100) < run->slow, .random = roll(UINT32_MAX)};
    mg_breaker_result(&board->breaker, 0, board->now, &flight->pass, &told, &board->change);
    model_result(run->model, flight, board->now, &told, &board->change);
    if (!told.slow) {
        const bool room = run->ended_count < ENDED_MAX;
        run->ended[room ? run->ended_count++ : roll(ENDED_MAX)] = *flight;
    }
    *flight = run->flights[--run->count];
}

/* One of those whose result is recorded turns out to be slow. */
static void one_is_slow(struct run *run)
{
    struct board *board = run->board;
    struct flight *flight = &run->ended[roll(run->ended_count)];
    mg_breaker_slow(&board->breaker, board->now, roll(UINT32_MAX), &flight->pass, &board->change);
    model_slow(run->model, flight, board->now, &board->change);
    *flight = run->ended[--run->ended_count];
}

static void one_by_hand(struct run *run)
{
    const enum mg_breaker_hand hand = (enum mg_breaker_hand)roll(4);
    const int64_t for_ms = roll(2) == 0 ? 0 : 1 + roll(3000);
    assert_int_equal(mg_breaker_by_hand(run->board->shm, mg_str_from(run->board->breaker.name),
                                        hand, for_ms, run->board->now, &run->board->change),
                     0);
    model_hand(run->model, hand, for_ms, run->board->now);
}

/* One event on both; they must agree in everything that can be seen. */
static void step(struct run *run)
{
    struct board *board = run->board;
    struct model *model = run->model;
    const uint32_t epoch = model->epoch;
    const enum mg_breaker_state from = model->state;
    if (roll(20) == 0) {
        board->now += roll(roll(10) == 0 ? 6000 : 400);
    }
    board->change = (struct mg_breaker_change){.happened = false};
    if (run->hand > 0 && roll(run->hand) == 0) {
        one_by_hand(run);
    } else if (run->ended_count > 0 && roll(400) < run->slow) {
        one_is_slow(run);
    } else if (run->count == 0 || (run->count < OPEN_MAX && roll(2) == 0)) {
        one_asks(run);
    } else {
        one_is_told(run);
    }
    assert_int_equal(board->change.happened, model->epoch != epoch);
    const struct mg_breaker_view real = view(board);
    if (board->change.happened) {
        assert_int_equal(board->change.from, from);
        assert_int_equal(board->change.to, model->state);
        assert_int_equal(real.recent[0].from, from);
        assert_int_equal(real.recent[0].to, model->state);
        assert_int_equal(real.recent[0].time_ms, board->now);
    }
    if (model->state == MG_BREAKER_CLOSED || model->state == MG_BREAKER_RAMP) {
        const struct mg_breaker_counts counts = model_window(model, board->now);
        assert_memory_equal(&real.window, &counts, sizeof counts);
    }
    assert_int_equal(real.state, model->state);
    assert_int_equal(real.n, model->n);
    assert_int_equal(real.epoch, model->epoch % MG_BREAKER_EPOCHS);
    assert_int_equal(real.probes, model->slots);
    model->events++;
}

/* What was counted all along. */
static void compare_counters(const struct run *run)
{
    const struct mg_breaker_view real = view(run->board);
    const struct model *model = run->model;
    const bool open = model->state == MG_BREAKER_OPEN || model->state == MG_BREAKER_FORCED_OPEN;
    uint64_t rejected = 0, transitions = 0;
    for (unsigned i = 0; i < MG_BREAKER_STATES; i++) {
        rejected += real.rejected[i];
    }
    for (unsigned i = 0; i < MG_BREAKER_EDGES; i++) {
        transitions += real.transitions[i];
    }
    assert_int_equal(rejected, model->rejected);
    assert_int_equal(transitions, model->epoch);
    assert_int_equal(real.stale, model->stale);
    assert_int_equal(real.results[MG_COUNTED_IGNORED], model->ignored);
    assert_int_equal(real.open_ms,
                     model->open_ms + (open ? (uint64_t)(run->board->now - model->since) : 0));
    assert_int_equal(real.recent_count, model->epoch < 10 ? model->epoch : 10);
}

static void run_random(struct board *board, struct model *model, int index)
{
    struct run run = {.board = board,
                      .model = model,
                      .failing = 5 + roll(80),
                      .slow = roll(2) == 0 ? 2 : roll(80),
                      .hand = roll(2) == 0 ? 0 : 20 + roll(200)};
    char name[32];
    snprintf(name, sizeof name, "random %d", index);
    board->now = START + roll(100000);
    board->breaker.rule = random_rule();

    model->rule = board->breaker.rule;
    model->state = MG_BREAKER_CLOSED;
    model->n = model->epoch = model->slots = model->heard_count = 0;
    model->open_ms = model->stale = model->ignored = model->rejected = 0;
    model->since = 0;
    assert_int_equal(mg_breaker_open(board->shm, &board->breaker, mg_str_from(name), board->now),
                     0);
    for (int i = 0; i < RUN_EVENTS; i++) {
        step(&run);
    }
    compare_counters(&run);
    const struct mg_breaker_told nothing = {.result = MG_RESULT_NONE};
    while (run.count > 0) {
        run.count--;
        mg_breaker_result(&board->breaker, 0, board->now, &run.flights[run.count].pass, &nothing,
                          &board->change);
    }
    mg_breaker_record_drop(board->shm, board->breaker.record);
}

#define ANY MG_BREAKER_STATES
static unsigned times(const struct model *model, enum mg_breaker_state from,
                      enum mg_breaker_state to, enum mg_breaker_reason reason)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < MG_BREAKER_STATES; i++) {
        sum += from == ANY || from == i ? model->seen[i][to][reason] : 0;
    }
    return sum;
}

static void assert_every_edge_was_met(const struct model *model)
{
    static const struct {
        enum mg_breaker_state from, to;
        enum mg_breaker_reason reason;
    } edges[] = {
        {MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_FAILURE_PERCENT},
        {MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_NETWORK},
        {MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_SLOW},
        {MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_CONSECUTIVE},
        {MG_BREAKER_OPEN, MG_BREAKER_HALF_OPEN, MG_BREAKER_TIME},
        {MG_BREAKER_HALF_OPEN, MG_BREAKER_OPEN, MG_BREAKER_PROBES_FAILED},
        {MG_BREAKER_HALF_OPEN, MG_BREAKER_CLOSED, MG_BREAKER_PROBES_OK},
        {MG_BREAKER_HALF_OPEN, MG_BREAKER_RAMP, MG_BREAKER_PROBES_OK},
        {MG_BREAKER_RAMP, MG_BREAKER_OPEN, MG_BREAKER_RAMP_FAILED},
        {MG_BREAKER_RAMP, MG_BREAKER_CLOSED, MG_BREAKER_RAMP_DONE},
        {MG_BREAKER_FORCED_OPEN, MG_BREAKER_CLOSED, MG_BREAKER_TIME},
        {MG_BREAKER_FORCED_OPEN, MG_BREAKER_CLOSED, MG_BREAKER_AUTO},
        {MG_BREAKER_FORCED_CLOSED, MG_BREAKER_CLOSED, MG_BREAKER_TIME},
        {MG_BREAKER_FORCED_CLOSED, MG_BREAKER_CLOSED, MG_BREAKER_AUTO},
    };
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        assert_true(times(model, edges[i].from, edges[i].to, edges[i].reason) > 50);
    }
    for (unsigned from = 0; from < MG_BREAKER_STATES; from++) {
        const enum mg_breaker_state state = (enum mg_breaker_state)from;
        assert_true(times(model, state, MG_BREAKER_FORCED_OPEN, MG_BREAKER_FORCED) > 5);
        assert_true(times(model, state, MG_BREAKER_FORCED_CLOSED, MG_BREAKER_FORCED) > 5);
        assert_true(times(model, state, MG_BREAKER_CLOSED, MG_BREAKER_RESET) > 5);
    }
    for (size_t i = 0; i < MG_BREAKER_EDGES; i++) { /* and there are no others */
        assert_true(times(model, ANY, mg_breaker_edges[i].to, mg_breaker_edges[i].reason) > 50);
    }
}

static void b1_random_events_agree_with_the_model_and_meet_every_edge(void **state)
{
    struct board *board = *state;
    struct model *model = calloc(1, sizeof *model);
    const char *wanted = getenv("MOONGATE_BREAKER_EVENTS");
    const long runs = wanted ? strtol(wanted, NULL, 10) / RUN_EVENTS : 1400;
    seed = 20240607;
    for (int i = 0; i < runs; i++) {
        run_random(board, model, i);
    }
    print_message("%u events\n", model->events);
    assert_every_edge_was_met(model);
    free(model);
}

int main(void)
{
#define WITH_BOARD(test) cmocka_unit_test_setup_teardown(test, board_setup, board_teardown)
    const struct CMUnitTest tests[] = {
        WITH_BOARD(b1_random_events_agree_with_the_model_and_meet_every_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
