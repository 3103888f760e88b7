-- SPDX-License-Identifier: Apache-2.0
--
-- Large bodies stream: whoever is slow is waited for, the worker keeps next to nothing, and every
-- byte arrives. The suite sends 64 MB each way, script/soak 1 GB.
local peers = require 'spec.gateway.support.peers'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'

local MIB = 1024 * 1024
local SOAK = tonumber(os.getenv('MOONGATE_SOAK_MIB'))
local BODY = (SOAK or 64) * MIB
local RATE = SOAK and 100 * MIB or 20 * MIB -- bytes a second that the slow side takes
local MOST_GROWTH = 2 * MIB
local SECONDS = 60 + BODY / RATE

local GATEWAY = [[
  limits: { request_body: 0, body_total_timeout: 0s }
]]

-- A sanitizer keeps freed memory for a while, so only the bytes are looked at.
local IS_MEASURED = os.getenv('MOONGATE_PRESET') ~= 'asan'

describe('a large body', function()
    local folder
    local missing = peers.missing({ 'nginx', 'curl', 'sha256sum' })

    before_each(function()
        folder = process.folder()
        os.execute('mkdir ' .. folder .. '/www')
    end)

    after_each(process.stop_all)

    local function start(upstream)
        local gateway = process.gateway(process.yaml{ upstream = upstream, gateway = GATEWAY })
        gateway.worker = gateway:status().workers[1].pid
        return gateway
    end

    -- Looks at the worker's memory with each step until the program has ended.
    local function most_memory(gateway, program, step)
        local most = 0
        local deadline = posix.now() + SECONDS
        while not program:wait(0.01) do
            assert(posix.now() < deadline, 'it takes too long')
            step()
            most = math.max(most, procfs.rss_bytes(gateway.worker))
        end
        assert.equal(0, program.code, program.err)
        return most
    end

    local function expect_no_growth(before, most, way)
        local growth = (most - before) / MIB
        assert.is_true(not IS_MEASURED or most - before < MOST_GROWTH, ('%.2f MB'):format(growth))
        if SOAK then
            print(('    %s of %d MB: the worker grew by %.2f MB'):format(way, SOAK, growth))
        end
    end

    it('to a slow reader leaves the worker small', function()
        if missing then
            pending(missing)
            return
        end
        local sum = peers.random_file(folder .. '/www/large', BODY)
        peers.random_file(folder .. '/www/small', MIB)
        local gateway = start(peers.nginx(folder).port)
        local url = ('http://127.0.0.1:%d/'):format(gateway.port)
        peers.run({ 'curl', '-sSf', '-o', folder .. '/got', url .. 'small' })
        local before = procfs.rss_bytes(gateway.worker)
        local curl = process.start({ 'curl', '-sSf', '--limit-rate', tostring(RATE), '-o',
            folder .. '/got', url .. 'large' })
        local most = most_memory(gateway, curl, function() end)
        assert.equal(sum, peers.sha256(folder .. '/got'))
        expect_no_growth(before, most, 'download')
    end)

    -- The upstream: takes a request on fd and writes its body to a file, at RATE.
    local function new_upstream(fd, path)
        local file = assert(io.open(path, 'w'))
        local kept, left = '', nil
        local started, taken = posix.now(), 0

        local function take(bytes)
            file:write(bytes)
            taken, left = taken + #bytes, left - #bytes
            if left == 0 then
                file:close()
                assert(posix.send(fd, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
                    posix.now() + process.deadline))
            end
        end

        return function()
            while left ~= 0 and taken <= (posix.now() - started) * RATE do
                local bytes = posix.read(fd, posix.now() + 0.01)
                if not bytes then
                    return
                elseif left then
                    take(bytes)
                else
                    kept = kept .. bytes
                    local head, rest = kept:match('^(.-\r\n\r\n)(.*)$')
                    if head then
                        left = tonumber(head:lower():match('content%-length: (%d+)'))
                        take(rest)
                    end
                end
            end
        end
    end

    it('to a slow upstream leaves the worker small', function()
        if missing then
            pending(missing)
            return
        end
        local sum = peers.random_file(folder .. '/large', BODY)
        local listener, port = posix.listen()
        local gateway = start(port)
        local url = ('http://127.0.0.1:%d/'):format(gateway.port)
        local function send(file)
            local curl = process.start({ 'curl', '-sSf', '-H', 'Expect:', '-T', file, url })
            local fd = assert(posix.accept(listener, posix.now() + process.deadline))
            local most = most_memory(gateway, curl, new_upstream(fd, folder .. '/got'))
            posix.close(fd)
            return most
        end
        peers.random_file(folder .. '/small', MIB)
        send(folder .. '/small')
        local before = procfs.rss_bytes(gateway.worker)
        local most = send(folder .. '/large')
        assert.equal(sum, peers.sha256(folder .. '/got'))
        expect_no_growth(before, most, 'upload')
        posix.close(listener)
    end)
end)
