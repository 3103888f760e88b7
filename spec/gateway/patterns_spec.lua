-- SPDX-License-Identifier: Apache-2.0
--
-- Nothing that a client sends makes our own Lua code try one way after the other: what comes with
-- the gateway, and functions that take a request apart, get fields that are as long as they may be
-- and made of what patterns are slow with. With cpu_ms (50 ms of CPU, for what takes less than one)
-- such a request would end as plugin_limit, and a longer one would end its worker by the watchdog.
local process = require 'spec.gateway.support.process'

local READER = [[
function plugin:access()
    local request = moongate.request
    local seen = { ngx.var.cookie_a, ngx.var.arg_a, ngx.var.http_x_a, request.get_query_arg('a'),
        request.get_header_all('X-A'), request.get_forwarded_host(), request.get_forwarded_path(),
        request.get_body(), ngx.var.request_uri, moongate.client.get_forwarded_ip() }
    request.get_headers()
    request.get_query()
    if request.get_header('X-Fail') then
        return moongate.response.error(400, 'no')
    end
    return moongate.response.exit(200, tostring(#seen))
end
]]

local YAML = [[
_format_version: "3.0"
services:
- name: s
  url: http://127.0.0.1:9
  routes:
  - { name: reader, paths: [/reader], plugins: [{ name: reader }] }
  - name: limits
    paths: [/limits]
    plugins:
    - name: rate-limit
      config:
        key_missing: ip
        limits:
        - { name: a, quota: 1000000, window: 1h, key: ["cookie:a"] }
        - { name: b, quota: 1000000, window: 1h, key: ["header:X-A", "query:a"] }
        - { name: c, quota: 1000000, window: 1h, key: [path, host, ip] }
    - { name: request-termination, config: { status_code: 200 } }
  - name: kong
    paths: [/kong]
    plugins:
    - { name: cors, config: { origins: ["https://a.example", "https://(.*).b.example"] } }
    - { name: correlation-id, config: { header_name: X-A, echo_downstream: true } }
    - { name: circuit-breaker }
    - { name: request-termination, config: { status_code: 200 } }
gateway:
  workers: 1
  shared_memory: 256MiB
  trusted_ips: [127.0.0.1]
  listeners: [{ address: "127.0.0.1:%d" }]
plugins: [{ name: access-log }]
]]

local LENGTH = 8000 -- of one field; limits.header_line is 8192
local FIELDS = { 'Cookie', 'Origin', 'Accept', 'Content-Type', 'X-A', 'X-Forwarded-For',
    'X-Forwarded-Host', 'User-Agent', 'Referer', 'Access-Control-Request-Method' }

local function times(text)
    return text:rep(math.floor(LENGTH / #text))
end

local SHAPES = {
    ['one long word'] = times('a'),
    ['digits and a slash'] = 'http://' .. times('1'):sub(1, -20) .. '/',
    ['blanks inside'] = 'a=b' .. times(' '):sub(1, -10) .. 'c',
    ['blanks behind a semicolon'] = 'a;' .. times(' '):sub(1, -10) .. 'b',
    ['blanks before an equals sign'] = 'a' .. times(' '):sub(1, -10) .. '=b',
    ['semicolons'] = 'a' .. times(';'):sub(1, -2) .. 'a',
    ['commas'] = 'a' .. times(', '):sub(1, -3) .. 'a',
    ['equals signs'] = times('='),
    ['short pairs'] = times('a; '),
    ['qualities'] = times(';q= '):sub(1, -2),
    ['colons'] = times('1:'),
    ['dots'] = times('a.'),
}

describe('PTH-07 a field', function()
    local gateway, worker

    setup(function()
        gateway = process.gateway(YAML:format(process.free_port()),
            { folder = process.plugins({ reader = READER }, process.PLUGIN) })
        worker = gateway:status().workers[1].pid
    end)

    teardown(process.stop_all)

    for what, value in pairs(SHAPES) do
        it('of ' .. what .. ' is no work', function()
            local connection = gateway:connect()
            for _, name in ipairs(FIELDS) do
                for _, path in ipairs({ '/reader', '/limits', '/kong' }) do
                    -- As long as all fields of a request may be together.
                    local copies = name == 'Cookie' or name == 'X-A' or name == 'Accept'
                    local lines = ('%s: %s\r\n'):format(name, value):rep(copies and 3 or 1)
                    assert(connection:send(('GET %s HTTP/1.1\r\nHost: x\r\nX-Fail: 1\r\n%s\r\n')
                        :format(path, lines)))
                    local res = assert(connection:response())
                    -- The gateway itself refuses some (too many cookies).
                    assert.is_true(res.status == 200 or res.status == 400,
                        ('%s on %s: %d'):format(name, path, res.status))
                    if res.headers.connection == 'close' then
                        connection:close()
                        connection = gateway:connect()
                    end
                end
            end
            connection:close()
        end)
    end

    it('of any of these shapes has met no limit of time', function()
        local status = gateway:status()
        assert.equal(0, status.outcomes.plugin_limit)
        assert.same({ worker, 0 }, { status.workers[1].pid, status.workers[1].restarts })
    end)
end)
