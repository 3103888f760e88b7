-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local fields = require 'moongate.plugins.access-log.fields'
local sinks = require 'moongate.plugins.access-log.sinks'
local typedefs = require 'moongate.typedefs'

local function check_template(value)
    local parts, err = fields.parse_template(value)
    return parts ~= nil, err
end

local function check_constant(value)
    local kind = type(value)
    if kind ~= 'string' and kind ~= 'number' and kind ~= 'boolean' then
        return nil, 'expected text, a number or a boolean'
    end
    return true
end

-- The core knows the words; tools that only read the schema do without.
local function check_outcome(word)
    local ok, access_log = pcall(require, 'moongate.access_log')
    if ok and not access_log.is_outcome(word) then
        return nil, ("there is no outcome '%s'"):format(word)
    end
    return true
end

-- Of others the scanner could not take out secrets.
local function check_body_type(value)
    if value:match('^text/[%w.+*-]+$') or value == 'application/x-www-form-urlencoded'
        or value:match('^application/[%w.+-]*json$') then
        return true
    end
    return nil, 'secrets can be taken out of texts, JSON and forms only'
end

local function items(list)
    return ipairs(list ~= nil and list ~= cjson.null and list or {})
end

-- A body that is named must be wanted.
local function check_bodies(config)
    local body = config.body ~= cjson.null and config.body or {}
    local wanted = { req_body = body.request, resp_body = body.response }
    local lists = { config.fields ~= cjson.null and config.fields or {} }
    for _, sink in items(config.sinks) do
        lists[#lists + 1] = sink.fields ~= cjson.null and sink.fields or {}
    end
    for _, list in ipairs(lists) do
        for _, name in ipairs(list) do
            if (name == 'req_body' or name == 'resp_body') and not wanted[name] then
                return nil, ("field '%s' needs body.%s"):format(name,
                    name == 'req_body' and 'request' or 'response')
            end
        end
    end
    return true
end

local function check_custom_name(name)
    for part in (name .. '.'):gmatch('([^.]*)%.') do
        if not part:match('^[%w_-]+$') then
            return nil, 'expected letters, digits, _ and -, nested with dots'
        end
    end
    if fields.is_field(name:match('^[^.]+')) then
        return nil, ("'%s' is a field of the record"):format(name:match('^[^.]+'))
    end
    return true
end

-- At most 32, and none inside another: a and a.b cannot both be.
local function check_custom_fields(custom)
    local count = 0
    for name in pairs(custom) do
        count = count + 1
        for other in pairs(custom) do
            if other:sub(1, #name + 1) == name .. '.' then
                return nil, ("'%s' and '%s' cannot both be"):format(name, other)
            end
        end
    end
    if count > 32 then
        return nil, 'at most 32 custom fields'
    end
    return true
end

-- What the entry sets for all sinks, and each sink may set for itself.
local function line_fields(defaults)
    return {
        { format = { type = 'string', one_of = { 'json', 'combined', 'custom' },
            default = defaults and 'json' or nil, description = 'form of a line' } },
        { template = { type = 'string', custom_validator = check_template,
            examples = { '{ts} {client_ip} "{method} {path}" {status} {t.total}' },
            description = 'of the format custom' } },
        { fields = { type = 'array', len_min = 1, len_max = 64,
            elements = { type = 'string', custom_validator = fields.check },
            description = 'what a JSON line shows, in this order' } },
        { queue = { type = 'record', required = defaults, fields = {
            { entries = { type = 'integer', between = { 1, 10000000 },
                default = defaults and 8192 or nil,
                description = 'lines that wait at most, of all workers together' } },
            { bytes = { type = 'bytes', between = { 65536, 2 ^ 31 },
                default = defaults and '8MiB' or nil,
                description = 'bytes that wait at most, of all workers together' } },
            { drop = { type = 'string', one_of = { 'oldest', 'newest' },
                default = defaults and 'oldest' or nil,
                description = 'which lines a full queue loses' } },
            { batch = { type = 'integer', between = { 1, 10000 },
                default = defaults and 200 or nil,
                description = 'of http and lua: most lines at once' } },
            { flush = { type = 'duration', between = { 10, 3600000 },
                default = defaults and '1s' or nil,
                description = 'of http and lua: how long a line waits for others' } },
        } } },
        { retry = sinks.retry(defaults) },
    }
end

local function sink_fields()
    local list = sinks.fields()
    for _, field in ipairs(line_fields(nil)) do
        list[#list + 1] = field
    end
    return list
end

local SINK_SOURCES = { 'retry', 'queue' }
for _, field in ipairs(sinks.fields()) do
    SINK_SOURCES[#SINK_SOURCES + 1] = next(field)
end

local function is_set(value)
    return value ~= nil and value ~= cjson.null
end

-- An array of lines is JSON only where lines are.
local function check_encodings(config)
    for _, sink in ipairs(is_set(config.sinks) and config.sinks or {}) do
        local form = is_set(sink.format) and sink.format or config.format
        if sink.encoding == 'json' and is_set(form) and form ~= 'json' then
            return nil, 'the encoding json needs the format json'
        end
    end
    return true
end

local function check_config(config)
    local missing = config.format == 'custom'
    for _, sink in ipairs(is_set(config.sinks) and config.sinks or {}) do
        missing = missing or sink.format == 'custom' and not is_set(sink.template)
    end
    if missing and not is_set(config.template) then
        return nil, 'the format custom needs a template'
    end
    local ok, err = check_bodies(config)
    if not ok then
        return nil, err
    end
    return check_encodings(config)
end

local config = {
    { sinks = { type = 'array', len_min = 1, len_max = 8, default = { { type = 'stdout' } },
        description = 'where lines go',
        elements = { type = 'record', fields = sink_fields(), entity_checks = {
            { custom_entity_check = { field_sources = SINK_SOURCES,
                run_with_missing_fields = true, fn = sinks.check } },
        } } } },
}
for _, field in ipairs(line_fields(true)) do
    config[#config + 1] = field
end
for _, field in ipairs({
    { custom_fields = { type = 'map', default = {}, custom_validator = check_custom_fields,
        keys = { type = 'string', custom_validator = check_custom_name },
        values = { type = 'any', lua = true, custom_validator = check_constant },
        description = 'further fields of a JSON line: text, numbers, booleans' } },
    { redact = { type = 'record', required = true, fields = {
        { headers = { type = 'set', default = {}, elements = typedefs.header_name,
            description = 'fields whose values are hidden, besides the built-in ones' } },
        { names = { type = 'set', default = {},
            elements = { type = 'string', len_max = 64 },
            description = 'arguments whose values are hidden, besides the built-in ones' } },
        { replace = { type = 'boolean', default = false,
            description = 'headers and names replace the built-in lists' } },
        { action = { type = 'string', default = 'mask', one_of = { 'mask', 'hash', 'remove' },
            description = 'what stands for a secret' } },
        { key = { type = 'secret', description = 'of hashes; unset: another one at each start' } },
    }, description = 'what is hidden in headers, queries and URLs' } },
    { client_ip = { type = 'string', default = 'full',
        one_of = { 'full', 'prefix', 'hash', 'none' },
        description = 'how much of addresses is shown' } },
    { max_line = { type = 'bytes', default = '16KiB', between = { 1024, 262144 },
        description = 'longest line; the longest values are cut' } },
    { when = { type = 'boolean', lua = true, default = true,
        examples = { "lua: record.path ~= '/health'" },
        description = 'which requests get a line; on an error they do' } },
    { sample = { type = 'number', between = { 0, 1 }, default = 1,
        description = 'the share of requests that get a line, the same on every host' } },
    { always = { type = 'record', required = true, fields = {
        { status_min = { type = 'integer', between = { 100, 1000 }, default = 500,
            description = 'requests with this status or a higher one' } },
        { denied = { type = 'boolean', default = true,
            description = 'requests that a policy has denied' } },
        { slow = { type = 'duration', between = { 0, 86400000 }, default = '1s',
            description = 'requests that took as long' } },
        { outcomes = { type = 'set', default = {},
            elements = { type = 'string', custom_validator = check_outcome },
            description = 'requests that ended so' } },
    }, description = 'what is never sampled away' } },
    { body = { type = 'record', fields = {
        { request = { type = 'boolean', default = true, description = 'as `req_body`' } },
        { response = { type = 'boolean', default = false, description = 'as `resp_body`' } },
        { max = { type = 'bytes', default = '4KiB', between = { 1, 65536 },
            description = 'the first bytes of each' } },
        { types = { type = 'set', len_min = 1, len_max = 32,
            elements = { type = 'string', custom_validator = check_body_type },
            default = { 'text/*', 'application/json', 'application/x-www-form-urlencoded' },
            description = 'content types; only texts, JSON and forms' } },
    }, description = 'bodies that are shown; nothing is held back for that' } },
}) do
    config[#config + 1] = field
end

return {
    name = 'access-log',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = {
            type = 'record', fields = config,
            entity_checks = {
                { custom_entity_check = {
                    field_sources = { 'format', 'template', 'sinks', 'fields', 'body' },
                    run_with_missing_fields = true, fn = check_config } },
            },
        } },
    },
}
