-- SPDX-License-Identifier: Apache-2.0
-- The schema engine: types, rules, validators, defaults, shorthands and the shape of errors.
local cjson = require 'cjson'
local schema = require 'moongate.schema'

-- A schema with the one field `x`.
local function field(def)
    return assert(schema.new({ name = 'test', fields = { { x = def } } }))
end

local function error_of(def, value)
    local result, errors = field(def):validate({ x = value })
    assert.is_nil(result)
    return errors.x
end

local function value_of(def, value)
    local result, errors = field(def):validate({ x = value })
    assert.is_nil(errors)
    return result.x
end

local TEXT = { type = 'string' }

-- Type, values that it takes, values that it does not, and its text.
local TYPES = {
    { TEXT, { 'a', 'é' }, { 1, true, {} }, 'expected a string' },
    { { type = 'number' }, { 0, 1.5, -1 }, { '1', true, {}, 0 / 0 }, 'expected a number' },
    { { type = 'integer' }, { 0, -7, 2 ^ 40 }, { 1.5, '1', false }, 'expected an integer' },
    { { type = 'boolean' }, { true, false }, { 'true', 0, {} }, 'expected a boolean' },
    { { type = 'array', elements = TEXT }, { {}, { 'a', 'b' } }, { 'a', 1, { a = 'b' } },
        'expected an array' },
    { { type = 'set', elements = TEXT }, { {}, { 'a' } }, { 'a', { a = 'b' } }, 'expected a set' },
    { { type = 'map', keys = TEXT, values = TEXT }, { {}, { a = 'b' } }, { 'a', 1, { 'a' } },
        'expected a map' },
    { { type = 'record', fields = {} }, { {} }, { 'a', 1, true, { 'a' } }, 'expected a record' },
    { { type = 'function' }, { print }, { 'print', {} }, 'expected a function' },
    { { type = 'foreign', reference = 'services' }, { { id = 'a' } }, { 'a', 1 },
        'expected a record' },
    { { type = 'json', json_schema = { type = 'object', required = { 'a' },
        properties = { a = { type = 'integer', enum = { 1, 2 } } } } },
        { '{"a":1}', '{"a":2,"b":[]}' }, { '{"a":3}', '{"a":"1"}', '{}', '[]', '{', {} },
        'expected valid JSON that fits its json_schema' },
}

