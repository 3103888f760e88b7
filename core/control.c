/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control socket. A client is in one of three states: its line is being read (AT_LINE), its verb is
 * at work (AT_WORK), its answer is being written (AT_ANSWER). A slot with fd -1 is free; while none
 * is, new clients wait in the kernel's queue.
 */
#define _GNU_SOURCE
#include "control.h"

#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16
#define ANSWER_BYTES (8 * 1024 * 1024)

enum state { AT_LINE, AT_WORK, AT_ANSWER };

struct mg_control_client {
    int fd;
    enum state state;
    char line[MG_CONTROL_LINE_BYTES];
    size_t line_bytes;
    struct mg_buf answer;
    uint64_t deadline_ms; /* 0 = to be set, or none (AT_WORK) */
    uint64_t ticket;      /* 0 = awaits nothing */
};

struct mg_control {
    int fd;
    const struct mg_control_verb *verbs;
    void *context;
    struct mg_control_client clients[MG_CONTROL_CLIENTS];
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
};

/* --- opening ----------------------------------------------------------------------------- */

/* Who listens on the path: its pid, or 0 when nobody answers. */
static int pid_of_listener(const struct sockaddr_un *address)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct ucred peer = {.pid = 0};
    socklen_t length = sizeof peer;
    if (fd >= 0) {
        const int refused = connect(fd, (const struct sockaddr *)address, sizeof *address);
        if (refused && errno != EAGAIN) { /* EAGAIN: it lives, but its queue is full */
            peer.pid = 0;
        } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) || peer.pid <= 0) {
            peer.pid = 1;
        }
        close(fd);
    }
    return peer.pid;
}

static int fail(int err, const char *path, char *message, size_t message_bytes)
{
    snprintf(message, message_bytes, "cannot make the control socket %s: %s", path,
             mg_err_text(err));
    return err;
}

static int replace_stale(int fd, const struct sockaddr_un *address, char *message,
                         size_t message_bytes)
{
    struct stat info;
    const char *path = address->sun_path;
    const int pid = pid_of_listener(address);
    if (pid > 0) {
        snprintf(message, message_bytes,
                 "a gateway with this configuration is running already, pid %d (control socket %s)",
                 pid, path);
        return -EADDRINUSE;
    }
    if (lstat(path, &info) == 0 && !S_ISSOCK(info.st_mode)) {
        snprintf(message, message_bytes, "%s is in the way of the control socket", path);
        return -EEXIST;
    }
    if (unlink(path) || bind(fd, (const struct sockaddr *)address, sizeof *address)) {
        return fail(-errno, path, message, message_bytes);
    }
    return 0;
}

/* The mode is set by umask before the socket exists under its name, so it is never open to
 * others. */
static int bind_private(int fd, const struct sockaddr_un *address, char *message,
                        size_t message_bytes)
{
    const mode_t mask = umask(0177);
    int err = 0;
    if (bind(fd, (const struct sockaddr *)address, sizeof *address)) {
        err = errno == EADDRINUSE ? replace_stale(fd, address, message, message_bytes)
                                  : fail(-errno, address->sun_path, message, message_bytes);
    }
    umask(mask);
    if (!err && listen(fd, BACKLOG)) {
        err = fail(-errno, address->sun_path, message, message_bytes);
    }
    return err;
}

int mg_control_open(struct mg_control **out, const char *path, const struct mg_control_verb *verbs,
                    void *context, char *message, size_t message_bytes)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *out = NULL;
    if (strlen(path) >= sizeof address.sun_path) {
        return fail(-ENAMETOOLONG, path, message, message_bytes);
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int err = fd < 0 ? fail(-errno, path, message, message_bytes)
                           : bind_private(fd, &address, message, message_bytes);
    if (err) {
        close(fd);
        return err;
    }
    struct mg_control *control = calloc(1, sizeof *control);
    mg_require(control != NULL);
    control->fd = fd;
    control->verbs = verbs;
    control->context = context;
    memcpy(control->path, path, strlen(path) + 1);
    for (size_t i = 0; i < MG_CONTROL_CLIENTS; i++) {
        control->clients[i].fd = -1;
        mg_buf_init(&control->clients[i].answer, ANSWER_BYTES);
    }
    *out = control;
    return 0;
}

/* --- closing ----------------------------------------------------------------------------- */

static void end_client(struct mg_control_client *client)
{
    if (client->fd >= 0) {
        close(client->fd);
    }
    mg_buf_deinit(&client->answer);
    client->fd = -1;
    client->ticket = 0;
}

void mg_control_forget(struct mg_control *control)
{
    if (!control) {
        return;
    }
    for (size_t i = 0; i < MG_CONTROL_CLIENTS; i++) {
        end_client(&control->clients[i]);
    }
    close(control->fd);
    free(control);
}

void mg_control_close(struct mg_control *control)
{
    if (control) {
        unlink(control->path);
        mg_control_forget(control);
    }
}

/* --- answers ----------------------------------------------------------------------------- */

static void write_answer(struct mg_control_client *client)
{
    while (client->answer.len > 0) {
        const mg_str rest = mg_buf_view(&client->answer);
        const ssize_t sent = send(client->fd, rest.ptr, rest.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            return;
        }
        if (sent < 0 && errno != EINTR) {
            break;
        }
        mg_buf_consume(&client->answer, sent > 0 ? (size_t)sent : 0);
    }
    end_client(client);
}

void mg_control_reply(struct mg_control_client *client, int code, mg_str text)
{
    char head[64];
    const int length = snprintf(head, sizeof head, MG_CONTROL_GREETING "%d %zu\n", code, text.len);
    client->state = AT_ANSWER;
    client->deadline_ms = 0;
    client->ticket = 0;
    if (mg_buf_append(&client->answer, mg_str_make(head, (size_t)length)) ||
        mg_buf_append(&client->answer, text)) {
        end_client(client);
        return;
    }
    write_answer(client);
}

