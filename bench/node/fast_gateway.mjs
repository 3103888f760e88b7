// SPDX-License-Identifier: Apache-2.0
// fast-gateway in front of the origin; the set-up is a JSON text in the first argument.
import { randomUUID } from 'node:crypto'
import gateway from 'fast-gateway'

const setup = JSON.parse(process.argv[2])

const service = gateway({
  routes: [{
    prefix: '',
    target: `http://127.0.0.1:${setup.origin}`,
    fastProxy: { undici: { connections: setup.connections, pipelining: 1, keepAliveTimeout: 3600000 } },
    hooks: {
      onRequest: (request) => {
        request.id = randomUUID()
        const headers = request.headers
        headers['x-forwarded-for'] = request.socket.remoteAddress
        headers['x-forwarded-proto'] = 'http'
        headers['x-forwarded-host'] = headers.host
        headers['x-forwarded-port'] = String(setup.port)
        headers['x-forwarded-path'] = request.url
        headers['x-request-id'] = request.id
        headers.via = '1.1 fast-gateway'
      }
    }
  }]
})
const server = await service.start(setup.port, '127.0.0.1')
server.keepAliveTimeout = 3600000
