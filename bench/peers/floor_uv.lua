-- SPDX-License-Identifier: Apache-2.0
-- A relay that looks at nothing: bench/programs/floor_uv.c.
return require('bench.peers.floor').new('floor: libuv', 'bench_floor_uv')
