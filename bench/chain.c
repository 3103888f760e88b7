/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a phase costs in user space: the access chain of a route with four small plugins.
 *
 *     bench_chain 5000000
 *     valgrind --tool=callgrind --smc-check=all-non-file bench_chain 20000 still
 *
 * Prints nanoseconds a chain. Two totals of callgrind, for different counts, give the instructions
 * of one chain by their difference; `still` leaves the limiter's signals out, which would come
 * fifty times as often under valgrind.
 */
#include "support/vm.h"

#include <luajit.h>
#include <time.h>

static const char plugins[] =
    "local C = require('moongate.runtime.ffi').C\n"
    "local h, entries = {}, {}\n"
    "for i = 1, 4 do h['p' .. i] = { PRIORITY = i, access = function(_, conf)"
    "  if request().number == conf.limit then runtime.exit() end end }"
    "  entries[i] = { name = 'p' .. i, config = { limit = -i } } end\n"
    "return gateway{ handlers = h, entries = entries }";

int main(int argc, char **argv)
{
    const long count = argc > 1 ? strtol(argv[1], NULL, 10) : 1000000;
    struct vm_fixture *f = vm_fixture_open(plugins, 1);
    struct mg_req *req = vm_request_at(f, 0, 0);
    if (argc > 2) {
        mg_budget_close(&vm_budget);
        luaJIT_setmode(f->vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
    }
    struct timespec begin, end;
    for (int i = 0; i < 1000; i++) { /* until all is compiled */
        req->number++;
        mg_require(mg_hook_run(req, MG_PHASE_ACCESS) == MG_VERDICT_CONTINUE);
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long i = 0; i < count; i++) {
        req->number++;
        mg_require(mg_hook_run(req, MG_PHASE_ACCESS) == MG_VERDICT_CONTINUE);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double ns =
        (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
    printf("%.1f ns a chain of 4 plugins\n", ns / (double)count);
    vm_fixture_close(f);
    return 0;
}
