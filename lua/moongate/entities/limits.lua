-- SPDX-License-Identifier: Apache-2.0
--
-- `gateway.limits` and the part of it that a route may set for itself (docs/configuration.md).
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

-- Name, kind, default, least, most; `true` at the end: a route may have its own. `about` is what
-- docs/configuration.md says of it.
local LIMITS = {
    { 'header_timeout', 'duration', '10s', 1,
        about = 'from the first byte of a request to the end of its head; then 408' },
    { 'send_timeout', 'duration', '30s', 1, nil, true,
        about = 'a client that takes no byte of the answer for so long is cut off' },
    { 'keepalive_timeout', 'duration', '65s', 1,
        about = 'an idle client connection is closed after it' },
    { 'tunnel_timeout', 'duration', '10m', 1, nil, true,
        about = 'an upgraded connection (WebSocket) is closed when neither side sends for it' },
    { 'body_timeout', 'duration', '15s', 1, nil, true,
        about = 'between two parts of a request body; then 408' },
    { 'body_total_timeout', 'duration', '5m', 0, nil, true,
        about = 'for the whole request body; then 408. 0: none' },
    { 'body_min_rate', 'size', '1KiB', 0, nil, true,
        about = 'bytes a second that a request body must bring, after 5 s; then 408. 0: none' },
    { 'upstream_connect_timeout', 'duration', '2s', 1, nil, true,
        about = 'to connect, where the service does not say; then 504' },
    { 'upstream_read_timeout', 'duration', '60s', 1, nil, true,
        about = 'without a byte from the upstream, where the service does not say; then 504' },
    { 'upstream_write_timeout', 'duration', '60s', 1, nil, true,
        about = 'without progress in sending, where the service does not say; then 504' },
    { 'request_timeout', 'duration', 0, 0, nil, true,
        about = 'for the whole request; then 504, or a cut when the head was sent. 0: none' },
    { 'request_line', 'size', '8KiB', 64, 1024 * 1024,
        about = 'method, target and version; above it 414' },
    { 'header_bytes', 'size', '32KiB', 256, 1024 * 1024,
        about = 'all header lines of a request; above it 431' },
    { 'header_line', 'size', '8KiB', 64, 1024 * 1024,
        about = 'one header line; above it 431' },
    { 'header_name', 'size', 256, 16, 65536,
        about = 'name of a header; above it 431' },
    { 'header_count', 'count', 100, 1, 10000,
        about = 'headers of a request; above it 431' },
    { 'query_args', 'count', 100, 0, 10000, true,
        about = 'arguments of the query; above it 400' },
    { 'cookies', 'count', 100, 0, 10000, true,
        about = 'cookies of a request; above it 400' },
    { 'trailers', 'count', 20, 0, 1000, true,
        about = 'fields behind a chunked body, 8 KiB together; above it 400' },
    { 'chunk_line', 'size', 64, 16, 65536, true,
        about = 'line that opens a chunk; above it 400' },
    { 'chunk_extensions', 'size', '4KiB', 0, 1024 * 1024, true,
        about = 'all chunk extensions of a body; above it 400' },
    { 'response_header_bytes', 'size', '64KiB', 256, 1024 * 1024, true,
        about = "head of the upstream's answer, at most 200 fields; above it 502" },
    { 'interim_responses', 'count', 8, 0, 1000, true,
        about = '1xx answers before the final one; above it 502' },
    { 'request_body', 'size', '10MiB', 0, nil, true,
        about = 'body of a request; above it 413. 0: unlimited' },
    { 'request_buffer', 'size', '64KiB', 0, nil, true,
        about = 'bytes of a request body that are kept in memory for a second try' },
    { 'response_buffer', 'size', '8MiB', 1, nil, true,
        about = 'body of an answer that a plugin wants whole; above it 502' },
    { 'decompress_ratio', 'count', 100, 1, 100000, true,
        about = 'how many times larger a body may get by decompression',
        later = 'decompression' },
    { 'connections', 'count', nil, 1, 10000000,
        about = 'clients of one worker; above it 503. Not set: from the limit of open files' },
    { 'connection_requests', 'count', 10000, 1, 2 ^ 31 - 1,
        about = 'requests on one client connection; the last answer says close' },
    { 'lua_memory', 'size', '256MiB', 8 * 1024 * 1024,
        about = "memory of a worker's Lua state; above it the running call fails" },
    { 'regex_match_limit', 'count', 100000, 100, 2 ^ 31 - 1,
        about = 'steps of one regular expression; above it a match fails, and in a route the'
            .. ' request is refused' },
}

local function field(row, with_default)
    local default = with_default and row[3] or nil
    local def = M[row[2]](default, row[4], row[5])
    def.description = row.about
    if row.later then
        def.not_supported_yet = function(value)
            return value ~= row[3] and row.later or nil
        end
    end
    return { [row[1]] = def }
end

--- All limits, with their defaults or without.
-- @tparam boolean with_default
-- @treturn table list of one-key tables
function M.fields(with_default)
    local list = {
        { tls_timeout = { type = 'any', not_supported_yet = 'TLS listeners',
            description = 'for a TLS handshake' } },
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
