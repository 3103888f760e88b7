-- SPDX-License-Identifier: Apache-2.0
--
-- What the modules of the peers share: starting a program on given CPUs and waiting until its port
-- answers. Each peer is a module of this folder:
--
--     M.missing()         nil, or the reason why it cannot run here
--     M.unable(setup)     nil, or the reason why it cannot do this
--     M.version()         text
--     M.has_master        true where children of the process do the work
--     M.start(o)          its process (spec.gateway.support.process), with `port`
--
-- `o` has folder (its own), origin (a port of 127.0.0.1), cpus ('0', '0,1') and setup:
--   workers (1), routes (1), connections (of clients, 64), and what only some can do:
--   policies ('buffered' or 'line': rate limit, circuit breaker and a JSON line for each request,
--   written through a buffer or one by one), redis (a port: the limit is counted there),
--   buffers (octets, of answers)
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = {}

--- The folder that script/bench peers --install fills with Debian's packages.
M.DEBIAN = '.deps/peers'
--- And with those of npm.
M.NODE = 'build/bench-node'

M.INSTALL = 'script/bench peers --install gets it'

--- What a command prints, its errors too.
function M.output(command)
    local pipe = assert(io.popen(command .. ' 2>&1'))
    local text = pipe:read('*a')
    pipe:close()
    return text
end

function M.exists(path)
    local file = io.open(path)
    if file then
        file:close()
    end
    return file ~= nil
end

--- A program in the path, in /usr/sbin or in the folder of Debian's packages.
-- @treturn string|nil
function M.find(name)
    local found = M.output(("PATH=$PATH:/usr/sbin command -v '%s'"):format(name)):match('^/%S+')
    local unpacked = ('%s/usr/sbin/%s'):format(M.DEBIAN, name)
    return found or M.exists(unpacked) and unpacked or nil
end

--- The environment in which unpacked programs find their libraries.
function M.environment()
    return { LD_LIBRARY_PATH = M.DEBIAN .. '/usr/lib/x86_64-linux-gnu' }
end

local function children_of(pid)
    local list = {}
    for child in M.output('cat /proc/' .. pid .. '/task/*/children'):gmatch('%d+') do
        list[#list + 1] = tonumber(child)
    end
    return list
end

--- The processes that do the work: the children of a master, once there are so many, or itself.
-- @tparam table peer its module; has_master where it has one
-- @tparam number pid of what was started
-- @tparam number count workers
-- @treturn table
function M.workers(peer, pid, count)
    if not peer.has_master then
        return { pid }
    end
    local deadline = posix.now() + process.deadline
    local list
    repeat
        list = children_of(pid)
        if #list == count then
            return list
        end
        posix.pause(0.02)
    until posix.now() > deadline
    error(('%d workers, not %d'):format(#list, count), 0)
end

--- Starts a program on these CPUs and waits until its port takes connections.
-- @tparam table argv
-- @tparam string cpus
-- @tparam number port
-- @tparam[opt] table env
-- @treturn table its process
function M.start(argv, cpus, port, env)
    local words = { 'taskset', '-c', cpus }
    for _, word in ipairs(argv) do
        words[#words + 1] = word
    end
    local program = process.start(words, env)
    local deadline = posix.now() + process.deadline
    local fd
    repeat
        fd = posix.connect(port, deadline)
    until fd or program:wait(0.02) or posix.now() > deadline
    if not fd then
        error(('%s did not start: %s%s'):format(argv[1], program.out, program.err), 0)
    end
    posix.close(fd)
    program.port = port
    return program
end

return M
