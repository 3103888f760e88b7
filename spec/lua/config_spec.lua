-- SPDX-License-Identifier: Apache-2.0
-- Loading a configuration: entities, nesting, references, defaults, ids, the expanded form.
-- Mistakes and their texts are in config_golden_spec.lua.
local config = require 'moongate.config'
local fake_plugins = require 'spec.lua.support.fake_plugins'
local report = require 'moongate.config.report'
local uuid = require 'moongate.config.uuid'

local function load(text, more)
    local options = {
        file = 'conf/test.yml', text = text, now = 1700000000,
        load_plugin = fake_plugins.load_plugin, plugin_names = fake_plugins.plugin_names,
    }
    for key, value in pairs(more or {}) do
        options[key] = value
    end
    return config.load(options)
end

local function loaded(text, more)
    local snapshot, findings = load('_format_version: "3.0"\n' .. text, more)
    assert.is_truthy(snapshot, report.format(findings))
    return snapshot, findings
end

local function first_error(text, more)
    local snapshot, findings = load('_format_version: "3.0"\n' .. text, more)
    assert.is_nil(snapshot)
    return findings[1].message, findings[1]
end

-- A file as Kong's own tools write it.
local KONG_FILE = [[
_format_version: "3.0"
_transform: true
_comment: exported
_info: { defaults: {} }
services:
- name: example-service
  id: 0c1f4d62-6a5e-4e37-9c2f-6a2a4a1a0b01
  host: example.com
  port: 8080
  protocol: http
  path: /base
  connect_timeout: 60000
  read_timeout: 60000
  write_timeout: 60000
  retries: 5
  enabled: true
  tags: [example]
  client_certificate: null
  tls_verify: null
  ca_certificates: null
  routes:
  - name: example-route
    hosts: [example.com, "*.example.com"]
    paths: [/mock, "~/v(?<version>\\d+)/x$"]
    methods: [GET]
    headers: { X-Version: ["2", "~*^beta"] }
    protocols: [http, https]
    strip_path: false
    preserve_host: true
    regex_priority: 3
    path_handling: v0
    https_redirect_status_code: 426
    request_buffering: true
    response_buffering: true
    snis: null
    sources: null
    plugins:
    - { name: cors, enabled: true, protocols: [grpc, grpcs, http, https] }
upstreams:
- name: example.com
  algorithm: round-robin
  slots: 10000
  hash_on: none
  hash_fallback: none
  hash_on_cookie_path: /
  healthchecks:
    threshold: 0
    active:
      type: http
      timeout: 1
      concurrency: 10
      http_path: /
      https_verify_certificate: true
      healthy: { interval: 0, http_statuses: [200, 302], successes: 0 }
      unhealthy: { interval: 0, http_statuses: [429, 404, 500, 501, 502, 503, 504, 505],
        tcp_failures: 0, timeouts: 0, http_failures: 0 }
    passive:
      type: http
      healthy: { http_statuses: [200, 201], successes: 0 }
      unhealthy: { http_statuses: [429, 500, 503], tcp_failures: 0, timeouts: 0, http_failures: 0 }
  targets:
  - { target: "10.10.10.10:8000", weight: 100 }
  - { target: "10.10.10.11", weight: 0 }
consumers:
- { username: example-user, custom_id: "7" }
plugins:
- name: limit
  consumer: example-user
  service: { name: example-service }
  config: { quota: 5 }
]]

