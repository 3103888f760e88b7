-- SPDX-License-Identifier: Apache-2.0
--
-- Real processes for specs: the gateway, its commands, echo upstreams. Each spec gets a folder of
-- its own; what was started is ended by stop_all, also after a failure.
--
--     local process = require 'spec.gateway.support.process'
--     teardown / after_each(process.stop_all)
--     local echo = process.echo()                       -- echo.port
--     local gw = process.gateway(yaml)                  -- waits until it is ready; gw.port
--     local code, out, err = gw:command('reload')
--     gw:signal('TERM'); assert.equal(0, gw:wait())
local posix = require 'spec.gateway.support.posix'
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'

local DEADLINE = 30 -- seconds, for anything; sanitizers are slow

local M = { deadline = DEADLINE }
M.binary = os.getenv('MOONGATE_BIN') or './build/release/moongate'
M.absolute = M.binary:match('^/') and M.binary
    or ('%s/%s'):format(assert(io.popen('pwd')):read('*l'), M.binary)

local Process = {}
Process.__index = Process
local running, folders = {}, {}

-- Files ------------------------------------------------------------------------------------------

function M.write(path, text)
    local file = assert(io.open(path, 'w'))
    assert(file:write(text))
    assert(file:close())
    return path
end

function M.read(path)
    local file = io.open(path)
    local text = file and file:read('*a')
    if file then
        file:close()
    end
    return text
end

