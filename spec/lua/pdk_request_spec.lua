-- SPDX-License-Identifier: Apache-2.0
-- moongate.request: what plugins read of the client's request.
local gateway = require 'spec.lua.support.fake_gateway'

describe('moongate.request', function()
    local request

    before_each(function()
        request = gateway.load().request
        gateway.phase('access')
    end)

    it('reads the request line and the connection', function()
        gateway.request{ method = 'POST', path = '/a', raw_path = '/%61', query = 'x=1',
            target = '/%61?x=1', minor = 0, server_port = 8001 }
        assert.equal('POST', request.get_method())
        assert.equal('/a', request.get_path())
        assert.equal('/a?x=1', request.get_path_with_query())
        assert.equal('/%61', request.get_raw_path())
        assert.equal('/%61?x=1', request.get_raw_target())
        assert.equal('x=1', request.get_raw_query())
        assert.equal('http', request.get_scheme())
        assert.equal('shop.test', request.get_host())
        assert.equal(8001, request.get_port())
        assert.equal(1.0, request.get_http_version())
        assert.equal(1500000, request.get_start_time())
    end)

    it('tells a missing query from an empty one', function()
        gateway.request{ path = '/a' }
        assert.equal('', request.get_raw_query())
        assert.equal('/a', request.get_path_with_query())
        assert.same({}, request.get_query())
        gateway.request{ path = '/a', query = '' }
        assert.equal('/a?', request.get_path_with_query())
    end)

    it('decodes query arguments', function()
        gateway.request{ query = 'a=1&b&a=x%20y+z&c=&%64=5&&=q' }
        assert.equal('1', request.get_query_arg('a'))
        assert.is_true(request.get_query_arg('b'))
        assert.equal('', request.get_query_arg('c'))
        assert.equal('5', request.get_query_arg('d'))
        assert.is_nil(request.get_query_arg('e'))
        assert.same({ a = { '1', 'x y z' }, b = true, c = '', d = '5' }, request.get_query())
    end)

    it('cuts a listing at max and says so', function()
        gateway.request{ query = 'a&b&c', headers = { { 'A', '1' }, { 'B', '2' } } }
        local query, note = request.get_query(2)
        assert.same({ a = true, b = true }, query)
        assert.equal('truncated', note)
        assert.is_nil(select(2, request.get_query(3)))
        assert.equal('truncated', select(2, request.get_headers(1)))
        assert.is_nil(select(2, request.get_headers(2)))
        assert.error_matches(function() request.get_query(0) end, 'max_args must be >= 1')
        assert.error_matches(function() request.get_query(1001) end, 'max_args must be <= 1000')
        assert.error_matches(function() request.get_headers('x') end,
            'max_headers must be a number')
    end)

    it('finds headers blind to case and underscore', function()
        gateway.request{ headers = { { 'X-Tenant', 'a' }, { 'x-tenant', 'b' },
            { 'Accept', '*/*' } } }
        assert.equal('a', request.get_header('x_TENANT'))
        assert.equal('a, b', request.get_header_all('X-Tenant'))
        assert.is_nil(request.get_header('x-other'))
        assert.is_nil(request.get_header_all('x-other'))
        local all = request.get_headers()
        assert.same({ 'a', 'b' }, all['x-tenant'])
        assert.equal('*/*', all.ACCEPT)
        assert.same({ 'a', 'b' }, all.X_Tenant)
        assert.is_nil(all[1])
    end)

    it('refuses names that are no strings', function()
        gateway.request{}
        assert.error_matches(function() request.get_header(1) end, 'header name must be a string')
        assert.error_matches(function() request.get_query_arg() end,
            'query argument name must be a string')
    end)

    it('names the phases in which a function may be called', function()
        gateway.request{}
        gateway.phase('log')
        assert.error_matches(request.get_raw_body, 'function cannot be called in log phase '
            .. '(only in: rewrite, access, response)', 1, true)
        gateway.phase('init_worker')
        assert.error_matches(request.get_port, 'function cannot be called in init_worker phase '
            .. '(only in: configure, rewrite, access, response, header_filter, body_filter, log, '
            .. 'timer)', 1, true)
        gateway.phase(nil)
        assert.error_matches(request.get_method, 'function cannot be called in load phase', 1, true)
    end)

    it('points at the line of the plugin', function()
        gateway.request{}
        local ok, err = pcall(function() request.get_header(1) end)
        assert.is_false(ok)
        assert.truthy(err:find('pdk_request_spec.lua:', 1, true))
    end)

    it('raises outside a request', function()
        gateway.no_request()
        gateway.phase('timer')
        assert.error_matches(request.get_port, 'no request found')
    end)

    it('believes forwarding headers of a trusted peer only', function()
        local headers = { { 'X-Forwarded-Proto', 'HTTPS' }, { 'X-Forwarded-Host', 'Api.Test:444' },
            { 'X-Forwarded-Port', '444' }, { 'X-Forwarded-Path', '/p' },
            { 'X-Forwarded-Prefix', '/pre' } }
        gateway.request{ path = '/a', trusted = true, headers = headers }
        assert.equal('https', request.get_forwarded_scheme())
        assert.equal('api.test', request.get_forwarded_host())
        assert.equal(444, request.get_forwarded_port())
        assert.equal('/p', request.get_forwarded_path())
        assert.equal('/pre', request.get_forwarded_prefix())
        gateway.request{ path = '/a', headers = headers, strip_path = 1, prefix = '/a' }
        assert.equal('http', request.get_forwarded_scheme())
        assert.equal('shop.test', request.get_forwarded_host())
        assert.equal(8000, request.get_forwarded_port())
        assert.equal('/a', request.get_forwarded_path())
        assert.equal('/a', request.get_forwarded_prefix())
    end)

    it('lists what the regex of the route took', function()
        gateway.request{ captures = { { value = '/u/7' }, { name = 'id', value = '7' } } }
        assert.same({ unnamed = { [0] = '/u/7', '7' }, named = { id = '7' } },
            request.get_uri_captures())
        gateway.request{}
        assert.same({ unnamed = {}, named = {} }, request.get_uri_captures())
    end)
end)