describe('a plain Kong file', function()
    local snapshot, findings

    setup(function()
        snapshot, findings = load(KONG_FILE)
    end)

    it('loads as it is', function()
        assert.equal(0, findings.errors, report.format(findings))
        assert.equal(0, findings.warnings, report.format(findings))
    end)

    it('keeps explicit values and ties references to tables', function()
        local service, route = snapshot.services[1], snapshot.routes[1]
        assert.equal('0c1f4d62-6a5e-4e37-9c2f-6a2a4a1a0b01', service.id)
        assert.equal(60000, service.connect_timeout)
        assert.equal(5, service.retries)
        assert.same({ connect_timeout = true, read_timeout = true, write_timeout = true,
            retries = true }, service.own)
        assert.equal(service, route.service)
        assert.same({ '2', '~*^beta' }, route.headers['X-Version'])
        assert.equal(3, route.regex_priority)
        assert.equal(snapshot.upstreams[1], service.upstream)
        local targets = snapshot.upstreams[1].targets
        assert.same({ '10.10.10.10', 8000, 100 },
            { targets[1].host, targets[1].port, targets[1].weight })
        assert.same({ '10.10.10.11', 8000, 0 },
            { targets[2].host, targets[2].port, targets[2].weight })
    end)

    it('ties plugins to what they are nested under and to what they name', function()
        local cors, limit = snapshot.plugins[1], snapshot.plugins[2]
        assert.equal(snapshot.routes[1], cors.route)
        assert.is_nil(cors.service)
        assert.equal(snapshot.services[1], limit.service)
        assert.equal(snapshot.consumers[1], limit.consumer)
        assert.same({ quota = 5, window = 60000, mode = 'enforce', store = 'local' }, limit.config)
        assert.equal('limit', limit.plugin.name)
        assert.equal(limit.plugin, snapshot.handlers.limit)
    end)

    it('gives every entity its times and place', function()
        assert.equal(1700000000, snapshot.services[1].created_at)
        assert.equal(1700000000, snapshot.plugins[2].updated_at)
        assert.same({ 6, 3 }, { snapshot.services[1].__line, snapshot.services[1].__column })
        assert.same({ 'example' }, snapshot.services[1].tags)
    end)
end)

