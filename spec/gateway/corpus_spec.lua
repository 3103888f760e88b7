-- SPDX-License-Identifier: Apache-2.0
--
-- The corpus of spec/corpus as a whole, in bulk against one gateway: whole with and without an idle
-- connection to the upstream, and as fast as single bytes can be written, in whatever pieces the
-- gateway then reads them.
local corpus = require 'spec.gateway.support.corpus'
local recorder = require 'spec.gateway.support.recorder'

-- What was found in servers and proxies, by others and by us, and has a class of messages here.
local CLASSES = {
    'not HTTP', 'no colon', 'bare LF', 'bare CR', 'NUL', 'empty lines', 'request line', 'version',
    'HTTP/1.0', 'method', 'folding', 'empty name', 'blank before the colon', 'byte in a name',
    'alias', 'byte in a value', 'blanks around a value', 'Host', 'two Hosts', 'port of Host',
    'address in Host', 'coding', 'empty coding', 'TE.TE', 'TE.CL', 'CL.TE', 'CL.CL', 'length',
    'empty length', 'length overflow', 'GET with a body', 'single-valued field', 'chunk line ends',
    'chunk sizes', 'empty chunk size', 'chunk size overflow', 'chunk ends', 'chunk extensions',
    'trailers', 'bytes after close', 'Expect', 'target', 'absolute target', 'upgrade', 'pipeline',
    'Connection', 'size', 'long name', 'many fields',
}

describe('the corpus', function()
    local messages = corpus.read_all('spec/corpus')
    local rig = recorder.new()
    setup(function() rig:start() end)
    teardown(function() rig:stop() end)

    it('SMG-01 has at least 250 messages, of every class', function()
        local counts, titles = {}, {}
        for _, message in ipairs(messages) do
            assert.is_nil(titles[message.title], message.place)
            titles[message.title] = true
            counts[message.class] = (counts[message.class] or 0) + 1
        end
        assert.is_true(#messages >= 250)
        for _, class in ipairs(CLASSES) do
            assert.is_true((counts[class] or 0) >= 1, class)
        end
    end)

    -- Requests that go upstream, and reasons of refusals, when each message is sent once.
    local function expect()
        local forwarded, reasons = 0, {}
        for _, message in ipairs(messages) do
            recorder.add_reasons(message, reasons)
            for i, verdict in ipairs(message.verdicts) do
                local is_last = i == #message.verdicts
                forwarded = forwarded + (verdict.upstream and 1 or 0) +
                    (is_last and not verdict.reason and not verdict.close and 1 or 0)
            end
        end
        return forwarded, reasons
    end

    -- Sends all of them; what was refused and what was forwarded must add up.
    local function send_all(prepare, cuts_of)
        local before = rig.gateway:status()
        for _, message in ipairs(messages) do
            prepare()
            local err = rig:run(message, cuts_of(message))
            assert(not err, err)
        end
        local after = rig.gateway:status()
        local forwarded, reasons = expect()
        for reason, count in pairs(after.refused) do
            assert.equal(reasons[reason] or 0, count - before.refused[reason], reason)
        end
        return after.counters.upstream_tries - before.counters.upstream_tries - forwarded
    end

    local function whole()
        return recorder.WHOLE
    end

    it('SMG-01 forwards nothing ambiguous on new connections', function()
        assert.equal(0, send_all(function() rig:cool() end, whole))
    end)

    it('SMG-01 forwards nothing ambiguous on idle connections', function()
        rig:warm()
        local warmed = 0
        local others = send_all(function()
            warmed = warmed + (rig:warm() and 1 or 0)
        end, whole)
        assert.equal(warmed, others)
    end)

    it('SMG-01 forwards nothing ambiguous that comes byte by byte', function()
        send_all(function() rig:warm() end, function(message)
            local cuts = recorder.everywhere(message)
            cuts.at_once = true
            return cuts
        end)
    end)
end)
