-- SPDX-License-Identifier: Apache-2.0
-- Instructions of user space for one proxied request, counted by callgrind; how is told in
-- spec/gateway/support/callgrind.lua. What LuaJIT compiles and collects differs from window to
-- window: the figure is that of the cheapest.
--
--     script/bench instructions [NAME [REQUESTS [FOLDER]]]      (all; windows of 2,000)
--     script/bench instructions --record
--
--     plain     one route, a request that has a Host field only, an answer of 1 KB with four fields
--     fields    a request with five fields and a query
--     policies  the same through rate-limit, circuit-breaker and a JSON access log
--
-- The files of callgrind are kept in FOLDER: callgrind_annotate FOLDER/plain. With --record the
-- figures go to bench/instructions.json, against which script/test holds each build; with plugins
-- it is the middle one of three processes, since LuaJIT does not compile the same in each.
package.path = './?.lua;' .. package.path
require('tools.modules').use(arg)
local callgrind = require 'spec.gateway.support.callgrind'
local cost = require 'spec.gateway.support.cost'
local process = require 'spec.gateway.support.process'

local WARM_UP = 4000
local WINDOWS = 4

-- Of several processes the one in the middle.
local function measure(case, window, processes)
    local all = {}
    for i = 1, processes do
        all[i] = callgrind.measure(case, { warm_up = WARM_UP, window = window, windows = WINDOWS,
            keep = arg[3] })
    end
    table.sort(all, function(a, b)
        return a.instructions < b.instructions
    end)
    return all[math.ceil(processes / 2)]
end

local function main()
    local record = arg[1] == '--record'
    local wanted, window = not record and arg[1] or 'all', tonumber(arg[2]) or 2000
    local figures = {}
    for _, case in ipairs(callgrind.cases) do
        if wanted == 'all' or wanted == case.name then
            local found = measure(case, window, record and case.plugins ~= '' and 3 or 1)
            figures[case.name] = found.instructions
            print(('%-8s %6.0f instructions a request (%s), %.3f allocations, %d trace aborts')
                :format(case.name, found.instructions, cost.list(found.all), found.allocations,
                found.trace_aborts))
        end
    end
    assert(next(figures), "nothing to measure is called '" .. wanted .. "'")
    if record then
        cost.write(figures)
    end
end

process.main(main)
