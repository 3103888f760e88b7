-- SPDX-License-Identifier: Apache-2.0
-- moongate.runtime.definition: what a plugin's files may return.
local definition = require 'moongate.runtime.definition'
local schema = require 'moongate.schema'

local SINGLE, FOLDER, ROCK = { single = 'p.lua' }, { folder = 'p' }, { folder = 'p', rock = true }

local function kong(more)
    local handler = { PRIORITY = 10, VERSION = '1.2.3' }
    for k, v in pairs(more or {}) do
        handler[k] = v
    end
    return handler
end

local function refused(handler, fields, place)
    local plugin, err = definition.check('p', handler, fields, place)
    assert.is_nil(plugin)
    return err
end

describe('definition', function()
    it('takes a handler with its schema', function()
        local handler, fields = kong(), { name = 'p', fields = {} }
        local plugin = assert(definition.check('p', handler, fields, FOLDER))
        assert.same({ 'p', handler, fields }, { plugin.name, plugin.handler, plugin.schema })
    end)

    it('gives one file the default priority and version', function()
        local plugin = assert(definition.check('p', {}, nil, SINGLE))
        assert.same({ 1000, '0.0.0' }, { plugin.handler.PRIORITY, plugin.handler.VERSION })
    end)

    it('makes a schema of a map of fields', function()
        local plugin = assert(definition.check('p', {
            config = {
                allowed = { type = 'set', elements = { type = 'string' }, required = true },
                deep = { type = 'record', fields = { n = { type = 'integer', default = 3 } } },
            },
            checks = { { at_least_one_of = { 'allowed' } } },
            no_consumer = true,
        }, nil, SINGLE))
        local compiled = assert(schema.new(plugin.schema))
        local result = assert(compiled:validate({ config = { allowed = { 'x' }, deep = {} } }))
        assert.is_true(result.config.allowed.x ~= nil)
        assert.equal(3, result.config.deep.n)
        local ok, errors = compiled:validate({ config = {} })
        assert.is_nil(ok)
        assert.equal('required field missing', errors.config.allowed)
        assert.is_truthy(compiled:field('consumer'))
    end)

    it('refuses a priority that is no finite integer', function()
        local text = 'Plugin "p" cannot be loaded because its PRIORITY field is not a valid integer'
            .. ' number, got: "%s"'
        for _, value in ipairs({ 1.5, 'x', math.huge, 0 / 0 }) do
            assert.equal(text:format(tostring(value)),
                refused(kong({ PRIORITY = value }), { fields = {} }, FOLDER))
        end
        local handler = kong()
        handler.PRIORITY = nil
        assert.equal(text:format('nil'), refused(handler, { fields = {} }, FOLDER))
    end)

    it('refuses a version of another form', function()
        local text = 'Plugin "p" cannot be loaded because its VERSION field does not follow the'
            .. ' "x.y.z" format, got: "%s"'
        for _, value in ipairs({ '1', '1.2', '1.2.3-rc1', 3 }) do
            assert.equal(text:format(tostring(value)),
                refused(kong({ VERSION = value }), { fields = {} }, FOLDER))
        end
    end)

    it('refuses response beside the filters', function()
        local err = refused(kong({ response = type, body_filter = type }), { fields = {} }, FOLDER)
        assert.equal("Plugin \"p\" can't be loaded because it implements both `response` and"
            .. ' `header_filter` or `body_filter` methods', err)
    end)

    it('refuses a method that is no function', function()
        assert.match('access must be a function, got a table',
            refused(kong({ access = {} }), { fields = {} }, FOLDER))
    end)

    it('refuses a file that returns no table', function()
        assert.match('must return a table, got a boolean', refused(true, nil, SINGLE))
    end)

    it('wants a schema beside a handler, and not two of them', function()
        assert.match('has no schema.lua', refused(kong(), nil, FOLDER))
        assert.match('both a config map and a schema.lua',
            refused(kong({ config = {} }), { fields = {} }, FOLDER))
        assert.is_truthy(definition.check('p', kong({ config = {} }), { fields = {} }, ROCK))
    end)
end)
