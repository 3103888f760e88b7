-- SPDX-License-Identifier: Apache-2.0
--
-- A few plugins that exist only as schemas, for specs of the configuration loader.
local schema = require 'moongate.schema'
local typedefs = require 'moongate.typedefs'

local M = {}

local function plugin(name, fields, more)
    local config = { type = 'record', required = true, fields = fields }
    for key, value in pairs(more and more.config or {}) do
        config[key] = value
    end
    local definition = { name = name, fields = {
        { protocols = typedefs.protocols_http }, { config = config },
    } }
    for _, field in ipairs(more and more.fields or {}) do
        table.insert(definition.fields, field)
    end
    definition.check_entries = more and more.check_entries
    return { name = name, handler = more and more.handler or {}, schema = definition }
end

local PLUGINS = {
    limit = plugin('limit', {
        { quota = { type = 'integer', required = true, between = { 1, 1000 }, examples = { 10 } } },
        { window = { type = 'duration', default = '1m', between = { 100, 86400000 } } },
        { mode = { type = 'string', default = 'enforce', one_of = { 'enforce', 'shadow', 'mark' },
            not_supported_yet = { mark = true } } },
        { store = { type = 'string', default = 'local', one_of = { 'local', 'redis' },
            not_supported_yet = { redis = 'Redis' } } },
        { names = { type = 'array', elements = typedefs.policy_name } },
    }, { check_entries = function(entries)
        local sum = 0
        for _, entry in ipairs(entries) do
            sum = sum + entry.config.quota
        end
        if sum > 1500 then
            return { { entry = entries[#entries], path = { 'config', 'quota' },
                message = 'the quotas together are more than 1500' } }
        end
    end }),
    cors = plugin('cors', {
        { origins = { type = 'array', elements = { type = 'string' }, len_min = 1 } },
        { min = { type = 'integer' } }, { max = { type = 'integer' } },
    }, { config = { entity_checks = { { custom_entity_check = {
        field_sources = { 'min', 'max' }, run_with_missing_fields = true,
        fn = function(entity)
            local ordered = type(entity.min) ~= 'number' or type(entity.max) ~= 'number'
                or entity.min <= entity.max
            return ordered or nil, 'min must not be above max'
        end,
    } } } } }),
    guard = plugin('guard', {}, {
        fields = { { consumer = typedefs.no_consumer } },
        handler = { IDENTITY_HEADERS = { 'X-User' } },
    }),
    tenant = { name = 'tenant', handler = {}, schema = schema.plugin_definition('tenant', {
        header = { type = 'string', default = 'X-Tenant' },
        allowed = { type = 'set', elements = { type = 'string' }, required = true },
    }) },
    ['bad-schema'] = { name = 'bad-schema', handler = {}, schema = {
        name = 'bad-schema', fields = { { config = { type = 'record', fields = { { a = {} } } } } },
    } },
}

--- For config.load.
function M.load_plugin(name)
    if name == 'broken' then
        return nil, { message = "plugins/broken/handler.lua:3: '=' expected near 'x'" }
    end
    if PLUGINS[name] then
        return PLUGINS[name]
    end
    return nil, { message = 'not found', searched = { 'built in', 'plugins/' } }
end

--- For config.load.
function M.plugin_names()
    return { 'limit', 'cors', 'guard', 'tenant', 'rate-limit', 'access-log' }
end

return M
