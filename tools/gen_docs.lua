-- SPDX-License-Identifier: Apache-2.0
--
-- luajit tools/gen_docs.lua [--check]
--
-- Writes the generated parts of the documents, each between two comments:
--
--     <!-- generated: gateway -->                the section gateway: of the configuration
--     <!-- generated: entity services -->        one collection; `entity common` for all of them
--     <!-- generated: refused -->                collections of Kong that are refused
--     <!-- generated: plugin cors -->            the options of a plugin
--     <!-- generated: fuzzing -->               how long each fuzz target ran, what it reached
--     <!-- generated: functions PATH PREFIX [NAME...] -->   of a Lua module, from their comments
--     <!-- end of generated -->
--
-- With --check nothing is written; it ends with 1 and the names of the files that are not as they
-- would be written. A key without a description ends it with 1 as well. Run from the root.
package.path = './?.lua;' .. package.path
require('tools.modules').use(arg)
local documents = require 'tools.docs'

local is_check = arg[1] == '--check'
if arg[1] and not is_check or arg[2] then
    io.stderr:write('usage: luajit tools/gen_docs.lua [--check]\n')
    os.exit(2)
end

local failed = false
for _, path in ipairs(documents.files()) do
    local old, new, mistakes = documents.rewrite(path)
    for _, mistake in ipairs(mistakes) do
        io.stderr:write(('%s: %s\n'):format(path, mistake))
        failed = true
    end
    if new ~= old and is_check then
        io.stderr:write(path .. ': not up to date; run luajit tools/gen_docs.lua\n')
        failed = true
    elseif new ~= old then
        local file = assert(io.open(path, 'wb'))
        file:write(new)
        file:close()
        print('wrote ' .. path)
    end
end
os.exit(failed and 1 or 0)
