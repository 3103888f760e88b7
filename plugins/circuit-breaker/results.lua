-- SPDX-License-Identifier: Apache-2.0
-- What counts as which result: the upstream's status, or else why there was none.
local breakers = require 'moongate.breaker'

local M = {}

local SUCCESS, FAILURE, NETWORK = breakers.SUCCESS, breakers.FAILURE, breakers.NETWORK

-- Outcomes of requests whose upstream sent no response head. Others say nothing about the
-- upstream: the client left, a plugin answered, a limit of ours was full, the gateway drains.
local WITHOUT_HEAD = [[
    upstream_no_target upstream_dns upstream_refused upstream_connect_timeout upstream_reset
    upstream_bad_response upstream_too_large upstream_timeout probe_timeout]]

-- Outcomes of bodies that break off by the upstream's fault.
local BROKEN_BODY = 'upstream_body_reset upstream_body_timeout'

local function numbers_of(words)
    local set = {}
    for word in words:gmatch('%S+') do
        set[breakers.outcome_of(word)] = true
    end
    return set
end

local without_head, broken_body = numbers_of(WITHOUT_HEAD), numbers_of(BROKEN_BODY)

--- The running request's result, as far as it is known.
-- @tparam table conf
-- @treturn number|nil nil: ignored, or not known yet
function M.of_head(conf)
    local status = breakers.upstream_status()
    if status > 0 then
        return conf.failure_statuses[status] and FAILURE or SUCCESS
    end
    return without_head[breakers.outcome()] and NETWORK or nil
end

--- Did the upstream break the body off? That is one more failure.
-- @treturn boolean
function M.body_broke()
    return breakers.upstream_status() > 0 and broken_body[breakers.outcome()] == true
end

return M
