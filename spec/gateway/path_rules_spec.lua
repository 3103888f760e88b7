-- SPDX-License-Identifier: Apache-2.0
--
-- Paths, arguments and bodies that are meant to be read in two ways, by the bytes that an origin
-- gets. Four listeners: the strict one, and one for each option that loosens a rule.
-- UPDATE_GOLDEN=1 writes the table of PTH-05 anew; read the difference before it is committed.
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local origins = require 'spec.gateway.support.origin'
local process = require 'spec.gateway.support.process'

local GOLDEN = 'spec/gateway/golden/encoded_paths.txt'

local PLUGINS = {
    -- Sets the path that it is told.
    rewriter = [[
function plugin:rewrite()
    if moongate.request.get_query_arg('early') then
        moongate.service.request.set_path('/stolen')
    end
end
function plugin:access()
    local path = moongate.request.get_query_arg('to')
    if path then
        moongate.service.request.set_path(path)
    end
end]],
    -- Every text that a plugin can get at, by name.
    accessors = [[
local NAMES = 'args is_args query_string uri request_uri request request_method request_id scheme '
    .. 'host http_host http_referer upstream_uri upstream_host remote_addr http_x_forwarded_path'
local function texts()
    local seen = {}
    for name, read in pairs(moongate.request) do
        local ok, value = pcall(read)
        seen['request.' .. name] = ok and value or nil
    end
    for name in NAMES:gmatch('%S+') do
        seen['var.' .. name] = ngx.var[name]
    end
    seen.captures = moongate.request.get_uri_captures()
    return seen
end
function plugin:access()
    moongate.response.exit(200, texts())
end
function plugin:log()
    moongate.log.notice('logged ', require('cjson').encode(moongate.log.serialize()))
end]],
    -- Refuses a request whose role is not `user`; takes what it is given for all there is.
    validator = [[
function plugin:access()
    local body, err, mime = moongate.request.get_body()
    if not body or err then
        return moongate.response.exit(400, { error = err, mime = mime })
    elseif body.role ~= 'user' and not (body.deep and body.deep.role == 'user') then
        return moongate.response.exit(403)
    end
end]],
    counter = [[
function plugin:access()
    local list, err = moongate.request.get_query()
    local count = 0
    for _ in pairs(list) do
        count = count + 1
    end
    moongate.response.set_header('X-Count', count .. ' ' .. tostring(err))
    local _, all_err = moongate.request.get_query(1000)
    moongate.response.set_header('X-All', tostring(all_err))
    moongate.response.set_header('X-Last', tostring(moongate.request.get_query_arg('last')))
end]],
}

-- ORIGIN and the names of listeners stand for ports, DIR for the folder.
local CONFIG = [[
_format_version: "3.0"
services:
- name: origin
  url: http://127.0.0.1:ORIGIN
  routes:
  - { name: plain, paths: [/], strip_path: false }
  - { name: public, paths: [/api] }
  - { name: admin, paths: [/api/admin], plugins: [
      { name: request-termination, config: { status_code: 403 } }] }
  - { name: version, paths: ['~/v\d+'] }
  - { name: rewriter, paths: [/rewrite] }
  - { name: view, paths: ['~/view/(?<rest>.*)$'], plugins: [{ name: accessors }] }
  - { name: body, paths: [/body], plugins: [{ name: validator }] }
  - { name: count, paths: [/count], plugins: [{ name: counter }] }
  - { name: many, paths: [/many], plugins: [{ name: counter }] }
  - { name: evil, paths: ['~/evil/(a+)+!$'], plugins: [
      { name: request-termination, config: { status_code: 403 } }] }
  - { name: field, paths: [/field], headers: { x-key: ['~*^(a+)+!$'] }, plugins: [
      { name: request-termination, config: { status_code: 403 } }] }
  - { name: origins, paths: [/origins], plugins: [
      { name: cors, config: { origins: ['^https://(a+)+!$', 'https://right.test'] } }] }
plugins:
- { name: rewriter }
- name: access-log
  config: { fields: [path, query], sinks: [{ type: file, path: DIR/log }] }
gateway:
  workers: 1
  listeners:
  - { address: "127.0.0.1:STRICT" }
  - { address: "127.0.0.1:SLASHES", merge_slashes: false }
  - { address: "127.0.0.1:ENCODED", encoded_slash: keep }
  - { address: "127.0.0.1:BYTES", utf8: any }
  routes: { settings: { many: { limits: { query_args: 500 } } } }
]]
local LISTENERS = { 'STRICT', 'SLASHES', 'ENCODED', 'BYTES' }

