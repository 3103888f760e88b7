-- SPDX-License-Identifier: Apache-2.0
--
-- Rules R01 to R06 on the real binary, against an upstream that answers with the bytes of
-- spec/corpus/answers: whole, byte by byte, and cut in two at every place. A breach is a 502, or a
-- cut once the head is out; the upstream's connection is never used again, and the next request of
-- the same client is answered with its own answer.
local answering = require 'spec.gateway.support.answering'
local corpus = require 'spec.gateway.support.corpus'
local recorder = require 'spec.gateway.support.recorder'
local rules = require 'spec.gateway.support.rules'

local answers = corpus.read_all('spec/corpus/answers')

describe('an answer', function()
    local rig = recorder.new()
    setup(function() rig:start() end)
    teardown(function() rig:stop() end)

    local rule = rules.of(answers, {
        run = function(answer, cuts)
            return answering.run(rig, answer, cuts)
        end,
        counts = function()
            return rig.gateway:status().outcomes
        end,
    })

    it('R01 has a status from 100 to 599 and version 1.0 or 1.1', rule('R01'))
    it('R02 has one framing', rule('R02'))
    it('R03 to HEAD, or of 1xx, 204 or 304, has no body', rule('R03'))
    it('R04 has sound fields; its reason is ours', rule('R04'))
    it('R05 is all that comes', rule('R05'))
    it('R06 is cut for the client when it ends early', rule('R06'))
end)
