// SPDX-License-Identifier: Apache-2.0
// Fastify as a gateway with Moongate's policies; the set-up is a JSON text in the first argument.
import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import Fastify from 'fastify'
import proxy from '@fastify/http-proxy'
import rateLimit from '@fastify/rate-limit'
import Redis from 'ioredis'

const pino = createRequire(createRequire(import.meta.url).resolve('fastify'))('pino')

const setup = JSON.parse(process.argv[2])
const FAILURES = 5
const OPEN_MS = 5000

const logger = setup.policies
  ? pino(pino.destination({
      dest: setup.log, sync: setup.policies === 'line', minLength: setup.policies === 'line' ? 0 : 16000
    }))
  : undefined
const app = Fastify({
  ...(logger ? { loggerInstance: logger } : { logger: false }),
  disableRequestLogging: true,
  genReqId: () => randomUUID(),
  keepAliveTimeout: 3600000
})

const breaker = { row: 0, until: 0 }

if (setup.policies || setup.redis) {
  await app.register(rateLimit, {
    max: 100000000,
    timeWindow: 60000,
    redis: setup.redis ? new Redis(setup.redis, '127.0.0.1') : undefined
  })
}
if (setup.policies) {
  app.addHook('onRequest', async (request, reply) => {
    if (breaker.row >= FAILURES && Date.now() < breaker.until) {
      reply.code(503)
      throw new Error('open')
    }
  })
  app.addHook('onResponse', async (request, reply) => {
    breaker.row = reply.statusCode >= 500 ? breaker.row + 1 : 0
    if (breaker.row >= FAILURES) breaker.until = Date.now() + OPEN_MS
    request.log.info({
      request_id: request.id, client_ip: request.ip, method: request.method, scheme: request.protocol,
      host: request.host, path: request.url, protocol: request.raw.httpVersion, route: 'all',
      service: 'origin', upstream: setup.origin, consumer: null, status: reply.statusCode,
      outcome: 'ok', ended_by: 'upstream', ended_in: 'log', bytes_in: request.raw.socket.bytesRead,
      bytes_out: request.raw.socket.bytesWritten, body_bytes_out: reply.getHeader('content-length'),
      t: reply.elapsedTime, tries: 1, retries: 0, limit: reply.getHeader('x-ratelimit-remaining'),
      breaker: 'closed', user_agent: request.headers['user-agent'], referer: request.headers.referer,
      worker: process.pid, generation: 1
    })
  })
}
app.addHook('onSend', async (request, reply) => {
  reply.header('via', '1.1 fastify')
  reply.header('x-request-id', request.id)
})

await app.register(proxy, {
  upstream: `http://127.0.0.1:${setup.origin}`,
  undici: { connections: setup.connections, pipelining: 1, keepAliveTimeout: 3600000 },
  replyOptions: {
    rewriteRequestHeaders: (request, headers) => ({
      ...headers,
      'x-forwarded-for': request.ip,
      'x-forwarded-proto': request.protocol,
      'x-forwarded-host': request.host,
      'x-forwarded-port': setup.port,
      'x-forwarded-path': request.url,
      'x-request-id': request.id,
      via: '1.1 fastify'
    })
  }
})
await app.listen({ port: setup.port, host: '127.0.0.1', backlog: 4096 })
