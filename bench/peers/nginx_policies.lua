-- SPDX-License-Identifier: Apache-2.0
-- Runs inside nginx: the policies that Moongate has, written as one would with lua-nginx-module. A
-- sliding window of two buckets and a circuit breaker over shared dictionaries, the fields that
-- tell the limit, and the same window in Redis, one EVALSHA a request.
local limits, breakers = ngx.shared.limits, ngx.shared.breakers

local M = { redis_port = 6379 }

local QUOTA, WINDOW = 100000000, 60
local FAILURES, OPEN = 5, 5 -- in a row; seconds

local SCRIPT = [[
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local window, quota = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket = math.floor(now / window)
local current = redis.call('HMGET', KEYS[1], 'i', 'u', 'p')
local i, u, p = tonumber(current[1]) or bucket, tonumber(current[2]) or 0, tonumber(current[3]) or 0
if bucket == i + 1 then p = u u = 0 elseif bucket > i + 1 then p = 0 u = 0 end
local used = p * (1 - (now / window - bucket)) + u
if used + 1 > quota then return {0, 0} end
redis.call('HSET', KEYS[1], 'i', bucket, 'u', u + 1, 'p', p)
redis.call('PEXPIRE', KEYS[1], 2 * window * 1000)
return {1, math.floor(quota - used - 1)}
]]

local function tell(remaining, reset)
    local header = ngx.header
    header['X-RateLimit-Limit'] = QUOTA
    header['X-RateLimit-Remaining'] = remaining
    header['X-RateLimit-Reset'] = reset
end

local function deny(reset)
    tell(0, reset)
    ngx.header['Retry-After'] = reset
    return ngx.exit(429)
end

local function limit()
    local now = ngx.now()
    local bucket = math.floor(now / WINDOW)
    local key = ngx.var.binary_remote_addr
    local used = limits:incr(key .. bucket, 1, 0, 2 * WINDOW)
    local before = limits:get(key .. bucket - 1) or 0
    local gone = now - bucket * WINDOW
    local estimate = before * (1 - gone / WINDOW) + used
    local reset = math.ceil(WINDOW - gone)
    if estimate > QUOTA then
        limits:incr(key .. bucket, -1)
        return deny(reset)
    end
    tell(math.floor(QUOTA - estimate), reset)
end

local function guard()
    local until_time = breakers:get('open')
    if until_time and until_time > ngx.now() then
        return ngx.exit(503)
    end
end

function M.access()
    limit()
    guard()
end

function M.log()
    local bucket = math.floor(ngx.now())
    if ngx.status < 500 then
        breakers:incr('good' .. bucket, 1, 0, 11)
        if breakers:get('row') ~= 0 then
            breakers:set('row', 0)
        end
        return
    end
    breakers:incr('bad' .. bucket, 1, 0, 11)
    if breakers:incr('row', 1, 0) >= FAILURES then
        breakers:set('open', ngx.now() + OPEN)
    end
end

local sha

local function ask(connection)
    if not sha then
        sha = assert(connection:script('LOAD', SCRIPT))
    end
    return connection:evalsha(sha, 1, 'rl:' .. ngx.var.remote_addr, WINDOW, QUOTA)
end

function M.redis()
    local connection = require('nginx.redis'):new()
    connection:set_timeout(1000)
    assert(connection:connect('127.0.0.1', M.redis_port))
    local answer, err = ask(connection)
    if not answer then
        ngx.log(ngx.ERR, err)
        return ngx.exit(500)
    end
    connection:set_keepalive(60000, 256)
    local reset = WINDOW - ngx.time() % WINDOW
    if answer[1] == 0 then
        return deny(reset)
    end
    tell(answer[2], reset)
end

return M
