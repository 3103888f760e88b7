-- SPDX-License-Identifier: Apache-2.0
--
-- Requests whose head is refused: no plugin has a say in them, but each has its line in the access
-- log, with the log phase of the plugins that are configured for all requests. The line tells what
-- was understood of the head and not a byte more.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

local FLOOD = 500

-- Tells which phases ran, and reads what there is to read in log.
local WATCHES = [[
local plugin = { PRIORITY = 1, VERSION = '0.1.0' }
for _, phase in ipairs({ 'rewrite', 'access', 'header_filter', 'body_filter' }) do
    plugin[phase] = function()
        moongate.log.notice('phase ', phase)
    end
end
function plugin:log()
    local request, var = moongate.request, ngx.var
    local seen = { tostring(request.get_method()), tostring(request.get_path()),
        request.get_host(), tostring(request.get_http_version()), var.request, var.uri,
        var.request_method, var.server_protocol, tostring(request.get_header('X-Raw')),
        tostring(next(request.get_headers())), tostring(request.get_path_with_query()),
        request.get_raw_query(), tostring(request.get_raw_target()),
        tostring(request.get_raw_path()), ngx.req.get_method() or '', var.status }
    moongate.log.notice('seen ', table.concat(seen, '|'))
    local record = moongate.log.serialize()
    assert(record.response.status >= 400 and record.client_ip == '127.0.0.1')
end
return plugin
]]

local ROUTE_ONLY = [[
return { PRIORITY = 2, VERSION = '0.1.0', log = function()
    moongate.log.notice('the log of a route')
end }
]]

