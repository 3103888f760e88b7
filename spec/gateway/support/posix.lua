-- SPDX-License-Identifier: Apache-2.0
--
-- The system calls that specs of whole processes need, through LuaJIT's FFI: processes with pipes,
-- TCP and unix sockets with deadlines. Linux only.
local ffi = require 'ffi'

ffi.cdef [[
typedef int mgt_pid;
typedef struct { char bytes[256]; } mgt_actions;
int posix_spawnp(mgt_pid *pid, const char *file, const mgt_actions *actions, const void *attributes,
                 char *const argv[], char *const environment[]);
int posix_spawn_file_actions_init(mgt_actions *actions);
int posix_spawn_file_actions_destroy(mgt_actions *actions);
int posix_spawn_file_actions_adddup2(mgt_actions *actions, int from, int to);
int posix_spawn_file_actions_addclose(mgt_actions *actions, int fd);
extern char **environ;
mgt_pid waitpid(mgt_pid pid, int *status, int options);
int kill(mgt_pid pid, int signal);
int getpid(void);
int pipe2(int fds[2], int flags);
long read(int fd, void *buffer, size_t bytes);
long write(int fd, const void *buffer, size_t bytes);
int close(int fd);
struct mgt_pollfd { int fd; short events, revents; };
int poll(struct mgt_pollfd *fds, unsigned long count, int timeout_ms);
struct mgt_in { uint16_t family, port; uint8_t address[4]; char zero[8]; };
struct mgt_in6 { uint16_t family, port; uint32_t flow; uint8_t address[16]; uint32_t scope; };
struct mgt_un { uint16_t family; char path[108]; };
int socket(int domain, int type, int protocol);
int connect(int fd, const void *address, unsigned length);
int bind(int fd, const void *address, unsigned length);
int listen(int fd, int backlog);
int accept4(int fd, void *address, unsigned *length, int flags);
int getsockname(int fd, void *address, unsigned *length);
int getpeername(int fd, void *address, unsigned *length);
int getsockopt(int fd, int level, int name, void *value, unsigned *length);
int setsockopt(int fd, int level, int name, const void *value, unsigned length);
long send(int fd, const void *buffer, size_t bytes, int flags);
int shutdown(int fd, int how);
struct mgt_time { long seconds, nanoseconds; };
int clock_gettime(int clock, struct mgt_time *time);
char *mkdtemp(char *template);
int chmod(const char *path, unsigned mode);
int unlink(const char *path);
unsigned geteuid(void);
char *strerror(int number);
struct mgt_limit { unsigned long soft, hard; };
int getrlimit(int resource, struct mgt_limit *limit);
int setrlimit(int resource, const struct mgt_limit *limit);
]]

local C = ffi.C
local M = {}

local AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
local SOCK_STREAM, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_CLOEXEC = 1, 2, 2048, 524288
local SOL_SOCKET, SO_REUSEADDR, SO_ERROR, SO_RCVBUF, SO_LINGER = 1, 2, 4, 8, 13
local MSG_NOSIGNAL = 16384
local O_CLOEXEC = 524288
local POLLIN, POLLOUT = 1, 4
local EINTR, EAGAIN, EINPROGRESS = 4, 11, 115
local IPPROTO_TCP, TCP_NODELAY = 6, 1
local WNOHANG = 1
local CLOCK_MONOTONIC = 1
local RLIMIT_NOFILE = 7

M.signals = { HUP = 1, INT = 2, QUIT = 3, KILL = 9, USR1 = 10, USR2 = 12, TERM = 15, STOP = 19,
    CONT = 18 }

local function text_of_errno()
    return ffi.string(C.strerror(ffi.errno()))
end

--- Seconds of the monotonic clock.
function M.now()
    local time = ffi.new('struct mgt_time')
    C.clock_gettime(CLOCK_MONOTONIC, time)
    return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

--- Lets others run for so many seconds: to look at something again and again.
function M.pause(seconds)
    C.poll(nil, 0, seconds * 1000)
end

function M.getpid()
    return C.getpid()
end

function M.is_root()
    return C.geteuid() == 0
end

--- Lets this process, and those that it starts, have so many descriptors open.
-- @tparam[opt] number count; else as many as the hard limit allows
function M.allow_descriptors(count)
    local limit = ffi.new('struct mgt_limit')
    assert(C.getrlimit(RLIMIT_NOFILE, limit) == 0, text_of_errno())
    count = count or limit.hard
    if limit.soft < count then
        limit.soft = count
        assert(C.setrlimit(RLIMIT_NOFILE, limit) == 0, text_of_errno())
    end
