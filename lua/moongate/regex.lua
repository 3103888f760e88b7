-- SPDX-License-Identifier: Apache-2.0
-- Regular expressions: PCRE2 with a match limit, so that no pattern stalls the worker.
--
--     local regex = require 'moongate.regex'
--     local origin, err = regex.new('^https://[a-z]+\\.example\\.com$')
--     if origin:test(text) then ... end
local ffi = require 'ffi'
local shared = require('moongate.runtime.ffi').shared
local C = require('moongate.runtime.ffi').C

local M = {}

local GROUPS = 16  -- as many as C reports
local MESSAGE_BYTES = 256
local groups = ffi.new('struct mg_ffi_str[?]', GROUPS)

local methods = {}
local meta = { __index = methods }

--- Compiles a pattern. Keep the result: compiling is slow.
-- @tparam string pattern
-- @tparam[opt] string options "i": blind to case
-- @treturn table|nil
-- @treturn string|nil error
function M.new(pattern, options)
    local message = ffi.new('char[?]', MESSAGE_BYTES)
    local caseless = options and options:find('i', 1, true) and 1 or 0
    local handle = C.mg_ffi_regex_new(pattern, #pattern, caseless, message, MESSAGE_BYTES)
    if handle == nil then
        return nil, ffi.string(message)
    end
    return setmetatable({ handle = ffi.gc(handle, C.mg_ffi_regex_free) }, meta)
end

--- Can the pattern be compiled?
-- @tparam string pattern
-- @treturn boolean|nil true
-- @treturn string|nil error
function M.check(pattern)
    local compiled, err = M.new(pattern)
    if not compiled then
        return nil, err
    end
    return true
end

--- Does it match anywhere in the subject?
-- @tparam string subject
-- @treturn boolean|nil nil over the match limit
-- @treturn string|nil error
function methods:test(subject)
    local count = C.mg_ffi_regex_exec(shared.vm, self.handle, subject, #subject, groups)
    if count < 0 then
        return nil, 'match limit reached'
    end
    return count > 0
end

--- What it matched.
-- @tparam string subject
-- @treturn table|nil [0] the whole match, then the groups (false: took no part); nil = no match
-- @treturn string|nil error over the match limit
function methods:match(subject)
    local count = C.mg_ffi_regex_exec(shared.vm, self.handle, subject, #subject, groups)
    if count < 0 then
        return nil, 'match limit reached'
    elseif count == 0 then
        return nil
    end
    local result = {}
    for i = 0, count - 1 do
        local group = groups[i]
        result[i] = group.ptr ~= nil and ffi.string(group.ptr, group.len) or false
    end
    return result
end

return M
