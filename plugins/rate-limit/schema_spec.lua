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

    local function in_redis(more)
        local config = more.limits and more or one(more)
        config.store = 'redis'
        config.redis = more.redis
        return config
    end

    describe('A1 refuses at load', function()
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
            { { quota = 5, window = 'month' }, 'a calendar month is for fixed-window' },
            { { quota = 'lua: 5', window = '1m' }, 'needs a fallback_quota' },
            { { quota = 'lua: 5 +', window = '1m', fallback_quota = 1 }, 'not a Lua expression' },
            { one{ fallback_quota = 5 }, 'fallback_quota is for a quota in Lua' },
            { one{ max_delay = '1s' }, 'max_delay is for leaky-bucket' },
            { one{ cost = -1 }, 'a whole number from 0 to 1000000' },
            { one{ cost = 'header:a b' }, 'header:NAME' },
            { one{ count_when = 'never' }, "expected 'always'" },
            { one{ count_when = { 600 } }, 'a list of statuses' },
            { one{ response_cost = 5 }, 'header:NAME' },
            { one{ exempt = { 'ip:10.0.0.0/33' } }, 'an address or a range' },
            { one{ exempt = { 'path:x' } }, 'begins with /' },
            { one{ exempt = { 'method:get' } }, 'in capitals' },
            { one{ exempt = { 'who:x' } }, 'exempts nothing' },
            { one{ exempt = { 'lua: (' } }, 'not a Lua expression' },
            { one{ ban = {} }, 'ban.after: required, but not set' },
            { one{ ban = { after = 1, ['for'] = '2h', max = '1h' } }, 'max is shorter than for' },
            { one{ ban = { after = 1, factor = 0.5 } }, 'from 1 to 10' },
            { one{ on_denied = 'x' }, 'expected lua: and an expression' },
            { one{ key = { 'lua: (' } }, 'not a Lua expression' },
            { one{ algorithm = 'sliding-log' }, 'not supported yet' },
            { one{ algorithm = 'sliding' }, 'sliding-window' },
            { one{ algorithm = 'concurrency' }, 'has no window' },
            { one{ burst = 5 }, 'burst is for token-bucket, gcra and leaky-bucket' },
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
            { one{ ipv4_prefix = 7 }, 'from 8 to 32' },
            { one{ ipv6_prefix = 129 }, 'from 16 to 128' },
            { one{ key_missing = 'allow' }, 'expected one of' },
            { one{ scope = 'consumer' }, 'expected one of' },
            { one{ mode = 'off' }, 'expected one of' },
            { one{ status = 399 }, 'from 400 to 599' },
            { one{ status = 600 }, 'from 400 to 599' },
            { one{ body = 5 }, 'expected text or a map' },
            { one{ content_type = 'a\r\nb' }, 'content_type' },
            { one{ headers = { 'none', 'legacy' } }, "'none' stands alone" },
            { one{ headers = { 'x-rate-limit' } }, 'x-ratelimit' },
            { one{ retry_after_jitter = { percent = 101 } }, 'from 0 to 100' },
            { one{ retry_after_jitter = { max = '61s' } }, 'from 0s to 1m' },
            { one{ max_keys = 1023 }, 'from 1024 to 16777216' },
            { one{ store = 'redis' }, "store redis needs the record 'redis'" },
            { one{ redis = { host = 'a' } }, "'redis' is of the store redis" },
            { one{ on_store_error = 'deny' }, "'on_store_error' is of the store redis" },
            { in_redis{ on_store_error = 'maybe' }, 'local, allow, deny' },
            { in_redis{ redis = {} }, "set 'connection', 'host', 'unix' or 'url'" },
            { in_redis{ redis = { host = 'a', unix = '/b' } }, 'cannot both be' },
            { in_redis{ redis = { url = 'http://a' } }, 'expected redis://' },
            { in_redis{ redis = { host = 'a', port = 0 } }, 'from 1 to 65535' },
            { in_redis{ redis = { topology = 'cluster' } }, "topology cluster needs 'nodes'" },
            { in_redis{ redis = { host = 'a', username = 'b' } }, "a 'username' needs a" },
            { in_redis{ redis = { host = 'a', database = 16 } }, 'from 0 to 15' },
            { in_redis{ redis = { connection = 'main' } }, "gateway.redis has no 'main'" },
            { in_redis{ redis = { connection = 'main', connections = 4 } },
                "'connections' is of the instance of gateway.redis" },
            { in_redis{ redis = { host = 'a', prefix = '{a}' } }, 'without braces' },
            { in_redis{ redis = { host = 'a', prefix = ('a'):rep(65) } }, '1 to 64 bytes' },
            { in_redis{ redis = { host = 'a', tag = 'both' } }, 'key, prefix' },
            { in_redis{ redis = { host = 'a', async = {} } }, "'async' is of the mode async" },
            { in_redis{ redis = { host = 'a', mode = 'async', async = { interval = '19ms' } } },
                'from 20ms to 10s' },
            { in_redis{ redis = { host = 'a', mode = 'async',
                async = { over_admit_percent = 51 } } }, 'from 0.1 to 50' },
            { in_redis{ redis = { host = 'a', lease = {} } }, "'lease' is of the mode lease" },
            { in_redis{ redis = { host = 'a', mode = 'async', lease = {} } },
                "'lease' is of the mode lease" },
            { in_redis{ redis = { host = 'a', mode = 'lease', lease = { percent = 0.05 } } },
                'from 0.1 to 50' },
            { in_redis{ redis = { host = 'a', mode = 'lease', lease = { ttl = '11s' } } },
                'from 100ms to 10s' },
            { in_redis{ redis = { host = 'a', mode = 'lease' }, ban = { after = 1 },
                limits = { { quota = 1, window = '1s', key = { 'path' } } } },
                'the ban and all limits have to count by one key' },
            { in_redis{ redis = { host = 'a', timeout = '6s' } }, 'from 1ms to 5s' },
            { in_redis{ redis = { host = 'a', connect_timeout = 20 } }, '20s or 20ms' },
            { in_redis{ redis = { host = 'a', connections = 17 } }, 'from 1 to 16' },
            { in_redis{ redis = { host = 'a', max_pending = 15 } }, 'from 16 to 65536' },
            { in_redis{ redis = { host = 'a', breaker = { failures = 0 } } }, 'from 1 to 1000' },
            { in_redis{ redis = { host = 'a', instances = 0 } }, "expected 'auto' or a whole" },
            { in_redis{ redis = { host = 'a', instances = 'many' } }, "expected 'auto'" },
            { in_redis{ redis = { host = 'a', hold_ttl = '2s' } }, 'from 3s to 1h' },
            { in_redis{ key = { 'path' }, redis = { topology = 'cluster', nodes = { 'a:1' } },
                limits = { { name = 'a', quota = 1, window = '1s' },
                    { name = 'b', quota = 1, window = '1s', key = { 'ip' } } } },
                "set tag to 'prefix'" },
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
