-- SPDX-License-Identifier: Apache-2.0
-- moongate.http: arguments, URLs and results. The wire is tested in spec/core/script.
local gateway = require 'spec.lua.support.fake_gateway'

describe('moongate.http.request', function()
    local http

    before_each(function()
        http = gateway.load().http
        gateway.phase('access')
        gateway.http = { status = 200 }
    end)

    it('sends what it was told, with defaults for the rest', function()
        assert.truthy(http.request{ url = 'http://up.test' })
        assert.same({ host = 'up.test', port = 80, method = 'GET', path = '/', body = '',
            host_field = 'up.test', timeout_ms = 10000, keepalive_ms = 60000 }, gateway.http.asked)
        http.request{ url = 'http://[::1]:81/a?b=c#d', method = 'PUT', body = 'x', timeout = 0.5,
            keepalive = 0, headers = { ['X-A'] = { 'b', 1 }, host = 'other' } }
        assert.same({ host = '[::1]', port = 81, method = 'PUT', path = '/a?b=c', body = 'x',
            host_field = 'other', timeout_ms = 500, keepalive_ms = 0 }, gateway.http.asked)
        table.sort(gateway.http.sent, function(a, b) return a[1] .. a[2] < b[1] .. b[2] end)
        assert.same({ { 'X-A', '1' }, { 'X-A', 'b' }, { 'host', 'other' } }, gateway.http.sent)
    end)

    it('speaks TLS for https, and verifies the server unless told otherwise', function()
        http.request{ url = 'https://up.test/' }
        assert.same({ 443, 1, 'up.test' }, { gateway.http.asked.port, gateway.http.asked.tls,
            gateway.http.asked.host_field })
        http.request{ url = 'HTTPS://up.test:8443/', ssl_verify = false }
        assert.same({ 8443, 2 }, { gateway.http.asked.port, gateway.http.asked.tls })
        http.request{ url = 'http://up.test/', ssl_verify = false }
        assert.is_nil(gateway.http.asked.tls)
        gateway.http = { error = -20050, reason = 'certificate verify failed: x' }
        assert.same({ nil, 'certificate verify failed: x' },
            { http.request{ url = 'https://up.test' } })
        assert.error_matches(function()
            http.request({ url = 'https://a', ssl_verify = 'no' })
        end, 'ssl_verify must be a boolean', 1, true)
    end)

    it('gives status, headers and body', function()
        gateway.http = { status = 201, body = 'ok',
            fields = { { 'X-One', 'a' }, { 'Set-Cookie', 'b' }, { 'x-one', 'c' } } }
        local answer = http.request{ url = 'http://up.test:8080/x' }
        assert.equal(201, answer.status)
        assert.equal('ok', answer.body)
        assert.equal('a, c', answer.headers['x-one'])
        assert.equal('b', answer.headers.Set_Cookie)
        assert.equal('up.test:8080', gateway.http.asked.host_field)
        assert.equal(1, gateway.http.freed)
    end)

    it('says why there is no answer', function()
        local function failure(code)
            gateway.http.error = code
            local answer, err = http.request{ url = 'http://up.test/' }
            assert.is_nil(answer)
            return err
        end
        assert.equal('timeout', failure(-20005))
        assert.equal('closed', failure(-20004))
        assert.equal('invalid request', failure(-20008))
        assert.equal('up.test could not be resolved', failure(-20043))
        assert.equal('connection refused', failure(-111))
        assert.equal(5, gateway.http.freed)
        gateway.http.error, gateway.wait_status = nil, -20005
        assert.equal('timeout', failure(nil))
    end)

    it('cannot work where nothing can wait', function()
        gateway.http = nil
        assert.same({ nil, 'no request can be made here' }, { http.request{ url = 'http://a' } })
    end)

    it('refuses what is no URL that it can serve', function()
        local function refused(url)
            local answer, err = http.request{ url = url }
            assert.is_nil(answer)
            return err
        end
        for _, url in ipairs({ '', '/a', 'up.test', 'http://', 'http://:80', 'http://a:b',
            'http://a:70000', 'http://[::1', 'http://a:1:2' }) do
            assert.equal('invalid url', refused(url))
        end
        assert.equal('unsupported scheme ftp', refused('ftp://a'))
        assert.equal('credentials in a url are not supported', refused('http://u:p@a'))
        assert.is_nil(gateway.http.asked)
    end)

    it('raises on arguments of the wrong type', function()
        local function raises(text, options)
            assert.error_matches(function() http.request(options) end, text, 1, true)
        end
        raises('options must be a table', 'http://a')
        raises('url must be a string', {})
        raises('method must be a string', { url = 'http://a', method = 1 })
        raises('body must be a string', { url = 'http://a', body = {} })
        raises('headers must be a table', { url = 'http://a', headers = 'x' })
        raises('timeout must be a number of seconds, 0 or more', { url = 'http://a', timeout = -1 })
        raises('invalid value of header "A"', { url = 'http://a', headers = { A = 'b\nc' } })
        raises('url must not have control bytes: "http://a/\\13\\10b"', { url = 'http://a/\r\nb' })
        raises('method must not have control bytes', { url = 'http://a', method = 'GET\n' })
        raises('invalid value of header "A"', { url = 'http://a', headers = { A = true } })
        raises('header name must be a string', { url = 'http://a', headers = { 'x' } })
    end)
end)
