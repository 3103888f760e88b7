-- SPDX-License-Identifier: Apache-2.0
-- `moongate test`: busted in this process.
--
--     moongate test [FILE|FOLDER...] [--filter PATTERN] [--seed N] [--junit FILE]
--
-- Exit code: 0 all passed, 1 failures, errors or nothing to run, 2 wrong use.
local VALUES = { filter = true, seed = true, junit = true }
local DEFAULT_FOLDERS = { 'plugins', 'spec' }
local PATTERN = '_spec%.lua$'
local FAILED, USAGE = 1, 2

local function say(...)
    io.stderr:write('moongate test: ', (...):format(select(2, ...)), '\n')
end

-- ---- arguments ---------------------------------------------------------------------------------

-- @treturn table|nil { filter =, seed =, junit =, roots = { ... } }; nil, err
local function read_arguments(arguments)
    local o, plain, i = { roots = {} }, false, 1
    while i <= #arguments do
        local argument = arguments[i]
        local name, value = argument:match('^%-%-([%w-]+)=(.*)$')
        name = name or argument:match('^%-%-([%w-]+)$')
        if plain or argument:sub(1, 1) ~= '-' then
            o.roots[#o.roots + 1] = argument
        elseif argument == '--' then
            plain = true
        elseif not name or not VALUES[name] then
            return nil, ("there is no option '%s'"):format(argument)
        else
            if not value then
                i = i + 1
                value = arguments[i]
            end
            if not value then
                return nil, ('--%s wants a value'):format(name)
            end
            o[name] = value
        end
        i = i + 1
    end
    if o.seed and not o.seed:match('^%d+$') then
        return nil, '--seed wants a number'
    end
    return o
end

local function default_roots()
    local path = require 'pl.path'
    local roots = {}
    for _, folder in ipairs(DEFAULT_FOLDERS) do
        if path.isdir(folder) then
            roots[#roots + 1] = folder
        end
    end
    return roots
end

-- Every root must be there and the Lua pattern must be one.
local function check(o)
    local path = require 'pl.path'
    for _, root in ipairs(o.roots) do
        if not path.exists(root) then
            return nil, ('there is no file or folder %s'):format(root)
        end
    end
    if #o.roots == 0 then
        return nil, 'there is neither plugins/ nor spec/ here: name the specs to run'
    end
    if o.filter and not pcall(string.find, '', o.filter) then
        return nil, ("--filter wants a Lua pattern, got '%s'"):format(o.filter)
    end
    if o.junit then
        local file = io.open(o.junit, 'w')
        if not file then
            return nil, ('--junit: %s cannot be written'):format(o.junit)
        end
        file:close()
    end
    return true
end

-- ---- busted ------------------------------------------------------------------------------------

local function count_results(busted)
    local counts = { tests = 0, bad = 0 }
    busted.subscribe({ 'test', 'end' }, function(_, _, status)
        counts.tests = counts.tests + (status ~= 'pending' and 1 or 0)
        return nil, true
    end)
    for _, kind in ipairs({ 'failure', 'error' }) do
        busted.subscribe({ kind }, function()
            counts.bad = counts.bad + 1
            return nil, true
        end)
    end
    return counts
end

-- busted's own parts in the order of its runner, without its reading of arguments and its exit.
local function set_up(busted, o)
    local output = require 'busted.modules.output_handler_loader'()
    local term = require 'term'
    local is_terminal = io.type(io.stdout) == 'file' and term.isatty(io.stdout)
    output(busted, is_terminal and 'utfTerminal' or 'plainTerminal',
        { verbose = false, language = 'en', arguments = {} })
    if o.junit then
        output(busted, 'junit', { language = 'en', arguments = { o.junit } })
    end
    require 'busted.luajit'()
    require 'busted.modules.filter_loader'()(busted, {
        tags = {}, excludeTags = {}, filter = o.filter and { o.filter } or {}, filterOut = {},
    })
end

local function run(o)
    local busted = require 'busted.core'()
    require 'busted'(busted)
    busted.randomize = o.seed ~= nil
    busted.randomseed = tonumber(o.seed) or 0
    local counts = count_results(busted)
    set_up(busted, o)
    local load_files = require 'busted.modules.test_file_loader'(busted, { 'lua' })
    load_files(o.roots, { PATTERN }, { excludes = {}, recursive = true })
    require 'busted.execute'(busted)(1, { seed = o.seed, shuffle = o.seed ~= nil, sort = false })
    busted.publish({ 'exit' })
    if counts.bad == 0 and counts.tests == 0 then
        say('no test was run')
        return FAILED
    end
    return counts.bad > 0 and FAILED or 0
end

return function(arguments)
    local o, err = read_arguments(arguments)
    if o then
        local has_busted, why = pcall(require, 'busted.core')
        if not has_busted then
            say('busted is needed (Debian package lua-busted): %s', why)
            return FAILED
        end
        o.roots = #o.roots > 0 and o.roots or default_roots()
        local ok
        ok, err = check(o)
        o = ok and o
    end
    if not o then
        say('%s', err)
        return USAGE
    end
    return run(o)
end