describe('defaults', function()
    it('of services come from the gateway where the service has none', function()
        local service = loaded('services: [{ name: a, host: Example.COM }]').services[1]
        assert.same({ 2000, 60000, 60000, 1 }, { service.connect_timeout, service.read_timeout,
            service.write_timeout, service.retries })
        assert.same({ 'http', 'example.com', 80, true },
            { service.protocol, service.host, service.port, service.enabled })
        assert.is_false(service.own.read_timeout)
        service = loaded([[
services: [{ name: a, host: a, read_timeout: 7 }]
gateway:
  limits: { upstream_connect_timeout: 1s, upstream_read_timeout: 5s }
  retry: { attempts: 3 }
]]).services[1]
        assert.same({ 1000, 7, 60000, 3 }, { service.connect_timeout, service.read_timeout,
            service.write_timeout, service.retries })
    end)

    it('of routes, plugins, upstreams and targets are those of the plugin manual', function()
        local snapshot = loaded([[
routes: [{ paths: [/] }]
services: [{ host: pool }]
plugins: [{ name: cors }]
upstreams: [{ name: pool, targets: [{ target: a }] }]
]])
        local route = snapshot.routes[1]
        assert.same({ 'http', 'https' }, { unpack(route.protocols) })
        assert.same({ true, false, 0, 'v0', 426, true, true }, { route.strip_path,
            route.preserve_host, route.regex_priority, route.path_handling,
            route.https_redirect_status_code, route.request_buffering, route.response_buffering })
        assert.is_nil(route.service)
        local plugin = snapshot.plugins[1]
        assert.is_true(plugin.enabled)
        assert.same({ 'grpc', 'grpcs', 'http', 'https' }, { unpack(plugin.protocols) })
        local upstream = snapshot.upstreams[1]
        assert.same({ 'round-robin', 'none', 'none', '/', 10000, false }, { upstream.algorithm,
            upstream.hash_on, upstream.hash_fallback, upstream.hash_on_cookie_path, upstream.slots,
            upstream.use_srv_name })
        assert.same({ 200, 302 }, upstream.healthchecks.active.healthy.http_statuses)
        assert.equal(1, upstream.healthchecks.active.timeout)
        assert.same({ 429, 500, 503 }, upstream.healthchecks.passive.unhealthy.http_statuses)
        assert.same({ 'a', 8000, 100 }, { upstream.targets[1].host, upstream.targets[1].port,
            upstream.targets[1].weight })
    end)

    it('of gateway: are those of the plugin manual, in milliseconds and bytes', function()
        local gateway = loaded('').gateway
        assert.is_nil(gateway.workers)
        assert.equal(64 * 1024 * 1024, gateway.shared_memory)
        assert.same({ address = '0.0.0.0:8000', host = '0.0.0.0', port = 8000, tls = false,
            http2 = false, proxy_protocol = false, backlog = 1024, merge_slashes = true,
            encoded_slash = 'refuse', utf8 = 'strict' }, gateway.listeners[1])
        assert.same({}, gateway.trusted_ips)
        assert.same({ header_timeout = 10000, send_timeout = 30000, keepalive_timeout = 65000,
            tunnel_timeout = 600000, body_timeout = 15000, body_total_timeout = 300000,
            body_min_rate = 1024, upstream_connect_timeout = 2000, upstream_read_timeout = 60000,
            upstream_write_timeout = 60000, request_timeout = 0, request_line = 8192,
            header_bytes = 32768, header_line = 8192, header_name = 256, header_count = 100,
            query_args = 100, cookies = 100, trailers = 20, chunk_line = 64,
            chunk_extensions = 4096, response_header_bytes = 65536, interim_responses = 8,
            request_body = 10485760, request_buffer = 65536, response_buffer = 8388608,
            decompress_ratio = 100, connection_requests = 10000, lua_memory = 268435456,
            regex_match_limit = 100000 }, gateway.limits)
        assert.same({ attempts = 1, budget = 20, backoff = { base = 25, max = 250 },
            on = { 'connect-failure', 'reset-before-send', 'retry-after' },
            methods = { 'GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE' } }, gateway.retry)
        assert.same({ keepalive = 64, keepalive_idle = 55000, allow_link_local = false,
            limits = { connections = 1024, pending = 128, requests = 1024,
                target_connections = 0 },
            outlier = { consecutive_failures = 5, failure_percent = 50, min_requests = 20,
                max_eject_percent = 50, panic_percent = 30, ramp = 10000,
                open = { base = 5000, factor = 2, max = 60000 } } },
            gateway.upstreams.defaults)
        assert.same({ timeout = 2000, tries = 2, stale = 3600000, negative = 1000 }, gateway.dns)
        assert.same({ level = 'notice', error_log = 'stderr' }, gateway.log)
        assert.same({ request_id = 'X-Request-ID', via = 'moongate', server = true,
            latency = false, kong_names = false }, gateway.headers)
        assert.same({ drain_delay = 0, drain_timeout = 30000 }, gateway.shutdown)
        assert.same({ path = { 'plugins' }, defaults = { cpu_ms = 50, wall_ms = 60000 },
            settings = {}, watchdog_ms = 2000, init_timeout = 10000, max_generations = 8,
            drain_timeout = 0, legacy = false }, gateway.plugins)
    end)
end)

