-- SPDX-License-Identifier: Apache-2.0
-- A gateway under test: the object that gateway.start gives.
--
-- Nothing runs by itself: each call here lets the gateway and the test's upstream work until both
-- have nothing to do. With the virtual clock the time then jumps to what is due next, so no test
-- sleeps.
local C = require('moongate.runtime.ffi').C
local client = require 'moongate.test.client'
local log = require 'moongate.test.log'
local native = require 'moongate.test.native'
local source = require 'moongate.test.source'
local upstream = require 'moongate.test.upstream'

local Gateway = {}
Gateway.__index = Gateway

local START_MS = 1767225600000 -- 2026-01-01T00:00:00Z, where a virtual clock stands at first
local PATIENCE_MS = 24 * 3600 * 1000 -- of virtual time: longer than anything waits
local REAL_PATIENCE_MS = 60 * 1000   -- the same by the real clock
local POLL_MS = 5                    -- real wait for work outside the loop ...
local POLLS = 40                     -- ... at most so often before the virtual clock goes on
local BUILD_POLLS = 12000            -- a build is waited for
local OPTIONS = { upstream = true, clock = true, plugins_path = true, env = true }

-- ---- the loop ----------------------------------------------------------------------------------

local function collect(self)
    log.append(self.logs, self.native:log())
    local ended = self.native:ended()
    while ended do
        local call = self.calls[ended.connection]
        if call then
            call.ended = call.ended or ended
        end
        ended = self.native:ended()
    end
end

--- Does all that can happen now.
function Gateway:progress()
    if not self.native then
        error('this gateway was stopped', 0)
    end
    repeat
        local worked = self.native:turn()
        worked = self.upstream:turn() or worked
    until not worked
    collect(self)
end

-- Waits in real time for work outside the loop; false when there is none, or it takes too long.
local function wait_outside(self, polls)
    for _ = 1, polls do
        if not self.native:is_busy() then
            return false
        elseif self.native:wait(POLL_MS) then
            return true
        end
    end
    return false
end

-- Time goes on to what is due next.
local function step(self, from_ms, what)
    if wait_outside(self, self.native:is_building() and BUILD_POLLS or POLLS) then
        return
    end
    local now, next_ms = self.native:now_ms(), self.native:next_ms()
    local patience = self.is_virtual and PATIENCE_MS or REAL_PATIENCE_MS
    if (not next_ms and self.is_virtual) or now - from_ms > patience then
        error(what .. ' does not come', 0)
    elseif self.is_virtual then
        self.native:advance(next_ms - now)
    else
        self.native:wait(math.max(0, math.min(100, (next_ms or now + 100) - now)))
    end
end

--- Runs until done() is true.
-- @tparam function done looked at whenever nothing more happens
-- @tparam string what for the error when it cannot become true
function Gateway:run_until(done, what)
    local from_ms = self.native:now_ms()
    self:progress()
    while not done() do
        step(self, from_ms, what)
        self:progress()
    end
end

--- Lets what needs no time end: log handlers, files being written.
function Gateway:settle()
    self:progress()
    while wait_outside(self, POLLS) do
        self:progress()
    end
end

--- Moves the clock and runs what is due, in order. With the real clock it waits.
-- @tparam number seconds whole milliseconds count, rounded up
function Gateway:advance(seconds)
    local target = self.native:now_ms() + math.ceil(seconds * 1000)
    self:settle()
    local now = self.native:now_ms()
    while now < target do
        if self.is_virtual then
            self.native:advance(math.min(target, self.native:next_ms() or target) - now)
        else
            self.native:wait(math.min(100, math.ceil(target - now)))
        end
        self:settle()
        now = self.native:now_ms()
    end
end

-- ---- requests ----------------------------------------------------------------------------------

--- Starts a request.
-- @tparam table o { method, path, query, headers, body | json | form, host, client_ip }
-- @treturn table call; call:wait() gives the answer
function Gateway:send(o)
    self:progress()
    return client.send(self, o)
end

--- Makes a request and waits for its end.
-- @treturn table { status, headers, body, json(), upstream, outcome, route, plugins }
function Gateway:request(o)
    return self:send(o):wait()
end

for _, method in ipairs({ 'get', 'post', 'put', 'patch', 'delete', 'head', 'options' }) do
    Gateway[method] = function(self, path, o)
        local ask = {}
        for key, value in pairs(o or {}) do
            ask[key] = value
        end
        ask.method, ask.path = method:upper(), path
        return self:request(ask)
    end
