-- SPDX-License-Identifier: Apache-2.0
--
-- One canonical request: known paths and hosts in random encodings, on the real binary with an
-- origin that keeps what it gets. The route, what a plugin sees, the limiter's key, the access log
-- and the bytes at the origin are of one request, or it is refused and no byte goes on.
--
-- MOONGATE_SOAK_ENCODINGS: how many, 10,000 if not set. MOONGATE_SEED repeats a run.
local client = require 'spec.gateway.support.client'
local encodings = require 'spec.gateway.support.encodings'
local origins = require 'spec.gateway.support.origin'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local COUNT = tonumber(os.getenv('MOONGATE_SOAK_ENCODINGS')) or 10000
local SEED = tonumber(os.getenv('MOONGATE_SEED')) or os.time() % 1000000
local PIPELINED = 10 -- requests on a connection; the last one is refused
local QUOTA = 1000000

local PLUGINS = {
    -- All that a plugin may decide by, in one field of the answer.
    view = [[
function plugin:access()
    local request = moongate.request
    moongate.response.set_header('X-View', table.concat({ moongate.router.get_route().name,
        request.get_path(), request.get_path_with_query(), ngx.var.uri, ngx.var.request_uri,
        request.get_host(), ngx.var.host, request.get_header('host') }, ' '))
end]],
    rewrite = [[
function plugin:access()
    moongate.service.request.set_path('/new' .. moongate.request.get_path())
end]],
    -- What a careless plugin does.
    raw = [[
function plugin:access()
    moongate.service.request.set_path(moongate.request.get_raw_path())
end]],
}

-- ORIGIN, PORT and DIR stand for the ports and the folder.
local CONFIG = [[
_format_version: "3.0"
plugins:
- { name: view }
- name: rate-limit
  config: { quota: 1000000, window: 24h, algorithm: fixed-window, align: first, key: [host, path] }
- name: access-log
  config:
    fields: [request_id, route, host, path, query]
    sinks: [{ type: file, path: DIR/access.log }]
services:
- name: root
  url: http://127.0.0.1:ORIGIN
  routes:
  - { name: plain, paths: [/], strip_path: false }
  - { name: admin, paths: [/api/admin] }
  - { name: users, paths: ['~/users/\d+'] }
  - { name: files, paths: ['~/files/[^/]+\.txt$'], strip_path: false }
  - { name: rewrite, paths: [/rewrite], plugins: [{ name: rewrite }] }
  - { name: raw, paths: [/raw], plugins: [{ name: raw }] }
  - { name: guarded, hosts: [Guarded.test], paths: [/], strip_path: false, preserve_host: true }
  - { name: wild, hosts: ['*.wild.test'], paths: [/], strip_path: false, preserve_host: true }
  - { name: port, hosts: ['port.test:8080'], paths: [/], strip_path: false, preserve_host: true }
  - { name: ip6, hosts: ['[2001:db8::1]'], paths: [/], strip_path: false, preserve_host: true }
- name: base
  url: http://127.0.0.1:ORIGIN/base
  routes:
  - { name: api, paths: [/api] }
  - { name: text, paths: [/text], strip_path: false }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
]]

