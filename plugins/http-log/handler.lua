-- SPDX-License-Identifier: Apache-2.0
-- http-log: sends lines to an HTTP server, one or several in a request.
-- Kong's options, access-log's engine.
local front = require 'moongate.plugins.access-log.front'
local moongate = moongate

local MS = 1000 -- Kong's queue counts seconds

-- Options of Kong before 3.3, which it translates in the same way.
local function old_options(conf)
    local queue = conf.queue
    if conf.retry_count then
        moongate.log.warn('retry_count has no effect: queue.max_retry_time bounds retries')
    end
    return conf.queue_size or queue.max_batch_size,
        conf.flush_timeout or queue.max_coalescing_delay
end

local ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

local function base64(text)
    return (text:gsub('..?.?', function(three)
        local a, b, c = three:byte(1, 3)
        local number = a * 65536 + (b or 0) * 256 + (c or 0)
        local out = {}
        for i = 1, 4 do
            local digit = math.floor(number / 64 ^ (4 - i)) % 64
            out[i] = i <= #three + 1 and ALPHABET:sub(digit + 1, digit + 1) or '='
        end
        return table.concat(out)
    end))
end

-- http://user:password@host: Kong sends them as basic authorization.
local function endpoint(conf, headers)
    local scheme, user, rest = conf.http_endpoint:match('^(%a[%w+.-]*://)([^/@]*)@(.*)$')
    if not scheme then
        return conf.http_endpoint
    end
    local plain = user:gsub('%%(%x%x)', function(hex)
        return string.char(tonumber(hex, 16))
    end)
    headers.authorization = 'Basic ' .. base64(plain)
    return scheme .. rest
end

return front.plugin(12, function(conf, ours)
    local queue, headers = conf.queue, {}
    for name, value in pairs(conf.headers or {}) do
        headers[name] = value
    end
    local batch, delay = old_options(conf)
    local most = queue.max_bytes
    ours.queue = { entries = queue.max_entries, bytes = most or ours.queue.bytes, batch = batch,
        flush = batch > 1 and delay * MS or 0, drop = 'oldest' }
    ours.retry = { first = queue.initial_retry_delay * MS, max = queue.max_retry_delay * MS,
        ['for'] = queue.max_retry_time * MS }
    return { type = 'http', url = endpoint(conf, headers), method = conf.method, headers = headers,
        content_type = conf.content_type, encoding = batch > 1 and 'json' or 'single',
        gzip = false, connect = conf.timeout, timeout = conf.timeout,
        keepalive = conf.keepalive }
end)
