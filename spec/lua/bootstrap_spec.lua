-- SPDX-License-Identifier: Apache-2.0
-- script/bootstrap installs every program that a spec starts: a fresh machine has none but Debian's
-- essential ones.
local source = require 'tools.source'

local PACKAGE_OF = {
    curl = 'curl', luajit = 'luajit', nginx = 'nginx-light', node = 'nodejs', openssl = 'openssl',
    prlimit = 'util-linux', ['redis-cli'] = 'redis-tools',
    strace = 'strace', taskset = 'util-linux', valgrind = 'valgrind', wrk = 'wrk',
}
-- Of coreutils, findutils and dash (command is its own), and this binary under other names.
local ESSENTIAL = {}
for name in ('cat command cp env find kill ln ls mkdir mkfifo mv pwd rm sh sha256sum sleep stat '
    .. 'true'):gmatch('%S+') do
    ESSENTIAL[name] = true
end

local PATTERNS = { "run%({%s*'([%l%d_-]+)'", "start%({%s*'([%l%d_-]+)'",
    "execute%(%(?[\"']([%l%d_-]+) ", "popen%(%(?[\"']([%l%d_-]+)[ \"']" }

describe('script/bootstrap', function()
    it('has the package of every program that the specs start', function()
        local bootstrap = assert(source.read('script/bootstrap'))
        local unknown, seen = {}, {}
        for _, path in ipairs(source.files('.', { 'spec/gateway', 'bench' }, { 'lua' })) do
            local text = assert(source.read(path))
            for _, pattern in ipairs(PATTERNS) do
                for program in text:gmatch(pattern) do
                    seen[program] = true
                    local package = PACKAGE_OF[program]
                    local is_there = package and bootstrap:find('%f[%w]'
                        .. package:gsub('%-', '%%-') .. '%f[^%w-]')
                    if not is_there and not ESSENTIAL[program] then
                        unknown[#unknown + 1] = path .. ': ' .. program
                    end
                end
            end
        end
        assert.same({}, unknown)
        assert.is_true(seen.strace and seen.prlimit and seen.curl)
    end)
end)
