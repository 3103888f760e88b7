-- SPDX-License-Identifier: Apache-2.0
-- rate-limit: admits or denies requests by one or more limits, decided and charged together in
-- memory that all workers share. policy.lua decides; headers.lua and answer.lua tell the client.
local moongate = moongate
local answer = require 'moongate.plugins.rate-limit.answer'
local base = require 'moongate.pdk.base'
local headers = require 'moongate.plugins.rate-limit.headers'
local policy = require 'moongate.plugins.rate-limit.policy'
local C = require('moongate.runtime.ffi').C

local plugin = { PRIORITY = 910, VERSION = '1.0.0' } -- after plugins that authenticate

plugin.policies = {} -- configuration -> policy; filled once, in configure

local LIMITED = C.mg_ffi_outcome_of('limited', #'limited')
local ACCESS_DENIED = C.mg_ffi_outcome_of('access_denied', #'access_denied')

function plugin:configure(configs)
    for _, conf in ipairs(configs or {}) do
        local one, err = policy.new(conf)
        if not one then
            error(err, 0)
        end
        one.form, one.sets = answer.form(conf), headers.sets(conf.headers)
        self.policies[conf] = one
    end
end

function plugin:access(conf)
    local own = self.policies[conf]
    local req, object = base.request(base.ACCESS)
    local verdict, shown = own:decide(req, object)
    if shown and own.enforces then
        headers.set(req, own.sets, own.limits, shown)
    end
    if verdict == 'denied' then
        C.mg_ffi_req_set_outcome(req, LIMITED)
        return moongate.response.exit(conf.status, answer.denial(req, own.form, own.limits, shown))
    elseif verdict == 'no key' then
        C.mg_ffi_req_set_outcome(req, ACCESS_DENIED)
        return moongate.response.exit(403, answer.without_key(req))
    end
    return nil
end

function plugin:header_filter(conf)
    local req = base.request(base.RESPONSE)
    headers.prefer_upstream(req, self.policies[conf].sets)
end

return plugin
