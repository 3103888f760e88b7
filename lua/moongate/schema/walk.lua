-- SPDX-License-Identifier: Apache-2.0
--
-- One validation under way: where it is, what it has found wrong, and the options it runs with.
-- Errors are kept twice: as the table that plugins see (built by init.lua from return values) and
-- here as a flat list, from which the loader finds file positions.
local describe = require 'moongate.schema.describe'

local Walk = {}
Walk.__index = Walk

--- The error of a field whose value could not be had (see soft): it was reported elsewhere, so it
-- stands in no flat list, and no check looks at the field.
Walk.UNREAD = 'the value could not be read'

--- @tparam[opt] table opts
--   soft: container table -> key -> source text, for values that came out of `${env:…}`: their text
--   is turned into the number or boolean that the schema asks for, also in the container itself;
--   false where the value could not be had: its error is UNREAD
-- @treturn Walk
function Walk.new(opts)
    return setmetatable({
        flat = {},
        path = {},
        depth = 0,
        in_default = 0,
        soft = opts and opts.soft,
    }, Walk)
end

--- A walk that shares nothing but the options: for trying a value without reporting.
-- @treturn Walk
function Walk:aside()
    return Walk.new({ soft = self.soft })
end

function Walk:enter(key)
    self.depth = self.depth + 1
    self.path[self.depth] = key
end

function Walk:leave()
    self.path[self.depth] = nil
    self.depth = self.depth - 1
end

local function first_text(err)
    while type(err) == 'table' do
        local _, inner = next(err)
        err = inner
    end
    return tostring(err)
end

-- A fixed text may quote the value, which must not be printed.
local function mask(message, value, replacement)
    if type(value) ~= 'string' or value == '' then
        return message
    end
    local start, stop = message:find(value, 1, true)
    if not start then
        return message
    end
    return message:sub(1, start - 1) .. replacement .. message:sub(stop + 1)
end

--- Records an error at the present place.
-- @tparam string|table message fixed text (a table from a custom validator)
-- @tparam table finding code, expected, found, suggestion, example
-- @treturn string|table message
function Walk:fail(message, finding)
    local path = {}
    for i = 1, self.depth do
        path[i] = self.path[i]
    end
    finding.path = path
    finding.message = first_text(message)
    self.flat[#self.flat + 1] = finding
    return message
end

--- Records that a field does not take its value. `err` of the field replaces the message.
-- @tparam table def
-- @param value
-- @tparam string|table message
-- @tparam string code
-- @tparam boolean plain whether "expected …, found …" says it well
-- @treturn string|table message
function Walk:refuse(def, value, message, code, plain)
    local finding = { code = code }
    local source = self.source
    local is_secret = def.encrypted or def.type == 'secret'
    if plain and not def.err then
        finding.expected = describe.expected(def)
        finding.found = source and ('the value of ' .. source)
            or describe.found(value, is_secret, def.type)
    end
    local example = def.examples and def.examples[1]
    if example == nil and type(def.default) ~= 'table' then
        example = def.default
    end
    local kind = type(example)
    if (kind == 'string' or kind == 'number') and not def.one_of then
        finding.example = tostring(example)
    end
    if type(value) == 'string' and not source then
        finding.word, finding.choices = value, def.one_of
    end
    self:fail(def.err or message, finding)
    finding.is_secret = is_secret or nil
    if source or is_secret then
        finding.message = mask(finding.message, value, source or '***')
    end
    return def.err or message
end

--- The source text of a value that was expanded, such as "${env:PORT}"; false where that failed.
function Walk:source_of(container, key)
    local keys = self.soft and container and self.soft[container]
    if keys then
        return keys[key]
    end
end

return Walk