--- A folder that stop_all removes.
function M.folder()
    local folder = posix.temporary_folder()
    folders[#folders + 1] = folder
    return folder
end

--- What the source of a small plugin stands in; it adds functions to `plugin`.
M.PLUGIN = "local plugin = { PRIORITY = 1, VERSION = '0.1.0' }\n%s\nreturn plugin\n"

--- A folder with plugins of one file each, for the `folder` of a gateway.
-- @tparam {string=string} sources by name
-- @tparam[opt] string frame that each of them stands in, at its %s; M.PLUGIN for one
-- @treturn string
function M.plugins(sources, frame)
    local folder = M.folder()
    assert(os.execute('mkdir ' .. folder .. '/plugins') == 0)
    for name, source in pairs(sources) do
        M.write(('%s/plugins/%s.lua'):format(folder, name), (frame or '%s'):format(source))
    end
    return folder
end

local given = {} -- ports

--- A port of 127.0.0.1 that was free a moment ago.
function M.free_port()
    local fd, port
    repeat -- the kernel may well choose one that it gave before
        fd, port = posix.listen()
        posix.close(fd)
    until not given[port]
    given[port] = true
    return port
end

-- Processes --------------------------------------------------------------------------------------

--- Starts a program; its output is collected in out and err.
function M.start(argv, env)
    local pid, out_fd, err_fd = posix.spawn(argv, env)
    local process = setmetatable({ pid = pid, out = '', err = '', out_fd = out_fd, err_fd = err_fd,
        argv = argv }, Process)
    running[process] = true
    return process
end

function Process:take(name)
    local bytes = posix.read(self[name .. '_fd'], posix.now())
    if bytes == '' then
        posix.close(self[name .. '_fd'])
        self[name .. '_fd'] = nil
    elseif bytes then
        self[name] = self[name] .. bytes
    end
end

-- Reads what the pipes have, waiting until the deadline; false when there was nothing.
function Process:collect(deadline)
    local out, err = posix.wait_two(self.out_fd, self.err_fd, deadline)
    if out then
        self:take('out')
    end
    if err then
        self:take('err')
    end
    return out or err
end

--- Waits until err (or out) holds the text.
-- @treturn boolean
function Process:wait_text(text, seconds, name)
    name = name or 'err'
    local deadline = posix.now() + (seconds or DEADLINE)
    while not self[name]:find(text, 1, true) do
        if not self[name .. '_fd'] or not self:collect(deadline) then
            return false
        end
    end
    return true
end

--- Waits until the process has ended.
-- @treturn number|nil exit code, 128 + signal, or nil when the time is over
function Process:wait(seconds)
    local deadline = posix.now() + (seconds or DEADLINE)
    while not self.code and posix.now() < deadline do
        self.code = posix.reap(self.pid)
        -- Its end closes the pipes, unless a child of it lives on: so the wait is short.
        self:collect(math.min(deadline, posix.now() + 0.02))
    end
    while self.code and self:collect(posix.now()) do
        running[self] = nil
    end
    return self.code
end

function Process:signal(name)
    assert(posix.kill(self.pid, assert(posix.signals[name])), 'no such process')
end

--- Ends it, gently first.
function Process:stop()
    if not self.code then
        posix.kill(self.pid, posix.signals.TERM)
        if not self:wait(10) then
            posix.kill(self.pid, posix.signals.KILL)
            self:wait(5)
        end
    end
    for _, name in ipairs({ 'out_fd', 'err_fd' }) do
        if self[name] then
            posix.close(self[name])
            self[name] = nil
        end
    end
    running[self] = nil
    return self.code
end

--- Ends everything that was started and removes the folders.
function M.stop_all()
    local list = {}
    for process in pairs(running) do
        list[#list + 1] = process
    end
    for _, process in ipairs(list) do
        process:stop()
    end
    for _, folder in ipairs(folders) do
        assert(folder:match('^/tmp/moongate%-spec%-%w+$'))
        os.execute("rm -rf '" .. folder .. "'")
    end
    folders = {}
end

--- Runs the main function of a program to its end, and then stop_all, also after an error.
function M.main(main)
    local ok, err = xpcall(main, debug.traceback)
    M.stop_all()
    if not ok then
        io.stderr:write(err, '\n')
        os.exit(1)
    end
end

--- Runs a command of the binary to its end.
-- @treturn number exit code
-- @treturn string stdout
-- @treturn string stderr
function M.run(...)
    local process = M.start({ M.binary, ... })
    local code = process:wait()
    process:stop()
    return code, process.out, process.err
end

-- The gateway ------------------------------------------------------------------------------------

--- An echo upstream on a free port.
function M.echo(...)
    local process = M.start({ M.binary, 'echo', '--listen', '127.0.0.1:0', '--quiet', ... })
    assert(process:wait_text('\n'), 'the echo upstream did not start: ' .. process.err)
    process.port = tonumber(process.err:match('listening on 127%.0%.0%.1:(%d+)'))
    return process
end

local Gateway = setmetatable({}, { __index = Process })
Gateway.__index = Gateway

--- Starts a gateway on the configuration without waiting.
-- @tparam string yaml
-- @tparam[opt] table o folder (else a new one), env, arguments (of run), wrapper (a command in
-- front of the binary, as a list)
function M.start_gateway(yaml, o)
    o = o or {}
    local folder = o.folder or M.folder()
    local config = M.write(folder .. '/moongate.yml', yaml)
    local argv = {}
    for _, list in ipairs({ o.wrapper or {}, { M.binary, 'run', '-c', config, '--control',
        folder .. '/control' }, o.arguments or {} }) do
        for _, word in ipairs(list) do
            argv[#argv + 1] = word
        end
    end
    local gateway = setmetatable(M.start(argv, o.env), Gateway)
    gateway.folder, gateway.config = folder, config
    gateway.control = folder .. '/control'
    return gateway
end

--- Starts a gateway and waits until it is ready.
function M.gateway(yaml, o)
    local gateway = M.start_gateway(yaml, o)
    assert(gateway:wait_text('ready, '), 'the gateway did not start: ' .. gateway.err)
    gateway.port = tonumber(gateway.err:match('listening on 127%.0%.0%.1:(%d+)'))
    return gateway
end

--- Runs a command against this gateway.
function Gateway:command(verb, ...)
    return M.run(verb, '--control', self.control, ...)
end

function Gateway:rewrite(yaml)
    M.write(self.config, yaml)
end

--- @treturn table what `moongate status --json` prints
function Gateway:status()
    local code, out, err = self:command('status', '--json')
    assert(code == 0, err)
    return assert(dkjson.decode(out, 1, nil))
end

--- A connection whose waits are as long as those for a process.
function Gateway:connect()
    return assert(client.connect(self.port, { timeout = DEADLINE }))
end

--- The same, on which bytes have been sent.
function Gateway:send(bytes)
    local connection = self:connect()
    assert(connection:send(bytes))
    return connection
end

--- The same for the head of a POST, and what is given of its body.
-- @tparam string path
-- @tparam string fields lines, each with its end
-- @tparam[opt] string octets
function Gateway:post(path, fields, octets)
    return self:send(('POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s'):format(path, fields,
        octets or ''))
end

function Gateway:get(path, headers)
    return client.get(self.port, path, headers)
end

--- Asks for the status until holds(status) is true.
-- @treturn table|nil the status
function Gateway:wait_status(holds, seconds)
    local deadline = posix.now() + (seconds or DEADLINE)
    repeat
        local status = self:status()
        if holds(status) then
            return status
        end
    until posix.now() > deadline
    return nil
end

--- YAML of a gateway with one echo service, for specs that are not about configuration.
-- @tparam table o upstream (port), workers, gateway (more lines below `gateway:`), plugins (lines
-- below the route)
function M.yaml(o)
    return ([[
_format_version: "3.0"
services:
- name: echo
  url: http://127.0.0.1:%d
  routes:
  - name: echo
    paths: [/]
    strip_path: false
%s
gateway:
  workers: %d
  listeners: [{ address: "127.0.0.1:%d" }]
%s
]]):format(o.upstream or 9, o.plugins or '', o.workers or 1, o.port or M.free_port(),
        o.gateway or '')
end

return M
