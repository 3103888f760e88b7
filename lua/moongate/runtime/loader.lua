-- SPDX-License-Identifier: Apache-2.0
-- Finds and loads modules and plugins (docs/plugin-reference.md).
--
--     loader.install()                                 -- package.loaders
--     loader.use(settings, folder)                     -- gateway.plugins, folder of the config
-- file
--     local plugin, err = loader.plugin('rate-limit')
--
-- A plugin is found in the folders of plugins.path, then among our own, then as an installed rock
-- on package.path. Its modules are required as kong.plugins.NAME.MODULE or
-- moongate.plugins.NAME.MODULE, which are the same module.
local boot = require 'moongate.runtime.boot'
local definition = require 'moongate.runtime.definition'
local guard = require 'moongate.runtime.guard'
local lint = require 'moongate.runtime.lint'
local log = require 'moongate.runtime.log'
local source = require 'moongate.runtime.source'

local M = {}

local NAME = '^%w[%w_-]*$'
local PREFIX = 'moongate.plugins.'
local raw_pcall = guard.raw.pcall

local folders = {}   -- of plugins.path, absolute or relative to the working folder
local plugins = {}   -- name -> plugin or false
local failures = {}  -- name -> err
local places = {}    -- name -> folder of its modules

-- ---- modules -----------------------------------------------------------------------------------

local function split_plugin(module)
    return module:match('^kong%.plugins%.([^.]+)%.(.+)$')
end

local function own_paths(module)
    if module:sub(1, 9) ~= 'moongate.' then
        return {}
    end
    local file = boot.lua_path .. '/' .. module:gsub('%.', '/')
    return { file .. '.lua', file .. '/init.lua' }
end

