-- SPDX-License-Identifier: Apache-2.0
std = 'luajit'
max_line_length = 100
cache = false
self = false -- handlers are methods: function plugin:access(conf)
exclude_files = { 'build/', '.deps/' }

-- The gateway sets these before it loads a plugin; `kong` and `ngx` are for code written for Kong.
read_globals = { 'moongate', 'kong', 'ngx' }

files['**/*_spec.lua'] = { std = '+busted' }
files['spec/'] = { std = '+busted' }
-- Plugins for the specs of the test harness, written as the manual shows it.
files['spec/plugins/'] = { std = '+busted', globals = { 'moongate', 'kong', 'ngx' }, self = false }

-- Plugins assign to their fields: moongate.ctx.plugin.tenant = 'acme'.
for _, folder in ipairs({ 'plugins/', 'lua/' }) do
    files[folder] = { globals = { 'moongate', 'kong', 'ngx' } }
end

-- Scripts for Redis. The first of rate-limit's ends where the second begins.
files['**/*.redis.lua'] = { std = 'lua51', globals = { 'KEYS', 'ARGV', 'redis' } }
files['plugins/rate-limit/limit.redis.lua'] = { ignore = { '211' } }
files['plugins/rate-limit/take.redis.lua'] = { read_globals = {
    'CONCURRENCY', 'GIVEN_UP', 'HOUR', 'LOOK', 'add', 'add_up_to_full', 'amend', 'charge',
    'charge_denied', 'drop', 'expire_in', 'floor', 'held', 'hold', 'keep', 'load', 'look', 'max',
    'min', 'now', 'read', 'repair', 'repaired', 'tell', 'units_of', 'whole', 'write', 'write_held',
} }
