-- SPDX-License-Identifier: Apache-2.0
--
-- How a Redis is reached (docs/configuration.md): the fields of an entry of `gateway.redis`, which
-- a plugin's record `redis` has too, the rules over them, and what they come to.
--
--     local redis = require 'moongate.entities.redis'
--     { redis = { type = 'record', fields = redis.fields('20ms'), entity_checks = redis.checks } }
--     local place = redis.resolve(record)   -- the url taken apart, unset fields nil
local address = require 'moongate.schema.address'
local cjson = require 'cjson'
local common = require 'moongate.entities.common'
local limits = require 'moongate.entities.limits'
local typedefs = require 'moongate.typedefs'

local M = {}

local PORT = 6379
local SENTINEL_PORT = 26379
local MOST_NODES = 64
local UNIX_BYTES = 107 -- of a path: what a socket address holds
local about, ms, count = common.about, limits.duration, limits.count

-- ---- url ---------------------------------------------------------------------------------------

local function unescape(text)
    return (text:gsub('%%(%x%x)', function(hex)
        return string.char(tonumber(hex, 16))
    end))
end

local function split_database(text)
    if text == '' or text == '/' then
        return 0
    end
    local database = text:match('^/(%d%d?)$')
    return database and tonumber(database)
end

local function split_login(text)
    local username, password = text:match('^([^:]*):(.*)$')
    if not username then
        return nil
    end
    return username ~= '' and unescape(username) or nil, unescape(password)
end

local function split_unix(rest)
    local path = rest:match('^(/[^?#]+)$')
    if not path or #path > UNIX_BYTES then
        return nil, 'expected a unix socket as unix:///run/redis.sock'
    end
    return { unix = path }
end

--- Takes a url apart: redis://[[user]:password@]host[:port][/database], rediss:// the same with
-- TLS, unix:///path.
-- @tparam string url
-- @treturn table|nil { host, port, unix, username, password, database, tls }
-- @treturn string|nil what is wrong with it
function M.split_url(url)
    local scheme, rest = url:match('^(%a+)://(.*)$')
    scheme = scheme and scheme:lower()
    if scheme == 'unix' then
        return split_unix(rest)
    elseif scheme ~= 'redis' and scheme ~= 'rediss' then
        return nil, 'expected redis://host:port, rediss://host:port or unix:///path'
    end
    local place = { tls = scheme == 'rediss' }
    local authority, path = rest:match('^([^/?#]*)([^?#]*)$')
    if not authority then
        return nil, 'nothing may follow the number of the database'
    end
    local login, server = authority:match('^(.*)@([^@]*)$')
    place.host, place.port = address.split(server or authority)
    place.database = split_database(path)
    if login then
        place.username, place.password = split_login(login)
    end
    if not place.host or not place.database or login and not place.password then
        return nil, 'expected redis://user:password@host:port/database'
    end
    place.port = place.port or PORT
    return place
end

-- ---- fields ------------------------------------------------------------------------------------

local function is_url(value)
    local place, err = M.split_url(value)
    return place ~= nil, err
end

local function is_node(value)
    if address.split(value) then
        return true
    end
    return nil, 'expected HOST:PORT or [ADDRESS]:PORT'
end

local function is_path(value)
    if value:sub(1, 1) == '/' and #value <= UNIX_BYTES then
        return true
    end
    return nil, ('expected a path that begins with / and has at most %d bytes'):format(UNIX_BYTES)
end

local function server_fields()
    return {
        { host = about('name or address of the server', typedefs.host) },
        { port = { type = 'integer', default = PORT, between = { 1, 65535 },
            description = 'of host' } },
        { unix = { type = 'string', custom_validator = is_path,
            description = 'path of a unix socket, in place of host' } },
        { url = { type = 'secret', referenceable = true, custom_validator = is_url,
            description = '`redis://user:password@host:port/database`, `rediss://…` with TLS, or'
                .. ' `unix:///path`, in place of host' } },
        { topology = { type = 'string', default = 'single',
            one_of = { 'single', 'sentinel', 'cluster' },
            description = 'one server; a master that sentinels name; or a cluster' } },
        { nodes = { type = 'array', len_min = 1, len_max = MOST_NODES,
            elements = { type = 'string', custom_validator = is_node },
            description = 'HOST:PORT of the sentinels, or of some servers of the cluster' } },
        { sentinel = { type = 'record', fields = {
            { master = { type = 'string', required = true,
                description = 'what the sentinels call it' } },
            { username = about('to log in to the sentinels', { type = 'string' }) },
            { password = about('to log in to the sentinels', typedefs.secret) },
        } } },
        { username = about('user of the ACL; not set: the default user', { type = 'string' }) },
        { password = about('to log in on every connection', typedefs.secret) },
        { database = about('0 on a cluster', count(0, 0, 15)) },
        { tls = { type = 'record', fields = {
            { enabled = { type = 'boolean', default = true,
                description = 'TLS to the servers, and to sentinels' } },
            { verify = { type = 'boolean', default = true,
                description = 'the certificate must be trusted and have the name' } },
            { server_name = about('the name it must have; not set: the host', typedefs.host) },
            { ca = about('who is trusted: a file of certificates, or their text (PEM); not set:'
                .. ' the list of the system', { type = 'string' }) },
            { cert = about('our own certificate, for servers that ask: file or text',
                { type = 'string' }) },
            { key = about('its key: file or text', typedefs.secret) },
        } } },
    }
end

