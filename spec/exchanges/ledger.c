/* SPDX-License-Identifier: Apache-2.0 */
/* The books of a run. */
#include "ledger.h"

#include "base/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void ledger_init(struct ledger *ledger)
{
    const uint32_t sessions = ledger->count / SESSION_EXCHANGES + 2;
    ledger->arrived = calloc(ledger->count, 1);
    ledger->answered = calloc(ledger->count, 1);
    ledger->last_arrived = calloc(sessions, sizeof *ledger->last_arrived);
    mg_require(ledger->arrived && ledger->answered && ledger->last_arrived);
}

void ledger_deinit(struct ledger *ledger)
{
    free(ledger->arrived);
    free(ledger->answered);
    free(ledger->last_arrived);
}

void ledger_count(struct ledger *ledger, enum tally which, uint64_t n)
{
    ledger->tallies[which] += n;
}

void ledger_fail(struct ledger *ledger, uint32_t number, const char *side, const char *wrong)
{
    if (ledger->failed) {
        return;
    }
    ledger->failed = true;
    const uint32_t session = number / SESSION_EXCHANGES * SESSION_EXCHANGES;
    fprintf(stderr,
            "exchange %" PRIu32 " of seed %" PRIu64 ", seen by the %s: %s\n"
            "again: --seed %" PRIu64 " --first %" PRIu32
            " --exchanges %d; its heads: --show %" PRIu32 "\n",
            number, ledger->seed, side, wrong, ledger->seed, session, SESSION_EXCHANGES, number);
    uv_stop(ledger->loop);
}

void ledger_arrived(struct ledger *ledger, uint32_t number)
{
    const uint32_t session = number / SESSION_EXCHANGES - ledger->first / SESSION_EXCHANGES;
    if (ledger->arrived[number - ledger->first]++ > 0) {
        ledger_fail(ledger, number, "upstream", "it came twice");
    } else if (number < ledger->last_arrived[session]) {
        ledger_fail(ledger, number, "upstream", "it came after a later one of its connection");
    }
    ledger->last_arrived[session] = number + 1;
}

void ledger_answered(struct ledger *ledger, uint32_t number)
{
    if (ledger->answered[number - ledger->first]++ > 0) {
        ledger_fail(ledger, number, "client", "it was answered twice");
    } else if (ledger->arrived[number - ledger->first] == 0) {
        ledger_fail(ledger, number, "client", "it was answered, but never reached the upstream");
    }
    ledger->done++;
    ledger_count(ledger, TALLY_EXCHANGES, 1);
}

void ledger_check_end(struct ledger *ledger)
{
    for (uint32_t i = 0; i < ledger->count; i++) {
        if (ledger->arrived[i] != 1 || ledger->answered[i] != 1) {
            ledger_fail(ledger, ledger->first + i, "books", "it did not happen once");
        }
    }
}

void ledger_print(const struct ledger *ledger)
{
    static const char *const words[] = {
#define TALLY_WORD(id, word) [TALLY_##id] = (word),
        TALLY_MAP(TALLY_WORD)
#undef TALLY_WORD
    };
    for (uint32_t i = 0; i < TALLY_COUNT; i++) {
        printf("%s %" PRIu64 "\n", words[i], ledger->tallies[i]);
    }
}
