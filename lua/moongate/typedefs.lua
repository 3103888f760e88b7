-- SPDX-License-Identifier: Apache-2.0
--
-- Field definitions that schemas share (docs/plugin-reference.md); for plugins written for
-- Kong also `kong.db.schema.typedefs`. Each may be used as it is or called with overrides:
--
--     { port = typedefs.port }    { port = typedefs.port{ default = 6379 } }
--
-- An unknown name raises an error. duration, bytes, percent, secret and policy_name are ours.
local cjson = require 'cjson'
local address = require 'moongate.schema.address'
local paths = require 'moongate.schema.paths'
local validators = require 'moongate.schema.validators'

local null = cjson.null
local LONGEST_TIMEOUT = 2 ^ 31 - 2 -- ms

local M = {}

local function typedef(def)
    return setmetatable(def, {
        __call = function(_, overrides)
            local result = {}
            for k, v in pairs(def) do
                result[k] = v
            end
            for k, v in pairs(overrides or {}) do
                result[k] = v
            end
            return result
        end,
    })
end

-- A text that a test function accepts, else with this message.
local function text(test, message, more)
    local def = { type = 'string' }
    for k, v in pairs(more or {}) do
        def[k] = v
    end
    def.custom_validator = function(value)
        if test(value) then
            return true
        end
        return nil, message .. value
    end
    return typedef(def)
end

local function utf8_fault(value)
    local rest = value:gsub('[%z\1-\127]+', '')
        :gsub('[\194-\223][\128-\191]', '')
        :gsub('\224[\160-\191][\128-\191]', '')
        :gsub('\237[\128-\159][\128-\191]', '')
        :gsub('[\225-\236\238\239][\128-\191][\128-\191]', '')
        :gsub('\240[\144-\191][\128-\191][\128-\191]', '')
        :gsub('[\241-\243][\128-\191][\128-\191][\128-\191]', '')
        :gsub('\244[\128-\143][\128-\191][\128-\191]', '')
    return rest ~= ''
end

-- Hosts and addresses ----------------------------------------------------------------------------

M.host = text(address.is_host, 'invalid value: ')
M.redis_host = M.host
M.host_with_optional_port = text(function(v)
    return address.split(v) ~= nil
end, 'invalid value: ')
M.wildcard_host = text(address.is_wildcard_host, 'invalid wildcard: must be placed at leftmost '
    .. 'or rightmost label, in a valid host name: ')
M.hosts = typedef({ type = 'array', elements = M.wildcard_host })
M.sni = text(function(v)
    return address.is_wildcard_host(v) and not v:find(':', 1, true) and not address.is_ip(v)
end, 'not a server name: ')
M.ip = text(address.is_ip, 'not an ip address: ')
M.cidr = text(address.is_cidr, 'invalid cidr range: ')
M.cidr_v4 = text(address.is_cidr_v4, 'invalid ipv4 cidr range: ')
M.ip_or_cidr = text(function(v)
    return address.is_ip(v) or address.is_cidr(v)
end, 'invalid ip or cidr range: ')
M.port = typedef({ type = 'integer', between = { 0, 65535 } })

local function network_list()
    return typedef({
        type = 'set',
        elements = {
            type = 'record',
            fields = { { ip = M.ip_or_cidr }, { port = M.port } },
            entity_checks = { { at_least_one_of = { 'ip', 'port' } } },
        },
    })
end
M.sources = network_list()
M.destinations = network_list()

-- URLs, paths, methods ---------------------------------------------------------------------------

M.url = text(function(v)
    local scheme, authority = v:match('^(%a[%w+.-]*)://([^/?#]+)')
    authority = authority and authority:gsub('^[^@]*@', '')
    return scheme ~= nil and address.split(authority) ~= nil
end, 'not a URL with a scheme and a host: ')
M.path = typedef({ type = 'string', custom_validator = paths.check })
M.router_path = typedef({ type = 'string', custom_validator = paths.check_route })
M.router_paths = typedef({ type = 'array', elements = M.router_path })
M.http_method = typedef({ type = 'string', match = '^%u+$' })
M.methods = typedef({ type = 'set', elements = M.http_method })

-- Headers and cookies ----------------------------------------------------------------------------

local TOKEN = "^[%w!#$%%&'*+.^_`|~-]+$" -- RFC 9110, 5.6.2

M.header_name = typedef({ type = 'string', match = TOKEN,
    err = 'not a header name: letters, digits and -_ only' })
M.cookie_name = typedef({ type = 'string', match = TOKEN,
    err = 'not a cookie name: letters, digits and -_ only' })
M.headers = typedef({
    type = 'map',
    keys = {
        type = 'string', match = TOKEN,
        match_none = { {
            pattern = '^[Hh][Oo][Ss][Tt]$',
            err = "cannot contain 'host' header, which must be specified in the 'hosts' attribute",
        } },
    },
    values = { type = 'array', elements = {
        type = 'string',
        custom_validator = function(value)
            local pattern = value:match('^~%*(.*)$')
            if pattern and not validators.is_regex(pattern) then
                return nil, 'not a valid regex: ' .. pattern
            end
            return true
        end,
    } },
})

-- Names, tags, ids -------------------------------------------------------------------------------

