/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real redis-server for tests, on a unix socket in a folder of its own and, if asked for, on a
 * free port of the loopback.
 *
 *     struct redis_server server;
 *     redis_server_start(&server, (const char *[]){"--requirepass", "secret", NULL});
 *     redis_server_ask(&server, "SET", "key", "value", NULL);     // its reply as text, blocking
 *     redis_server_signal(&server, SIGSTOP);
 *     redis_server_stop(&server);
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct redis_server {
    pid_t pid; /* 0: it does not run */
    char folder[64];
    char address[96]; /* "unix:/path", as the client takes it */
    const char *const *arguments;
    char reply[64 * 1024]; /* of redis_server_ask */
};

/* Waits until it answers. arguments: options of redis-server, ended by NULL; they live as long as
 * the server. */
void redis_server_start(struct redis_server *server, const char *const *arguments);
/* Ends it (SIGKILL) and keeps the folder. */
void redis_server_kill(struct redis_server *server);
/* Starts it anew in the same place. */
void redis_server_restart(struct redis_server *server);
void redis_server_signal(const struct redis_server *server, int signal);
/* Ends it and removes the folder. */
void redis_server_stop(struct redis_server *server);
/* Sends a command, ended by NULL; the reply as on the wire. Lives until the next one. */
const char *redis_server_ask(struct redis_server *server, ...);
/* The number in INFO or COMMANDSTATS behind a name ("total_reads_processed:", "cmdstat_evalsha:
 * calls="); 0 when it is not there. */
long redis_server_count(struct redis_server *server, const char *section, const char *name);
