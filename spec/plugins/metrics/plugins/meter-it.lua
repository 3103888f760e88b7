-- SPDX-License-Identifier: Apache-2.0
-- Counts what its requests ask it to.
local hits = moongate.metrics.counter('hits_total', { 'kind' }, { help = 'what came, by "kind"' })
local plain = moongate.metrics.counter('plain_total')
local pairs_of = moongate.metrics.counter('pairs_total', { 'a', 'b' })
local depth = moongate.metrics.gauge('depth', { 'queue' })
local size = moongate.metrics.histogram('size_bytes', nil, { buckets = { 10, 100 } })

local declared

local plugin = { PRIORITY = 1000, VERSION = '1.0.0' }

function plugin:configure()
    declared = moongate.metrics.counter('configured_total')
end

local ACTS = {
    hit = function(a)
        hits:inc(nil, a or 'none')
    end,
    pair = function(a, b)
        pairs_of:inc(2, a, b)
    end,
    depth = function(a, b)
        depth:set(tonumber(a), 'q')
        if b then
            depth:inc(tonumber(b), 'q')
        end
    end,
    size = function(a)
        size:observe(tonumber(a))
    end,
    invent = function(a)
        for i = 1, tonumber(a) do
            hits:inc(1, 'invented ' .. i)
        end
    end,
    missing = function()
        pairs_of:inc(1, 'only one')
    end,
    declare = function()
        local code = assert(loadstring(moongate.request.get_header('X-Code')))
        local ok, err = pcall(code)
        moongate.response.exit(200, ok and '' or tostring(err))
    end,
    negative = function()
        plain:inc(-1)
    end,
}

function plugin:access()
    plain:inc()
    declared:inc(0.5)
    local act = moongate.request.get_header('X-Act')
    if act then
        local name, a, b = act:match('^(%S+) ?(%S*) ?(%S*)$')
        ACTS[name](a ~= '' and a or nil, b ~= '' and b or nil)
    end
end

return plugin
