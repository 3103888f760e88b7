-- SPDX-License-Identifier: Apache-2.0
--
-- Forms of network names: IPv4, IPv6 (RFC 4291, 2.2), CIDR ranges, host names (RFC 1123, 2.1, with
-- `_` allowed) and host:port.
local M = {}

--- @tparam string text
-- @treturn boolean is it a dotted IPv4 address without leading zeros?
function M.is_ipv4(text)
    local parts = { text:match('^(%d+)%.(%d+)%.(%d+)%.(%d+)$') }
    if #parts ~= 4 then
        return false
    end
    for _, part in ipairs(parts) do
        if #part > 3 or tonumber(part) > 255 or (#part > 1 and part:sub(1, 1) == '0') then
            return false
        end
    end
    return true
end

-- Number of 16-bit groups of one side of `::`, or nil where it is malformed.
local function count_groups(side, may_end_in_ipv4)
    if side == '' then
        return 0
    end
    local count = 0
    local rest = side
    while true do
        local group, tail = rest:match('^(%x%x?%x?%x?):(.+)$')
        count = count + 1
        if not group then
            break
        end
        rest = tail
    end
    if rest:match('^%x%x?%x?%x?$') then
        return count
    end
    return may_end_in_ipv4 and M.is_ipv4(rest) and count + 1 or nil
end

--- @tparam string text
-- @treturn boolean is it an IPv6 address, without brackets and zone?
function M.is_ipv6(text)
    local left, right = text:match('^(.-)::(.*)$')
    if not left then
        return count_groups(text, true) == 8 and text ~= ''
    end
    if right:find('::', 1, true) then
        return false
    end
    local before, after = count_groups(left, false), count_groups(right, true)
    return before ~= nil and after ~= nil and before + after <= 7
end

--- @tparam string text
-- @treturn boolean
function M.is_ip(text)
    return M.is_ipv4(text) or M.is_ipv6(text)
end

local function split_cidr(text)
    local address, bits = text:match('^(.+)/(%d%d?%d?)$')
    return address, tonumber(bits)
end

--- @tparam string text
-- @treturn boolean
function M.is_cidr_v4(text)
    local address, bits = split_cidr(text)
    return address ~= nil and bits <= 32 and M.is_ipv4(address)
end

--- @tparam string text
-- @treturn boolean is it an address with a prefix length, of either family?
function M.is_cidr(text)
    local address, bits = split_cidr(text)
    return M.is_cidr_v4(text) or (address ~= nil and bits <= 128 and M.is_ipv6(address))
end

--- A host name: labels of letters, digits, `-` and `_`, 63 bytes each and 253 together, a final dot
-- allowed. What looks like an IPv4 address must be one.
-- @tparam string text
-- @treturn boolean
function M.is_name(text)
    local name = text:gsub('%.$', '')
    if name == '' or #name > 253 or name:find('..', 1, true) or name:sub(1, 1) == '.' then
        return false
    end
    for label in name:gmatch('[^.]+') do
        if #label > 63 or not label:match('^[%w_][%w_-]*$') or label:sub(-1) == '-' then
            return false
        end
    end
    return not name:match('^[%d.]+$')
end

--- @tparam string text
-- @treturn boolean a host name or an IP address (IPv6 with or without brackets)
function M.is_host(text)
    return M.is_name(text) or M.is_ip(text) or M.is_ip(text:match('^%[(.+)%]$') or '')
end

--- Splits `host:port`, `[v6]:port`, or either without a port.
-- @tparam string text
-- @treturn ?string host, without brackets; nil where the text is malformed
-- @treturn ?number port
function M.split(text)
    local host, port = text:match('^%[(.-)%]:(%d+)$')
    if not host then
        host = text:match('^%[(.-)%]$')
    end
    if host then
        if not M.is_ipv6(host) then
            return nil
        end
    elseif M.is_ipv6(text) then
        return text
    else
        host, port = text:match('^([^:]+):(%d+)$')
        host = host or text
        if not (M.is_name(host) or M.is_ipv4(host)) then
            return nil
        end
    end
    local number = port and tonumber(port)
    if number and number > 65535 then
        return nil
    end
    return host, number
end

--- A host that may hold one `*` as its whole first or last label, and a port.
-- @tparam string text
-- @treturn boolean
function M.is_wildcard_host(text)
    local name = text:gsub(':%d+$', '')
    local port = tonumber(text:match(':(%d+)$') or 1)
    local _, stars = name:gsub('%*', '')
    if port < 1 or port > 65535 or stars > 1 then
        return false
    end
    if stars == 0 then
        return M.is_host(name)
    end
    local rest = name:match('^%*%.(.+)$') or name:match('^(.+)%.%*$')
    return rest ~= nil and (M.is_name(rest) or rest:match('^[%d.]+$') ~= nil)
end

return M
