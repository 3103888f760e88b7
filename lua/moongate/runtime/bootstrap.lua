-- SPDX-License-Identifier: Apache-2.0
-- The first Lua code of a state, run by core/script/vm.c. It installs the module search, changes
-- the standard library, makes the globals, and returns the functions that C calls:
--
--   load(options) -> description, snapshot, findings     see load.lua
--   configure(phase, i)              runs init_worker or configure of the i-th plugin
--   slow(phase, base, from, failed, planned)  the careful way through a chain
--   collect(base, from)              notes the configurations of places that did not run
--   fire(id, premature)              a timer
--   forget(slot)                     a request with tables of its own has ended
--   bundle(), chain(i)               for the checker, see describe.lua; loaded when needed
--   limit                            the value that C raises when a limit is reached
local boot = require 'moongate.runtime.boot'

-- loader.lua brings the real search; until it is loaded, this one finds our own modules.
local early = {}

local function read_early(name)
    if boot.bundle then
        return (boot.bundle('lua:' .. name) or ''):match('^([^\n]*)\n(.*)$')
    end
    local path = boot.lua_path .. '/' .. name:gsub('%.', '/')
    for _, candidate in ipairs({ path .. '.lua', path .. '/init.lua' }) do
        local file = io.open(candidate, 'rb')
        if file then
            local text = file:read('*a')
            file:close()
            return candidate, text
        end
    end
end

table.insert(package.loaders, 2, function(name)
    local path, text = read_early(name)
    if not path then
        return "\n\tno module '" .. name .. "' of the gateway's own"
    end
    early[name] = path
    return assert(loadstring(text, '@' .. path))
end)

local loader = require 'moongate.runtime.loader'
local source = require 'moongate.runtime.source'

table.remove(package.loaders, 2)
loader.install()
early['moongate.runtime.bootstrap'] = boot.lua_path .. '/moongate/runtime/bootstrap.lua'
for name, path in pairs(early) do
    source.note(name, path)
end

local runtime = require 'moongate.runtime'
local sched = require 'moongate.runtime.sched'
local stdlib = require 'moongate.runtime.stdlib'

package.preload['kong.db.schema.typedefs'] = function()
    return require 'moongate.typedefs'
end

stdlib.tune()
stdlib.install()
require('moongate.runtime.finaliser').install()
if not boot.bare then
    rawset(_G, 'moongate', require 'moongate.pdk')
    rawset(_G, 'kong', _G.moongate)
    rawset(_G, 'ngx', require 'moongate.ngx')
end

local load = require 'moongate.runtime.load'
local runner = require 'moongate.runtime.runner'

return {
    load = load.run,
    configure = runner.configure,
    slow = runner.slow,
    collect = runner.collect,
    fire = sched.fire,
    forget = runtime.forget,
    bundle = function()
        return require('moongate.runtime.describe').bundle()
    end,
    chain = function(index)
        return require('moongate.runtime.describe').chain(index)
    end,
    limit = runtime.limit,
}
