-- SPDX-License-Identifier: Apache-2.0
-- The records `tls` of a configuration: files become texts, what is wrong has its place.
local config = require 'moongate.config'
local fake_plugins = require 'spec.lua.support.fake_plugins'
local report = require 'moongate.config.report'

local FILES = { ['conf/ca.pem'] = '-----BEGIN CERTIFICATE-----\nca', ['/k/cert'] = 'cert text',
    ['/k/key'] = 'key text' }

describe('the record tls of a Redis', function()
    local read, checked

    before_each(function()
        read, checked = {}, {}
    end)

    local function load(tls, more)
        local options = {
            file = 'conf/test.yml',
            text = ('_format_version: "3.0"\ngateway:\n  redis:\n    main: { host: a, tls: %s }\n')
                :format(tls),
            load_plugin = fake_plugins.load_plugin, plugin_names = fake_plugins.plugin_names,
            read_file = function(path)
                read[#read + 1] = path
                return FILES[path], 'No such file'
            end,
            check_certificates = function(...)
                checked[#checked + 1] = { ... }
            end,
        }
        for key, value in pairs(more or {}) do
            options[key] = value
        end
        return config.load(options)
    end

    it('holds the texts of its files, also for workers that see no file', function()
        local snapshot = assert(load('{ ca: ca.pem, cert: /k/cert, key: /k/key }'))
        assert.equal(FILES['conf/ca.pem'], snapshot.gateway.redis.main.tls.ca)
        assert.same({ 'conf/ca.pem', '/k/cert', '/k/key' }, read)
        assert.same({ { FILES['conf/ca.pem'], 'cert text', 'key text' } }, checked)
        local again = assert(config.load({
            expanded = config.deserialize(config.serialize(snapshot.expanded)),
            load_plugin = fake_plugins.load_plugin, plugin_names = fake_plugins.plugin_names,
        }))
        assert.equal('key text', again.gateway.redis.main.tls.key)
    end)

    it('takes a text as it is', function()
        local text = '"-----BEGIN CERTIFICATE-----\\nx"'
        assert(load(('{ ca: %s }'):format(text)))
        assert.same({}, read)
        assert.same({ { '-----BEGIN CERTIFICATE-----\nx', '', '' } }, checked)
    end)

    it('names a file that cannot be read, and a text that is of no use, with its place', function()
        local snapshot, findings = load('{ ca: missing.pem }')
        assert.is_nil(snapshot)
        assert.equal('gateway.redis.main.tls.ca', findings[1].path)
        assert.equal('MG1012', findings[1].code)
        assert.matches('the file "missing.pem" cannot be read: No such file', findings[1].message)
        snapshot, findings = load('{ ca: ca.pem }', { check_certificates = function()
            return 'ca is nothing'
        end })
        assert.is_nil(snapshot)
        assert.equal('gateway.redis.main.tls', findings[1].path)
        assert.equal('ca is nothing', findings[1].message)
    end)

    it('warns where nobody is verified', function()
        local snapshot, findings = load('{ verify: false }')
        assert.is_truthy(snapshot, report.format(findings))
        assert.equal('MG1056', findings[1].code)
        assert.equal('gateway.redis.main.tls.verify', findings[1].path)
        snapshot, findings = load('{ verify: false, enabled: false }')
        assert.is_truthy(snapshot)
        assert.equal(0, #findings)
    end)

    it('refuses what does not go together', function()
        for place, message in pairs({
            ['host: a, tls: { cert: /k/cert }'] = "'cert' and 'key' belong together",
            ['unix: /run/redis.sock, tls: {}'] = 'a unix socket has no TLS',
            ['url: "unix:///run/redis.sock", tls: {}'] = 'a unix socket has no TLS',
            ['url: "rediss://a", tls: { enabled: false }'] = 'the url says rediss',
        }) do
            local snapshot, findings = load(nil, { text = ('_format_version: "3.0"\n'
                .. 'gateway: { redis: { main: { %s } } }\n'):format(place) })
            assert.is_nil(snapshot, place)
            assert.matches(message, findings[1].message, 1, true)
        end
    end)

    it('takes no map and no number for a file', function()
        for _, tls in ipairs({ '{ ca: 5 }', '{ ca: {} }', 'true', '5', '[a]' }) do
            local snapshot, findings = load(tls)
            assert.is_nil(snapshot, tls)
            assert.matches('^gateway.redis.main.tls', findings[1].path)
        end
        assert.same({}, read)
    end)
end)
