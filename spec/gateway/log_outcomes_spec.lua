-- SPDX-License-Identifier: Apache-2.0
--
-- What the access log says of requests that policies ended (L5); access_log_truth_spec.lua has most
-- of the other outcomes, refused_log_spec.lua, upstream_limits_spec.lua and abort_states_spec.lua
-- the rest.
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

-- ECHO stands for the port of an upstream; nobody listens on ports 1 and 2.
local CONFIG = [[
_format_version: "3.0"
plugins:
- { name: access-log, config: { fields: [path, status, outcome, ended_by, ended_in] } }
services:
- name: echo
  url: http://127.0.0.1:ECHO
  routes:
  - { name: limited, paths: [/limited], plugins: [{ name: rate-limit,
      config: { quota: 1, window: 1h, key: [path] } }] }
  - { name: banned, paths: [/banned], plugins: [{ name: rate-limit,
      config: { quota: 1, window: 1h, key: [path], ban: { after: 0 } } }] }
  - { name: nameless, paths: [/nameless], plugins: [{ name: rate-limit,
      config: { quota: 1, window: 1h, key: ["header:x-key"], key_missing: deny } }] }
  - { name: storeless, paths: [/storeless], plugins: [{ name: rate-limit, config: { quota: 1,
      window: 1h, store: redis, redis: { host: 127.0.0.1, port: 1 }, on_store_error: deny } }] }
- name: dead
  url: http://127.0.0.1:2
  retries: 0
  routes:
  - { name: open, paths: [/open], plugins: [{ name: circuit-breaker,
      config: { consecutive_failures: 1, scope: route } }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
]]

describe('L5 the access log tells of policies', function()
    local gateway, records

    setup(function()
        local echo = process.echo()
        gateway = process.gateway((CONFIG:gsub('ECHO', echo.port):gsub('PORT',
            process.free_port())))
        records = scripted.records(gateway)
    end)

    teardown(process.stop_all)

    -- path, how often it is asked for, and what the last one is
    local CASES = {
        { '/limited', 2, 429, 'limited', 'rate-limit' },
        { '/banned', 2, 403, 'banned', 'rate-limit' },
        { '/nameless', 1, 403, 'access_denied', 'rate-limit' },
        { '/storeless', 1, 503, 'store_denied', 'rate-limit' },
        { '/open', 2, 503, 'breaker_open', 'circuit-breaker' },
    }

    for _, case in ipairs(CASES) do
        local path, times, status, outcome, by = unpack(case)
        it(('%s: %d'):format(outcome, status), function()
            local record
            for _ = 1, times do
                assert(gateway:get(path))
                record = records:next()
            end
            assert.same({ path = path, status = status, outcome = outcome, ended_by = by,
                ended_in = 'access' }, record)
            assert.equal(1, gateway:status().outcomes[outcome])
        end)
    end
end)