M.name = typedef({ type = 'string', unique = true, match = '^[%w._~%-]+$' })
M.utf8_name = typedef({
    type = 'string', unique = true,
    custom_validator = function(value)
        if value:find('[%c/]') or utf8_fault(value) then
            return nil, 'invalid value: ' .. value:gsub('%c', '?')
        end
        return true
    end,
})
M.policy_name = typedef({ type = 'string', match = '^[a-z0-9_-]+$', len_max = 32 })
M.tag = typedef({
    type = 'string', required = true,
    custom_validator = function(value)
        if value:find('[%c,/]') or utf8_fault(value) then
            return nil, 'invalid tag: expected printable text without , and /'
        end
        return true
    end,
})
M.tags = typedef({ type = 'set', elements = M.tag })
M.uuid = typedef({ type = 'string', uuid = true, auto = true })
M.semantic_version = typedef({
    type = 'string',
    match_any = {
        patterns = { '^%d+%.%d+$', '^%d+%.%d+%.%d+$', '^%d+%.%d+%.%d+[-+][%w.+-]+$' },
        err = 'invalid version number',
    },
})
M.capability = typedef({ type = 'string' })

-- Numbers and times ------------------------------------------------------------------------------

M.timeout = typedef({ type = 'integer', between = { 0, LONGEST_TIMEOUT } })
M.ttl = typedef({ type = 'integer', between = { 0, 100000000 } })
M.auto_timestamp_s = typedef({ type = 'integer', timestamp = true, auto = true })
M.auto_timestamp_ms = typedef({ type = 'number', timestamp = true, auto = true })
M.duration = typedef({ type = 'duration' })
M.bytes = typedef({ type = 'bytes' })
M.percent = typedef({ type = 'percent' })
M.secret = typedef({ type = 'secret', referenceable = true })

-- Relations and protocols ------------------------------------------------------------------------

M.no_route = typedef({ type = 'foreign', reference = 'routes', eq = null })
M.no_service = typedef({ type = 'foreign', reference = 'services', eq = null })
M.no_consumer = typedef({ type = 'foreign', reference = 'consumers', eq = null })

local PROTOCOLS = { 'grpc', 'grpcs', 'http', 'https', 'tcp', 'tls', 'tls_passthrough', 'udp', 'ws',
    'wss' }

M.protocol = typedef({ type = 'string', one_of = PROTOCOLS })
M.protocols = typedef({
    type = 'set', len_min = 1, required = true,
    elements = M.protocol,
    mutually_exclusive_subsets = {
        { 'http', 'https' }, { 'tcp', 'tls', 'udp' }, { 'tls_passthrough' }, { 'grpc', 'grpcs' },
    },
})
M.protocols_http = typedef({
    type = 'set', required = true,
    default = { 'grpc', 'grpcs', 'http', 'https' },
    elements = { type = 'string', one_of = { 'grpc', 'grpcs', 'http', 'https' } },
})

-- Keys and certificates: their form only; OpenSSL looks inside where they are used ---------------

local function pem(label, message)
    return typedef({
        type = 'string', referenceable = true, encrypted = true,
        custom_validator = function(value)
            if value:match('%-%-%-%-%-BEGIN ' .. label .. '%-%-%-%-%-.+%-%-%-%-%-END') then
                return true
            end
            return nil, message
        end,
    })
end
M.certificate = pem('[%u ]*CERTIFICATE', 'invalid certificate: not in PEM form')
M.certificate.encrypted = nil
M.key = pem('[%u ]*PRIVATE KEY', 'invalid key: not in PEM form')
M.pem = typedef({
    type = 'record',
    fields = {
        { private_key = { type = 'string', referenceable = true, encrypted = true } },
        { public_key = { type = 'string', referenceable = true } },
    },
})
M.jwk = typedef({
    type = 'string', referenceable = true, encrypted = true,
    custom_validator = function(value)
        local ok, jwk = pcall(cjson.decode, value)
        if ok and type(jwk) == 'table' and type(jwk.kty) == 'string' then
            return true
        end
        return nil, 'not a JSON Web Key'
    end,
})
M.lua_code = typedef({
    type = 'string',
    custom_validator = function(value)
        local chunk, err = loadstring(value)
        return chunk and true or nil, err and 'error parsing function: ' .. err
    end,
})

-- Records ----------------------------------------------------------------------------------------

M.queue = typedef({
    type = 'record', required = true,
    fields = {
        { max_batch_size = { type = 'integer', default = 1, between = { 1, 1000000 } } },
        { max_coalescing_delay = { type = 'number', default = 1, between = { 0, 3600 } } },
        { max_entries = { type = 'integer', default = 10000, between = { 1, 1000000 } } },
        { max_bytes = { type = 'integer' } },
        { max_retry_time = { type = 'number', default = 60 } },
        { initial_retry_delay = { type = 'number', default = 0.01, between = { 0.001, 1000000 } } },
        { max_retry_delay = { type = 'number', default = 60, between = { 0.001, 1000000 } } },
        { concurrency_limit = { type = 'integer', default = 1, one_of = { -1, 1 } } },
    },
})

local FORMATS = { 'w3c', 'b3', 'b3-single', 'jaeger', 'ot', 'aws', 'datadog', 'gcp', 'instana' }
local INJECTED = { 'preserve', unpack(FORMATS) }

M.propagation = typedef({
    type = 'record', required = true,
    fields = {
        { extract = { type = 'array', elements = { type = 'string', one_of = FORMATS } } },
        { clear = { type = 'array', elements = { type = 'string' } } },
        { inject = { type = 'array', elements = { type = 'string', one_of = INJECTED } } },
        { default_format = { type = 'string', default = 'w3c', one_of = FORMATS } },
    },
})

return setmetatable(M, {
    __index = function(_, name)
        error('schema typedef error: definition ' .. tostring(name) .. ' does not exist', 2)
    end,
})
