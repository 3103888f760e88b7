-- SPDX-License-Identifier: Apache-2.0
-- cjson and cjson.safe: docs/plugin-reference.md, and RFC 8259 for what is read.
local cjson = require 'cjson'
local safe = require 'cjson.safe'

-- Texts that RFC 8259 has, and their values.
local GOOD = {
    { 'null', cjson.null }, { ' true ', true }, { 'false\n', false },
    { '0', 0 }, { '-0.5e-1', -0.05 }, { '12345678', 12345678 }, { '123456789012', 123456789012 },
    { '1E2', 100 }, { '9007199254740993', 9007199254740992 },
    { '""', '' }, { '"a\\"\\\\\\/\\b\\f\\n\\r\\tz"', 'a"\\/\b\f\n\r\tz' },
    { '"\\u0041\\u00e9\\u20ac\\ud83d\\ude00"', 'A\195\169\226\130\172\240\159\152\128' },
    { '"\\u0000"', '\0' }, { '"\xff"', '\xff' }, { '"\127"', '\127' },
    { '[]', {} }, { '[1,[2,[3]]]', { 1, { 2, { 3 } } } }, { '{}', {} },
    { '{ "a" : 1 , "b" : { "c" : [ ] } }', { a = 1, b = { c = {} } } },
    { '{"a":1,"a":2}', { a = 2 } },
}

local BAD = {
    '', ' ', 'nul', 'True', 'nulll', '01', '-', '1.', '.5', '+1', '1e', '1e+', '0x10', 'NaN',
    'Infinity', '-Infinity', '1e999',
    '"', '"a', '"\\', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\ud800"',
    '"\\ud800\\u0041"', '"\\udc00"', '"a\nb"',
    '"\t"', '"\0"', '[', '[1', '[1,', '[1,]', '[,1]', '[1 2]', '{', '{"a"',
    '{"a":',
    '{"a":1', '{"a":1,', '{"a":1,}', '{a:1}', "{'a':1}", '{"a" 1}', '{1:2}', ']', '}', '1 2',
    '[] []',
    'true,', '/* */1', '1//x', '\0', '1\0', '[1]\0', '\xef\xbb\xbf1', '-a', '--1', '1a', '"a"b',
}

describe('cjson.decode', function()
    it('reads what RFC 8259 allows', function()
        for _, case in ipairs(GOOD) do
            assert.same(case[2], cjson.decode(case[1]), case[1])
        end
    end)

    it('refuses everything else', function()
        for _, text in ipairs(BAD) do
            local value, err = safe.decode(text)
            assert.is_nil(value, text)
            assert.is_string(err)
            assert.has_error(function() cjson.decode(text) end)
        end
    end)

    it('names what it expected, what it found and the place', function()
        local _, err = safe.decode('[1,\n x]')
        assert.equal('Expected value but found invalid token at character 6', err)
        _, err = safe.decode('{"a" 1}')
        assert.equal('Expected colon but found invalid token at character 6', err)
        _, err = safe.decode('[1')
        assert.equal('Expected comma or array end but found T_END at character 3', err)
    end)

    it('takes 1000 levels and refuses one more', function()
        assert.is_table(cjson.decode(('['):rep(1000) .. (']'):rep(1000)))
        local _, err = safe.decode(('['):rep(1001) .. (']'):rep(1001))
        assert.equal('Found too many nested data structures (1001)', err)
        assert.is_nil((safe.decode(('{"a":'):rep(100000))))
    end)

    it('reads loose numbers only when told', function()
        local json = cjson.new()
        assert.is_false(json.decode_invalid_numbers())
        assert.is_true(json.decode_invalid_numbers(true))
        local value = json.decode('[NaN, -Infinity, inf, 0x10, 012]')
        assert.is_true(value[1] ~= value[1])
        assert.same({ -math.huge, math.huge, 16, 12 }, { value[2], value[3], value[4], value[5] })
        for _, text in ipairs({ '1..2', 'nanx', '-', 'nul', '0xg' }) do
            assert.is_false((pcall(json.decode, text)))
        end
        assert.is_nil((safe.decode('NaN')))
    end)

    it('marks arrays when told', function()
        local json = cjson.new()
        json.decode_array_with_array_mt(true)
        local value = json.decode('{"a":[],"b":{}}')
        assert.equal(cjson.array_mt, getmetatable(value.a))
        assert.is_nil(getmetatable(value.b))
        assert.equal('[]', cjson.encode(value.a))
    end)

    it('refuses a name that stands twice when told', function()
        assert.same({ a = 2 }, cjson.decode('{"a":1,"a":2}'))
        local json = safe.new()
        json.decode_refuse_duplicate_names(true)
        assert.same({ a = { b = 1 }, b = 2 }, json.decode('{"a":{"b":1},"b":2}'))
        for text, at in pairs({ ['{"a":1,"a":2}'] = 8, ['{"a":1, "\\u0061":2}'] = 9,
            ['[{"a":null,"a":null}]'] = 12, ['{"":1,"":2}'] = 7 }) do
            local value, err = json.decode(text)
            assert.is_nil(value)
            assert.equal('Expected another name but found one that the object has at character '
                .. at, err)
        end
        assert.is_false(safe.new().decode_refuse_duplicate_names())
    end)

    it('gives nil and a reason for what is not text', function()
        local value, err = safe.decode(nil)
        assert.is_nil(value)
        assert.matches('string expected, got nil', err)
        assert.has_error(function() cjson.decode({}) end)
    end)
end)

