-- SPDX-License-Identifier: Apache-2.0
-- typedefs: what each takes and refuses.
local cjson = require 'cjson'
local schema = require 'moongate.schema'
local typedefs = require 'moongate.typedefs'

local function check(def, value)
    local s = assert(schema.new({ name = 't', fields = { { x = def } } }))
    local result, errors = s:validate({ x = value })
    return result and result.x, errors and errors.x
end

local PEM = '-----BEGIN %s-----\nAAAA\n-----END %s-----\n'

-- Name, values taken, values refused.
local CASES = {
    http_method = { { 'GET', 'PATCH' }, { 'get', 'G T', '' } },
    protocol = { { 'http', 'tls_passthrough' }, { 'ftp' } },
    host = { { 'a', 'a.b.example', 'my_host', '10.0.0.1', '::1', '[::1]', 'x.' },
        { 'a..b', '-a', 'a b', 'a/b', '1.2.3', '256.0.0.1', 'a:80', ('a'):rep(64) } },
    host_with_optional_port = { { 'a:80', 'a', '10.0.0.1:1', '[::1]:80', '::1' },
        { 'a:', 'a:70000', 'a:b', '[a]:1' } },
    wildcard_host = { { 'a.example', '*.example', 'example.*', 'a.example:8080', '*.a.b:1' },
        { '*', 'a.*.b', '*a.example', '*.*', 'a.example:0', 'a.example:99999' } },
    ip = { { '1.2.3.4', '::', 'fe80::1:2', '::ffff:1.2.3.4' },
        { '1.2.3', '01.2.3.4', 'g::', '1:2:3:4:5:6:7', ':::', '1::2::3', 'localhost' } },
    cidr = { { '10.0.0.0/8', '::/0', 'fd00::/64' }, { '10.0.0.0', '10.0.0.0/33', '::/129', '/8' } },
    cidr_v4 = { { '10.0.0.0/8' }, { 'fd00::/64', '10.0.0.0' } },
    ip_or_cidr = { { '10.0.0.1', 'fd00::/64' }, { 'a', '10.0.0.0/99' } },
    port = { { 0, 65535 }, { -1, 65536, 1.5, '80' } },
    path = { { '/', '/a/b-c_d.e~f', '/%C3%A9', '/a;b=c,d' },
        { 'a', '//', '/a//b', '/a/../b', '/a/./b', '/%41', '/%c3%a9', '/a b', '/é', '/a%',
            '/a?b' } },
    router_path = { { '/a', '~/a(?<x>\\d+)$', '~/(a|b)' },
        { 'a', '~a', '~/(a', '/a//b' } },
    url = { { 'http://a', 'https://a.example:8443/x?y', 'redis://u:p@[::1]:6379' },
        { 'a', 'http://', 'http://a:b', '/x' } },
    header_name = { { 'X-Tenant', 'a_b' }, { 'a b', 'a:', 'é', '' } },
    cookie_name = { { 'sid' }, { 'a=b', 'a;b' } },
    timeout = { { 0, 2 ^ 31 - 2 }, { -1, 2 ^ 31 - 1 } },
    uuid = { { 'fd02801f-0957-4a15-a55a-c8d9606f30b5' },
        { 'x', 'fd02801f09574a15a55ac8d9606f30b5' } },
    name = { { 'a-b_c.d~1' }, { 'a b', 'é', 'a/b' } },
    utf8_name = { { 'größe', 'a b' }, { '\xff', 'a\nb', 'a/b', '\237\160\128' } },
    policy_name = { { 'per-minute_1' }, { 'Per', 'a.b', ('a'):rep(33) } },
    sni = { { 'a.example', '*.example' }, { 'a:80', '1.2.3.4', '*' } },
    tag = { { 'a tag', 'ä' }, { 'a,b', 'a/b', 'a\n' } },
    tags = { { { 'a', 'b' } }, { { 'a', 'b,c' }, 'a' } },
    semantic_version = { { '1.2', '1.2.3', '1.2.3-rc.1' }, { '1', 'v1.2', '1.2.x' } },
    protocols = { { { 'http', 'https' }, { 'tcp', 'tls' } }, { {}, { 'http', 'tcp' }, { 'ftp' } } },
    protocols_http = { { { 'http', 'grpcs' } }, { { 'tcp' } } },
    methods = { { { 'GET', 'PUT' } }, { { 'get' } } },
    hosts = { { { 'a', '*.b' } }, { { 'a', '*' } } },
    headers = { { { ['X-A'] = { '1', '2' } } }, { { Host = { 'a' } }, { ['X-A'] = 'b' } } },
    sources = { { { { ip = '10.0.0.0/8' }, { port = 80 } } }, { { {} }, { { ip = 'x' } } } },
    certificate = { { PEM:format('CERTIFICATE', 'CERTIFICATE') }, { 'x' } },
    key = { { PEM:format('RSA PRIVATE KEY', 'RSA PRIVATE KEY') },
        { PEM:format('CERTIFICATE', 'CERTIFICATE') } },
    jwk = { { '{"kty":"oct","k":"AA"}' }, { '{}', 'x' } },
    lua_code = { { 'return 1' }, { 'return +' } },
    ttl = { { 0, 60 }, { -1, 'a' } },
    auto_timestamp_s = { { 1700000000 }, { 0, 1.5 } },
    auto_timestamp_ms = { { 1700000000.123 }, { 0 } },
    duration = { { '10s' }, { 10, 'x' } },
    bytes = { { '64KiB', 5 }, { '5k' } },
    percent = { { 0, 100 }, { 101, '5' } },
    secret = { { 'x' }, { 5 } },
    pem = { { { private_key = 'x' } }, { { key = 'x' } } },
    capability = { { 'x' }, { 1 } },
    redis_host = { { 'a' }, { 'a b' } },
    destinations = { { { { port = 80 } } }, { { { port = 70000 } } } },
    router_paths = { { { '/a', '~/b' } }, { { '/a', 'b' } } },
}

