-- SPDX-License-Identifier: Apache-2.0
-- moongate.runtime.compile: the functions of chains.
local compile = require 'moongate.runtime.compile'

describe('compile', function()
    local shared, seen, turn_of, object, make

    local function handler(name)
        return {
            access = function(self, conf)
                assert.equal(name, self.name)
                seen[#seen + 1] = ('%s %s %d'):format(name, conf, shared.turn)
            end,
            name = name,
        }
    end

    before_each(function()
        shared, seen, turn_of = { skipped = 0 }, {}, {}
        object = { confs = {} }
        local function pick()
            return object.confs, object
        end
        make = compile.compiler({
            shared = shared, turn_of = turn_of, pickers = { start = pick, pick = pick },
        })
    end)

    it('calls the handlers in order, each with its configuration and turn', function()
        local fn = make('access', {
            { turn = 3, handler = handler('a') }, { turn = 7, handler = handler('b') },
        }, false)
        fn({ 'one', 'two' })
        assert.same({ 'a one 3', 'b two 7' }, seen)
    end)

    it('gives no function where no plugin has the phase', function()
        assert.is_nil(make('log', { { turn = 1, handler = handler('a') } }, false))
    end)

    it('leaves out plugins without the phase', function()
        local fn = make('access', {
            { turn = 1, handler = { log = type } }, { turn = 2, handler = handler('b') },
        }, false)
        fn({ 'one', 'two' })
        assert.same({ 'b two 2' }, seen)
    end)

    it('tells of each turn where that is wanted, but not in log', function()
        local told = {}
        local function timed(phase, places, dynamic)
            shared.request = 'req'
            return compile.compiler({
                shared = shared, turn_of = turn_of, took = function(request, turn)
                    told[#told + 1] = request .. turn
                end,
                pickers = { start = function() return object.confs, object end },
            })(phase, places, dynamic)
        end
        timed('access', { { turn = 3, handler = handler('a') },
            { turn = 7, handler = handler('b') } }, false)({ 'one', 'two' })
        assert.same({ 'a one 3', 'b two 7' }, seen)
        turn_of.chosen = 9
        timed('access', { { turn = 5, handler = handler('c'), dynamic = true } }, true)({ false,
            choose = function() return 'chosen' end })
        local log = { log = function() end }
        timed('log', { { turn = 4, handler = log } }, false)({ 'one' })
        assert.same({ 'req3', 'req7', 'req9' }, told)
    end)

    it('makes one function for a sequence', function()
        local places = { { turn = 1, handler = handler('a') } }
        assert.equal(make('access', places, false), make('access', places, false))
        local dynamic = { { turn = 1, handler = handler('a'), dynamic = true } }
        assert.not_equal(make('access', places, false), make('access', dynamic, true))
    end)

    it('chooses a configuration at its turn, and keeps it for later phases', function()
        local places = {
            { turn = 1, handler = handler('a') },
            { turn = 2, handler = handler('b'), dynamic = true },
            { turn = 3, handler = handler('c'), dynamic = true },
        }
        turn_of.for_bob = 9
        local base = {
            'one', false, false,
            choose = function(_, place, o)
                assert.equal('a one 1', seen[1])
                assert.equal(object, o)
                return place == 2 and 'for_bob' or false
            end,
        }
        make('access', places, true)(base)
        assert.same({ 'a one 1', 'b for_bob 9' }, seen)
        assert.same({ 'one', 'for_bob', false }, object.confs)
    end)
end)
