-- SPDX-License-Identifier: Apache-2.0
--
-- A small tree of files in a temporary folder, and commands run over it.
--
--     local root = tree.make({ ['core/base/err.h'] = '#pragma once\n' })
--     local status, output = tree.run('luajit tools/check_layers.lua', root)
--     tree.remove(root)
local M = {}

local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- Writes the files of a new temporary tree.
-- @tparam {string=string} files path -> content
-- @treturn string the folder; its name has a space, as a user's may
function M.make(files)
    local root = os.tmpname()
    assert(os.remove(root))
    root = root .. ' tree'
    for path, content in pairs(files) do
        local full = root .. '/' .. path
        assert(os.execute('mkdir -p ' .. quote(full:match('^(.*)/'))) == 0)
        local file = assert(io.open(full, 'wb'))
        file:write(content)
        file:close()
    end
    return root
end

--- Removes a tree that `make` made.
-- @tparam string root
function M.remove(root)
    assert(root:match(' tree$'))
    os.execute('rm -rf ' .. quote(root))
end

--- Runs a command with more arguments, quoted.
-- @tparam string command in shell syntax
-- @tparam string ... arguments
-- @treturn number exit status
-- @treturn string stdout and stderr
function M.run(command, ...)
    for _, argument in ipairs({ ... }) do
        command = command .. ' ' .. quote(argument)
    end
    local pipe = assert(io.popen(command .. ' 2>&1; echo "status=$?"'))
    local output, status = pipe:read('*a'):match('^(.*)status=(%d+)\n$')
    pipe:close()
    return tonumber(status), output
end

return M
