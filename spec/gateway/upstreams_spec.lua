-- SPDX-License-Identifier: Apache-2.0
--
-- Where requests go: shares by weight, the target with the least to do, the one that a hash picks;
-- past a target that refuses connections; and names that cannot be resolved.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'
local dkjson = require 'dkjson'

-- Each echo answers with as many bytes as tell which one it is.
local function new_target(size)
    local echo = process.echo('--size', tostring(size))
    return { size = size, port = echo.port, echo = echo }
end

local function yaml_of(targets, o)
    o = o or {}
    local lines = {}
    for i, target in ipairs(targets) do
        lines[i] = ('  - { target: "127.0.0.1:%d", weight: %d }'):format(target.port,
            target.weight or 100)
    end
    return ([[
_format_version: "3.0"
services:
- { name: s, host: group, %s routes: [{ name: r, paths: [/] }] }
upstreams:
- name: group
  %s
  targets:
%s
gateway:
  workers: %d
  listeners: [{ address: "127.0.0.1:%d" }]
]]):format(o.service or '', o.upstream or 'algorithm: round-robin', table.concat(lines, '\n'),
        o.workers or 1, o.port or process.free_port())
end

local function counts_of(gateway, requests)
    local counts = {}
    local connection = assert(client.connect(gateway.port))
    for _ = 1, requests do
        local res = assert(connection:request('GET', '/'))
        assert.equal(200, res.status, res.body)
        counts[#res.body] = (counts[#res.body] or 0) + 1
    end
    connection:close()
    return counts
end

describe('an upstream with several targets', function()
    after_each(process.stop_all)

    it('shares by weight, round robin', function()
        local one, two, three = new_target(1), new_target(2), new_target(3)
        one.weight, two.weight, three.weight = 30, 10, 0
        local gateway = process.gateway(yaml_of{ one, two, three })
        assert.same({ 30, 10 }, counts_of(gateway, 40))
    end)

    it('asks the one with the least to do, by weight', function()
        local one, two = scripted.listen(), scripted.listen()
        one.weight, two.weight = 30, 10
        local gateway = process.gateway(yaml_of({ one, two },
            { upstream = 'algorithm: least-connections' }))
        -- All under way at the same time: nobody answers before the last one has come.
        local counts, held, peers = { [one] = 0, [two] = 0 }, {}, {}
        for i = 1, 8 do
            held[i] = gateway:send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
            local target = posix.wait_two(one.fd, two.fd, posix.now() + process.deadline) and one
                or two
            peers[i] = target:accept()
            counts[target] = counts[target] + 1
        end
        assert.same({ 6, 2 }, { counts[one], counts[two] })
        for i = 1, 8 do
            peers[i]:say('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
            assert.equal(200, assert(held[i]:response()).status)
            held[i]:close()
            peers[i]:close()
        end
        one:close()
        two:close()
    end)

    local HASH = 'algorithm: consistent-hashing\n  hash_on: header\n  hash_on_header: X-Key'

    local function places_of(gateway)
        local places = {}
        for i = 1, 60 do
            local size
            for _ = 1, 3 do
                -- A connection each, so that both workers are asked.
                local res = assert(gateway:get('/', { ['X-Key'] = 'key-' .. i }))
                assert.equal(200, res.status)
                assert.equal(size or #res.body, #res.body)
                size = #res.body
            end
            places[i] = size
        end
        return places
    end

    it('keeps a key at its target, in every worker and when another target leaves', function()
        local targets = { new_target(1), new_target(2), new_target(3) }
        local port = process.free_port()
        local gateway = process.gateway(yaml_of(targets, { upstream = HASH, workers = 2,
            port = port }))
        local before = places_of(gateway)
        local counts = { 0, 0, 0 }
        for _, size in ipairs(before) do
            counts[size] = counts[size] + 1
        end
        for size = 1, 3 do
            assert.is_true(counts[size] >= 8, table.concat(counts, ' '))
        end
        targets[3] = nil
        gateway:rewrite(yaml_of(targets, { upstream = HASH, workers = 2, port = port }))
        local code, _, err = gateway:command('reload')
        assert.equal(0, code, err)
        local after = places_of(gateway)
        for i, size in ipairs(before) do
            assert.is_true(size == 3 or after[i] == size, 'key-' .. i .. ' has moved')
        end
    end)

    it('tries the next target when one refuses the connection', function()
        local gateway = process.gateway(yaml_of{ new_target(1), { port = process.free_port() } })
        assert.same({ 20 }, counts_of(gateway, 20))
        local counters = gateway:status().counters
        assert.is_true(counters.upstream_retries > 0)
        assert.equal(counters.upstream_retries, counters.upstream_connect_failures)
    end)

    it('does not try again when the service says so', function()
        local gateway = process.gateway(yaml_of({ new_target(1), { port = process.free_port() } },
            { service = 'retries: 0,' }))
        local counts = { [200] = 0, [502] = 0 }
        for _ = 1, 10 do
            local res = assert(gateway:get('/'))
            counts[res.status] = counts[res.status] + 1
        end
        assert.same({ [200] = 5, [502] = 5 }, counts)
        local status = gateway:status()
        assert.equal(0, status.counters.upstream_retries)
        assert.equal(5, status.outcomes.upstream_refused)
    end)

    it('answers 502 when all of them refuse', function()
        local gateway = process.gateway(yaml_of{ { port = process.free_port() },
            { port = process.free_port() } })
        local res = assert(gateway:get('/'))
        assert.equal(502, res.status)
        assert.equal('application/problem+json', res.headers['content-type'])
        assert.equal(2, gateway:status().counters.upstream_tries)
    end)

    it('are named in the error log when they fail, with the request', function()
        local first, second = process.free_port(), process.free_port()
        local gateway = process.gateway(yaml_of{ { port = first }, { port = second } })
        local id = dkjson.decode(assert(gateway:get('/')).body).request_id
        assert.is_true(gateway:wait_text('request_id=' .. id .. '\n'))
        assert.is_true(gateway:wait_text(' error upstream: '))
        local ports = {}
        for level, port, rest in gateway.err:gmatch(
            ' (%l+) upstream: 127%.0%.0%.1:(%d+): Connection refused([^\n]+)\n') do
            ports[tonumber(port)] = level
            assert.equal(level == 'warn', rest:find(', trying again', 1, true) ~= nil)
            assert.truthy(rest:find('outcome=upstream_refused route="', 1, true), rest)
            assert.truthy(rest:find('request_id=' .. id, 1, true), rest)
        end
        assert.same({ error = true, warn = true },
            { [ports[first]] = true, [ports[second]] = true })
    end)
end)

describe('an upstream', function()
    after_each(process.stop_all)

    it('whose name cannot be resolved holds up neither the start nor other routes', function()
        local echo = process.echo()
        local gateway = process.gateway(([[
_format_version: "3.0"
services:
- { name: lost, url: "http://nowhere.invalid:8080", routes: [{ name: lost, paths: [/lost] }] }
- { name: here, url: "http://127.0.0.1:%d", routes: [{ name: here, paths: [/here] }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  dns: { timeout: 300ms, tries: 1 }
]]):format(echo.port, process.free_port()))
        local lost = assert(client.connect(gateway.port))
        assert(lost:send('GET /lost HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert.equal(200, assert(gateway:get('/here')).status)
        local res = assert(lost:response())
        assert.equal(502, res.status)
        assert.equal(502, assert(dkjson.decode(res.body)).status)
        lost:close()
        assert.is_true(gateway:wait_text(
            ' error upstream: nowhere.invalid:8080: name could not be resolved '))
        assert.equal(1, gateway:status().outcomes.upstream_dns)
    end)

    it('may be a name: localhost', function()
        local echo = process.echo()
        local gateway = process.gateway((process.yaml{ upstream = echo.port }
            :gsub('url: http://127%.0%.0%.1', 'url: http://localhost')))
        assert.equal(200, assert(gateway:get('/')).status)
    end)
end)
