-- SPDX-License-Identifier: Apache-2.0
--
-- luajit tools/check_layers.lua [ROOT]
--
-- Holds core/ to the order of core/layers.txt: an include goes to a lower layer or to the left,
-- never upward, so there are no cycles. Each library stays behind the one module (or layer) that
-- is allowed to know it, and atomics and locks stay in base/shm*.c. Exits 1 on a breach.
local here = arg[0]:match('^(.*)/[^/]*$') or '.'
package.path = here .. '/?.lua;' .. package.path
local source = require('source')

local LAYERS = { 'base', 'wire', 'net', 'model', 'script', 'flow', 'top' }
local LAYER_RANK = {}
for rank, layer in ipairs(LAYERS) do
    LAYER_RANK[layer] = rank
end

-- Header pattern -> who may include it, as Lua patterns over `layer/file`.
local LIBRARIES = {
    { 'lua%.h', { '^script/' } },
    { 'lauxlib%.h', { '^script/' } },
    { 'lualib%.h', { '^script/' } },
    { 'luajit%.h', { '^script/' } },
    { 'uv%.h', { '^net/', '^model/', '^script/', '^flow/', '^top/' } },
    { 'llhttp%.h', { '^wire/http1%.c$' } },
    { 'pcre2%.h', { '^wire/regex%.c$' } },
    { 'ares%.h', { '^net/ares%.c$' } },
    { 'yaml%.h', { '^script/yaml%.c$' } },
    { 'openssl/.*', { '^base/hash%.c$', '^net/tls%.c$' } },
    { 'stdatomic%.h', { '^base/shm[%w_]*%.c$' } },
}

-- The same for words of the language that order memory or lock.
local WORDS = {
    '_Atomic', '__atomic_[%w_]+', '__sync_[%w_]+', 'pthread_mutex_[%w_]+',
    'pthread_rwlock_[%w_]+', 'pthread_spin_[%w_]+', 'pthread_cond_[%w_]+',
}
local WORD_HOME = '^base/shm[%w_]*%.[ch]$'

-- @treturn {string=number} rank of each `layer/module`, and adds what is wrong with the file
local function read_order(root, problems)
    local text = source.read(root .. '/core/layers.txt')
    if not text then
        problems[#problems + 1] = 'core/layers.txt: cannot be read'
        return {}
    end
    local order, count, last_rank, number = {}, 0, 0, 0
    local function complain(words, ...)
        problems[#problems + 1] = ('core/layers.txt:%d: ' .. words):format(number, ...)
    end
    for line in (text .. '\n'):gmatch('(.-)\n') do
        number = number + 1
        local layer, names = line:gsub('#.*', ''):match('^%s*(%w+):%s*(.-)%s*$')
        if layer and not LAYER_RANK[layer] then
            complain("unknown layer '%s'", layer)
        elseif layer then
            if LAYER_RANK[layer] < last_rank then
                complain("layer '%s' stands below a higher one", layer)
            end
            last_rank = LAYER_RANK[layer]
            for name in names:gmatch('%S+') do
                local module = layer .. '/' .. name
                if order[module] then
                    complain("'%s' is listed twice", module)
                end
                count = count + 1
                order[module] = count
            end
        elseif line:gsub('#.*', ''):match('%S') then
            complain("expected 'layer: module module ...'")
        end
    end
    return order
end

-- 'core/net/io.h' -> 'net/io', 'net/io.h'; 'core/main.c' -> 'top/main', 'top/main.c'
local function module_of(path)
    local file = path:gsub('^core/', '')
    if not file:find('/', 1, true) then
        file = 'top/' .. file
    end
    return (file:gsub('%.[ch]$', '')), file
end

local function allowed(file, homes)
    for _, home in ipairs(homes) do
        if file:match(home) then
            return true
        end
    end
    return false
end

local function check_own_include(order, module, target, complain)
    local wanted = module_of(target)
    if wanted == module then
        return
    elseif not order[wanted] then
        complain('includes "%s", which is not in core/layers.txt', target)
    elseif order[module] and order[wanted] > order[module] then
        complain('includes "%s", which stands above it in core/layers.txt', target)
    end
end

local function check_library(file, target, complain)
    for _, library in ipairs(LIBRARIES) do
        local header, homes = library[1], library[2]
        if target:match('^' .. header .. '$') and not allowed(file, homes) then
            complain('includes <%s>, which belongs behind another module', target)
        end
    end
end

local function check_words(file, line, complain)
    if file:match(WORD_HOME) then
        return
    end
    for _, word in ipairs(WORDS) do
        local found = line:match('%f[%w_]' .. word .. '%f[^%w_]')
        if found then
            complain("uses '%s': atomics and locks belong in base/shm*.c", found)
        end
    end
end

local function check_file(root, path, order, problems)
    local module, file = module_of(path)
    local number = 0
    local function complain(words, ...)
        problems[#problems + 1] = ('%s:%d: ' .. words):format(path, number, ...)
    end
    if not order[module] then
        number = 1
        complain("module '%s' is not in core/layers.txt", module)
        number = 0
    end
    local text = source.strip_c(assert(source.read(root .. '/' .. path)), true)
    for line in (text .. '\n'):gmatch('(.-)\n') do
        number = number + 1
        local own = line:match('^%s*#%s*include%s*"([^"]+)"')
        local library = line:match('^%s*#%s*include%s*<([^>]+)>')
        if own then
            check_library(file, own, complain)
            check_own_include(order, module, own, complain)
        elseif library then
            check_library(file, library, complain)
        else
            check_words(file, source.strip_c(line), complain)
        end
    end
    return module
end

local function check(root)
    local problems, seen = {}, {}
    local order = read_order(root, problems)
    local paths = source.files(root, { 'core' }, { 'c', 'h' })
    for _, path in ipairs(paths) do
        seen[check_file(root, path, order, problems)] = true
    end
    for module in pairs(order) do
        if not seen[module] then
            problems[#problems + 1] = ("core/layers.txt: '%s' has no file"):format(module)
        end
    end
    table.sort(problems)
    return problems, #paths
end

local problems, files = check(arg[1] or here .. '/..')
source.finish(problems, ('layers: %d files, %d problems'):format(files, #problems))
