-- SPDX-License-Identifier: Apache-2.0
--
-- Reads the Markdown that our documents are written in: fenced blocks, links, headings.
--
-- A comment in front of a block says how it is used:
--     <!-- not run: reason -->    the block is shown and not tried
--     <!-- file: plugins/x.lua --> the block is the content of that file (tutorials)
local M = {}

local FENCE = '^%s*```(%S*)%s*$'

--- All fenced blocks.
-- @tparam string text
-- @treturn table array of { language, text, line (of its first line), note (text of a comment in
-- the line before, or nil) }
function M.blocks(text)
    local blocks, open, number, note = {}, nil, 0, nil
    for line in (text .. '\n'):gmatch('(.-)\n') do
        number = number + 1
        local language = line:match(FENCE)
        if language and not open then
            open = { language = language, line = number + 1, note = note, lines = {} }
        elseif language then
            open.text = table.concat(open.lines, '\n') .. '\n'
            blocks[#blocks + 1] = open
            open = nil
        elseif open then
            open.lines[#open.lines + 1] = line
        end
        note = line:match('^<!%-%-%s*(.-)%s*%-%->$') or nil
    end
    return blocks
end

-- The text with its fenced blocks blanked out.
local function prose(text)
    local lines, is_open = {}, false
    for line in (text .. '\n'):gmatch('(.-)\n') do
        local is_fence = line:match(FENCE)
        lines[#lines + 1] = (is_open or is_fence) and '' or line
        is_open = is_open ~= (is_fence ~= nil)
    end
    return table.concat(lines, '\n')
end

--- Targets of the links `[text](target)`.
-- @tparam string text
-- @treturn table array of targets
function M.links(text)
    local targets = {}
    for target in prose(text):gsub('`[^`\n]*`', ''):gmatch('%]%(([^)%s]+)%)') do
        targets[#targets + 1] = target
    end
    return targets
end

--- Inline code.
-- @tparam string text
-- @treturn table array of texts
function M.codes(text)
    local codes = {}
    for code in prose(text):gmatch('`([^`\n]+)`') do
        codes[#codes + 1] = code
    end
    return codes
end

--- Anchors of the headings, as a set.
-- @tparam string text
-- @treturn table
function M.anchors(text)
    local anchors = {}
    for heading in ('\n' .. prose(text)):gmatch('\n#+ ([^\n]+)') do
        local slug = heading:lower():gsub('[^%w%s_-]', ''):gsub('%s', '-')
        anchors[slug] = true
    end
    return anchors
end

return M