describe('gateway:', function()
    it('takes every option that is built', function()
        local gateway = loaded([[
services: [{ host: pool, routes: [{ name: r, paths: [/] }] }]
upstreams: [{ name: pool }]
plugins: [{ name: limit, instance_name: early, config: { quota: 1 } }]
gateway:
  workers: auto
  user: nobody
  shared_memory: 1GiB
  listeners:
    - { address: "[::1]:8000", backlog: 5, merge_slashes: false, encoded_slash: keep, utf8: any }
    - { address: "unix:/run/gate.sock" }
  trusted_ips: [10.0.0.0/8, "::1"]
  limits: { request_timeout: 5m, request_body: 0, connections: 100 }
  upstreams: { settings: { pool: { keepalive: 3, limits: { requests: 9 } } } }
  routes:
    settings: { r: { websocket: false, limits: { request_body: 1GiB } } }
  headers: { request_id: false, via: false, server: gate, latency: false }
  log: { level: debug, error_log: /tmp/error.log }
  plugins:
    path: [a, b]
    lua_path: "/x/?.lua"
    settings: { early: { priority: 2000, quarantine: false, on_error: open, cpu_ms: 5 } }
]]).gateway
        assert.equal('auto', gateway.workers)
        assert.same({ '::1', 8000 }, { gateway.listeners[1].host, gateway.listeners[1].port })
        assert.equal('/run/gate.sock', gateway.listeners[2].path)
        assert.equal(0, gateway.limits.request_body)
        assert.equal(100, gateway.limits.connections)
        assert.same({ pool = { keepalive = 3, limits = { requests = 9 } } },
            gateway.upstreams.settings)
        local route = gateway.routes.settings.r
        assert.is_false(route.websocket)
        assert.same({ request_body = 2 ^ 30 }, route.limits)
        assert.is_false(gateway.headers.request_id)
        assert.equal(2000, gateway.plugins.settings.early.priority)
        assert.is_false(gateway.plugins.settings.early.quarantine)
    end)

    it('hands its plugins section to load_plugin', function()
        local seen
        loaded('plugins: [{ name: cors }]\ngateway: { plugins: { path: [mine] } }', {
            load_plugin = function(name, settings)
                seen = settings.path
                return fake_plugins.load_plugin(name)
            end,
        })
        assert.same({ 'mine' }, seen)
    end)

    it('refuses on_error: open for a plugin that says who calls', function()
        assert.matches('cannot be open on errors', (first_error([[
plugins: [{ name: guard }]
gateway: { plugins: { settings: { guard: { on_error: open } } } }
]])))
    end)
end)

describe('the url of a service', function()
    local URLS = {
        ['http://127.0.0.1:9101/v1'] = { '127.0.0.1', 9101, '/v1' },
        ['http://a.example'] = { 'a.example', 80 },
        ['http://A.example/'] = { 'a.example', 80, '/' },
        ['http://[::1]:81'] = { '::1', 81 },
        ['http://unix:/run/app.sock'] = { 'unix:/run/app.sock', 80 },
        ['http://unix:/run/app.sock:/v1'] = { 'unix:/run/app.sock', 80, '/v1' },
    }
    for url, parts in pairs(URLS) do
        it('may be ' .. url, function()
            local service = loaded(('services: [{ url: "%s" }]'):format(url)).services[1]
            assert.same(parts, { service.host, service.port, service.path })
            assert.is_nil(service.url)
        end)
    end
end)

