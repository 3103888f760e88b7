-- SPDX-License-Identifier: Apache-2.0
-- The option `exempt`: requests that no limit is asked about. Any word that matches is enough.
local expression = require 'moongate.expression'
local ffi = require 'ffi'
local fields = require 'moongate.pdk.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local view = ffi.new('struct mg_ffi_str')

local function text_is(req, which, wanted)
    return C.mg_ffi_req_text(req, which, view) == 1 and view.len == #wanted
        and ffi.string(view.ptr, view.len) == wanted
end

-- Kind -> function(rest of the word): what is asked of a request, function(req, object).
local MAKERS = {}

function MAKERS.ip(range)
    local ranges = ffi.gc(C.mg_ffi_ranges_new(), C.mg_ffi_ranges_free)
    C.mg_ffi_ranges_add(ranges, range, #range)
    return function(req)
        return C.mg_ffi_ranges_has_client(ranges, req) == 1
    end
end

function MAKERS.consumer(name)
    return function(_, object)
        local consumer = object.consumer
        return consumer ~= nil and (consumer.username == name or consumer.custom_id == name
            or consumer.id == name)
    end
end

function MAKERS.header(rest)
    local name, value = rest:match('^([^=]+)=(.*)$')
    return function(req)
        return fields.joined(req, C.MG_FFI_REQUEST, name) == value
    end
end

function MAKERS.path(prefix)
    return function(req)
        return C.mg_ffi_req_text(req, C.MG_FFI_PATH, view) == 1 and view.len >= #prefix
            and ffi.string(view.ptr, #prefix) == prefix
    end
end

function MAKERS.method(name)
    return function(req)
        return text_is(req, C.MG_FFI_METHOD, name)
    end
end

local function lua_matcher(word)
    local value = expression.compile(word, { option = 'exempt' })
    return function()
        local ok, result = value()
        return ok and result and true or false
    end
end

--- Makes the list of the configuration one question.
-- @tparam table words checked (options.lua)
-- @treturn function|nil function(req, object) -> boolean; nil where nothing is exempt
function M.compile(words)
    local matchers = {}
    for i, word in ipairs(words) do
        local kind, rest = word:match('^(%a+):(.+)$')
        matchers[i] = kind == 'lua' and lua_matcher(word) or MAKERS[kind](rest)
    end
    return #matchers > 0 and function(req, object)
        for i = 1, #matchers do
            if matchers[i](req, object) then
                return true
            end
        end
        return false
    end or nil
end

return M
