-- SPDX-License-Identifier: Apache-2.0
-- From a checked configuration to what moongate.access_log opens: one line form and one target for
-- each sink.
local cjson = require 'cjson'
local custom_fields = require 'moongate.plugins.access-log.custom'
local fields = require 'moongate.plugins.access-log.fields'
local sinks = require 'moongate.plugins.access-log.sinks'

local M = {}

local HEADERS = { 'authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-api-key',
    'apikey' }
local NAMES = { 'token', 'access_token', 'refresh_token', 'id_token', 'api_key', 'apikey', 'key',
    'password', 'passwd', 'secret', 'signature', 'code' }

local LEAST_BYTES = 256 * 1024 -- of a worker's part of the queue
local LEAST_ENTRIES = 256

local function joined(built_in, given, replace)
    local list = {}
    for _, name in ipairs(replace and {} or built_in) do
        list[#list + 1] = name
    end
    for _, name in ipairs(given) do
        list[#list + 1] = name
    end
    return list
end

-- { ['a.b'] = 1, ['a.c'] = 2 } -> { { key = 'a', json = '{"b":1,"c":2}' } }
local function constants_of(custom)
    local names, tree = {}, {}
    for name in pairs(custom) do
        names[#names + 1] = name
    end
    table.sort(names)
    local list = {}
    for _, name in ipairs(names) do
        local first, rest = name:match('^([^.]+)%.?(.*)$')
        if tree[first] == nil then
            list[#list + 1] = { key = first }
        end
        if rest == '' then
            tree[first] = custom[name]
        else
            tree[first] = tree[first] or {}
            custom_fields.set(tree[first], rest, custom[name])
        end
    end
    for _, constant in ipairs(list) do
        constant.json = cjson.encode(tree[constant.key])
    end
    return list
end

-- A worker's part of what the host may queue.
local function part_of(total, workers, least)
    return math.min(total, math.max(least, math.ceil(total / workers)))
end

local function sink_of(conf, index, form, workers)
    local sink = conf.sinks[index]
    local queue = {}
    for _, name in ipairs({ 'bytes', 'entries', 'drop', 'batch', 'flush' }) do
        queue[name] = sink.queue and sink.queue[name] or conf.queue[name]
    end
    local target = sinks.target(sink, form, conf.retry)
    if sink.type == 'lua' then -- of this entry alone, whatever its function is
        target.name = ('lua:%s/%d'):format(conf.plugin_instance_name or conf.__plugin_id, index)
    end
    target.queue_bytes = part_of(queue.bytes, workers, LEAST_BYTES)
    target.queue_entries = part_of(queue.entries, workers, LEAST_ENTRIES)
    target.drop, target.batch, target.flush = queue.drop, queue.batch, queue.flush
    return target
end

local function default_fields(conf)
    local bodies = {}
    bodies[#bodies + 1] = conf.body and conf.body.request and 'req_body' or nil
    bodies[#bodies + 1] = conf.body and conf.body.response and 'resp_body' or nil
    return joined(fields.default, bodies)
end

local READER_BYTES = 65536 -- of a record as text
local READER_FIELDS = { 'peer_ip', 'query', 'plugin_ms', 'req_headers', 'resp_headers' }

-- What is the same in all lines of an entry.
local function line_of(conf, form)
    local body = conf.body
    return {
        request_body = body and body.request and body.max or 0,
        response_body = body and body.response and body.max or 0,
        body_types = body and table.concat(body.types, ' ') .. ' ' or '',
        form = form, max_line = conf.max_line, client_ip = conf.client_ip,
        action = conf.redact.action, hash_key = conf.redact.key,
        headers = joined(HEADERS, conf.redact.headers, conf.redact.replace),
        names = joined(NAMES, conf.redact.names, conf.redact.replace) }
end

--- Does a JSON line of the entry show an optional field?
-- @tparam table conf checked
-- @tparam string name
-- @treturn boolean
function M.shows(conf, name)
    local lists = { conf.fields or {} }
    for _, sink in ipairs(conf.sinks) do
        lists[#lists + 1] = sink.fields
    end
    for _, list in ipairs(lists) do
        for _, one in ipairs(list) do
            if one == name then
                return true
            end
        end
    end
    return false
end

--- The record that values in Lua see: all fields, all headers.
-- @tparam table conf checked
-- @treturn table settings of moongate.access_log.reader
function M.reader(conf)
    local reader = line_of(conf, 'json')
    reader.max_line = READER_BYTES
    reader.fields = joined(default_fields(conf), READER_FIELDS)
    return reader
end

--- What has to be opened for an entry.
-- @tparam table conf checked
-- @tparam number workers how many share the host's queue
-- @treturn table list of settings of moongate.access_log.open
function M.of(conf, workers)
    local list = {}
    local constants = not custom_fields.are_computed(conf.custom_fields)
        and constants_of(conf.custom_fields) or nil
    for i, sink in ipairs(conf.sinks) do
        local form = sink.format or conf.format
        local template = form == 'custom' and (sink.template or conf.template)
        local line = line_of(conf, form)
        line.fields = form == 'json' and (sink.fields or conf.fields or default_fields(conf)) or nil
        line.template = template and fields.parse_template(template) or nil
        line.constants = form == 'json' and constants or nil
        line.sink = sink_of(conf, i, form, workers)
        list[i] = line
    end
    return list
end

return M
