-- SPDX-License-Identifier: Apache-2.0
--
-- Load from wrk while a spec does something to the gateway.
--
--     local running = load.start(port, { connections = 16 })
--     ...
--     local result = running:stop()      -- { requests =, failed =, text = what wrk printed }
local process = require 'spec.gateway.support.process'

local M = {}
local Running = {}
Running.__index = Running

--- @tparam number port of 127.0.0.1
-- @tparam[opt] table o connections (8), close (a connection for each request), path, latency (have
--   wrk print percentiles)
function M.start(port, o)
    o = o or {}
    local argv = { 'wrk', '-t', '1', '-c', tostring(o.connections or 8), '-d', '600s', '--timeout',
        '30s' }
    if o.latency then
        argv[#argv + 1] = '--latency'
    end
    if o.close then
        argv[#argv + 1] = '-H'
        argv[#argv + 1] = 'Connection: close'
    end
    argv[#argv + 1] = ('http://127.0.0.1:%d%s'):format(port, o.path or '/')
    local wrk = process.start(argv)
    return setmetatable({ wrk = wrk }, Running)
end

local function sum_of_errors(text)
    local sum = 0
    local line = text:match('Socket errors: ([^\n]+)') or ''
    for count in line:gmatch('%d+') do
        sum = sum + tonumber(count)
    end
    return sum + (tonumber(text:match('Non%-2xx or 3xx responses: (%d+)')) or 0)
end

--- Ends the load and tells how it went.
function Running:stop()
    self.wrk:signal('INT')
    assert(self.wrk:wait(), 'wrk does not end')
    local text = self.wrk.out .. self.wrk.err
    local requests = assert(tonumber(text:match('(%d+) requests in')), text)
    return { requests = requests, failed = sum_of_errors(text), text = text }
end

return M
