-- SPDX-License-Identifier: Apache-2.0
-- moongate.response: headers, early answers, errors by Accept, bodies in body_filter.
local gateway = require 'spec.lua.support.fake_gateway'

local function header(r, name)
    for _, field in ipairs(r.fields.response) do
        if field[1]:lower() == name then
            return field[2]
        end
    end
    return nil
end

describe('moongate.response', function()
    local response

    before_each(function()
        response = gateway.load().response
        gateway.phase('header_filter')
    end)

    local function refused(text, fn, ...)
        local arguments = { ... }
        assert.error_matches(function() fn(unpack(arguments)) end, text, 1, true)
    end

    it('reads the answer', function()
        gateway.request{ status = 201, source = 1, response = { { 'X-A', '1' }, { 'x-a', '2' } } }
        assert.equal(201, response.get_status())
        assert.equal('service', response.get_source())
        assert.equal('1', response.get_header('x_a'))
        assert.same({ ['x-a'] = { '1', '2' } }, (response.get_headers()))
        gateway.request{ status = 404, source = 3 }
        assert.equal('error', response.get_source())
        gateway.request{ status = 403, source = 2 }
        assert.equal('exit', response.get_source())
    end)

    it('changes status and headers', function()
        local r = gateway.request{ status = 200, response = { { 'Server', 'x' } } }
        response.set_status(202)
        response.set_header('X-One', 1)
        response.add_header('X-Two', 'a')
        response.clear_header('server')
        response.set_headers({ ['X-Three'] = 'c' })
        assert.equal(202, r.status)
        assert.same({ { 'X-One', '1' }, { 'X-Two', 'a' }, { 'X-Three', 'c' } }, r.fields.response)
    end)

    it('refuses a status that is none', function()
        gateway.request{ status = 200 }
        local text = 'code must be a number between 100 and 599'
        refused(text, response.set_status, 99)
        refused(text, response.set_status, 600)
        refused(text, response.set_status, '200')
        refused(text, response.set_status, 200.5)
    end)

    it('changes nothing after the head was sent', function()
        gateway.request{ status = 200, head_sent = true }
        local text = 'headers have already been sent'
        refused(text, response.set_status, 200)
        refused(text, response.set_header, 'A', 'b')
        refused(text, response.add_header, 'A', 'b')
        refused(text, response.clear_header, 'A')
        refused(text, response.set_headers, {})
        refused(text, response.exit, 200)
    end)

    it('leaves framing to the gateway, with a warning', function()
        local r = gateway.request{ status = 200 }
        response.set_header('Transfer_Encoding', 'chunked')
        response.set_headers({ ['transfer-encoding'] = 'x' })
        assert.same({}, r.fields.response)
        assert.equal(2, #gateway.logs)
        assert.equal(4, gateway.logs[1].level)
    end)

    it('may be changed before there is an answer', function()
        gateway.phase('access')
        local r = gateway.request{}
        response.set_header('X-A', '1')
        assert.equal('1', header(r, 'x-a'))
        refused('function cannot be called in access phase (only in: response, header_filter, '
            .. 'body_filter, log)', response.get_status)
    end)
end)

describe('moongate.response.exit', function()
    local response

    before_each(function()
        response = gateway.load().response
        gateway.phase('access')
    end)

    it('answers and leaves the handler', function()
        local r = gateway.request{}
        assert.is_true(gateway.leaves(response.exit, 403, 'no', { ['X-A'] = 'b' }))
        assert.equal(403, r.status)
        assert.equal('no', r.answer)
        assert.equal('b', header(r, 'x-a'))
        assert.is_nil(header(r, 'content-type'))
        assert.equal(1, gateway.exits)
    end)

    it('sends tables as JSON, of a type that may be replaced', function()
        local r = gateway.request{}
        gateway.leaves(response.exit, 200, { message = 'hi' })
        assert.equal('{"message":"hi"}', r.answer)
        assert.equal('application/json; charset=utf-8', header(r, 'content-type'))
        r = gateway.request{}
        gateway.leaves(response.exit, 200, {}, { content_type = 'application/x' })
        assert.equal('application/x', header(r, 'content_type'))
        assert.is_nil(header(r, 'content-type'))
    end)

    it('may have no body', function()
        local r = gateway.request{}
        gateway.leaves(response.exit, 204)
        assert.equal('', r.answer)
    end)

    it('returns in header_filter', function()
        gateway.phase('header_filter')
        local r = gateway.request{ status = 200 }
        assert.is_false(gateway.leaves(response.exit, 503, 'x'))
        assert.equal(503, r.status)
    end)

    it('checks everything before it answers', function()
        local r = gateway.request{}
        local function refused(text, ...)
            local arguments = { ... }
            assert.error_matches(function() response.exit(unpack(arguments)) end, text, 1, true)
        end
        refused('code must be a number between 100 and 599', 'x')
        refused('body must be a nil, string or table', 200, 1)
        refused('headers must be a nil or table', 200, 'x', 1)
        refused('invalid value of header "A"', 200, 'x', { A = 'b\r\nc' })
        refused('body cannot be encoded as JSON', 200, { print })
        assert.equal(0, r.status)
        assert.equal(0, gateway.exits)
        gateway.phase('log')
        refused('function cannot be called in log phase', 200)
    end)
end)

describe('moongate.response.error', function()
    local response

    before_each(function()
        response = gateway.load().response
        gateway.phase('access')
    end)

    local function answer_for(accept, status, message)
        local r = gateway.request{ headers = accept and { { 'Accept', accept } } }
        gateway.leaves(response.error, status or 403, message)
        return r, header(r, 'content-type')
    end

    it('is JSON with message and request id when the client does not say', function()
        for _, accept in ipairs({ '', '*/*', 'application/json', 'image/png', 'x',
            'text/html;q=0' }) do
            local r, kind = answer_for(accept)
            assert.equal('application/json; charset=utf-8', kind)
            local cjson = require 'cjson'
            assert.same({ message = 'Forbidden', request_id = 'abc123' }, cjson.decode(r.answer))
        end
    end)

    it('follows Accept and its weights', function()
        assert.equal('text/html; charset=utf-8', select(2, answer_for('text/html')))
        assert.equal('application/xml; charset=utf-8', select(2, answer_for('application/xml')))
        assert.equal('text/plain; charset=utf-8', select(2, answer_for('text/plain, */*;q=0.1')))
        assert.equal('text/html; charset=utf-8',
            select(2, answer_for('application/json;q=0.5, text/html;q=0.9')))
    end)

    it('escapes the message', function()
        local r = answer_for('text/html', 400, '<script>&"\'\1')
        assert.truthy(r.answer:find('&lt;script&gt;&amp;&quot;&#39;</h1>', 1, true))
        r = answer_for('application/xml', 400, '<a>')
        assert.truthy(r.answer:find('<message>&lt;a&gt;</message>', 1, true))
    end)

    it('has a message for each status', function()
        assert.truthy(answer_for('text/plain', 500).answer:find('An unexpected error occurred'))
        assert.truthy(answer_for('text/plain', 599).answer:find('Error'))
        assert.truthy(answer_for('text/plain', 503, 'busy').answer:find('busy'))
    end)

    it('sends a table as it is', function()
        assert.equal('{"code":7}', answer_for('text/html', 400, { code = 7 }).answer)
    end)

    it('is for errors only', function()
        gateway.request{}
        assert.error_matches(function() response.error(399) end,
            'code must be a number between 400 and 599')
        assert.error_matches(function() response.error(400, 1) end,
            'message must be a nil, string or table')
    end)
end)

describe('bodies in body_filter', function()
    local response, ngx

    before_each(function()
        local moongate
        moongate, ngx = gateway.load()
        response = moongate.response
        gateway.phase('body_filter')
    end)

    -- Runs the rounds of a body through handlers, each under the name of its plugin.
    local function filter(chunks, handlers)
        local r = gateway.request{ status = 200 }
        local out = {}
        for i, chunk in ipairs(chunks) do
            r.chunk, r.chunk_last = chunk, i == #chunks and 1 or 0
            for name, handler in ipairs(handlers) do
                gateway.plugin = 'p' .. name
                handler()
            end
            out[i] = r.chunk
        end
        return out, r
    end

    it('are shown chunk by chunk by ngx.arg', function()
        local seen = {}
        local out = filter({ 'a', 'b' }, { function()
            seen[#seen + 1] = { ngx.arg[1], ngx.arg[2] }
            ngx.arg[1] = ngx.arg[1]:upper()
        end })
        assert.same({ { 'a', false }, { 'b', true } }, seen)
        assert.same({ 'A', 'B' }, out)
    end)

    it('lose a chunk that is set to nil', function()
        assert.same({ '', '' }, (filter({ 'a', 'b' }, { function() ngx.arg[1] = nil end })))
    end)

    it('are whole at the end, for several plugins at once', function()
        local seen = {}
        local out, r = filter({ 'a', 'b', 'c' }, {
            function()
                local body = response.get_raw_body()
                if body then
                    seen[1] = body
                    response.set_raw_body(body .. '1')
                end
            end,
            function()
                local body = response.get_raw_body()
                if body then
                    seen[2] = body
                end
            end,
        })
        assert.same({ 'abc', 'abc1' }, seen)
        assert.same({ '', '', 'abc1' }, out)
        assert.is_true(r.held_back)
    end)

    it('are the same when asked twice in a round', function()
        filter({ 'a', 'b' }, { function()
            local first, second = response.get_raw_body(), response.get_raw_body()
            assert.equal(first, second)
            assert.truthy(first == nil or first == 'ab')
        end })
    end)

    it('end where set_raw_body says so', function()
        local _, r = filter({ 'a' }, { function() response.set_raw_body('new') end })
        assert.equal('new', r.chunk)
        assert.equal(1, r.chunk_last)
    end)

    it('are collected up to the limit', function()
        local r = gateway.request{ status = 200, response_buffer = 3 }
        gateway.plugin = 'p'
        r.chunk, r.chunk_last = 'abc', 0
        assert.is_nil(response.get_raw_body())
        r.chunk = 'd'
        assert.error_matches(function() response.get_raw_body() end, 'limits.response_buffer')
    end)

    it('are strings', function()
        gateway.request{ chunk = 'a' }
        assert.error_matches(function() response.set_raw_body(1) end, 'body must be a string')
        assert.error_matches(function() ngx.arg[1] = {} end, 'a chunk must be a string or nil')
        assert.error_matches(function() ngx.arg[3] = 'x' end, 'ngx.arg has only')
        assert.error_matches(function() response.get_raw_body({ decode = true }) end,
            'decode is not supported yet')
    end)
end)