describe('a request', function()
    local gateway, origin, ports

    setup(function()
        origin = origins.listen()
        local folder = process.plugins(PLUGINS, process.PLUGIN)
        ports = { ORIGIN = origin.port, DIR = folder }
        for _, name in ipairs(LISTENERS) do
            ports[name] = process.free_port()
        end
        gateway = process.gateway(CONFIG:gsub('%u%u%u+', ports), { folder = folder })
    end)

    before_each(function()
        origin:reset()
    end)

    teardown(function()
        process.stop_all()
        origin:close()
    end)

    -- Sends a request to a listener ('STRICT' if nil); what came of it, and what the origin got.
    local function ask(target, o)
        o = o or {}
        local connection = assert(client.connect(ports[o.listener or 'STRICT'],
            { origin = origin }))
        assert(connection:send(('%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n%s'):format(
            o.body and 'POST' or 'GET', target, o.fields or '', o.body or '')))
        local res = assert(connection:response(), target)
        connection:close()
        origin:settle()
        return res, table.remove(origin.requests)
    end

    -- PTH-02 -------------------------------------------------------------------------------------

    local ATTACKS = { '/apiadmin', '/api../admin', '/api/../api/admin', '/api//admin',
        '/api/./admin', '/api/%61dmin', '/api/x/../admin', '/api/%2e%2e/api/admin',
        '/api/..;/admin', '/api;/admin', '/api;x=1/admin', '/api%2fadmin', '/api/%2fadmin',
        '/api/%5cadmin', '/api\\admin', '/api/;/admin', '/api/.;/admin', '/api///admin',
        '//api/admin', '/api/%2561dmin', '/api/admin;x', '/api/admin%2f', '/api/admin%00',
        '/api/admin/..', '/api/admin/../admin', '/api/x/%2e%2e/admin/', '/v1admin', '/v1../admin',
        '/v1;/admin', '/v1%2fadmin', '/v1\\admin', '/%61pi/admin', '/api/admin#', '/api#/admin',
        '/api?/../admin', '/api%3f/admin', '/api%23/admin', '/api/%c0%afadmin', '/api%20/admin' }

    it('PTH-02 reaches no guarded path of the origin by a stripped prefix', function()
        for _, listener in ipairs(LISTENERS) do
            for _, attack in ipairs(ATTACKS) do
                local res, got = ask(attack, { listener = listener })
                assert.is_true(res.status == 200 or res.status == 400 or res.status == 403)
                assert.equal(res.status == 200, got ~= nil, attack)
                local path = got and got.target:match('^[^?]*') or ''
                assert.is_falsy(path == '/admin' or path:find('^/admin/'), attack)
            end
        end
    end)

    it('PTH-02 whose stripped path would change once more is refused', function()
        for _, target in ipairs({ '/api//admin', '/api//', '/v1//x', '/api/%61//b', '/v22///' }) do
            local res = ask(target, { listener = 'SLASHES' })
            local inside = target:find('%61', 1, true)
            assert.equal(inside and 200 or 400, res.status, target)
        end
        local _, got = ask('/api/a//b', { listener = 'SLASHES' })
        assert.equal('/a//b', got.target)
    end)

    -- What a plugin sets, and what the origin gets; false: the setter raises.
    local SET = { { '/x/../admin', '/admin' }, { '/%61%2e', '/a.' }, { '//x', '/x' },
        { '/a b?c', '/a%20b%3Fc' }, { '/', '/' }, { '/..', false }, { '/a/..;/b', false },
        { '/a/%2e%2e/..', false }, { '/a%2fb', false }, { '/a\\b', false }, { 'a', false },
        { '/a#b', false }, { '/%zz', false }, { '/a\0', false }, { '/%c0%af', false } }

    it('PTH-02 gets from a plugin a path that is canonical, or 500', function()
        for _, case in ipairs(SET) do
            local to = case[1]:gsub('.', function(char)
                return ('%%%02x'):format(char:byte())
            end)
            local res, got = ask('/rewrite?to=' .. to)
            assert.equal(case[2] and 200 or 500, res.status, case[1])
            assert.equal(case[2] and case[2] .. '?to=' .. to or nil, got and got.target)
        end
    end)

    it('PTH-02 has its path from the router, whatever was set in rewrite', function()
        local _, got = ask('/api/x?early=1')
        assert.equal('/x?early=1', got.target)
    end)

    -- PTH-03 -------------------------------------------------------------------------------------

    it('PTH-03 shows its raw path by two named accessors only, and in no log', function()
        local res = ask('/%76iew//%41/x/../b%3f?q=%41')
        local seen, raw = assert(dkjson.decode(res.body)), {}
        for name, value in pairs(seen) do
            local text = type(value) == 'table' and dkjson.encode(value) or tostring(value)
            if text:gsub('q=%%41', ''):find('%41', 1, true) or text:find('..', 1, true) then
                raw[#raw + 1] = name
            end
        end
        table.sort(raw)
        assert.same({ 'request.get_raw_path', 'request.get_raw_target' }, raw)
        assert.equal('/view/A/b%3F', seen['request.get_path'])
        assert.equal('/view/A/b%3F?q=%41', seen['var.request_uri'])
        assert.equal('/%76iew//%41/x/../b%3f', seen['request.get_raw_path'])
        assert.equal('A/b%3F', seen.captures.named.rest)
        assert.is_true(gateway:wait_text('logged {'))
        local line = gateway.err:match('logged {[^\n]*'):gsub('\\/', '/')
        assert.truthy(line:find('"/view/A/b%3F?q=%41"', 1, true), line)
        assert.is_nil(line:find('%76', 1, true), line)
    end)

    local function check(folder, ...)
        return process.run('check', folder .. '/moongate.yml', ...)
    end

    it('PTH-03 is checked by no plugin on its raw path without a warning', function()
        local folder = process.folder()
        os.execute('mkdir -p ' .. folder .. '/plugins/blocker')
        process.write(folder .. '/moongate.yml', process.yaml{
            plugins = '    plugins: [{ name: blocker }]' })
        process.write(folder .. '/plugins/blocker/schema.lua', 'return { name = "blocker", '
            .. 'fields = { { config = { type = "record", fields = {} } } } }')
        process.write(folder .. '/plugins/blocker/rules.lua',
            'return function()\n  return moongate.request["get_raw_target"]()\nend\n')
        local handler = folder .. '/plugins/blocker/handler.lua'
        process.write(handler, [[
local raw = moongate.request.get_raw_path
-- get_raw_path in a comment is none
return { PRIORITY = 1, VERSION = '1.0.0', access = function() return raw() end }]])
        local code, out = check(folder)
        assert.equal(0, code)
        assert.truthy(out:find('warning: services[0].routes[0].plugins[0].name: plugin "blocker" '
            .. 'reads the path as sent', 1, true), out)
        assert.truthy(out:find('blocker/handler.lua:1: get_raw_path, ', 1, true), out)
        assert.truthy(out:find('blocker/rules.lua:2: get_raw_target', 1, true), out)
        assert.truthy(out:find('[MG1054]', 1, true), out)
        assert.equal(78, (check(folder, '--strict')))
        process.write(handler, [[
local raw = moongate.request.get_raw_path -- for the signature; lint: raw
return { PRIORITY = 1, VERSION = '1.0.0', access = function() return raw() end }]])
        process.write(folder .. '/plugins/blocker/rules.lua', 'return {}')
        code, out = check(folder, '--strict')
        assert.equal(0, code, out)
    end)

    -- PTH-04 -------------------------------------------------------------------------------------

    it('PTH-04 with a # in its target is refused, wherever it stands', function()
        for _, target in ipairs({ '/#', '/a#b', '/index.html#.png', '/api#/admin', '/?a#b', '/a?#',
            '#', '#/a', 'http://a/#', 'http://a#b/', 'http://a?#', '/%23#' }) do
            local res = ask(target)
            assert.equal(400, res.status, target)
            assert.equal('close', res.headers.connection)
        end
        assert.equal(0, origin.bytes)
        local _, got = ask('/a%23b?c%23')
        assert.equal('/a%23b?c%23', got.target)
    end)

    it('PTH-04 for //x has a path, and no authority', function()
        for _, listener in ipairs(LISTENERS) do
            for target, path in pairs({ ['//evil.test/x'] = '/evil.test/x', ['///x'] = '/x',
                ['//u:p@evil.test:99/x'] = '/u:p@evil.test:99/x', ['//'] = '/',
                ['//%65vil.test/'] = '/evil.test/', ['/.//evil.test/x'] = '/evil.test/x',
                ['http://a//evil.test/x'] = '/evil.test/x', ['//?x'] = '/?x' }) do
                local res, got = ask(target, { listener = listener })
                assert.equal(200, res.status, target)
                assert.equal(path, got.target)
                assert.equal('127.0.0.1:' .. origin.port, origins.values(got, 'Host')[1])
                assert.equal('a', origins.values(got, 'X-Forwarded-Host')[1])
            end
        end
    end)

    -- PTH-05 -------------------------------------------------------------------------------------

    local ENCODED = {
        '/a%00b', '/%00', '/a%0d%0ab', '/a%1fb', '/a%7fb', '/a%20b', '/a%2fb', '/a%2Fb', '/%2f',
        '/a%5cb', '/a%5Cb', '/a\\b', '/\\', '/a;b', '/;', '/a;x=1/b', '/a%3bb', '/a/;/b',
        '/a/..;/b', '/a/..;x=1/b', '/a/..%3bx/b', '/a/%2e%2e;/b', '/a/.;/b', '/a/...;/b',
        '/a/..%2fb', '/a/..%5cb', '/a/%2e%2e%2fb', '/a/b%2f..%2fc', '/a/b%2f..', '/a%2f;/b',
        '/%2e', '/%2e%2e', '/a/%2E%2e/b', '/a/%2e/b', '/..', '/a/../..', '/a/..', '/a/.',
        '/%252e', '/%252e%252e/b', '/a%252fb', '/a%255cb', '/a%2500b', '/%25', '/%2525',
        '/a//b', '/a///b//', '/a//../b', '//a', '/a/.//b',
        '/%c0%af', '/%c0%ae%c0%ae/b', '/%e0%80%af', '/%f0%80%80%af', '/%c1%9c', '/%ed%a0%80',
        '/%f4%90%80%80', '/%ff', '/%80', '/%c3', '/%c3%a9', '/%C3%A9', '/%e2%82%ac',
        '/%ef%bc%8f', '/%e2%88%95', '/\195\169', '/\255', '/a%', '/a%2', '/a%zz', '/a%u002f',
        '/a%%32f', '/a b', '/a"b', '/a<b>', '/a|b', '/a^b`{}', '/a[0]', "/a'b", '/a!$&()*+,=:@',
        '/a?b?c', '/a%3fb', '/a%23b', '/%41%5a%2d%7e', '/a%3A%40',
    }

    local function printable(text)
        return (text:gsub('[^\33-\126]', function(char)
            return ('<%02X>'):format(char:byte())
        end))
    end

    it('PTH-05 with an encoded byte has the one fate that the table says', function()
        local lines = { ('%-26s %-26s %-26s %-26s %s'):format('target', 'strict',
            'merge_slashes: false', 'encoded_slash: keep', 'utf8: any') }
        for _, target in ipairs(ENCODED) do
            local fates = {}
            for i, listener in ipairs(LISTENERS) do
                local before = origin.bytes
                local res, got = ask(target, { listener = listener })
                fates[i] = res.status == 200 and got.target or tostring(res.status)
                assert.equal(res.status == 200, origin.bytes > before)
            end
            lines[#lines + 1] = ('%-26s %-26s %-26s %-26s %s'):format(printable(target),
                unpack(fates))
        end
        local table_text = table.concat(lines, '\n') .. '\n'
        if os.getenv('UPDATE_GOLDEN') then
            process.write(GOLDEN, table_text)
        end
        assert.equal(process.read(GOLDEN), table_text)
    end)

    -- PTH-06 -------------------------------------------------------------------------------------

    local function arguments(count, form)
        local list = {}
        for i = 1, count - 1 do
            list[i] = (form or 'a%d=1'):format(i)
        end
        list[count] = 'last=1'
        return table.concat(list, '&')
    end

    it('PTH-06 with one argument too many is refused, and never cut', function()
        for _, form in ipairs({ 'a%d=1', 'a%d', 'a=%d', '=%d', '%%61%d=', '&&a%d&' }) do
            local res, got = ask('/count?' .. arguments(100, form))
            assert.equal(200, res.status)
            assert.equal('1', res.headers['x-last'])
            assert.matches(' nil$', res.headers['x-count'])
            assert.equal('/?' .. arguments(100, form), got.target)
            origin:reset()
            assert.equal(400, (ask('/count?' .. arguments(101, form))).status)
            assert.equal(0, origin.bytes)
        end
    end)

    it('PTH-06 with more arguments than a plugin asks for tells it so', function()
        local res = ask('/many?' .. arguments(500))
        assert.equal('100 truncated', res.headers['x-count'])
        assert.equal('nil', res.headers['x-all'])
        assert.equal('1', res.headers['x-last'])
        assert.equal(400, (ask('/many?' .. arguments(501))).status)
    end)

    local function post(mime, body)
        origin:reset()
        local res, got = ask('/body', { body = body, fields =
            ('Content-Type: %s\r\nContent-Length: %d\r\n'):format(mime, #body) })
        assert.equal(res.status == 200, got ~= nil)
        assert.is_true(res.status == 200 or origin.bytes == 0)
        return res.status
    end

    it('PTH-06 whose JSON has a name twice is refused by who validates it', function()
        assert.equal(200, post('application/json', '{"role":"user"}'))
        assert.equal(403, post('application/json', '[{"role":1},{"role":1}]'))
        for _, body in ipairs({ '{"role":"admin","role":"user"}', '{"role":"user","role":"admin"}',
            '{"role":"user","x":1,"\\u0072ole":"admin"}', '{"role":"user","role":null}',
            '{"role":null,"role":"user"}', '{"deep":{"role":"user","role":"admin"}}',
            '{"role":"user","list":[{"a":1,"a":2}]}', '{"role":"user","":1,"":2}' }) do
            assert.equal(400, post('application/json', body), body)
            assert.equal(400, post('Application/JSON; charset=utf-8', body), body)
        end
        assert.equal(200, post('application/json', '{"role":"user","deep":{"role":"admin"}}'))
    end)

    it('PTH-06 whose form has more arguments than are looked at is known to be cut', function()
        local FORM = 'application/x-www-form-urlencoded'
        assert.equal(200, post(FORM, 'role=user&' .. arguments(99)))
        assert.equal(400, post(FORM, 'role=user&' .. arguments(100)))
        assert.equal(403, post(FORM, 'role=user&role=admin'))
    end)

    -- PTH-07 -------------------------------------------------------------------------------------

    local STALLS = ('a'):rep(60) .. '!b'

    it('PTH-07 on which a route\'s regex gives up is refused: no other route takes it', function()
        local before = gateway:status().counters.limit_regex_match
        assert.equal(403, (ask('/evil/aaa!')).status)
        assert.equal(400, (ask('/evil/' .. STALLS)).status)
        assert.is_true(gateway:wait_text("a regex of route 'evil' reached limits.regex_match"))
        assert.equal(403, (ask('/field', { fields = 'X-Key: aa!\r\n' })).status)
        assert.equal(400, (ask('/field', { fields = 'X-Key: ' .. STALLS .. '\r\n' })).status)
        assert.equal(before + 2, gateway:status().counters.limit_regex_match)
        assert.equal(0, origin.bytes)
        local code, _, err = process.run('explain', 'GET', '/evil/' .. STALLS, '-c',
            gateway.config)
        assert.equal(1, code, err)
        assert.truthy(err:find("a regex of route 'evil' reaches the match limit", 1, true), err)
    end)

    it('PTH-07 on which a plugin\'s regex gives up gets no permission by it', function()
        local before = gateway:status().counters.limit_regex_match
        local res = ask('/origins', { fields = 'Origin: https://right.test\r\n' })
        assert.equal('https://right.test', res.headers['access-control-allow-origin'])
        res = ask('/origins', { fields = 'Origin: https://' .. STALLS .. '\r\n' })
        assert.equal(200, res.status)
        assert.is_nil(res.headers['access-control-allow-origin'])
        assert.equal(before + 1, gateway:status().counters.limit_regex_match)
    end)
end)
