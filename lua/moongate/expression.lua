-- SPDX-License-Identifier: Apache-2.0
-- Values in Lua: options that take `lua:` and one expression instead of a constant. It is compiled
-- when the configuration is loaded and computed for each request, with `moongate` in reach, in half
-- of the plugin's CPU limit. What it cannot compute is counted and told in the error log, and the
-- caller uses the substitute that the option names.
--
--     local quota = expression.compile('lua: moongate.client.get_consumer() and 100 or 10',
--         { option = 'quota' })
--     local ok, value = quota()
local guard = require 'moongate.runtime.guard'
local api = require 'moongate.runtime.ffi'
local runtime = require 'moongate.runtime'
local text_of = require 'moongate.schema.expression'

local C, shared = api.C, api.shared
local raw_pcall, limit = guard.raw.pcall, guard.limit

local M = { is = text_of.is }

local CPU = 1 -- enum mg_unwind

local function failed(self, reason)
    C.mg_ffi_expression_failed(shared.vm, runtime.plugin() or '', self.option)
    moongate.log.warn('option ', self.option, ': ', reason)
end

-- After the call: was it stopped in its own part of the limit?
local function finish(self, ok, ...)
    local used = shared.expression
    shared.expression = 0
    if ok then
        return true, ...
    end
    if shared.unwind ~= 0 then
        if shared.unwind ~= CPU or used == 0 then
            error(limit, 0)
        end
        C.mg_ffi_expression_forgive(shared.vm)
        failed(self, 'it takes too much CPU time')
        return false
    end
    local err = (...) -- not tostring: it could run code that is not the expression's any more
    failed(self, type(err) == 'string' and err or ('error object is a %s value'):format(type(err)))
    return false
end

local Expression = {}
Expression.__index = Expression

--- Computes it. May wait; what it waits for counts as the plugin's.
-- @param ... the named values
-- @treturn boolean false: it failed, which was counted and logged
-- @return its values
function Expression:__call(...)
    shared.expression = 1
    return finish(self, raw_pcall(self.fn, ...))
end

--- Counts and logs a result that the option cannot use.
-- @param value
-- @tparam string wanted what the option takes
function Expression:refuse(value, wanted)
    local shown = type(value) == 'string' and ('the text "%s"'):format(value:sub(1, 40))
        or type(value) == 'table' and 'a table' or tostring(value)
    failed(self, ('it gives %s, expected %s'):format(shown, wanted))
end

--- Compiles an expression that was checked.
-- @tparam string text beginning with `lua:`
-- @tparam table opts { option = its name for messages, names = list of names that it may use,
--   env = the globals in its reach, instead of the plugin API }
-- @treturn Expression
function M.compile(text, opts)
    local chunk, err = text_of.load(text, opts.names)
    if not chunk then
        error(('%s: %s'):format(opts.option, err), 2)
    end
    local fn = chunk()
    if opts.env then
        setfenv(fn, opts.env)
    end
    return setmetatable({ option = opts.option, fn = fn }, Expression)
end

return M