-- Definition, a value that passes, one that does not, and the text.
local VALIDATORS = {
    { { type = 'string', eq = 'a' }, 'a', 'b', 'value must be a' },
    { { type = 'boolean', eq = false }, false, true, 'value must be false' },
    { { type = 'string', ne = 'a' }, 'b', 'a', 'value must not be a' },
    { { type = 'string', not_one_of = { 'a', 'b' } }, 'c', 'a', 'must not be one of: a, b' },
    { { type = 'string', one_of = { 'a', 'b' } }, 'a', 'c', 'expected one of: a, b' },
    { { type = 'integer', one_of = { 1, 2 } }, 2, 3, 'expected one of: 1, 2' },
    { { type = 'number', gt = 1 }, 1.5, 1, 'value must be greater than 1' },
    { { type = 'integer', timestamp = true }, 1, 0, 'expected a valid timestamp' },
    { { type = 'string', uuid = true }, 'fd02801f-0957-4a15-a55a-c8d9606f30b5',
        'fd02801f-0957-4a15-a55a-c8d9606f30b', 'expected a valid UUID' },
    { { type = 'string', is_regex = true }, '^/a(b|c)[(]$', '/a(b', 'not a valid regex: /a(b' },
    { { type = 'integer', between = { 1, 3 } }, 3, 4, 'value should be between 1 and 3' },
    { { type = 'string', len_eq = 2 }, 'ab', 'a', 'length must be 2' },
    { { type = 'string', len_min = 2 }, 'ab', 'a', 'length must be at least 2' },
    { { type = 'string', len_max = 2 }, 'ab', 'abc', 'length must be at most 2' },
    { { type = 'array', elements = TEXT, len_min = 1 }, { 'a' }, {}, 'length must be at least 1' },
    { { type = 'map', keys = TEXT, values = TEXT, len_max = 1 }, { a = 'a' },
        { a = 'a', b = 'b' }, 'length must be at most 1' },
    { { type = 'string', starts_with = '/' }, '/a', 'a/', 'should start with: /' },
    { { type = 'string', not_match = '^%d' }, 'a1', '1a', 'invalid value: 1a' },
    { { type = 'string', match_none = { { pattern = '%s', err = 'no spaces' },
        { pattern = '^x', err = 'no x' } } }, 'ab', 'x', 'no x' },
    { { type = 'string', match = '^%d$' }, '1', 'a', 'invalid value: a' },
    { { type = 'string', match_all = { { pattern = '^a', err = 'begins with a' },
        { pattern = 'z$', err = 'ends with z' } } }, 'az', 'ab', 'ends with z' },
    { { type = 'string', match_any = { patterns = { '^a', '^b' }, err = 'a or b' } }, 'b', 'c',
        'a or b' },
    { { type = 'array', elements = TEXT, contains = 'a' }, { 'b', 'a' }, { 'b' },
        'expected to contain: a' },
    { { type = 'string', custom_validator = function(v)
        return v == 'good' or nil, v ~= 'good' and 'not good' or nil
    end }, 'good', 'bad', 'not good' },
    { { type = 'string', custom_validator = function(v) return v == 'a' end }, 'a', 'b',
        'invalid value' },
    { { type = 'set', elements = TEXT, mutually_exclusive_subsets = { { 'a', 'b' }, { 'c' } } },
        { 'a', 'b' }, { 'a', 'c' }, "these sets are mutually exclusive: ('a'), ('c')" },
    { { type = 'string', one_of = { 'a' }, err = 'only a' }, 'a', 'b', 'only a' },
    { { type = 'integer', err = 'a number, please' }, 1, 'b', 'a number, please' },
}

