-- SPDX-License-Identifier: Apache-2.0
--
-- Finds the functions of a C file: at the outermost level, a `{` behind a `)` opens a body. That
-- holds for code formatted by our rules; initialisers and structs have other things before it.
local source = require('source')

local M = {}

-- What stands between the previous declaration and a `{`: the signature, if it is a function.
local function signature_of(text)
    local plain = text:gsub('__attribute__%s*%b()', ''):gsub('%s+$', '')
    if not plain:match('%)$') or plain:find('=', 1, true) then
        return nil
    end
    return plain:match('([%a_][%w_]*)%s*%b()$')
end

-- Counts line ends up to growing positions without starting over each time.
local function line_counter(text)
    local at, line = 1, 1
    return function(position)
        while true do
            local next_end = text:find('\n', at, true)
            if not next_end or next_end >= position then
                return line
            end
            at, line = next_end + 1, line + 1
        end
    end
end

--- All functions that a C source defines.
-- @tparam string text
-- @treturn {{name=string,line=number,lines=number},...} lengths in lines, signature to last brace
function M.find(text)
    local code = source.strip_directives(source.strip_c(text))
    local line_at = line_counter(code)
    local found, depth, since, open = {}, 0, 1, nil
    for at, c in code:gmatch('()([{};])') do
        if c == '{' then
            if depth == 0 then
                local name = signature_of(code:sub(since, at - 1))
                open = name and { name = name, line = line_at(code:find('%S', since)) }
            end
            depth = depth + 1
        elseif c == '}' then
            depth = math.max(depth - 1, 0)
            if depth == 0 and open then
                open.lines = line_at(at) - open.line + 1
                found[#found + 1] = open
                open = nil
            end
        end
        if depth == 0 then
            since = at + 1
        end
    end
    return found
end

return M
