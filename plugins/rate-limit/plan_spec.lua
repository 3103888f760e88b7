-- SPDX-License-Identifier: Apache-2.0
-- Plans and hooks do the same: each case runs twice, as it is, and behind a plugin that has empty
-- hooks and no plans, so that all hooks behind it run in Lua.
local cjson = require 'cjson'
local gateway = require 'moongate.test'
local lfs = require 'lfs'

local FIRST = [[
local nothing = function() end
return { PRIORITY = 100000, VERSION = '0.0.1', access = nothing, header_filter = nothing,
    log = nothing }
]]

-- What may differ between two runs.
local VOLATILE = { date = true, ['x-request-id'] = true }
local OF_RUN = { 'ts', 'request_id', 't', 'tries', 'bytes_in', 'bytes_out', 'trace_id', 'span_id' }

describe('plans', function()
    local folder, log

    before_each(function()
        folder, log = os.tmpname(), os.tmpname()
        os.remove(folder)
        assert(lfs.mkdir(folder))
        local file = assert(io.open(folder .. '/first.lua', 'w'))
        file:write(FIRST)
        file:close()
    end)

    after_each(function()
        os.remove(folder .. '/first.lua')
        lfs.rmdir(folder)
        os.remove(log)
    end)

    local function config_of(case, is_lua)
        local plugins = {}
        for name, config in pairs(case.plugins) do
            plugins[#plugins + 1] = { name = name, config = config }
        end
        plugins[#plugins + 1] = { name = 'access-log',
            config = { sinks = { { type = 'file', path = log } } } }
        plugins[#plugins + 1] = is_lua and { name = 'first' } or nil
        return { _format_version = '3.0', services = { {
            name = 'up', url = 'http://127.0.0.1:9101', retries = 0,
            routes = { { name = 'all', paths = { '/' }, plugins = plugins },
                { name = 'other', paths = { '/other' }, plugins = plugins } },
        } } }
    end

    local function seen_of(res)
        local headers = {}
        for name, value in pairs(res.headers) do
            headers[name:lower()] = not VOLATILE[name:lower()] and value or nil
        end
        local body = res.body or '' -- a broken one comes with its head
        for _, volatile in ipairs({ '"request_id":"[^"]*"', 'X%-Request%-ID: %w+',
            'Date: [^\r]+' }) do
            body = body:gsub(volatile, '')
        end
        return { status = res.status, outcome = res.outcome, headers = headers, body = body }
    end

    local function records(gw, count)
        local lines
        for _ = 1, 2000 do
            gw:progress()
            lines = {}
            for line in io.lines(log) do
                lines[#lines + 1] = line
            end
            if #lines >= count then
                break
            end
            gw.native:wait(5)
        end
        assert.equal(count, #lines)
        for i, line in ipairs(lines) do
            local record = cjson.decode(line)
            for _, name in ipairs(OF_RUN) do
                record[name] = nil
            end
            if record.limit then
                assert.equal(16, #record.limit.key_hash)
                record.limit.key_hash = nil
            end
            lines[i] = record
        end
        return lines
    end

    -- All that clients and the log see of a case.
    local function run(case, is_lua)
        local gw = gateway.start(config_of(case, is_lua), { plugins_path = { folder } })
        local at, seen = 0, {}
        gw.upstream:reply(function()
            at = at + 1
            local answer = case.answers and case.answers[at] or 200
            return type(answer) == 'table' and answer or { status = answer, body = 'from there' }
        end)
        for i = 1, case.count do
            local ask = case.asks and case.asks[i] or {}
            if ask.advance then
                gw:advance(ask.advance)
            end
            seen[i] = seen_of(gw:get(ask.path or '/', { headers = ask.headers,
                client_ip = ask.client_ip }))
        end
        local logged = records(gw, case.count)
        gw:stop()
        io.open(log, 'w'):close()
        return seen, logged
    end

    local function compare(case)
        local seen, logged = run(case, false)
        local seen_in_lua, logged_in_lua = run(case, true)
        assert.same(seen_in_lua, seen)
        assert.same(logged_in_lua, logged)
        return seen, logged
    end

    local function statuses(seen)
        local list = {}
        for i, one in ipairs(seen) do
            list[i] = one.status
        end
        return list
    end

    local NO_JITTER = { percent = 0 }

    it('admit, and leave denials to the hook', function()
        local seen, logged = compare{ count = 5,
            plugins = { ['rate-limit'] = { quota = 3, window = '1m',
                retry_after_jitter = NO_JITTER } } }
        assert.same({ 200, 200, 200, 429, 429 }, statuses(seen))
        assert.equal('2', seen[1].headers['x-ratelimit-remaining'])
        assert.equal('allowed', logged[1].limit.decision)
        assert.equal('denied', logged[4].limit.decision)
    end)

    it('count each network by itself', function()
        local asks, remaining = {}, {}
        for _ = 1, 3 do
            for _, ip in ipairs({ '1.2.3.4', '10.20.30.40', '10.20.30.41', '203.0.113.250',
                '2001:db8::1', '2001:db8::2', '2001:db8:1:2:3:4:5:6' }) do
                asks[#asks + 1] = { client_ip = ip }
            end
        end
        local seen = compare{ count = #asks, asks = asks, plugins = { ['rate-limit'] = {
            quota = 4, window = '30s', retry_after_jitter = NO_JITTER } } }
        for i, one in ipairs(seen) do
            remaining[i] = one.status == 200 and one.headers['x-ratelimit-remaining'] or 'none'
        end
        -- the fifth and the sixth are of one network
        assert.equal('3333323 2222102 1111nonenone1', table.concat(remaining, '', 1, 7) .. ' ' ..
            table.concat(remaining, '', 8, 14) .. ' ' .. table.concat(remaining, '', 15, 21))
    end)

    it('show the tightest of several limits', function()
        local seen = compare{ count = 9, plugins = { ['rate-limit'] = {
            headers = { 'x-ratelimit', 'legacy' }, retry_after_jitter = NO_JITTER, limits = {
                { name = 'wide', quota = 7, window = '1h' },
                { name = 'narrow', quota = 4, window = '10s', algorithm = 'token-bucket',
                    burst = 6 },
                { name = 'watched', quota = 2, window = '1m', mode = 'shadow' },
            } } }, asks = { [6] = { advance = 9 } } }
        assert.equal('6', seen[1].headers['ratelimit-remaining'])
        assert.equal(429, seen[9].status)
    end)

    for _, missing in ipairs({ 'ip', 'shared', 'skip', 'deny' }) do
        it('make keys of fields, where key_missing is ' .. missing, function()
            compare{ count = 7, plugins = { ['rate-limit'] = {
                quota = 2, window = '1m', key = { 'header:x-key', 'method', 'route', 'const:a' },
                key_missing = missing, retry_after_jitter = NO_JITTER, scope = 'global' } },
            asks = { { headers = { ['X-Key'] = 'a' } }, { headers = { ['X-Key'] = 'b' } },
                { headers = { ['X-Key'] = 'a' } }, { headers = { ['X-Key'] = 'a' } }, {},
                { path = '/other' }, {} } }
        end)
    end

    it('ban', function()
        local seen = compare{ count = 6, plugins = { ['rate-limit'] = {
            quota = 1, window = '1m', retry_after_jitter = NO_JITTER,
            ban = { after = 1, within = '1m', ['for'] = '2m' } } },
            asks = { [6] = { advance = 300 } } }
        assert.same({ 200, 429, 403, 403, 403, 200 }, statuses(seen))
    end)

    it('leave delays to the hook', function()
        local _, logged = compare{ count = 4, plugins = { ['rate-limit'] = {
            quota = 1, window = '1s', algorithm = 'leaky-bucket' } } }
        assert.equal('delayed', logged[2].limit.decision)
    end)

    it('only watch in shadow mode', function()
        local seen, logged = compare{ count = 3, plugins = { ['rate-limit'] = {
            quota = 1, window = '1m', mode = 'shadow' } } }
        assert.is_nil(seen[1].headers['x-ratelimit-limit'])
        assert.equal('shadow_denied', logged[3].limit.decision)
    end)

    it('leave the fields of an upstream to the hook', function()
        local function told(remaining)
            return { status = 200, headers = { ['X-RateLimit-Limit'] = '9',
                ['X_RateLimit_Remaining'] = remaining, ['X-RateLimit-Remaining'] = remaining,
                ['X-RateLimit-Reset'] = '7' } }
        end
        local seen = compare{ count = 3, answers = { told('1'), told('80'), 200 },
            plugins = { ['rate-limit'] = { quota = 50, window = '1m' } } }
        assert.equal('9', seen[1].headers['x-ratelimit-limit'])
        assert.equal('50', seen[2].headers['x-ratelimit-limit'])
    end)

    local OPEN = { base = '10s', jitter_percent = 0 }

    it('open, probe and close a breaker', function()
        local seen, logged = compare{ count = 9,
            answers = { 200, 500, 500, 500, 200, 200, 503 },
            plugins = { ['circuit-breaker'] = { consecutive_failures = 3, ramp = 0, open = OPEN } },
            asks = { [7] = { advance = 11 } } }
        assert.same({ 200, 500, 500, 500, 503, 503, 200, 200, 503 }, statuses(seen))
        assert.equal('closed', logged[1].breaker.state)
        assert.equal('denied', logged[5].breaker.decision)
        assert.equal('probe', logged[7].breaker.decision)
    end)

    it('watch with a breaker in shadow mode, and judge by an expression', function()
        local _, logged = compare{ count = 6, answers = { 500, 500, 500, 200 },
            plugins = { ['circuit-breaker'] = { consecutive_failures = 3, open = OPEN,
                mode = 'shadow' } } }
        assert.equal('shadow_denied', logged[4].breaker.decision)
        local seen = compare{ count = 3, answers = { 418, 418, 200 }, plugins = {
            ['circuit-breaker'] = { consecutive_failures = 2, open = OPEN,
                classify = 'lua: status == 418 and "failure" or nil' } } }
        assert.same({ 418, 418, 503 }, statuses(seen))
    end)

    it('leave broken bodies to the hook', function()
        local cut = { headers = { ['Content-Length'] = 100 }, body = 'short' }
        local seen = compare{ count = 3, answers = { cut, 200 },
            plugins = { ['circuit-breaker'] = { consecutive_failures = 1, open = OPEN } } }
        assert.equal('upstream_body_timeout', seen[1].outcome)
        assert.equal(503, seen[2].status)
    end)
end)
