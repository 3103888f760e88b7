-- SPDX-License-Identifier: Apache-2.0
-- rate-limit: header fields of every set for 1 to 16 limits, read by a strict parser of structured
-- fields; Retry-After over a thousand denials; and that a shadow limit changes nothing of it.
local gateway = require 'moongate.test'

local REQUESTS = os.getenv('MOONGATE_LONG') and 10000 or 2000
local DENIALS = 1000

-- ---- RFC 9651 -----------------------------------------------------------------------------------

-- A bare item: a string without escapes, an integer, a token, a boolean. Others are not sent.
local function bare_item(text, at)
    local string, stop = text:match('^"([^"\\%c\128-\255]*)"()', at)
    if string then
        return string, stop
    end
    local digits
    digits, stop = text:match('^(%-?%d+)()', at)
    if digits then
        assert(#digits:gsub('%-', '') <= 15 and not text:find('^%.', stop), 'integer: ' .. text)
        return tonumber(digits), stop
    end
    local token
    token, stop = text:match("^([%a*][%w!#$%%&'*+.^_`|~:/-]*)()", at)
    if token then
        return token, stop
    end
    local bit
    bit, stop = text:match('^%?([01])()', at)
    return assert(bit, 'no item at ' .. at .. ' of ' .. text) == '1', stop
end

local function parameters(text, at)
    local found = {}
    while text:find('^;', at) do
        local name, stop = text:match('^; *([%l*][%l%d_.*-]*)()', at)
        assert(name, 'no parameter at ' .. at .. ' of ' .. text)
        assert(found[name] == nil, name .. ' comes twice in ' .. text)
        found[name], at = true, stop
        if text:find('^=', at) then
            found[name], at = bare_item(text, at + 1)
        end
    end
    return found, at
end

-- A list of items with parameters, as RFC 9651, 4.2.1 reads it: { value =, q =, ... } each.
local function parse_list(text)
    local list, at = {}, 1
    repeat
        local value, found
        value, at = bare_item(text, at)
        found, at = parameters(text, at)
        found.value = value
        list[#list + 1] = found
        local comma = text:match('^[ \t]*,[ \t]*()', at)
        assert(comma or at == #text + 1, 'rest at ' .. at .. ' of ' .. text)
        at = comma
    until not at
    return list
end

describe('the parser of structured fields', function()
    it('reads lists', function()
        assert.same({ { value = 'a b', q = 8, qu = 'x-y' }, { value = 'tok', b = true } },
            parse_list('"a b";q=8;qu="x-y" ,\ttok;b'))
    end)

    it('refuses what is none', function()
        for _, text in ipairs({ '', '"a', '"a",', '"a" ;q=1', '"a";Q=1', '"a";q=', '"a";q=1;q=1',
            '"a";q=1.5', 'a b', '"\1"', ',"a"' }) do
            assert.is_false(pcall(parse_list, text), text)
        end
    end)
end)

-- ---- the fields ---------------------------------------------------------------------------------

local ALGORITHMS = { 'sliding-window', 'fixed-window', 'token-bucket', 'gcra', 'concurrency',
    'leaky-bucket' }
local WINDOWS = { '10s', '500ms', '1m', '1d', '36s', '2w' }
local ALL = { 'x-ratelimit', 'x-ratelimit-each', 'legacy', 'ietf-11' }
local SETS = { { 'x-ratelimit' }, { 'x-ratelimit-each' }, { 'legacy' }, { 'ietf-11' } }
local THEIRS = {
    ['RateLimit'] = '"up";r=1;t=1', ['RateLimit-Policy'] = '"up";q=2;w=3',
    ['X-RateLimit-Limit'] = '3', ['X-RateLimit-Remaining'] = '0',
}

local function limits_of(count)
    local list = {}
    for i = 1, count do
        local algorithm = ALGORITHMS[(i - 1) % #ALGORITHMS + 1]
        list[i] = { name = 'limit-' .. i, quota = 10 + i, algorithm = algorithm,
            burst = algorithm == 'gcra' and 5 or nil,
            window = algorithm ~= 'concurrency' and WINDOWS[i * 5 % #WINDOWS + 1] or nil }
    end
    return list
end

local function source(routes)
    local list = {}
    for i, plugins in ipairs(routes) do
        list[i] = { name = 'r' .. i, paths = { '/' .. i }, plugins = plugins }
    end
    return {
        _format_version = '3.0',
        services = { { name = 'up', url = 'http://127.0.0.1:9101', routes = list } },
    }
end

describe('R14 fields of rate-limit', function()
    local gw

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function start(config, theirs)
        gw = gateway.start(source({ { { name = 'rate-limit', config = config } } }),
            { upstream = { headers = theirs } })
    end

    local function integer(text)
        return tonumber(tostring(text):match('^%d+$'))
    end

    local function check_triple(headers, prefix)
        local limit = integer(headers[prefix .. 'Limit'])
        local remaining = integer(headers[prefix .. 'Remaining'])
        assert.is_truthy(limit and remaining, prefix)
        assert.is_true(remaining < limit)
        return limit
    end

    -- Both fields of the draft, for every limit in order, behind the upstream's own.
    local function check_draft(headers, limits, theirs)
        local policies = parse_list(headers['RateLimit-Policy'])
        local states = parse_list(headers['RateLimit'])
        local before = theirs and 1 or 0
        assert.same({ #limits + before, #limits + before }, { #policies, #states })
        if theirs then
            assert.same({ 'up', 'up' }, { policies[1].value, states[1].value })
        end
        for i, limit in ipairs(limits) do
            local policy, state = policies[i + before], states[i + before]
            assert.same({ limit.name, limit.name }, { policy.value, state.value })
            assert.is_true(policy.q >= limit.quota and state.r >= 1)
            if limit.algorithm == 'concurrency' then
                assert.same({ 'concurrent-requests' }, { policy.qu, policy.w, state.t })
            else
                assert.is_true(policy.w >= 1 and state.t >= 1)
            end
        end
    end

    local function check_each(headers, limits)
        for _, limit in ipairs(limits) do
            local name = 'Limit-' .. limit.name:match('%d+')
            assert.equal(limit.quota, integer(headers['X-RateLimit-Limit-' .. name]))
            assert.is_truthy(integer(headers['X-RateLimit-Remaining-' .. name]))
        end
    end

    for _, theirs in ipairs({ false, THEIRS }) do
        local beside = theirs and ' beside the upstream\'s' or ''
        it('parse, for 1 to 16 limits and every set' .. beside, function()
            for count = 1, 16 do
                local limits = limits_of(count)
                for _, set in ipairs({ ALL, SETS[count % #SETS + 1] }) do
                    start({ limits = limits, headers = set }, theirs or nil)
                    local headers = gw:get('/1').headers
                    local has = {}
                    for _, name in ipairs(set) do
                        has[name] = true
                    end
                    if has['x-ratelimit'] and theirs then -- less remains there: theirs stays
                        assert.same({ '3', '0' }, { headers['X-RateLimit-Limit'],
                            headers['X-RateLimit-Remaining'] })
                    elseif has['x-ratelimit'] then
                        check_triple(headers, 'X-RateLimit-')
                    end
                    if has.legacy then
                        check_triple(headers, 'RateLimit-')
                    end
                    if has['ietf-11'] then
                        check_draft(headers, limits, theirs)
                    end
                    if has['x-ratelimit-each'] then
                        check_each(headers, limits)
                    end
                    gw:stop()
                    gw = nil
                end
            end
        end)
    end

    -- Of each window, how far the waits are spread: 10 %, and 5 s at most.
    local SPREAD = { ['20s'] = 2, ['50s'] = 5, ['2m'] = 5, ['1d'] = 5 }

    it('never ask to come back too early, and spread who comes back', function()
        for window, most in pairs(SPREAD) do
            start({ quota = 1, window = window, algorithm = 'fixed-window', align = 'first',
                headers = { 'ietf-11' } })
            assert.response(gw:get('/1')).has.status(200)
            local seen = {}
            for _ = 1, DENIALS / 4 do
                local res = gw:get('/1')
                assert.response(res).has.status(429)
                local wait = integer(res.headers['Retry-After'])
                local state = parse_list(res.headers['RateLimit'])[1]
                assert.is_true(state.t >= 1 and wait >= state.t, wait)
                assert.is_true(wait <= state.t + most, wait)
                assert.equal(0, state.r)
                local more = wait - state.t
                seen[more] = (seen[more] or 0) + 1
            end
            for more = 1, most do -- rounded up: each second of the spread is met
                assert.is_true((seen[more] or 0) > DENIALS / 4 / most / 3, more)
            end
            gw:stop()
            gw = nil
        end
    end)

    it('have a Retry-After on every denial, by every algorithm', function()
        for _, algorithm in ipairs(ALGORITHMS) do
            if algorithm ~= 'concurrency' then
                start({ quota = 1, window = '10s', algorithm = algorithm, headers = { 'ietf-11' },
                    burst = algorithm == 'leaky-bucket' and 1 or nil,
                    max_delay = algorithm == 'leaky-bucket' and '0s' or nil })
                local denied = 0
                for _ = 1, 100 do
                    local res = gw:get('/1')
                    if res.status == 429 then
                        denied = denied + 1
                        local wait = integer(res.headers['Retry-After'])
                        local t = parse_list(res.headers['RateLimit'])[1].t
                        assert.is_true(t >= 1 and wait >= t and wait <= t + 1 + t / 10)
                    end
                    gw:advance(1.7)
                end
                assert.is_true(denied > 50, algorithm)
                gw:stop()
                gw = nil
            end
        end
    end)
end)

-- ---- shadow -------------------------------------------------------------------------------------

-- The same requests at the same times to four routes: with a limit, with a shadow limit beside it,
-- with that alone, and with that enforced.
describe('R15 a shadow limit', function()
    local REAL = { name = 'real', quota = 20, window = '10s' }
    local gw

    after_each(function()
        gw:stop()
    end)

    local function trial(mode)
        return { name = 'trial', quota = 7, window = '5s', algorithm = 'token-bucket', mode = mode }
    end

    local function route(...)
        return {
            { name = 'rate-limit', config = { key = { 'header:x-key' }, limits = { ... },
                retry_after_jitter = { percent = 0 },
                headers = ALL } },
            { name = 'request-termination', config = { status_code = 200, message = 'fine' } },
        }
    end

    -- All of an answer but the id of its request.
    local function text_of(res)
        local lines = { res.status, (res.body:gsub('"request_id":"[^"]*"', '')) }
        for name, value in pairs(res.headers) do
            if name:lower() ~= 'x-request-id' and name:lower() ~= 'date' then
                lines[#lines + 1] = name .. ': ' .. tostring(value)
            end
        end
        table.sort(lines, function(a, b) return tostring(a) < tostring(b) end)
        return table.concat(lines, '\n')
    end

    local function shadow_denials(name)
        return gw:metric('moongate_ratelimit_decisions_total',
            { route = name, decision = 'shadow_denied' }) or 0
    end

    it('changes no answer, and would deny what it denies when it is enforced', function()
        gw = gateway.start(source({ route(REAL), route(REAL, trial('shadow')),
            route(trial('shadow')), route(trial('enforce')) }))
        local random, denied, refused = 42, 0, 0
        for _ = 1, REQUESTS / 4 do
            random = (random * 1103515245 + 12345) % 2 ^ 31
            local with = { headers = { ['X-Key'] = 'k' .. math.floor(random / 65536) % 4 } }
            local alone = gw:get('/1', with)
            assert.equal(text_of(alone), text_of(gw:get('/2', with)))
            refused = refused + (alone.status == 429 and 1 or 0)
            assert.response(gw:get('/3', with)).has.status(200)
            local would = shadow_denials('r3') - denied
            local status = gw:get('/4', with).status
            assert.equal(status == 429 and 1 or 0, would)
            denied = denied + would
            gw:advance(math.floor(random / 2 ^ 20) % 8 / 40)
        end
        assert.is_true(denied > REQUESTS / 20, denied)
        assert.is_true(refused > REQUESTS / 40, refused)
    end)
end)
