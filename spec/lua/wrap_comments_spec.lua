-- SPDX-License-Identifier: Apache-2.0
--
-- tools/wrap_comments.lua breaks long comment lines and leaves everything else alone.
local tree = require('spec.lua.support.tree')

local LONG = ('word '):rep(18)  -- 90 columns, and a blank

local function wrap(text)
    local root = tree.make({ ['a.c'] = text })
    local status, output = tree.run('luajit tools/wrap_comments.lua', root .. '/a.c')
    local file = assert(io.open(root .. '/a.c'))
    local wrapped = file:read('*a')
    file:close()
    tree.remove(root)
    assert.equal('', output)
    assert.equal(0, status)
    return wrapped
end

describe('wrap_comments', function()
    it('leaves a line of 100 columns as it is', function()
        local text = '/* ' .. ('x'):rep(94) .. ' */\n * ' .. ('y '):rep(48) .. 'y\n'
        assert.equal(text, wrap(text))
    end)

    it('moves the end of a long line in front of the next one', function()
        assert.equal('/*\n * ' .. LONG .. 'a\n * bcdefghij goes on\n */\n',
            wrap('/*\n * ' .. LONG .. 'a bcdefghij\n * goes on\n */\n'))
    end)

    it('gives the end a line of its own where a table follows', function()
        assert.equal('/*\n * ' .. LONG .. 'a\n * bcdefghij\n *     name   value\n */\n',
            wrap('/*\n * ' .. LONG .. 'a bcdefghij\n *     name   value\n */\n'))
    end)

    it('breaks a comment of one line, never right before its end', function()
        assert.equal('/* ' .. LONG .. 'a\n * bcdef */\n', wrap('/* ' .. LONG .. 'a bcdef */\n'))
    end)

    it('lifts a long comment above its code', function()
        local comment = '/* ' .. ('word '):rep(15) .. '*/'
        assert.equal('    ' .. comment .. '\n    int some_name_of_a_field;\n',
            wrap('    int some_name_of_a_field; ' .. comment .. '\n'))
    end)

    it('does not touch long code', function()
        local text = 'int a = ' .. ('1 + '):rep(30) .. '1;\n'
        assert.equal(text, wrap(text))
    end)
end)
