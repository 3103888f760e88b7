-- SPDX-License-Identifier: Apache-2.0
-- moongate.vault: references to secrets, {vault://env/NAME}. The loader has expanded those in the
-- configuration; these functions are for plugins that read one themselves. Only env is served.
local base = require 'moongate.pdk.base'
local cjson = require 'cjson.safe'

local M = {}

--- Is it written as a reference?
-- @treturn boolean
function M.is_reference(text)
    return type(text) == 'string' and text:find('^{vault://[^{}/]+/[^{}]+}$') ~= nil
end

-- Kong's form of a name: upper case, "-" as "_".
local function environment(name)
    return os.getenv(name) or os.getenv((name:upper():gsub('-', '_')))
end

--- The value of a reference.
-- @tparam string reference {vault://env/NAME} or, in a JSON value, {vault://env/NAME/KEY}
-- @treturn string|nil
-- @treturn string|nil error
function M.get(reference)
    if not M.is_reference(reference) then
        return nil, 'not a reference'
    end
    local vault, name, key = reference:match('^{vault://([^/]+)/([^/?]+)/?([^/?]*)}$')
    if vault ~= 'env' then
        return nil, ('vault "%s" is not supported'):format(base.printable(vault or reference))
    end
    local value = environment(name)
    if not value then
        return nil, ('environment variable "%s" is not set'):format(base.printable(name))
    elseif key == '' then
        return value
    end
    local object = cjson.decode(value)
    local inner = type(object) == 'table' and object[key]
    if type(inner) ~= 'string' then
        return nil, ('"%s" has no text "%s"'):format(base.printable(name), base.printable(key))
    end
    return inner
end

--- Calls fn(conf). References are read once, when the configuration is loaded; a reload reads them
-- again, so there is nothing to refresh and no second call with other values.
-- @tparam function fn
-- @tparam table conf
-- @return what fn returned
function M.try(fn, conf)
    base.check_type(fn, 'function', 'callback')
    return fn(conf)
end

return M
