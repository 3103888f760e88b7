-- SPDX-License-Identifier: Apache-2.0
--
-- Names of tests as they stand in the sources, and the ids of spec/catalogue.lua at their start.
--
--     names.of_lua("it('M07 folding', fn)")                         -- { 'M07 folding' }
--     names.of_c('cmocka_unit_test(mem_01_a_late_reply_is_dropped)')
--                                                -- { 'MEM-01 a late reply is dropped' }
--     names.ids('PTH-01, PTH-05: one form')                          -- { 'PTH-01', 'PTH-05' }
local M = {}

-- `pending` is no test.
local BLOCKS = { it = true, describe = true, insulate = true, expose = true }

--- Names of tests and of blocks of tests in a spec: literals at the start of the first argument.
-- @tparam string source
-- @treturn {string,...}
function M.of_lua(source)
    local found = {}
    for word, quote, place in source:gmatch('%f[%w_]([%l_]+)%s*%(+%s*([\'"])()') do
        if BLOCKS[word] or word:match('^it_') then -- it_survives and the like make tests
            found[#found + 1] = source:match('^([^' .. quote .. '\n]*)', place)
        end
    end
    return found
end

--- Names of tests in a C test: functions in its table, by cmocka's macros or its own. An id is
-- written `mem_01_` there.
-- @tparam string source
-- @treturn {string,...}
function M.of_c(source)
    local found = {}
    for macro, name in source:gmatch('%f[%w_]([%w_]+)%(([%l%d_]+)[,)]') do
        if macro:match('^cmocka_unit_test') or macro:match('^%u[%u_]*$') then
            name = name:gsub('^(%l+)_(%d%d)_', function(area, number)
                return area:upper() .. '-' .. number .. ' '
            end):gsub('^([mr]%d%d)_', function(id)
                return id:upper() .. ' '
            end):gsub('^([ablr]%d)_', function(id)
                return id:upper() .. ' '
            end)
            found[#found + 1] = (name:gsub('_', ' '))
        end
    end
    return found
end

--- The ids at the start of a name.
-- @tparam string name
-- @treturn {string,...}
function M.ids(name)
    local found = {}
    local rest = name
    while true do
        local id = rest:match('^%u[%u%d]+%-%d%d%f[%W]') or rest:match('^[MR]%d%d%f[%W]')
            or rest:match('^[ABLR]%d%f[%W]')
        if not id then
            return found
        end
        found[#found + 1] = id
        rest = rest:sub(#id + 1):gsub('^[,: ]+', '')
    end
end

local function read(path)
    local file = assert(io.open(path))
    local text = file:read('*a')
    file:close()
    return text
end

--- All tests below some folders whose names begin with ids.
-- @tparam string ... folders
-- @treturn {string={string,...}} id -> "path: name"
function M.by_id(...)
    local found = {}
    local pipe = assert(io.popen('find ' .. table.concat({ ... }, ' ') ..
        " -name '*_spec.lua' -o -name '*_test.c' | sort"))
    for path in pipe:lines() do
        local of = path:match('%.lua$') and M.of_lua or M.of_c
        for _, name in ipairs(of(read(path))) do
            for _, id in ipairs(M.ids(name)) do
                found[id] = found[id] or {}
                table.insert(found[id], path .. ': ' .. name)
            end
        end
    end
    pipe:close()
    return found
end

return M
