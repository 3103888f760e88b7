#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tools/fetch_peers.sh
#
# Gets what `script/bench peers` compares with: Debian's HAProxy and nginx module for Lua, unpacked
# into .deps/peers (installed, the module's LuaJIT would drive out the one that we build with), and
# the gateways of npm, in the versions of bench/node/package-lock.json, into build/bench-node.
# Nothing is installed in the system, and neither build nor tests need any of it.
. "$(dirname "$0")/common.sh"

packages=(haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libnginx-mod-http-lua
    libnginx-mod-http-ndk lua-resty-core lua-resty-lrucache libluajit2-5.1-2 lua-nginx-redis)

fetch_debian() {
    local work package
    mkdir -p .deps
    work="$(mktemp -d "$root/.deps/fetch.XXXXXX")"
    # shellcheck disable=SC2064  # the folder's name of now
    trap "rm -rf '$work'" EXIT
    (cd "$work" && apt-get download -q "${packages[@]}")
    mkdir "$work/peers"
    for package in "$work"/*.deb; do
        dpkg -x "$package" "$work/peers"
        # shellcheck disable=SC2016  # the fields are dpkg-deb's
        dpkg-deb -W --showformat='${Package} ${Version}\n' "$package" >>"$work/peers/versions"
    done
    rm -rf .deps/peers
    mv "$work/peers" .deps/peers
    chmod 755 .deps/peers
}

fetch_npm() {
    mkdir -p build/bench-node
    cp bench/node/package.json bench/node/package-lock.json build/bench-node/
    (cd build/bench-node && npm ci --no-audit --no-fund --ignore-scripts)
}

fetch_debian
if command -v npm >/dev/null; then
    fetch_npm
else
    say 'fetch_peers: npm is not installed, so the gateways that run on Node are left out'
fi
