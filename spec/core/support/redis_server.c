/* SPDX-License-Identifier: Apache-2.0 */
/* A real server, and a plain blocking client to look into it. */
#include "support/redis_server.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_S 20
#define ARGUMENTS 64

static const char *path_of(const struct redis_server *server)
{
    return server->address + strlen("unix:");
}

static int try_connect(const struct redis_server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path_of(server));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(fd, errno);
    assert_return_code(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), errno);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void exec_server(const struct redis_server *server)
{
    const char *argv[ARGUMENTS] = {
        "redis-server",  "--port",     "0",      "--save",       "",
        "--appendonly",  "no",         "--dir",  server->folder, "--unixsocket",
        path_of(server), "--loglevel", "warning"};
    size_t count = 13;
    for (const char *const *at = server->arguments; at && *at && count < ARGUMENTS - 1; at++) {
        argv[count++] = *at;
    }
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

void redis_server_restart(struct redis_server *server)
{
    unlink(path_of(server));
    server->pid = fork();
    assert_return_code(server->pid, errno);
    if (server->pid == 0) {
        exec_server(server);
    }
    const time_t give_up = time(NULL) + PATIENCE_S;
    int fd = -1;
    while (fd < 0) {
        assert_true(time(NULL) < give_up);
        assert_int_equal(waitpid(server->pid, NULL, WNOHANG), 0); /* is redis-server installed? */
        fd = try_connect(server);
        if (fd < 0) {
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* between two looks */
        }
    }
    close(fd);
}

void redis_server_start(struct redis_server *server, const char *const *arguments)
{
    *server = (struct redis_server){.folder = "/tmp/moongate-redis-XXXXXX", .arguments = arguments};
    assert_non_null(mkdtemp(server->folder));
    snprintf(server->address, sizeof server->address, "unix:%s/socket", server->folder);
    redis_server_restart(server);
}

void redis_server_kill(struct redis_server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
        server->pid = 0;
    }
}

void redis_server_signal(const struct redis_server *server, int signal)
{
    assert_return_code(kill(server->pid, signal), errno);
}

void redis_server_stop(struct redis_server *server)
{
    redis_server_kill(server);
    unlink(path_of(server));
    rmdir(server->folder);
}

/* --- the plain client ------------------------------------------------------------------------- */

static size_t write_command(char *out, size_t room, const char *const *words, size_t count)
{
    int at = snprintf(out, room, "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++) {
        at += snprintf(out + at, room - (size_t)at, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    }
    return (size_t)at;
}

/* Reads one reply: to the end of its line, and of its text. */
static void read_reply(struct redis_server *server, int fd)
{
    size_t bytes = 0, wanted = 0;
    while (wanted == 0 || bytes < wanted) {
        const ssize_t got = read(fd, server->reply + bytes, sizeof server->reply - 1 - bytes);
        assert_true(got > 0);
        bytes += (size_t)got;
        server->reply[bytes] = '\0';
        const char *line = strstr(server->reply, "\r\n");
        if (line && wanted == 0) {
            wanted = (size_t)(line + 2 - server->reply);
            const long text = server->reply[0] == '$' ? strtol(server->reply + 1, NULL, 10) : -1;
            wanted += text >= 0 ? (size_t)text + 2 : 0;
            assert_true(wanted < sizeof server->reply);
        }
    }
}

const char *redis_server_ask(struct redis_server *server, ...)
{
    const char *words[ARGUMENTS];
    char command[16 * 1024];
    size_t count = 0;
    va_list arguments;
    va_start(arguments, server);
    while (count < ARGUMENTS && (words[count] = va_arg(arguments, const char *))) {
        count++;
    }
    va_end(arguments);
    const size_t length = write_command(command, sizeof command, words, count);
    const int fd = try_connect(server);
    assert_return_code(fd, errno);
    assert_int_equal(write(fd, command, length), (ssize_t)length);
    read_reply(server, fd);
    close(fd);
    return server->reply;
}

long redis_server_count(struct redis_server *server, const char *section, const char *name)
{
    const char *info = redis_server_ask(server, "INFO", section, NULL);
    const char *found = strstr(info, name);
    return found ? strtol(found + strlen(name), NULL, 10) : 0;
}
