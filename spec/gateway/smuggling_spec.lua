-- SPDX-License-Identifier: Apache-2.0
--
-- Classes of published smuggling attacks, SMG-02 to SMG-04 and SMG-10, with the messages of
-- spec/corpus: each one, and right behind it the request of somebody else, who shares the
-- upstream's connection with it. What the attack carries never reaches the upstream as a request.
local corpus = require 'spec.gateway.support.corpus'
local recorder = require 'spec.gateway.support.recorder'

local messages = corpus.read_all('spec/corpus')

describe('an attack', function()
    local rig = recorder.new()
    setup(function() rig:start() end)
    teardown(function() rig:stop() end)

    local function attack(message, cuts)
        rig:warm()
        local err = rig:run(message, cuts) or rig:check_next()
        assert(not err, err)
    end

    -- All messages of the classes; the refused ones have one of the statuses.
    local function attacks(statuses, ...)
        local classes = {}
        for _, class in ipairs({ ... }) do
            classes[class] = 0
        end
        return function()
            for _, message in ipairs(messages) do
                if classes[message.class] then
                    classes[message.class] = classes[message.class] + 1
                    for _, verdict in ipairs(message.verdicts) do
                        assert(not verdict.reason or statuses[verdict.status], message.place)
                    end
                    attack(message, recorder.WHOLE)
                    attack(message, recorder.everywhere(message))
                end
            end
            for class, count in pairs(classes) do
                assert(count > 0, class)
            end
        end
    end

    it('SMG-02 by two framings is refused', attacks({ [400] = true, [501] = true },
        'CL.TE', 'TE.CL', 'TE.TE', 'CL.CL', 'coding'))
    it('SMG-02 by names and heads that are too long is refused with 431',
        attacks({ [431] = true }, 'long name', 'many fields'))
    it('SMG-03 by an empty name, length or coding is refused', attacks({ [400] = true },
        'empty name', 'empty length', 'empty coding', 'empty chunk size'))
    it('SMG-04 by folding, NUL, bare CR and LF is refused', attacks({ [400] = true },
        'folding', 'NUL', 'bare CR', 'bare LF', 'empty lines'))
    it('SMG-04 by sizes, extensions and ends of chunks is refused, and chunks are made anew',
        attacks({ [400] = true }, 'chunk sizes', 'chunk size overflow', 'chunk ends',
            'chunk line ends', 'chunk extensions', 'chunks anew', 'trailers'))
    it('SMG-05 by expectations is refused with 417, and 100-continue ends here',
        attacks({ [417] = true, [400] = true }, 'Expect'))
    it('SMG-10 by an absolute target against Host, a user or a list in it is refused',
        attacks({ [400] = true }, 'absolute target', 'Host', 'two Hosts', 'port of Host',
            'address in Host'))
end)
