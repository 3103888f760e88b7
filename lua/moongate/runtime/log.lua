-- SPDX-License-Identifier: Apache-2.0
-- Lines of the error log for the runtime itself. Plugins use moongate.log.
local boot = require 'moongate.runtime.boot'

local M = {}

local LEVELS = { err = 3, warn = 4, notice = 5, info = 6, debug = 7 }

for name, level in pairs(LEVELS) do
    M[name] = function(text, ...)
        boot.log(level, 'runtime', select('#', ...) > 0 and text:format(...) or text)
    end
end

return M
