-- SPDX-License-Identifier: Apache-2.0
--
-- luajit tools/gen_rockspec.lua [ROOT]
--
-- Rewrites the list of modules in rockspec/moongate-scm-1.rockspec from what lies in lua/ and
-- plugins/. Specs stay out; a plugin's files become moongate.plugins.<folder>.<file>.
local here = arg[0]:match('^(.*)/[^/]*$') or '.'
package.path = here .. '/?.lua;' .. package.path
local source = require('source')

local ROCKSPEC = 'rockspec/moongate-scm-1.rockspec'

local function module_of(path)
    local name = path:gsub('%.lua$', ''):gsub('^lua/', ''):gsub('^plugins/', 'moongate/plugins/')
    return (name:gsub('/init$', ''):gsub('/', '.'))
end

local function module_lines(root)
    local lines = {}
    for _, path in ipairs(source.files(root, { 'lua', 'plugins' }, { 'lua' })) do
        if not path:match('_spec%.lua$') then
            lines[#lines + 1] = ("        ['%s'] = '%s',\n"):format(module_of(path), path)
        end
    end
    table.sort(lines)
    return table.concat(lines)
end

local root = arg[1] or here .. '/..'
local path = root .. '/' .. ROCKSPEC
local text = assert(source.read(path))
local before, after = text:match('^(.-    modules = {\n).-(    },\n.*)$')
assert(before, ROCKSPEC .. ': no list of modules')
local file = assert(io.open(path, 'wb'))
file:write(before, module_lines(root), after)
file:close()
