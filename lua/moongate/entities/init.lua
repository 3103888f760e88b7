-- SPDX-License-Identifier: Apache-2.0
--
-- The entities of a configuration file (docs/configuration.md): their schemas, how they nest, by
-- what they are named, and which of Kong's the gateway does not serve yet.
--
-- References to other entities (`service: orders`) are not part of these schemas: the loader takes
-- them out, resolves them, and puts the entity's table in their place.
local schema = require 'moongate.schema'

local M = {}

local CREDENTIALS = 'credentials'
local TLS = 'TLS'
local KEYS = 'key sets'

--- Collections of Kong that are refused, and why.
M.not_supported = {
    keyauth_credentials = CREDENTIALS, basicauth_credentials = CREDENTIALS,
    hmacauth_credentials = CREDENTIALS, jwt_secrets = CREDENTIALS, acls = CREDENTIALS,
    oauth2_credentials = CREDENTIALS, oauth2_tokens = CREDENTIALS, mtls_auth_credentials = TLS,
    certificates = TLS, snis = TLS, ca_certificates = TLS,
    keys = KEYS, key_sets = KEYS,
    consumer_groups = 'consumer groups',
    filter_chains = 'WebAssembly filters, without which a route would lie open',
}

-- Nested collections that are refused, by parent.
local REFUSED = {
    services = { 'filter_chains' },
    routes = { 'filter_chains' },
    plugins = {}, upstreams = {}, targets = {},
    consumers = {
        'keyauth_credentials', 'basicauth_credentials', 'hmacauth_credentials', 'jwt_secrets',
        'acls', 'oauth2_credentials', 'mtls_auth_credentials',
    },
}

-- The entity's own schema, with its references and nested collections let through unread.
local function collection(name, about)
    local definition = require('moongate.entities.' .. name)
    for field in pairs(about.refs) do
        table.insert(definition.fields, { [field] = { type = 'any' } })
    end
    for field in pairs(about.children) do
        table.insert(definition.fields, { [field] = { type = 'any' } })
    end
    for _, field in ipairs(REFUSED[name]) do
        local reason = M.not_supported[field]
        table.insert(definition.fields, { [field] = { type = 'any', not_supported_yet = reason } })
    end
    about.schema = assert(schema.new(definition))
    return about
end

--- Collection -> what it is:
--   schema      for its own fields
--   noun        one of them
--   refs        field -> collection that it refers to
--   children    nested collection -> the field of the child that names this parent
--   unique      fields whose values are unique in the collection; the first is its name
--   required    references that must be set
M.collections = {
    services = collection('services', {
        noun = 'service', refs = {}, unique = { 'name' },
        children = { routes = 'service', plugins = 'service' },
    }),
    routes = collection('routes', {
        noun = 'route', refs = { service = 'services' }, unique = { 'name' },
        children = { plugins = 'route' },
    }),
    plugins = collection('plugins', {
        noun = 'plugin', unique = { 'instance_name' }, children = {},
        refs = { route = 'routes', service = 'services', consumer = 'consumers' },
    }),
    upstreams = collection('upstreams', {
        noun = 'upstream', refs = {}, unique = { 'name' }, children = { targets = 'upstream' },
    }),
    targets = collection('targets', {
        noun = 'target', refs = { upstream = 'upstreams' }, required = { 'upstream' },
        unique = {}, children = {},
    }),
    consumers = collection('consumers', {
        noun = 'consumer', refs = {}, unique = { 'username', 'custom_id' },
        children = { plugins = 'consumer' },
    }),
}

--- The collections in the order in which they are checked: what is referred to comes first.
M.order = { 'services', 'routes', 'upstreams', 'targets', 'consumers', 'plugins' }

--- Sections at the top of a file that are no collections.
M.sections = {
    '_format_version', '_transform', '_comment', '_ignore', '_info', '_workspace', 'gateway',
    'vaults',
}

return M
