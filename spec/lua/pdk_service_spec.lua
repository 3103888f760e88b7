-- SPDX-License-Identifier: Apache-2.0
-- moongate.service and its request and response.
local gateway = require 'spec.lua.support.fake_gateway'

describe('moongate.service', function()
    local service

    before_each(function()
        service = gateway.load().service
        gateway.phase('access')
    end)

    it('sends a request elsewhere', function()
        local r = gateway.request{}
        service.set_target('10.0.0.7', 81)
        assert.equal('10.0.0.7:81', r.up_target)
        assert.is_true(service.set_upstream('pool'))
        assert.equal('pool', r.up_upstream)
        service.set_retries(2)
        assert.equal(2, r.up_retries)
        service.set_timeouts(1, 2, 3)
        assert.same({ 1, 2, 3 }, r.up_timeouts)
    end)

    it('names an upstream that does not exist', function()
        gateway.request{}
        local ok, err = service.set_upstream('nobody')
        assert.is_nil(ok)
        assert.equal('could not find an upstream named "nobody"', err)
    end)

    it('refuses bad arguments', function()
        gateway.request{}
        local function refused(text, fn, ...)
            local arguments = { ... }
            assert.error_matches(function() fn(unpack(arguments)) end, text, 1, true)
        end
        refused('host must be a string', service.set_target, 1, 80)
        refused('port must be an integer between 0 and 65535', service.set_target, 'a', 65536)
        refused('port must be an integer between 0 and 65535', service.set_target, 'a', 1.5)
        refused('invalid host: a b', service.set_target, 'a b', 80)
        refused('retries must be an integer between 0 and 32767', service.set_retries, -1)
        refused('connect_timeout must be an integer between 1 and 2147483646',
            service.set_timeouts, 0, 1, 1)
    end)

    it('is closed after access', function()
        gateway.request{}
        gateway.phase('header_filter')
        assert.error_matches(function() service.set_target('a', 1) end,
            'function cannot be called in header_filter phase (only in: rewrite, access)', 1, true)
    end)
end)

describe('moongate.service.request', function()
    local out

    before_each(function()
        out = gateway.load().service.request
        gateway.phase('access')
    end)

    local function refused(text, fn, ...)
        local arguments = { ... }
        assert.error_matches(function() fn(unpack(arguments)) end, text, 1, true)
    end

    it('changes method, path and query', function()
        local r = gateway.request{ query = 'a=1' }
        out.set_method('PUT')
        out.set_path('/new')
        out.set_query({ b = { '1', 2 }, a = 'x y', c = true, d = false })
        assert.equal('PUT', r.up_method)
        assert.equal('/new', r.up_path)
        assert.equal('a=x%20y&b=1&b=2&c', r.up_query)
        out.set_raw_query('z=%20')
        assert.equal('z=%20', r.up_query)
        out.set_raw_query('')
        assert.is_nil(r.up_query)
        out.enable_buffering()
        assert.is_true(r.up_buffer)
        out.set_scheme('http')
    end)

    it('takes every occurrence of an argument away', function()
        local r = gateway.request{ query = 'a=1&b=2&%61=3&c&a' }
        out.clear_query_arg('a')
        assert.equal('b=2&c', r.up_query)
        out.clear_query_arg('none')
        assert.equal('b=2&c', r.up_query)
        out.clear_query_arg('b')
        out.clear_query_arg('c')
        assert.is_nil(r.up_query)
        out.clear_query_arg('c')
    end)

    it('refuses what cannot stand in a request line', function()
        gateway.request{}
        refused('invalid method: get', out.set_method, 'get')
        refused('invalid method: FOO', out.set_method, 'FOO')
        refused('method must be a string', out.set_method, 1)
        refused('path must start with /', out.set_path, 'a')
        refused('invalid path: /a\\13\\10b', out.set_path, '/a\r\nb')
        refused('invalid query: a\\10', out.set_raw_query, 'a\n')
        refused('invalid scheme: ftp', out.set_scheme, 'ftp')
        refused('scheme https is not supported yet', out.set_scheme, 'https')
        refused('args must be a table', out.set_query, 'a')
        refused('invalid value of argument "a": got function', out.set_query, { a = print })
    end)

    it('changes headers', function()
        local r = gateway.request{ headers = { { 'A', '1' }, { 'B', '2' } } }
        out.set_header('a', 7)
        out.add_header('C', 'x')
        out.add_header('C', 'y')
        out.clear_header('b')
        out.set_headers({ D = { 'p', 'q' }, E = true })
        local found = {}
        for _, field in ipairs(r.fields.request) do
            found[#found + 1] = field[1] .. ':' .. field[2]
        end
        table.sort(found)
        assert.same({ 'C:x', 'C:y', 'D:p', 'D:q', 'E:true', 'a:7' }, found)
    end)

    it('checks all headers before it sets one', function()
        local r = gateway.request{}
        refused('invalid value of header "B"', out.set_headers, { A = '1', B = 'x\ny' })
        assert.same({}, r.fields.request)
        refused('invalid header name "a b"', out.set_header, 'a b', '1')
        refused('header name must be a string', out.set_header, 1, '1')
        refused('invalid header value for "a": got nil', out.set_header, 'a', nil)
        refused('headers must be a table', out.set_headers, 'x')
    end)

    it('replaces the body', function()
        local r = gateway.request{ headers = { { 'Content-Type', 'application/json' } } }
        out.set_raw_body('raw')
        assert.equal('raw', r.body)
        assert.is_true(out.set_body({ a = 1 }))
        assert.equal('{"a":1}', r.body)
        assert.is_true(out.set_body({ a = 1, b = 'x&y' }, 'application/x-www-form-urlencoded'))
        assert.equal('a=1&b=x%26y', r.body)
        assert.same({ { 'Content-Type', 'application/x-www-form-urlencoded' } }, r.fields.request)
    end)

    it('needs a type that it knows for a table', function()
        gateway.request{}
        local ok, err = out.set_body({ a = 1 })
        assert.is_nil(ok)
        assert.equal('missing content type', err)
        refused('unsupported content type text/csv', out.set_body, {}, 'text/csv')
        assert.same({ nil, 'multipart bodies are not supported yet' },
            { out.set_body({}, 'multipart/form-data') })
        refused('body must be a string', out.set_raw_body, 1)
    end)
end)

describe('moongate.service.response', function()
    local up

    before_each(function()
        up = gateway.load().service.response
        gateway.phase('header_filter')
    end)

    it('shows the answer of the upstream', function()
        gateway.request{ status = 500, up_status = 200, response = { { 'A', 'changed' } },
            upstream = { { 'A', '1' } } }
        assert.equal(200, up.get_status())
        assert.equal('1', up.get_header('a'))
        assert.same({ a = '1' }, (up.get_headers()))
    end)

    it('has no status when there was no upstream', function()
        gateway.request{ status = 403 }
        assert.is_nil(up.get_status())
    end)

    it('gives the body only when it is held', function()
        gateway.request{}
        assert.error_matches(up.get_raw_body, 'the response is not buffered')
        gateway.request{ held = true, held_body = '{"a":1}',
            upstream = { { 'Content-Type', 'application/json; charset=utf-8' } } }
        assert.equal('{"a":1}', up.get_raw_body())
        assert.same({ a = 1 }, (up.get_body()))
        gateway.request{ held = true, held_body = 'x', upstream = { { 'Content-Type', 'text/x' } } }
        assert.same({ nil, "unsupported content type 'text/x'", 'text/x' }, { up.get_body() })
    end)
end)