describe('typedefs', function()
    for name, case in pairs(CASES) do
        it('know ' .. name, function()
            for _, value in ipairs(case[1]) do
                local _, err = check(typedefs[name], value)
                assert.is_nil(err, tostring(value))
            end
            for _, value in ipairs(case[2]) do
                local _, err = check(typedefs[name], value)
                assert.is_not_nil(err, name .. ' took ' .. tostring(value))
            end
        end)
    end

    it('take overrides without changing themselves', function()
        local port = typedefs.port({ default = 6379 })
        assert.equal(6379, port.default)
        assert.equal('integer', port.type)
        assert.is_nil(typedefs.port.default)
        assert.equal(6379, (check(port, nil)))
        assert.same({ 'grpc', 'grpcs', 'http', 'https' }, (check(typedefs.protocols_http, nil)))
    end)

    it('refuse the entity that a no_* typedef names', function()
        for _, name in ipairs({ 'no_route', 'no_service', 'no_consumer' }) do
            assert.equal('value must be null', select(2, check(typedefs[name], { id = 'x' })))
            assert.is_nil(select(2, check(typedefs[name], cjson.null)))
        end
    end)

    it('tell what a path should be written as', function()
        assert.equal('not canonical: write "/b"', select(2, check(typedefs.path, '/a/../b')))
        assert.equal('not canonical: write "/%C3%A9"', select(2, check(typedefs.path, '/%c3%a9')))
        assert.equal('not canonical: write "/a%20b"', select(2, check(typedefs.path, '/a b')))
        assert.equal('must not have empty segments', select(2, check(typedefs.path, '/a//b')))
        assert.equal('should start with: / (fixed path) or ~/ (regex path)',
            select(2, check(typedefs.router_path, 'a')))
    end)

    it('give a queue its defaults', function()
        assert.same({ max_batch_size = 1, max_coalescing_delay = 1, max_entries = 10000,
            max_retry_time = 60, initial_retry_delay = 0.01, max_retry_delay = 60,
            concurrency_limit = 1 }, (check(typedefs.queue, nil)))
        assert.is_not_nil(select(2, check(typedefs.queue, { concurrency_limit = 2 })))
    end)

    it('give propagation its defaults', function()
        assert.same({ default_format = 'w3c' }, (check(typedefs.propagation, nil)))
    end)

    it('raise on an unknown name', function()
        assert.has_error(function() return typedefs.prot end,
            'schema typedef error: definition prot does not exist')
    end)
end)