void mg_control_await(struct mg_control_client *client, uint64_t ticket)
{
    client->state = AT_WORK;
    client->deadline_ms = 0;
    client->ticket = ticket;
}

void mg_control_reply_awaiting(struct mg_control *control, uint64_t ticket, int code, mg_str text)
{
    for (size_t i = 0; control && i < MG_CONTROL_CLIENTS; i++) {
        struct mg_control_client *client = &control->clients[i];
        if (client->fd >= 0 && client->ticket > 0 && client->ticket <= ticket) {
            mg_control_reply(client, code, text);
        }
    }
}

/* --- requests ---------------------------------------------------------------------------- */

static void take_line(struct mg_control *control, struct mg_control_client *client, mg_str line)
{
    const mg_str greeting = MG_STR(MG_CONTROL_GREETING);
    if (!mg_str_starts(line, greeting)) {
        mg_control_reply(client, 2,
                         MG_STR("this gateway speaks another version of the protocol\n"));
        return;
    }
    line = mg_str_slice(line, greeting.len, line.len);
    const ptrdiff_t blank = mg_str_find(line, ' ', 0);
    const size_t split = blank < 0 ? line.len : (size_t)blank;
    const mg_str name = mg_str_slice(line, 0, split);
    for (const struct mg_control_verb *verb = control->verbs; verb->name; verb++) {
        if (mg_str_equal(name, mg_str_from(verb->name))) {
            verb->fn(control->context, client, mg_str_slice(line, split + 1, line.len));
            return;
        }
    }
    mg_control_reply(client, 2, MG_STR("this gateway does not know that command\n"));
}

static void read_line(struct mg_control *control, struct mg_control_client *client)
{
    char *place = client->line + client->line_bytes;
    const size_t room = sizeof client->line - client->line_bytes;
    const ssize_t got = recv(client->fd, place, room, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        end_client(client);
        return;
    }
    client->line_bytes += (size_t)got;
    const mg_str line = mg_str_make(client->line, client->line_bytes);
    const ptrdiff_t end = mg_str_find(line, '\n', 0);
    if (end >= 0) {
        take_line(control, client, mg_str_slice(line, 0, (size_t)end));
    } else if (client->line_bytes == sizeof client->line) {
        end_client(client);
    }
}

/* The kernel has checked the mode; this holds even if somebody has loosened it. */
static bool is_welcome(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

bool mg_control_asker(const struct mg_control_client *client, int32_t *pid, uint32_t *uid)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
        return false;
    }
    *pid = peer.pid;
    *uid = peer.uid;
    return true;
}

static struct mg_control_client *free_slot(struct mg_control *control)
{
    for (size_t i = 0; i < MG_CONTROL_CLIENTS; i++) {
        if (control->clients[i].fd < 0) {
            return &control->clients[i];
        }
    }
    return NULL;
}

static void accept_clients(struct mg_control *control)
{
    struct mg_control_client *client;
    while ((client = free_slot(control)) != NULL) {
        const int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        if (!is_welcome(fd)) {
            close(fd);
            continue;
        }
        client->fd = fd;
        client->state = AT_LINE;
        client->line_bytes = 0;
        client->deadline_ms = 0;
        client->ticket = 0;
    }
}

/* --- polling ----------------------------------------------------------------------------- */

size_t mg_control_poll(const struct mg_control *control, struct pollfd fds[MG_CONTROL_FDS])
{
    size_t count = 0;
    for (size_t i = 0; i < MG_CONTROL_CLIENTS; i++) {
        const struct mg_control_client *client = &control->clients[i];
        if (client->fd >= 0) {
            const short events =
                client->state == AT_LINE ? POLLIN : (client->state == AT_ANSWER ? POLLOUT : 0);
            fds[count++] = (struct pollfd){.fd = client->fd, .events = events};
        }
    }
    if (count < MG_CONTROL_CLIENTS) {
        fds[count++] = (struct pollfd){.fd = control->fd, .events = POLLIN};
    }
    return count;
}

static void serve_client(struct mg_control *control, struct mg_control_client *client, short events)
{
    if (events & (POLLERR | POLLNVAL) || (events & POLLHUP && client->state != AT_LINE)) {
        end_client(client);
    } else if (client->state == AT_LINE && events & (POLLIN | POLLHUP)) {
        read_line(control, client);
    } else if (client->state == AT_ANSWER && events & POLLOUT) {
        write_answer(client);
    }
}

static void check_patience(struct mg_control_client *client, uint64_t now_ms)
{
    if (client->fd < 0 || client->state == AT_WORK) {
        return;
    }
    if (client->deadline_ms == 0) {
        client->deadline_ms = now_ms + MG_CONTROL_PATIENCE_MS;
    } else if (now_ms >= client->deadline_ms) {
        end_client(client);
    }
}

void mg_control_serve(struct mg_control *control, const struct pollfd *fds, size_t count,
                      uint64_t now_ms)
{
    for (size_t at = 0; at < count; at++) {
        for (size_t i = 0; i < MG_CONTROL_CLIENTS; i++) {
            if (control->clients[i].fd == fds[at].fd && fds[at].revents) {
                serve_client(control, &control->clients[i], fds[at].revents);
                break;
            }
        }
    }
    for (size_t at = 0; at < count; at++) {
        if (fds[at].fd == control->fd && fds[at].revents) {
            accept_clients(control);
        }
    }
    for (size_t i = 0; i < MG_CONTROL_CLIENTS; i++) {
        check_patience(&control->clients[i], now_ms);
    }
}
