-- SPDX-License-Identifier: Apache-2.0
-- Writes the Lua function that runs one phase of a chain: the handlers in order, called one after
-- the other with nothing between them but a note of whose turn it is. One function for each
-- distinct sequence, so that the compiler makes one trace of the whole chain; configurations come
-- in as an argument.
--
-- For plugins a (turn 3) and b (turn 7, whose configuration depends on the consumer) the access
-- function is
--
--     local shared, pick, turn_of, h1, f1, h2, f2 = ...
--     return function(base)
--         local confs, object = pick(base)
--         local conf = base[1]
--         confs[1] = conf
--         shared.turn = 3
--         f1(h1, conf)
--         conf = base.choose(base, 2, object)
--         ...
local M = {}

local HEAD = 'local shared, pick, turn_of, took%s = ...\nreturn function(base)\n'

-- The note of whose turn it is; where it is timed also of when it began.
local NOTE = '    shared.turn = %d\n'
local TIMED_NOTE = NOTE .. '    took(shared.request, %d)\n'
local IF_CHOSEN = '    if conf then shared.turn = turn_of[conf] f%d(h%d, conf)'
    .. ' else shared.skipped = shared.skipped + %d end'
local IF_CHOSEN_TIMED = '    if conf then shared.turn = turn_of[conf]'
    .. ' took(shared.request, shared.turn) f%d(h%d, conf)'
    .. ' else shared.skipped = shared.skipped + %d end'

local function note(p, timed)
    return timed and TIMED_NOTE:format(p.turn, p.turn) or NOTE:format(p.turn)
end

local function if_chosen(i, timed)
    return (timed and IF_CHOSEN_TIMED or IF_CHOSEN):format(i, i, 2 ^ (i - 1))
end

-- Steps of a place: `i` is the place, `p` = { turn =, dynamic = }, `called` whether the phase has a
-- function there.
local function static_step(lines, i, p, called, timed)
    if called then
        lines[#lines + 1] = note(p, timed) .. ('    f%d(h%d, base[%d])'):format(i, i, i)
    end
end

local function choosing_step(lines, i, p, called, timed)
    if p.dynamic then
        lines[#lines + 1] = ('    conf = base.choose(base, %d, object)'):format(i)
    else
        lines[#lines + 1] = ('    conf = base[%d]'):format(i)
    end
    lines[#lines + 1] = ('    confs[%d] = conf'):format(i)
    if not called then
        return
    elseif p.dynamic then
        lines[#lines + 1] = if_chosen(i, timed)
    else
        lines[#lines + 1] = note(p, timed) .. ('    f%d(h%d, conf)'):format(i, i)
    end
end

local function chosen_step(lines, i, p, called, timed)
    if not called then
        return
    elseif p.dynamic then
        lines[#lines + 1] = ('    conf = confs[%d]'):format(i)
        lines[#lines + 1] = if_chosen(i, timed)
    else
        lines[#lines + 1] = note(p, timed) .. ('    f%d(h%d, base[%d])'):format(i, i, i)
    end
end

--- @tparam string phase
-- @tparam table places array of { turn = number, dynamic = boolean, handler = table }
-- @tparam boolean dynamic whether any place is
-- @tparam boolean|nil timed whether `took` is told of each turn
-- @tparam number|nil from the first place that is called; those before it have plans
-- @treturn string|nil source, nil when no plugin of the chain takes part in the phase
function M.source(phase, places, dynamic, timed, from)
    local names, lines, any = {}, {}, false
    local step = static_step
    if dynamic then
        step = phase == 'access' and choosing_step or chosen_step
        lines[1] = phase == 'access' and '    local confs, object = pick(base)\n    local conf'
            or '    local confs = pick(base)\n    local conf'
    end
    for i, p in ipairs(places) do
        local called = type(p.handler[phase]) == 'function' and i >= (from or 1)
        any = any or called
        names[#names + 1] = (', h%d, f%d'):format(i, i)
        step(lines, i, p, called, timed)
    end
    if not any then
        return nil
    end
    return HEAD:format(table.concat(names)) .. table.concat(lines, '\n') .. '\nend\n'
end

local function key_of(phase, places, from)
    local parts = { phase, from }
    for _, p in ipairs(places) do
        parts[#parts + 1] = p.turn .. (p.dynamic and '?' or '')
    end
    return table.concat(parts, ' ')
end

--- Makes functions, and gives the same one for the same sequence.
-- @tparam table env { shared =, turn_of =, took = nil or function (request, turn), pickers =
-- { start = for access, pick = for later phases } }
-- @treturn function (phase, places, dynamic, from) -> function|nil
function M.compiler(env)
    local made = {}
    return function(phase, places, dynamic, from)
        local key = key_of(phase, places, from or 1)
        if made[key] == nil then
            local timed = env.took ~= nil and phase ~= 'log' -- which comes after the answer
            local source = M.source(phase, places, dynamic, timed, from)
            made[key] = false
            if source then
                local arguments = {}
                for _, p in ipairs(places) do
                    arguments[#arguments + 1] = p.handler
                    arguments[#arguments + 1] = p.handler[phase] or false
                end
                local chunk = assert(loadstring(source, '=chain of ' .. phase))
                local pick = phase == 'access' and env.pickers.start or env.pickers.pick
                made[key] = chunk(env.shared, pick, env.turn_of, env.took, unpack(arguments))
            end
        end
        return made[key] or nil
    end
end

return M
