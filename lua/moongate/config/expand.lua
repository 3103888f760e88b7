-- SPDX-License-Identifier: Apache-2.0
--
-- References inside scalar values: `${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}`, and as a
-- whole value `{vault://env/NAME}` or `{vault://env/NAME/KEY}` (a key of a JSON object). `$${` is a
-- literal `${`. They are expanded after parsing, so that a value can never add keys.
local cjson = require 'cjson'

local M = {}

local UNDEFINED, UNREADABLE, MALFORMED = 'MG1011', 'MG1012', 'MG1013'
local NAME = '^[%a_][%w_]*$'

local Expander = {}
Expander.__index = Expander

local function failure(code, message)
    return nil, { code = code, message = message }
end

local function from_env(self, body)
    local name, default = body:match('^(.-):%-(.*)$')
    name = name or body
    if not name:match(NAME) then
        return failure(MALFORMED, ('"%s" is not the name of an environment variable'):format(name))
    end
    local value = self.env(name)
    if default and (value == nil or value == '') then
        return default
    end
    if value == nil then
        return failure(UNDEFINED, ('the environment variable "%s" is not set'):format(name))
    end
    return value
end

local function from_file(self, path)
    if path == '' then
        return failure(MALFORMED, 'expected ${file:PATH}')
    end
    local full = path:sub(1, 1) == '/' and path or self.folder .. path
    local text, err = self.read_file(full)
    if not text then
        return failure(UNREADABLE, ('the file "%s" cannot be read: %s'):format(path, err or '?'))
    end
    return (text:gsub('\r?\n$', ''))
end

local SOURCES = { env = from_env, file = from_file }

-- Every `${…}` of a text.
function Expander:expand_text(text)
    local parts, at = {}, 1
    while true do
        local start = text:find('${', at, true)
        if not start then
            parts[#parts + 1] = text:sub(at)
            return table.concat(parts)
        end
        if text:sub(start - 1, start - 1) == '$' and start > at then
            parts[#parts + 1] = text:sub(at, start - 2) .. '${'
            at = start + 2
        else
            local stop = text:find('}', start, true)
            local kind, body = text:sub(start + 2, (stop or 0) - 1):match('^(%a+):(.*)$')
            if not stop or not SOURCES[kind] then
                return failure(MALFORMED,
                    'expected ${env:NAME} or ${file:PATH}; a literal ${ is written $${')
            end
            local value, err = SOURCES[kind](self, body)
            if not value then
                return nil, err
            end
            parts[#parts + 1] = text:sub(at, start - 1) .. value
            at = stop + 1
        end
    end
end

-- Kong's env vault looks for MY_NAME when asked for my-name; the name as written comes first.
function Expander:expand_vault(text)
    local vault, name, key = text:match('^{vault://([%w_-]+)/([%w_-]+)/?([^}]*)}$')
    local prefix = self.vaults[vault or '']
    if not prefix then
        return failure(MALFORMED, 'expected {vault://env/NAME}: no other vault is supported yet')
    end
    local value = self.env(prefix .. name) or self.env((prefix .. name):gsub('-', '_'):upper())
    if value == nil then
        return failure(UNDEFINED,
            ('the environment variable "%s" is not set'):format(prefix .. name))
    end
    if key == '' then
        return value
    end
    local ok, object = pcall(cjson.decode, value)
    local part = ok and type(object) == 'table' and object[key]
    if type(part) ~= 'string' and type(part) ~= 'number' then
        return failure(UNDEFINED, ('the environment variable "%s" holds no JSON object with "%s"')
            :format(prefix .. name, key))
    end
    return tostring(part)
end

function Expander:expand_scalar(text)
    if text:match('^{vault://.*}$') then
        return self:expand_vault(text)
    end
    return self:expand_text(text)
end

local UNREAD = { _comment = true, _ignore = true, _info = true }

function Expander:expand_table(node, path)
    if self.seen[node] then
        return
    end
    self.seen[node] = true
    for key, value in pairs(node) do
        path[#path + 1] = key
        if type(value) == 'table' and not UNREAD[key] then
            self:expand_table(value, path)
        elseif type(value) == 'string' and not UNREAD[key]
            and (value:find('${', 1, true) or value:find('^{vault://')) then
            local result, err = self:expand_scalar(value)
            self.soft[node] = self.soft[node] or {}
            self.soft[node][key] = result and value or false
            if result then
                node[key] = result
            else
                self.fail({ unpack(path) }, err)
            end
        end
        path[#path] = nil
    end
end

--- Expands a tree in place.
-- @tparam table tree
-- @tparam table o env = function(name) -> text or nil; read_file = function(path) -> text or nil,
-- err; folder = of the configuration file, '' or ending in `/`; vaults = vault -> prefix of names;
-- fail = function(path, {code, message})
-- @treturn table soft: container -> key -> source text of what was expanded, false where it failed
function M.run(tree, o)
    local self = setmetatable({
        env = o.env, read_file = o.read_file, folder = o.folder, vaults = o.vaults, fail = o.fail,
        seen = {}, soft = {},
    }, Expander)
    self:expand_table(tree, {})
    return self.soft
end

return M
