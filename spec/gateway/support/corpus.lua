-- SPDX-License-Identifier: Apache-2.0
--
-- Reads the files of raw messages of spec/corpus; the README there describes them.
--
--     for _, message in ipairs(corpus.read('spec/corpus/m13_content_length.txt')) do
--         message.title, message.ids[1], message.class, message.bytes
--         message.verdicts[1].status, .reason, .partial, .close, .upstream
--     end
local names = require 'spec.lua.support.test_names'

local M = {}

local BYTES = { r = '\r', n = '\n', t = '\t', ['\\'] = '\\' }

--- The bytes of a line of a file.
-- @tparam string text
-- @treturn string
function M.unescape(text)
    text = text:gsub('\\%((.-)%*(%d+)%)', function(part, times)
        return part:rep(tonumber(times))
    end)
    return (text:gsub('\\(.)(%x?%x?)', function(kind, hex)
        if kind == 'x' then
            assert(#hex == 2, 'two hex digits belong behind \\x')
            return string.char(tonumber(hex, 16))
        end
        return assert(BYTES[kind], 'no such escape: \\' .. kind) .. hex
    end))
end

local function new_verdict(text)
    local verdict = { status = assert(tonumber(text:match('^%d%d%d')), text) }
    for word in text:sub(4):gmatch('%S+') do
        if word == 'partial' or word == 'close' or word == 'spoiled' then
            verdict[word] = true
        elseif word == 'cut' or word == 'whole' then
            verdict['or_' .. word] = true
        elseif word ~= 'or' then
            verdict.reason = word
        end
    end
    return verdict
end

-- What each kind of line does to the message that is being read.
local LINES = {
    ['|'] = function(message, text)
        message.bytes = message.bytes .. M.unescape(text)
    end,
    ['::'] = function(message, text)
        message.class = text
    end,
    [':?'] = function(message, text)
        message.method = text
    end,
    [':end'] = function(message)
        message.ends = true
    end,
    ['=>'] = function(message, text)
        table.insert(message.verdicts, new_verdict(text))
    end,
    ['>'] = function(message, text)
        local verdict = assert(message.verdicts[#message.verdicts], 'bytes before a verdict')
        verdict.upstream = (verdict.upstream or '') .. M.unescape(text)
    end,
}

local function new_message(title, path, line)
    return { title = title, ids = names.ids(title), place = path .. ':' .. line, bytes = '',
        verdicts = {} }
end

--- The messages of one file.
-- @tparam string path
-- @treturn {table,...}
function M.read(path)
    local messages, number = {}, 0
    for line in assert(io.lines(path)) do
        number = number + 1
        local kind, text = line:match('^(%S+) ?(.*)$')
        if kind == '==' then
            messages[#messages + 1] = new_message(text, path, number)
        elseif kind and kind:sub(1, 1) ~= '#' then
            local act = LINES[kind] or error(('%s:%d: %s'):format(path, number, line), 0)
            act(messages[#messages], text)
        end
    end
    for _, message in ipairs(messages) do
        assert(#message.verdicts > 0 and message.bytes ~= '' and message.ids[1], message.place)
    end
    return messages
end

--- The messages of all files in a folder, but not below it.
-- @tparam string folder
-- @treturn {table,...}
function M.read_all(folder)
    local all = {}
    local pipe = assert(io.popen(("find %s -maxdepth 1 -name '*.txt' | sort"):format(folder)))
    for path in pipe:lines() do
        for _, message in ipairs(M.read(path)) do
            all[#all + 1] = message
        end
    end
    pipe:close()
    return all
end

return M
