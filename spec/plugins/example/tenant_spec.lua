-- SPDX-License-Identifier: Apache-2.0
-- The example of the plugin manual, word for word.
local gateway = require 'moongate.test'

describe('tenant', function()
    local gw
    setup(function() gw = gateway.start('moongate.yml') end)  -- services: the echo upstream
    teardown(function() gw:stop() end)

    it('rejects an unknown tenant before the upstream is called', function()
        local res = gw:get('/orders', { headers = { ['X-Tenant'] = 'evil' } })
        assert.response(res).has.status(403)
        assert.equal('none', assert.response(res).has.header('X-Served-Tenant'))
        assert.equal(0, #gw.upstream.requests)
    end)

    it('tells the upstream and the client who it is', function()
        local res = gw:get('/orders/7', { headers = { ['X-Tenant'] = 'acme' } })
        assert.response(res).has.status(200)
        assert.equal('acme', assert.request(res).has.header('X-Tenant-Checked'))
        assert.equal('acme', assert.response(res).has.header('X-Served-Tenant'))
        assert.equal('/v1/7', gw.upstream.requests[1].path)
    end)

    it("refuses a config without 'allowed'", function()
        local ok, err = gateway.validate('tenant', {})
        assert.falsy(ok)
        assert.same({ config = { allowed = 'required field missing' } }, err)
    end)
end)
