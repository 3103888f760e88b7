-- SPDX-License-Identifier: Apache-2.0
--
-- What /proc tells about a running process: memory, descriptors, CPU time.
--
--     local before = procfs.rss_bytes(pid)
--     ...
--     assert.is_true(procfs.rss_bytes(pid) - before < 2 * 1024 * 1024)
local posix = require 'spec.gateway.support.posix'

local M = {}

local function read(path)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    return text
end

local function field_of_rollup(pid, name)
    local text = read(('/proc/%d/smaps_rollup'):format(pid))
    return 1024 * assert(tonumber(text:match('\n' .. name .. ':%s+(%d+) kB')), text)
end

--- Resident memory, shared pages and files included; bytes.
function M.rss_bytes(pid)
    return field_of_rollup(pid, 'Rss')
end

--- Memory of the process's own: heap, stacks, what it changed since its fork; bytes.
function M.anonymous_bytes(pid)
    return field_of_rollup(pid, 'Anonymous')
end

--- CPU time that the process's first thread has used; milliseconds.
function M.cpu_ms(pid)
    return tonumber(read(('/proc/%d/schedstat'):format(pid)):match('^%d+')) / 1e6
end

--- What the kernel may keep of one direction of a TCP connection, in both its sockets; bytes.
function M.socket_bytes()
    local sum = 0
    for _, name in ipairs({ 'tcp_rmem', 'tcp_wmem' }) do
        sum = sum + tonumber(read('/proc/sys/net/ipv4/' .. name):match('(%d+)%s*$'))
    end
    return sum
end

--- Waits until the process has nothing to do: for a tenth of a second it hardly ran.
-- @tparam number pid
-- @tparam[opt=60] number seconds at most
-- @treturn boolean
function M.wait_rest(pid, seconds)
    local deadline = posix.now() + (seconds or 60)
    repeat
        local before = M.cpu_ms(pid)
        posix.pause(0.1)
        if M.cpu_ms(pid) - before < 2 then
            return true
        end
    until posix.now() > deadline
    return false
end

--- Waits until a SIGSTOP that was sent has taken effect: a signal is not there at once.
-- @tparam number pid
-- @treturn boolean
function M.wait_stopped(pid)
    local deadline = posix.now() + 60
    repeat
        if read(('/proc/%d/stat'):format(pid)):match('^.*%) (%a)') == 'T' then
            return true
        end
        posix.pause(0.001)
    until posix.now() > deadline
    return false
end

--- How many descriptors it has open.
function M.open_files(pid)
    local pipe = assert(io.popen(("ls -1 '/proc/%d/fd'"):format(pid)))
    local _, count = pipe:read('*a'):gsub('\n', '')
    pipe:close()
    return count
end

return M
