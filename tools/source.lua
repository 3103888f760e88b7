-- SPDX-License-Identifier: Apache-2.0
--
-- What the source checkers share: finding files, and C text with its comments, strings and
-- directives blanked out, so that a pattern or a brace in them is not taken for code.
local M = {}

--- Quotes one argument for the shell.
-- @tparam string text
-- @treturn string
function M.quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- The whole content of a file.
-- @tparam string path
-- @treturn[1] string
-- @treturn[2] nil
-- @treturn[2] string why it cannot be read
function M.read(path)
    local file, err = io.open(path, 'rb')
    if not file then
        return nil, err
    end
    local text = file:read('*a')
    file:close()
    return text
end

--- All files below some folders of a tree, sorted; a folder that does not exist has none.
-- @tparam string root the tree
-- @tparam {string,...} folders paths relative to the root
-- @tparam {string,...} extensions without the dot
-- @treturn {string,...} paths relative to the root
function M.files(root, folders, extensions)
    local names, found = {}, {}
    for i, extension in ipairs(extensions) do
        names[i] = '-name ' .. M.quote('*.' .. extension)
    end
    local where = {}
    for i, folder in ipairs(folders) do
        where[i] = M.quote(folder)
    end
    local pipe = assert(io.popen(('cd %s && find %s -type f \\( %s \\) 2>/dev/null'):format(
        M.quote(root), table.concat(where, ' '), table.concat(names, ' -o '))))
    for path in pipe:lines() do
        found[#found + 1] = path
    end
    pipe:close()
    table.sort(found)
    return found
end

local function blank(text)
    return (text:gsub('[^\n]', ' '))
end

-- Where the quoted text that opens at `from` ends; a broken one ends with its line.
local function end_of_quoted(text, from)
    local mark, at = text:sub(from, from), from + 1
    while at <= #text do
        local c = text:sub(at, at)
        if c == '\\' then
            at = at + 1
        elseif c == mark or c == '\n' then
            return at
        end
        at = at + 1
    end
    return #text
end

-- Where the directive at `from` ends: a line end that no backslash precedes.
local function end_of_directive(text, from)
    local at = from
    repeat
        at = text:find('\n', at + 1, true) or #text + 1
    until text:sub(at - 1, at - 1) ~= '\\'
    return at - 1
end

local function end_of_span(text, from)
    local two = text:sub(from, from + 1)
    if two == '/*' then
        local _, last = text:find('*/', from + 2, true)
        return last or #text
    elseif two == '//' then
        return (text:find('\n', from, true) or #text + 1) - 1
    end
    return end_of_quoted(text, from)
end

--- Replaces comments and the insides of strings by spaces; line ends stay.
-- @tparam string text C source
-- @tparam[opt] boolean keep_strings leave strings as they are (for reading includes)
-- @treturn string as long as the text
function M.strip_c(text, keep_strings)
    local out, at = {}, 1
    while at <= #text do
        local from = text:find('[/"\']', at)
        if not from then
            break
        end
        local first, two = text:sub(from, from), text:sub(from, from + 1)
        if first == '/' and two ~= '/*' and two ~= '//' then
            out[#out + 1] = text:sub(at, from)
            at = from + 1
        else
            local last = end_of_span(text, from)
            local span = text:sub(from, last)
            local kept = first ~= '/' and keep_strings
            out[#out + 1] = text:sub(at, from - 1) .. (kept and span or blank(span))
            at = last + 1
        end
    end
    out[#out + 1] = text:sub(at)
    return table.concat(out)
end

--- Replaces preprocessor directives, continued lines included, by spaces.
-- @tparam string text C source without comments
-- @treturn string as long as the text
function M.strip_directives(text)
    local out, at = {}, 1
    local from = text:match('^[ \t]*()#') and 1 or text:match('\n()[ \t]*#')
    while from do
        local last = end_of_directive(text, from)
        out[#out + 1] = text:sub(at, from - 1) .. blank(text:sub(from, last))
        at = last + 1
        from = text:match('\n()[ \t]*#', at)
    end
    out[#out + 1] = text:sub(at)
    return table.concat(out)
end

--- Prints problems, one a line, and ends the process: status 1 if there are any.
-- @tparam {string,...} problems
-- @tparam string summary the line to print last
function M.finish(problems, summary)
    for _, problem in ipairs(problems) do
        print(problem)
    end
    print(summary)
    os.exit(#problems == 0 and 0 or 1)
end

return M
