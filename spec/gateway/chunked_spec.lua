-- SPDX-License-Identifier: Apache-2.0
--
-- Chunked bodies in both directions: however they are cut, the octets arrive unchanged; many small
-- chunks that come together go on together, so that nobody can make the gateway write a thousand
-- times for one read; trailers and extensions stay behind.
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

local SMALL = 2000   -- chunks of one octet
local MOST_FRAMES = 20

describe('a chunked body', function()
    local gateway, upstream

    setup(function()
        upstream = scripted.listen()
        gateway = process.gateway(process.yaml{ upstream = upstream.port,
            gateway = 'plugins: [{ name: access-log }]' })
    end)

    teardown(function()
        process.stop_all()
        upstream:close()
    end)

    local function octets_of(count)
        local octets = {}
        for i = 1, count do
            octets[i] = string.char(97 + i % 26)
        end
        return table.concat(octets)
    end

    local function in_chunks(octets, size)
        local parts = {}
        for at = 1, #octets, size do
            local part = octets:sub(at, at + size - 1)
            parts[#parts + 1] = ('%x\r\n%s\r\n'):format(#part, part)
        end
        return table.concat(parts) .. '0\r\n\r\n'
    end

    -- Reads a body: its octets and how many chunks they came in.
    local function take_chunks(connection)
        local parts, frames = {}, 0
        while true do
            local size = tonumber(assert(connection:take_until('\r\n')), 16)
            local data = assert(connection:take(size + 2))
            if size == 0 then
                return table.concat(parts), frames
            end
            parts[#parts + 1] = data:sub(1, -3)
            frames = frames + 1
        end
    end

    local POST = 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
    local GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
    local HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
    local OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

    -- Sends a body up or down in the given pieces; what arrives at the other side.
    local function pass(way, pieces)
        local connection = gateway:send(way == 'up' and POST or GET)
        local peer = upstream:accept()
        local from, to = connection, peer
        if way == 'down' then
            from, to = peer, connection
            peer:say(HEAD)
            assert(connection:take_until('\r\n\r\n'))
        end
        for _, piece in ipairs(pieces) do
            assert(from:send(piece))
        end
        local octets, frames = take_chunks(to)
        if way == 'up' then
            peer:say(OK)
            assert.equal('ok', assert(connection:response()).body)
        end
        connection:close()
        peer:close()
        return octets, frames
    end

    for _, way in ipairs({ 'up', 'down' }) do
        it(('of many small chunks goes %s in few'):format(way), function()
            local octets = octets_of(SMALL)
            local got, frames = pass(way, { in_chunks(octets, 1) })
            assert.equal(octets, got)
            assert.is_true(frames <= MOST_FRAMES, frames .. ' chunks')
        end)

        it(('that comes byte by byte goes %s unchanged'):format(way), function()
            local octets = octets_of(100)
            local pieces = {}
            for byte in in_chunks(octets, 7):gmatch('.') do
                pieces[#pieces + 1] = byte
            end
            assert.equal(octets, (pass(way, pieces)))
        end)

        it(('that is cut anywhere goes %s unchanged'):format(way), function()
            local octets = octets_of(200000)
            local text = in_chunks(octets, 997)
            local pieces, at, size = {}, 1, 1
            while at <= #text do
                pieces[#pieces + 1] = text:sub(at, at + size - 1)
                at, size = at + size, size * 3 % 4999 + 1
            end
            assert.equal(octets, (pass(way, pieces)))
        end)

        it(('goes %s without its trailers and extensions'):format(way), function()
            local got = pass(way,
                { '3;a=b;c="d"\r\nabc\r\n0;e\r\nX-Trailer: 1\r\nX-T2: 2\r\n\r\n' })
            assert.equal('abc', got)
        end)
    end

    it('with a trailer that could be taken for a field is refused', function()
        for _, name in ipairs({ 'Content-Length', 'Host', 'Authorization', 'X-Forwarded-For' }) do
            local trailer = '1\r\nx\r\n0\r\n' .. name .. ': 1\r\n\r\n'
            local connection = gateway:send(POST .. trailer)
            assert.equal(400, assert(connection:response()).status)
            connection:close()
            -- Its head may have gone to the upstream, its end never.
            while upstream:is_asked(0) do
                local peer = upstream:accept(true)
                assert.is_nil(peer:expect_end():find('0\r\n\r\n', 1, true))
            end

            connection = gateway:send(GET)
            local peer = upstream:accept()
            peer:say(HEAD .. trailer)
            assert.equal(502, assert(connection:response()).status)
            peer:expect_end()
            connection:close()
        end
    end)
end)
