-- SPDX-License-Identifier: Apache-2.0
-- A relay that looks at nothing: bench/programs/floor_epoll.c.
return require('bench.peers.floor').new('floor: epoll', 'bench_floor_epoll')
