-- SPDX-License-Identifier: Apache-2.0
--
-- Each promise of spec/catalogue.lua has a test whose name begins with its id. What is skipped or
-- still without a test is shown as pending, with the reason.
local catalogue = require 'spec.catalogue'
local names = require 'spec.lua.support.test_names'

describe('the catalogue', function()
    local tests = names.by_id('spec', 'plugins')
    local entries = {}
    for _, entry in ipairs(catalogue) do
        assert(not entries[entry.id], entry.id .. ' stands twice')
        entries[entry.id] = entry
    end

    local function is_tested(entry)
        for _, place in ipairs(tests[entry.id] or {}) do
            if place:sub(1, #(entry.on or '')) == (entry.on or '') then
                return true
            end
        end
        return false
    end

    it('has a test for each id that is neither skipped nor pending', function()
        local missing = {}
        for _, entry in ipairs(catalogue) do
            if not is_tested(entry) and not entry.skipped and not entry.pending then
                missing[#missing + 1] = entry.id .. ' ' .. entry.text
            end
        end
        assert.same({}, missing)
    end)

    it('knows each id that a test\'s name begins with', function()
        local unknown = {}
        for id, places in pairs(tests) do
            if not entries[id] then
                unknown[#unknown + 1] = places[1]
            end
        end
        assert.same({}, unknown)
    end)

    it('skips nothing that has a test', function()
        for _, entry in ipairs(catalogue) do
            assert.is_falsy(entry.skipped and is_tested(entry), entry.id)
        end
    end)

    for _, entry in ipairs(catalogue) do
        local reason = entry.skipped_part or entry.skipped or entry.pending and 'no test yet'
        if entry.skipped_part or (reason and not is_tested(entry)) then
            pending(('%s %s: %s'):format(entry.id, entry.text, reason))
        end
    end
end)

describe('names of tests', function()
    it('are found in specs', function()
        local source = [[
            DESCRIBE('M07 folding', function()
                IT(('SMG-02 a %s'):format(what), function() end)
                IT("it's", other)
                IT_survives('L2 rotation', it)
                pending('M08 nothing')
                submit('M09 no test')
            end)
        ]] -- in capitals, so that they are not found in this file
        source = source:gsub('DESCRIBE', 'describe'):gsub('IT([%(_])', 'it%1')
        assert.same({ 'M07 folding', 'SMG-02 a %s', "it's", 'L2 rotation' },
            names.of_lua(source))
    end)

    it('are found in C tests, whose ids have no hyphen', function()
        assert.same({ 'MEM-01 a late reply', 'M02 a bare cr', 'an idle loop', 'B7 a budget' },
            names.of_c([[
            cmocka_unit_test(mem_01_a_late_reply),
            cmocka_unit_test_setup_teardown(m02_a_bare_cr, make, drop),
            cmocka_unit_test(an_idle_loop),
            WITH_BOARD(b7_a_budget),
        ]]))
    end)

    it('may begin with several ids', function()
        assert.same({ 'M07', 'SMG-04', 'H2-01' }, names.ids('M07, SMG-04 H2-01: folding'))
        assert.same({}, names.ids('the M07'))
        assert.same({ 'R1', 'R16', 'B7' }, names.ids('R1, R16, B7 in one'))
        assert.same({}, names.ids('M071'))
        assert.same({}, names.ids('B71'))
    end)
end)
