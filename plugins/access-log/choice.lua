-- SPDX-License-Identifier: Apache-2.0
-- Which requests get a line: `when`, then `always`, then `sample`.
local access_log = require 'moongate.access_log'
local scope = require 'moongate.plugins.access-log.scope'

local M = {}

local Choice = {}
Choice.__index = Choice

--- Of a checked configuration.
-- @tparam table conf
-- @treturn table
function M.new(conf)
    local outcomes = {}
    for _, word in ipairs(conf.always.outcomes) do
        outcomes[word] = true
    end
    return setmetatable({
        never = conf.when == false,
        when = scope.is_expression(conf.when) and scope.compile(conf.when, 'when') or nil,
        sample = conf.sample, always = conf.always, outcomes = outcomes,
        member = (',"sample":%.6g'):format(conf.sample),
    }, Choice)
end

-- On an error the line is written.
local function passes(self, record)
    if self.never then
        return false
    elseif not self.when then
        return true
    end
    local ok, value = self.when(record)
    return not ok or (value ~= nil and value ~= false)
end

local function is_always(self)
    local always = self.always
    local about, outcome = access_log.about()
    return about.status >= always.status_min or (always.denied and about.denied ~= 0)
        or about.total_ms >= always.slow or self.outcomes[outcome] or false, about.share
end

--- Does every request get a line?
-- @treturn boolean
function Choice:is_all()
    return not self.never and not self.when and self.sample >= 1
end

--- Does the running request get a line?
-- @tparam table|nil record where there are expressions
-- @treturn boolean
-- @treturn string the member of a line that says that others were left out
function Choice:take(record)
    if not passes(self, record) then
        access_log.filtered('when')
        return false, ''
    elseif self.sample >= 1 then
        return true, ''
    end
    local always, share = is_always(self)
    if always then
        return true, ''
    elseif share < self.sample then
        return true, self.member
    end
    access_log.filtered('sample')
    return false, ''
end

return M
