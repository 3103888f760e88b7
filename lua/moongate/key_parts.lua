-- SPDX-License-Identifier: Apache-2.0
-- The words of the option `key`: which parts of a request a key is made of
-- (plugins/rate-limit/README.md, "Keys").
local expression = require 'moongate.schema.expression'

local M = {}

local TOKEN = "^[%w!#$%%&'*+.^_`|~-]+$" -- RFC 9110, 5.6.2

-- Kind -> what must follow its colon; false: nothing may.
local KINDS = {
    ip = false, consumer = false, credential = false, path = false, method = false, host = false,
    route = false, service = false,
    header = TOKEN, cookie = TOKEN, query = '^.+$', const = '^.+$',
    lua = '^.+$',
}

local NOT_BUILT = {
    claim = 'tokens are not read yet',
}

local WORDS = 'ip, consumer, credential, header:NAME, cookie:NAME, query:NAME, path, method, host, '
    .. 'route, service, const:TEXT or lua:EXPRESSION'

--- Takes a word apart.
-- @tparam string word such as `ip` or `header:x-api-key`
-- @treturn table|nil { kind =, name = text after the colon, or nil }
-- @treturn string|nil error
function M.parse(word)
    local kind, name = word:match('^(%a+):(.*)$')
    kind = kind or word
    local wanted = KINDS[kind]
    if wanted == nil or not wanted and name then
        return nil, ("'%s' is no part of a key: %s"):format(word, WORDS)
    elseif wanted and not name then
        return nil, ("'%s' needs a name: %s:NAME"):format(word, kind)
    elseif wanted and not name:match(wanted) then
        return nil, ("'%s': that cannot be the name of a %s"):format(word, kind)
    elseif kind == 'lua' then
        local ok, err = expression.check(word)
        if not ok then
            return nil, 'not a Lua expression: ' .. err
        end
    end
    return { kind = kind, name = kind == 'header' and name:lower() or name }
end

--- @param word
-- @treturn string|nil why that word cannot be used yet
function M.not_built(word)
    return type(word) == 'string' and NOT_BUILT[word:match('^(%a+):')] or nil
end

--- A list of words as parts.
-- @tparam table words checked
-- @treturn table list of parts
function M.list(words)
    local list = {}
    for i, word in ipairs(words) do
        list[i] = assert(M.parse(word))
    end
    return list
end

--- One text for equal lists and for no others.
-- @tparam table list of parts
-- @treturn string
function M.text(list)
    local texts = {}
    for i, part in ipairs(list) do
        local word = part.name and part.kind .. ':' .. part.name or part.kind
        texts[i] = ('%d %s'):format(#word, word)
    end
    return table.concat(texts, ' ')
end

return M
