/* SPDX-License-Identifier: Apache-2.0 */
#include "script/took.h"

#include "net/loop.h"
#include "script/turn.h"
#include "script/vm.h"

#include "script/export.h"
#include "script/ffi.h"

struct mg_took {
    uint64_t since_us;
    uint32_t turn; /* that runs; 0: none */
    struct {
        uint64_t us;
        bool ran;
    } turns[]; /* vm->turn_count */
};

void mg_took_close(struct mg_req *req, uint64_t now_us)
{
    struct mg_took *took = req->took;
    if (took->turn > 0) {
        took->turns[took->turn].us += now_us - took->since_us;
        took->turn = 0;
    }
}

MG_FFI_EXPORT void mg_ffi_took(struct mg_req *req, int turn)
{
    const struct mg_vm *vm = req->vm;
    const uint64_t now_us = mg_clock_precise_us(&vm->loop->clock);
    if (!req->took) {
        req->took = mg_arena_zalloc(&req->arena, sizeof *req->took +
                                                     vm->turn_count * sizeof req->took->turns[0]);
    }
    mg_took_close(req, now_us);
    req->took->turn = (uint32_t)turn;
    req->took->since_us = now_us;
    req->took->turns[turn].ran = true;
}

bool mg_took_of(const struct mg_req *req, uint32_t turn, uint64_t *us)
{
    const struct mg_took *took = req->took;
    const struct mg_turn *turns = req->vm->turns;
    if (!took || !took->turns[turn].ran) {
        return false;
    }
    *us = 0;
    for (uint32_t i = 1; i < req->vm->turn_count; i++) {
        if (took->turns[i].ran && turns[i].plugin_index == turns[turn].plugin_index) {
            if (i < turn) {
                return false;
            }
            *us += took->turns[i].us;
        }
    }
    return true;
}