end

--- The request that an upstream got last with that request id.
function Gateway:upstream_request(id)
    if not id or id == '' then
        return nil
    end
    for i = #self.upstream.requests, 1, -1 do
        local request = self.upstream.requests[i]
        for _, value in pairs(request.headers) do
            if value == id then
                return request
            end
        end
    end
    return nil
end

-- ---- metrics ---------------------------------------------------------------------------------

--- The value of a metric: the sum of its series that have these labels. A histogram's count and sum
-- are found under its name with `_count` and `_sum`.
-- @tparam string name whole, such as `moongate_plugin_NAME_hits_total`
-- @tparam[opt] table labels { kind = 'image' }; those left out may have any value
-- @treturn number|nil nil: there is no such series
function Gateway:metric(name, labels)
    self:settle()
    local sum
    for line in self.native:metrics():gmatch('[^\n]+') do
        local found, rest, value = line:match('^([%w_:]+)(.-) (%S+)$')
        local same = found == name
        for label, wanted in pairs(same and labels or {}) do
            local text = tostring(wanted):gsub('[\\"]', '\\%0'):gsub('\n', '\\n')
            local pair = ('%s="%s"'):format(label, text)
            same = same and (rest:find('{' .. pair, 1, true) or rest:find(',' .. pair, 1, true))
        end
        if same then
            sum = (sum or 0) + tonumber(value)
        end
    end
    return sum
end

-- ---- life --------------------------------------------------------------------------------------

-- Sets variables for the time of a call.
local function with_env(env, fn)
    local before = {}
    for name, value in pairs(env or {}) do
        before[name] = os.getenv(name) or false
        C.mg_ffi_test_setenv(name, tostring(value))
    end
    local ok, result = pcall(fn)
    for name, value in pairs(before) do
        C.mg_ffi_test_setenv(name, value or nil)
    end
    if not ok then
        error(result, 0)
    end
    return result
end

-- true, or nil and the report.
local function load(self, text_source)
    local before = self.native:generation()
    local file, text = source.read(text_source, self.opts)
    local started = with_env(self.opts.env, function()
        return self.native:load(file, text)
    end)
    if started then
        self:run_until(function()
            return not self.native:is_building()
        end, 'the generation')
        self:progress()
    end
    if self.native:generation() == before then
        return nil, self.native:report()
    end
    return true
end

--- Replaces the configuration.
-- @param new_source as for gateway.start
-- @treturn true|nil; nil, the report of all errors
function Gateway:reload(new_source)
    self:progress()
    return load(self, new_source)
end

--- Ends it; what is under way is cut.
function Gateway:stop()
    if self.native then
        local failure = self.upstream.failure
        self.native:close()
        self.native = nil
        if failure then
            error('the upstream function failed: ' .. tostring(failure), 0)
        end
    end
end

local M = {}

local function check_options(opts)
    for key in pairs(opts) do
        if not OPTIONS[key] then
            error(("gateway.start has no option '%s'"):format(tostring(key)), 0)
        end
    end
    if opts.upstream == 'real' then
        error("upstream = 'real' is not supported yet", 0)
    end
    if opts.clock and opts.clock ~= 'virtual' and opts.clock ~= 'real' then
        error("clock must be 'virtual' or 'real'", 0)
    end
end

--- Starts a gateway.
-- @param from file name, YAML text or Lua table
-- @tparam[opt] table opts upstream ("echo", a function or a table), clock ("virtual" or "real"),
-- plugins_path (folders), env (variables)
-- @treturn table gateway; raises with the report when the configuration is refused
function M.start(from, opts)
    opts = opts or {}
    check_options(opts)
    local self = setmetatable({ opts = opts, logs = {}, calls = {},
        is_virtual = opts.clock ~= 'real' }, Gateway)
    self.native = native.open({ virtual = self.is_virtual, wall_ms = START_MS })
    local ok, err = pcall(function()
        self.upstream = upstream.new(opts.upstream, function()
            return self.native:accept()
        end)
        local loaded, report = load(self, from)
        if not loaded then
            error('the configuration is refused:\n' .. report, 0)
        end
    end)
    if not ok then
        self.native:close()
        self.native = nil
        error(err, 0)
    end
    return self
end

return M
