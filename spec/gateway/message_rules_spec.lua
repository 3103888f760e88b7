-- SPDX-License-Identifier: Apache-2.0
--
-- Rules M01 to M20 on the real binary: raw bytes in, and every byte that an upstream gets. Each
-- rule's messages of spec/corpus are sent whole, byte by byte, and cut in two at every place; the
-- gateway reads each piece before the next one comes. A refusal has its status, ends the
-- connection, sends nothing upstream and is counted by its reason. What is accepted goes out in its
-- one form, and the next request on the connection is understood.
local corpus = require 'spec.gateway.support.corpus'
local recorder = require 'spec.gateway.support.recorder'
local rules = require 'spec.gateway.support.rules'

local messages = corpus.read_all('spec/corpus')

describe('a message', function()
    local rig = recorder.new()
    setup(function() rig:start() end)
    teardown(function() rig:stop() end)

    local rule = rules.of(messages, {
        run = function(message, cuts)
            rig:warm()
            return rig:run(message, cuts)
        end,
        counts = function()
            return rig:refused()
        end,
        are_all = true,
    })

    it('M01 that no parser takes forwards nothing', rule('M01'))
    it('M02 has lines that end with CR LF, and no NUL', rule('M02'))
    it('M03 has at most one empty line before it', rule('M03'))
    it('M04 begins with method, target and version, single blanks between', rule('M04'))
    it('M05 is of version 1.0 or 1.1', rule('M05'))
    it('M06 has a method that is served', rule('M06'))
    it('M07 has no folded line and no blank before a field', rule('M07'))
    it('M08 has no field without a name', rule('M08'))
    it('M09 has tokens for names, and no name that imitates ours', rule('M09'))
    it('M10 has no control byte in a value', rule('M10'))
    it('M11 has one Host', rule('M11'))
    it('M12 is chunked, or has no coding', rule('M12'))
    it('M13 has one length in digits, and no coding beside it', rule('M13'))
    it('M14 has one line of a field with one value', rule('M14'))
    it('M15 has chunks with plain sizes and short extensions', rule('M15'))
    it('M16 has harmless trailers, which go no further', rule('M16'))
    it('M17 is the last one when its connection closes', rule('M17'))
    it('M18 expects 100-continue or nothing', rule('M18'))
    it('M19 has a target in origin or absolute form, or a star', rule('M19'))
    it('M20 is a plain request when its upgrade is not wanted', rule('M20'))
end)
