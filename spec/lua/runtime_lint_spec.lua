-- SPDX-License-Identifier: Apache-2.0
-- What in a plugin's text is warned about (moongate.runtime.lint).
local lint = require 'moongate.runtime.lint'

describe('an accessor of the raw target', function()
    local function lines(text)
        local list = {}
        for i, found in ipairs(lint.raw_accessors(text)) do
            list[i] = found.line .. ' ' .. found.name
        end
        return list
    end

    it('is found by its name, with its line', function()
        assert.same({ '1 get_raw_path', '3 get_raw_target', '4 get_raw_path', '4 get_raw_target' },
            lines('local p = kong.request.get_raw_path()\n\nlocal t = request["get_raw_target"]\n'
                .. 'f(r.get_raw_target, r.get_raw_path)'))
    end)

    it('is none in a longer name, in a comment, or where the line says that it is meant', function()
        assert.same({}, lines('get_raw_path_x() my_get_raw_path()\nrequest.get_raw_query()\n'
            .. '-- get_raw_path\nx = 1 -- not get_raw_target\n'
            .. 'log(request.get_raw_path()) -- only to be read: lint: raw\n'))
        assert.same({ '1 get_raw_path' }, lines('x("lint: raw", get_raw_path())'))
    end)

    it('is looked for in all modules of a plugin, and in no other', function()
        local function module(path, text)
            return { path = path, text = text }
        end
        assert.same({ 'a/handler.lua:1: get_raw_path', 'a/x.lua:2: get_raw_target' },
            lint.of_plugin('moongate.plugins.a', {
                ['moongate.plugins.a.x'] = module('a/x.lua', '\nget_raw_target'),
                ['moongate.plugins.a.handler'] = module('a/handler.lua', 'get_raw_path'),
                ['moongate.plugins.ab.handler'] = module('ab/handler.lua', 'get_raw_path'),
                ['moongate.pdk.request'] = module('request.lua', 'get_raw_path'),
            }))
    end)
end)
