-- SPDX-License-Identifier: Apache-2.0
-- The gateways that run on Node: their programs stand in bench/node, their packages, in the
-- versions of bench/node/package-lock.json, in build/bench-node.
local cjson = require 'cjson'
local launch = require 'bench.peers.launch'
local process = require 'spec.gateway.support.process'

local M = {}

--- The module of one of them.
-- @tparam table o title, program (in bench/node), package (of npm), unable (a function)
function M.new(o)
    local peer = { title = o.title, unable = o.unable }
    local manifest = ('%s/node_modules/%s/package.json'):format(launch.NODE, o.package)

    function peer.missing()
        return not launch.find('node') and 'node is not installed: script/bootstrap installs it'
            or not launch.exists(manifest) and o.package .. ' is not installed: ' .. launch.INSTALL
            or nil
    end

    function peer.version()
        return ('%s, node %s'):format(cjson.decode(process.read(manifest)).version,
            launch.output('node --version'):match('v(%S+)'))
    end

    function peer.start(at)
        local port = process.free_port()
        local path = launch.NODE .. '/' .. o.program
        process.write(path, process.read('bench/node/' .. o.program))
        local setup = { port = port, origin = at.origin, connections = at.setup.connections,
            policies = at.setup.policies, redis = at.setup.redis, log = at.folder .. '/access.log' }
        return launch.start({ 'node', path, cjson.encode(setup) }, at.cpus, port,
            { NODE_ENV = 'production' })
    end
    return peer
end

return M
