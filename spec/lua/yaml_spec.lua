-- SPDX-License-Identifier: Apache-2.0
-- moongate.yaml: values, marks, notes and refusals.
local yaml = require 'moongate.yaml'
local cjson = require 'cjson'

local function unpack_mark(mark)
    local length = mark % 16384
    local column = (mark - length) / 16384 % 16384
    return (mark - length - column * 16384) / 16384 / 16384, column, length
end

local function refused(text)
    local value, err = yaml.parse(text)
    assert.is_nil(value)
    return err
end

describe('yaml.parse', function()
    it('types plain scalars by the core schema of YAML 1.2', function()
        local value = yaml.parse([[
a: [~, null, true, False, 12, -3, +5, .5, 1e3, 0x1F, 0o17, 10.0.0.1, 1.2.3, y, .inf, "12", 'x']
]])
        assert.same({ cjson.null, cjson.null, true, false, 12, -3, 5, 0.5, 1000, 31, 15,
            '10.0.0.1', '1.2.3', 'y', '.inf', '12', 'x' }, value.a)
    end)

    it('leaves what is too large for a number as text', function()
        assert.same({ '1e999', '-1e999', 1e300 }, (yaml.parse('[1e999, -1e999, 1e300]')))
    end)

    it('obeys the tag of text and refuses tags that it does not know', function()
        assert.equal('12', yaml.parse('!!str 12'))
        assert.equal(12, yaml.parse('!!int 12'))
        assert.same({ line = 1, column = 4, message = 'the tag !secret is not supported' },
            refused('a: !secret x'))
    end)

    it('keeps keys as text', function()
        assert.same({ ['80'] = 'x', ['true'] = 'y', ['~'] = 'z' },
            (yaml.parse('{80: x, true: y, ~: z}')))
    end)

    it('keeps the place of every key and value', function()
        local value, marks = yaml.parse('a: 1\nlist:\n  - { k: "wörd" }\n  - |\n    long\n')
        local root = marks[value]
        assert.equal('map', root.kind)
        assert.same({ 'a', 'list' }, root.order)
        assert.same({ 2, 1, 4 }, { unpack_mark(root.keys.list) })
        assert.same({ 1, 4, 1 }, { unpack_mark(root.values.a) })
        local list = marks[value.list]
        assert.equal('seq', list.kind)
        assert.same({ 4, 5, 0 }, { unpack_mark(list.values[2]) })
        local map = marks[value.list[1]]
        assert.same({ 3, 5, 1 }, { unpack_mark(map.at) })
        assert.same({ 3, 7, 1 }, { unpack_mark(map.keys.k) })
        assert.same({ 3, 10, 6 }, { unpack_mark(map.values.k) })
    end)

    it('reports each duplicate key, keeps the first value and goes on', function()
        local value, _, notes = yaml.parse('a: 1\nb: {c: 1, c: 2}\na: 2\n')
        assert.same({ a = 1, b = { c = 1 } }, value)
        assert.equal(2, #notes)
        assert.same({ severity = 'error', kind = 'duplicate', line = 2, column = 11, length = 1,
            message = 'duplicate key "c", first given on line 2' }, notes[1])
        assert.equal(3, notes[2].line)
    end)

    it('warns of what YAML 1.1 reads otherwise, but not of keys and quoted text', function()
        local value, _, notes = yaml.parse(
            'on: no\na: "no"\nb: 010\nc: 22:30\nd: 1_000\ne: 0\nf: 10:99\n')
        assert.equal('no', value.on)
        assert.equal(10, value.b)
        assert.equal('22:30', value.c)
        local lines = {}
        for i, note in ipairs(notes) do
            assert.equal('warning', note.severity)
            assert.equal('trap', note.kind)
            lines[i] = note.line
        end
        assert.same({ 1, 3, 4, 5 }, lines)
        assert.equal('no is text here, but false in YAML 1.1: quote it, or write false',
            notes[1].message)
    end)

    it('gives an alias the very table of its anchor', function()
        local value = yaml.parse('a: &x {k: 1}\nb: *x\nc: &t text\nd: *t\n')
        assert.equal(value.a, value.b)
        assert.equal('text', value.d)
    end)

    it('merges maps under << with the own keys and then the earlier maps winning', function()
        local value, marks = yaml.parse([[
base: &a { x: 1, y: 1 }
more: &b { y: 2, z: 2, w: 2 }
both: { <<: [*a, *b], w: 3 }
one: { x: 4, <<: *a }
]])
        assert.same({ x = 1, y = 1, z = 2, w = 3 }, value.both)
        assert.same({ x = 4, y = 1 }, value.one)
        assert.equal(2, (unpack_mark(marks[value.both].keys.z)))
        assert.same({ 'w', 'x', 'y', 'z' }, marks[value.both].order)
        assert.matches('merges', refused('a: 1\n<<: 2\n').message)
        assert.matches('merges', refused('<<: [{a: 1}, 2]\n').message)
    end)

    it('names the place of a syntax error', function()
        local err = refused('a: [1\nb: 2\n')
        assert.equal(2, err.line)
        assert.matches('flow sequence that began on line 1', err.message)
        assert.equal(1, refused('a: \xff').line)
        assert.equal('a second document begins here; only one is read',
            refused('a: 1\n---\nb: 2\n').message)
        assert.equal('a key must be text, not a list or a map', refused('? [a]\n: 1\n').message)
    end)

    it('names the place of a byte that YAML does not take', function()
        for _, byte in ipairs({ '\1', '\127' }) do
            local tree, err = yaml.parse('a: 1\nb: 2\nä: "' .. byte .. '"\nc: 3\n')
            assert.is_nil(tree)
            assert.same({ 3, 5 }, { err.line, err.column }, err.message)
        end
        assert.equal(3, refused('a: 1\nb: 2\nc: "\233"\nd: 3\n').line)
    end)

    it('refuses an alias to a node that is still open', function()
        assert.matches('no finished anchor is called "x"', refused('a: &x [*x]').message)
    end)

    it('reads an empty text as null, and skips a byte order mark', function()
        assert.equal(cjson.null, (yaml.parse('')))
        assert.same({ a = 1 }, (yaml.parse('\xef\xbb\xbfa: 1')))
    end)

    it('takes depth 32 and refuses 33', function()
        assert.is_table((yaml.parse(('['):rep(31) .. '1' .. (']'):rep(31))))
        assert.is_table((yaml.parse(('['):rep(32) .. (']'):rep(32))))
        assert.is_true(refused(('['):rep(33) .. (']'):rep(33)).limit)
        assert.is_true(refused('a: &x ' .. ('['):rep(20) .. (']'):rep(20) .. '\nb: '
            .. ('['):rep(12) .. '*x' .. (']'):rep(12)).limit)
    end)

    it('takes 10,000 nodes through aliases and refuses one more', function()
        local head = 'a: &x [' .. ('1,'):rep(99) .. ']\n' -- 100 nodes with the list itself
        assert.is_table((yaml.parse(head .. 'b: [' .. ('*x,'):rep(100) .. ']')))
        local err = refused(head .. 'b: [' .. ('*x,'):rep(100) .. '*x]')
        assert.is_true(err.limit)
        local bomb = 'a0: &a0 [1]\n'
        for i = 1, 20 do
            bomb = bomb .. ('a%d: &a%d [%s]\n'):format(i, i, (('*a%d,'):format(i - 1)):rep(9))
        end
        assert.is_true(refused(bomb).limit)
    end)

    it('takes 4 MiB and refuses one byte more', function()
        local size = 4 * 1024 * 1024
        assert.equal(1, yaml.parse('a: 1\n#' .. (' '):rep(size - 6)).a)
        assert.is_true(refused('a: 1\n#' .. (' '):rep(size - 5)).limit)
    end)
end)
