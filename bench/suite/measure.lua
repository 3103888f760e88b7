-- SPDX-License-Identifier: Apache-2.0
--
-- One side of a comparison under load: its process, its load generator, and what a burst cost.
--
--     local side = measure.open(scenario_side, peer, { origin =, cpus =, redis =, body = })
--     local found = side:burst(1)          -- requests, rate, p50_us, ..., cpu_us
--     side:burst(1, 3000)                  -- at 3,000 requests a second
--     side:calls(0.5)                      -- system calls a request
local cjson = require 'cjson'
local launch = require 'bench.peers.launch'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = {}
local Side = {}
Side.__index = Side

local LOAD_CPU = '1'
local SECONDS = 90 -- for a warm-up, and for what a burst takes beside its length

--- CPU time of all threads of these processes, ns.
function M.cpu_ns(pids)
    local sum = 0
    for _, pid in ipairs(pids) do
        local lines = launch.output('cat /proc/' .. pid .. '/task/*/schedstat')
        for ns in lines:gmatch('(%d+) %d+ %d+') do -- of a thread
            sum = sum + tonumber(ns)
        end
    end
    return sum
end

--- Memory of these processes, bytes: Rss, Pss or Anonymous.
function M.memory(pids, what)
    local sum = 0
    for _, pid in ipairs(pids) do
        local text = launch.output('cat /proc/' .. pid .. '/smaps_rollup')
        sum = sum + 1024 * tonumber(text:match('\n' .. what .. ':%s+(%d+) kB') or 0)
    end
    return sum
end

local function setup_of(side, o)
    local setup = { workers = 1, routes = 1, connections = side.connections or 64,
        redis = o.redis }
    for key, value in pairs(side.setup or {}) do
        setup[key] = value
    end
    return setup
end

--- Why this peer cannot be that side.
-- @treturn string|nil
function M.reason(side, peer, o)
    return peer.missing() or peer.unable(setup_of(side, o))
end

--- Starts the peer and its load.
-- @tparam table side of a scenario
-- @tparam table peer its module
-- @tparam table o origin, redis (ports), body (octets of an answer), idle (connections)
-- @treturn Side
function M.open(side, peer, o)
    local setup = setup_of(side, o)
    local opened = setmetatable({ label = side.label or side.peer, peer = peer, side = side },
        Side)
    local folder = process.folder()
    posix.chmod(folder, 493) -- 0755: workers may have another user
    opened.process = peer.start({ folder = folder, origin = o.origin, setup = setup,
        cpus = setup.workers > 1 and '0,1' or '0' })
    opened.pids = launch.workers(peer, opened.process.pid, setup.workers)
    opened.fresh_pss_bytes = M.memory(opened.pids, 'Pss')
    opened.folder = folder
    return opened
end

--- Starts the load generator, and waits until each connection has been answered once.
function Side:connect(connections, body)
    local fifo = self.folder .. '/commands' .. connections
    assert(os.execute(("mkfifo '%s'"):format(fifo)) == 0)
    local argv = { 'taskset', '-c', LOAD_CPU,
        process.absolute:match('^(.*)/') .. '/bench_load', '--port', tostring(self.process.port),
        '--connections', tostring(connections), '--commands', fifo, '--body', tostring(body),
        '--routes', tostring(self.side.routes or 1) }
    if self.side.close then
        argv[#argv + 1] = '--close'
    end
    self.load = process.start(argv)
    self.fifo = fifo
    assert(self.load:wait_text('ready\n', SECONDS, 'out'),
        self.label .. ': the load did not start: ' .. self.load.err)
    self.load.out = ''
end

local function command(self, text)
    local file = assert(io.open(self.fifo, 'w'))
    file:write(text, '\n')
    file:close()
end

--- A burst of load.
-- @tparam number seconds
-- @tparam[opt] number rate requests a second; else as fast as answers come
-- @treturn table what bench_load tells, and cpu_us: CPU of a request
function Side:burst(seconds, rate)
    local before = M.cpu_ns(self.pids)
    command(self, ('run %g %g'):format(seconds, rate or 0))
    assert(self.load:wait_text('}\n', seconds + SECONDS, 'out'),
        self.label .. ': the load does not answer: ' .. self.load.err)
    local used = M.cpu_ns(self.pids) - before
    local found = cjson.decode(self.load.out)
    self.load.out = ''
    found.cpu_us = found.requests > 0 and used > 0 and used / 1000 / found.requests or nil
    return found
end

-- The sum of the column `calls` of strace -c, without waiting and the ends of signals.
local function count_calls(text)
    local sum = 0
    for line in text:gmatch('[^\n]+') do
        local count, rest = line:match('^%s*[%d.]+%s+[%d.]+%s+%d+%s+(%d+)%s+(.+)$')
        local name = count and rest:match('([%w_]+)%s*$')
        if name and name ~= 'total' and name ~= 'rt_sigreturn' and not name:find('^epoll_p?wait')
        then
            sum = sum + tonumber(count)
        end
    end
    return sum
end

--- System calls of a request, epoll_wait left out.
-- @treturn number|nil nil where strace is not there or may not trace
function Side:calls(seconds)
    local path = self.folder .. '/calls'
    local argv = { 'strace', '-c', '-f', '-o', path }
    for _, pid in ipairs(self.pids) do
        argv[#argv + 1] = '-p'
        argv[#argv + 1] = tostring(pid)
    end
    local ok, strace = pcall(process.start, argv)
    if not ok or not strace:wait_text('attached', 5) then
        return nil
    end
    local found = self:burst(seconds)
    strace:signal('INT')
    strace:wait()
    return found.requests > 0 and count_calls(process.read(path)) / found.requests or nil
end

--- How many lines its log has; a peer with policies writes folder/access.log.
function Side:log_lines()
    return tonumber(launch.output(("wc -l '%s/access.log'"):format(self.folder)):match('^%d+')) or 0
end

--- Ends the load, and closes its connections.
function Side:disconnect()
    if self.load then
        self.load:stop()
        self.load = nil
    end
end

function Side:close()
    self:disconnect()
    self.process:stop()
end

return M
