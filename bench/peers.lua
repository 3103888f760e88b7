-- SPDX-License-Identifier: Apache-2.0
-- Moongate beside other gateways: script/bench peers --help, docs/benchmarks.md.
package.path = './?.lua;' .. package.path
local arguments = require 'bench.suite.arguments'
local scenarios = require 'bench.suite.scenarios'

local EXIT_USAGE = 2

-- What needs nothing that is built comes first.
local options, mistake = arguments.parse(arg, scenarios.names(), scenarios.peers)
if not options then
    io.stderr:write('script/bench peers: ', mistake, '\n')
    os.exit(EXIT_USAGE)
elseif options.help then
    io.write(arguments.HELP:format(table.concat(scenarios.names(), ','),
        table.concat(scenarios.peers, ',')))
    os.exit(0)
end

require('tools.modules').use(arg)
local chart = require 'bench.suite.chart'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local report = require 'bench.suite.report'
local runner = require 'bench.suite.runner'

local CHARTED = { 'plain', 'policies', 'redis', 'body-64k', 'body-1m', 'close' }

local function say(text)
    io.stderr:write(text, '\n')
end

local function run_all()
    local peers = {}
    for _, name in ipairs(options.peers) do
        peers[name] = require('bench.peers.' .. name)
    end
    local machine = report.machine(peers)
    local results = {}
    print(report.heading(machine))
    for _, name in ipairs(options.scenarios) do
        say('== ' .. name)
        local result = runner.run(scenarios.find(name), peers, options, say)
        results[#results + 1] = result
        print(report.table(result))
        io.stdout:flush()
    end
    local verdicts = report.judge(results, scenarios.bars)
    print(report.bars(verdicts))
    if options.out then
        process.write(options.out, report.json(machine, results, verdicts, options) .. '\n')
    end
    if options.svg then
        process.write(options.svg, chart.svg(results, machine, CHARTED))
    end
end

local function main()
    if options.install then
        assert(os.execute('tools/fetch_peers.sh >&2') == 0, 'the peers could not be fetched')
    end
    posix.allow_descriptors()
    run_all()
end

process.main(main)
