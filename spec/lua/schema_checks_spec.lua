-- SPDX-License-Identifier: Apache-2.0
-- Entity checks: rules over several fields, their texts and their places.
local schema = require 'moongate.schema'

local function with(checks, fields)
    return assert(schema.new({ name = 't', fields = { { config = {
        type = 'record', required = true, entity_checks = checks,
        fields = fields or {
            { a = { type = 'string' } }, { b = { type = 'string' } }, { c = { type = 'integer' } },
            { n = { type = 'record', fields = { { x = { type = 'string' } } } } },
        },
    } } } }))
end

local function errors_of(s, config)
    local value, errors, flat = s:validate({ config = config })
    return value == nil and errors.config or nil, flat
end

local function entity_error(s, config)
    local errors = errors_of(s, config)
    return errors and errors['@entity'] and errors['@entity'][1]
end

-- Check, records that pass, records that do not, text.
local CHECKS = {
    { { at_least_one_of = { 'a', 'n.x' } },
        { { a = 'v' }, { n = { x = 'v' } } }, { {}, { b = 'v' } },
        "at least one of these fields must be non-empty: 'a', 'n.x'" },
    { { only_one_of = { 'a', 'b' } }, { { a = 'v' }, { b = 'v' } }, { {}, { a = 'v', b = 'v' } },
        "exactly one of these fields must be non-empty: 'a', 'b'" },
    { { distinct = { 'a', 'b' } }, { {}, { a = 'v' }, { a = 'v', b = 'w' } },
        { { a = 'v', b = 'v' } }, "values of these fields must be distinct: 'a', 'b'" },
    { { mutually_required = { 'a', 'b' } },
        { {}, { a = 'v', b = 'w' } }, { { a = 'v' }, { b = 'v' } },
        "all or none of these fields must be set: 'a', 'b'" },
    { { mutually_exclusive = { 'a', 'b' } }, { {}, { a = 'v' } }, { { a = 'v', b = 'v' } },
        "only one or none of these fields must be set: 'a', 'b'" },
    { { mutually_exclusive_sets = { set1 = { 'a', 'n.x' }, set2 = { 'b' } } },
        { {}, { a = 'v', n = { x = 'v' } }, { b = 'v' } }, { { a = 'v', b = 'v' } },
        "these sets are mutually exclusive: ('a', 'n.x'), ('b')" },
    { { conditional_at_least_one_of = { if_field = 'a', if_match = { one_of = { 'v' } },
        then_at_least_one_of = { 'b', 'c' } } },
        { {}, { a = 'w' }, { a = 'v', b = 'x' }, { a = 'v', c = 1 } }, { { a = 'v' } },
        "at least one of these fields must be non-empty: 'b', 'c'" },
    { { conditional_at_least_one_of = { if_field = 'a', if_match = { eq = 'v' },
        then_at_least_one_of = { 'b' }, then_err = 'need %s', else_match = { eq = 'w' },
        else_then_at_least_one_of = { 'c' }, else_then_err = 'else need %s' } },
        { { a = 'x' }, { a = 'v', b = 'x' }, { a = 'w', c = 1 } }, { { a = 'w' } },
        "else need 'c'" },
    { { conditional = { if_field = 'a', if_match = { eq = 'v' },
        then_field = 'c', then_match = { gt = 5 } } },
        { {}, { a = 'w', c = 1 }, { a = 'v', c = 6 } }, { { a = 'v', c = 5 } },
        "failed conditional validation given value of field 'a'" },
    { { conditional = { if_field = 'a', if_match = { eq = 'v' }, then_err = 'b, please',
        then_field = 'b', then_match = { required = true } } },
        { {}, { a = 'v', b = 'x' } }, { { a = 'v' } }, 'b, please' },
    { { custom_entity_check = { field_sources = { 'a', 'b' }, fn = function(entity)
        return entity.a < entity.b or nil, 'a must come before b'
    end } }, { { a = 'a', b = 'b' } }, { { a = 'b', b = 'a' } }, 'a must come before b' },
}

describe('an entity check', function()
    for i, case in ipairs(CHECKS) do
        it(('%d says: %s'):format(i, case[4]), function()
            local s = with({ case[1] })
            for _, config in ipairs(case[2]) do
                assert.is_nil((errors_of(s, config)))
            end
            for _, config in ipairs(case[3]) do
                assert.equal(case[4], entity_error(s, config))
            end
        end)
    end

    it('puts the error of a condition on the field too, and its finding there', function()
        local s = with({ { conditional = { if_field = 'a', if_match = { eq = 'v' },
            then_field = 'b', then_match = { required = true } } } })
        local errors, flat = errors_of(s, { a = 'v' })
        assert.same({ b = 'required field missing',
            ['@entity'] = { "failed conditional validation given value of field 'a'" } }, errors)
        assert.same({ 'config', 'b' }, flat[1].path)
        assert.equal('required field missing', flat[1].detail)
    end)

    it('stands beside errors of fields, as in the plugin manual', function()
        local s = with({ { distinct = { 'a', 'b' } } }, {
            { a = { type = 'string' } }, { b = { type = 'string' } },
            { port = { type = 'integer' } },
        })
        local _, errors = s:validate({ config = { a = 'x', b = 'x', port = 'p' } })
        assert.same({ config = {
            ['@entity'] = { "values of these fields must be distinct: 'a', 'b'" },
            port = 'expected an integer',
        } }, errors)
    end)

    it('sees defaults', function()
        local s = with({ { at_least_one_of = { 'a', 'b' } } },
            { { a = { type = 'string', default = 'x' } }, { b = { type = 'string' } } })
        assert.is_nil((errors_of(s, {})))
    end)

    it('needs the fields of a custom check, unless it can do without', function()
        local calls = 0
        local function check(more)
            local arg = { field_sources = { 'a', 'n.x' }, fn = function(entity)
                calls = calls + 1
                assert(entity.a == 'v')
                return true
            end }
            for k, v in pairs(more) do
                arg[k] = v
            end
            return with({ { custom_entity_check = arg } })
        end
        assert.same({ n = { x = 'field required for entity check' } },
            (errors_of(check({}), { a = 'v' })))
        assert.equal(0, calls)
        assert.is_nil((errors_of(check({ run_with_missing_fields = true }), { a = 'v' })))
        assert.equal(1, calls)
    end)

    it('of the later kinds is skipped where a field is in error, of the first five not', function()
        local s = with({
            { mutually_exclusive = { 'a', 'b' } }, { mutually_required = { 'a', 'b' } },
        })
        assert.same({ b = 'expected a string' }, (errors_of(s, { a = 'v', b = 1 })))
        s = with({ { at_least_one_of = { 'a', 'b' } }, { only_one_of = { 'a', 'b' } } })
        local errors = errors_of(s, { b = 1 })
        assert.equal('expected a string', errors.b)
        assert.equal(2, #errors['@entity'])
    end)

    it('that raises is reported, not thrown', function()
        local s = with({ { custom_entity_check = { field_sources = { 'a' }, fn = function()
            error('oops')
        end } } })
        assert.matches('the entity check failed: .*oops', entity_error(s, { a = 'v' }))
    end)
end)
