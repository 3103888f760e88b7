-- SPDX-License-Identifier: Apache-2.0
--
-- Routes: which requests belong to a service.
local common = require 'moongate.entities.common'
local typedefs = require 'moongate.typedefs'

local about = common.about

local NO_STREAM = 'anything but HTTP'
local NO_GRPC = 'gRPC'

local function contains(list, value)
    for _, item in ipairs(list) do
        if item == value then
            return true
        end
    end
    return false
end

local function quoted(names)
    return "'" .. table.concat(names, "', '") .. "'"
end

-- Server names are not looked at over plain http: a route that has nothing else would take every
-- request there.
local function has_a_criterion(route)
    local names = { 'methods', 'hosts', 'headers', 'paths' }
    if not contains(route.protocols, 'http') then
        names[5] = 'snis'
    end
    for _, name in ipairs(names) do
        if type(route[name]) == 'table' and next(route[name]) then
            return true
        end
    end
    return nil, 'at least one of these fields must be non-empty: ' .. quoted(names)
end

local function has_https_for_snis(route)
    if type(route.snis) == 'table' and next(route.snis)
        and not contains(route.protocols, 'https') then
        return nil, "'snis' needs https among 'protocols'", 'snis'
    end
    return true
end

return common.entity('routes', {
    { name = about('how plugins, logs and settings refer to it', typedefs.utf8_name) },
    { protocols = {
        type = 'set', required = true, len_min = 1, default = { 'http', 'https' },
        description = 'https alone: a request over http is told to use https',
        elements = {
            type = 'string', one_of = typedefs.protocol.one_of,
            not_supported_yet = {
                grpc = NO_GRPC, grpcs = NO_GRPC, ws = NO_STREAM, wss = NO_STREAM,
                tcp = NO_STREAM, tls = NO_STREAM, tls_passthrough = NO_STREAM, udp = NO_STREAM,
            },
        },
    } },
    { methods = about('any of these', typedefs.methods) },
    { hosts = about('any of these; `*.example.com`, `example.*` and a port are taken',
        typedefs.hosts) },
    { paths = about('any of these: the start of the path, or `~` and a regular expression',
        typedefs.router_paths) },
    { headers = about('all of these, each with one of its values; a value may be `~*` and a regex',
        typedefs.headers) },
    { snis = { type = 'set', elements = typedefs.sni,
        description = 'server names of TLS; not looked at over plain http' } },
    { sources = { type = 'any', not_supported_yet = NO_STREAM,
        description = 'address that the client comes from' } },
    { destinations = { type = 'any', not_supported_yet = NO_STREAM,
        description = 'address that it connected to' } },
    { expression = { type = 'any', not_supported_yet = 'routes by expression',
        description = 'a condition in the language of expressions' } },
    { priority = { type = 'any', not_supported_yet = 'routes by expression',
        description = 'which expression is tried first' } },
    { strip_path = { type = 'boolean', default = true, required = true,
        description = 'leave the part that matched out of the path for the upstream' } },
    { preserve_host = { type = 'boolean', default = false, required = true,
        description = "send the client's Host (lower case, without a final dot and the default"
            .. " port) instead of the service's" } },
    { regex_priority = { type = 'integer', default = 0, between = { -2 ^ 31, 2 ^ 31 - 1 },
        description = 'among regular expressions, the highest is tried first' } },
    { path_handling = { type = 'string', default = 'v0', one_of = { 'v0', 'v1' },
        description = 'v1 is taken and acts as v0' } },
    { https_redirect_status_code = {
        type = 'integer', default = 426, required = true, one_of = { 426, 301, 302, 307, 308 },
        description = 'answer to a request over http where protocols has https alone',
    } },
    { request_buffering = { type = 'boolean', default = true, required = true,
        description = 'false: a plugin cannot read the body, and nothing of it is kept' } },
    { response_buffering = { type = 'boolean', default = true, required = true,
        description = 'an answer is passed on as it comes; true: up to 64 KiB of it wait for a '
            .. 'slow client, false: only what one read brought' } },
}, {
    entity_checks = {
        { custom_entity_check = {
            field_sources = {
                'methods', 'hosts', 'headers', 'paths', 'snis', 'protocols', 'expression',
            },
            run_with_missing_fields = true, fn = has_a_criterion,
        } },
        { custom_entity_check = {
            field_sources = { 'snis', 'protocols' },
            run_with_missing_fields = true, fn = has_https_for_snis,
        } },
    },
})
