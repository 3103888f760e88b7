-- SPDX-License-Identifier: Apache-2.0
--
-- luajit tools/wrap_comments.lua FILE...
--
-- Breaks C comment lines of more than 100 columns, which clang-format would do too, but at the
-- price of flowing tables and drawings together. What is cut off goes in front of the next line
-- where that goes on with the same indent, else it becomes a line of its own. A long comment
-- behind code moves above it. Part of `script/lint --fix`.
local here = arg[0]:match('^(.*)/[^/]*$') or '.'
package.path = here .. '/?.lua;' .. package.path
local source = require('source')

local MAX_COLUMNS = 100

local function columns(text)
    return select(2, text:gsub('[^\128-\191]', ''))
end

-- The text in two at the last blank that leaves at most 100 columns behind `lead` columns.
local function cut(lead, text)
    local best
    for at in text:gmatch('() ') do
        local fits = at > 1 and lead + columns(text:sub(1, at - 1)) <= MAX_COLUMNS
        if fits and text:sub(at + 1) ~= '*/' then
            best = at
        end
    end
    if best then
        return text:sub(1, best - 1), (text:sub(best + 1):gsub('^%s+', ''))
    end
end

-- Prefix of a comment line, prefix of the line that goes on after it, and the text.
local function parse(line)
    local indent, gap, text = line:match('^(%s*)/%*(%s+)(%S.*)$')
    if indent then
        return indent .. '/*' .. gap, indent .. ' *' .. gap, text
    end
    local prefix
    prefix, text = line:match('^(%s*%*%s+)(%S.*)$')
    if not prefix then
        prefix, text = line:match('^(%s*//%s+)(%S.*)$')
    end
    return prefix, prefix, text
end

-- Does the next line belong to the same paragraph, so that words may be put in front of it?
local function goes_on(next_line, prefix)
    if not next_line or next_line:sub(1, #prefix) ~= prefix then
        return false
    end
    return next_line:sub(#prefix + 1):match('^[%w(`"\']') ~= nil
end

local function lift_trailing(line)
    local indent, code, comment = line:match('^(%s*)(%S.-)%s*(/%*[^*]*%*/)$')
    if code and not code:match('^/%*') and not code:match('\\') then
        return indent .. comment, indent .. code
    end
end

local function wrap(lines)
    local at = 1
    while at <= #lines do
        local line = lines[at]
        if columns(line) > MAX_COLUMNS then
            local prefix, following, text = parse(line)
            local head, rest
            if prefix then
                head, rest = cut(#prefix, text)
            end
            local comment, code = lift_trailing(line)
            if head and goes_on(lines[at + 1], following) and not head:match('%*/') then
                lines[at] = prefix .. head
                lines[at + 1] = following .. rest .. ' ' .. lines[at + 1]:sub(#following + 1)
            elseif head then
                lines[at] = prefix .. head
                table.insert(lines, at + 1, following .. rest)
            elseif comment then
                lines[at] = code
                table.insert(lines, at, comment)
                at = at - 1  -- the comment itself may be too long
            end
        end
        at = at + 1
    end
end

for _, path in ipairs(arg) do
    local text, lines = assert(source.read(path)), {}
    for line in text:gmatch('([^\n]*)\n') do
        lines[#lines + 1] = line
    end
    wrap(lines)
    local wrapped = table.concat(lines, '\n') .. '\n'
    if wrapped ~= text then
        local file = assert(io.open(path, 'wb'))
        file:write(wrapped)
        file:close()
    end
end