end

--- A new folder under /tmp.
function M.temporary_folder()
    local template = ffi.new('char[64]', '/tmp/moongate-spec-XXXXXX')
    assert(C.mkdtemp(template) ~= nil, text_of_errno())
    return ffi.string(template)
end

function M.chmod(path, mode)
    assert(C.chmod(path, mode) == 0, text_of_errno())
end

-- Processes --------------------------------------------------------------------------------------

local function pipe()
    local fds = ffi.new('int[2]')
    assert(C.pipe2(fds, O_CLOEXEC) == 0, text_of_errno())
    return fds[0], fds[1]
end

local function string_array(list)
    local array = ffi.new('char *[?]', #list + 1)
    for i, text in ipairs(list) do
        array[i - 1] = ffi.cast('char *', text)
    end
    return array
end

local function environment(extra)
    local list = {}
    extra = extra or {}
    for i = 0, math.huge do
        if C.environ[i] == nil then
            break
        end
        local entry = ffi.string(C.environ[i])
        if not extra[entry:match('^[^=]*')] then -- of two, programs take the first
            list[#list + 1] = entry
        end
    end
    for name, value in pairs(extra) do
        list[#list + 1] = name .. '=' .. value
    end
    return list
end

--- Starts a program.
-- @tparam table argv program and arguments
-- @tparam[opt] table env names and values besides those of this process
-- @treturn number pid
-- @treturn number descriptor of its stdout
-- @treturn number descriptor of its stderr
function M.spawn(argv, env)
    local out_read, out_write = pipe()
    local err_read, err_write = pipe()
    local actions, pid = ffi.new('mgt_actions'), ffi.new('mgt_pid[1]')
    local names = environment(env)
    C.posix_spawn_file_actions_init(actions)
    C.posix_spawn_file_actions_adddup2(actions, out_write, 1)
    C.posix_spawn_file_actions_adddup2(actions, err_write, 2)
    local err = C.posix_spawnp(pid, argv[1], actions, nil, string_array(argv), string_array(names))
    C.posix_spawn_file_actions_destroy(actions)
    C.close(out_write)
    C.close(err_write)
    assert(err == 0, ('cannot start %s: %s'):format(argv[1], ffi.string(C.strerror(err))))
    return pid[0], out_read, err_read
end

--- @treturn number|nil wait status when the process has ended (a signal as 128 + its number), nil
-- while it runs
function M.reap(pid)
    local status = ffi.new('int[1]')
    local got = C.waitpid(pid, status, WNOHANG)
    if got == 0 then
        return nil
    end
    assert(got == pid, text_of_errno())
    local signal = bit.band(status[0], 127)
    return signal ~= 0 and 128 + signal or bit.band(bit.rshift(status[0], 8), 255)
end

--- @treturn boolean whether there was such a process
function M.kill(pid, signal)
    return C.kill(pid, signal) == 0
end

--- Whether there is a process with that pid, one that has ended but was not waited for left out.
function M.is_alive(pid)
    local file = io.open(('/proc/%d/stat'):format(pid))
    local state = file and file:read('*a'):match('%) (%a)')
    if file then
        file:close()
    end
    return state ~= nil and state ~= 'Z'
end

--- Between two looks at something whose change cannot be waited for.
function M.pause(seconds)
    C.poll(nil, 0, seconds * 1000)
end

--- Waits for the end of a process that is not our child.
-- @treturn boolean whether it has ended before the deadline
function M.wait_gone(pid, deadline)
    while M.is_alive(pid) do
        if M.now() >= deadline then
            return false
        end
        C.poll(nil, 0, 5)
    end
    return true
end

-- Descriptors ------------------------------------------------------------------------------------

function M.close(fd)
    C.close(fd)
end

local function wait(fd, events, deadline)
    local poller = ffi.new('struct mgt_pollfd')
    poller.fd, poller.events = fd, events
    local left = math.max(0, math.ceil((deadline - M.now()) * 1000))
    local ready = C.poll(poller, 1, left)
    return ready > 0 or (ready < 0 and ffi.errno() == EINTR and M.now() < deadline)
end

--- Waits until there is something to read or the time is over.
function M.wait_readable(fd, deadline)
    return wait(fd, POLLIN, deadline)
end

--- Waits until one of two descriptors is readable or at its end; nil ones are left out.
-- @treturn boolean, boolean
function M.wait_two(first, second, deadline)
    local pollers = ffi.new('struct mgt_pollfd[2]')
    pollers[0].fd, pollers[0].events = first or -1, POLLIN
    pollers[1].fd, pollers[1].events = second or -1, POLLIN
    local left = math.max(0, math.ceil((deadline - M.now()) * 1000))
    if C.poll(pollers, 2, left) <= 0 then
        return false, false
    end
    return pollers[0].revents ~= 0, pollers[1].revents ~= 0
end

local MOST_POLLED = 256
local many = ffi.new('struct mgt_pollfd[?]', MOST_POLLED)

--- Waits until one of many descriptors is readable or at its end.
-- @tparam table fds at most 256
-- @treturn table those that are, in their order; empty when the time is over
function M.wait_many(fds, deadline)
    for i, fd in ipairs(fds) do
        many[i - 1].fd, many[i - 1].events = fd, POLLIN
    end
    local left = math.max(0, math.ceil((deadline - M.now()) * 1000))
    local ready = {}
    if C.poll(many, #fds, left) > 0 then
        for i, fd in ipairs(fds) do
            if many[i - 1].revents ~= 0 then
                ready[#ready + 1] = fd
            end
        end
    end
    return ready
end

local buffer = ffi.new('char[65536]')

--- What can be read before the deadline.
-- @tparam[opt=65536] number most bytes
-- @treturn string|nil bytes, '' at the end, nil when the time is over
-- @treturn string what went wrong
function M.read(fd, deadline, most)
    while wait(fd, POLLIN, deadline) do
        local got = tonumber(C.read(fd, buffer, math.min(most or 65536, 65536)))
        if got >= 0 then
            return ffi.string(buffer, got)
        elseif ffi.errno() ~= EINTR and ffi.errno() ~= EAGAIN then
            return '', text_of_errno()
        end
    end
    return nil, 'timeout'
end

--- Waits until one of the sides can do what it wants, or the time is over.
-- @tparam table sides array of { fd =, wants_read =, wants_write = }; each gets can_read, can_write
-- @treturn boolean whether one can
function M.poll(sides, deadline)
    local pollers = ffi.new('struct mgt_pollfd[?]', #sides)
    for i, side in ipairs(sides) do
        local events = (side.wants_read and POLLIN or 0) + (side.wants_write and POLLOUT or 0)
        pollers[i - 1].fd, pollers[i - 1].events = events > 0 and side.fd or -1, events
    end
    local left = math.max(0, math.ceil((deadline - M.now()) * 1000))
    local ready = C.poll(pollers, #sides, left) > 0
    for i, side in ipairs(sides) do
        local seen = ready and pollers[i - 1].revents or 0
        local broken = bit.band(seen, bit.bnot(POLLIN + POLLOUT)) ~= 0
        side.can_read = side.wants_read and (broken or bit.band(seen, POLLIN) ~= 0)
        side.can_write = side.wants_write and (broken or bit.band(seen, POLLOUT) ~= 0)
    end
    return ready
end

--- Sends what the kernel takes at once.
-- @treturn number|nil bytes taken
-- @treturn string what went wrong
function M.send_some(fd, text)
    local sent = tonumber(C.send(fd, text, #text, MSG_NOSIGNAL))
    if sent >= 0 then
        return sent
    elseif ffi.errno() == EINTR or ffi.errno() == EAGAIN then
        return 0
    end
    return nil, text_of_errno()
end

--- @treturn boolean whether all was taken before the deadline
-- @treturn string what went wrong
function M.send(fd, text, deadline)
    local at = 0
    while at < #text do
        if not wait(fd, POLLOUT, deadline) then
            return false, 'timeout'
        end
        local sent = tonumber(C.send(fd, ffi.cast('const char *', text) + at, #text - at,
            MSG_NOSIGNAL))
        if sent >= 0 then
            at = at + sent
        elseif ffi.errno() ~= EINTR and ffi.errno() ~= EAGAIN then
            return false, text_of_errno()
        end
    end
    return true
end

-- Sockets ----------------------------------------------------------------------------------------

local function network_order(port)
    return bit.bor(bit.lshift(bit.band(port, 255), 8), bit.rshift(port, 8))
end

local function local_address(port)
    local address = ffi.new('struct mgt_in')
    address.family, address.port = AF_INET, network_order(port)
    address.address[0], address.address[3] = 127, 1
    return address, ffi.sizeof(address)
end

local function local_address_6(port)
    local address = ffi.new('struct mgt_in6')
    address.family, address.port = AF_INET6, network_order(port)
    address.address[15] = 1
    return address, ffi.sizeof(address)
end

local function unix_address(path)
    local address = ffi.new('struct mgt_un')
    address.family = AF_UNIX
    assert(#path < 108, 'the path of the socket is too long')
    ffi.copy(address.path, path)
    return address, ffi.sizeof(address)
end

local function new_socket(domain, kind)
    local fd = C.socket(domain, (kind or SOCK_STREAM) + SOCK_NONBLOCK + SOCK_CLOEXEC, 0)
    assert(fd >= 0, text_of_errno())
    return fd
end

local function number_option(fd, name)
    local value, length = ffi.new('int[1]'), ffi.new('unsigned[1]', 4)
    C.getsockopt(fd, SOL_SOCKET, name, value, length)
    return value[0]
end

-- Family, address and its length of a place.
local function address_of(place)
    if type(place) == 'number' then
        return AF_INET, local_address(place)
    end
    local port = place:match('^%[::1%]:(%d+)$')
    if port then
        return AF_INET6, local_address_6(tonumber(port))
    end
    return AF_UNIX, unix_address(place)
end

--- Connects to 127.0.0.1:place (a number), [::1]:PORT (a text like that) or the unix socket place
-- (a path).
-- @treturn number|nil descriptor
-- @treturn string what went wrong
function M.connect(place, deadline, receive_buffer)
    local family, address, length = address_of(place)
    local fd = new_socket(family)
    if receive_buffer then
        C.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, ffi.new('int[1]', receive_buffer), 4)
    end
    if C.connect(fd, address, length) ~= 0 then
        local number = ffi.errno()
        while number == EAGAIN and M.now() < deadline do -- the queue of a unix socket is full
            M.pause(0.002)
            number = C.connect(fd, address, length) ~= 0 and ffi.errno() or 0
        end
        if number == EINPROGRESS then
            number = wait(fd, POLLOUT, deadline) and number_option(fd, SO_ERROR) or EAGAIN
        end
        if number ~= 0 then
            C.close(fd)
            return nil, ffi.string(C.strerror(number))
        end
    end
    return fd
end

--- Closes a connection with a reset instead of an end.
function M.reset(fd)
    C.setsockopt(fd, SOL_SOCKET, SO_LINGER, ffi.new('int[2]', 1, 0), 8)
    C.close(fd)
end

--- Sends what is given at once, however little it is.
function M.no_delay(fd)
    C.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, ffi.new('int[1]', 1), 4)
end

local function port_of(name, fd)
    local address = ffi.new('struct mgt_in')
    assert(name(fd, address, ffi.new('unsigned[1]', ffi.sizeof(address))) == 0, text_of_errno())
    return bit.bor(bit.lshift(bit.band(address.port, 255), 8), bit.rshift(address.port, 8))
end

--- Ports of a connected TCP socket.
-- @treturn number its own
-- @treturn number its peer's
function M.ports(fd)
    return port_of(C.getsockname, fd), port_of(C.getpeername, fd)
end

function M.shutdown_write(fd)
    C.shutdown(fd, 1)
end

--- Listens on a free port of 127.0.0.1, or on that one.
-- @tparam[opt] number receive_buffer of accepted connections, bytes
-- @tparam[opt] number backlog connections that wait to be accepted
-- @tparam[opt] number port
-- @treturn number descriptor
-- @treturn number port
function M.listen(receive_buffer, backlog, port)
    local fd = new_socket(AF_INET)
    C.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, ffi.new('int[1]', 1), 4)
    if receive_buffer then
        C.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, ffi.new('int[1]', receive_buffer), 4)
    end
    local address, length = local_address(port or 0)
    assert(C.bind(fd, address, length) == 0 and C.listen(fd, backlog or 128) == 0,
        text_of_errno())
    C.getsockname(fd, address, ffi.new('unsigned[1]', length))
    return fd, network_order(address.port)
end

--- A unix socket that takes datagrams.
function M.listen_datagrams(path)
    local fd = new_socket(AF_UNIX, SOCK_DGRAM)
    local address, length = unix_address(path)
    assert(C.bind(fd, address, length) == 0, text_of_errno())
    return fd
end

--- @treturn number|nil descriptor of the next connection
function M.accept(fd, deadline)
    if not wait(fd, POLLIN, deadline) then
        return nil
    end
    local accepted = C.accept4(fd, nil, nil, SOCK_NONBLOCK + SOCK_CLOEXEC)
    return accepted >= 0 and accepted or nil
end

return M
