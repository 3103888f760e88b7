-- SPDX-License-Identifier: Apache-2.0
-- moongate.client: who calls, as address and as consumer (docs/plugin-reference.md).
local base = require 'moongate.pdk.base'
local fields = require 'moongate.pdk.fields'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local UUID = '^' .. ('%x'):rep(8) .. '%-' .. (('%x'):rep(4) .. '%-'):rep(3) .. ('%x'):rep(12) .. '$'

--- Address of the connection's other end.
-- @treturn string "unix:" for a unix socket
function M.get_ip()
    return base.text(base.request(base.NOT_INIT), C.MG_FFI_PEER_IP)
end

--- Address of the client: from the right of X-Forwarded-For, the first outside trusted_ips.
-- @treturn string
function M.get_forwarded_ip()
    return base.text(base.request(base.NOT_INIT), C.MG_FFI_CLIENT_IP)
end

--- @treturn number port of the connection's other end
function M.get_port()
    return C.mg_ffi_req_int(base.request(base.NOT_INIT), C.MG_FFI_PEER_PORT)
end

--- @treturn number port of the client, where it is known
function M.get_forwarded_port()
    return C.mg_ffi_req_int(base.request(base.NOT_INIT), C.MG_FFI_CLIENT_PORT)
end

--- Protocol that the client speaks.
-- @tparam[opt] boolean allow_terminated true: X-Forwarded-Proto of a trusted peer counts
-- @treturn string|nil "http" or "https"
-- @treturn string|nil error
function M.get_protocol(allow_terminated)
    local req = base.request(base.ROUTED)
    if C.mg_ffi_req_int(req, C.MG_FFI_ROUTE_INDEX) < 0 then
        return nil, 'No active route found'
    end
    if allow_terminated and C.mg_ffi_req_int(req, C.MG_FFI_PEER_TRUSTED) == 1 then
        local proto = fields.first(req, C.MG_FFI_REQUEST, 'x-forwarded-proto')
        if proto and proto:lower() == 'https' then
            return 'https'
        end
    end
    return 'http'
end

--- What authenticate stored.
-- @treturn table|nil
function M.get_credential()
    local _, object = base.request(base.ROUTED)
    return object.credential
end

--- The consumer that authenticate stored.
-- @treturn table|nil
function M.get_consumer()
    local _, object = base.request(base.ROUTED)
    return object.consumer
end

-- Consumers by id and by username, made once for a generation's configuration.
local index = setmetatable({}, { __mode = 'k' })

local function consumers()
    local config = runtime.generation.config
    local found = index[config]
    if not found then
        found = { by_id = {}, by_username = {} }
        for _, consumer in ipairs(config.consumers or {}) do
            found.by_id[consumer.id] = consumer
            if consumer.username then
                found.by_username[consumer.username] = consumer
            end
        end
        index[config] = found
    end
    return found
end

--- A consumer of the configuration.
-- @tparam string id UUID, or with by_username also a username
-- @tparam[opt] boolean by_username
-- @treturn table|nil
function M.load_consumer(id, by_username)
    base.request(base.ROUTED)
    base.check_type(id, 'string', 'consumer_id')
    local is_uuid = id:find(UUID) ~= nil
    if not is_uuid and not by_username then
        base.raise('cannot load a consumer with an id that is not a uuid')
    end
    local all = consumers()
    return is_uuid and all.by_id[id] or by_username and all.by_username[id] or nil
end

--- Stores who calls, for this request. Sets no headers.
-- @tparam table|nil consumer
-- @tparam table|nil credential not both nil
function M.authenticate(consumer, credential)
    local req, object = base.request(base.ACCESS)
    if consumer ~= nil and type(consumer) ~= 'table' then
        base.raise('consumer must be a table or nil')
    elseif credential ~= nil and type(credential) ~= 'table' then
        base.raise('credential must be a table or nil')
    elseif consumer == nil and credential == nil then
        base.raise('either credential or consumer must be provided')
    end
    runtime.ctx(object)  -- so that the end of the request clears both
    object.consumer, object.credential = consumer, credential
    local id = consumer and tostring(consumer.id or '') or ''
    local name = consumer and tostring(consumer.username or consumer.custom_id or id) or ''
    C.mg_ffi_req_consumer(req, name, #name, id, #id)
end

return M
