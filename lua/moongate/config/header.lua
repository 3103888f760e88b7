-- SPDX-License-Identifier: Apache-2.0
--
-- What stands at the top of a file beside the collections: its format version, `_transform`, and
-- the vaults that its references may name.
local cjson = require 'cjson'

local M = {}

local BAD_VERSION, LATER, WRONG_TYPE = 'MG1010', 'MG1027', 'MG1031'
local VERSIONS = { ['1.1'] = true, ['2.1'] = true, ['3.0'] = true }
local EXPECTED = 'expected the text "3.0" (or "1.1", "2.1")'

local function check_version(tree, findings)
    local version = tree._format_version
    if version == nil or version == cjson.null then
        findings:add({ '_format_version' }, {
            code = BAD_VERSION, message = 'required, but not set',
            fixed = 'required field missing', hint = 'write _format_version: "3.0"',
        })
    elseif type(version) == 'number' then
        findings:add({ '_format_version' }, {
            code = BAD_VERSION, message = EXPECTED .. ', found a number',
            hint = ('quote it: _format_version: "%.1f"'):format(version),
        })
    elseif not VERSIONS[version] then
        findings:add({ '_format_version' }, { code = BAD_VERSION, message = EXPECTED })
    end
end

-- Vaults: entities of Kong that give a prefix to an environment.
local function check_vaults(tree, findings)
    for i, vault in ipairs(type(tree.vaults) == 'table' and tree.vaults or {}) do
        if type(vault) ~= 'table' or vault.name ~= 'env' then
            findings:add({ 'vaults', i, 'name' }, {
                code = LATER, message = 'not supported yet: vaults other than env',
            })
        end
    end
end

--- Checks the sections that are no collections.
-- @tparam table tree
-- @tparam Findings findings
function M.check(tree, findings)
    check_version(tree, findings)
    check_vaults(tree, findings)
    local transform = tree._transform
    if transform ~= nil and transform ~= cjson.null and type(transform) ~= 'boolean' then
        findings:add_mismatch({ '_transform' }, 'true or false', transform)
    end
    local comment = tree._comment
    if comment ~= nil and comment ~= cjson.null and type(comment) ~= 'string' then
        findings:add_mismatch({ '_comment' }, 'text', comment)
    end
end

--- A file that is no map at its top.
function M.report_no_map(tree, findings)
    local is_empty = tree == cjson.null or tree == nil
    findings:add({}, {
        code = is_empty and BAD_VERSION or WRONG_TYPE,
        message = is_empty and 'the file is empty; it needs at least _format_version: "3.0"'
            or 'the file must be a map of sections, such as services: and gateway:',
    })
end

--- Vault prefix -> prefix of the environment names, for the references in the file.
-- @tparam table tree not yet expanded
-- @treturn table
function M.vaults(tree)
    local vaults = { env = '' }
    for _, vault in ipairs(type(tree.vaults) == 'table' and tree.vaults or {}) do
        if type(vault) == 'table' and vault.name == 'env' and type(vault.prefix) == 'string' then
            local config = type(vault.config) == 'table' and vault.config or {}
            vaults[vault.prefix] = type(config.prefix) == 'string' and config.prefix or ''
        end
    end
    return vaults
end

--- In files of format 1.1 and 2.1 a route path with characters outside a plain path is a regular
-- expression; since 3.0 these begin with `~`. Puts it in front.
-- @tparam table tree
-- @tparam table items of routes
function M.convert_paths(tree, items)
    if tree._format_version ~= '1.1' and tree._format_version ~= '2.1' then
        return
    end
    for _, item in ipairs(items) do
        local paths = type(item.raw.paths) == 'table' and item.raw.paths or {}
        for i, path in ipairs(paths) do
            if type(path) == 'string' and path:sub(1, 1) ~= '~'
                and path:find('[^A-Za-z0-9._~/%%-]') then
                paths[i] = '~' .. path
            end
        end
    end
end

return M
