-- SPDX-License-Identifier: Apache-2.0
-- circuit-breaker: which options a configuration may have.
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('circuit-breaker', function()
    local gw

    local function start(config)
        gw = gateway.start({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = {
                    { name = 'circuit-breaker', config = config },
                } } },
            } },
        })
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    describe('A1 refuses at load', function()
        local CASES = {
            { { scope = 'key' }, "the scope key needs 'key'" },
            { { key = { 'ip' } }, "'key' is for the scope key only" },
            { { max_keys = 16 }, "'max_keys' is for the scope key only" },
            { { scope = 'key', key = { 'claim:sub' } }, 'not supported yet' },
            { { scope = 'key', key = { 'adress' } }, 'is no part of a key' },
            { { scope = 'key', key = { 'ip' }, max_keys = 15 }, 'from 16 to 65536' },
            { { scope = 'upsteam' }, 'expected one of' },
            { { slow = { percent = 0 } }, 'from 1 to 100' },
            { { slow = { over = 1 } }, 'duration' },
            { { slow = { ['until'] = 'end' } }, 'expected one of' },
            { { ramp = '11m' }, 'from 0s to 10m' },
            { { classify = 'failure' }, 'expected lua: and an expression' },
            { { classify = 'lua: (' }, 'Lua' },
            { { on_state = 'lua: 1 +' }, 'Lua' },
            { { share = {} }, 'not supported yet' },
            { { fallback = { kind = 'stale' } }, 'not supported yet' },
            { { fallback = { kind = 'upstream', name = 'x' } }, "there is no upstream 'x'" },
            { { fallback = { kind = 'upstream' } }, "the kind upstream needs 'name'" },
            { { fallback = { kind = 'lua' } }, "the kind lua needs 'code'" },
            { { fallback = { kind = 'lua', code = '200' } }, 'expected lua: and an expression' },
            { { fallback = { status = 200 } }, 'for the kind response only' },
            { { fallback = { name = 'x' } }, 'for the kind upstream only' },
            { { fallback = { kind = 'response', code = 'lua: 200' } }, 'for the kind lua only' },
            { { fallback = { kind = 'response', status = 101 } }, 'from 200 to 599' },
            { { fallback = { kind = 'response', body = 3 } }, 'expected text, a map or a list' },
            { { window = '500ms' }, 'from 1s to 10m' },
            { { window = 10 }, 'duration' },
            { { buckets = 61 }, 'from 1 to 60' },
            { { window_calls = 9 }, 'from 10 to 1024' },
            { { window_type = 'count', window_calls = 10, min_requests = 11 },
                'can never be in a window' },
            { { min_requests = 0 }, 'from 1 to 1000000' },
            { { failure_percent = 101 }, 'from 0 to 100' },
            { { failure_percent = 0, consecutive_failures = 0 }, 'nothing can open this breaker' },
            { { consecutive_failures = 1001 }, 'from 0 to 1000' },
            { { failure_statuses = { 399 } }, 'from 400 to 599' },
            { { open = { base = '10s', max = '5s' } }, 'max must not be less than base' },
            { { open = { base = '99ms' } }, 'from 100ms to 1d' },
            { { open = { factor = 0.5 } }, 'from 1 to 10' },
            { { half_open = { max_inflight = 0 } }, 'from 1 to 1000' },
            { { half_open = { success_percent = 0 } }, 'from 1 to 100' },
            { { half_open = { timeout = '6m' } }, 'from 100ms to 5m' },
            { { mode = 'off' }, 'expected one of' },
            { { thresold = 5 }, 'unknown' },
        }

        for _, case in ipairs(CASES) do
            it(case[2] .. ' in ' .. cjson.encode(case[1]), function()
                local ok, err = pcall(start, case[1])
                assert.is_false(ok)
                assert.truthy(tostring(err):find(case[2], 1, true), err)
            end)
        end

        it('takes every option at both ends of its range', function()
            for _, config in ipairs({
                { window = '1s', buckets = 1, min_requests = 1, failure_percent = 0.001,
                    network_percent = 100, consecutive_failures = 1000, ramp = '0s',
                    slow = { percent = 1, over = '1ms', ['until'] = 'total' },
                    open = { base = '100ms', factor = 1, max = '100ms', jitter_percent = 100 },
                    half_open = { max_inflight = 1, required = 1, success_percent = 1,
                        timeout = '100ms' } },
                { window = '10m', buckets = 60, min_requests = 1000000, failure_percent = 100,
                    network_percent = 0, consecutive_failures = 0, ramp = '10m',
                    slow = { percent = 100, over = '10m', ['until'] = 'headers' },
                    classify = 'lua: nil', on_state = 'lua: nil',
                    open = { base = '1d', factor = 10, max = '1d', jitter_percent = 0 },
                    half_open = { max_inflight = 1000, required = 1000, success_percent = 100,
                        timeout = '5m' } },
                { window_type = 'count', window_calls = 1024, min_requests = 1024 },
                { window_type = 'count', window_calls = 10, min_requests = 10 },
            }) do
                start(config)
                assert.response(gw:get('/')).has.status(200)
                for _, line in ipairs(gw.logs) do
                    assert.not_equal('error', line.level, line.message)
                end
                gw:stop()
            end
        end)
    end)
end)
