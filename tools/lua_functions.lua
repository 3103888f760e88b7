-- SPDX-License-Identifier: Apache-2.0
--
-- Finds the functions of a Lua file by a small tokenizer: words, brackets and strings are enough
-- to match each `function` with its `end`.
local M = {}

-- Words that open a block which `end` (or `until`) closes. `for` and `while` do so by their `do`.
local OPENS = { ['function'] = true, ['if'] = true, ['do'] = true, ['repeat'] = true }
local CLOSES = { ['end'] = true, ['until'] = true }

-- Their callback only groups tests, so its length says nothing.
local GROUPS = { describe = true, context = true, insulate = true, expose = true }

local function count_lines(text)
    return select(2, text:gsub('\n', ''))
end

-- The last byte of a string, comment or other token that begins at `at`, and its kind.
local function token_end(text, at)
    local level = text:match('^%-?%-?%[(=*)%[', at)
    local is_comment = text:sub(at, at + 1) == '--'
    if level and (is_comment or text:sub(at, at) == '[') then
        local _, last = text:find(']' .. level .. ']', at, true)
        return last or #text, is_comment and 'comment' or 'string'
    elseif is_comment then
        return (text:find('\n', at, true) or #text + 1) - 1, 'comment'
    end
    local quote = text:match('^["\']', at)
    if quote then
        local from = at + 1
        while text:sub(from, from) ~= quote and from <= #text do
            from = from + (text:sub(from, from) == '\\' and 2 or 1)
        end
        return from, 'string'
    end
    local _, last = text:find('^[%a_][%w_]*', at)
    if last then
        return last, 'word'
    end
    return at, 'sign'
end

-- Calls visit(kind, token, line of its first byte, line of its last) for each token in order.
local function each_token(text, visit)
    local at, line = text:match('^#[^\n]*()') or 1, 1  -- a `#!` line is no Lua
    while at <= #text do
        local from = text:find('%S', at)
        if not from then
            break
        end
        line = line + count_lines(text:sub(at, from - 1))
        local last, kind = token_end(text, from)
        local token = text:sub(from, last)
        local first_line = line
        line = line + count_lines(token)
        if kind ~= 'comment' then
            visit(kind, token, first_line, line)
        end
        at = last + 1
    end
end

-- The name that follows `function`, or what the function is an argument of.
local function make_reader()
    local blocks, calls = {}, {}  -- open blocks; the callee of each open bracket
    local found, before, naming = {}, '', nil

    local function open(word, line)
        local block = { line = line, calls = #calls }
        local outer = blocks[#blocks]
        if word == 'function' then
            local inside = #calls > (outer and outer.calls or 0)
            block.name = inside and calls[#calls] .. '(function)' or 'function'
            block.is_group = inside and GROUPS[calls[#calls]] or false
            block.is_function = true
            naming = block
        end
        blocks[#blocks + 1] = block
    end

    local function close(line)
        local block = table.remove(blocks)
        if block and block.is_function and not block.is_group then
            block.lines = line - block.line + 1
            found[#found + 1] = block
        end
    end

    local function visit(kind, token, first_line, last_line)
        local is_word = kind == 'word' and before ~= '.' and before ~= ':'
        if naming and (token == '(' or kind == 'string') then
            naming = nil
        elseif naming then
            naming.name = (naming.name == 'function' and '' or naming.name) .. token
        elseif is_word and OPENS[token] then
            open(token, first_line)
        elseif is_word and CLOSES[token] then
            close(last_line)
        end
        if token == '(' then
            calls[#calls + 1] = before
        elseif token == ')' then
            calls[#calls] = nil
        end
        before = token
    end
    return visit, found
end

--- All functions of a Lua source but the callbacks of `describe` and its like.
-- @tparam string text
-- @treturn {{name=string,line=number,lines=number},...} lengths in lines, signature to `end`
function M.find(text)
    local visit, found = make_reader()
    each_token(text, visit)
    return found
end

return M
