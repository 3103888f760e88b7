-- SPDX-License-Identifier: Apache-2.0
--
-- What to say of a plugin that comes with Kong and not with this gateway: the first thing that
-- somebody with a file of Kong's meets.
local M = {}

local LATER = 'one of Kong\'s own plugins, not supported yet'

-- Where something of ours does the same.
local INSTEAD = {
    ['rate-limiting-advanced'] = 'here rate-limit does that, with options of its own',
    ['response-ratelimiting'] = LATER .. '; rate-limit counts requests',
    ['request-size-limiting'] = 'here gateway.limits.request_body does that',
    loggly = LATER .. '; access-log sends syslog messages',
    prometheus = 'here gateway.status.address serves /metrics',
}

for name in ([[acl acme ai-prompt-decorator ai-prompt-guard ai-prompt-template ai-proxy
    ai-request-transformer ai-response-transformer aws-lambda azure-functions basic-auth
    bot-detection canary datadog forward-proxy grpc-gateway grpc-web header-cert-auth hmac-auth
    ip-restriction jwt jwt-signer key-auth kafka-log ldap-auth mtls-auth oauth2
    oauth2-introspection opa openid-connect opentelemetry post-function pre-function proxy-cache
    redirect request-transformer request-validator response-transformer session
    standard-webhooks statsd websocket-size-limit websocket-validator zipkin]]):gmatch('%S+') do
    INSTEAD[name] = LATER
end

--- @tparam string name of a plugin that was not found
-- @treturn string|nil what to say of it; nil when Kong has no such plugin either
function M.hint(name)
    return INSTEAD[name]
end

return M
