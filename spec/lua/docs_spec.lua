-- SPDX-License-Identifier: Apache-2.0
-- The documents: generated parts are as the schemas have them, links and file names lead somewhere,
-- configurations load, and nothing that is named (code, outcome, function) is left out.
local config = require 'moongate.config'
local documents = require 'tools.docs'
local fake_gateway = require 'spec.lua.support.fake_gateway'
local markdown = require 'tools.markdown'
local report = require 'moongate.config.report'
local source = require 'tools.source'
local tree = require 'spec.lua.support.tree'

local function read(path)
    return assert(source.read(path))
end

-- Calls fn(path, text) for each document and gives the complaints it returns.
local function complaints(fn)
    local list = {}
    for _, path in ipairs(documents.files()) do
        for _, complaint in ipairs(fn(path, read(path))) do
            list[#list + 1] = path .. ': ' .. complaint
        end
    end
    return list
end

local function exists(path)
    local file = io.open(path)
    if file then
        file:close()
    end
    return file ~= nil
end

local function join(folder, path)
    local joined = folder .. path
    local changed
    repeat
        joined, changed = joined:gsub('[^/]+/%.%./', '', 1)
    until changed == 0
    return joined
end

-- ---- YAML --------------------------------------------------------------------------------------

local BASE = [[
services:
- name: orders
  url: http://127.0.0.1:9101
  routes: [{ name: orders, paths: [/orders] }]
consumers: [{ username: acme }]
]]

-- A block may show a part of a file: what it leaves out is added.
local function whole(text)
    if not text:find('_format_version', 1, true) then
        text = '_format_version: "3.0"\n' .. text
    end
    return text:find('\nservices:') and text or text .. BASE
end

local ANYTHING = { name = 'any', fields = { { config = { type = 'any' } } } }

-- Plugins that ship, and those that the document itself writes.
local function plugin_loader(document)
    return function(name)
        if exists(('plugins/%s/schema.lua'):format(name)) then
            return { name = name, handler = {}, schema = documents.plugin_schema(name) }
        elseif document:find('plugins/' .. name, 1, true) then
            return { name = name, handler = {}, schema = ANYTHING }
        end
        return nil, { message = 'no plugin is called ' .. name, searched = {} }
    end
end

local function load_block(block, path, document)
    return config.load{
        file = path, text = whole(block.text), env = function() return 'text' end,
        read_file = function() return 'text' end, load_plugin = plugin_loader(document),
        plugin_names = function() return { 'rate-limit', 'access-log', 'circuit-breaker' } end,
    }
end

-- ---- the kit -----------------------------------------------------------------------------------

local INTERNAL = { ['log.is_on'] = true, ['log.write'] = true, ['log.join'] = true,
    ['http.parse'] = true, ['client.forwarded'] = true, ['redis.open'] = true }
local TABLES = { request = true, response = true, service = true, client = true, log = true,
    ip = true, node = true, nginx = true, plugin = true, table = true, vault = true, http = true,
    redis = true, metrics = true, router = true, cluster = true, telemetry = true, inspect = true }

-- All functions of the kit as "request.get_path".
local function kit_functions(kit, prefix, list)
    for name, value in pairs(kit) do
        if type(value) == 'function' and not INTERNAL[prefix .. name] then
            list[#list + 1] = prefix .. name
        elseif type(value) == 'table' and (TABLES[name] or prefix == 'service.')
            and value ~= kit then
            kit_functions(value, prefix .. name .. '.', list)
        end
    end
    return list
end

describe('the documents', function()
    it('have the generated parts that the schemas and comments give', function()
        local stale = {}
        for _, path in ipairs(documents.files()) do
            local old, new, mistakes = documents.rewrite(path)
            if old ~= new then
                stale[#stale + 1] = path .. ': run luajit tools/gen_docs.lua'
            end
            for _, mistake in ipairs(mistakes) do
                stale[#stale + 1] = path .. ': ' .. mistake
            end
        end
        assert.same({}, stale)
    end)

    it('have every option of every plugin that ships', function()
        local missing = {}
        for _, path in ipairs(source.files('.', { 'plugins' }, { 'lua' })) do
            local name = path:match('^plugins/([^/]+)/schema%.lua$')
            local mark = name and ('<!-- generated: plugin %s -->'):format(name)
            local manual = name and source.read(('plugins/%s/README.md'):format(name)) or ''
            if name and not manual:find(mark, 1, true) then
                missing[#missing + 1] = name
            end
        end
        assert.same({}, missing)
    end)

    it('link to files and headings that exist', function()
        assert.same({}, complaints(function(path, text)
            local broken = {}
            for _, target in ipairs(markdown.links(text)) do
                local file, anchor = target:match('^([^#]*)#?(.*)$')
                local folder = path:match('^(.*/)') or ''
                local full = file == '' and path or join(folder, file)
                local is_foreign = target:match('^%a+://')
                if not is_foreign and not exists(full) then
                    broken[#broken + 1] = target
                elseif not is_foreign and anchor ~= ''
                    and not markdown.anchors(read(full))[anchor] then
                    broken[#broken + 1] = target .. ' (no such heading)'
                end
            end
            return broken
        end))
    end)

    it('name files of the tree that exist', function()
        assert.same({}, complaints(function(path, text)
            local broken = {}
            for _, code in ipairs(markdown.codes(text)) do
                local file = code:match('^%l+/[%w_./-]+%.%l+$')
                local top = file and file:match('^(%l+)/')
                -- core/LAYER/x.c stands for a file to be made.
                local is_pattern = code:find('%u%u') or code:find('%f[%w]x%f[_.]')
                    or code:find('_x%.')
                local is_ours = top and top ~= 'plugins' and not is_pattern and exists(top)
                local beside = file and join(path:match('^(.*/)') or '', file)
                if is_ours and not exists(file) and not exists(beside) then
                    broken[#broken + 1] = code
                end
            end
            return broken
        end))
    end)

    it('name commands of the tree that exist', function()
        local count = 0
        assert.same({}, complaints(function(_, text)
            local unknown = {}
            for _, pattern in ipairs({ '[%s`(](script/%l+)', 'luajit (tools/[%w_]+%.lua)' }) do
                for path in text:gmatch(pattern) do
                    count = count + 1
                    if not exists(path) then
                        unknown[#unknown + 1] = path
                    end
                end
            end
            return unknown
        end))
        assert.is_true(count > 20)
    end)

    it('show configurations that load, or say why not', function()
        local count = 0
        assert.same({}, complaints(function(path, text)
            local refused = {}
            for _, block in ipairs(markdown.blocks(text)) do
                local is_shown = (block.note or ''):match('^not run: .')
                if block.language == 'yaml' and not is_shown then
                    local snapshot, findings = load_block(block, path, text)
                    count = count + 1
                    if not snapshot then
                        refused[#refused + 1] = ('line %d: %s'):format(block.line,
                            report.format(findings))
                    end
                end
            end
            return refused
        end))
        assert.is_true(count > 5)
    end)

    it('explain every code of a finding, and no other', function()
        local used, explained = {}, {}
        for _, path in ipairs(source.files('.', { 'lua' }, { 'lua' })) do
            for code in read(path):gmatch("'(MG%d%d%d%d)'") do
                used[code] = true
            end
        end
        for code in read('docs/configuration.md'):gmatch('| (MG%d%d%d%d) |') do
            explained[code] = true
        end
        assert.same(used, explained)
    end)

    it('explain every outcome word, and no other', function()
        local words, explained = {}, {}
        for word in read('core/model/outcome.h'):gmatch('X%([%u_]+, "([%l_]+)"%)') do
            words[word] = true
        end
        local part = read('docs/operating.md'):match('\n## Outcomes\n(.-)\n## ')
        for word in part:gmatch('\n| `([%l_]+)` |') do
            explained[word] = true
        end
        assert.same(words, explained)
    end)

    it('list every function of the kit', function()
        local text, missing = read('docs/plugin-reference.md'), {}
        local moongate = fake_gateway.load()
        local functions = kit_functions(moongate, '', {})
        for _, name in ipairs(functions) do
            if not text:find('`' .. name .. '(', 1, true) then
                missing[#missing + 1] = name
            end
        end
        table.sort(missing)
        assert.same({}, missing)
        assert.is_true(#functions > 80)
    end)

    it('name nothing that a function of the kit is not', function()
        local moongate = fake_gateway.load()
        local known, unknown = {}, {}
        for _, name in ipairs(kit_functions(moongate, '', {})) do
            known[name] = true
        end
        local part = read('docs/plugin-reference.md'):match('\n## Functions\n(.-)\n## ')
        for name in part:gmatch('\n| `([%l_.]+)%(') do
            if not known[name] and name ~= 'log.inspect' then
                unknown[#unknown + 1] = name
            end
        end
        assert.same({}, unknown)
    end)
end)

describe('the generator', function()
    local root

    after_each(function()
        tree.remove(root)
    end)

    local function rewrite(text)
        root = tree.make({ ['x.md'] = text })
        return documents.rewrite(root .. '/x.md')
    end

    it('replaces what stands between its marks, and nothing else', function()
        local _, new, mistakes = rewrite('a\n<!-- generated: entity targets -->\nold\n'
            .. '<!-- end of generated -->\nb\n')
        assert.same({}, mistakes)
        assert.truthy(new:find('^a\n.*| `weight` | a whole number from 0 to 65535 | `100` |'))
        assert.falsy(new:find('old', 1, true))
        assert.truthy(new:find('<!%-%- end of generated %-%->\nb\n$'))
    end)

    it('complains about a part that it does not know, or that has no end', function()
        local _, _, mistakes = rewrite('<!-- generated: nothing -->\n<!-- end of generated -->\n')
        assert.same({ 'no such generated part: nothing' }, mistakes)
        tree.remove(root)
        _, _, mistakes = rewrite('<!-- generated: gateway -->\n')
        assert.same({ 'the generated part has no end: gateway' }, mistakes)
    end)

    it('ends with 1 under --check when a document is stale, and writes nothing', function()
        root = tree.make({ ['docs/x.md'] = '<!-- generated: gateway -->\n'
            .. '<!-- end of generated -->\n' })
        for _, name in ipairs({ 'README.md', 'CONTRIBUTING.md', 'CHANGELOG.md' }) do
            assert(io.open(root .. '/' .. name, 'w')):close()
        end
        local here = assert(io.popen('pwd')):read('*l')
        local command = ('ln -s "%s/lua" "%s/tools" "%s/core" "%s" && cd "%s" && '
            .. 'MOONGATE_BUILD="%s" luajit tools/gen_docs.lua --check'):format(
            here, here, here, root, root,
            require('tools.modules').build_folder():gsub('^([^/])', here .. '/%1'))
        local status, output = tree.run(command)
        assert.equal(1, status, output)
        assert.truthy(output:find('docs/x.md: not up to date', 1, true))
        assert.equal(2, select(2, read(root .. '/docs/x.md'):gsub('\n', '')))
    end)
end)