local function path_templates(module)
    local paths, file = {}, module:gsub('%.', '/')
    for template in package.path:gmatch('[^;]+') do
        paths[#paths + 1] = (template:gsub('%?', (file:gsub('%%', '%%%%'))))
    end
    return paths
end

-- Where a module may lie on disk, best first.
local function candidates(module)
    local name, rest = module:match('^moongate%.plugins%.([^.]+)%.(.+)$')
    if name and places[name] then
        local file = places[name] .. '/' .. rest:gsub('%.', '/')
        return { file .. '.lua', file .. '/init.lua' }
    end
    local paths = own_paths(module)
    if name and boot.plugins_path then -- one of our plugins may use the modules of another
        paths[#paths + 1] = ('%s/%s/%s.lua'):format(boot.plugins_path, name,
            (rest:gsub('%.', '/')))
    end
    local rock = name and 'kong.plugins.' .. name .. '.' .. rest or module
    for _, path in ipairs(path_templates(rock)) do
        paths[#paths + 1] = path
    end
    return paths
end

-- kong.plugins.NAME.MODULE is the module moongate.plugins.NAME.MODULE.
local function search(module)
    local name, rest = split_plugin(module)
    if name then
        local canonical = PREFIX .. name .. '.' .. rest
        return function()
            return require(canonical)
        end
    end
    local found, tried = source.find(module, candidates(module))
    if not found then
        return "\n\tno file '" .. table.concat(tried, "'\n\tno file '") .. "'"
    end
    local chunk, err = source.compile(found)
    if not chunk then
        error(err, 0)
    end
    return chunk
end

--- Puts our search in the place of the standard one for Lua files. C modules are found as always.
function M.install()
    local loaders = package.loaders
    loaders[2] = search
end

local function within(folder, path)
    if path:sub(1, 1) == '/' or folder == '' then
        return path
    end
    return folder .. '/' .. path
end

--- Takes over the settings `gateway.plugins`.
-- @tparam table settings validated
-- @tparam string folder of the configuration file, '' = the working folder
function M.use(settings, folder)
    folders = {}
    for i, path in ipairs(settings.path) do
        folders[i] = within(folder, path)
    end
    if settings.lua_path then
        package.path = settings.lua_path .. ';' .. package.path
    end
    if settings.lua_cpath then
        package.cpath = settings.lua_cpath .. ';' .. package.cpath
    end
end

-- ---- plugins -----------------------------------------------------------------------------------

local ENOENT, ENOTDIR = 2, 20

-- Whether there is such a file; nil and a sentence where there is one that cannot be read.
local function is_file(path)
    local text, err, number = source.read(path)
    if not text and number and number ~= ENOENT and number ~= ENOTDIR then
        return nil, err
    end
    return text ~= nil
end

-- { folder =, single = path | nil } of a plugin in one folder; nil when it is not there; nil and a
-- sentence when it cannot be taken.
local function look_in(folder, name)
    local single, handler = folder .. '/' .. name .. '.lua', folder .. '/' .. name .. '/handler.lua'
    local has_single, single_err = is_file(single)
    local has_handler, handler_err = is_file(handler)
    if single_err or handler_err then
        return nil, ('plugin "%s" cannot be read: %s'):format(name, single_err or handler_err)
    elseif has_single and has_handler then
        return nil, ('plugin "%s" is there twice: %s and %s'):format(name, single, handler)
    elseif has_single then
        return { single = single, handler = single }
    elseif has_handler then
        return { folder = folder .. '/' .. name, handler = handler }
    end
    return nil
end

local function find_rock(name)
    for _, path in ipairs(path_templates('kong.plugins.' .. name .. '.handler')) do
        if is_file(path) then
            return { folder = path:match('^(.*)/[^/]*$'), handler = path, rock = true }
        end
    end
    return nil
end

local function note_hidden(name, place)
    local own = look_in(boot.plugins_path, name)
    if own and own.handler ~= place.handler then
        log.notice('plugin %s of %s hides the one that comes with the gateway', name, place.handler)
    end
end

-- Where a plugin lies on disk; nil, message; nil, nil and what was searched.
local function locate(name)
    local searched = {}
    for i, folder in ipairs(folders) do
        local place, err = look_in(folder, name)
        if err then
            return nil, err
        elseif place then
            note_hidden(name, place)
            return place
        end
        searched[i] = folder .. '/'
    end
    local own, err = look_in(boot.plugins_path, name)
    if own or err then
        return own, err
    end
    local rock = find_rock(name)
    if rock then
        return rock
    end
    searched[#searched + 1] = 'what comes with the gateway'
    searched[#searched + 1] = ('kong.plugins.%s.handler on package.path'):format(name)
    return nil, nil, searched
end

-- The same in a bundle, where places no longer matter.
local function locate_in_bundle(name)
    if boot.bundle('lua:' .. PREFIX .. name) then
        return { single = '' }
    elseif boot.bundle('lua:' .. PREFIX .. name .. '.handler') then
        return { folder = '' }
    end
    return nil, nil, { 'the bundle of the checked configuration' }
end

local function load_module(module, path)
    local found, tried = source.find(module, { path })
    if not found then
        return nil, ('%s cannot be read'):format(tried[1])
    end
    local chunk, err = source.compile(found)
    if not chunk then
        return nil, err
    end
    local ok, result = raw_pcall(chunk, module, found.path)
    guard.rethrow()
    if not ok then
        return nil, tostring(result)
    end
    package.loaded[module] = result == nil and true or result
    return result, nil, found.path
end

local function load_file(name, place)
    local module = place.single and PREFIX .. name or PREFIX .. name .. '.handler'
    local handler, err, path = load_module(module, place.handler)
    if err then
        return nil, ('plugin "%s" cannot be loaded: %s'):format(name, err)
    end
    return handler, nil, path
end

local function load_schema(name, place)
    local module = PREFIX .. name .. '.schema'
    local path = (place.folder or '') .. '/schema.lua'
    if boot.bundle and not boot.bundle('lua:' .. module)
        or not boot.bundle and not is_file(path) then
        return nil
    end
    local schema, err = load_module(module, path)
    if err then
        return nil, ('the schema of plugin "%s" cannot be loaded: %s'):format(name, err)
    end
    return schema
end

-- Modules beside a handler may be required only later, in a worker: they go into the bundle too.
local function note_modules(name, place)
    if boot.bundle or not place.folder then
        return
    end
    for _, file in ipairs(boot.list(place.folder)) do
        local module = file:match('^(.+)%.lua$')
        if module and not module:match('_spec$') then
            source.note(PREFIX .. name .. '.' .. module, place.folder .. '/' .. file)
        end
    end
end

local function load(name)
    if not name:match(NAME) then
        return nil, { message = ('"%s" cannot be the name of a plugin'):format(name) }
    end
    local place, message, searched
    if boot.bundle then
        place, message, searched = locate_in_bundle(name)
    else
        place, message, searched = locate(name)
    end
    if not place then
        return nil, { message = message or ('no plugin is called "%s"'):format(name),
            searched = not message and searched or nil }
    end
    places[name] = place.folder
    local handler, err, path = load_file(name, place)
    local schema
    if not err and place.folder then
        schema, err = load_schema(name, place)
    end
    local plugin
    if not err then
        plugin, err = definition.check(name, handler, schema, place)
    end
    if not plugin then
        return nil, { message = err }
    end
    note_modules(name, place)
    plugin.source = path
    if not boot.bundle then
        plugin.raw_accessors = lint.of_plugin(PREFIX .. name, source.loaded)
    end
    return plugin
end

--- Loads a plugin, once.
-- @tparam string name
-- @treturn table|nil { name =, handler =, schema = definition, source = path, raw_accessors = from
-- disk: lint.of_plugin's list }; nil and { message =, searched = places in words, only where there
-- is no such plugin }
function M.plugin(name)
    if plugins[name] == nil then
        plugins[name], failures[name] = load(name)
        plugins[name] = plugins[name] or false
    end
    if not plugins[name] then
        return nil, failures[name]
    end
    return plugins[name]
end

--- Where the files of a loaded plugin lie.
-- @tparam string name
-- @treturn string|nil folder; nil for a plugin of one file, '' in a bundle
function M.folder(name)
    return places[name]
end

--- Names of the plugins that lie in plugins.path and among our own, for suggestions.
-- @treturn table sorted array
function M.names()
    local seen, names = {}, {}
    local function add(folder)
        for _, file in ipairs(boot.list(folder)) do
            local name = file:match('^(.+)%.lua$') or file
            if name:match(NAME) and not seen[name] and look_in(folder, name) then
                seen[name] = true
                names[#names + 1] = name
            end
        end
    end
    if not boot.bundle then
        for _, folder in ipairs(folders) do
            add(folder)
        end
        add(boot.plugins_path)
    end
    table.sort(names)
    return names
end

return M