describe('cjson.encode', function()
    it('writes scalars', function()
        local texts = {
            ['null'] = cjson.null, ['true'] = true, ['"x"'] = 'x', ['[]'] = cjson.empty_array,
            ['1'] = 1, ['-2'] = -2, ['0.1'] = 0.1, ['1e+15'] = 1e15, ['-0'] = -0.0,
            ['123456789'] = 123456789,
        }
        for text, value in pairs(texts) do
            assert.equal(text, cjson.encode(value))
        end
        assert.equal('null', cjson.encode(nil))
    end)

    it('escapes control bytes, quotes, slashes and DEL, and leaves the rest alone', function()
        assert.equal('"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\\"\\\\\\/\\u007f\xff\195\169"',
            cjson.encode('\0\b\t\n\v\f\r\31"\\/\127\xff\195\169'))
        local json = cjson.new()
        json.encode_escape_forward_slash(false)
        assert.equal('"a/b"', json.encode('a/b'))
        assert.equal('"a\\/b"', cjson.encode('a/b'))
    end)

    it('writes long texts whole', function()
        for _, length in ipairs({ 255, 256, 257, 5000, 100000 }) do
            local text = ('a\n'):rep(length):sub(1, length)
            assert.equal(text, cjson.decode(cjson.encode(text)))
        end
    end)

    it('tells arrays from objects', function()
        assert.equal('[1,null,3]', cjson.encode({ 1, nil, 3 }))
        assert.equal('{"a":1}', cjson.encode({ a = 1 }))
        assert.equal('{"0":1}', cjson.encode({ [0] = 1 }))
        assert.equal('{"1.5":1}', cjson.encode({ [1.5] = 1 }))
        assert.equal('{}', cjson.encode({}))
        assert.equal('[]', cjson.encode(setmetatable({}, cjson.empty_array_mt)))
        assert.equal('{"a":1}', cjson.encode(setmetatable({ a = 1 }, cjson.empty_array_mt)))
        assert.equal('[]', cjson.encode(setmetatable({ a = 1 }, cjson.array_mt)))
        local json = cjson.new()
        json.encode_empty_table_as_object(false)
        assert.equal('[]', json.encode({}))
    end)

    it('refuses very sparse arrays, or makes them objects', function()
        assert.matches('excessively sparse', select(2, safe.encode({ [1000] = 1 })))
        assert.equal('[null,null,null,null,null,null,null,null,null,1]', cjson.encode({ [10] = 1 }))
        assert.is_nil((safe.encode({ [11] = 1 })))
        local json = cjson.new()
        json.encode_sparse_array(true)
        assert.equal('{"1000":1}', json.encode({ [1000] = 1 }))
        assert.same({ true, 2, 10 }, { json.encode_sparse_array() })
    end)

    it('refuses functions and such, or leaves them out', function()
        assert.equal('Cannot serialise function: type not supported',
            select(2, safe.encode({ print })))
        assert.matches('table key', select(2, safe.encode({ [true] = 1 })))
        local json = cjson.new()
        json.encode_skip_unsupported_value_types(true)
        assert.equal('{"a":1}', json.encode({ a = 1, b = print }))
        assert.equal('[1,2]', json.encode({ print, 1, print, 2, print }))
    end)

    it('refuses what is no number in JSON, or writes it as told', function()
        assert.matches('NaN or Infinity', select(2, safe.encode(0 / 0)))
        local json = cjson.new()
        assert.equal('null', json.encode_invalid_numbers('null'))
        assert.equal('[null,null]', json.encode({ 0 / 0, math.huge }))
        json.encode_invalid_numbers(true)
        assert.equal('[NaN,-Infinity]', json.encode({ 0 / 0, -math.huge }))
    end)

    it('takes 1000 levels and refuses one more, a cycle too', function()
        local function nest(levels)
            local value = {}
            for _ = 2, levels do
                value = { value }
            end
            return value
        end
        assert.is_string(cjson.encode(nest(1000)))
        assert.equal('Cannot serialise, excessive depth (1001)', select(2, safe.encode(nest(1001))))
        local cycle = {}
        cycle[1] = cycle
        assert.is_nil((safe.encode(cycle)))
        assert.equal('[1]', cjson.encode({ 1 }))
    end)

    it('keeps to the precision that is set', function()
        local json = cjson.new()
        assert.equal(14, json.encode_number_precision())
        json.encode_number_precision(3)
        assert.equal('[3.14,1.23e+03]', json.encode({ math.pi, 1234 }))
        json.encode_number_precision(17)
        assert.equal(0.1 + 0.2, json.decode(json.encode(0.1 + 0.2)))
        assert.has_error(function() json.encode_number_precision(0) end)
    end)
end)