describe('nesting and references', function()
    it('put entities into the order of the file, nested or not', function()
        local snapshot = loaded([[
routes:
  - { name: one, paths: [/1], service: s }
services:
  - name: s
    host: s
    routes:
      - { name: two, paths: [/2] }
]])
        assert.same({ 'one', 'two' }, { snapshot.routes[1].name, snapshot.routes[2].name })
        assert.equal(snapshot.services[1], snapshot.routes[1].service)
        assert.equal(snapshot.services[1], snapshot.routes[2].service)
    end)

    it('work by name, id and map', function()
        local snapshot = loaded([[
services: [{ name: s, host: s, id: 5b2c1f3e-3f3a-4d55-9d4f-0d9b4bb0b0a1 }]
routes:
  - { paths: [/1], service: s }
  - { paths: [/2], service: 5b2c1f3e-3f3a-4d55-9d4f-0d9b4bb0b0a1 }
  - { paths: [/3], service: { id: 5b2c1f3e-3f3a-4d55-9d4f-0d9b4bb0b0a1 } }
  - { paths: [/4], service: { name: s } }
consumers: [{ username: u, custom_id: c, plugins: [{ name: cors }] }]
plugins: [{ name: limit, consumer: { custom_id: c }, config: { quota: 1 } }]
]])
        for _, route in ipairs(snapshot.routes) do
            assert.equal(snapshot.services[1], route.service)
        end
        for _, plugin in ipairs(snapshot.plugins) do
            assert.equal(snapshot.consumers[1], plugin.consumer)
        end
    end)

    it('take the own parent written out', function()
        local snapshot = loaded(
            'services: [{ name: s, host: s, routes: [{ paths: [/], service: s }] }]')
        assert.equal(snapshot.services[1], snapshot.routes[1].service)
    end)

    it('reach targets from the top level', function()
        local snapshot = loaded([[
services: [{ host: POOL }]
targets: [{ target: "unix:/run/a.sock", upstream: pool }]
upstreams: [{ name: pool }]
]])
        assert.equal(snapshot.upstreams[1], snapshot.services[1].upstream)
        assert.same({ 'unix:/run/a.sock', 0 }, { snapshot.upstreams[1].targets[1].host,
            snapshot.upstreams[1].targets[1].port })
    end)

    it('treat null as unset and leave comments out', function()
        local snapshot = loaded([[
consumers: null
services: [{ name: s, host: s, routes: null, tags: null, _comment: x, _ignore: [1] }]
]])
        assert.is_nil(snapshot.services[1].tags)
        assert.is_nil(snapshot.services[1]._comment)
        assert.is_nil(snapshot.services[1]._ignore)
        assert.is_nil(snapshot.services[1].routes)
    end)
end)

