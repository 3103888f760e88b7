-- SPDX-License-Identifier: Apache-2.0
--
-- Reads the Prometheus text format strictly: a line of another form is an error, and so is
-- a series that comes twice or stands away from its family.
--
--     local found = metrics.parse(text)
--     found:value('moongate_http_requests_total', { code = '200' })    -- sum of what matches
--     found.families.moongate_connections.type                         -- 'gauge'
local M = {}

local Metrics = {}
Metrics.__index = Metrics

local ESCAPES = { n = '\n', ['"'] = '"', ['\\'] = '\\' }

-- The labels behind the brace at `at`, and the place behind the closing one.
local function labels_at(line, at)
    local labels = {}
    while line:sub(at, at) ~= '}' do
        local name, from = line:match('^([%a_][%w_]*)="()', at)
        assert(name, 'bad label in: ' .. line)
        local parts, stop = {}, from
        while true do
            local text, mark, next = line:match('^([^"\\]*)(["\\])()', stop)
            assert(text, 'a value without an end in: ' .. line)
            parts[#parts + 1] = text
            stop = next
            if mark == '"' then
                break
            end
            parts[#parts + 1] = assert(ESCAPES[line:sub(stop, stop)], 'bad escape in: ' .. line)
            stop = stop + 1
        end
        assert(labels[name] == nil, 'a label twice in: ' .. line)
        labels[name] = table.concat(parts)
        at = line:sub(stop, stop) == ',' and stop + 1 or stop
    end
    return labels, at + 1
end

local function family_of(found, name)
    for _, suffix in ipairs({ '', '_bucket', '_sum', '_count' }) do
        local family = name:sub(-#suffix) == suffix and found.families[name:sub(1, -#suffix - 1)]
        if suffix == '' then
            family = found.families[name]
        end
        if family and (suffix == '' or family.type == 'histogram') then
            return family
        end
    end
    error('no TYPE for ' .. name)
end

local function add_sample(found, seen, line)
    local name, at = line:match('^([%a_:][%w_:]*)()')
    assert(name, 'bad line: ' .. line)
    local labels = {}
    if line:sub(at, at) == '{' then
        labels, at = labels_at(line, at + 1)
    end
    local value = line:sub(at):match('^ (%S+)$')
    assert(value and (tonumber(value) or value:find('^[+-]?Inf$') or value == 'NaN'),
        'bad value: ' .. line)
    local key = line:sub(1, at - 1)
    assert(not seen[key], 'twice: ' .. key)
    seen[key] = true
    local family = family_of(found, name)
    assert(family == found.last, 'away from its family: ' .. line)
    found.samples[#found.samples + 1] = {
        name = name, labels = labels, value = tonumber(value) or value, family = family }
end

--- @tparam string text
function M.parse(text)
    local found = setmetatable({ families = {}, samples = {} }, Metrics)
    local seen = {}
    assert(text:sub(-1) == '\n', 'the last line has no end')
    for line in text:gmatch('(.-)\n') do
        local help_name, help = line:match('^# HELP (%S+) (.+)$')
        local type_name, kind = line:match('^# TYPE (%S+) (%l+)$')
        if help_name then
            assert(not found.families[help_name], 'a family twice: ' .. help_name)
            found.last = { name = help_name, help = help }
            found.families[help_name] = found.last
        elseif type_name then
            assert(found.last.name == type_name, 'TYPE without HELP: ' .. type_name)
            found.last.type = kind
        else
            add_sample(found, seen, line)
        end
    end
    return found
end

--- Sum of the samples of that name that have these labels; nil: there is none.
function Metrics:value(name, labels)
    local sum
    for _, sample in ipairs(self.samples) do
        local same = sample.name == name
        for label, value in pairs(labels or {}) do
            same = same and sample.labels[label] == value
        end
        if same then
            sum = (sum or 0) + sample.value
        end
    end
    return sum
end

--- The number of samples of that name.
function Metrics:count(name)
    local count = 0
    for _, sample in ipairs(self.samples) do
        count = count + (sample.name == name and 1 or 0)
    end
    return count
end

return M
