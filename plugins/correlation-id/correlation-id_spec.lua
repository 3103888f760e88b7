-- SPDX-License-Identifier: Apache-2.0
local gateway = require 'moongate.test'

local UUID = '%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x'

describe('correlation-id', function()
    local gw

    local function start(config, more)
        local plugins = { { name = 'correlation-id', config = config } }
        plugins[2] = more
        gw = gateway.start({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = plugins } },
            } },
        })
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function id_of(res, name)
        return assert.request(res).has.header(name or 'X-Correlation-ID')
    end

    it('counts up from one UUID', function()
        start({})
        local first, second = id_of(gw:get('/')), id_of(gw:get('/'))
        local prefix, count = first:match('^(' .. UUID .. ')#(%d+)$')
        assert.truthy(prefix)
        assert.equal(prefix .. '#' .. count + 1, second)
    end)

    it('makes a random UUID for each request', function()
        start({ generator = 'uuid' })
        local first, second = id_of(gw:get('/')), id_of(gw:get('/'))
        assert.truthy(first:match('^' .. UUID .. '$'))
        assert.truthy(second:match('^' .. UUID .. '$'))
        assert.not_equal(first, second)
    end)

    it('tracks where a request came in', function()
        start({ generator = 'tracker' })
        assert.truthy(id_of(gw:get('/')):match('^.+%-%d+%-%d+%-%d+%-%d+%-%d+%.%d%d%d$'))
    end)

    it("keeps the client's id", function()
        start({ echo_downstream = true })
        local res = gw:get('/', { headers = { ['X-Correlation-ID'] = 'mine' } })
        assert.equal('mine', id_of(res))
        assert.equal('mine', assert.response(res).has.header('X-Correlation-ID'))
    end)

    it('puts the id on the answer only when asked to', function()
        start({ header_name = 'X-Trace' })
        assert.response(gw:get('/')).has.no.header('X-Trace')
        gw:stop()
        start({ header_name = 'X-Trace', echo_downstream = true })
        local res = gw:get('/')
        assert.equal(id_of(res, 'X-Trace'), assert.response(res).has.header('X-Trace'))
    end)

    it('lives with an answer made before it ran', function()
        start({ echo_downstream = true }, { name = 'request-termination' })
        local res = gw:get('/', { headers = { ['X-Correlation-ID'] = 'mine' } })
        assert.response(res).has.status(503)
        assert.equal('mine', assert.response(res).has.header('X-Correlation-ID'))
        assert.response(gw:get('/')).has.no.header('X-Correlation-ID')
    end)

    it('refuses an unknown generator', function()
        local ok, err = gateway.validate('correlation-id', { generator = 'dice' })
        assert.falsy(ok)
        assert.equal('expected one of: uuid, uuid#counter, tracker', err.config.generator)
    end)
end)
