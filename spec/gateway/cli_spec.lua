-- SPDX-License-Identifier: Apache-2.0
--
-- The command line: verbs, options, exit codes, what goes to stdout and what to stderr.
local dkjson = require 'dkjson'
local process = require 'spec.gateway.support.process'

local VERBS = { 'run', 'check', 'reload', 'status', 'explain', 'echo', 'test', 'plugin', 'version' }

describe('the command line', function()
    after_each(process.stop_all)

    it('prints its version', function()
        local code, out, err = process.run('version')
        assert.equal(0, code)
        assert.truthy(out:match('^moongate %d+%.%d+%.%d+\n$'))
        assert.equal('', err)
        code, out = process.run('version', '--json')
        assert.equal(0, code)
        assert.equal(1, dkjson.decode(out).format)
    end)

    it('helps with every verb', function()
        local _, list = process.run('help')
        for _, verb in ipairs(VERBS) do
            local code, out = process.run(verb, '--help')
            assert.equal(0, code)
            assert.truthy(out:find('Usage: moongate ' .. verb, 1, true))
            assert.truthy(out:find('--help', 1, true))
            assert.truthy(list:find('\n  ' .. verb, 1, true))
            local _, same = process.run('help', verb)
            assert.equal(out, same)
        end
    end)

    it('suggests what was meant by an unknown verb or option, and exits with 2', function()
        local code, out, err = process.run('relaod')
        assert.equal(2, code)
        assert.equal('', out)
        assert.truthy(err:find("did you mean 'reload'?", 1, true))
        code, out, err = process.run('status', '--jsno')
        assert.equal(2, code)
        assert.equal('', out)
        assert.truthy(err:find("did you mean '--json'?", 1, true))
    end)

    it('prints its usage for every way to ask for help', function()
        local _, usage = process.run('help')
        for _, words in ipairs({ { '--help' }, { '-h' }, { 'help', '--help' }, { 'help', '-h' },
            { 'help', 'help' } }) do
            local code, out, err = process.run(unpack(words))
            assert.equal(0, code, table.concat(words, ' '))
            assert.equal(usage, out)
            assert.equal('', err)
        end
        local _, version = process.run('version')
        for _, word in ipairs({ '--version', '-V', '-v' }) do
            assert.equal(version, (select(2, process.run(word))))
        end
    end)

    it('says of what is specified that it is not supported yet, with 2', function()
        for _, words in ipairs({ { 'quick' }, { 'upgrade' }, { 'run', '--watch' },
            { 'run', '--last-good' }, { 'check', '--sarif' }, { 'plugin', 'lint' } }) do
            local code, out, err = process.run(unpack(words))
            assert.equal(2, code, table.concat(words, ' '))
            assert.equal('', out)
            assert.truthy(err:find('not supported yet', 1, true), err)
        end
    end)

    it('knows what other gateways call its verbs', function()
        for word, answer in pairs({ stop = 'SIGTERM', start = 'moongate run',
            validate = 'moongate check' }) do
            local code, _, err = process.run(word)
            assert.equal(2, code)
            assert.truthy(err:find(answer, 1, true), err)
        end
    end)

    it('says where it looked when there is no configuration', function()
        for verb, expected in pairs({ run = 78, check = 78, reload = 1, status = 1 }) do
            local shell = process.start({ 'sh', '-c', 'cd "$1" && exec "$2" "$3"', 'sh',
                process.folder(), process.absolute, verb })
            assert.equal(expected, shell:wait())
            assert.equal('', shell.out)
            assert.truthy(shell.err:find('moongate.yml in this folder nor /etc/moongate/', 1, true),
                shell.err)
            assert.truthy(shell.err:find('-c FILE', 1, true))
        end
    end)

    it('takes an argument for the option that it is meant for', function()
        for _, words in ipairs({ { 'run', 'a.yml' }, { 'reload', 'a.yml' } }) do
            local code, _, err = process.run(unpack(words))
            assert.equal(2, code)
            assert.truthy(err:find("did you mean '--config a.yml'?", 1, true), err)
        end
    end)

    it('exits with 2 on arguments that are too few, too many or wrong', function()
        for _, arguments in ipairs({ {}, { 'echo' }, { 'echo', '--listen', 'here' },
            { 'echo', '--listen', '127.0.0.1:0', '--status', '99' }, { 'explain', 'GET' },
            { 'explain', 'GET', '/', 'x' }, { 'explain', '-H' }, { 'version', 'now' },
            { 'reload', '--wait', 'long' }, { 'plugin' }, { 'plugin', 'old', 'x' },
            { 'plugin', 'new', '../x' }, { 'run', '-c' }, { 'help', 'relaod' } }) do
            local code, out, err = process.run(unpack(arguments))
            assert.equal(2, code, table.concat(arguments, ' '))
            assert.equal('', out)
            assert.truthy(#err > 0)
        end
    end)

    it('says that no gateway is running, with 1', function()
        local folder = process.folder()
        for _, verb in ipairs({ 'reload', 'status' }) do
            local code, out, err = process.run(verb, '--control', folder .. '/none')
            assert.equal(1, code)
            assert.equal('', out)
            assert.truthy(err:find('no gateway is running there', 1, true))
        end
    end)

    it('says what is no control socket', function()
        local path = process.write(process.folder() .. '/file', 'text')
        local code, _, err = process.run('status', '--control', path)
        assert.equal(1, code)
        assert.truthy(err:find(path .. ' is no control socket', 1, true), err)
    end)

    it('finds the gateway by the name of its configuration', function()
        local folder = process.folder()
        local config = process.write(folder .. '/moongate.yml', process.yaml{})
        local gateway = process.start({ process.binary, 'run', '-c', config })
        assert.is_true(gateway:wait_text('ready, '))
        local code, out = process.run('status', '-c', folder .. '/./moongate.yml')
        assert.equal(0, code)
        assert.truthy(out:find(config, 1, true))
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
        code = process.run('status', '-c', config)
        assert.equal(1, code)
    end)

    it('uses the runtime folder of the service where there is one', function()
        local folder = process.folder()
        local config = process.write(folder .. '/moongate.yml', process.yaml{})
        local gateway = process.start({ process.binary, 'run', '-c', config },
            { RUNTIME_DIRECTORY = folder })
        assert.is_true(gateway:wait_text('ready, '))
        assert.equal(0, (process.run('status', '--control', folder .. '/moongate.sock')))
    end)

    it('fails when what it prints cannot be written', function()
        local code = os.execute(('"%s" version >/dev/full 2>/dev/null'):format(process.binary))
        assert.equal(256, code)
    end)
end)

describe('moongate check', function()
    after_each(process.stop_all)

    local function check(yaml, ...)
        local path = process.write(process.folder() .. '/moongate.yml', yaml)
        return process.run('check', path, ...)
    end

    it('prints each finding as an object with --json', function()
        local code, out = check('_format_version: "3.0"\nservces: []\n'
            .. 'gateway: { workers: many }\n', '--json')
        assert.equal(78, code)
        local lines = {}
        for line in out:gmatch('[^\n]+') do
            lines[#lines + 1] = assert(dkjson.decode(line))
        end
        assert.equal(2, #lines)
        assert.equal('services', lines[1].suggestion)
        assert.equal(2, lines[1].line)
        assert.equal('gateway.workers', lines[2].path)
    end)

    it('says why a file cannot be read, in both forms', function()
        for _, path in ipairs({ process.folder() .. '/none.yml', process.folder() }) do
            local code, out = process.run('check', path)
            assert.equal(78, code)
            assert.truthy(out:find(path .. ': the configuration cannot be read: ', 1, true), out)
            code, out = process.run('check', path, '--json')
            assert.equal(78, code)
            local finding = assert(dkjson.decode(out))
            assert.equal(path, finding.file)
            assert.equal('MG1012', finding.code)
        end
    end)

    it('says where it looked for a plugin, and why one cannot be read', function()
        local folder = process.folder()
        os.execute('mkdir ' .. folder .. '/plugins')
        os.execute(("ln -s loop.lua '%s/plugins/loop.lua'"):format(folder))
        local path = process.write(folder .. '/moongate.yml',
            process.yaml{ plugins = '    plugins: [{ name: nowhere }, { name: loop }]' })
        local code, out = process.run('check', path)
        assert.equal(78, code)
        assert.truthy(out:find('no plugin is called "nowhere" [MG1024]', 1, true), out)
        assert.truthy(out:find(('searched: %s/plugins/, what comes with the gateway, '
            .. 'kong.plugins.nowhere.handler on package.path\n'):format(folder), 1, true), out)
        assert.truthy(out:find(('plugin "loop" cannot be read: %s/plugins/loop.lua: ')
            :format(folder), 1, true), out)
    end)

    it('takes a warning for an error with --strict', function()
        local yaml = process.yaml{} .. 'upstreams: [{ name: lonely }]\n'
        local code, out = check(yaml)
        assert.equal(0, code)
        assert.truthy(out:find('warning', 1, true))
        assert.equal(78, (check(yaml, '--strict')))
        assert.equal(0, (check(process.yaml{}, '--strict')))
    end)
end)

describe('moongate explain', function()
    local yaml = [[
_format_version: "3.0"
upstreams:
- name: pool
  targets: [{ target: "127.0.0.1:9101", weight: 100 }, { target: "127.0.0.1:9102", weight: 50 }]
services:
- name: orders
  url: http://127.0.0.1:9101/v1
  read_timeout: 5000
  routes:
  - name: orders-beta
    paths: [/orders]
    headers: { X-Version: [beta] }
  - name: orders
    paths: [/orders]
    plugins: [{ name: correlation-id }, { name: cors }]
- name: pooled
  host: pool
  routes: [{ name: pooled, paths: ["~/p/\\d+"], methods: [GET], hosts: [shop.example] }]
]]
    local path

    setup(function()
        path = process.write(process.folder() .. '/moongate.yml', yaml)
    end)
    teardown(process.stop_all)

    local function explain(...)
        return process.run('explain', '-c', path, ...)
    end

    it('shows route, chain, upstream and timeouts', function()
        local code, out = explain('GET', 'http://shop.example/orders/./7?x=1')
        assert.equal(0, code)
        assert.truthy(out:find('GET shop.example /orders/7 (canonical; sent as /v1/7: strip_path)',
            1, true))
        assert.truthy(out:match('\nroute     orders +%S+moongate%.yml:13   host any, '
            .. 'path /orders, methods any\n'))
        assert.truthy(out:match('\nchain     1 cors           priority .*'
            .. '\n          2 correlation%-id priority '), out)
        assert.truthy(out:match('\nupstream  orders +127%.0%.0%.1:9101\n'))
        assert.truthy(out:find('connect 2s, write 60s, read 5s, total none; 1 retry', 1, true))
        assert.truthy(out:match('\nnot taken pooled .*path does not match ~/p/'))
        assert.truthy(out:match('\n +orders%-beta .*header X%-Version is missing\n'))
    end)

    it('follows the headers that are given', function()
        local code, out = explain('GET', '/orders', '-H', 'X-Version: beta')
        assert.equal(0, code)
        assert.truthy(out:match('\nroute     orders%-beta '))
    end)

    it('shows the targets of an upstream, and a Host header wins over the URL', function()
        local code, out = explain('GET', 'http://other/p/7', '-H', 'Host: Shop.Example:8000')
        assert.equal(0, code)
        assert.truthy(out:find('round-robin over 127.0.0.1:9101, 127.0.0.1:9102 (weight 50)', 1,
            true))
    end)

    it('says why no route takes a request, with 1', function()
        local code, out = explain('POST', 'http://shop.example/p/7')
        assert.equal(1, code)
        assert.truthy(out:find('no Route matched', 1, true))
        assert.truthy(out:match('pooled .*method is not GET'))
    end)

    it('refuses what is no request, with 2', function()
        for _, words in ipairs({ { 'get', '/' }, { 'GET', 'ftp://x/' },
            { 'GET', '/', '-H', 'x' } }) do
            local code, out, err = explain(unpack(words))
            assert.equal(2, code)
            assert.equal('', out)
            assert.truthy(err:find(' is no ', 1, true))
        end
    end)

    it('serves the very methods that a route may name without a warning', function()
        local source = process.read((os.getenv('MOONGATE_SOURCE_DIR') or '.')
            .. '/lua/moongate/config/snapshot.lua')
        for method in source:match('in %(%[%[(GET .-)%]%]%)'):gmatch('%S+') do
            local code, _, err = explain(method, '/orders')
            assert.equal(0, code, method .. ': ' .. err)
        end
        for _, method in ipairs({ 'CONNECT', 'TRACE', 'GTE' }) do
            assert.equal(2, (explain(method, '/orders')))
        end
    end)

    it('says which request the gateway would refuse', function()
        local code, out, err = explain('GET', '/orders/%2Fx')
        assert.equal(1, code)
        assert.equal('', out)
        assert.truthy(err:find('400', 1, true))
    end)

    it('prints JSON', function()
        local code, out = explain('GET', '/orders', '--json')
        local seen = dkjson.decode(out)
        assert.equal(0, code)
        assert.equal('orders', seen.route.name)
        assert.same({ 'cors', 'correlation-id' },
            { seen.plugins[1].name, seen.plugins[2].name })
        assert.equal('header X-Version is missing', seen.not_taken[2].reason)
        assert.equal(9101, seen.service.targets[1].port)
    end)

    it('refuses a broken configuration with all its errors and 78', function()
        local broken = process.write(process.folder() .. '/x.yml',
            '_format_version: "3.0"\nservces: []\nrotes: []\n')
        local code, out, err = process.run('explain', 'GET', '/', '-c', broken)
        assert.equal(78, code)
        assert.equal('', out)
        assert.truthy(err:find('2 errors', 1, true))
    end)
end)

describe('moongate plugin new', function()
    after_each(process.stop_all)

    for _, layout in ipairs({ 'folder', 'file' }) do
        it('writes a plugin whose spec passes at once, layout ' .. layout, function()
            local folder = process.folder() .. '/plugins'
            local code, out, err = process.run('plugin', 'new', 'my-greeter', '--dir', folder,
                '--layout', layout)
            assert.equal(0, code, err)
            local spec
            for path in out:gmatch('[^\n]+') do
                assert.is_string(process.read(path))
                spec = path:match('_spec%.lua$') and path or spec
            end
            code, out, err = process.run('test', spec)
            assert.equal(0, code, out .. err)
            assert.truthy(out:match('2 successes') or out:match('2 passed'))
        end)
    end

    it('refuses a name that a plugin in the other layout has', function()
        local folder = process.folder()
        process.write(folder .. '/mine.lua', 'precious')
        local code, out, err = process.run('plugin', 'new', 'mine', '--dir', folder)
        assert.equal(1, code)
        assert.equal('', out)
        assert.truthy(err:find(folder .. '/mine.lua: it exists already', 1, true), err)
        assert.equal(0, (process.run('plugin', 'new', 'other', '--dir', folder)))
        assert.equal(1, (process.run('plugin', 'new', 'other', '--dir', folder, '--layout',
            'file')))
        assert.is_nil(process.read(folder .. '/other.lua'))
    end)

    it('says when a plugin of the name comes with the gateway', function()
        local _, _, err = process.run('plugin', 'new', 'cors', '--dir', process.folder())
        assert.truthy(err:find('cors comes with the gateway', 1, true), err)
    end)

    it('overwrites nothing', function()
        local folder = process.folder()
        os.execute('mkdir ' .. folder .. '/mine')
        process.write(folder .. '/mine/handler.lua', 'precious')
        local code, out, err = process.run('plugin', 'new', 'mine', '--dir', folder)
        assert.equal(1, code)
        assert.equal('', out)
        assert.truthy(err:find('nothing is overwritten', 1, true))
        assert.equal('precious', process.read(folder .. '/mine/handler.lua'))
    end)
end)
