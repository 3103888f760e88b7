-- SPDX-License-Identifier: Apache-2.0
-- What all functions of the kit share: which phases they may be called in, the running request,
-- texts that come from C, and checks of arguments.
local bit = require 'bit'
local ffi = require 'ffi'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local PHASE = runtime.PHASE
local shared = runtime.shared
local band, lshift = bit.band, bit.lshift  -- used in every call of the kit

local ORDER = { 'init_worker', 'configure', 'rewrite', 'access', 'response', 'header_filter',
    'body_filter', 'log', 'timer' }

local function mask_of(names)
    local mask = 0
    for name in names:gmatch('%S+') do
        mask = bit.bor(mask, lshift(1, PHASE[name]))
    end
    return mask
end

--- Sets of phases, as bits.
M.REQUEST = mask_of('rewrite access response header_filter body_filter log')
M.BEFORE_UPSTREAM = mask_of('rewrite access')
M.ACCESS = mask_of('access')
M.BODY_IN = mask_of('rewrite access response')
M.ANSWER = mask_of('rewrite access response header_filter')
M.RESPONSE = mask_of('response header_filter body_filter log')
M.ROUTED = mask_of('access response header_filter body_filter log')
M.BODY_FILTER = mask_of('body_filter')
M.LOG = mask_of('log')
M.NOT_INIT = mask_of('configure rewrite access response header_filter body_filter log timer')

--- Raises an error that points at the line outside the kit which called it.
-- @tparam string message
function M.raise(message)
    local level = 2
    local info = debug.getinfo(level, 'S')
    while info and info.source:find('moongate/pdk/', 1, true) do
        level = level + 1
        info = debug.getinfo(level, 'S')
    end
    error(message, level)
end

local raise = M.raise

local function wrong_phase(mask)
    local allowed = {}
    for _, name in ipairs(ORDER) do
        if band(mask, lshift(1, PHASE[name])) ~= 0 then
            allowed[#allowed + 1] = name
        end
    end
    local text = 'function cannot be called in %s phase (only in: %s)'
    raise(text:format(runtime.phase() or 'load', table.concat(allowed, ', ')))
end

--- The running request; raises in a phase outside the set and outside a request.
-- @tparam number mask one of the sets above
-- @treturn cdata struct mg_req *, not to be kept
-- @treturn table the runtime's object for it
function M.request(mask)
    if shared.phase < 0 or band(mask, lshift(1, shared.phase)) == 0 then
        wrong_phase(mask)
    end
    local object = runtime.request()
    if not object then
        raise('no request found')
    end
    return object.cdata, object
end

local out = ffi.new('struct mg_ffi_str')

--- A text of a request.
-- @tparam cdata req
-- @tparam number which MG_FFI_METHOD and its kin
-- @treturn string|nil
function M.text(req, which)
    if C.mg_ffi_req_text(req, which, out) == 0 then
        return nil
    end
    return ffi.string(out.ptr, out.len)
end

--- Version of the client's message; nil where there is none (a head that was refused).
-- @tparam cdata req
-- @treturn number|nil 1.0 or 1.1
function M.version(req)
    local minor = C.mg_ffi_req_int(req, C.MG_FFI_MINOR)
    return minor >= 0 and 1 + minor / 10 or nil
end

--- Raises unless value has the type.
-- @tparam string what name of the argument, for the message
function M.check_type(value, wanted, what)
    if type(value) ~= wanted then
        raise(('%s must be a %s'):format(what, wanted))
    end
end

--- Raises unless value is a whole number in the range.
function M.check_integer(value, low, high, what)
    if type(value) ~= 'number' or value ~= math.floor(value) or value < low or value > high then
        raise(('%s must be an integer between %d and %d'):format(what, low, high))
    end
end

--- The greatest number of entries that a listing may give: 1 to 1000, 100 when nil.
-- @tparam string what name of the argument, for the message
function M.check_max(max, what)
    if max == nil then
        return 100
    end
    if type(max) ~= 'number' then
        raise(what .. ' must be a number')
    end
    if max < 1 then
        raise(what .. ' must be >= 1')
    end
    if max > 1000 then
        raise(what .. ' must be <= 1000')
    end
    return max
end

--- Text that can stand in a message: control bytes are escaped, long text is cut.
function M.printable(text)
    text = tostring(text)
    if #text > 64 then
        text = text:sub(1, 61) .. '...'
    end
    return (text:gsub('%c', function(c)
        return ('\\%d'):format(c:byte())
    end))
end

--- Raises when C refused a header's name or value, or the change came too late.
-- @tparam number result what the C function returned
function M.check_change(result, name)
    if result >= 0 then
        return
    elseif result == C.MG_FFI_BAD_NAME then
        raise(('invalid header name "%s"'):format(M.printable(name)))
    elseif result == C.MG_FFI_BAD_VALUE then
        raise(('invalid value of header "%s"'):format(M.printable(name)))
    end
    raise('headers have already been sent')
end

--- The response-buffer limit and its like are numbers of bytes; 0 means none.
function M.over(size, limit)
    return limit > 0 and size > limit
end

return M
