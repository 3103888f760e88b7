-- SPDX-License-Identifier: Apache-2.0
--
-- Real Redis servers for specs, each in a folder of its own, and a plain client to look into them.
-- process.stop_all() ends them.
--
--     local redis = require 'spec.gateway.support.redis'
--     local server = redis.server()                       -- server.port, server.socket
--     assert.equal('OK', server:ask('SET', 'key', 'value'))
--     server:signal('STOP')
--     server:count('commandstats', 'cmdstat_evalsha:calls')
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = {}

-- ---- a plain client ----------------------------------------------------------------------------

local function command_text(words)
    local parts = { ('*%d\r\n'):format(#words) }
    for _, word in ipairs(words) do
        word = tostring(word)
        parts[#parts + 1] = ('$%d\r\n%s\r\n'):format(#word, word)
    end
    return table.concat(parts)
end

local Client = {}
Client.__index = Client

--- A connection.
-- @tparam number|string place port of 127.0.0.1, or path of a unix socket
-- @treturn Client|nil
function M.connect(place, seconds)
    local deadline = posix.now() + (seconds or process.deadline)
    local fd, err = posix.connect(place, deadline)
    if not fd then
        return nil, err
    end
    return setmetatable({ fd = fd, kept = '' }, Client)
end

function Client:close()
    posix.close(self.fd)
end

local function take(self, length)
    while #self.kept < length do
        local bytes = posix.read(self.fd, posix.now() + process.deadline)
        if not bytes or bytes == '' then
            error('redis does not answer', 0)
        end
        self.kept = self.kept .. bytes
    end
    local bytes = self.kept:sub(1, length)
    self.kept = self.kept:sub(length + 1)
    return bytes
end

local function take_line(self)
    local at = self.kept:find('\r\n', 1, true)
    while not at do
        self.kept = take(self, #self.kept + 1) .. self.kept
        at = self.kept:find('\r\n', 1, true)
    end
    return take(self, at + 1):sub(1, -3)
end

--- Reads one reply: text, number, false for null, a list; an error reply as { error = text }.
function Client:read()
    local line = take_line(self)
    local kind, rest = line:sub(1, 1), line:sub(2)
    if kind == '+' then
        return rest
    elseif kind == ':' then
        return tonumber(rest)
    elseif kind == '-' then
        return { error = rest }
    end
    local length = tonumber(rest)
    if length < 0 then
        return false
    elseif kind == '$' then
        return (take(self, length + 2):sub(1, -3))
    end
    local list = {}
    for i = 1, length do
        list[i] = self:read()
    end
    return list
end

--- Sends a command and reads its reply.
function Client:ask(...)
    assert(posix.send(self.fd, command_text({ ... }), posix.now() + process.deadline))
    return self:read()
end

-- ---- servers -----------------------------------------------------------------------------------

local Server = {}
Server.__index = Server

local function argv_of(server)
    if server.argv then
        return server.argv
    end
    local argv = { 'redis-server', '--port', tostring(server.port), '--bind', '127.0.0.1',
        '--unixsocket', server.socket, '--dir', server.folder, '--save', '', '--appendonly', 'no',
        '--loglevel', 'warning' }
    for _, argument in ipairs(server.arguments) do
        argv[#argv + 1] = argument
    end
    return argv
end

--- Starts it (again) in its place and waits until it takes connections.
function Server:start()
    if self.socket then
        os.remove(self.socket)
    end
    self.process = process.start(argv_of(self))
    local deadline = posix.now() + process.deadline
    local connection
    repeat
        connection = M.connect(self.port, 1)
        if not connection and self.process:wait(0.02) then
            break
        end
    until connection or posix.now() > deadline
    assert(connection, 'redis-server did not start: ' .. self.process.out .. self.process.err)
    connection:close()
    return self
end

--- Sends a signal by its name.
function Server:signal(name)
    self.process:signal(name)
end

--- Kills it.
function Server:kill()
    posix.kill(self.process.pid, posix.signals.KILL)
    assert(self.process:wait(), 'redis-server does not end')
    self.process:stop()
end

local function ask_once(self, ...)
    local connection = assert(M.connect(self.socket or self.port))
    if self.login then
        local answer = connection:ask('AUTH', unpack(self.login))
        assert(answer == 'OK', type(answer) == 'table' and answer.error or answer)
    end
    local ok, reply = pcall(connection.ask, connection, ...)
    connection:close()
    return ok, reply
end

--- Asks on a connection of its own, logged in where the server has a password. Once more where that
-- connection is closed: a sentinel that changes a server's role has its clients' connections closed
-- (CLIENT KILL TYPE normal).
function Server:ask(...)
    local ok, reply = ask_once(self, ...)
    if not ok then
        ok, reply = ask_once(self, ...)
    end
    if not ok then
        error(reply, 2)
    end
    return reply
end

--- A number of INFO: the one behind NAME= or NAME:.
function Server:count(section, name)
    local info = self:ask('INFO', section)
    local plain = name:gsub('%p', '%%%0')
    return tonumber(info:match(plain .. '[=:](%d+)')) or 0
end

-- A server of a cluster has a second port, 10000 above the first: that has to be free, too.
local function free_port(with_bus)
    while true do
        local port = process.free_port()
        local is_free, fd = not with_bus
        if with_bus and port < 55536 then
            is_free, fd = pcall(posix.listen, nil, nil, port + 10000)
        end
        if is_free then
            if fd then
                posix.close(fd)
            end
            return port
        end
    end
end

--- Starts a server on a free port and a unix socket.
-- @tparam[opt] table o arguments (of redis-server), login (user and password for `ask`), port, bus
-- (true: its port leaves room for the one of a cluster)
-- @treturn Server port, socket, folder, pid
function M.server(o)
    o = o or {}
    local folder = process.folder()
    local server = setmetatable({ folder = folder, socket = folder .. '/redis.sock',
        port = o.port or free_port(o.bus), arguments = o.arguments or {}, login = o.login },
        Server)
    return server:start()
end

-- ---- TLS ---------------------------------------------------------------------------------------

-- @ stands for the folder.
local function openssl(folder, text)
    local log = folder .. '/openssl.log'
    assert(os.execute(("openssl %s >'%s' 2>&1"):format((text:gsub('@', folder .. '/')), log)) == 0,
        process.read(log))
end

--- Makes an authority, and a certificate of it for 127.0.0.1 and redis.test.
-- @treturn table paths: ca, cert, key; late: a certificate for the same key that has expired;
-- other_ca: of somebody else
function M.certificates()
    local folder = process.folder()
    local new_key = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj'
    for _, name in ipairs({ 'ca', 'other' }) do
        openssl(folder, ('req -x509 -days 2 -keyout @%s.key -out @%s.pem %s /CN=%s'):format(
            name, name, new_key, name))
    end
    process.write(folder .. '/names', 'subjectAltName=DNS:redis.test,IP:127.0.0.1\n')
    openssl(folder, 'req -keyout @key.pem -out @request.pem ' .. new_key .. ' /CN=redis')
    local sign = 'x509 -req -in @request.pem -CA @ca.pem -CAkey @ca.key -CAcreateserial'
        .. ' -extfile @names'
    openssl(folder, sign .. ' -days 2 -out @cert.pem')
    openssl(folder, sign .. ' -days -1 -out @late.pem')
    return { ca = folder .. '/ca.pem', other_ca = folder .. '/other.pem',
        cert = folder .. '/cert.pem', key = folder .. '/key.pem', late = folder .. '/late.pem' }
end

local function tls_arguments(files, port)
    return { '--tls-port', tostring(port), '--tls-cert-file', files.cert,
        '--tls-key-file', files.key, '--tls-ca-cert-file', files.ca, '--tls-auth-clients', 'no' }
end

-- Both; the second may be nil.
local function joined(list, more)
    local all = { unpack(list) }
    for _, each in ipairs(more or {}) do
        all[#all + 1] = each
    end
    return all
end

--- A server that speaks TLS on server.tls_port (and plain on its other port and its socket).
-- @tparam table files of M.certificates
-- @tparam[opt] table o of M.server
function M.tls_server(files, o)
    o = o or {}
    local port = free_port(o.bus)
    local server = M.server({ arguments = joined(tls_arguments(files, port), o.arguments),
        login = o.login })
    server.tls_port = port
    return server
end

-- With TLS where there are files: what clients and servers of a fleet connect to.
local function start_member(files, arguments, o)
    o.arguments = arguments
    local server
    if files then
        o.arguments = joined(arguments, { '--tls-replication', 'yes' })
        server = M.tls_server(files, o)
    else
        server = M.server(o)
    end
    server.fleet_port = server.tls_port or server.port
    return server
end

-- ---- fleets ------------------------------------------------------------------------------------

-- Waits until holds() is true.
function M.wait(holds, what)
    local deadline = posix.now() + process.deadline
    while not holds() do
        assert(posix.now() < deadline, 'waited in vain: ' .. what)
        posix.pause(0.02)
    end
end

local SENTINEL = [[
port %d
bind 127.0.0.1
dir %s
sentinel resolve-hostnames no
sentinel monitor %s 127.0.0.1 %d 2
sentinel down-after-milliseconds %s 500
sentinel failover-timeout %s 2000
sentinel parallel-syncs %s 1
]]

local function start_sentinel(name, master, files)
    local folder, port = process.folder(), process.free_port()
    local config = process.write(folder .. '/sentinel.conf',
        SENTINEL:format(port, folder, name, master.fleet_port, name, name, name))
    local sentinel = setmetatable({ folder = folder, port = port, fleet_port = port,
        arguments = {} }, Server)
    sentinel.argv = { 'redis-server', config, '--sentinel' }
    if files then
        sentinel.fleet_port = process.free_port()
        sentinel.argv = joined(joined(sentinel.argv, tls_arguments(files, sentinel.fleet_port)),
            { '--tls-replication', 'yes' })
    end
    return sentinel:start()
end

local Fleet = {}
Fleet.__index = Fleet

--- A master, a replica and three sentinels, which all know each other.
-- @tparam string name that the sentinels have for the master
-- @tparam[opt] table files of M.certificates: all of them speak TLS
-- @treturn Fleet master, replica, sentinels
function M.sentinels(name, files)
    local fleet = setmetatable({ name = name, sentinels = {} }, Fleet)
    fleet.master = start_member(files, { '--repl-diskless-sync-delay', '0' }, {})
    fleet.replica = start_member(files, { '--replicaof', '127.0.0.1',
        tostring(fleet.master.fleet_port), '--repl-diskless-sync-delay', '0' }, {})
    fleet:wait_following()
    for i = 1, 3 do
        fleet.sentinels[i] = start_sentinel(name, fleet.master, files)
    end
    M.wait(function()
        for _, sentinel in ipairs(fleet.sentinels) do
            local info = sentinel:ask('INFO', 'sentinel')
            if not info:match('slaves=1,sentinels=3') then
                return false
            end
        end
        return true
    end, 'the sentinels know each other')
    return fleet
end

--- Addresses for `nodes` of the configuration.
function Fleet:nodes()
    local list = {}
    for i, sentinel in ipairs(self.sentinels) do
        list[i] = ('"127.0.0.1:%d"'):format(sentinel.fleet_port)
    end
    return '[' .. table.concat(list, ', ') .. ']'
end

--- Waits until the replica follows the master, whichever is which.
function Fleet:wait_following()
    M.wait(function()
        if self.replica:ask('ROLE')[1] == 'master' then
            self.master, self.replica = self.replica, self.master
        end
        return self.replica:ask('INFO', 'replication'):match('master_link_status:up')
    end, 'the replica follows')
end

local Cluster = {}
Cluster.__index = Cluster

local function cluster_node(o)
    local arguments = { '--cluster-enabled', 'yes',
        '--cluster-node-timeout', tostring(o.node_timeout or 1000),
        '--cluster-require-full-coverage', 'no', '--repl-diskless-sync-delay', '0' }
    return start_member(o.files, joined(arguments, o.files and { '--tls-cluster', 'yes' }),
        { bus = true })
end

local function command(argv)
    local program = process.start(argv)
    local code = program:wait(60)
    program:stop()
    assert(code == 0, table.concat(argv, ' ') .. ': ' .. program.out .. program.err)
end

--- A cluster: masters with a share of the slots each, and as many replicas.
-- @tparam[opt] table o masters (3), replicas (of each master, 1), node_timeout (1000 ms), files (of
-- M.certificates: all of them speak TLS)
-- @treturn Cluster servers
function M.cluster(o)
    o = o or {}
    local masters, replicas = o.masters or 3, o.replicas or 1
    local cluster = setmetatable({ servers = {} }, Cluster)
    local argv = { 'redis-cli', '--cluster', 'create' }
    for i = 1, masters * (1 + replicas) do
        cluster.servers[i] = cluster_node(o)
        argv[#argv + 1] = '127.0.0.1:' .. cluster.servers[i].fleet_port
    end
    argv = joined(argv, { '--cluster-replicas', tostring(replicas), '--cluster-yes' })
    command(joined(argv, o.files and { '--tls', '--cacert', o.files.ca }))
    cluster:wait_ok()
    return cluster
end

--- Waits until every server that lives calls the cluster whole.
function Cluster:wait_ok()
    M.wait(function()
        for _, server in ipairs(self.servers) do
            if not server.process.code
                and not server:ask('CLUSTER', 'INFO'):match('cluster_state:ok') then
                return false
            end
        end
        return true
    end, 'the cluster is whole')
end

--- Adds an empty master.
function Cluster:add()
    local server = cluster_node({})
    server:ask('CLUSTER', 'MEET', '127.0.0.1', self.servers[1].port)
    self.servers[#self.servers + 1] = server
    M.wait(function()
        for _, each in ipairs(self.servers) do
            if #each:nodes() ~= #self.servers then
                return false
            end
        end
        return true
    end, 'the new server is known')
    self:wait_ok()
    return server
end

--- What CLUSTER NODES says, a table for each line: id, port, is_master.
function Server:nodes()
    local list = {}
    for line in self:ask('CLUSTER', 'NODES'):gmatch('[^\n]+') do
        local id, port, flags = line:match('^(%x+) [%d.]+:(%d+)@%d+%S* (%S+)')
        if id and not flags:match('handshake') then
            list[#list + 1] = { id = id, port = tonumber(port),
                is_master = flags:match('master') ~= nil }
        end
    end
    return list
end

function Cluster:id(server)
    for _, node in ipairs(server:nodes()) do
        if node.port == server.port then
            return node.id
        end
    end
end

--- The server that owns a slot.
function Cluster:owner(slot)
    for _, range in ipairs(self.servers[1]:ask('CLUSTER', 'SLOTS')) do
        if slot >= range[1] and slot <= range[2] then
            for _, server in ipairs(self.servers) do
                if server.port == range[3][2] then
                    return server
                end
            end
        end
    end
end

--- A replica of that master.
function Cluster:replica_of(master)
    local id = self:id(master)
    for _, server in ipairs(self.servers) do
        if server:ask('CLUSTER', 'NODES'):match('myself,slave ' .. id) then
            return server
        end
    end
end

--- Moves so many slots of all masters to one, as an operator does.
-- @treturn Process that does it
function Cluster:reshard(to, slots)
    return process.start({ 'redis-cli', '--cluster', 'reshard',
        '127.0.0.1:' .. self.servers[1].port, '--cluster-from', 'all', '--cluster-to',
        self:id(to), '--cluster-slots', tostring(slots), '--cluster-yes' })
end

--- Begins to move a slot: the source answers ASK for keys it has not.
function Cluster:begin_move(slot, from, to)
    assert(to:ask('CLUSTER', 'SETSLOT', slot, 'IMPORTING', self:id(from)) == 'OK')
    assert(from:ask('CLUSTER', 'SETSLOT', slot, 'MIGRATING', self:id(to)) == 'OK')
end

--- Moves keys of the slot.
function Cluster:move_keys(slot, from, to, count)
    local keys = from:ask('CLUSTER', 'GETKEYSINSLOT', slot, count)
    if #keys > 0 then
        assert(from:ask('MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', unpack(keys))
            == 'OK')
    end
    return #keys
end

--- The slot belongs to the other one from now on.
function Cluster:end_move(slot, from, to)
    local id = self:id(to)
    assert(to:ask('CLUSTER', 'SETSLOT', slot, 'NODE', id) == 'OK')
    assert(from:ask('CLUSTER', 'SETSLOT', slot, 'NODE', id) == 'OK')
end

return M
