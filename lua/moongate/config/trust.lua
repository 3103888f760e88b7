-- SPDX-License-Identifier: Apache-2.0
--
-- The records `tls` of a file: puts the text of certificates and keys in the place of the names of
-- their files, so that the expanded configuration holds all that workers need; tells what is wrong
-- with them; warns where nobody is verified. Runs over the tree, before anything is validated.
local M = {}

local UNREADABLE, REFUSED, UNVERIFIED = 'MG1012', 'MG1032', 'MG1056'
local PARTS = { 'ca', 'cert', 'key' }

local function is_name(value)
    return type(value) == 'string' and value ~= '' and not value:find('-----BEGIN', 1, true)
end

local function extend(path, key)
    local longer = { unpack(path) }
    longer[#longer + 1] = key
    return longer
end

local function note_source(soft, node, key, value)
    soft[node] = soft[node] or {}
    if soft[node][key] == nil then
        soft[node][key] = value
    end
end

-- true when every part is a text, or not there.
local function read_parts(tls, path, o)
    local complete = true
    for _, part in ipairs(PARTS) do
        local value = tls[part]
        if is_name(value) then
            local text, err = o.read_file(value:sub(1, 1) == '/' and value or o.folder .. value)
            if text then
                note_source(o.soft, tls, part, value)
                tls[part] = text
            else
                complete = false
                o.findings:add(extend(path, part), { code = UNREADABLE,
                    message = ('the file "%s" cannot be read: %s'):format(value, err or '?') })
            end
        end
    end
    return complete
end

-- That one of the two is missing, the schema says.
local function wrong_texts(tls, check)
    local ca, cert, key = tls.ca, tls.cert, tls.key
    if type(cert) ~= 'string' or type(key) ~= 'string' then
        cert, key = '', ''
    end
    return check(type(ca) == 'string' and ca or '', cert, key)
end

local function read_record(tls, path, o)
    if type(tls) ~= 'table' then
        return
    end
    if tls.verify == false and tls.enabled ~= false then
        o.findings:add(extend(path, 'verify'), { severity = 'warning', code = UNVERIFIED,
            message = 'any server is trusted, whoever it is' })
    end
    if read_parts(tls, path, o) and o.check then
        local wrong = wrong_texts(tls, o.check)
        if wrong then
            o.findings:add(path, { code = REFUSED, message = wrong })
        end
    end
end

-- Plugins of ours whose option `redis` is such a record (moongate.entities.redis).
local WITH_REDIS = { ['rate-limit'] = true }

local function read_plugins(items, o)
    for _, item in ipairs(items) do
        local config = WITH_REDIS[item.raw.name] and item.raw.config
        local redis = type(config) == 'table' and config.redis
        if type(redis) == 'table' then
            read_record(redis.tls, extend(extend(extend(item.path, 'config'), 'redis'), 'tls'), o)
        end
    end
end

--- Reads and checks all of them.
-- @tparam table tree of the file; file names in it become texts
-- @tparam table plugins items (collect.lua)
-- @tparam table o findings; keys_of; soft (expand.lua), which gets the file names; read_file;
-- folder of the configuration file, '' or ending in `/`; check = function(ca, cert, key) -> what is
-- wrong with these texts, or nil
function M.run(tree, plugins, o)
    local gateway = type(tree.gateway) == 'table' and tree.gateway
    local instances = gateway and type(gateway.redis) == 'table' and gateway.redis or {}
    for _, name in ipairs(o.keys_of(instances)) do
        local record = instances[name]
        if type(record) == 'table' then
            read_record(record.tls, { 'gateway', 'redis', name, 'tls' }, o)
        end
    end
    read_plugins(plugins, o)
end

return M
