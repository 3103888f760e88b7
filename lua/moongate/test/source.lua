-- SPDX-License-Identifier: Apache-2.0
-- What gateway.start and gw:reload take as a configuration: a file name, YAML text or a table.
local cjson = require 'cjson'
local lfs = require 'lfs'
local yaml = require 'moongate.yaml'

local M = {}

local INLINE = 'test.yml' -- name of a source without a file, in messages

-- Folder of the spec that runs: of the first file called *_spec.lua up the stack.
function M.spec_folder()
    for level = 2, 60 do
        local info = debug.getinfo(level, 'S')
        if not info then
            return nil
        end
        local path = info.source:match('^@(.*_spec%.lua)$')
        if path then
            return path:match('^(.*/)') or ''
        end
    end
    return nil
end

local function read(path)
    local file = io.open(path, 'rb')
    if not file then
        return nil
    end
    local text = file:read('*a') -- nil for a folder
    file:close()
    return text
end

local function find_file(name, folder)
    local tried = {}
    local places = name:sub(1, 1) == '/' and { '' } or { folder or '', '' }
    for _, place in ipairs(places) do
        local text = read(place .. name)
        if text then
            return place .. name, text
        end
        tried[#tried + 1] = place .. name
    end
    error(('there is no file %s'):format(table.concat(tried, ' nor ')), 0)
end

-- Folders of plugins.path from opts.plugins_path, before those of the file.
local function add_plugins_path(text, paths)
    local tree, marks = yaml.parse(text)
    if type(tree) ~= 'table' then
        return text -- the gateway says what is wrong with it
    end
    for collection, mark in pairs(marks) do
        if mark.kind == 'seq' then
            setmetatable(collection, cjson.array_mt) -- so that an empty one stays a list
        end
    end
    tree.gateway = tree.gateway or {}
    tree.gateway.plugins = tree.gateway.plugins or {}
    local all = {}
    for _, path in ipairs(type(paths) == 'table' and paths or { paths }) do
        all[#all + 1] = path:sub(1, 1) == '/' and path or lfs.currentdir() .. '/' .. path
    end
    for _, path in ipairs(tree.gateway.plugins.path or { 'plugins' }) do
        all[#all + 1] = path
    end
    tree.gateway.plugins.path = all
    return cjson.encode(tree)
end

--- @param source file name, YAML text (it has a line end) or table
-- @tparam table opts plugins_path
-- @treturn string name of the file, for messages and relative paths
-- @treturn string YAML
function M.read(source, opts)
    local file, text = INLINE, source
    if type(source) == 'table' then
        text = cjson.encode(source)
    elseif type(source) ~= 'string' then
        error('a configuration is a file name, YAML text or a table, got a ' .. type(source), 0)
    elseif not source:find('\n', 1, true) then
        file, text = find_file(source, M.spec_folder())
    end
    if opts.plugins_path then
        text = add_plugins_path(text, opts.plugins_path)
    end
    return file, text
end

return M
