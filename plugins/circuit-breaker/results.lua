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

-- Outcomes of clients that went away.
local CLIENT_LEFT = 'client_abort client_abort_request client_stalled'

local function numbers_of(words)
    local set = {}
    for word in words:gmatch('%S+') do
        set[breakers.outcome_of(word)] = true
    end
    return set
end

local without_head, broken_body = numbers_of(WITHOUT_HEAD), numbers_of(BROKEN_BODY)
local client_left = numbers_of(CLIENT_LEFT)
local PROBE_TIMEOUT = breakers.outcome_of('probe_timeout')

local CLASSES = { failure = FAILURE, success = SUCCESS, ignore = breakers.NONE }

-- As the expression says; a failure of the network stays one.
local function classified(classify, result, status)
    local ok, class = classify(status > 0 and status or nil)
    if not ok or class == nil then
        return result
    elseif not CLASSES[class] then
        classify:refuse(class, 'failure, success, ignore or nil')
        return result
    elseif class == 'failure' and result == NETWORK then
        return NETWORK
    end
    return CLASSES[class]
end

--- The running request's result, as far as it is known.
-- @tparam table entry of entry.lua
-- @treturn number|nil nil: not known yet, or nothing that is said about the upstream
function M.of_head(entry)
    local status, outcome = breakers.upstream_status(), breakers.outcome()
    local result
    if status > 0 then
        result = entry.conf.failure_statuses[status] and FAILURE or SUCCESS
    elseif without_head[outcome] then
        result = NETWORK
    end
    if result and entry.classify and outcome ~= PROBE_TIMEOUT then
        return classified(entry.classify, result, status)
    end
    return result
end

--- What is recorded of a request that ended without a result.
-- @treturn number
function M.of_nothing()
    local left = breakers.upstream_status() == 0 and client_left[breakers.outcome()]
    return left and breakers.LEFT or breakers.NONE
end

--- Did the upstream break the body off? That is one more failure.
-- @treturn boolean
function M.body_broke()
    return breakers.upstream_status() > 0 and broken_body[breakers.outcome()] == true
end

return M
