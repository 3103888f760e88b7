-- SPDX-License-Identifier: Apache-2.0
--
-- The tables of docs/plugin-reference.md, made from the LDoc comments of lua/moongate/: one row for
-- each public function, with its arguments, its results and the phases in which it may be called.
local source = require 'tools.source'

local M = {}

local HEADER = '| Function | What it does, arguments, results | Phases |\n|---|---|---|\n'
local BASE = 'lua/moongate/pdk/base.lua'
local TYPES = { string = true, number = true, boolean = true, table = true, cdata = true }
TYPES['function'] = true

local function cell(text)
    return (text:gsub('|', '\\|'))
end

-- ---- comments ----------------------------------------------------------------------------------

-- A line "@tparam[opt=100] number max 1 to 1000" and its like.
local function read_tag(doc, line)
    local tag, rest = line:match('^@(%S+)%s*(.*)$')
    local option = tag:match('%[(.-)%]')
    tag = tag:gsub('%[.-%]', '')
    if tag == 'tparam' then
        local kind, name, about = rest:match('^(%S+)%s+(%S+)%s*(.*)$')
        if not TYPES[kind:match('^%a+')] then  -- any type: the name comes first
            kind, name, about = nil, rest:match('^(%S+)%s*(.*)$')
        end
        doc.params[#doc.params + 1] = { kind = kind, name = name, about = about, option = option }
        return doc.params[#doc.params]
    elseif tag == 'param' then
        local name, about = rest:match('^(%S+)%s*(.*)$')
        doc.params[#doc.params + 1] = { name = name, about = about, option = option }
        return doc.params[#doc.params]
    elseif tag == 'treturn' then
        local kind, about = rest:match('^(%S+)%s*(.*)$')
        doc.returns[#doc.returns + 1] = { kind = kind, about = about }
        return doc.returns[#doc.returns]
    elseif tag == 'return' then
        doc.returns[#doc.returns + 1] = { about = rest }
        return doc.returns[#doc.returns]
    elseif tag == 'function' then
        doc.name = rest
    end
    return {}
end

-- The comment lines in front of a function.
local function read_doc(lines)
    local doc = { about = '', params = {}, returns = {} }
    local last = doc
    for _, line in ipairs(lines) do
        line = line:gsub('^%-%-%-?%s?', '')
        if line:match('^@') then
            last = read_tag(doc, line)
        elseif last.about then
            last.about = last.about == '' and line or last.about .. ' ' .. line
        end
    end
    return doc
end

-- All functions of a module that have an LDoc comment: { name, arguments, doc, body }.
local function read_functions(text)
    local functions, comment, open = {}, nil, nil
    for line in (text .. '\n'):gmatch('(.-)\n') do
        local name, arguments = line:match('^function M[.:]([%w_]+)%((.-)%)')
        if line:match('^%-%-%-') then
            comment = { line }
        elseif comment and line:match('^%-%-') then
            comment[#comment + 1] = line
        elseif comment and (name or line:match('^M%.[%w_]+ = ')) then
            local doc = read_doc(comment)
            open = { name = name or doc.name, arguments = arguments, doc = doc, body = line }
            functions[#functions + 1] = open.name and open or nil
            comment = nil
        else
            comment = nil
        end
        if open then
            open.body = open.body .. '\n' .. line
            open = line ~= 'end' and open or nil
        end
    end
    return functions
end

-- ---- phases ------------------------------------------------------------------------------------

-- Name of a set of phases -> { name = true }.
local function read_sets()
    local sets = {}
    for name, phases in assert(source.read(BASE)):gmatch("M%.([%u_]+) = mask_of%('(.-)'%)") do
        sets[name] = {}
        for phase in phases:gmatch('%S+') do
            sets[name][phase] = true
        end
    end
    return sets
end

-- Names that a module gives to sets of its own accord: local BEFORE = base.BEFORE_UPSTREAM
local function add_aliases(sets, text)
    for alias, name in text:gmatch('\nlocal ([%u_]+) = base%.([%u_]+)\n') do
        sets[alias] = sets[name]
    end
    return sets
end

local function local_bodies(text)
    local bodies = {}
    for name, body in text:gmatch('\nlocal function ([%w_]+)(%b().-\nend)') do
        bodies[name] = body
    end
    return bodies
end

-- The set that a body checks, itself or by a function of its module.
local function set_of(body, bodies, sets, seen)
    for name in body:gmatch('%f[%u_]([%u_]+)%f[^%u_]') do
        if sets[name] then
            return sets[name]
        end
    end
    for name in body:gmatch('([%w_]+)%(') do
        if bodies[name] and not seen[name] then
            seen[name] = true
            local found = set_of(bodies[name], bodies, sets, seen)
            if found then
                return found
            end
        end
    end
end

local ORDER = { 'rewrite', 'access', 'response', 'header_filter', 'body_filter', 'log' }

local function phases_text(set)
    if not set then
        return 'any'
    end
    local names, all = {}, true
    for _, phase in ipairs(ORDER) do
        if set[phase] then
            names[#names + 1] = phase
        end
        all = all and set[phase] or false
    end
    if all then
        return set.timer and 'any but init_worker' or 'a request'
    end
    return table.concat(names, ', ')
end

-- ---- rows --------------------------------------------------------------------------------------

local function kind_text(kind)
    return kind:gsub('|', ' or ')
end

local function param_text(param)
    local parts = {}
    if param.kind then
        parts[1] = kind_text(param.kind)
    end
    if param.option then
        parts[#parts + 1] = 'optional' .. param.option:gsub('^opt=?(.*)$', function(default)
            return default ~= '' and ' (' .. default .. ')' or ''
        end)
    end
    local text = '`' .. param.name .. '`: ' .. table.concat(parts, ', ')
    if param.about ~= '' then
        text = text .. (#parts > 0 and ', ' or '') .. param.about
    end
    return text
end

local function meaning(doc)
    local parts = {}
    if doc.about ~= '' then
        parts[1] = doc.about:match('[.:?]$') and doc.about or doc.about .. '.'
    end
    for _, param in ipairs(doc.params) do
        parts[#parts + 1] = param_text(param) .. '.'
    end
    local returns = {}
    for i, result in ipairs(doc.returns) do
        local words = result.kind and kind_text(result.kind) or ''
        if result.about ~= '' then
            words = words .. (words ~= '' and ', ' or '') .. result.about
        end
        returns[i] = words
    end
    if #returns > 0 then
        parts[#parts + 1] = 'Returns ' .. table.concat(returns, '; ') .. '.'
    end
    return table.concat(parts, ' ')
end

local function signature(fn)
    if fn.arguments then
        return fn.arguments
    end
    local names = {}
    for i, param in ipairs(fn.doc.params) do
        names[i] = param.name
    end
    return table.concat(names, ', ')
end

--- The table of one module.
-- @tparam string path of the module
-- @tparam string prefix in front of the names: "request."
-- @tparam[opt] table only set of names; without it all functions
-- @treturn string Markdown
-- @treturn number of functions
function M.table_of(path, prefix, only)
    local text = assert(source.read(path))
    local sets, bodies = add_aliases(read_sets(), text), local_bodies(text)
    local rows = {}
    for _, fn in ipairs(read_functions(text)) do
        if not only or only[fn.name] then
            rows[#rows + 1] = ('| `%s%s(%s)` | %s | %s |\n'):format(prefix, fn.name,
                signature(fn), cell(meaning(fn.doc)),
                phases_text(set_of(fn.body, bodies, sets, {})))
        end
    end
    return HEADER .. table.concat(rows), #rows
end

return M
