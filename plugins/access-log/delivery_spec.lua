-- SPDX-License-Identifier: Apache-2.0
-- Sinks of the type lua.
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('the sink lua of access-log', function()
    local gw, path

    -- Writes each batch to the file as a line of JSON, if there is a file `path`.go.
    local SEND = [[lua: (function()
        if not io.open('%s.go') then error('not yet') end
        local file = io.open('%s', 'a')
        file:write(require('cjson').encode(lines), '\n')
        file:close()
    end)()]]

    local function start(text, queue, fields)
        gw = gateway.start({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = { { name = 'access-log',
                    instance_name = 'it', config = { fields = fields or { 'path' }, queue = queue,
                        sinks = { { type = 'lua', ['function'] = text } } } } } } },
            } },
        })
    end

    local function let_go()
        io.open(path .. '.go', 'w'):close()
    end

    local function batches()
        local list = {}
        for line in io.lines(path) do
            list[#list + 1] = cjson.decode(line)
        end
        return list
    end

    local function paths(batch)
        local list = {}
        for i, line in ipairs(batch) do
            list[i] = cjson.decode(line).path
        end
        return list
    end

    local function has_logged(text)
        for _, line in ipairs(gw.logs) do
            if line.message:find(text, 1, true) then
                return true
            end
        end
        return false
    end

    before_each(function()
        path = os.tmpname()
    end)

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
        os.remove(path)
        os.remove(path .. '.go')
    end)

    it('hands lines over in batches, after queue.flush', function()
        let_go()
        start(SEND:format(path, path), { batch = 2, flush = '3s' })
        for i = 1, 5 do
            gw:get('/' .. i)
        end
        gw:advance(2.9)
        assert.same({}, batches())
        gw:advance(0.2)
        local found = {}
        for i, batch in ipairs(batches()) do
            found[i] = paths(batch)
        end
        assert.same({ { '/1', '/2' }, { '/3', '/4' }, { '/5' } }, found)
    end)

    it('tries the same lines again after an error, and tells of it', function()
        start(SEND:format(path, path))
        gw:get('/a')
        gw:advance(2)
        assert.same({}, batches())
        assert.is_true(has_logged('option sinks.function: '))
        assert.is_true(has_logged('cannot write lua:it/1'))
        let_go()
        gw:advance(2)
        assert.same({ { '/a' } }, { paths(batches()[1]) })
        assert.is_true(has_logged('lua:it/1 can be written again'))
    end)

    it('tries again after false, and drops what could not be delivered for retry.for', function()
        start('lua: io.open("' .. path .. '.go") ~= nil and ' .. SEND:format(path, path):sub(6))
        gw:get('/a')
        for _ = 1, 60 do
            gw:advance(2)
        end
        let_go()
        gw:get('/b')
        gw:advance(60)
        local lost, b = unpack(batches()[1])
        assert.equal('retry_expired', cjson.decode(lost).reason)
        assert.equal(1, cjson.decode(lost).lines)
        assert.equal('/b', cjson.decode(b).path)
    end)

    it('may wait, and gives no second batch meanwhile', function()
        let_go()
        start('lua: (function() ngx.sleep(5) ' .. SEND:format(path, path):gsub('^lua: ', 'return ')
            .. ' end)()', { flush = '1s' })
        gw:get('/a')
        gw:advance(1.1)
        gw:get('/b')
        gw:advance(4)
        assert.same({}, batches())
        gw:advance(1.1)
        assert.equal(1, #batches())
        gw:advance(6)
        assert.same({ { '/a' }, { '/b' } }, { paths(batches()[1]), paths(batches()[2]) })
    end)

    it('A1 outlives a function that never ends', function()
        start('lua: (function() if io.open("' .. path .. '.go") then return true end'
            .. ' while true do end end)()')
        gw:get('/a')
        gw:advance(1.1)
        assert.is_true(has_logged('option sinks.function: it takes too much CPU time'))
        let_go()
        gw:advance(3)
        assert.is_true(has_logged('lua:it/1 can be written again'))
    end)

    it('keeps its lines over a reload with another function', function()
        start('lua: false')
        gw:get('/a')
        gw:advance(1.1)
        let_go()
        gw:reload({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = { { name = 'access-log',
                    instance_name = 'it', config = { fields = { 'path' }, sinks = { {
                        type = 'lua', ['function'] = SEND:format(path, path) } } } } } } },
            } },
        })
        gw:advance(2)
        assert.same({ { '/a' } }, { paths(batches()[1]) })
    end)
end)
