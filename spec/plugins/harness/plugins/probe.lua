-- SPDX-License-Identifier: Apache-2.0
-- Does what the specs of the harness ask for by a header.
local plugin = { PRIORITY = 900, VERSION = '1.0.0', config = {
    word = { type = 'string', default = 'none' } } }

local started = 0

function plugin:init_worker()
    moongate.every(10, function()
        started = started + 1
    end)
end

local acts = {
    sleep = function()
        local before = ngx.now()
        moongate.sleep(30)
        moongate.response.exit(200, { before = before, after = ngx.now() })
    end,
    ticks = function()
        moongate.response.exit(200, { ticks = started, now = ngx.now() })
    end,
    log = function()
        moongate.log.warn('said ', 'something')
    end,
    call = function()
        local res, err = moongate.http.request({ url = 'http://audit.test/seen' })
        moongate.response.exit(200, { status = res and res.status, err = err })
    end,
    fail = function()
        error('broken on purpose')
    end,
    ip = function()
        moongate.response.exit(200, { ip = moongate.client.get_ip() })
    end,
}

function plugin:access(conf)
    local act = acts[moongate.request.get_header('X-Act')]
    if act then
        act()
    end
    moongate.service.request.set_header('X-Word', conf.word)
end

function plugin:log()
    moongate.log.notice('status ', moongate.response.get_status())
end

return plugin
