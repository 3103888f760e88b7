-- SPDX-License-Identifier: Apache-2.0
--
-- luajit tools/busted.lua [BUSTED OPTIONS] FILE...
--
-- busted under LuaJIT, which the distribution's own command does not use, with the modules of
-- lua/ and plugins/ in reach (tools/modules.lua says how). Run from the root of the tree.
package.path = './?.lua;' .. package.path
require('tools.modules').use(arg)
require('busted.runner')({ standalone = false })
