-- SPDX-License-Identifier: Apache-2.0
--
-- The arguments of script/bench peers.
--
--     local options, err = arguments.parse(arg, names_of_scenarios, names_of_peers)
local M = {}

M.HELP = [[
script/bench peers [OPTION...]

Measures Moongate beside other gateways in one interleaved run and prints a table: each scenario
starts its sides in front of one origin, and then lets them take turns in short bursts of load. The
figures are medians of all rounds, ratios those of the pairs of each round. docs/benchmarks.md tells
what is measured and how.

  --scenario NAME,...  these scenarios (all):
                       %s
  --peers NAME,...     these peers (all that are there):
                       %s
  --rounds N           turns of each side (5)
  --seconds S          length of a burst (1)
  --out FILE           also writes the figures as JSON
  --svg FILE           and a chart
  --connections N      in place of each scenario's number
  --no-calls           does not count system calls (strace slows the machine down)
  --install            gets the peers from Debian and npm first: .deps/peers, build/bench-node
  --help               prints this
]]

local function set_of(list)
    local set = {}
    for _, name in ipairs(list) do
        set[name] = true
    end
    return set
end

local function split(text, known, what)
    local list = {}
    for name in text:gmatch('[^,]+') do
        if not known[name] then
            return nil, ("there is no %s '%s'; see --help"):format(what, name)
        end
        list[#list + 1] = name
    end
    if #list == 0 then
        return nil, 'no ' .. what .. ' is named'
    end
    return list
end

local function number_from(least)
    return function(text)
        local number = tonumber(text)
        if not number or number < least then
            return nil, ("'%s' is no number from %g"):format(text, least)
        end
        return number
    end
end

local function count_from(least)
    return function(text)
        local number, err = number_from(least)(text)
        if not number then
            return nil, err
        elseif number % 1 ~= 0 then
            return nil, ("'%s' is no whole number from %d"):format(text, least)
        end
        return number
    end
end

local function path_of(text)
    return text
end

--- @tparam table words
-- @tparam table scenarios names
-- @tparam table peers names
-- @treturn table|nil scenarios, peers (lists), rounds, seconds, out, svg, connections, calls,
-- install, help
-- @treturn string what is wrong
function M.parse(words, scenarios, peers)
    local known_scenarios, known_peers = set_of(scenarios), set_of(peers)
    local options = { rounds = 5, seconds = 1, calls = true, scenarios = scenarios, peers = peers }
    local flags = { ['--no-calls'] = { 'calls', false }, ['--install'] = { 'install', true },
        ['--help'] = { 'help', true }, ['-h'] = { 'help', true } }
    local takers = {
        ['--scenario'] = { 'scenarios', function(text)
            return split(text, known_scenarios, 'scenario')
        end },
        ['--peers'] = { 'peers', function(text)
            return split(text, known_peers, 'peer')
        end },
        ['--rounds'] = { 'rounds', count_from(1) }, ['--seconds'] = { 'seconds', number_from(0.1) },
        ['--connections'] = { 'connections', count_from(1) },
        ['--out'] = { 'out', path_of }, ['--svg'] = { 'svg', path_of },
    }
    local i = 1
    while words[i] do
        local flag, taker = flags[words[i]], takers[words[i]]
        if flag then
            options[flag[1]] = flag[2]
        elseif not taker then
            return nil, ("unknown argument '%s'; see --help"):format(words[i])
        elseif not words[i + 1] then
            return nil, words[i] .. ' needs a value'
        else
            local value, err = taker[2](words[i + 1])
            if value == nil then
                return nil, words[i] .. ': ' .. err
            end
            options[taker[1]] = value
            i = i + 1
        end
        i = i + 1
    end
    return options
end

return M