describe('the types of a schema', function()
    for _, case in ipairs(TYPES) do
        it('take and refuse: ' .. case[1].type, function()
            for _, value in ipairs(case[2]) do
                assert.same(value, value_of(case[1], value))
            end
            for _, value in ipairs(case[3]) do
                assert.equal(case[4], error_of(case[1], value))
            end
        end)
    end

    it('make milliseconds of durations, and refuse bare numbers', function()
        local def = { type = 'duration' }
        local texts = { ['20ms'] = 20, ['10s'] = 10000, ['5m'] = 300000, ['1h'] = 3600000,
            ['1d'] = 86400000, ['1w'] = 604800000, ['0.5s'] = 500, ['0s'] = 0 }
        for text, ms in pairs(texts) do
            assert.equal(ms, value_of(def, text))
        end
        assert.equal(0, value_of(def, 0))
        for _, value in ipairs({ 10, '10', '10 s', '1.5ms', 's', '10sec', '-1s', '', '1e3s' }) do
            assert.equal('expected a duration with a unit, such as 10s or 50ms',
                error_of(def, value))
        end
        local _, _, flat = field(def):validate({ x = 10 })
        assert.equal('write 10s or 10ms', flat[1].hint)
    end)

    it('make bytes of sizes', function()
        local def = { type = 'bytes' }
        for text, bytes in pairs({ ['64KiB'] = 65536, ['8MiB'] = 8388608, ['1GiB'] = 2 ^ 30,
            ['7B'] = 7, [512] = 512, [0] = 0 }) do
            assert.equal(bytes, value_of(def, text))
        end
        for _, value in ipairs({ '64', '64kb', '64KB', -1, 1.5, 'KiB' }) do
            assert.matches('size in bytes', error_of(def, value))
        end
    end)

    it('hold percentages to 0 and 100', function()
        assert.equal(0, value_of({ type = 'percent' }, 0))
        assert.equal(99.5, value_of({ type = 'percent' }, 99.5))
        assert.matches('0 to 100', error_of({ type = 'percent' }, 100.1))
    end)

    it('refuse empty texts, but for len_min = 0', function()
        assert.equal('length must be at least 1', error_of(TEXT, ''))
        assert.equal('', value_of({ type = 'string', len_min = 0 }, ''))
    end)

    it('let entries of lists and maps not be null', function()
        local list = { type = 'array', elements = TEXT }
        assert.same({ [2] = 'required field missing' }, error_of(list, { 'a', cjson.null }))
        local map = { type = 'map', keys = TEXT, values = TEXT }
        assert.same({ a = 'required field missing' }, error_of(map, { a = cjson.null }))
    end)

    it('answer sets by value and drop duplicates', function()
        local set = value_of({ type = 'set', elements = TEXT }, { 'b', 'a', 'b' })
        assert.equal(2, #set)
        assert.equal('b', set[1])
        assert.is_true(set.a)
        assert.is_nil(set.c)
        local numbers = value_of({ type = 'set', elements = { type = 'integer' } }, { 429, 503 })
        assert.is_true(numbers[503])
        assert.equal(429, numbers[1])
    end)

    it('turn keys of maps into numbers where these are asked for', function()
        local def = { type = 'map', keys = { type = 'integer' }, values = TEXT }
        assert.same({ [404] = 'a' }, value_of(def, { ['404'] = 'a' }))
        assert.same({ x = 'expected an integer' }, error_of(def, { x = 'a' }))
    end)

    it('take literals named by `also` as they are', function()
        local def = { type = 'integer', also = { 'auto', false } }
        assert.equal('auto', value_of(def, 'auto'))
        assert.is_false(value_of(def, false))
        assert.equal('expected an integer', error_of(def, 'none'))
    end)
end)

describe('the validators of a schema', function()
    for _, case in ipairs(VALIDATORS) do
        it('say: ' .. case[4], function()
            assert.same(case[2], value_of(case[1], case[2]))
            assert.equal(case[4], error_of(case[1], case[3]))
        end)
    end

    it('run in their order, and only the first is told', function()
        assert.equal('must not be one of: ab',
            error_of({ type = 'string', not_one_of = { 'ab' }, len_eq = 3, match = '^x' }, 'ab'))
        assert.equal('length must be 3',
            error_of({ type = 'string', len_eq = 3, match = '^x' }, 'ab'))
    end)

    it('do not run on a list whose elements are wrong', function()
        assert.same({ 'expected a string' },
            error_of({ type = 'array', elements = TEXT, len_min = 2 }, { 1 }))
    end)

    it('survive a validator that raises', function()
        local err = error_of({ type = 'string', custom_validator = function()
            error('oops')
        end }, 'a')
        assert.matches('^the validator failed: .*oops$', err)
    end)

    it('know eq and ne with null', function()
        assert.equal('value must be null', error_of({ type = 'string', eq = cjson.null }, 'a'))
        assert.is_nil(value_of({ type = 'string', eq = cjson.null }, nil))
        assert.equal('value must not be null', error_of({ type = 'string', ne = cjson.null }, nil))
    end)
end)

describe('a record', function()
    local nested = assert(schema.new({ name = 'nested', fields = {
        { config = { type = 'record', required = true, fields = {
            { host = { type = 'string', required = true } },
            { port = { type = 'integer', default = 80 } },
            { tls = { type = 'record', required = true, fields = {
                { verify = { type = 'boolean', default = true } } } } },
            { proxy = { type = 'record', fields = {
                { port = { type = 'integer', default = 3128 } } } } },
            { codes = { type = 'set', elements = { type = 'integer' }, default = { 500, 500 } } },
            { wait = { type = 'duration', default = '10s' } },
            { tick = { type = 'duration', default = 250 } },
        } } } } }))

    it('gets its defaults, nested ones only where the record is required or set', function()
        local value = nested:validate({ config = { host = 'a' } })
        assert.same({ config = { host = 'a', port = 80, tls = { verify = true }, codes = { 500 },
            wait = 10000, tick = 250 } }, value)
        value = nested:validate({ config = { host = 'a', proxy = {} } })
        assert.equal(3128, value.config.proxy.port)
    end)

    it('treats null as unset', function()
        local value = nested:validate({ config = { host = 'a', port = cjson.null } })
        assert.equal(80, value.config.port)
        local _, errors = nested:validate({ config = { host = cjson.null } })
        assert.same({ config = { host = 'required field missing' } }, errors)
    end)

    it('copies its defaults', function()
        local one = nested:validate({ config = { host = 'a' } })
        one.config.codes[1] = 1
        assert.equal(500, nested:validate({ config = { host = 'a' } }).config.codes[1])
    end)

    it('leaves its input alone', function()
        local input = { config = { host = 'a' } }
        nested:validate(input)
        assert.same({ config = { host = 'a' } }, input)
    end)

    it('reports a required record that is missing by its required fields', function()
        local value, errors = nested:validate({})
        assert.is_nil(value)
        assert.same({ config = { host = 'required field missing' } }, errors)
    end)

    it('refuses unknown fields and reports all errors at once, with their paths', function()
        local _, errors, flat = nested:validate({ more = 1, config = {
            host = 1, prot = 80, codes = { 1, 'a' }, proxy = { port = 'b' } } })
        assert.same({ config = { host = 'expected a string', prot = 'unknown field',
            codes = { [2] = 'expected an integer' }, proxy = { port = 'expected an integer' } },
            more = 'unknown field' }, errors)
        local paths = {}
        for _, entry in ipairs(flat) do
            paths[table.concat(entry.path, '.')] = entry.code
        end
        assert.same({ ['config.host'] = 'MG1031', ['config.prot'] = 'MG1023', more = 'MG1023',
            ['config.codes.2'] = 'MG1031', ['config.proxy.port'] = 'MG1031' }, paths)
    end)

    it('says what was expected and found, but not what is secret', function()
        local _, _, flat = nested:validate({ config = { host = 5 } })
        assert.equal('text', flat[1].expected)
        assert.equal('the number 5', flat[1].found)
        _, _, flat = field({ type = 'secret' }):validate({ x = 12345 })
        assert.equal('***', flat[1].found)
        _, _, flat = field({ type = 'integer', encrypted = true }):validate({ x = 'hunter2' })
        assert.equal('***', flat[1].found)
    end)

    it('refuses what is marked not_supported_yet', function()
        assert.equal('not supported yet',
            error_of({ type = 'string', not_supported_yet = true }, 'a'))
        assert.equal('not supported yet: later',
            error_of({ type = 'any', not_supported_yet = 'later' }, 'a'))
        local def = { type = 'string', one_of = { 'a', 'b' }, not_supported_yet = { b = true } }
        assert.equal('a', value_of(def, 'a'))
        assert.equal('not supported yet', error_of(def, 'b'))
        assert.is_nil(value_of({ type = 'string', not_supported_yet = true }, cjson.null))
    end)

    it('takes the text of an expanded scalar for the type that it must have', function()
        local s = assert(schema.new({ name = 't', fields = {
            { n = { type = 'integer' } }, { b = { type = 'boolean' } }, { s = TEXT },
            { l = { type = 'array', elements = { type = 'number' } } },
            { x = { type = 'integer' } },
        } }))
        local input = { n = '8080', b = 'false', s = '8080', l = { '1.5', 2 } }
        local soft = { [input] = { n = '${env:N}', b = '${env:B}', s = '${env:S}' },
            [input.l] = { '${env:L}' } }
        assert.same({ n = 8080, b = false, s = '8080', l = { 1.5, 2 } },
            s:validate(input, { soft = soft }))
        assert.equal(8080, input.n)
        local bad = { x = 'secret' }
        local _, errors, flat = s:validate(bad, { soft = { [bad] = { x = '${env:X}' } } })
        assert.same({ x = 'expected an integer' }, errors)
        assert.equal('the value of ${env:X}', flat[1].found)
    end)
end)

describe('shorthand_fields', function()
    local function with(deprecation)
        return assert(schema.new({ name = 't',
            fields = { { host = TEXT }, { port = { type = 'integer' } } },
            shorthand_fields = { { server = { type = 'string', deprecation = deprecation,
                func = function(value)
                    local host, port = value:match('^(%w+):(%d+)$')
                    if not host then
                        return nil, 'expected host:port'
                    end
                    return { host = host, port = tonumber(port) }
                end } } } }))
    end

    it('expand into other fields', function()
        assert.same({ host = 'a', port = 1 }, with():validate({ server = 'a:1' }))
    end)

    it('report their own errors, and those of their fields, at their own name', function()
        local _, errors = with():validate({ server = 5 })
        assert.same({ server = 'expected a string' }, errors)
        _, errors = with():validate({ server = 'a' })
        assert.same({ server = 'expected host:port' }, errors)
        local s = assert(schema.new({ name = 't', fields = { { n = { type = 'integer' } } },
            shorthand_fields = { { old = { type = 'string',
                func = function(v) return { n = v } end } } } }))
        local _, by_name, flat = s:validate({ old = 'x' })
        assert.same({ n = 'expected an integer' }, by_name)
        assert.same({ 'old' }, flat[1].path)
    end)

    it('yield to the new field when deprecated, and must not contradict it', function()
        local s = with({ message = 'use host and port' })
        assert.same({ host = 'a', port = 2 }, s:validate({ server = 'a:2', host = 'a' }))
        local _, errors = s:validate({ server = 'a:2', host = 'b' })
        assert.matches("both 'server' and 'host' are set", errors.server)
    end)
end)

describe('schema.new', function()
    local MISTAKES = {
        { {}, 'missing type declaration' },
        { { type = 'array' }, "field of type 'array' must declare 'elements'" },
        { { type = 'map', keys = TEXT }, "field of type 'map' must declare 'values'" },
        { { type = 'record' }, "field of type 'record' must declare 'fields'" },
        { { type = 'foreign' }, "field of type 'foreign' must declare 'reference'" },
        { { type = 'json' }, "field of type 'json' must declare 'json_schema'" },
        { { type = 'string', between = { 1, 2 } },
            "field of type 'string' cannot have attribute 'between'" },
        { { type = 'boolean', len_min = 1 },
            "field of type 'boolean' cannot have attribute 'len_min'" },
        { { type = 'text' }, "unknown type 'text'" },
        { { type = 'array', elements = {} }, 'missing type declaration' },
        { { type = 'record', fields = { 'a' } }, 'each entry in fields must be a sub-table' },
        { { type = 'record', fields = { {} } }, 'field entry table is empty' },
        { { type = 'record', fields = {}, entity_checks = { { at_last = {} } } },
            'entity check 1 is unknown' },
    }
    for _, case in ipairs(MISTAKES) do
        it('refuses: ' .. case[2], function()
            local s, mistakes = schema.new({ name = 't', fields = { { config = case[1] } } })
            assert.is_nil(s)
            assert.is_truthy(mistakes:find(case[2], 1, true), mistakes)
        end)
    end

    it('names the field of each mistake', function()
        local _, mistakes = schema.new({ name = 't', fields = {
            { config = { type = 'record', fields = { { a = {} }, { b = { type = 'array' } } } } },
        } })
        assert.equal("config.a: missing type declaration\n"
            .. "config.b: field of type 'array' must declare 'elements'", mistakes)
    end)

    it('makes a definition of a one-file plugin, nested maps included', function()
        local def = schema.plugin_definition('tenant', {
            b = { type = 'string', required = true },
            a = { type = 'record', fields = { z = { type = 'integer', default = 1 } } },
        }, { { at_least_one_of = { 'a', 'b' } } })
        local s = assert(schema.new(def))
        assert.same({ a = { z = 1 }, b = 'x' },
            s:validate({ config = { a = {}, b = 'x' } }).config)
        local _, errors = s:validate({})
        assert.same({ config = { ['@entity'] = {
            "at least one of these fields must be non-empty: 'a', 'b'" },
            b = 'required field missing' } }, errors)
    end)
end)