describe('bodies of requests', function()
    local request

    before_each(function()
        request = gateway.load().request
        gateway.phase('access')
    end)

    local function with_body(mime, body)
        gateway.request{ body = body, headers = mime and { { 'Content-Type', mime } } }
    end

    it('are waited for', function()
        gateway.request{ late_body = 'hello' }
        assert.equal('hello', request.get_raw_body())
    end)

    it('are empty text when there is none', function()
        gateway.request{}
        assert.equal('', request.get_raw_body())
    end)

    it('may be refused', function()
        for code, text in pairs({ [-1] = 'request body is not buffered',
            [-2] = 'request body is too large', [-3] = 'request body could not be read' }) do
            gateway.request{ body_error = code }
            local body, err = request.get_raw_body()
            assert.is_nil(body)
            assert.equal(text, err)
        end
        gateway.request{ late_body = 'x' }
        gateway.wait_status = -1
        assert.equal('request body could not be read', select(2, request.get_raw_body()))
    end)

    it('are decoded by their type', function()
        with_body('application/x-www-form-urlencoded; charset=utf-8', 'a=1&b=%26')
        local form, err, mime = request.get_body()
        assert.same({ a = '1', b = '&' }, form)
        assert.is_nil(err)
        assert.equal('application/x-www-form-urlencoded', mime)
        with_body('Application/JSON', '{"a":[1]}')
        assert.same({ a = { 1 } }, (request.get_body()))
        with_body('text/plain', '{"a":1}')
        assert.same({ a = 1 }, (request.get_body('application/json')))
    end)

    it('say why they cannot be decoded', function()
        local function failure(mime, body)
            with_body(mime, body)
            local value, err, kind = request.get_body()
            assert.is_nil(value)
            return { err, kind }
        end
        assert.same({ 'missing content type' }, failure(nil, 'x'))
        assert.same({ "unsupported content type 'text/plain'", 'text/plain' },
            failure('text/plain', 'x'))
        assert.same({ 'invalid json body', 'application/json' }, failure('application/json', '{'))
        assert.same({ 'invalid json body', 'application/json' }, failure('application/json', '1'))
        assert.same({ 'invalid json body', 'application/json' },
            failure('application/json', '{"a":1,"a":2}'))
        assert.same({ 'multipart bodies are not supported yet', 'multipart/form-data' },
            failure('multipart/form-data; boundary=x', ''))
    end)
end)
