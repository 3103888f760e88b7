-- SPDX-License-Identifier: Apache-2.0
local by_lua = require 'moongate.plugins.access-log.by_lua_option'
local typedefs = require 'moongate.typedefs'
local url = require 'moongate.plugins.access-log.url'

local function check_endpoint(value)
    local parts, err = url.parse((value:gsub('^(%a[%w+.-]*://)[^/@]*@', '%1', 1)))
    return parts ~= nil, err
end

-- What the gateway writes itself.
local header_name = typedefs.header_name{ custom_validator = function(name)
    local lower = name:lower()
    if lower == 'host' or lower == 'content-length' or lower == 'content-type' then
        return nil
    end
    return true
end, err = 'not a header name, or one that the gateway writes itself' }

local function is_set(value)
    return value ~= nil and value ~= require('cjson').null
end

local function check_authorization(config)
    local has_user = is_set(config.http_endpoint) and config.http_endpoint:find('^%a[^/]*//[^/]*@')
    for name in pairs(has_user and is_set(config.headers) and config.headers or {}) do
        if name:lower() == 'authorization' then
            return nil, "both an 'Authorization' header and a user in 'http_endpoint'"
        end
    end
    return true
end

return {
    name = 'http-log',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = { type = 'record', fields = {
            { http_endpoint = { type = 'string', required = true, referenceable = true,
                encrypted = true, custom_validator = check_endpoint,
                description = 'http[s]://[user:password@]host[:port]/path' } },
            { method = { type = 'string', default = 'POST', one_of = { 'POST', 'PUT', 'PATCH' },
                description = 'of the requests' } },
            { content_type = { type = 'string', default = 'application/json',
                one_of = { 'application/json', 'application/json; charset=utf-8' },
                description = 'of their bodies' } },
            { timeout = { type = 'number', default = 10000, between = { 1, 600000 },
                description = 'milliseconds to connect, and for an answer' } },
            { keepalive = { type = 'number', default = 60000, between = { 0, 3600000 },
                description = 'milliseconds that the connection may idle' } },
            { retry_count = { type = 'integer', description = 'deprecated, without effect' } },
            { queue_size = { type = 'integer', between = { 1, 10000 },
                description = 'deprecated: queue.max_batch_size' } },
            { flush_timeout = { type = 'number', between = { 0, 3600 },
                description = 'deprecated: queue.max_coalescing_delay' } },
            { headers = { type = 'map', keys = header_name,
                values = { type = 'string', referenceable = true, encrypted = true,
                    match = '^[^%c]*$', err = 'expected text of one line' },
                description = 'further fields of the requests' } },
            { queue = { type = 'record', required = true, description = 'of each worker',
                fields = {
                { max_batch_size = { type = 'integer', default = 1, between = { 1, 10000 },
                    description = 'lines of a request; over 1 they are a JSON array' } },
                { max_coalescing_delay = { type = 'number', default = 1, between = { 0, 3600 },
                    description = 'seconds that a line waits for others' } },
                { max_entries = { type = 'integer', default = 10000, between = { 1, 1000000 },
                    description = 'lines that wait at most' } },
                { max_bytes = { type = 'integer', between = { 65536, 2 ^ 31 },
                    description = 'bytes that wait at most (8 MiB)' } },
                { max_retry_time = { type = 'number', default = 60, between = { 0, 86400 },
                    description = 'seconds until what failed is dropped' } },
                { initial_retry_delay = { type = 'number', default = 0.01,
                    between = { 0.001, 3600 },
                    description = 'seconds until a failure is tried again; doubles' } },
                { max_retry_delay = { type = 'number', default = 60, between = { 0.001, 3600 },
                    description = 'seconds that this wait reaches at most' } },
                { concurrency_limit = { type = 'integer', default = 1, one_of = { -1, 1 },
                    not_supported_yet = { [-1] = 'there is one request at a time' },
                    description = 'only 1' } },
            } } },
            { custom_fields_by_lua = by_lua },
        }, entity_checks = {
            { custom_entity_check = { field_sources = { 'http_endpoint', 'headers' },
                run_with_missing_fields = true, fn = check_authorization } },
        } } },
    },
}
