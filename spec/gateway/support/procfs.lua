-- SPDX-License-Identifier: Apache-2.0
--
-- What /proc tells about a running process: memory, descriptors, CPU time.
--
--     local before = procfs.rss_bytes(pid)
--     ...
--     assert.is_true(procfs.rss_bytes(pid) - before < 2 * 1024 * 1024)
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

--- How many descriptors it has open.
function M.open_files(pid)
    local pipe = assert(io.popen(("ls -1 '/proc/%d/fd'"):format(pid)))
    local _, count = pipe:read('*a'):gsub('\n', '')
    pipe:close()
    return count
end

return M
