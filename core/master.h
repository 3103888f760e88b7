/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The master process of `moongate run`: checks the configuration in a forked checker, takes the
 * listeners and the shared memory, forks the workers and keeps them alive, reloads, drains. It has
 * no event loop of libuv and no Lua, and reads no peer's bytes but those of its owner's control
 * socket.
 *
 *   SIGTERM SIGINT SIGQUIT   drain, then end; a second one ends now
 *   SIGHUP                   reload             SIGUSR1   open the logs anew
 *   SIGUSR2                  not supported yet (upgrade)
 */
#pragma once

struct mg_run_options {
    const char *config;
    const char *control; /* path of the control socket; NULL: by the configuration's name */
};

/* Until the gateway has ended. The exit code (enum mg_exit). */
int mg_master_run(const struct mg_run_options *options);
