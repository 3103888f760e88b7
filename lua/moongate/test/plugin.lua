-- SPDX-License-Identifier: Apache-2.0
-- A plugin's own files in the tests' state: its handler for direct calls, its schema for checking a
-- config. Found as the gateway finds them: plugins/ here and beside the spec, those we ship, rocks.
local loader = require 'moongate.runtime.loader'
local schema = require 'moongate.schema'
local source = require 'moongate.test.source'

local M = {}

local prepared = false

-- Handlers may look at the globals while they load.
local function prepare()
    if prepared then
        return
    end
    prepared = true
    loader.install()
    package.preload['kong.db.schema.typedefs'] = function()
        return require 'moongate.typedefs'
    end
    if rawget(_G, 'moongate') == nil then
        rawset(_G, 'moongate', require 'moongate.pdk')
        rawset(_G, 'kong', rawget(_G, 'moongate'))
    end
    if rawget(_G, 'ngx') == nil then
        rawset(_G, 'ngx', require 'moongate.ngx')
    end
end

-- plugins/ here, the spec's folder (plugins/x_spec.lua beside plugins/x.lua) and the one above.
local function folders()
    local folder = source.spec_folder() or ''
    return { 'plugins', (folder:gsub('/$', '')), folder .. 'plugins', folder .. '..' }
end

local function find(name)
    prepare()
    local list = {}
    for _, path in ipairs(folders()) do
        list[#list + 1] = path ~= '' and path or '.'
    end
    loader.use({ path = list }, '')
    local plugin, err = loader.plugin(name)
    if not plugin then
        error(err.message, 0)
    end
    return plugin
end

--- The handler of a plugin.
-- @tparam string name
-- @treturn table what its file returned; raises when it cannot be loaded
function M.load(name)
    return find(name).handler
end

--- Checks a config against the plugin's schema.
-- @tparam string name
-- @tparam table config
-- @treturn table|nil config with its defaults; nil and the error table
function M.validate(name, config)
    local plugin = find(name)
    local compiled, mistakes = schema.new(plugin.schema)
    if not compiled then
        error(('the schema of plugin "%s" is wrong: %s'):format(name, tostring(mistakes)), 0)
    end
    local result, errors = compiled:validate({ config = config })
    if not result then
        return nil, errors
    end
    return result.config
end

return M
