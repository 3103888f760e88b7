-- SPDX-License-Identifier: Apache-2.0
-- The one place that declares C functions and types: core/script/ffi.h, as the C compiler reads it.
--
--     local C = require('moongate.runtime.ffi').C
--     C.mg_ffi_sched_now(shared.vm)
local ffi = require 'ffi'
local boot = require 'moongate.runtime.boot'

ffi.cdef(boot.ffi_source)

return {
    C = ffi.C,
    --- struct mg_ffi_shared *, what C and Lua tell each other about the running code.
    shared = ffi.cast('struct mg_ffi_shared *', boot.shared),
}
