-- SPDX-License-Identifier: Apache-2.0
-- Fastify with @fastify/http-proxy and @fastify/rate-limit, a circuit breaker and a log line.
return require('bench.peers.node').new({
    title = 'Fastify', program = 'fastify.mjs', package = 'fastify',
    unable = function(setup)
        return setup.workers > 1 and 'it is measured with one process'
            or setup.buffers and 'only nginx has such buffers'
            or setup.routes > 1 and 'it is measured with one route' or nil
    end,
})
