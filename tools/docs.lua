-- SPDX-License-Identifier: Apache-2.0
--
-- The documents of the project and their generated parts; see tools/gen_docs.lua.
local functions = require 'tools.docs_pdk'
local fuzzing = require 'tools.docs_fuzz'
local options = require 'tools.docs_options'
local source = require 'tools.source'

local M = {}

local OPEN = '<!%-%- generated: (.-) %-%->\n'
local CLOSE = '<!-- end of generated -->'
local COMMON = { id = true, created_at = true, updated_at = true, tags = true, _comment = true,
    _ignore = true }
local BRIEF = { ['routes.settings.NAME.limits'] = true }

--- All documents, sorted.
-- @treturn table paths
function M.files()
    local files = source.files('.', { 'docs', 'plugins' }, { 'md' })
    for _, name in ipairs({ 'README.md', 'CONTRIBUTING.md', 'CHANGELOG.md' }) do
        files[#files + 1] = name
    end
    return files
end

-- ---- plugins -----------------------------------------------------------------------------------

-- Schemas may use modules that only work inside the gateway (regular expressions); nothing of
-- theirs is called to describe a schema.
local stub
stub = setmetatable({}, {
    __index = function() return stub end,
    __call = function() return stub end,
})

local STUBBED = { 'moongate.regex', 'moongate.uuid', 'moongate.runtime', 'moongate.runtime.ffi' }

local function find_module(name)
    local file = name:match('^%w+%.plugins%.(.+)$')
    local path = file and 'plugins/' .. file:gsub('%.', '/') .. '.lua'
    return path and loadfile(path) or '\n\tno plugin module ' .. name
end

-- Runs fn with the plugins' modules in reach, and leaves no stub behind.
local function with_plugins(fn)
    local before = {}
    for name, module in pairs(package.loaded) do
        before[name] = module
    end
    for _, name in ipairs(STUBBED) do
        package.loaded[name] = stub
    end
    table.insert(package.loaders, 2, find_module)
    local ok, result = pcall(fn)
    table.remove(package.loaders, 2)
    for name in pairs(package.loaded) do
        package.loaded[name] = before[name]
    end
    return ok and result or error(result, 0)
end

--- The schema of a plugin that ships.
-- @tparam string name
-- @treturn table definition
function M.plugin_schema(name)
    return with_plugins(function()
        return assert(loadfile(('plugins/%s/schema.lua'):format(name)))()
    end)
end

local function config_of(schema)
    for _, entry in ipairs(schema.fields) do
        if entry.config then
            return entry.config
        end
    end
    error('the schema has no config', 0)
end

-- ---- parts -------------------------------------------------------------------------------------

local parts = {}

function parts.gateway()
    return options.table_of(require 'moongate.entities.gateway', { brief = BRIEF })
end

function parts.fuzzing()
    return fuzzing.table()
end

function parts.plugin(name)
    return options.table_of(config_of(M.plugin_schema(name)))
end

local function common_fields()
    local fields = {}
    for _, entry in ipairs(require('moongate.entities.consumers').fields) do
        if COMMON[next(entry)] then
            fields[#fields + 1] = entry
        end
    end
    return options.table_of({ fields = fields })
end

local function sorted(map)
    local names = {}
    for name in pairs(map) do
        names[#names + 1] = name
    end
    table.sort(names)
    return names
end

-- References and nested collections are no fields of the schema; the loader reads them.
local function relations(about)
    local rows = {}
    for _, field in ipairs(sorted(about.refs)) do
        local required = about.required and about.required[1] == field and 'required' or ''
        rows[#rows + 1] = ('| `%s` | a name, or `{ id: … }` or `{ name: … }` | %s | one of `%s`; '
            .. 'not written where the entity is nested in it |\n')
            :format(field, required, about.refs[field])
    end
    for _, field in ipairs(sorted(about.children)) do
        rows[#rows + 1] = ('| `%s` | a list of maps |  | `%s` that belong to it |\n')
            :format(field, field)
    end
    return table.concat(rows)
end

function parts.entity(name)
    if name == 'common' then
        return common_fields()
    end
    local entities = require 'moongate.entities'
    local about = assert(entities.collections[name], 'no collection ' .. name)
    local definition = require('moongate.entities.' .. name)
    local skip = setmetatable({}, { __index = COMMON })
    for _, entry in ipairs(definition.fields) do
        local field, def = next(entry)
        -- What moongate.entities adds: references, and collections that it takes or refuses here.
        local refused = entities.not_supported[field] and not def.description
        skip[field] = about.refs[field] or about.children[field] or refused
    end
    local rows, missing = options.table_of(definition, { skip = skip })
    return rows .. relations(about), missing
end

function parts.refused()
    local refused, rows = require('moongate.entities').not_supported, {}
    for i, name in ipairs(sorted(refused)) do
        rows[i] = ('| `%s` | %s |\n'):format(name, refused[name])
    end
    return '| Collection | What it would need |\n|---|---|\n' .. table.concat(rows)
end

function parts.functions(arguments)
    local path, prefix, names = arguments:match('^(%S+)%s+(%S+)%s*(.*)$')
    local only = names ~= '' and {} or nil
    for name in names:gmatch('%S+') do
        only[name] = true
    end
    local rows, count = functions.table_of(path, prefix == '-' and '' or prefix, only)
    return rows, count == 0 and { path .. ' (no documented function)' } or {}
end

-- The text of one part, and its keys without a description.
local function make(kind)
    local word, rest = kind:match('^(%S+)%s*(.*)$')
    if not parts[word] then
        return '', { 'no such generated part: ' .. kind }
    end
    local text, missing = parts[word](rest)
    local mistakes = {}
    for i, path in ipairs(missing or {}) do
        mistakes[i] = ('%s: no description of %s'):format(kind, path)
    end
    return text, mistakes
end

--- A document with its generated parts made anew.
-- @tparam string path
-- @treturn string as it is
-- @treturn string as it should be
-- @treturn table mistakes that the generator found
function M.rewrite(path)
    local text, mistakes = assert(source.read(path)), {}
    local out, at = {}, 1
    while true do
        local _, open_end, kind = text:find(OPEN, at)
        if not open_end then
            break
        end
        local close = text:find(CLOSE, open_end, true)
        if not close then
            mistakes[#mistakes + 1] = 'the generated part has no end: ' .. kind
            break
        end
        local part, found = make(kind)
        for _, mistake in ipairs(found) do
            mistakes[#mistakes + 1] = mistake
        end
        out[#out + 1] = text:sub(at, open_end) .. '\n' .. part .. '\n'
        at = close
    end
    out[#out + 1] = text:sub(at)
    return text, table.concat(out), mistakes
end

return M
