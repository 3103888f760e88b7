-- SPDX-License-Identifier: Apache-2.0
-- Sinks of the type lua: an expression that delivers batches of lines, run in a timer.
local ngx = ngx
local expression = require 'moongate.expression'

local M = {}

-- What is waiting, a batch after the other; at the end of the generation for the last time.
local function deliver(log, send)
    local lines = log:take()
    while lines do
        local ok, value = send(lines)
        local delivered = ok and value ~= false
        log:taken(delivered)
        lines = delivered and log:take() or nil
    end
end

-- The next turn is arranged first: this one may be cut by a limit.
local function turn(premature, log, send, seconds)
    if not premature then
        ngx.timer.at(seconds, turn, log, send, seconds)
    end
    deliver(log, send)
end

--- Delivers from now on what is written to a log.
-- @tparam table log of moongate.access_log
-- @tparam string text `lua:` and an expression that gets `lines`
-- @tparam number flush_ms how often
function M.start(log, text, flush_ms)
    local send = expression.compile(text, { option = 'sinks.function', names = { 'lines' } })
    local seconds = flush_ms / 1000
    ngx.timer.at(seconds, turn, log, send, seconds)
end

return M
