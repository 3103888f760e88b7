-- SPDX-License-Identifier: Apache-2.0
--
-- tools/check_layers.lua accepts a tree in order and refuses each kind of breach.
local tree = require('spec.lua.support.tree')

local function good()
    return {
        ['core/layers.txt'] = '# order\nbase: err shm hash\nwire: uri http1 # two\nnet: io\n' ..
            'script: vm\ntop: main\n',
        ['core/base/err.h'] = '#pragma once\n',
        ['core/base/err.c'] = '#include "base/err.h"\n/* #include "net/io.h" and __atomic_add */\n',
        ['core/base/shm.c'] = '#include <stdatomic.h>\nstatic _Atomic int n;\n',
        ['core/base/hash.c'] = '#include <openssl/sha.h>\n',
        ['core/wire/uri.h'] = '#include "base/err.h"\n',
        ['core/wire/http1.c'] = '#include "wire/uri.h"\n#include <llhttp.h>\n',
        ['core/net/io.c'] = '#include "wire/uri.h"\n#include <uv.h>\n',
        ['core/script/vm.c'] = '#include <lua.h>\nconst char *s = "_Atomic";\n',
        ['core/main.c'] = '#include "net/io.h"\n',
    }
end

describe('check_layers', function()
    local root

    local function check(changes)
        local files = good()
        for path, content in pairs(changes) do
            files[path] = content or nil
        end
        root = tree.make(files)
        return tree.run('luajit tools/check_layers.lua', root)
    end

    after_each(function()
        tree.remove(root)
    end)

    it('accepts a tree in order', function()
        local status, output = check({})
        assert.equal('layers: 9 files, 0 problems\n', output)
        assert.equal(0, status)
    end)

    it('refuses an include of a higher layer, and with it any cycle', function()
        local status, output = check({ ['core/base/err.c'] = '\n#include "net/io.h"\n' })
        assert.equal(1, status)
        assert.matches('core/base/err.c:2: includes "net/io.h", which', output, 1, true)
    end)

    it('refuses an include of a module to the right', function()
        local status, output = check({ ['core/wire/uri.h'] = '#include "wire/http1.h"\n' })
        assert.equal(1, status)
        assert.matches('core/wire/uri.h:1: includes "wire/http1.h"', output, 1, true)
    end)

    it('refuses a module that the order does not name', function()
        local status, output = check({ ['core/net/pool.c'] = '' })
        assert.equal(1, status)
        assert.matches("module 'net/pool' is not in core/layers.txt", output, 1, true)
    end)

    it('refuses an include of a module that the order does not name', function()
        local status, output = check({ ['core/main.c'] = '#include "net/pool.h"\n' })
        assert.equal(1, status)
        assert.matches('core/main.c:1: includes "net/pool.h", which is not in', output, 1, true)
    end)

    it('refuses a name in the order that has no file', function()
        local status, output = check({ ['core/script/vm.c'] = false })
        local _, count = output:gsub("'script/vm' has no file", '')
        assert.equal(1, count)
        assert.equal(1, status)
    end)

    it('refuses a layer out of order and a module listed twice', function()
        local layers = good()['core/layers.txt'] .. 'net: io\n'
        local status, output = check({ ['core/layers.txt'] = layers })
        assert.equal(1, status)
        assert.matches("layer 'net' stands below a higher one", output, 1, true)
        assert.matches("'net/io' is listed twice", output, 1, true)
    end)

    local strangers = {
        { 'core/net/io.c', '#include <lua.h>' },
        { 'core/wire/uri.h', '#include <uv.h>' },
        { 'core/wire/uri.h', '#include <llhttp.h>' },
        { 'core/wire/uri.h', '# include <pcre2.h>' },
        { 'core/net/io.c', '#include <ares.h>' },
        { 'core/main.c', '#include <yaml.h>' },
        { 'core/net/io.c', '#include <openssl/ssl.h>' },
        { 'core/net/io.c', '#include <stdatomic.h>' },
        { 'core/main.c', 'static _Atomic int n;' },
        { 'core/main.c', 'int f(int *n) { return __atomic_load_n(n, 0); }' },
        { 'core/main.c', 'static pthread_mutex_t lock;' },
    }
    for _, stranger in ipairs(strangers) do
        local path, line = stranger[1], stranger[2]
        it(('refuses `%s` in %s'):format(line, path), function()
            local status, output = check({ [path] = line .. '\n' })
            assert.equal(1, status)
            assert.matches(path .. ':1: ', output, 1, true)
            assert.matches('1 problems', output, 1, true)
        end)
    end
end)
