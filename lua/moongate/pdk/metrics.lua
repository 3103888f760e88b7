-- SPDX-License-Identifier: Apache-2.0
-- moongate.metrics: a plugin's own counters, gauges and histograms, among those of the gateway on
-- `/metrics`. All workers count in shared memory; reloads and deaths of workers lose nothing.
--
--     local misses = moongate.metrics.counter('cache_misses_total', { 'kind' },
--         { help = 'answers that were not in the cache' })
--     misses:inc(1, 'image')          -- moongate_plugin_NAME_cache_misses_total{kind="image"} 1
--
-- A label's value is text of your own choosing, never a client's: of one metric there are at most
-- metrics.series sets of values, what comes later is counted in __overflow__.
local ffi = require 'ffi'
local base = require 'moongate.pdk.base'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local COUNTER, GAUGE, HISTOGRAM = 0, 1, 2 -- enum mg_metric_type
local NOWHERE = -1                        -- no shared memory (`moongate check`), or no room
local MOST_LABELS, MOST_BUCKETS, MOST_NAME = 6, 24, 95
local BUCKETS = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }

local shared = runtime.shared
local texts = ffi.new('struct mg_ffi_str[?]', MOST_LABELS)

local Counter, Gauge, Histogram = {}, {}, {}
Counter.__index, Gauge.__index, Histogram.__index = Counter, Gauge, Histogram

-- ---- declaring ---------------------------------------------------------------------------------

local function check_labels(labels, kind)
    labels = labels or {}
    base.check_type(labels, 'table', 'labels')
    if #labels > MOST_LABELS then
        base.raise(('at most %d labels'):format(MOST_LABELS))
    end
    local seen = {}
    for _, name in ipairs(labels) do
        if type(name) ~= 'string' or not name:match('^[%a_][%w_]*$') or name:match('^__')
            or #name > 31 or seen[name] or (kind == HISTOGRAM and name == 'le') then
            base.raise(('bad name of a label: %s'):format(base.printable(tostring(name))))
        end
        seen[name] = true
    end
    return labels
end

local function check_buckets(buckets)
    base.check_type(buckets, 'table', 'buckets')
    if #buckets < 1 or #buckets > MOST_BUCKETS then
        base.raise(('1 to %d buckets'):format(MOST_BUCKETS))
    end
    for i, bound in ipairs(buckets) do
        if type(bound) ~= 'number' or bound ~= bound or bound == math.huge
            or (i > 1 and bound <= buckets[i - 1]) then
            base.raise('the bounds of buckets are rising numbers')
        end
    end
    return buckets
end

local function declare(class, kind, name, labels, opts)
    base.check_type(name, 'string', 'name')
    opts = opts or {}
    base.check_type(opts, 'table', 'options')
    if not name:match('^[%a_][%w_]*$') then
        base.raise(('bad name of a metric: %s'):format(base.printable(name)))
    end
    if kind == COUNTER and not name:match('_total$') then
        base.raise(('the name of a counter ends in _total: %s_total'):format(name))
    end
    local self = setmetatable({ kind = kind, name = name, labels = check_labels(labels, kind),
        help = opts.help or name:gsub('_', ' '), series = {},
        buckets = kind == HISTOGRAM and check_buckets(opts.buckets or BUCKETS) or {} }, class)
    if runtime.plugin() then
        self:open()
    end
    return self
end

--- A counter: it only rises.
-- @tparam string name ends in `_total`; the metric is called `moongate_plugin_NAME_` and that
-- @tparam[opt] table labels list of at most 6 names
-- @tparam[opt] table opts { help = one line }
-- @treturn Counter with inc(n, values...): n is 1 where it is nil
function M.counter(name, labels, opts)
    return declare(Counter, COUNTER, name, labels, opts)
end

