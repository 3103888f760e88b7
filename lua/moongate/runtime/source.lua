-- SPDX-License-Identifier: Apache-2.0
-- Where the text of Lua modules comes from: from disk (the checker, which notes every text it hands
-- out), or from the bundle that the checker made (workers; then nothing is read from disk, so a
-- half-finished edit cannot reach a worker).
--
-- In the bundle the entry `lua:NAME` holds the path on its first line and then the text.
local boot = require 'moongate.runtime.boot'

local M = {}

local open = io.open

--- Module name -> { path =, text = } of all that was handed out.
M.loaded = {}

--- Reads a file.
-- @treturn string|nil its text; nil, err and the system's number of the error, where it has one
function M.read(path)
    local file, err, number = open(path, 'rb')
    if not file then
        return nil, err, number
    end
    local text = file:read('*a')
    file:close()
    if not text then
        return nil, path .. ': cannot be read'
    end
    return text
end

-- Name -> entry that was not loaded with the generation but may be required later, when the bundle
-- is closed.
local late = {}

--- Keeps what of the bundle was not loaded yet.
function M.keep_late()
    if not boot.bundle then
        return
    end
    for _, entry in ipairs(boot.bundle_names('lua:')) do
        local name = entry:sub(5)
        if not M.loaded[name] and not package.loaded[name] then
            late[name] = boot.bundle(entry)
        end
    end
end

local function from_bundle(name)
    local data = late[name] or boot.bundle('lua:' .. name)
    local path, text = (data or ''):match('^([^\n]*)\n(.*)$')
    if not path then
        return nil
    end
    return { path = path, text = text }
end

local function from_disk(paths)
    local tried = {}
    for _, path in ipairs(paths) do
        local text = M.read(path)
        if text then
            return { path = path, text = text }
        end
        tried[#tried + 1] = path
    end
    return nil, tried
end

--- The text of a module: from the bundle, else from the first of the paths that can be read.
-- @tparam string name
-- @tparam table paths
-- @treturn table|nil { path =, text = }; nil and the paths tried
function M.find(name, paths)
    local found, tried
    if boot.bundle then
        found, tried = from_bundle(name), { 'the bundle of the checked configuration' }
    else
        found, tried = from_disk(paths)
    end
    if found then
        M.loaded[name] = found
        return found
    end
    return nil, tried
end

--- Notes a text for the bundle that was not loaded: a module that may be required later.
function M.note(name, path)
    if not boot.bundle and not M.loaded[name] then
        local text = M.read(path)
        if text then
            M.loaded[name] = { path = path, text = text }
        end
    end
end

--- Compiles a source.
-- @treturn function|nil; nil, err
function M.compile(found)
    return loadstring((found.text:gsub('^#[^\n]*', '', 1)), '@' .. found.path)
end

return M
