-- SPDX-License-Identifier: Apache-2.0
-- circuit-breaker: the examples of its README do what stands beside them.
local gateway = require 'moongate.test'

local SERVICE = [[
_format_version: "3.0"
services:
- name: orders
  url: http://127.0.0.1:9101
  retries: 0
  routes: [{ name: orders, paths: [/], strip_path: false }]
]]

describe('the README of circuit-breaker', function()
    local gw

    local function examples()
        local file = assert(io.open('plugins/circuit-breaker/README.md'))
        local list = {}
        for block in file:read('*a'):gmatch('\n```yaml\n(.-)```\n') do
            list[#list + 1] = block
        end
        file:close()
        return list
    end

    -- Starts the gateway with the example that has that text.
    local function start(text)
        for _, block in ipairs(examples()) do
            if block:find(text, 1, true) then
                gw = gateway.start(SERVICE .. block)
                gw.upstream:reply(function(request)
                    return { status = tonumber(request.path:match('%d+')) or 200 }
                end)
                return
            end
        end
        error('no example has ' .. text)
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function outcomes(count, path, headers)
        local last
        for _ = 1, count do
            last = gw:get(path, { headers = headers })
        end
        return last.outcome, last
    end

    it('shows one to begin with, which opens after five failures in a row', function()
        start('failure_percent: 50')
        assert.equal('ok', (outcomes(5, '/500')))
        local outcome, res = outcomes(1, '/')
        assert.equal('breaker_open', outcome)
        assert.equal('upstream:127.0.0.1:9101', res.json().breaker)
    end)

    it('judges by an expression', function()
        start('classify')
        assert.equal('ok', (outcomes(9, '/503')))
        outcomes(5, '/404')
        assert.equal('breaker_open', (outcomes(1, '/')))
    end)

    it('answers with what an expression gives', function()
        start('kind: lua')
        outcomes(5, '/500')
        local outcome, res = outcomes(1, '/')
        assert.equal('breaker_open', outcome)
        assert.response(res).has.status(200)
        assert.equal('upstream:127.0.0.1:9101', assert.response(res).has.header('X-Breaker'))
    end)

    it('keeps breakers by key', function()
        start('scope: key')
        outcomes(5, '/500', { ['X-Tenant'] = 'a' })
        assert.equal('breaker_open', (outcomes(1, '/', { ['X-Tenant'] = 'a' })))
        assert.equal('ok', (outcomes(1, '/', { ['X-Tenant'] = 'b' })))
    end)

    it('tells of transitions', function()
        start('on_state')
        outcomes(5, '/500')
        local found
        for _, line in ipairs(gw.logs) do
            found = found or line.message:find('is open: consecutive, 5 failed', 1, true)
        end
        assert.truthy(found)
    end)
end)