describe('cjson instances', function()
    it('have settings of their own and sentinels in common', function()
        local one, two = cjson.new(), safe.new()
        one.encode_max_depth(1)
        assert.is_false((pcall(one.encode, { {} })))
        assert.equal('[{}]', two.encode({ {} }))
        assert.is_nil((two.decode('x')))
        assert.equal(one.array_mt, two.array_mt)
        assert.equal(one.null, two.null)
        assert.equal('userdata: NULL', tostring(cjson.null):gsub('0x0+$', 'NULL'))
    end)

    it('survive an encode inside a finaliser that runs during an encode', function()
        local finalised = 0
        local function litter()
            local proxy = newproxy(true)
            getmetatable(proxy).__gc = function()
                finalised = finalised + 1
                assert(cjson.encode({ 'inner' }) == '["inner"]')
                assert(cjson.decode('"\\u0041"') == 'A')
            end
        end
        local expected = cjson.encode({ ('\n'):rep(100), 'outer' })
        for _ = 1, 2000 do
            litter()
            assert(cjson.encode({ ('\n'):rep(100), 'outer' }) == expected)
            local text = '["\\n\\u00e9' .. ('x'):rep(50) .. '"]'
            assert(cjson.decode(text)[1]:sub(1, 3) == '\n\195\169')
        end
        collectgarbage()
        assert.is_true(finalised > 1000)
    end)
end)