--- A gauge: one value for all workers, set by whoever comes last.
-- @tparam string name
-- @tparam[opt] table labels
-- @tparam[opt] table opts { help = one line }
-- @treturn Gauge with set(value, values...) and inc(n, values...): n may be negative
function M.gauge(name, labels, opts)
    return declare(Gauge, GAUGE, name, labels, opts)
end

--- A histogram.
-- @tparam string name with the unit at its end, such as `_seconds`
-- @tparam[opt] table labels
-- @tparam[opt] table opts { help = one line, buckets = list of at most 24 rising bounds }; without
-- buckets they are those of the gateway's own times, from 0.0005 to 10 s
-- @treturn Histogram with observe(value, values...)
function M.histogram(name, labels, opts)
    return declare(Histogram, HISTOGRAM, name, labels, opts)
end

-- ---- counting ----------------------------------------------------------------------------------

-- Once it is known whose it is: a plugin's file may declare what its handlers count.
local function open(self)
    local plugin = runtime.plugin()
    if not plugin then
        base.raise(('metric "%s": only the handlers of a plugin can count'):format(self.name))
    end
    local name = ('moongate_plugin_%s_%s'):format(plugin:gsub('[^%w_]', '_'), self.name)
    if #name > MOST_NAME then
        base.raise(('the name of metric %s is longer than %d bytes'):format(name, MOST_NAME))
    end
    local bounds = ffi.new('double[?]', math.max(#self.buckets, 1), self.buckets)
    local labels, help = table.concat(self.labels, ' '), tostring(self.help)
    local def = ffi.new('struct mg_ffi_metric_def', {
        name = name, help = help, labels = labels, type = self.kind, bounds = bounds,
        bound_count = #self.buckets })
    local metric = C.mg_ffi_metric_open(shared.vm, def)
    self.metric = metric < 0 and NOWHERE or metric
    if metric < 0 and metric ~= NOWHERE then
        moongate.log.err('metric ', name, ' is not counted: ',
            'there are as many metrics as there can be')
    end
end

Counter.open, Gauge.open, Histogram.open = open, open, open

-- What a set of values is remembered by; `texts` holds them for C.
local function key_of(self, ...)
    local labels, parts = self.labels, {}
    for i = 1, #labels do
        local value = (select(i, ...))
        if value == nil then
            base.raise(('metric "%s": no value for label "%s"'):format(self.name, labels[i]))
        end
        parts[i] = tostring(value)
    end
    return table.concat(parts, '\0'), parts
end

-- Kept for the next time, unless it is the series of all that have none of their own.
local function find(self, key, parts)
    for i, text in ipairs(parts) do
        texts[i - 1].ptr, texts[i - 1].len = text, #text
    end
    local series = C.mg_ffi_metric_series(shared.vm, self.metric, texts)
    if series >= 0 then
        self.series[key] = series
    end
    return series
end

local function series_of(self, ...)
    if not self.metric then
        self:open()
    end
    if self.metric == NOWHERE then
        return nil
    end
    local known = #self.labels < 2 and self.series[#self.labels == 0 and '' or (...)]
    if known then
        return known
    end
    local key, parts = key_of(self, ...)
    return self.series[key] or find(self, key, parts)
end

local function count(self, value, set, ...)
    if type(value) ~= 'number' or value ~= value then
        base.raise(('metric "%s": the value is no number'):format(self.name))
    end
    local series = series_of(self, ...)
    if series then
        C.mg_ffi_metric_count(shared.vm, self.metric, series, value, set)
    end
end

--- Adds n, or 1.
function Counter:inc(n, ...)
    n = n or 1
    if type(n) == 'number' and n < 0 then
        base.raise(('metric "%s": a counter only rises'):format(self.name))
    end
    count(self, n, 0, ...)
end

--- Sets the value.
function Gauge:set(value, ...)
    count(self, value, 1, ...)
end

--- Adds n, or 1; a negative n takes away.
function Gauge:inc(n, ...)
    count(self, n or 1, 0, ...)
end

--- Counts a value.
function Histogram:observe(value, ...)
    count(self, value, 0, ...)
end

return M
