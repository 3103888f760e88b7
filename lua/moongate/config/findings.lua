-- SPDX-License-Identifier: Apache-2.0
--
-- What a load has found: errors, warnings and notices, each with its place in the file. A finding:
--
--   file, line, column, length   the place; no line where nothing is known of it
--   severity, code               'error', 'warning' or 'notice'; 'MG1023'
--   path                         'services[0].routes[1].paths[0]', counted from 0; '' for the file
--   message                      the sentence for the operator
--   fixed                        the schema language's fixed text, where it differs
--   expected, found              what the sentence was made from, where it was
--   suggestion, suggestion_line  "did you mean"
--   hint                         more help behind the caret
local describe = require 'moongate.schema.describe'
local marks = require 'moongate.config.marks'
local suggest = require 'moongate.schema.suggest'

local M = {}
M.__index = M

--- @tparam table o file, tree, marks (of moongate.yaml, or nil), places (path -> mark, or nil)
function M.new(o)
    return setmetatable({
        file = o.file, tree = o.tree, marks = o.marks, places = o.places or {},
        list = {}, seen = {}, errors = 0, warnings = 0,
    }, M)
end

--- A path for people: indexes from 0.
-- @tparam table path array of keys and indexes from 1
-- @treturn string
function M.path_text(path)
    local parts = {}
    for i, key in ipairs(path) do
        if type(key) == 'number' then
            parts[i] = ('[%d]'):format(key - 1)
        elseif key:match('^[%w_-]+$') then
            parts[i] = (i > 1 and '.' or '') .. key
        else
            parts[i] = ('["%s"]'):format(key)
        end
    end
    return table.concat(parts)
end

-- The mark of the longest part of the path that is in the file.
local function find_mark(self, path, at_key)
    local node, mark = self.tree, nil
    for i, key in ipairs(path) do
        local record = self.marks[node]
        if not record or not record.values[key] then
            return mark
        end
        local is_last = i == #path
        mark = record.values[key]
        if record.keys and (at_key or not is_last) then
            mark = record.keys[key]
        end
        node = node[key]
    end
    return mark
end

local function find_place(self, path)
    for count = #path, 1, -1 do
        local mark = self.places[M.path_text({ unpack(path, 1, count) })]
        if mark then
            return mark
        end
    end
end

--- Where a path is in the file.
-- @tparam table path
-- @tparam[opt] boolean at_key the key rather than its value
-- @treturn ?number mark
function M:mark(path, at_key)
    if self.marks then
        return find_mark(self, path, at_key)
    end
    return find_place(self, path)
end

--- @tparam table path
-- @treturn ?number line
-- @treturn ?number column
function M:line(path)
    local mark = self:mark(path)
    if mark then
        return marks.unpack(mark)
    end
end

--- Adds a finding.
-- @tparam table path array of keys and indexes from 1
-- @tparam table f severity ('error'), code, message, at_key, shown (number of path parts that are
-- named), line, column, length, is_secret (its line is not shown), and the fields above
function M:add(path, f)
    local place = f.code .. M.path_text(path)
    if f.severity == nil and not f.line and self.seen[place] then
        return -- two schemas look at the same value
    end
    self.seen[place] = true
    local finding = {
        file = self.file, severity = f.severity or 'error', code = f.code, message = f.message,
        fixed = f.fixed, expected = f.expected, found = f.found, hint = f.hint,
        suggestion = f.suggestion, suggestion_line = f.suggestion_line, is_secret = f.is_secret,
        path = M.path_text({ unpack(path, 1, f.shown or #path) }),
        line = f.line, column = f.column, length = f.length,
    }
    if not finding.line then
        local mark = self:mark(path, f.at_key)
        if mark then
            finding.line, finding.column, finding.length = marks.unpack(mark)
        elseif self.marks then
            finding.line, finding.column, finding.length = 1, 1, 0
        end
    end
    if finding.severity == 'error' then
        self.errors = self.errors + 1
    elseif finding.severity == 'warning' then
        self.warnings = self.warnings + 1
    end
    self.list[#self.list + 1] = finding
end

local UNKNOWN_KEY, LATER, MISSING = 'MG1023', 'MG1027', 'MG1021'

-- The operator's sentence for an error of the schema engine.
local function sentence(error)
    if error.code == UNKNOWN_KEY then
        return ('unknown key "%s"'):format(tostring(error.word))
    end
    if error.code == MISSING and error.message == 'required field missing' then
        return 'required, but not set'
    end
    if error.expected then
        return ('expected %s, found %s'):format(error.expected, error.found)
    end
    return error.message .. (error.detail and ': ' .. error.detail or '')
end

local function hint_of(error)
    if error.hint then
        return error.hint
    end
    local key = error.path[#error.path]
    if error.example and error.expected and type(key) == 'string' then
        return ('example: %s: %s'):format(key, error.example)
    end
end

--- Adds the flat errors of a schema under a path.
-- @tparam table path of the value that was checked
-- @tparam table flat of Schema:validate
function M:add_schema_errors(path, flat)
    for _, error in ipairs(flat) do
        local full = { unpack(path) }
        for _, key in ipairs(error.path) do
            full[#full + 1] = key
        end
        local is_key = error.code == UNKNOWN_KEY
        local suggestion = error.choices and suggest.nearest(tostring(error.word), error.choices)
        self:add(full, {
            code = error.code, message = sentence(error), fixed = error.message,
            expected = error.expected, found = error.found, suggestion = suggestion,
            is_secret = error.is_secret,
            hint = not suggestion and hint_of(error) or nil,
            at_key = is_key or error.at_key or error.code == LATER,
            shown = is_key and #full - 1 or nil,
        })
    end
end

--- Adds "expected …, found …" about a value that no schema has checked.
function M:add_mismatch(path, expected, value)
    local found = describe.found(value)
    self:add(path, {
        code = 'MG1031', expected = expected, found = found,
        message = ('expected %s, found %s'):format(expected, found),
    })
end

--- Sorts by place and returns the array, which also has the fields errors and warnings (counts).
-- @treturn table
function M:finish()
    for i, finding in ipairs(self.list) do
        finding.seq = i
    end
    table.sort(self.list, function(a, b)
        local la, lb = a.line or 0, b.line or 0
        if la ~= lb then
            return la < lb
        end
        local ca, cb = a.column or 0, b.column or 0
        if ca ~= cb then
            return ca < cb
        end
        return a.seq < b.seq
    end)
    for _, finding in ipairs(self.list) do
        finding.seq = nil
    end
    self.list.errors, self.list.warnings = self.errors, self.warnings
    return self.list
end

return M
