-- SPDX-License-Identifier: Apache-2.0
--
-- No control byte gets on a wire or into a log, wherever it comes from: a careless plugin, a
-- service that it asks, claims of a token, a client's own fields.
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local origins = require 'spec.gateway.support.origin'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local PLUGINS = {
    -- Tries to set each control byte by each setter. Answers with the setters that took one.
    setters = [[
local asked = moongate.service.request
local function list(c)
    return {
        request_name = function() asked.set_header('X' .. c .. 'A', 'v') end,
        request_value = function() asked.set_header('X-A', 'v' .. c .. 'w') end,
        request_value_in_list = function() asked.set_header('X-A', { 'v', c }) end,
        request_added_name = function() asked.add_header('X-A' .. c, 'v') end,
        request_added_value = function() asked.add_header('X-A', c .. 'v') end,
        request_names = function() asked.set_headers({ ['X-' .. c] = 'v' }) end,
        request_values = function() asked.set_headers({ ['X-A'] = 'v' .. c }) end,
        request_cleared = function() asked.clear_header('X-A' .. c) end,
        request_path = function() asked.set_path('/a' .. c) end,
        request_method = function() asked.set_method('GE' .. c .. 'T') end,
        request_scheme = function() asked.set_scheme('http' .. c) end,
        request_query = function() asked.set_raw_query('a=1' .. c) end,
        request_host = function() asked.set_header('Host', 'a' .. c .. 'b') end,
        target = function() moongate.service.set_target('localhost' .. c, 80) end,
        ngx_name = function() ngx.req.set_header('X' .. c, 'v') end,
        ngx_value = function() ngx.req.set_header('X-A', c) end,
        ngx_cleared = function() ngx.req.clear_header('X-A' .. c) end,
        ngx_args = function() ngx.var.args = 'a=' .. c end,
        ngx_uri = function() ngx.var.upstream_uri = '/a' .. c end,
        ngx_uri_query = function() ngx.var.upstream_uri = '/a?' .. c end,
        ngx_host = function() ngx.var.upstream_host = 'a' .. c .. 'b' end,
        answer_name = function() moongate.response.set_header('X' .. c, 'v') end,
        answer_value = function() moongate.response.set_header('X-A', 'v' .. c) end,
        answer_added_name = function() moongate.response.add_header('X' .. c, 'v') end,
        answer_added_value = function() moongate.response.add_header('X-A', 'v' .. c) end,
        answer_names = function() moongate.response.set_headers({ [c .. 'X'] = 'v' }) end,
        answer_values = function() moongate.response.set_headers({ ['X-A'] = c }) end,
        answer_ngx_name = function() ngx.header['X' .. c] = 'v' end,
        answer_ngx_value = function() ngx.header['X-A'] = 'v' .. c .. 'w' end,
        exit_name = function() moongate.response.exit(200, 'x', { ['X' .. c] = 'v' }) end,
        exit_value = function() moongate.response.exit(200, 'x', { ['X-A'] = c }) end,
        error_name = function() moongate.response.error(400, 'x', { ['X' .. c] = 'v' }) end,
        error_value = function() moongate.response.error(400, 'x', { ['X-A'] = c }) end,
    }
end
local function took(setter)
    return (pcall(setter))
end
local function try_all(wanted)
    local taken = {}
    for byte = 0, 127 do
        local c = string.char(byte)
        for name, setter in pairs(c:match('%c') and list(c) or {}) do
            -- A tab may stand in a value (RFC 9110, 5.5).
            local allowed = byte == 9 and name:find('value') and 1
            if name:find(wanted) and not allowed and took(setter) then
                taken[#taken + 1] = name .. ' ' .. byte
            end
        end
    end
    table.sort(taken)
    return table.concat(taken, ', ')
end
function plugin:access()
    local hosts = {}
    for _, host in ipairs({ 'a b', 'a/b', 'a,b', 'u@a', 'a:65536', 'a..b', '[::1', 'a%41' }) do
        if pcall(asked.set_header, 'Host', host) then
            hosts[#hosts + 1] = host
        end
    end
    moongate.response.set_header('X-Access', 'taken: ' .. try_all('.') .. table.concat(hosts))
end
function plugin:header_filter()
    moongate.response.set_header('X-Filter', 'taken: ' .. try_all('^answer_'))
end]],
    -- Believes what it is told.
    auth = [[
local cjson = require 'cjson'
function plugin:access(conf)
    local case = moongate.request.get_query_arg('case')
    local user
    if case == 'claim' then
        user = cjson.decode(moongate.request.get_header('X-Claims')).name
    else
        local answer, err = moongate.http.request{ url = conf.url .. '/auth?' .. case }
        if not answer then
            return moongate.response.exit(401, err)
        end
        user = case == 'body' and answer.body or answer.headers['x-user']
    end
    moongate.service.request.set_header('X-User', user)
end]],
    -- Puts control bytes into a request of its own.
    caller = [[
function plugin:access(conf)
    local taken = {}
    for byte = 0, 32 do
        local c = byte == 32 and '\127' or string.char(byte)
        for name, ask in pairs({
            path = { url = conf.url .. '/auth?a' .. c .. 'b' },
            host = { url = conf.url:gsub('127%.0%.0%.1', '127.0.0.1' .. c) .. '/auth' },
            method = { url = conf.url .. '/auth', method = 'GET' .. c },
            name = { url = conf.url .. '/auth', headers = { ['X' .. c] = 'v' } },
            value = { url = conf.url .. '/auth', headers = { ['X'] = 'v' .. c .. 'w' } },
            host_field = { url = conf.url .. '/auth', headers = { Host = 'a' .. c .. 'b' } },
        }) do
            local ran, answer = pcall(moongate.http.request, ask)
            if ran and answer and not (byte == 9 and name == 'value') then
                taken[#taken + 1] = name .. ' ' .. byte
            end
        end
    end
    moongate.response.exit(200, 'taken: ' .. table.concat(taken, ', '))
end]],
    -- Says what a client said.
    talker = [[
function plugin:access()
    local text = moongate.request.get_query_arg('text')
    moongate.log.err('user ', text)
    moongate.log.notice(text)
    ngx.log(ngx.ERR, text)
    moongate.log.inspect({ [text] = text })
    moongate.client.authenticate({ id = '1', username = text }, nil)
    moongate.ctx.plugin.text = text
end
function plugin:log()
    error(moongate.ctx.plugin.text)
end]],
}

-- ORIGIN, PORT and DIR stand for the ports and the folder.
local CONFIG = [[
_format_version: "3.0"
services:
- name: origin
  url: http://127.0.0.1:ORIGIN
  routes:
  - { name: setters, paths: [/setters], plugins: [{ name: setters }] }
  - name: auth
    paths: [/for]
    plugins: [{ name: auth, config: { url: "http://127.0.0.1:ORIGIN" } }]
  - name: caller
    paths: [/call]
    plugins: [{ name: caller, config: { url: "http://127.0.0.1:ORIGIN" } }]
  - name: talk
    paths: [/talk]
    plugins:
    - name: talker
    - name: access-log
      config:
        fields: [status, host, path, query, user_agent, referer, consumer, req.header.x-evil,
          resp.header.x-evil]
        sinks:
        - { type: file, path: DIR/json }
        - { type: file, path: DIR/combined, format: combined }
        - { type: file, path: DIR/custom, format: custom, template: 'TEMPLATE' }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
]]
local TEMPLATE = '{status} {path} {query} {user_agent} {referer} {consumer} {req.header.x-evil} '
    .. '{resp.header.x-evil} .'

describe('a control byte', function()
    local gateway, origin, answer

    setup(function()
        origin = origins.listen(function(request)
            return request.target:match('^/auth') and answer or origins.OK
        end)
        local folder = process.plugins(PLUGINS, [[
local plugin = { PRIORITY = 1, VERSION = '0.1.0', config = { url = { type = 'string' } } }
%s
return plugin]])
        local values = { ORIGIN = origin.port, PORT = process.free_port(), DIR = folder,
            TEMPLATE = TEMPLATE }
        gateway = process.gateway(CONFIG:gsub('%u%u%u+', values), { folder = folder })
    end)

    before_each(function()
        origin:reset()
    end)

    teardown(function()
        process.stop_all()
        origin:close()
    end)

    local function ask(path, fields)
        local connection = assert(client.connect(gateway.port, { origin = origin }))
        assert(connection:send(('GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n'):format(path, fields or '')))
        local res = assert(connection:response())
        connection:close()
        origin:settle()
        return res
    end

    it('HDR-04 can be set by no function of the kit: it raises, and nothing is changed', function()
        local res = ask('/setters/x?q=1')
        assert.equal('taken: ', res.headers['x-access'])
        assert.equal('taken: ', res.headers['x-filter'])
        assert.equal(200, res.status)
        local request = origin.requests[1]
        assert.equal('GET /x?q=1 HTTP/1.1', request.line)
        assert.equal('127.0.0.1:' .. origin.port, origins.values(request, 'Host')[1])
        assert.is_nil(request.head:gsub('\r\n', ''):find('[%z\1-\8\10-\31\127]'))
        assert.is_nil(res.head:gsub('\r\n', ''):find('[%z\1-\8\10-\31\127]'))
    end)

    it('HDR-04 cannot be put into a request that a plugin makes', function()
        answer = origins.OK
        local res = ask('/call')
        assert.equal('taken: ', res.body)
        assert.equal(1, #origin.requests) -- only the value with a tab may be sent
        assert.equal('GET /auth HTTP/1.1', origin.requests[1].line)
        assert.same({ 'v\tw' }, origins.values(origin.requests[1], 'X'))
    end)

    local EVIL = { 'joe\r\nX-Admin: 1', 'joe\nX-Admin: 1', 'joe\rX-Admin: 1', 'joe\0', 'joe\127',
        'joe\27[2J' }

    it('HDR-04 in the body of an authentication service ends the request', function()
        for _, text in ipairs(EVIL) do
            answer = ('HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s'):format(#text, text)
            assert.equal(500, ask('/for/me?case=body').status)
            assert.equal(1, #origin.requests)
            assert.equal('/auth?body', origin.requests[1].target)
            origin:reset()
        end
    end)

    it('HDR-04 in the head of an authentication service is no answer', function()
        for _, text in ipairs({ 'joe\n X', 'joe\nX-Admin: 1', 'joe\rX', 'joe\0', 'joe\127',
            'joe\27[2J', 'joe\r\n X-Admin: 1', 'joe\r\n: x' }) do
            answer = ('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-User: %s\r\n\r\n'):format(text)
            assert.equal(401, ask('/for/me?case=head').status, text)
            assert.equal(1, #origin.requests)
            origin:reset()
        end
    end)

    it('HDR-04 in the claims of a token ends the request', function()
        for _, text in ipairs(EVIL) do
            local claims = dkjson.encode({ name = text })
            assert.equal(500, ask('/for/me?case=claim', 'X-Claims: ' .. claims .. '\r\n').status)
        end
        assert.equal(0, origin.bytes)
        assert.equal(200, ask('/for/me?case=claim', 'X-Claims: {"name":"joe"}\r\n').status)
        assert.same({ 'joe' }, origins.values(origin.requests[1], 'X-User'))
    end)

    -- EXT-02 -------------------------------------------------------------------------------------

    -- What a client may say; as an argument it may have any byte.
    local TEXTS = { '\r\n2026-01-01T00:00:00.000Z error forged: line', '"}\n{"status":200,"x":"',
        '" 200 0 "-" "-"', '\\', '\\"', '\27[2J\27[31m\7', '\0', '\127', '\194\155\194\133',
        '\255\254\192\175', '\226\128\168\226\128\169', '\t', ('\n'):rep(300), '{status}',
        '%d%s%n', 'a\r\n\r\nb' }

    local function escaped(text)
        return (text:gsub('.', function(char)
            return ('%%%02X'):format(char:byte())
        end))
    end

    -- Sends the texts in all fields that may have them.
    local function say_all()
        for _, text in ipairs(TEXTS) do
            local field = text:gsub('[%z\1-\8\10-\31\127]', '')
            local path = escaped(field:gsub('[\9\128-\255\\]', ''))
            local res = ask(('/talk/%s?text=%s&x="<>\\^`'):format(path, escaped(text)),
                ('User-Agent: %s\r\nReferer: %s\r\nX-Evil: %s\r\n'):format(field, field, field))
            assert.equal(200, res.status)
        end
    end

    local function lines_of(name)
        local deadline = posix.now() + process.deadline
        local lines
        repeat
            gateway:collect(posix.now() + 0.02)
            lines = {}
            for line in (process.read(gateway.folder .. '/' .. name) or ''):gmatch('([^\n]*)\n') do
                lines[#lines + 1] = line
            end
        until #lines >= #TEXTS or posix.now() > deadline
        assert.equal(#TEXTS, #lines, name)
        return lines
    end

    local function assert_harmless(line)
        assert.is_nil(line:find('[%z\1-\31\127]'), line)
        assert.is_nil(line:find('\194[\128-\159]'), line)
    end

    it('EXT-02 of a client makes no line in an access log, in no form', function()
        say_all()
        for _, line in ipairs(lines_of('json')) do
            local record, at = dkjson.decode(line, 1, nil)
            assert.equal(#line + 1, at, line)
            assert.equal(200, record.status)
            assert_harmless(line)
        end
        for _, line in ipairs(lines_of('combined')) do
            assert_harmless(line)
            assert.matches('^127%.0%.0%.1 %- .+ %[[^%]]+%] "GET [^" ]+ HTTP/1%.1" 200 %S+ '
                .. '"[^"]*" "[^"]*"$', line)
        end
        for _, line in ipairs(lines_of('custom')) do
            assert_harmless(line)
            assert.matches('^200 .* %.$', line)
        end
    end)

    it('EXT-02 of a client makes no line in the error log', function()
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
        local seen = 0
        for line in gateway.err:gmatch('([^\n]*)\n') do
            if line:find('talker', 1, true) then
                assert.matches('^%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ %l+ [^:]+: ', line)
                seen = seen + 1
            end
            assert_harmless(line)
            assert.is_nil(line:find('^2026%-01%-01T00:00:00'), line)
            assert.is_nil(line:find('^{'), line)
        end
        assert.is_true(seen >= 3 * #TEXTS / 2, gateway.err) -- some sites are held to 10 a second
    end)
end)