local YAML = [[
_format_version: "3.0"
plugins:
- name: access-log
  config:
    fields: [method, scheme, host, path, query, protocol, route, status, outcome, user_agent,
      bytes_in, bytes_out, body_bytes_out, request_id, client_ip, req.header.x-raw]
    sinks:
    - { type: stdout }
    - { type: file, path: DIR/combined.log, format: combined }
    - { type: file, path: DIR/custom.log, format: custom, template: '{method} {path} {status}' }
- { name: watches }
- { name: rate-limit, config: { quota: 1000000, window: 60s } }
- { name: circuit-breaker, config: { consecutive_failures: 5 } }
- { name: cors }
- { name: correlation-id }
services:
- { name: s, url: "http://127.0.0.1:UPSTREAM", routes: [
    { name: r, paths: [/], plugins: [{ name: route-only }] } ] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
  limits: { header_timeout: 200ms, request_line: 100, header_line: 200 }
  log: { level: notice }
]]

describe('a request whose head is refused', function()
    local gateway, records, upstream

    before_each(function()
        upstream = scripted.listen()
        local folder = process.plugins({ watches = WATCHES, ['route-only'] = ROUTE_ONLY })
        gateway = process.gateway(YAML:gsub('%u%u%u+', { DIR = folder, PORT = process.free_port(),
            UPSTREAM = upstream.port }), { folder = folder })
        records = scripted.records(gateway)
    end)

    after_each(function()
        process.stop_all()
        upstream:close()
    end)

    local function send(text)
        local connection = gateway:send(text)
        local res = assert(connection:response())
        assert.equal('', assert(connection:take_rest()))
        connection:close()
        return res
    end

    local REST = 'X-Raw: S3CRET\r\nUser-Agent: S3CRET\r\n\r\n'
    -- What is sent, the status, the outcome, what is understood of it: method, path.
    local CASES = {
        ['for two Hosts'] = { 'GET /a HTTP/1.1\r\nHost: S3CRET\r\nHost: S3CRET\r\n' .. REST, 400,
            'bad_request', 'GET', '/a' },
        ['for its target'] = { 'GET /S3CRET%zz HTTP/1.1\r\nHost: x\r\n' .. REST, 400,
            'bad_request', 'GET' },
        ['for its framing'] = { 'POST /%7ea HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n' ..
            'Content-Length: 2\r\n' .. REST, 400, 'bad_request', 'POST' },
        ['for its expectation'] = { 'POST /a HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n' .. REST, 417,
            'bad_request', 'POST', '/a' },
        ['for its method'] = { 'S3CRET /a HTTP/1.1\r\nHost: x\r\n' .. REST, 501, 'bad_request' },
        ['for its version'] = { 'GET /S3CRET HTTP/2.0\r\nHost: x\r\n' .. REST, 505,
            'bad_request' },
        ['for its request line'] = { 'GET  /S3CRET HTTP/1.1\r\nHost: x\r\n' .. REST, 400,
            'bad_request' },
        ['for a control byte'] = { 'GET /a HTTP/1.1\r\nHost: x\r\nX: S3CRET\1\r\n' .. REST, 400,
            'bad_request' },
        ['for a long request line'] = { ('GET /%s HTTP/1.1\r\nHost: x\r\n'):format(
            ('S3CRET'):rep(20)) .. REST, 414, 'too_large' },
        ['for a long field'] = { ('GET /a HTTP/1.1\r\nHost: x\r\nX: %s\r\n'):format(
            ('S3CRET'):rep(40)) .. REST, 431, 'too_large' },
        ['for its slowness'] = { 'GET /S3CRET HTTP/1.1\r\nHost', 408, 'header_timeout' },
    }

    for why, case in pairs(CASES) do
        local text, status, outcome, method, path = unpack(case)
        it(why .. ' has one line, with what was understood of it', function()
            local res = send(text)
            assert.equal(status, res.status)
            local record = records:next()
            assert.same({
                method = method, path = path, status = status, outcome = outcome,
                scheme = method and 'http', protocol = method and 'HTTP/1.1',
                request_id = res.headers['x-request-id'], client_ip = '127.0.0.1',
                bytes_in = #text, bytes_out = #res.head + #res.body, body_bytes_out = #res.body,
                req_headers = {},
            }, record)
            assert.is_true(gateway:wait_text('seen '))
            local seen = gateway.err:match('seen ([^\n]*)')
            assert.equal(table.concat({ tostring(method), tostring(path), '',
                method and '1.1' or 'nil', method and ('%s %s HTTP/1.1'):format(method, path or '')
                or '', path or '', method or '', method and 'HTTP/1.1' or '', 'nil', 'nil',
                tostring(path), '', 'nil', 'nil', method or '', tostring(status) }, '|'), seen)
            assert.equal(1, gateway:status().outcomes[outcome])
            assert.equal(0, gateway:stop())
            assert.equal(0, records:count())
            local combined = process.read(gateway.folder .. '/combined.log')
            assert.truthy(combined:find(('] "%s" %d %d "-" "-"\n'):format(method and
                ('%s %s HTTP/1.1'):format(method, path or '-') or '-', status, #res.body), 1,
                true), combined)
            assert.equal(('%s %s %d\n'):format(method or '-', path or '-', status),
                process.read(gateway.folder .. '/custom.log'))
            for _, output in ipairs({ gateway.out, gateway.err, combined }) do
                assert.is_nil(output:find('S3CRET', 1, true), output)
                assert.is_nil(output:find('[%z\1-\9\11-\31\127]'), output)
            end
            assert.is_nil(gateway.err:find('phase ', 1, true), gateway.err)
            assert.is_nil(gateway.err:find('of a route', 1, true), gateway.err)
            assert.is_nil(gateway.err:find(' error ', 1, true), gateway.err)
            assert.is_false(upstream:is_asked(0))
        end)
    end

    it('is one of many: each has one line, and what stands before it on the connection too',
        function()
            local bad = 'GET / HTTP/1.1\r\n\r\n'
            for i = 1, FLOOD do
                local connection = assert(client.connect(gateway.port))
                assert(connection:send(i % 2 == 0 and bad or bad:rep(5)))
                assert.equal(400, assert(connection:response()).status)
                connection:close()
            end
            local status = gateway:status()
            assert.equal(FLOOD, status.counters.requests)
            assert.equal(FLOOD, status.outcomes.bad_request)
            for _ = 1, FLOOD do
                assert.equal('bad_request', records:next().outcome)
            end

            local connection = assert(client.connect(gateway.port))
            assert(connection:send('GET /good HTTP/1.1\r\nHost: x\r\n\r\n' .. bad))
            local peer = upstream:accept()
            peer:say('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
            assert.equal(200, assert(connection:response()).status)
            assert.equal(400, assert(connection:response()).status)
            assert.equal('/good', records:next().path)
            assert.equal('bad_request', records:next().outcome)
            connection:close()
            peer:close()
            assert.is_nil((posix.read(gateway.out_fd, posix.now())))
            assert.equal(0, records:count())
        end)

    it('has no line when its client leaves before it is refused', function()
        local connection = assert(client.connect(gateway.port))
        assert(connection:send('GET / HT'))
        connection:close()
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.connections == 0 and status.counters.connections_accepted == 1
        end))
        assert.equal(0, gateway:status().counters.requests)
        assert.equal(0, records:count())
    end)
end)