-- Canonical path, its route, what the origin gets, the prefix that was taken off.
local PATHS = {
    { '/', 'plain', '/' },
    { '/index.html', 'plain', '/index.html' },
    { '/a/b/c', 'plain', '/a/b/c' },
    { '/a/b/', 'plain', '/a/b/' },
    { '/apiadmin', 'plain', '/apiadmin' },
    { '/api;v=1/admin', 'plain', '/api;v=1/admin' },
    { '/api', 'api', '/base', '/api' },
    { '/api/', 'api', '/base/', '/api' },
    { '/api/users/~joe', 'api', '/base/users/~joe', '/api' },
    { '/api/a%20b', 'api', '/base/a%20b', '/api' },
    { '/api/%252e%252e/admin', 'api', '/base/%252e%252e/admin', '/api' },
    { '/api/administrator', 'api', '/base/administrator', '/api' },
    { '/api/admin', 'admin', '/', '/api/admin' },
    { '/api/admin/', 'admin', '/', '/api/admin' },
    { '/api/admin/keys;v=1', 'admin', '/keys;v=1', '/api/admin' },
    { '/text', 'text', '/base/text' },
    { '/textual/x', 'text', '/base/textual/x' },
    { '/users/42', 'users', '/', '/users/42' },
    { '/users/42/posts', 'users', '/posts', '/users/42' },
    { '/users/joe', 'plain', '/users/joe' },
    { '/files/a.txt', 'files', '/files/a.txt' },
    { '/files/a%3Fb.txt', 'files', '/files/a%3Fb.txt' },
    { '/files/%252F.txt', 'files', '/files/%252F.txt' },
    { '/files/a.txt/b', 'plain', '/files/a.txt/b' },
    { '/rewrite/a%20b', 'rewrite', '/new/rewrite/a%20b', '/rewrite' },
    { '/raw/x/y.z', 'raw', '/raw/x/y.z', '/raw' },
    { '/raw/%E2%82%AC/', 'raw', '/raw/%E2%82%AC/', '/raw' },
    { '/%E2%82%AC/%C3%A9', 'plain', '/%E2%82%AC/%C3%A9' },
    { '/%22%3C%3E/%5B%5D%5E%60%7B%7C%7D', 'plain', '/%22%3C%3E/%5B%5D%5E%60%7B%7C%7D' },
    { "/%3B%3A%40%2B/;:@+!$&'()*,=", 'plain', "/%3B%3A%40%2B/;:@+!$&'()*,=" },
    { '/;x/a;b/..c/...;d', 'plain', '/;x/a;b/..c/...;d' },
    { '/.../.x/x..', 'plain', '/.../.x/x..' },
}

-- Canonical host, its port, the route that it alone decides on.
local HOSTS = {
    { 'open.test' }, { 'open.test', 8081 }, { '127.0.0.1' }, { 'guarded.test', nil, 'guarded' },
    { 'guarded.test', 8080, 'guarded' }, { 'a.wild.test', nil, 'wild' },
    { 'port.test', 8080, 'port' }, { 'port.test', 8081 }, { '[2001:db8::1]', nil, 'ip6' },
}

local random = math.random


