-- SPDX-License-Identifier: Apache-2.0
-- The floors: relays without parsing, from bench/programs. What a gateway costs above
-- them is its own.
local launch = require 'bench.peers.launch'
local process = require 'spec.gateway.support.process'

local M = {}

--- The module of one of them.
-- @tparam string title
-- @tparam string program in the build folder
function M.new(title, program)
    local peer = { title = title }
    local path = process.absolute:match('^(.*)/') .. '/' .. program

    function peer.missing()
        return not launch.exists(path) and program .. ' is not built: script/build release bench'
            or nil
    end

    function peer.unable(setup)
        return (setup.policies or setup.redis) and 'it looks at nothing'
            or setup.workers > 1 and 'it has one process' or nil
    end

    function peer.version()
        return 'of this tree'
    end

    function peer.start(o)
        local port = process.free_port()
        return launch.start({ path, tostring(port), tostring(o.origin) }, o.cpus, port)
    end
    return peer
end

return M
