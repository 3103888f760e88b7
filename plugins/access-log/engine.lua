-- SPDX-License-Identifier: Apache-2.0
-- An entry of the access log at work, for the plugin itself and for the fronts with Kong's names.
local moongate = moongate
local access_log = require 'moongate.access_log'
local choice = require 'moongate.plugins.access-log.choice'
local custom = require 'moongate.plugins.access-log.custom'
local delivery = require 'moongate.plugins.access-log.delivery'
local scope = require 'moongate.plugins.access-log.scope'
local settings = require 'moongate.plugins.access-log.settings'

local M = {}

local Entry = {}
Entry.__index = Entry

local function warn(conf)
    if conf.redact.replace then
        moongate.log.warn('redact.replace: the built-in lists of secrets are off')
    end
    local hashes = conf.redact.action == 'hash' or conf.client_ip == 'hash'
    if hashes and not conf.redact.key then
        moongate.log.warn('redact.key is not set: hashes differ from start to start')
    end
end

local function opened(log, err)
    if not log then
        error(err, 0)
    end
    return log
end

--- Opens the sinks of a checked configuration of access-log. Raises what is wrong with a file.
-- @tparam table conf
-- @treturn table
function M.open(conf)
    local computed = custom.are_computed(conf.custom_fields)
    local entry = setmetatable({ logs = {}, choice = choice.new(conf),
        severities = conf.severities }, Entry)
    if computed or scope.is_expression(conf.when) then
        entry.reader = opened(access_log.reader(settings.reader(conf)))
    end
    if computed then
        entry.custom = custom.new(conf.custom_fields, entry.reader, conf.custom_env)
    end
    for i, one in ipairs(settings.of(conf, ngx.worker.count())) do
        entry.logs[i] = opened(access_log.open(one))
        if conf.sinks[i].type == 'lua' then
            delivery.start(entry.logs[i], conf.sinks[i]['function'], one.sink.flush)
        end
    end
    warn(conf)
    return entry
end

local function severity_of(severities)
    local status = access_log.about().status
    return status >= 500 and severities.server or status >= 400 and severities.client
        or severities.fine
end

--- Writes the lines of the running request, if it gets any.
function Entry:log()
    local record = self.reader and self.reader:read()
    local takes, members = self.choice:take(record)
    if not takes then
        return
    end
    if self.custom then
        members = self.custom:members(record) .. members
    end
    local severity = self.severities and severity_of(self.severities) or nil
    if severity and severity > self.severities.most then
        access_log.filtered('when')
        return
    end
    for _, log in ipairs(self.logs) do
        log:write(severity, members)
    end
end

--- The plan of the log phase, where each request gets its lines without a look at it.
-- @treturn cdata|nil
function Entry:plan()
    local looks = self.reader or self.severities or not self.choice:is_all()
    self.planned = self.planned or not looks and access_log.plan(self.logs) or nil
    return self.planned
end

return M
