-- SPDX-License-Identifier: Apache-2.0
-- moongate.redis: commands to a Redis of `gateway.redis`. The handler waits, the worker does not;
-- all commands of a worker share a few connections (core/net/redis.h has the promises).
--
--     local redis                                              -- in a plugin's file
--     function plugin:configure()
--         redis = moongate.redis.instance('main')              -- begins to connect
--         take = moongate.redis.script('take')                 -- take.redis.lua beside the handler
--     end
--     function plugin:access()
--         local value, err = redis:get('key')                  -- any command as a method
--         local list = redis:call('LRANGE', 'list', 0, -1)     -- the same by its name
--         local replies = redis:pipeline({ { 'INCR', 'n' }, { 'EXPIRE', 'n', 60 } })
--         local result = redis:run(take, { 'key1', 'key2' }, { 10, 'x' })
--     end
--
-- REPLIES. A text, of a status too ("OK"), is a string; an integer is a number (exact up to 2^53);
-- an array is a table from 1 on; nothing (a null) is ngx.null. An error reply gives false, its
-- text, and its class. When no reply came it is nil, and the class twice.
-- Inside an array or a pipeline an error reply is the table { false, text, class }.
--
--     local value, err, class = redis:get('key')
--     if value == nil then ...          -- class: 'timeout', 'refused', 'open', 'overload', ...
--     elseif value == false then ...    -- err: 'WRONGTYPE Operation ...', class: 'wrongtype'
--     elseif value == ngx.null then ... -- there is no such key
--
-- CLASSES. timeout; refused (no connection); tls; auth (login failed, or the user may not); open
-- (it fails and is not asked for a while); overload (max_pending); readonly, moved, ask, tryagain,
-- noscript, oom, loading, busy, clusterdown, masterdown, wrongtype; protocol; invalid; other.
-- After timeout and refused a command may have been obeyed all the same; it is never sent again.
local ffi = require 'ffi'
local base = require 'moongate.pdk.base'
local places = require 'moongate.entities.redis'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local TOPOLOGIES = { single = 0, sentinel = 1, cluster = 2 }
local NIL, INTEGER = C.MG_FFI_REDIS_NIL, C.MG_FFI_REDIS_INTEGER
local ERROR, ARRAY = C.MG_FFI_REDIS_ERROR, C.MG_FFI_REDIS_ARRAY
local EXACT = 2 ^ 53
local shared = runtime.shared
local null = require('cjson').null

-- What would change or block the connection for all others.
local REFUSED = {}
for name in ([[auth hello select quit reset client monitor subscribe psubscribe ssubscribe
    unsubscribe punsubscribe sunsubscribe multi exec discard watch unwatch blpop brpop brpoplpush
    blmove blmpop bzpopmin bzpopmax bzmpop wait waitaof asking readonly readwrite sync psync
    replconf shutdown debug]]):gmatch('%S+') do
    REFUSED[name] = true
end

-- ---- replies -----------------------------------------------------------------------------------

local node = ffi.new('struct mg_ffi_redis_value')
local read

local function read_array(batch, command, index, elements)
    local list = {}
    for i = 1, elements do
        local value, text, class
        value, index, text, class = read(batch, command, index)
        if text then
            value = { false, text, class }
        end
        list[i] = value
    end
    return list, index
end

