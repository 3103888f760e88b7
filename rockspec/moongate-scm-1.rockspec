-- SPDX-License-Identifier: Apache-2.0
--
-- The Lua side of Moongate and its plugins, for `luarocks make` in a checkout: to read, to lint
-- and to test plugins against. They run inside the binary, which CMake builds. The modules are
-- written by tools/gen_rockspec.lua and checked by spec/lua/rockspec_spec.lua.
rockspec_format = '3.0'
package = 'moongate'
version = 'scm-1'
source = {
    url = 'git+https://moongate.invalid/moongate.git',
}
description = {
    summary = 'Lua policies, plugin interface and test harness of the Moongate API gateway',
    license = 'Apache-2.0',
}
dependencies = {
    'lua == 5.1',
}
test_dependencies = {
    'busted >= 2.1',
}
build = {
    type = 'builtin',
    modules = {
    },
}
