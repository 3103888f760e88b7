-- SPDX-License-Identifier: Apache-2.0
-- The global ngx: the common names over the kit.
local gateway = require 'spec.lua.support.fake_gateway'

describe('ngx', function()
    local ngx

    before_each(function()
        ngx = select(2, gateway.load())
        gateway.phase('access')
    end)

    it('has constants', function()
        assert.same({ 0, -1, -5, 4, 8 }, { ngx.OK, ngx.ERROR, ngx.DECLINED, ngx.ERR, ngx.DEBUG })
        assert.same({ 2, 16384, 32768 }, { ngx.HTTP_GET, ngx.HTTP_PATCH, ngx.HTTP_TRACE })
        assert.same({ 200, 507 }, { ngx.HTTP_OK, ngx.HTTP_INSUFFICIENT_STORAGE })
        assert.equal(require('cjson').null, ngx.null)
        assert.is_nil(ngx.location)
    end)

    it('keeps a table per request', function()
        gateway.request{}
        ngx.ctx.a = 1
        assert.equal(1, ngx.ctx.a)
        ngx.ctx = { b = 2 }
        assert.same({ b = 2 }, ngx.ctx)
        gateway.request{}
        assert.same({}, ngx.ctx)
    end)

    it('gives each timer an empty ctx', function()
        local seen
        ngx.timer.at(1.5, function(premature, x)
            ngx.ctx.n = (ngx.ctx.n or 0) + 1
            seen = { premature, x, ngx.ctx.n }
        end, 'x')
        gateway.no_request()
        gateway.phase('timer')
        local timer = gateway.timers[1]
        assert.equal(1500, timer.ms)
        timer.fn(false, timer[1])
        timer.fn(false, timer[1])
        assert.same({ false, 'x', 1 }, seen)
        assert.is_true(ngx.timer.every(1, print))
        assert.error_matches(function() ngx.timer.at(-1, print) end, 'invalid timer delay')
        assert.error_matches(function() ngx.timer.every(0, print) end, 'delay cannot be zero')
    end)

    it('reads and sets headers of the answer', function()
        local r = gateway.request{}
        ngx.header.X_A = { '1', '2' }
        ngx.header['Content-Type'] = 'text/x'
        assert.equal('1', ngx.header.x_a)
        ngx.header.x_a = nil
        assert.same({ { 'Content-Type', 'text/x' } }, r.fields.response)
        gateway.phase('log')
        assert.equal('text/x', ngx.resp.get_headers()['content-type'])
    end)

    it('knows time, workers and the phase', function()
        assert.equal(1500, ngx.now())
        ngx.update_time()
        assert.equal(1501, ngx.time())
        assert.same({ 4711, 0, 2, false }, { ngx.worker.pid(), ngx.worker.id(), ngx.worker.count(),
            ngx.worker.exiting() })
        gateway.shared.exiting = 1
        assert.is_true(ngx.worker.exiting())
        assert.equal('access', ngx.get_phase())
        gateway.phase(nil)
        assert.equal('init', ngx.get_phase())
        ngx.sleep(0.1)
        assert.equal(100, gateway.slept)
    end)

    it('logs at its own levels', function()
        ngx.log(ngx.ERR, 'a', nil, ngx.null, 1)
        ngx.log(ngx.DEBUG, 'b')
        assert.equal(1, #gateway.logs)
        assert.equal(3, gateway.logs[1].level)
        assert.truthy(gateway.logs[1].text:find('anilnull1$'))
    end)

    it('reads the common variables', function()
        gateway.request{ method = 'POST', path = '/a', query = 'x=1&y', minor = 1, status = 0,
            headers = { { 'X-Tenant', 'acme' }, { 'Cookie', 'a=1; b=2' },
                { 'Content-Length', '5' } },
            response = { { 'X-Out', 'o' } }, bytes_in = 10 }
        local var = ngx.var
        assert.equal('/a', var.uri)
        assert.equal('/a?x=1&y', var.request_uri)
        assert.equal('POST /a?x=1&y HTTP/1.1', var.request)
        assert.equal('x=1&y', var.args)
        assert.equal('?', var.is_args)
        assert.equal('1', var.arg_x)
        assert.equal('', var.arg_y)
        assert.is_nil(var.arg_z)
        assert.equal('acme', var.http_x_tenant)
        assert.is_nil(var.http_none)
        assert.equal('2', var.cookie_b)
        assert.is_nil(var.cookie_c)
        assert.equal('o', var.sent_http_x_out)
        assert.equal('192.0.2.1', var.remote_addr)
        assert.equal('127.0.0.1', var.realip_remote_addr)
        assert.equal('000', var.status)
        assert.equal('5', var.content_length)
        assert.equal('10', var.request_length)
        assert.equal('8000', var.server_port)
        assert.is_nil(var.no_such_name)
    end)

    it('changes only the variables that may be changed', function()
        local r = gateway.request{}
        ngx.var.args = 'q=1'
        ngx.var.upstream_uri = '/u?z=2'
        ngx.var.upstream_host = 'up.test'
        assert.equal('z=2', r.up_query)
        assert.equal('/u', r.up_path)
        assert.same({ { 'Host', 'up.test' } }, r.fields.request)
        assert.error_matches(function() ngx.var.uri = '/x' end, 'variable "uri" not changeable')
    end)

    it('prints an answer piece by piece', function()
        local r = gateway.request{}
        ngx.status = 201
        ngx.say('a', 1, { 'b', { 'c' } }, nil)
        ngx.print(ngx.null)
        assert.equal(201, r.status)
        assert.equal('a1bcnil\nnull', r.answer)
        assert.equal(7, gateway.shared.exited)
        assert.equal(201, ngx.status)
        assert.is_true(gateway.leaves(ngx.exit, ngx.OK))
    end)

    it('ends a request with a status', function()
        local r = gateway.request{}
        assert.is_true(gateway.leaves(ngx.exit, 403))
        assert.equal(403, r.status)
        assert.same({ message = 'Forbidden', request_id = 'abc123' },
            require('cjson').decode(r.answer))
        r = gateway.request{}
        ngx.print('text')
        assert.is_true(gateway.leaves(ngx.exit, 404))
        assert.equal(404, r.status)
        assert.equal('text', r.answer)
        gateway.request{}
        assert.error_matches(function() ngx.exit(ngx.OK) end, 'below 200 is not supported')
        assert.error_matches(function() ngx.exit(444) end, 'not supported yet')
    end)

    it('reads the request by its own names', function()
        local r = gateway.request{ method = 'GET', query = 'a=1', late_body = 'x=1&y',
            headers = { { 'A', 'b' } } }
        assert.equal('GET', ngx.req.get_method())
        assert.same({ a = '1' }, (ngx.req.get_uri_args()))
        assert.equal('b', ngx.req.get_headers(0).A)
        assert.equal(1.1, ngx.req.http_version())
        assert.equal(1500, ngx.req.start_time())
        assert.is_nil(ngx.req.get_body_data())
        ngx.req.read_body()
        assert.equal('x=1&y', ngx.req.get_body_data())
        assert.same({ x = '1', y = true }, (ngx.req.get_post_args()))
        ngx.req.set_header('A', nil)
        ngx.req.set_header('C', 'd')
        assert.same({ { 'C', 'd' } }, r.fields.request)
    end)
end)
