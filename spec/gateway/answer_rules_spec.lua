-- SPDX-License-Identifier: Apache-2.0
--
-- Rules R01 to R06 on the real binary, against an upstream that answers with the bytes of
-- spec/corpus/answers: whole, byte by byte, and cut in two at every place. A breach is a 502, or a
-- cut once the head is out; the upstream's connection is never used again, and the next request of
-- the same client is answered with its own answer.
local answering = require 'spec.gateway.support.answering'
local corpus = require 'spec.gateway.support.corpus'
local process = require 'spec.gateway.support.process'
local recorder = require 'spec.gateway.support.recorder'

local answers = corpus.read_all('spec/corpus/answers')

describe('an answer', function()
    local rig

    setup(function()
        rig = recorder.start()
    end)

    teardown(function()
        rig:stop()
        process.stop_all()
    end)

    local function run(answer, cuts)
        local err = answering.run(rig, answer, cuts)
        assert(not err, err)
    end

    local function of_rule(id)
        local found = {}
        for _, answer in ipairs(answers) do
            if answer.ids[1] == id then
                found[#found + 1] = answer
            end
        end
        assert.is_true(#found > 0)
        return found
    end

    -- Each one whole; the outcomes are counted, and nothing of a bad one is reused.
    local function check_whole(found)
        local before, expected = rig.gateway:status().outcomes, {}
        for _, answer in ipairs(found) do
            run(answer, recorder.WHOLE)
            recorder.add_reasons(answer, expected)
        end
        local after = rig.gateway:status().outcomes
        for word, number in pairs(expected) do
            assert.equal(number, after[word] - before[word], word)
        end
    end

    local function rule(id)
        return function()
            local found = of_rule(id)
            check_whole(found)
            for _, answer in ipairs(found) do
                run(answer, recorder.everywhere(answer))
                for _, place in ipairs(recorder.places(answer)) do
                    run(answer, { place })
                end
            end
        end
    end

    it('R01 has a status from 100 to 599 and version 1.0 or 1.1', rule('R01'))
    it('R02 has one framing', rule('R02'))
    it('R03 to HEAD, or of 1xx, 204 or 304, has no body', rule('R03'))
    it('R04 has sound fields; its reason is ours', rule('R04'))
    it('R05 is all that comes', rule('R05'))
    it('R06 is cut for the client when it ends early', rule('R06'))
end)
