-- SPDX-License-Identifier: Apache-2.0
-- The option `custom_fields_by_lua`, for the schemas of the plugins with Kong's names.
local function check_code(code)
    local chunk, err = loadstring(code, '=code')
    return chunk ~= nil, err
end

local function check_name(name)
    for part in (name .. '.'):gmatch('([^.]*)%.') do
        if not part:match('^[%w_-]+$') then
            return nil, 'expected letters, digits, _ and -, nested with dots'
        end
    end
    return true
end

-- None inside another: a and a.b cannot both be.
local function check_all(custom)
    for name in pairs(custom) do
        for other in pairs(custom) do
            if other:sub(1, #name + 1) == name .. '.' then
                return nil, ("'%s' and '%s' cannot both be"):format(name, other)
            end
        end
    end
    return true
end

return { type = 'map', keys = { type = 'string', custom_validator = check_name },
    values = { type = 'string', custom_validator = check_code }, custom_validator = check_all,
    description = 'fields by name: Lua code that returns the value; nil: the line has none' }
