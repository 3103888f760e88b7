-- SPDX-License-Identifier: Apache-2.0
-- The text of values in Lua, and options that take them.
local expression = require 'moongate.schema.expression'
local schema = require 'moongate.schema'

describe('a value in Lua', function()
    it('is a text that begins with lua:', function()
        assert.is_true(expression.is('lua: 1'))
        for _, value in ipairs({ 'lua', ' lua:1', 'LUA: 1', 7, false, {} }) do
            assert.is_false(expression.is(value))
        end
    end)

    it('is one expression of the names that it may use', function()
        local fn = expression.load('lua: a * 2, b', { 'a', 'b' })()
        assert.same({ 14, 'x' }, { fn(7, 'x') })
    end)

    it('may end with a comment', function()
        assert.equal(1, expression.load('lua: 1 -- one')()())
    end)

    it('is refused with what is wrong in it', function()
        for text, reason in pairs({ ['lua: 1 +'] = 'near its end', ['lua: local x'] = 'unexpected',
            ['lua: return 1'] = 'unexpected', ['lua: 1 end'] = "'<eof>' expected" }) do
            local ok, err = expression.check(text)
            assert.is_nil(ok)
            assert.truthy(err:find(reason, 1, true), text .. ': ' .. tostring(err))
        end
    end)
end)

describe('an option that takes values in Lua', function()
    local s = assert(schema.new({ name = 'x', fields = {
        { quota = { type = 'integer', lua = true, between = { 1, 10 } } },
        { plain = { type = 'integer' } },
        { list = { type = 'array', elements = { type = 'string', lua = true,
            one_of = { 'a', 'b' } } } },
    } }))

    it('keeps the text', function()
        local value = assert(s:validate({ quota = 'lua: 5', list = { 'a', 'lua: x' } }))
        assert.equal('lua: 5', value.quota)
        assert.same({ 'a', 'lua: x' }, { unpack(value.list) })
    end)

    it('refuses a mistake in it', function()
        local value, errors = s:validate({ quota = 'lua: 5 +' })
        assert.is_nil(value)
        assert.truthy(errors.quota:find('not a Lua expression', 1, true))
    end)

    it('takes constants as before', function()
        assert.equal(5, s:validate({ quota = 5 }).quota)
        assert.is_nil((s:validate({ quota = 11 })))
        assert.is_nil((s:validate({ plain = 'lua: 5' })))
        assert.is_nil((s:validate({ list = { 'c' } })))
    end)
end)
