-- SPDX-License-Identifier: Apache-2.0
--
-- The rockspec lists every module that ships, and only files that exist. After adding one:
-- luajit tools/gen_rockspec.lua.
local tree = require('spec.lua.support.tree')

local PATH = 'rockspec/moongate-scm-1.rockspec'

local function read_modules(path)
    local rockspec = {}
    setfenv(assert(loadfile(path)), rockspec)()
    return rockspec.build.modules
end

local function shipped_files()
    local _, output = tree.run("find lua plugins -name '*.lua' ! -name '*_spec.lua'")
    local files = {}
    for path in output:gmatch('[^\n]+') do
        files[#files + 1] = path
    end
    return files
end

describe('the rockspec', function()
    local modules, listed

    before_each(function()
        modules, listed = read_modules(PATH), {}
        for _, path in pairs(modules) do
            listed[path] = true
        end
    end)

    it('lists every Lua file that ships', function()
        local missing = {}
        for _, path in ipairs(shipped_files()) do
            if not listed[path] then
                missing[#missing + 1] = path
            end
        end
        assert.same({}, missing)
    end)

    it('lists only files that exist', function()
        local gone = {}
        for _, path in pairs(modules) do
            local file = io.open(path)
            if file then
                file:close()
            else
                gone[#gone + 1] = path
            end
        end
        assert.same({}, gone)
    end)

    it('names modules as `require` does', function()
        for name, path in pairs(modules) do
            local file = name:gsub('^moongate%.plugins%.', 'plugins.'):gsub('%.', '/')
            if not path:match('^plugins/') then
                file = 'lua/' .. file
            end
            -- NAME.redis.lua, a script for Redis, is a file of moongate.redis.script
            path = path:gsub('%.redis%.lua$', '/redis.lua')
            assert.is_truthy(path == file .. '.lua' or path == file .. '/init.lua', path)
        end
    end)

    it('has a generator that finds files at every depth and leaves specs out', function()
        local root = tree.make({
            [PATH] = 'build = {\n    modules = {\n        old = \'old.lua\',\n    },\n}\n',
            ['lua/moongate/init.lua'] = '',
            ['lua/moongate/a/b.lua'] = '',
            ['plugins/rate-limit/handler.lua'] = '',
            ['plugins/rate-limit/rate-limit_spec.lua'] = '',
        })
        local status, output = tree.run('luajit tools/gen_rockspec.lua', root)
        local found = read_modules(root .. '/' .. PATH)
        tree.remove(root)
        assert.equal('', output)
        assert.equal(0, status)
        assert.same({
            ['moongate'] = 'lua/moongate/init.lua',
            ['moongate.a.b'] = 'lua/moongate/a/b.lua',
            ['moongate.plugins.rate-limit.handler'] = 'plugins/rate-limit/handler.lua',
        }, found)
    end)
end)
