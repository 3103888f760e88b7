-- SPDX-License-Identifier: Apache-2.0
-- moongate.ctx: tables that live as long as the request. `shared` is one for all plugins, `plugin`
-- one for each; both are made on first use, so a plugin that keeps nothing costs nothing.
local base = require 'moongate.pdk.base'
local runtime = require 'moongate.runtime'

local makers = {}

function makers.shared(object)
    local ctx = runtime.ctx(object)
    local shared = ctx.shared
    if not shared then
        shared = {}
        ctx.shared = shared
    end
    return shared
end

function makers.plugin(object)
    local ctx = runtime.ctx(object)
    local all = ctx.plugin
    if not all then
        all = {}
        ctx.plugin = all
    end
    local conf = runtime.conf()
    local key = conf and conf.__plugin_id or runtime.plugin() or ''
    local own = all[key]
    if not own then
        own = {}
        all[key] = own
    end
    return own
end

return setmetatable({}, {
    __index = function(_, key)
        local maker = makers[key]
        if not maker then
            return nil
        end
        local object = runtime.request()
        if not object then
            base.raise('no request found')
        end
        return maker(object)
    end,
    __newindex = function(_, key)
        base.raise(('moongate.ctx.%s cannot be assigned; use ctx.shared or ctx.plugin')
            :format(base.printable(key)))
    end,
})
