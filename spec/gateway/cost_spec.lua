-- SPDX-License-Identifier: Apache-2.0
--
-- What a proxied request may cost in user space: instructions against the figures of
-- bench/instructions.json, calls of malloc, traces that LuaJIT gives up. callgrind counts, so the
-- load of the machine does not matter. (System calls: syscalls_spec.lua.)
local callgrind = require 'spec.gateway.support.callgrind'
local cost = require 'spec.gateway.support.cost'
local peers = require 'spec.gateway.support.peers'
local process = require 'spec.gateway.support.process'

local TOLERANCE = 0.03
local PROCESSES = 3 -- of which one must be within it: LuaJIT does not compile the same in each
local UPDATE = 'If the change is worth it, or made requests cheaper: script/bench instructions ' ..
    '--record, and commit bench/instructions.json with the reason.'

-- Windows long enough for the collector and the compiler to have had their turns.
local LENGTHS = {
    plain = { warm_up = 1000, window = 400, windows = 2 },
    policies = { warm_up = 2400, window = 500, windows = 4 },
}

local function reason_to_skip()
    local preset = os.getenv('MOONGATE_PRESET')
    if preset and preset ~= 'release' then
        return 'the figures are of the release preset'
    end
    return peers.missing({ 'valgrind' })
end

describe('a proxied request', function()
    local found = {}

    teardown(process.stop_all)

    local function measure(case)
        found[case.name] = found[case.name] or callgrind.measure(case, LENGTHS[case.name])
        return found[case.name]
    end

    for _, case in ipairs(callgrind.cases) do
        if LENGTHS[case.name] then
            it(case.name .. ': takes as many instructions as before', function()
                local figures, reason
                reason = reason_to_skip()
                if not reason then
                    figures, reason = cost.figures()
                end
                if not figures then
                    pending(reason)
                    return
                end
                local before = figures[case.name]
                local now, change
                for _ = 1, PROCESSES do
                    now = measure(case)
                    change = now.instructions / before - 1
                    if math.abs(change) <= TOLERANCE then
                        break
                    end
                    found[case.name] = nil
                end
                assert(math.abs(change) <= TOLERANCE, ('%s: %.0f instructions a request, kept are '
                    .. '%.0f: %+.1f %% (windows: %s). %s'):format(case.name, now.instructions,
                    before, change * 100, cost.list(now.all), UPDATE))
            end)

            it(case.name .. ': calls no allocator and gives up no trace', function()
                local reason = reason_to_skip()
                if reason then
                    pending(reason)
                    return
                end
                local now = measure(case)
                -- The connection that ends a window, a buffer that is larger than ever before.
                -- One in each turn of the loop, which serves four requests, would be 0.25.
                assert(now.allocations < 0.05, ('%.3f allocations a request')
                    :format(now.allocations))
                -- A loop that a trace of its caller takes in is tried alone now and then.
                assert.equal(0, now.trace_aborts)
            end)
        end
    end
end)
