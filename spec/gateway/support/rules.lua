-- SPDX-License-Identifier: Apache-2.0
--
-- Tests of the rules that spec/corpus has messages or answers for: each one whole, then byte by
-- byte, and cut in two at every place. When all of them went whole, the gateway's counts must have
-- grown by what the verdicts say.
--
--     local rule = rules.of(corpus.read_all('spec/corpus'), {
--         run = function(message, cuts) return err end,   -- what is not as it should be, or nil
--         counts = function() return gateway:status().refused end,
--         are_all = true })                               -- no other count may grow
--     it('M01 forwards nothing', rule('M01'))
local recorder = require 'spec.gateway.support.recorder'

local M = {}

local function of_rule(messages, id)
    local found = {}
    for _, message in ipairs(messages) do
        if message.ids[1] == id then
            found[#found + 1] = message
        end
    end
    assert(#found > 0, 'nothing of the corpus is about ' .. id)
    return found
end

local function run(o, message, cuts)
    local err = o.run(message, cuts)
    assert(not err, err)
end

local function check_whole(o, messages)
    local before, expected = o.counts(), {}
    for _, message in ipairs(messages) do
        run(o, message, recorder.WHOLE)
        recorder.add_reasons(message, expected)
    end
    local after = o.counts()
    for word in pairs(expected) do
        assert(after[word], 'nothing is counted as ' .. word)
    end
    for word in pairs(o.are_all and after or expected) do
        local grown = after[word] - before[word]
        assert(grown == (expected[word] or 0), ('%s has grown by %d'):format(word, grown))
    end
end

--- Makes the tests of rules.
-- @tparam {table,...} messages of the corpus
-- @tparam table o run, counts, are_all
-- @treturn function id -> the test of that rule
function M.of(messages, o)
    return function(id)
        return function()
            local found = of_rule(messages, id)
            check_whole(o, found)
            for _, message in ipairs(found) do
                run(o, message, recorder.everywhere(message))
                for _, place in ipairs(recorder.places(message)) do
                    run(o, message, { place })
                end
            end
        end
    end
end

return M
