-- SPDX-License-Identifier: Apache-2.0
--
-- The access log on a disk that is full (L2): a real one of 1 MiB, which only root can make.
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

describe('an access log on a full disk', function()
    local folder, mounted

    local function run(command)
        return os.execute(command .. ' >/dev/null 2>&1') == 0
    end

    before_each(function()
        folder = process.folder()
        mounted = posix.is_root() and run('mkdir ' .. folder .. '/disk && mount -t tmpfs -o size=1m'
            .. ' moongate-spec ' .. folder .. '/disk')
    end)

    after_each(function()
        if mounted then
            run('umount -l ' .. folder .. '/disk')
        end
        process.stop_all()
    end)

    local function get(gateway, count)
        local connection = assert(client.connect(gateway.port))
        for _ = 1, count do
            assert.equal(200, assert(connection:request('GET', '/')).status)
        end
        connection:close()
    end

    it('L2 counts what it loses, has whole lines only, and is back at once', function()
        if not mounted then
            pending('only root can mount a disk of 1 MiB, and not everywhere')
            return
        end
        local echo = process.echo()
        local gateway = process.gateway(process.yaml({ upstream = echo.port, workers = 1,
            gateway = ([[
plugins:
- name: access-log
  config:
    sinks: [{ type: file, path: "%s/disk/a.log" }]
    queue: { entries: 300 }
]]):format(folder) }), { folder = folder })
        get(gateway, 10)
        run(('dd if=/dev/zero of=%s/disk/filler bs=4096'):format(folder)) -- until it is full
        get(gateway, 1000)
        local full = assert(gateway:wait_status(function(status)
            return status.counters.log_lines_dropped >= 300
        end)).counters
        assert.equal(full.requests,
            full.log_lines_written + full.log_lines_dropped + full.log_lines_queued)
        assert.is_true(run(('rm %s/disk/filler'):format(folder)))
        assert(gateway:wait_status(function(status)
            return status.counters.log_lines_queued == 0
        end, 5))
        get(gateway, 5)
        gateway:signal('TERM')
        assert.equal(0, gateway:wait(), gateway.err)
        local written, lost, reasons = 0, 0, {}
        for line in process.read(folder .. '/disk/a.log'):gmatch('([^\n]*)\n') do
            local record = assert(dkjson.decode(line, 1, nil), line)
            if record.event then
                lost, reasons[record.reason] = lost + record.lines, true
            else
                written = written + 1
            end
        end
        assert.equal(1015, written + lost)
        assert.is_true(reasons.disk)
    end)
end)
