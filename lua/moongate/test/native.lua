-- SPDX-License-Identifier: Apache-2.0
-- The C side of a gateway under test (core/test_gateway.c) as Lua objects.
local ffi = require 'ffi'
local C = require('moongate.runtime.ffi').C
local program = require 'moongate.program'

local view = ffi.new('struct mg_ffi_str[1]')
local connection_id = ffi.new('double[1]')

local count = 0 -- of gateways in this process, for the names of their sockets

local function text_of(str)
    return ffi.string(str.ptr, str.len)
end

-- ---- a stream ----------------------------------------------------------------------------------

local Stream = {}
Stream.__index = Stream

local function new_stream(pointer, id)
    if pointer == nil then
        return nil
    end
    return setmetatable({ pointer = pointer, id = id }, Stream)
end

--- @treturn boolean whether the peer can still get it
function Stream:write(text)
    return self.pointer ~= nil and C.mg_ffi_test_write(self.pointer, text, #text) == 0
end

--- @treturn string all that came and was not consumed
-- @treturn number 0, or negative when no more comes
function Stream:read()
    if self.pointer == nil then
        return '', -1
    end
    local status = C.mg_ffi_test_read(self.pointer, view)
    return text_of(view[0]), status
end

function Stream:consume(bytes)
    C.mg_ffi_test_consume(self.pointer, bytes)
end

function Stream:close()
    if self.pointer ~= nil then
        C.mg_ffi_test_close_stream(self.pointer)
        self.pointer = nil
    end
end

-- ---- a gateway ---------------------------------------------------------------------------------

local Native = {}
Native.__index = Native

local M = {}

--- @tparam table o virtual = boolean, wall_ms = where a virtual clock starts
function M.open(o)
    count = count + 1
    local ask = ffi.new('struct mg_ffi_test_ask')
    local name = ('moongate-test-%d-%d'):format(C.mg_ffi_process_id(), count)
    ask.lua_path, ask.plugins_path, ask.ffi_header =
        program.lua_path, program.plugins_path, program.ffi_header
    ask.name, ask.is_virtual, ask.wall_ms = name, o.virtual and 1 or 0, o.wall_ms
    local pointer = C.mg_ffi_test_open(ask)
    if pointer == nil then
        error('the gateway under test cannot be made', 0)
    end
    return setmetatable({ pointer = pointer }, Native)
end

function Native:close()
    if self.pointer then
        C.mg_ffi_test_close(self.pointer)
        self.pointer = nil
    end
end

--- Starts to load a configuration.
-- @treturn true|nil turn until is_building is false; nil: the report says why
function Native:load(file, text)
    return C.mg_ffi_test_load(self.pointer, file, text, #text) == 0 or nil
end

function Native:is_building()
    return C.mg_ffi_test_is_building(self.pointer) ~= 0
end

--- @treturn number of the generation that serves, 0 before the first
function Native:generation()
    return C.mg_ffi_test_generation(self.pointer)
end

--- @treturn string warnings or errors of the last load
function Native:report()
    C.mg_ffi_test_report(self.pointer, view)
    return text_of(view[0])
end

--- @treturn string lines of the error log since the last call
function Native:log()
    C.mg_ffi_test_log(self.pointer, view)
    return text_of(view[0])
end

--- What /metrics would say.
function Native:metrics()
    C.mg_ffi_test_metrics(self.pointer, view)
    return text_of(view[0])
end

function Native:turn()
    return C.mg_ffi_test_turn(self.pointer) ~= 0
end

function Native:wait(ms)
    return C.mg_ffi_test_wait(self.pointer, ms) ~= 0
end

function Native:is_busy()
    return C.mg_ffi_test_is_busy(self.pointer) ~= 0
end

function Native:now_ms()
    return C.mg_ffi_test_now_ms(self.pointer)
end

--- @treturn number|nil when the next deadline is due, in the ms of now_ms
function Native:next_ms()
    local ms = C.mg_ffi_test_next_ms(self.pointer)
    return ms >= 0 and ms or nil
end

function Native:advance(ms)
    C.mg_ffi_test_advance(self.pointer, ms)
end

--- @treturn table|nil stream of a client with that address; its id is the connection's
function Native:connect(ip)
    return new_stream(C.mg_ffi_test_connect(self.pointer, ip, connection_id), connection_id[0])
end

--- @treturn table|nil stream that the gateway opened to an upstream
function Native:accept()
    return new_stream(C.mg_ffi_test_accept(self.pointer))
end

--- @treturn table|nil { connection, status, outcome, route, request_id, ended_by, plugins }
function Native:ended()
    local ended = C.mg_ffi_test_next_ended(self.pointer)
    if ended == nil then
        return nil
    end
    local plugins = {}
    for name in text_of(ended.plugins):gmatch('%S+') do
        plugins[#plugins + 1] = name
    end
    local route, ended_by = text_of(ended.route), text_of(ended.ended_by)
    return {
        connection = ended.connection, status = ended.status,
        outcome = ffi.string(ended.outcome), request_id = text_of(ended.request_id),
        route = route ~= '' and route or nil, ended_by = ended_by ~= '' and ended_by or nil,
        plugins = plugins,
    }
end

return M
