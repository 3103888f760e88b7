-- SPDX-License-Identifier: Apache-2.0
--
-- What is measured: scenarios with their sides, and the bars that are held against them.
--
-- A scenario: name, title, sides; what holds for all of its sides: body (octets of an answer,
-- 1024), open_loop (also at a fixed rate), calls (system calls are counted), redis (a server is
-- started), idle (the memory of connections that rest is measured, not load).
-- A side: peer; label, where a peer stands there twice; setup (bench/peers/launch.lua); connections
-- (64), routes (that are asked for), close (a connection for each request).
-- A bar: scenario, figure, of (a side), to (a side; without one the figure itself counts), at_most.
-- Figures: cpu_us, open_p99_us, rss_bytes, fresh_pss_bytes, bytes_each.
local M = {}

local function sides_of(peers, o)
    local list = {}
    for _, peer in ipairs(peers) do
        local side = { peer = peer }
        for key, value in pairs(o or {}) do
            side[key] = value
        end
        list[#list + 1] = side
    end
    return list
end

local function join(...)
    local list = {}
    for _, each in ipairs({ ... }) do
        for _, side in ipairs(each) do
            list[#list + 1] = side
        end
    end
    return list
end

-- The same peers with each of several values, labelled `peer, suffix`.
local function vary(peers, variants)
    local list = {}
    for _, peer in ipairs(peers) do
        for _, variant in ipairs(variants) do
            local side = { peer = peer, label = ('%s, %s'):format(peer, variant.label) }
            for key, value in pairs(variant) do
                side[key] = side[key] or value
            end
            list[#list + 1] = side
        end
    end
    return list
end

local C_PEERS = { 'moongate', 'nginx', 'haproxy' }

M.list = {
    { name = 'plain', title = '1 KB, 64 connections kept open', open_loop = true, calls = true,
        sides = sides_of({ 'moongate', 'nginx', 'haproxy', 'floor_uv', 'floor_epoll', 'fastify',
            'fast_gateway' }) },
    { name = 'policies', title = 'rate limit, circuit breaker and a JSON log line', calls = true,
        open_loop = true,
        sides = {
            { peer = 'moongate', setup = { policies = 'buffered' } },
            { peer = 'moongate', label = 'moongate, plain' },
            { peer = 'nginx_lua', label = 'nginx_lua, buffered log',
                setup = { policies = 'buffered' } },
            { peer = 'nginx_lua', label = 'nginx_lua, write per line',
                setup = { policies = 'line' } },
            { peer = 'fastify', setup = { policies = 'buffered' } },
        } },
    { name = 'redis', title = 'rate limit counted in Redis', redis = true, calls = true,
        sides = sides_of({ 'moongate', 'nginx_lua', 'fastify' }) },
    { name = 'body-64k', title = '64 KB answers', body = 65536, calls = true,
        sides = join(sides_of(C_PEERS), { { peer = 'nginx', label = 'nginx, 64k buffers',
            setup = { buffers = 65536 } } }, sides_of({ 'floor_uv' })) },
    { name = 'body-1m', title = '1 MB answers', body = 1048576, calls = true,
        sides = sides_of({ 'moongate', 'nginx', 'haproxy', 'floor_uv' },
            { connections = 16 }) },
    { name = 'close', title = 'a connection for each request', calls = true,
        sides = sides_of(C_PEERS, { close = true }) },
    { name = 'connections', title = '1, 64, 512 and 4,096 connections',
        sides = vary({ 'moongate', 'nginx', 'haproxy', 'floor_uv' }, {
            { label = '1', connections = 1 }, { label = '64', connections = 64 },
            { label = '512', connections = 512 }, { label = '4096', connections = 4096 } }) },
    { name = 'routes', title = '10,000 routes against 10',
        sides = vary(C_PEERS, {
            { label = '10', setup = { routes = 10 }, routes = 10 },
            { label = '10000', setup = { routes = 10000 }, routes = 10000 } }) },
    { name = 'idle', title = '10,000 idle connections', idle = 10000, sides = sides_of(C_PEERS) },
    { name = 'workers', title = 'two workers on both CPUs',
        sides = vary(C_PEERS, {
            { label = '1', setup = { workers = 1 } }, { label = '2', setup = { workers = 2 } } }) },
}

M.bars = {
    { scenario = 'plain', figure = 'cpu_us', of = 'moongate', to = 'nginx', at_most = 0.78 },
    { scenario = 'plain', figure = 'cpu_us', of = 'moongate', to = 'haproxy', at_most = 0.85 },
    { scenario = 'plain', figure = 'cpu_us', of = 'moongate', to = 'floor_uv', at_most = 1.15 },
    { scenario = 'plain', figure = 'open_p99_us', of = 'moongate', to = 'nginx', at_most = 1 },
    { scenario = 'policies', figure = 'cpu_us', of = 'moongate', to = 'nginx_lua, buffered log',
        at_most = 0.72 },
    { scenario = 'policies', figure = 'cpu_us', of = 'moongate', to = 'nginx_lua, write per line',
        at_most = 0.58 },
    { scenario = 'policies', figure = 'cpu_us', of = 'moongate', to = 'moongate, plain',
        at_most = 1.12 },
    { scenario = 'policies', figure = 'cpu_us', of = 'moongate', to = 'fastify', at_most = 0.2 },
    { scenario = 'redis', figure = 'cpu_us', of = 'moongate', to = 'nginx_lua', at_most = 0.55 },
    { scenario = 'body-64k', figure = 'cpu_us', of = 'moongate', to = 'nginx', at_most = 0.55 },
    { scenario = 'body-64k', figure = 'cpu_us', of = 'moongate', to = 'nginx, 64k buffers',
        at_most = 1 },
    { scenario = 'body-1m', figure = 'cpu_us', of = 'moongate', to = 'nginx', at_most = 0.6 },
    { scenario = 'close', figure = 'cpu_us', of = 'moongate', to = 'nginx', at_most = 1 },
    { scenario = 'connections', figure = 'cpu_us', of = 'moongate, 4096', to = 'moongate, 64',
        at_most = 1.25 },
    { scenario = 'connections', figure = 'cpu_us', of = 'moongate, 4096', to = 'nginx, 4096',
        at_most = 0.7 },
    { scenario = 'routes', figure = 'cpu_us', of = 'moongate, 10000', to = 'moongate, 10',
        at_most = 1.05 },
    { scenario = 'idle', figure = 'bytes_each', of = 'moongate', at_most = 600 },
    { scenario = 'idle', figure = 'fresh_pss_bytes', of = 'moongate', at_most = 12e6 },
    { scenario = 'idle', figure = 'rss_bytes', of = 'moongate', to = 'nginx', at_most = 1 },
    { scenario = 'workers', figure = 'cpu_us', of = 'moongate, 2', to = 'moongate, 1',
        at_most = 1.11 },
}

M.peers = { 'moongate', 'nginx', 'nginx_lua', 'haproxy', 'fastify', 'fast_gateway', 'floor_uv',
    'floor_epoll' }

--- The names of all scenarios.
function M.names()
    local names = {}
    for i, scenario in ipairs(M.list) do
        names[i] = scenario.name
    end
    return names
end

function M.find(name)
    for _, scenario in ipairs(M.list) do
        if scenario.name == name then
            return scenario
        end
    end
end

return M
