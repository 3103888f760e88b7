-- SPDX-License-Identifier: Apache-2.0
--
-- Consistent hashing by everything that it can be made of, and balancing by latency, on the real
-- binary with two workers: the same value always meets the same target, other values others.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

-- Each echo answers with as many bytes as tell which one it is.
local function targets(count)
    local lines = {}
    for size = 1, count do
        lines[size] = ('{ target: "127.0.0.1:%d" }'):format(
            process.echo('--size', tostring(size)).port)
    end
    return table.concat(lines, ', ')
end

local CONSUMER = [[
return { PRIORITY = 1, VERSION = '0.1.0', access = function()
    local name = moongate.request.get_header('X-User')
    if name then
        moongate.client.authenticate(moongate.client.load_consumer(name, true), nil)
    end
end }
]]

local YAML = [[
_format_version: "3.0"
plugins: [{ name: who }]
consumers: [%s]
services:
- name: s
  host: group
  routes: [{ name: r, paths: ["~/(?<part>[^/]+)/x"], strip_path: false }]
upstreams:
- name: group
  %s
  targets: [%s]
gateway:
  workers: 2
  trusted_ips: [127.0.0.1]
  listeners: [{ address: "127.0.0.1:%d" }]
]]

local function start(upstream)
    local consumers = {}
    for i = 1, 12 do
        consumers[i] = ('{ username: v%d }'):format(i)
    end
    return process.gateway(YAML:format(table.concat(consumers, ', '), upstream, targets(3),
        process.free_port()), { folder = process.plugins({ who = CONSUMER }) })
end

-- Which target a request meets; a connection of its own, so that both workers are asked.
local function place(gateway, path, headers)
    local res = assert(client.request(gateway.port, 'GET', path, headers))
    assert.equal(200, res.status, res.body)
    return #res.body, res
end

local CASES = {
    consumer = { '', function(v) return '/a/x', { ['X-User'] = v } end },
    ip = { '', function(v)
        return '/a/x', { ['X-Forwarded-For'] = '10.1.2.' .. v:sub(2) }
    end },
    header = { 'hash_on_header: X-Key', function(v) return '/a/x', { ['X-Key'] = v } end },
    cookie = { 'hash_on_cookie: where', function(v)
        return '/a/x', { Cookie = 'a=b; where=' .. v .. '; c=d' }
    end },
    path = { '', function(v) return '/a/x/' .. v end },
    query_arg = { 'hash_on_query_arg: key', function(v) return '/a/x?z=1&key=' .. v end },
    uri_capture = { 'hash_on_uri_capture: part', function(v) return '/' .. v .. '/x' end },
}

describe('consistent hashing', function()
    after_each(process.stop_all)

    for kind, case in pairs(CASES) do
        it('by ' .. kind .. ' keeps each value at its target', function()
            local gateway = start('algorithm: consistent-hashing\n  hash_on: ' .. kind ..
                '\n  ' .. case[1])
            local seen = {}
            for i = 1, 12 do
                local first = place(gateway, case[2]('v' .. i))
                seen[first] = true
                for _ = 1, 3 do
                    assert.equal(first, (place(gateway, case[2]('v' .. i))))
                end
            end
            assert.truthy(next(seen, (next(seen))), 'all values at one target')
        end)
    end

    it('takes hash_fallback where hash_on finds nothing', function()
        local gateway = start('algorithm: consistent-hashing\n  hash_on: header\n' ..
            '  hash_on_header: X-Key\n  hash_fallback: query_arg\n' ..
            '  hash_fallback_query_arg: key')
        for i = 1, 6 do
            local first = place(gateway, '/a/x?key=' .. i)
            for _ = 1, 3 do
                assert.equal(first, (place(gateway, '/a/x?key=' .. i)))
            end
        end
    end)

    it('by cookie gives one to who has none, and stays with it', function()
        local gateway = start('algorithm: consistent-hashing\n  hash_on: cookie\n' ..
            '  hash_on_cookie: where\n  hash_on_cookie_path: /a')
        local values = {}
        for _ = 1, 6 do
            local first, res = place(gateway, '/a/x')
            local value, path = res.headers['set-cookie']:match(
                '^where=(%x+); Path=([^;]+); HttpOnly$')
            assert.equal('/a', path)
            assert.is_nil(values[value])
            values[value] = true
            for _ = 1, 3 do
                local again
                again, res = place(gateway, '/a/x', { Cookie = 'where=' .. value })
                assert.equal(first, again)
                assert.is_nil(res.headers['set-cookie'])
            end
        end
    end)
end)

describe('balancing by latency', function()
    after_each(process.stop_all)

    it('prefers the target that answers sooner', function()
        local slow = process.echo('--size', '1', '--delay', '60')
        local fast = process.echo('--size', '2')
        local gateway = process.gateway(([[
_format_version: "3.0"
services: [{ name: s, host: group, routes: [{ name: r, paths: [/] }] }]
upstreams:
- name: group
  algorithm: latency
  targets: [{ target: "127.0.0.1:%d" }, { target: "127.0.0.1:%d" }]
gateway: { workers: 1, listeners: [{ address: "127.0.0.1:%d" }] }
]]):format(slow.port, fast.port, process.free_port()))
        local counts = { 0, 0 }
        local connection = assert(client.connect(gateway.port))
        local deadline = posix.now() + process.deadline
        for _ = 1, 60 do
            local size = #assert(connection:request('GET', '/')).body
            counts[size] = counts[size] + 1
            assert.is_true(posix.now() < deadline)
        end
        connection:close()
        assert.is_true(counts[1] >= 1 and counts[1] <= 10, table.concat(counts, ' '))
    end)
end)
