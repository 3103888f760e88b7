-- SPDX-License-Identifier: Apache-2.0
-- fast-gateway 3.4.7: what came later does not install.
return require('bench.peers.node').new({
    title = 'fast-gateway', program = 'fast_gateway.mjs', package = 'fast-gateway',
    unable = function(setup)
        return (setup.policies or setup.redis) and 'it is measured without policies'
            or setup.workers > 1 and 'it is measured with one process'
            or setup.buffers and 'only nginx has such buffers'
            or setup.routes > 1 and 'it is measured with one route' or nil
    end,
})