-- The value at an index, the index behind it, and the text and class of an error.
function read(batch, command, index)
    C.mg_ffi_redis_value(batch, command, index, node)
    local kind = node.type
    if kind == NIL then
        return null, index + 1
    elseif kind == INTEGER then
        return tonumber(node.number), index + 1
    elseif kind == ARRAY then
        return read_array(batch, command, index + 1, tonumber(node.number))
    end
    local text = ffi.string(node.text.ptr, node.text.len)
    if kind == ERROR then
        return false, index + 1, text, ffi.string(C.mg_ffi_redis_class(text, #text))
    end
    return text, index + 1
end

-- value, text, class as they are returned.
local function result_of(batch, command)
    if C.mg_ffi_redis_value(batch, command, 0, node) == 0 then
        local class = ffi.string(C.mg_ffi_redis_word_of(C.mg_ffi_redis_result(batch, command)))
        return nil, class, class
    end
    local value, _, text, class = read(batch, command, 0)
    return value, text, class
end

-- ---- writing -----------------------------------------------------------------------------------

local function word_of(value)
    local kind = type(value)
    if kind == 'string' then
        return value
    elseif kind == 'number' and value == value then
        local is_whole = value == math.floor(value) and value > -EXACT and value < EXACT
        return (is_whole and '%.0f' or '%.17g'):format(value)
    end
    base.raise(('a word of a command must be text or a number, not %s'):format(
        kind == 'number' and 'NaN' or kind))
end

local function put_words(batch, words, first)
    for i = first, #words do
        local word = word_of(words[i])
        C.mg_ffi_redis_word(batch, word, #word)
    end
end

local function check_name(name)
    base.check_type(name, 'string', 'command')
    if REFUSED[name:lower()] then
        base.raise(('the command %s would change or block the connection that all share'):format(
            base.printable(name:upper())))
    end
end

local function new_batch(self, commands)
    local batch = C.mg_ffi_redis_batch(shared.vm, self.handle, commands)
    return ffi.gc(batch, C.mg_ffi_redis_free) -- the collector frees what an error leaves behind
end

local function free(batch)
    ffi.gc(batch, nil)
    C.mg_ffi_redis_free(batch)
end

-- Sends and waits; an error text when it cannot even be tried.
local function perform(self, batch)
    local status = C.mg_ffi_redis_start(batch, self.timeout)
    if status == 0 then
        runtime.sched.wait()
    elseif status ~= runtime.errors.AGAIN then
        return 'invalid'
    end
end

-- ---- an instance -------------------------------------------------------------------------------

local Instance = {}

local function one(self, batch)
    local err = perform(self, batch)
    if err then
        free(batch)
        return nil, err, err
    end
    local value, text, class = result_of(batch, 0)
    free(batch)
    return value, text, class
end

--- Sends a command and waits for its reply. `redis:get(key)` is `redis:call('GET', key)`.
-- @tparam string name
-- @param ... its words: text and numbers
-- @return the reply; or false, text, class; or nil, class, class (see above)
function Instance:call(name, ...)
    check_name(name)
    local batch = new_batch(self, 1)
    put_words(batch, { name, ... }, 1)
    C.mg_ffi_redis_command(batch, nil, 0)
    return one(self, batch)
end

--- Sends several commands together and waits for all replies. They run in their order, but
-- commands of others may run in between: what must hold together is a script.
-- @tparam table commands list of lists { name, word, ... }
-- @treturn table|nil the replies, each as `call` gives it, an error reply as { false, text, class }
-- @treturn string|nil class of the first command that had no reply
function Instance:pipeline(commands)
    base.check_type(commands, 'table', 'commands')
    local batch = new_batch(self, #commands)
    for _, words in ipairs(commands) do
        base.check_type(words, 'table', 'command')
        check_name(words[1])
        put_words(batch, words, 1)
        if C.mg_ffi_redis_command(batch, nil, 0) == 0 then
            base.raise('too many commands')
        end
    end
    local failed = #commands > 0 and perform(self, batch) or nil
    local replies = {}
    for i = 1, failed and 0 or #commands do
        local value, text, class = result_of(batch, i - 1)
        failed = failed or value == nil and class or nil
        if value == false then
            value = { false, text, class }
        end
        replies[i] = value
    end
    free(batch)
    if failed then
        return nil, failed, failed
    end
    return replies
end

local function script_handle(script)
    if not script.handle then
        local handle = C.mg_ffi_redis_script(shared.vm, script.source, #script.source)
        script.handle = handle ~= nil and ffi.gc(handle, C.mg_ffi_redis_script_release)
    end
    return script.handle or nil
end

--- Runs a script (by its SHA1, or with its source where Redis does not know it) and waits.
-- @tparam table script of moongate.redis.script
-- @tparam table keys list of the keys it touches; on a cluster all of one slot
-- @tparam[opt] table words list of text and numbers, its ARGV
-- @return as `call`
function Instance:run(script, keys, words)
    base.check_type(script, 'table', 'script')
    base.check_type(keys, 'table', 'keys')
    local batch = new_batch(self, 1)
    put_words(batch, keys, 1)
    put_words(batch, words or {}, 1)
    C.mg_ffi_redis_command(batch, script_handle(script), #keys)
    return one(self, batch)
end

-- Any other name is a command.
local instance_index = setmetatable({}, {
    __index = function(methods, name)
        local method = Instance[name] or function(self, ...)
            return self:call(name, ...)
        end
        rawset(methods, name, method)
        return method
    end,
})
local instance_meta = { __index = instance_index }

-- ---- opening -----------------------------------------------------------------------------------

local function put_text(place, text)
    place.ptr, place.len = text or '', text and #text or 0
end

-- The configuration holds the texts of the files (moongate.config.trust).
local function put_tls(options, tls)
    options.use_tls, options.no_verify = 1, tls.verify == false and 1 or 0
    put_text(options.server_name, tls.server_name)
    put_text(options.ca, tls.ca)
    put_text(options.cert, tls.cert)
    put_text(options.key, tls.key)
end

-- `keep` holds what the struct points to until C has copied it.
local function options_of(name, place)
    local keep = { name, place }
    local options = ffi.new('struct mg_ffi_redis_options')
    local nodes = ffi.new('struct mg_ffi_redis_node[?]', #place.nodes)
    keep[3] = nodes
    for i, each in ipairs(place.nodes) do
        put_text(nodes[i - 1].host, each.host)
        nodes[i - 1].port = each.port
    end
    local sentinel, breaker = place.sentinel or {}, place.breaker
    put_text(options.name, name)
    put_text(options.username, place.username)
    put_text(options.password, place.password)
    put_text(options.master, sentinel.master)
    put_text(options.sentinel_username, sentinel.username)
    put_text(options.sentinel_password, sentinel.password)
    options.nodes, options.node_count = nodes, #place.nodes
    options.topology, options.database = TOPOLOGIES[place.topology], place.database
    options.connections, options.max_pending = place.connections, place.max_pending
    options.timeout_ms, options.connect_timeout_ms = place.timeout, place.connect_timeout
    options.failures, options.within_ms = breaker.failures, breaker.within
    options.open_ms, options.max_ms = breaker.open, breaker.max
    if place.tls then
        put_tls(options, place.tls)
    end
    return options, keep
end

local opened = {} -- name -> instance of gateway.redis

--- An instance from a record with the fields of moongate.entities.redis, checked and with its
-- defaults. Equal records are one instance. For policies; plugins name one of gateway.redis.
-- @tparam string name for logs and status
-- @tparam table record
-- @treturn table instance
function M.open(name, record)
    if shared.loop_thread == 0 then
        base.raise('Redis cannot be reached while modules are loaded; use init_worker or configure')
    end
    local options, keep = options_of(name, places.resolve(record))
    local handle = C.mg_ffi_redis_hold(shared.vm, options)
    if handle == nil or not keep then -- what options point to lives until here
        base.raise('Redis cannot be reached here')
    end
    return setmetatable({ name = name, timeout = 0,
        handle = ffi.gc(handle, C.mg_ffi_redis_release) }, instance_meta)
end

--- The instance of `gateway.redis` with that name; the first call begins to connect, so make it in
-- `configure`.
-- @tparam string name
-- @tparam[opt] table options timeout: seconds for each command, in place of the instance's
-- @treturn table instance: call, pipeline, run, and every command in lower case
function M.instance(name, options)
    base.check_type(name, 'string', 'name')
    local instance = opened[name]
    if not instance then
        local gateway = runtime.generation and runtime.generation.config.gateway
        local record = gateway and gateway.redis and gateway.redis[name]
        if not record then
            base.raise(('gateway.redis has no "%s"'):format(base.printable(name)))
        end
        instance = M.open(name, record)
        opened[name] = instance
    end
    local timeout = options and options.timeout
    if timeout == nil then
        return instance
    elseif type(timeout) ~= 'number' or timeout ~= timeout
        or timeout <= 0 then
        base.raise('timeout must be a number of seconds above 0')
    end
    return setmetatable({ name = name, handle = instance.handle,
        timeout = math.max(1, timeout * 1000) }, instance_meta)
end

--- A script from a file NAME.redis.lua beside the handler of a plugin. Every new connection loads
-- it.
-- @tparam string name without .redis.lua
-- @tparam[opt] string plugin not given: the one that is running
-- @treturn table script for `run`
function M.script(name, plugin)
    base.check_type(name, 'string', 'name')
    plugin = plugin or runtime.plugin()
    base.check_type(plugin, 'string', 'plugin')
    local folder = require('moongate.runtime.loader').folder(plugin)
    local own = require('moongate.runtime.boot').plugins_path
    if not folder and own then -- one of our plugins may use another's, which is not loaded
        folder = own .. '/' .. plugin
    end
    local found = require('moongate.runtime.source').find(
        ('moongate.plugins.%s.%s.redis'):format(plugin, name),
        { ('%s/%s.redis.lua'):format(folder or '', name) })
    if not found then
        base.raise(('plugin "%s" has no file %s.redis.lua'):format(plugin, base.printable(name)))
    end
    local script = { name = name, source = found.text }
    if shared.loop_thread ~= 0 then
        script_handle(script)
    end
    return script
end

return M