--- The fields of a record.
-- @tparam string timeout default of `timeout`
-- @treturn table list of one-key tables
function M.fields(timeout)
    local list = server_fields()
    for _, field in ipairs({
        { timeout = about('from handing a command over to its reply', ms(timeout, 1, 5000)) },
        { connect_timeout = about('to connect and log in', ms('100ms', 1, 5000)) },
        { connections = about('of a worker to each server; all commands share them',
            count(2, 1, 16)) },
        { max_pending = about('commands of a worker that wait for a reply; above it `overload`',
            count(1024, 16, 65536)) },
        { breaker = { type = 'record', required = true, fields = {
            { failures = about('so many within the time, or in a row, open it',
                count(5, 1, 1000)) },
            { within = about('the time in which failures are counted', ms('1s', 100, 60000)) },
            { open = about('nobody is asked for so long; then one connection tries',
                ms('1s', 100, 60000)) },
            { max = about('twice as long after each try that fails, at most so long',
                ms('2s', 100, 60000)) },
        } } },
    }) do
        list[#list + 1] = field
    end
    return list
end

-- ---- rules -------------------------------------------------------------------------------------

--- Is a field of a record set?
-- @param value of the field
-- @treturn boolean
function M.is_set(value)
    return value ~= nil and value ~= cjson.null
end

local is_set = M.is_set

local function given(record, ...)
    local names = {}
    for _, name in ipairs({ ... }) do
        if is_set(record[name]) then
            names[#names + 1] = name
        end
    end
    return names
end

local function check_single(record)
    local names = given(record, 'host', 'unix', 'url')
    if #names == 0 then
        return nil, "there is no server: set 'host', 'unix' or 'url'"
    elseif #names > 1 then
        return nil, ("'%s' and '%s' cannot both be"):format(names[1], names[2]), names[2]
    elseif is_set(record.nodes) then
        return nil, "'nodes' are of the topologies sentinel and cluster", 'nodes'
    elseif is_set(record.url) and is_set(record.password) then
        local place = M.split_url(record.url)
        if place and place.password then
            return nil, "the password stands in the url, or in 'password'", 'password'
        end
    end
    return true
end

local function check_many(record)
    local names = given(record, 'host', 'unix', 'url')
    if #names > 0 then
        return nil, ("topology %s has 'nodes', not '%s'"):format(record.topology, names[1]),
            names[1]
    elseif not is_set(record.nodes) then
        return nil, ("topology %s needs 'nodes'"):format(record.topology)
    elseif record.topology == 'cluster' and record.database ~= 0 then
        return nil, 'a cluster has database 0 alone', 'database'
    elseif record.topology == 'sentinel' and not is_set(record.sentinel) then
        return nil, "topology sentinel needs 'sentinel' with its 'master'"
    end
    return true
end

local function is_unix(record)
    return is_set(record.unix) or is_set(record.url) and (record.url:match('^%a+') or ''):lower()
        == 'unix'
end

local function check_tls(record)
    local tls = record.tls
    if is_set(tls.cert) ~= is_set(tls.key) then
        return nil, "'cert' and 'key' belong together", 'tls'
    elseif tls.enabled and is_unix(record) then
        return nil, 'a unix socket has no TLS', 'tls'
    elseif not tls.enabled and is_set(record.url) and record.url:lower():find('^rediss:') then
        return nil, "the url says rediss, and 'tls' that there is none", 'tls'
    end
    return true
end

--- The rules over one record.
-- @tparam table record with its defaults
-- @treturn boolean|nil true; nil, message, field
function M.check(record)
    if record.topology ~= 'sentinel' and is_set(record.sentinel) then
        return nil, "'sentinel' is of the topology sentinel", 'sentinel'
    elseif is_set(record.username) and not is_set(record.password) then
        return nil, "a 'username' needs a 'password'", 'username'
    elseif is_set(record.tls) then
        local ok, message, field = check_tls(record)
        if not ok then
            return nil, message, field
        end
    end
    if record.topology == 'single' then
        return check_single(record)
    end
    return check_many(record)
end

--- For a record definition: `entity_checks = redis.checks`.
M.checks = {
    { custom_entity_check = {
        field_sources = { 'host', 'unix', 'url', 'topology', 'nodes', 'sentinel', 'username',
            'password', 'database', 'tls' },
        run_with_missing_fields = true, fn = M.check,
    } },
}

-- ---- what they come to -------------------------------------------------------------------------

local function plain(record)
    local copy = {}
    for name, value in pairs(record) do
        if is_set(value) then
            copy[name] = value
        end
    end
    return copy
end

local function single_node(record)
    local place = record.url and M.split_url(record.url) or record
    if record.url and place.tls then -- rediss: the record `tls` only says how
        record.tls = record.tls or { enabled = true, verify = true }
    end
    record.username = record.username or place.username
    record.password = record.password or place.password
    if record.url and place.database and place.database ~= 0 then
        record.database = place.database
    end
    if place.unix then
        return { host = 'unix:' .. place.unix, port = 0 }
    end
    return { host = place.host:match('^%[(.+)%]$') or place.host, port = place.port }
end

--- A checked record in plain values: no nulls, no url.
-- @tparam table record
-- @treturn table its fields; nodes is a list of { host, port }, host may be `unix:/path`
function M.resolve(record)
    local result = plain(record)
    result.tls = result.tls and plain(result.tls) or nil
    if result.topology == 'single' then
        result.nodes = { single_node(result) }
    else
        local default = result.topology == 'sentinel' and SENTINEL_PORT or PORT
        local nodes = {}
        for i, text in ipairs(result.nodes) do
            local host, port = address.split(text)
            nodes[i] = { host = host, port = port or default }
        end
        result.nodes = nodes
    end
    result.sentinel = result.sentinel and plain(result.sentinel) or nil
    if result.tls and not result.tls.enabled then
        result.tls = nil
    end
    return result
end

return M