describe('PTH-01', function()
    local gateway, origin
    local counts, expected, sent, refused = {}, {}, 0, 0

    setup(function()
        origin = origins.listen(function(request)
            local got = { request.target }
            for _, name in ipairs({ 'Host', 'X-Forwarded-Host', 'X-Forwarded-Path',
                'X-Forwarded-Prefix' }) do
                got[#got + 1] = origins.values(request, name)[1]
            end
            return ('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Got: %s\r\n\r\n'):format(
                table.concat(got, ' '))
        end)
        local folder = process.plugins(PLUGINS, process.PLUGIN)
        local values = { ORIGIN = origin.port, PORT = process.free_port(), DIR = folder }
        gateway = process.gateway(CONFIG:gsub('%u%u%u+', values), { folder = folder })
        math.randomseed(SEED)
        io.stdout:write(('MOONGATE_SEED=%d MOONGATE_SOAK_ENCODINGS=%d\n'):format(SEED, COUNT))
    end)

    teardown(function()
        process.stop_all()
        origin:close()
    end)

    -- What all must say of a request.
    local function expect(id, path, query, host, port)
        local name, route, up, prefix = path[1], path[2], path[3], path[4]
        if host[3] then
            route, up, prefix = host[3], name, nil
        end
        local host_field = host[1] .. (port and ':' .. port or '')
        local all = name .. query
        local key = host[1] .. ' ' .. name
        counts[key] = (counts[key] or 0) + 1
        expected[id] = {
            view = table.concat({ route, name, all, name, all, host[1], host[1], host_field }, ' '),
            got = table.concat({ up .. query,
                host[3] and host_field or '127.0.0.1:' .. origin.port, host_field, name, prefix },
                ' '),
            left = tostring(QUOTA - counts[key]),
            log = ('"route":"%s","host":"%s","path":"%s"%s'):format(route, host[1], name,
                #query > 1 and ',"query":"' .. query:sub(2) .. '"' or ''),
        }
    end

    local function request_text(target, host, id)
        return ('GET %s HTTP/1.1\r\nHost: %s\r\nX-Request-ID: %d\r\n\r\n'):format(target, host, id)
    end

    local function good_request(path, host)
        sent = sent + 1
        local query = encodings.query()
        local text = encodings.path(path[1]) .. query
        if random(8) == 1 then
            text = 'http://' .. encodings.host(host[1], host[2]) .. text
        end
        expect(sent, path, encodings.canonical_query(query), host, host[2])
        return request_text(text, encodings.host(host[1], host[2]), sent), sent
    end

    local function check(res, id, text)
        local wanted = expected[id]
        local function same(what, actual)
            if actual ~= wanted[what] then
                error(('seed %d, %s\n%s: %s\ninstead of: %s'):format(SEED, text, what,
                    tostring(actual), tostring(wanted[what])), 0)
            end
        end
        assert.equal(200, res.status, text)
        assert.equal(tostring(id), res.headers['x-request-id'])
        same('view', res.headers['x-view'])
        same('got', res.headers['x-got'])
        same('left', res.headers['x-ratelimit-remaining'])
    end

    -- A refused request, and one behind it that would be smuggled.
    local function refuse(connection, before)
        local path, extra = encodings.refused_path(PATHS[random(#PATHS)][1])
        local text = request_text(path, 'open.test', 0)
        return text .. request_text('/index.html', 'open.test', 0), function()
            local res = assert(connection:response(), text)
            assert.equal(400, res.status, ('seed %d, %q in %s'):format(SEED, extra, text))
            assert.equal('close', res.headers.connection)
            assert.equal('', connection:expect_end())
            refused = refused + 1
            origin:settle()
            assert.equal(before + PIPELINED - 1, #origin.requests, text)
        end
    end

    local function one_connection()
        local connection = assert(client.connect(gateway.port, { origin = origin }))
        local texts, ids = {}, {}
        for i = 1, PIPELINED - 1 do
            local path = PATHS[random(#PATHS)]
            texts[i], ids[i] = good_request(path, HOSTS[random(#HOSTS)])
        end
        local last, check_last = refuse(connection, #origin.requests)
        assert(connection:send(table.concat(texts) .. last))
        for i, text in ipairs(texts) do
            check(assert(connection:response()), ids[i], text)
        end
        check_last()
        connection:close()
    end

    it('PTH-01 no encoding of path and host makes two readers disagree', function()
        for _ = 1, COUNT, PIPELINED do
            one_connection()
            if #origin.requests > 1000 then
                for _, request in ipairs(origin.requests) do
                    assert.is_nil(request.head:find('\r\nX-Request-ID: 0\r\n', 1, true))
                end
                origin:reset()
            end
        end
        assert.equal(refused, gateway:status().outcomes.bad_request)
    end)

    it('PTH-01 the access log names the same route, host, path and query', function()
        local deadline = posix.now() + process.deadline
        local text, lines
        repeat
            gateway:collect(posix.now() + 0.02)
            text = process.read(gateway.folder .. '/access.log') or ''
            lines = select(2, text:gsub('\n', '\n'))
        until lines >= sent + refused or posix.now() > deadline
        assert.equal(sent + refused, lines) -- what is refused has a line, and an id of our own
        for id, rest in text:gmatch('{"request_id":"(%d+)",([^\n]*)}\n') do
            assert.equal(expected[tonumber(id)].log, rest)
            expected[tonumber(id)] = nil
        end
        assert.is_nil(next(expected))
    end)

    it('PTH-01 what the origin gets is canonical: sent again it stays as it is', function()
        local connection = assert(client.connect(gateway.port, { origin = origin }))
        for _, path in ipairs(PATHS) do
            for _, target in ipairs({ path[1], path[3] }) do
                local res = assert(connection:request('GET', target, { Host = 'guarded.test' }))
                assert.equal(target, res.headers['x-got']:match('^%S+'))
            end
        end
        connection:close()
    end)
end)

