-- SPDX-License-Identifier: Apache-2.0
--
-- `gateway.limits` and the part of it that a route may set for itself (hardening.md, section 1).
local M = {}

local MOST_MS = 2 ^ 31 - 2
local MOST_BYTES = 2 ^ 53

--- A duration field.
-- @tparam ?string|number default
-- @tparam number least ms; 0 where "none" is possible
-- @tparam[opt] number most ms
function M.duration(default, least, most)
    return { type = 'duration', default = default, between = { least, most or MOST_MS } }
end

--- A size field, in bytes.
function M.size(default, least, most)
    return { type = 'bytes', default = default, between = { least, most or MOST_BYTES } }
end

--- A whole number.
function M.count(default, least, most)
    return { type = 'integer', default = default, between = { least, most } }
end

-- Name, kind, default, least, most; `true` at the end: a route may have its own.
local LIMITS = {
    { 'header_timeout', 'duration', '10s', 1 },
    { 'send_timeout', 'duration', '30s', 1, nil, true },
    { 'keepalive_timeout', 'duration', '65s', 1 },
    { 'tunnel_timeout', 'duration', '10m', 1, nil, true },
    { 'body_timeout', 'duration', '15s', 1, nil, true },
    { 'body_total_timeout', 'duration', '5m', 0, nil, true },
    { 'body_min_rate', 'size', '1KiB', 0, nil, true },
    { 'upstream_connect_timeout', 'duration', '2s', 1, nil, true },
    { 'upstream_read_timeout', 'duration', '60s', 1, nil, true },
    { 'upstream_write_timeout', 'duration', '60s', 1, nil, true },
    { 'request_timeout', 'duration', 0, 0, nil, true },
    { 'request_line', 'size', '8KiB', 64, 1024 * 1024 },
    { 'header_bytes', 'size', '32KiB', 256, 1024 * 1024 },
    { 'header_line', 'size', '8KiB', 64, 1024 * 1024 },
    { 'header_name', 'size', 256, 16, 65536 },
    { 'header_count', 'count', 100, 1, 10000 },
    { 'query_args', 'count', 100, 0, 10000, true },
    { 'cookies', 'count', 100, 0, 10000, true },
    { 'trailers', 'count', 20, 0, 1000, true },
    { 'chunk_line', 'size', 64, 16, 65536, true },
    { 'chunk_extensions', 'size', '4KiB', 0, 1024 * 1024, true },
    { 'response_header_bytes', 'size', '64KiB', 256, 1024 * 1024, true },
    { 'interim_responses', 'count', 8, 0, 1000, true },
    { 'request_body', 'size', '10MiB', 0, nil, true },
    { 'request_buffer', 'size', '64KiB', 0, nil, true },
    { 'response_buffer', 'size', '8MiB', 1, nil, true },
    { 'decompress_ratio', 'count', 100, 1, 100000, true },
    { 'connections', 'count', nil, 1, 10000000 },
    { 'connection_requests', 'count', 10000, 1, 2 ^ 31 - 1 },
    { 'lua_memory', 'size', '256MiB', 8 * 1024 * 1024 },
    { 'regex_match_limit', 'count', 100000, 100, 2 ^ 31 - 1 },
}

local function field(row, with_default)
    local default = with_default and row[3] or nil
    return { [row[1]] = M[row[2]](default, row[4], row[5]) }
end

--- All limits, with their defaults or without.
-- @tparam boolean with_default
-- @treturn table list of one-key tables
function M.fields(with_default)
    local list = {
        { tls_timeout = { type = 'any', not_supported_yet = 'TLS listeners' } },
    }
    for _, row in ipairs(LIMITS) do
        list[#list + 1] = field(row, with_default)
    end
    return list
end

--- The limits that one route may have for itself, without defaults.
-- @treturn table list of one-key tables
function M.route_fields()
    local list = {}
    for _, row in ipairs(LIMITS) do
        if row[6] then
            list[#list + 1] = field(row, false)
        end
    end
    return list
end

return M
