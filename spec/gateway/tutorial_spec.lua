-- SPDX-License-Identifier: Apache-2.0
-- docs/writing-a-plugin.md, run from its first block to its last in an empty folder, and the
-- commands that the documents name. Comments in front of a block (tools/markdown.lua):
--
--     <!-- file: NAME -->      the block becomes that file
--     <!-- output -->          each line stands in the output of the sh block before
--     <!-- ends with N -->     exit status of the last command of a sh block; 0 without it
--
-- All sh blocks run in one shell, as a reader types them. Only the ports are others.
local documents = require 'tools.docs'
local markdown = require 'tools.markdown'
local process = require 'spec.gateway.support.process'
local source = require 'tools.source'
local tree = require 'spec.lua.support.tree'

local TUTORIAL = 'docs/writing-a-plugin.md'
local DEADLINE = 240 -- seconds for all of it, with sanitizers

local function steps_of(text)
    local steps = {}
    for _, block in ipairs(markdown.blocks(text)) do
        local note = block.note or ''
        local file = note:match('^file: (.+)$')
        if block.language == 'sh' then
            local status = tonumber(note:match('^ends with (%d+)$')) or 0
            steps[#steps + 1] = { line = block.line, text = block.text, status = status,
                output = {} }
        elseif file then
            steps[#steps + 1] = { line = block.line, file = file, text = block.text }
        elseif note == 'output' then
            for line in block.text:gmatch('[^\n]+') do
                table.insert(steps[#steps].output, line)
            end
        else
            error(('%s:%d: a block that is not run'):format(TUTORIAL, block.line))
        end
    end
    return steps
end

-- Waits, with a deadline, until what a block put into the background has said what the page shows.
local WAIT = [[
until_output() {
    local tries=0
    until grep -q -F -e "$1" "$log" || [ "$tries" -ge 600 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
}
]]

local function script_of(steps)
    local lines = { 'set -m', 'log="$1"', WAIT }
    for i, step in ipairs(steps) do
        if step.file then
            local folder = step.file:match('^(.*)/')
            lines[#lines + 1] = folder and 'mkdir -p ' .. folder or ':'
            lines[#lines + 1] = ("cat >%s <<'END OF FILE'\n%sEND OF FILE"):format(step.file,
                step.text)
        else
            lines[#lines + 1] = ('echo "@@ begin %d"'):format(i)
            lines[#lines + 1] = step.text
            lines[#lines + 1] = 'status=$?'
            for _, line in ipairs(step.text:find('&\n', 1, true) and step.output or {}) do
                lines[#lines + 1] = ("until_output '%s'"):format(line)
            end
            lines[#lines + 1] = ('echo "@@ status %d $status"'):format(i)
        end
    end
    return table.concat(lines, '\n') .. '\n'
end

local function with_ports(text)
    local ports = {}
    return (text:gsub('127%.0%.0%.1:(%d+)', function(port)
        ports[port] = ports[port] or process.free_port()
        return '127.0.0.1:' .. ports[port]
    end))
end

describe('the tutorial', function()
    local steps = steps_of(with_ports(assert(source.read(TUTORIAL))))
    local output

    setup(function()
        local folder = process.folder()
        process.write(folder .. '/run.sh', script_of(steps))
        local binary = process.absolute
        local shell = process.start({ 'sh', '-c',
            ('mkdir "%s/work" && cd "%s/work" && PATH="%s:$PATH" && '
                .. 'exec bash ../run.sh ../log >../log 2>&1')
                :format(folder, folder, binary:match('^(.*)/')) })
        assert(shell:wait(DEADLINE), 'no end after ' .. DEADLINE .. ' s')
        output = process.read(folder .. '/log')
    end)

    teardown(process.stop_all)

    for i, step in ipairs(steps) do
        if not step.file then
            it(('does what it shows, line %d: %s'):format(step.line, step.text:match('[^\n]+')),
                function()
                    local part, status = output:match(('@@ begin %d\n(.-)@@ status %d (%%d+)')
                        :format(i, i))
                    assert.is_truthy(part, output)
                    assert.equal(step.status, tonumber(status), output)
                    for _, line in ipairs(step.output) do
                        assert.is_truthy(part:find(line, 1, true), line .. '\nnot in\n' .. part)
                    end
                end)
        end
    end

    it('has steps with output', function()
        local shown = 0
        for _, step in ipairs(steps) do
            shown = shown + (step.output and #step.output or 0)
        end
        assert.is_true(shown > 15)
    end)
end)

describe('the commands in the documents', function()
    local function verbs_of(text)
        local verbs = {}
        local function look(code)
            local verb = code:match('^moongate (%l+)')
            verbs[#verbs + 1] = verb
        end
        for _, code in ipairs(markdown.codes(text)) do
            look(code)
        end
        for _, block in ipairs(markdown.blocks(text)) do
            for line in (block.language == 'sh' and block.text or ''):gmatch('[^\n]+') do
                look(line)
            end
        end
        return verbs
    end

    it('exist', function()
        local unknown, seen = {}, {}
        for _, path in ipairs(documents.files()) do
            for _, verb in ipairs(verbs_of(assert(source.read(path)))) do
                local help = verb == 'help' and '' or verb == 'plugin' and 'plugin new' or verb
                seen[verb] = seen[verb] or tree.run(('"%s" %s --help')
                    :format(process.binary, help))
                if seen[verb] ~= 0 then
                    unknown[#unknown + 1] = path .. ': moongate ' .. verb
                end
            end
        end
        assert.same({}, unknown)
        assert.equal(0, seen.check)
    end)
end)