describe('ids', function()
    local TEXT = [[
services: [{ name: s, host: s, routes: [{ name: r, paths: [/] }, { paths: [/x] }, { paths: [/y] }],
  plugins: [{ name: cors }] }]
plugins: [{ name: cors, route: r }, { name: limit, config: { quota: 1 } }]
]]

    it('are version 5 UUIDs of the names, as Kong makes them', function()
        local space = uuid.v5('fd02801f-0957-4a15-a55a-c8d9606f30b5', 'services')
        local snapshot = loaded(TEXT)
        assert.equal(uuid.v5(space, 's'), snapshot.services[1].id)
        space = uuid.v5('fd02801f-0957-4a15-a55a-c8d9606f30b5', 'plugins')
        local ids = {}
        for _, plugin in ipairs(snapshot.plugins) do
            ids[#ids + 1] = plugin.id
        end
        assert.same({
            uuid.v5(space, ('plugins:*:cors::%s:'):format(snapshot.services[1].id)),
            uuid.v5(space, 'plugins:*:cors:r::'), uuid.v5(space, 'plugins:*:limit:::'),
        }, ids)
    end)

    it('stay when lines move, keys change places and other entities come', function()
        local one = loaded(TEXT)
        local two = loaded('\n# moved\nconsumers: [{ username: new }]\n'
            .. TEXT:gsub('name: s, host: s', 'host: s, name: s'))
        for _, collection in ipairs({ 'services', 'routes', 'plugins' }) do
            for i, entity in ipairs(one[collection]) do
                assert.equal(entity.id, two[collection][i].id)
            end
        end
    end)

    it('differ between entities, twins without a name included', function()
        local snapshot = loaded('routes: [{ paths: [/] }, { paths: [/] }, { paths: [/b] }]')
        local seen = {}
        for _, route in ipairs(snapshot.routes) do
            assert.is_nil(seen[route.id])
            seen[route.id] = true
        end
    end)

    it('may be made with a faster SHA-1', function()
        local calls = 0
        local snapshot = loaded(TEXT, { sha1 = function(text)
            calls = calls + 1
            return uuid.sha1(text)
        end })
        assert.is_true(calls > 0)
        assert.equal(loaded(TEXT).routes[2].id, snapshot.routes[2].id)
    end)

    it('rest on a SHA-1 that is right', function()
        assert.equal('da39a3ee5e6b4b0d3255bfef95601890afd80709', uuid.sha1(''))
        assert.equal('a9993e364706816aba3e25717850c26c9cd0d89d', uuid.sha1('abc'))
        for length, digest in pairs({ [55] = 'c1c8bbdc22796e28c0e15163d20899b65621d65a',
            [56] = 'c2db330f6083854c99d4b5bfb6e8f29f201be699',
            [64] = '0098ba824b5c16427bd7a1122a5a442a25ec644d' }) do
            assert.equal(digest, uuid.sha1(('a'):rep(length)))
        end
        assert.equal('2ed6657d-e927-568b-95e1-2665a8aea6a2',
            uuid.v5('6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'www.example.com'))
    end)
end)

describe('references in values', function()
    local ENV = { HOST = 'a.example', PORT = '81', ON = 'false', EMPTY = '',
        JSON = '{"k":"v","n":5}', MY_KEY = 'dashed', X_KEY = 'prefixed' }
    local function service(fields, more)
        local options = { env = function(name) return ENV[name] end,
            read_file = function(path)
                return path == 'conf/secret' and 'line\n' or nil, 'gone'
            end }
        return loaded(('services: [{ name: s, host: h, %s }]\n%s'):format(fields, more or ''),
            options).services[1]
    end

    it('are expanded inside scalars, and typed by the schema', function()
        local s = service('url: "http://${env:HOST}:${env:PORT}/x", enabled: "${env:ON}",'
            .. ' retries: "${env:PORT}", tags: ["${env:PORT}", "a-${env:PORT}-b"]')
        assert.same({ 'a.example', 81, '/x', false, 81 },
            { s.host, s.port, s.path, s.enabled, s.retries })
        assert.same({ '81', 'a-81-b' }, { s.tags[1], s.tags[2] })
    end)

    it('have defaults where the variable is unset or empty', function()
        local s = service('tags: ["${env:NONE:-d}", "${env:EMPTY:-e}", "x${env:NONE:-}",'
            .. ' "${env:HOST:-no}"]')
        assert.same({ 'd', 'e', 'x', 'a.example' }, { unpack(s.tags) })
    end)

    it('read files relative to the configuration, without the last line end', function()
        assert.equal('line', service('tags: ["${file:secret}"]').tags[1])
    end)

    it('know vaults of the environment', function()
        local s = service('tags: ["{vault://env/HOST}", "{vault://env/my-key}",'
            .. ' "{vault://env/JSON/k}", "{vault://mine/key}"]',
            'vaults: [{ name: env, prefix: mine, config: { prefix: X_ } }]')
        assert.same({ 'a.example', 'dashed', 'v', 'prefixed' }, { unpack(s.tags) })
    end)

    it('are literal behind a dollar sign', function()
        assert.same({ '${env:HOST}', 'a${b', '$', '{x}' },
            { unpack(service('tags: ["$${env:HOST}", "a$${b", "$", "{x}"]').tags) })
    end)

    it('never add keys or entries, and are not expanded twice', function()
        ENV.EVIL = '"}, { name: evil'
        ENV.NEST = '${env:HOST}'
        local s = service('tags: ["${env:NEST}"], _comment: "${env:EVIL}"')
        assert.equal('${env:HOST}', s.tags[1])
    end)

    it('are left alone in comments', function()
        loaded('_comment: "${env:NOWHERE}"\n_ignore: ["${x}"]\nservices: []')
    end)
end)

describe('older formats', function()
    it('turn route paths with other characters into regular expressions', function()
        local text = '_format_version: "2.1"\nroutes: [{ paths: ["/a", "/b(c|d)", "/e%20"] }]'
        local snapshot = load(text)
        assert.same({ '/a', '~/b(c|d)', '/e%20' }, snapshot.routes[1].paths)
        local again = config.load({ expanded = snapshot.expanded })
        assert.same(snapshot.routes[1].paths, again.routes[1].paths)
    end)
end)

describe('the expanded form', function()
    local TEXT = KONG_FILE:gsub('port: 8080', 'port: ${env:PORT}') .. [==[
gateway: { limits: { header_timeout: "${env:TIME}" }, log: { error_log: "a ]] ]=] b" } }
]==]

    it('goes through text to an equal snapshot without YAML and environment', function()
        local env = { PORT = '8080', TIME = '3s' }
        local one, findings = load(TEXT, { env = function(name) return env[name] end })
        assert.equal(0, findings.errors, report.format(findings))
        local text = config.serialize(one.expanded)
        assert.same(one.expanded, config.deserialize(text))
        assert.same(one.expanded, loadstring(text)())
        local two = config.load({
            expanded = config.deserialize(text), load_plugin = fake_plugins.load_plugin,
            plugin_names = fake_plugins.plugin_names,
        })
        one.warnings, two.warnings = nil, nil
        assert.same(one, two)
        assert.equal(3000, two.gateway.limits.header_timeout)
        assert.equal(text, config.serialize(two.expanded))
        local again = load(TEXT, { env = function(name) return env[name] end })
        assert.equal(text, config.serialize(again.expanded))
    end)

    it('refuses text that is none', function()
        local tree, err = config.deserialize('return (')
        assert.is_nil(tree)
        assert.is_string(err)
        assert.is_nil((config.deserialize('error("x")')))
    end)

    it('may be a plain tree', function()
        local snapshot, findings = config.load({
            tree = { _format_version = '3.0', services = { { name = 'a', host = 'a' } } },
            file = 'x',
        })
        assert.equal(0, findings.errors)
        assert.equal('a', snapshot.services[1].name)
        local none, errors = config.load({ tree = { services = { { nam = 'a' } } }, file = 'x' })
        assert.is_nil(none)
        assert.is_nil(errors[1].line)
        assert.matches('x: services%[0%]: unknown key "nam"', report.format(errors))
    end)

    it('finds lines of entities in a later load', function()
        local one = loaded('services:\n  - name: a\n    host: a\n')
        local two, findings = config.load({ expanded = one.expanded,
            load_plugin = function() return nil, { searched = {} } end })
        assert.equal(3, two.services[1].__line)
        assert.equal(0, #findings)
    end)
end)

describe('plugins', function()
    it('of Kong are answered with what does the same here, or that it is not built', function()
        for name, hint in pairs({ ['key-auth'] = "one of Kong's own plugins, not supported yet",
            prometheus = 'here gateway.status.address serves /metrics' }) do
            local message, finding = first_error('plugins: [{ name: ' .. name .. ' }]')
            assert.equal(('no plugin is called "%s"'):format(name), message)
            assert.equal(hint, finding.hint)
        end
        assert.matches('^searched: ', select(2, first_error('plugins: [{ name: zzz }]')).hint)
    end)

    it('of the one-file form load, and their sets answer by value', function()
        local snapshot = loaded('plugins: [{ name: tenant, config: { allowed: [acme, globex] } }]')
        assert.equal('X-Tenant', snapshot.plugins[1].config.header)
        assert.is_true(snapshot.plugins[1].config.allowed.acme)
        assert.is_nil(snapshot.plugins[1].config.allowed.evil)
    end)

    it('are loaded once each', function()
        local calls = 0
        loaded('plugins: [{ name: cors }]\nroutes: [{ paths: [/], plugins: [{ name: cors }] }]', {
            load_plugin = function(name)
                calls = calls + 1
                return fake_plugins.load_plugin(name)
            end,
        })
        assert.equal(1, calls)
    end)

    it('may look at all their entries together', function()
        local message, finding = first_error([[
routes: [{ name: r, paths: [/], plugins: [{ name: limit, config: { quota: 1000 } }] }]
plugins: [{ name: limit, config: { quota: 600 } }]
]])
        assert.equal('the quotas together are more than 1500', message)
        assert.equal('plugins[0].config.quota', finding.path)
        assert.equal(3, finding.line)
    end)
end)
