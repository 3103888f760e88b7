-- SPDX-License-Identifier: Apache-2.0
-- rate-limit: each option that takes an expression, with one that raises and one that never ends.
local gateway = require 'moongate.test'

local FAILING = {
    raises = 'lua: error("seeded")',
    ['never ends'] = 'lua: (function() while true do end end)()',
}

-- What the option gives then, by the statuses of requests in a row at a limit of two.
local CASES = {
    { option = 'key', is_list = true, statuses = { 200, 200, 429 } }, -- the address in its place
    { option = 'quota', more = { fallback_quota = 1 }, statuses = { 200, 429 } },
    { option = 'cost', statuses = { 200, 200, 429 } }, -- 1
    { option = 'count_when', statuses = { 200, 200, 429 } }, -- the charge stays
    { option = 'response_cost', statuses = { 200, 200, 429 } }, -- it stays, too
    { option = 'exempt', is_list = true, statuses = { 200, 200, 429 } }, -- no match
    { option = 'body', statuses = { 200, 200, 429 } }, -- the problem document
    { option = 'on_denied', statuses = { 200, 200, 429 } },
}

describe('A1 in rate-limit,', function()
    local gw

    after_each(function()
        gw:stop()
    end)

    local function source(config)
        local function route(number, of)
            return { name = 'r' .. number, paths = { '/' .. number },
                plugins = { { name = 'rate-limit', config = of } } }
        end
        return {
            _format_version = '3.0',
            services = { { name = 'up', url = 'http://127.0.0.1:9101',
                routes = { route(1, config), route(2, { quota = 100, window = '1h' }) } } },
        }
    end

    local function config_of(case, code)
        local config = { quota = 2, window = '1h', algorithm = 'fixed-window', align = 'first' }
        for name, value in pairs(case.more or {}) do
            config[name] = value
        end
        config[case.option] = case.is_list and { code } or code
        return config
    end

    for how, code in pairs(FAILING) do
        for _, case in ipairs(CASES) do
            it(('%s that %s gives its substitute, and others are served'):format(case.option, how),
                function()
                gw = gateway.start(source(config_of(case, code)))
                for i, status in ipairs(case.statuses) do
                    local res = gw:get('/1')
                    assert.response(res).has.status(status)
                    assert.equal('200', tostring(gw:get('/2').status), 'after request ' .. i)
                    if status == 429 then
                        assert.truthy(res.body:find('#quota-exceeded', 1, true))
                    end
                end
                gw:settle()
                local errors = gw:metric('moongate_policy_lua_errors_total',
                    { plugin = 'rate-limit' })
                assert.is_true(errors >= 1, errors)
            end)
        end
    end
end)
