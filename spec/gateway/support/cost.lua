-- SPDX-License-Identifier: Apache-2.0
--
-- The figures against which a build is held: bench/instructions.json, written by
-- `script/bench instructions --record` and read by cost_spec.lua. They hold for the compiler and
-- libraries with which they were taken, which stand beside them.
--
--     local figures, reason = cost.figures()   -- { plain = 10000, policies = 30000 }, or a reason
local dkjson = require 'dkjson'
local process = require 'spec.gateway.support.process'

local M = {}

local PATH = (os.getenv('MOONGATE_SOURCE_DIR') or '.') .. '/bench/instructions.json'

-- With what the binary was built.
local function build()
    local code, out, err = process.run('version', '--json')
    assert(code == 0, err)
    local version = assert(dkjson.decode(out))
    return ('%s %s, libuv %s, %s'):format(jit.arch, version.compiler, version.libuv, jit.version)
end

--- @treturn table|nil instructions of a request by case
-- @treturn string|nil why they do not hold for this build
function M.figures()
    local text = process.read(PATH)
    if not text then
        return nil, 'there are no figures: script/bench instructions --record'
    end
    local kept = assert(dkjson.decode(text))
    local present = build()
    if kept.build ~= present then
        return nil, ('the figures are of %s; this is %s'):format(kept.build, present)
    end
    return kept.instructions
end

function M.write(figures)
    local lines = {}
    for _, name in ipairs{ 'plain', 'fields', 'policies' } do
        lines[#lines + 1] = ('    "%s": %.0f'):format(name, figures[name])
    end
    process.write(PATH, ('{\n  "build": "%s",\n  "instructions": {\n%s\n  }\n}\n'):format(build(),
        table.concat(lines, ',\n')))
end

--- Figures as text.
function M.list(figures)
    local texts = {}
    for i, figure in ipairs(figures) do
        texts[i] = ('%.0f'):format(figure)
    end
    return table.concat(texts, ' ')
end

return M
