-- SPDX-License-Identifier: Apache-2.0
-- rate-limit: which options a configuration may have, and what all entries need together.
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('rate-limit', function()
    local gw

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function start(configs, settings)
        local routes = {}
        for i, config in ipairs(configs) do
            routes[i] = { name = 'r' .. i, paths = { '/' .. i },
                plugins = { { name = 'rate-limit', config = config } } }
        end
        gw = gateway.start({
            _format_version = '3.0',
            services = { { name = 'up', url = 'http://127.0.0.1:9101', routes = routes } },
            gateway = settings,
        })
    end

    local function refusal(configs, settings)
        local ok, err = pcall(start, configs, settings)
        assert.is_false(ok)
        return tostring(err)
    end

    local function one(more)
        local limit = { quota = 5, window = '1m' }
        for name, value in pairs(more) do
            limit[name] = value
        end
        return limit
    end

    describe('refuses at load', function()
        local CASES = {
            { {}, "set 'limits', or 'quota' and 'window'" },
            { { quota = 5 }, 'a limit needs a window' },
            { { window = '1m' }, "set 'limits', or 'quota' and 'window'" },
            { { quota = 0, window = '1m' }, 'from 1 to 1000000000' },
            { { quota = 1000000001, window = '1m' }, 'from 1 to 1000000000' },
            { { quota = 1.5, window = '1m' }, 'a whole number' },
            { { quota = 5, window = 60 }, '60s or 60ms' },
            { { quota = 5, window = '99ms' }, 'from 100ms' },
            { { quota = 5, window = '367d' }, 'window' },
            { { quota = 5, window = 'month' }, 'not supported yet' },
            { { quota = 'lua: 5', window = '1m' }, 'values in Lua are not built yet' },
            { one{ algorithm = 'leaky-bucket' }, 'not supported yet' },
            { one{ algorithm = 'sliding-log' }, 'not supported yet' },
            { one{ algorithm = 'sliding' }, 'sliding-window' },
            { one{ algorithm = 'concurrency' }, 'has no window' },
            { one{ burst = 5 }, 'burst is for token-bucket and gcra' },
            { one{ burst = 0, algorithm = 'gcra' }, 'from 1 to 1000000000' },
            { one{ align = 'first' }, 'align is for fixed-window' },
            { { quota = 26062498, window = '1d' }, 'fixed-window can' },
            { { quota = 1, window = '1d', algorithm = 'gcra', burst = 26062498 },
                'fixed-window can' },
            { { limits = {} }, 'a list of 1 to 16 entries' },
            { { limits = { one{} }, quota = 5 }, 'cannot both be' },
            { { limits = { one{}, one{} } }, 'limit 1 of 2 needs a name' },
            { { limits = { one{ name = 'a' }, one{ name = 'a' } } }, "two limits are called 'a'" },
            { { limits = { one{ name = 'Minute' } } }, 'name' },
            { { limits = { { quota = 5 } } }, 'a limit needs a window' },
            { { limits = { { window = '1m' } } }, 'required' },
            { { limits = { one{ max_keys = 5 } } }, 'unknown' },
            { one{ key = {} }, 'a list of 1 to 6 entries' },
            { one{ key = { 'adress' } }, "'adress' is no part of a key" },
            { one{ key = { 'header' } }, "'header' needs a name" },
            { one{ key = { 'claim:sub' } }, 'tokens are not read yet' },
            { one{ key = { 'lua: 1' } }, 'values in Lua are not built yet' },
            { one{ ipv4_prefix = 7 }, 'from 8 to 32' },
            { one{ ipv6_prefix = 129 }, 'from 16 to 128' },
            { one{ key_missing = 'allow' }, 'expected one of' },
            { one{ scope = 'consumer' }, 'expected one of' },
            { one{ mode = 'off' }, 'expected one of' },
            { one{ status = 399 }, 'from 400 to 599' },
            { one{ status = 600 }, 'from 400 to 599' },
            { one{ body = 5 }, 'expected text or a map' },
            { one{ body = 'lua: 5' }, 'values in Lua are not built yet' },
            { one{ content_type = 'a\r\nb' }, 'content_type' },
            { one{ headers = { 'none', 'legacy' } }, "'none' stands alone" },
            { one{ headers = { 'ietf-11' } }, 'not supported yet' },
            { one{ headers = { 'x-rate-limit' } }, 'x-ratelimit' },
            { one{ retry_after_jitter = { percent = 101 } }, 'from 0 to 100' },
            { one{ retry_after_jitter = { max = '61s' } }, 'from 0s to 1m' },
            { one{ max_keys = 1023 }, 'from 1024 to 16777216' },
            { one{ store = 'redis' }, 'the store redis is not built yet' },
            { one{ redis = {} }, 'the store redis is not built yet' },
            { one{ on_store_error = 'deny' }, 'not supported yet' },
            { one{ on_exceed = 'mark' }, 'not supported yet' },
            { one{ cost = 2 }, 'not supported yet' },
            { one{ cost = 'header:X-Cost' }, 'not supported yet' },
            { one{ count_denied = true }, 'not supported yet' },
            { one{ count_when = { 401 } }, 'not supported yet' },
            { one{ response_cost = 'header:X' }, 'not supported yet' },
            { one{ exempt = { 'ip:10.0.0.0/8' } }, 'not supported yet' },
            { one{ ban = { after = 3 } }, 'not supported yet' },
            { one{ on_denied = 'lua: 1' }, 'not supported yet' },
            { one{ group = 'all' }, 'not supported yet' },
            { one{ max_delay = '1s' }, 'not supported yet' },
            { one{ qouta = 5 }, 'quota' },
        }

        for _, case in ipairs(CASES) do
            it(case[2] .. ' in ' .. cjson.encode(case[1]), function()
                local text = refusal({ case[1] })
                assert.truthy(text:find(case[2], 1, true), text)
            end)
        end
    end)

    it('takes the bounds of its numbers, and what is in force anyway', function()
        start({
            { quota = 1, window = '100ms' },
            { quota = 1000000000, window = '366d', algorithm = 'fixed-window' },
            { quota = 26062497, window = '1d' },
            { quota = 1000000000, algorithm = 'concurrency' },
            { quota = 1, window = '1s', algorithm = 'gcra', burst = 1000000000 },
            { quota = 1, window = '1s', cost = 1, count_denied = false, count_when = 'always',
                on_exceed = 'reject', store = 'local', on_store_error = 'local' },
        })
    end)

    it('points at the limit that is wrong', function()
        local text = refusal({ { limits = { one{ name = 'a' }, one{ name = 'b', burst = 2 } } } })
        assert.truthy(text:find('limits[1].burst', 1, true), text)
    end)

    it('says how much memory all limits need when it is too much', function()
        local text = refusal({ { quota = 5, window = '1m', max_keys = 1048576 },
            { max_keys = 524288, limits = { one{ name = 'a' }, one{ name = 'b' } } } },
            { shared_memory = '64MiB' })
        assert.truthy(text:find('need 128MiB, gateway.shared_memory is 64MiB', 1, true), text)
    end)

    local function warnings()
        return gw.native:report()
    end

    it('warns of a status that means something else', function()
        start({ one{ status = 503 } })
        assert.truthy(warnings():find('503 tells clients that the server is ill', 1, true))
        gw:stop()
        start({ one{} })
        assert.equal('', warnings())
    end)

    it('warns of a key by consumer before anybody authenticates', function()
        local early = { plugins = { settings = { ['rate-limit'] = { priority = 2000 } } } }
        start({ one{ key = { 'consumer' } } }, early)
        assert.truthy(warnings():find('runs before plugins that authenticate', 1, true))
        gw:stop()
        start({ one{ key = { 'ip' } } }, early)
        assert.equal('', warnings())
        gw:stop()
        start({ one{ key = { 'consumer' } } })
        assert.equal('', warnings())
    end)
end)
