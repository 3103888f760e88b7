-- SPDX-License-Identifier: Apache-2.0
-- Time from exec to the first answer, with the demo configuration (conf/moongate.yml on free ports,
-- its upstreams already there): the client tries to connect from the start on, and the clock stops
-- with the answer to a proxied request.
--
--     script/bench start [ROUNDS]       (10)
package.path = './?.lua;' .. package.path
require('tools.modules').use(arg)
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'

local PATH = '/orders/7'

-- A copy of the demo in folder, with other ports.
local function demo(folder, upstream, port)
    local text = assert(process.read('conf/moongate.yml'))
    local count
    text, count = text:gsub('"127%.0%.0%.1:8000"', ('"127.0.0.1:%d"'):format(port))
    assert(count == 1, 'the demo listens elsewhere')
    text, count = text:gsub('http://127%.0%.0%.1:910[12]', 'http://127.0.0.1:' .. upstream)
    assert(count == 2, 'the demo has other upstreams')
    assert(os.execute(("ln -sfn '%s/conf/plugins' '%s/plugins'"):format(
        os.getenv('MOONGATE_SOURCE_DIR') or os.getenv('PWD'), folder)) == 0)
    return text
end

local function wait_answer(port, deadline)
    repeat
        local res = client.get(port, PATH)
        if res then
            assert(res.status == 200, 'status ' .. res.status)
            return
        end
    until posix.now() > deadline
    error('no answer')
end

local function start_once(upstream)
    local folder, port = process.folder(), process.free_port()
    local yaml = demo(folder, upstream, port)
    local begin = posix.now()
    local gateway = process.start_gateway(yaml, { folder = folder })
    wait_answer(port, begin + process.deadline)
    local used = (posix.now() - begin) * 1000
    assert(gateway:wait_text('ready, '))
    local memory = procfs.rss_bytes(gateway:status().workers[1].pid)
    gateway:stop()
    return used, memory
end

local function main()
    local rounds = tonumber(arg[1]) or 10
    local upstream = process.echo().port
    local times, memory = {}, 0
    for i = 1, rounds do
        local bytes
        times[i], bytes = start_once(upstream)
        memory = math.max(memory, bytes)
        print(('round %2d: %.0f ms'):format(i, times[i]))
    end
    table.sort(times)
    print(('exec to first answer: median %.0f ms, longest %.0f ms; worker RSS at most %.1f MB')
        :format(times[math.ceil(rounds / 2)], times[rounds], memory / 1e6))
end

process.main(main)
