/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets. accept4 gives fd and address in one system call. The watch is level-triggered:
 * what one event does not accept, the next poll tells of again.
 *
 * Out of file descriptors the kernel keeps reporting the waiting connection, which would make the
 * loop spin. So one descriptor is held in reserve: it is closed, one connection accepted and
 * refused, and accepting rests for 100 ms.
 */
#define _GNU_SOURCE /* accept4; NOLINT(bugprone-reserved-identifier): the C library's own switch */
#include "net/listen.h"

#include "base/stats.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PAUSE_MS 100          /* without descriptors or memory for a new connection */
#define ACCEPTS_PER_EVENT 256 /* then the connections we have get their turn */

/* --- addresses -------------------------------------------------------------------------------- */

static bool parse_port(mg_str text, in_port_t *port)
{
    uint64_t value;
    if (!mg_str_to_u64(text, &value) || value > UINT16_MAX) {
        return false;
    }
    *port = htons((uint16_t)value);
    return true;
}

static int parse_unix(mg_str path, struct mg_listen_address *out)
{
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&out->sockaddr;
    if (path.len < 2 || path.len >= sizeof un->sun_path || memchr(path.ptr, 0, path.len)) {
        return MG_EINVALID;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path.ptr, path.len);
    out->is_unix = true;
    out->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len);
    if (path.ptr[0] == '@') {
        un->sun_path[0] = '\0'; /* abstract: the length ends the name */
    } else {
        out->length++;
    }
    return 0;
}

/* Splits at the last colon: "host:port", "[v6]:port". */
static int parse_tcp(mg_str text, struct mg_listen_address *out)
{
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':') {
        colon--;
    }
    char host[INET6_ADDRSTRLEN];
    const mg_str port = mg_str_slice(text, colon, text.len);
    mg_str name = mg_str_slice(text, 0, colon > 0 ? colon - 1 : 0);
    const bool is_v6 = name.len > 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']';
    name = is_v6 ? mg_str_slice(name, 1, name.len - 1) : name;
    if (name.len == 0 || name.len >= sizeof host) {
        return MG_EINVALID;
    }
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&out->sockaddr;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&out->sockaddr;
    out->sockaddr.ss_family = is_v6 ? AF_INET6 : AF_INET;
    out->length = is_v6 ? sizeof *in6 : sizeof *in;
    void *address = is_v6 ? (void *)&in6->sin6_addr : (void *)&in->sin_addr;
    const bool valid = inet_pton(out->sockaddr.ss_family, host, address) == 1 &&
                       parse_port(port, is_v6 ? &in6->sin6_port : &in->sin_port);
    return valid ? 0 : MG_EINVALID;
}

int mg_listen_parse(mg_str text, struct mg_listen_address *out)
{
    *out = (struct mg_listen_address){.is_unix = false};
    if (text.len >= sizeof out->text) {
        return MG_EINVALID;
    }
    if (text.len > 0) {
        memcpy(out->text, text.ptr, text.len);
    }
    const mg_str prefix = MG_STR("unix:");
    return mg_str_starts(text, prefix) ? parse_unix(mg_str_slice(text, prefix.len, text.len), out)
                                       : parse_tcp(text, out);
}

/* --- binding ---------------------------------------------------------------------------------- */

static int explain(const struct mg_listen_address *address, int err, char *message, size_t bytes)
{
    const char *text = address->text;
    switch (-err) {
    case EADDRINUSE:
        snprintf(message, bytes, "%s is in use by another process", text);
        break;
    case EACCES:
    case EPERM:
        snprintf(message, bytes, "%s: this user may not listen there%s", text,
                 address->is_unix ? "" : " (ports below 1024 need CAP_NET_BIND_SERVICE)");
        break;
    case EADDRNOTAVAIL:
        snprintf(message, bytes, "%s: no network interface here has this address", text);
        break;
    case EAFNOSUPPORT:
        snprintf(message, bytes, "%s: this system has no IPv6", text);
        break;
    case ENOENT:
        snprintf(message, bytes, "%s: the folder of the socket does not exist", text);
        break;
    default:
        snprintf(message, bytes, "cannot listen on %s: %s", text, mg_err_text(err));
    }
    return err;
}

static int new_socket(const struct mg_listen_address *address)
{
    const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    const int fd = socket(address->sockaddr.ss_family, type, 0);
    return fd < 0 ? -errno : fd;
}

static int bind_to(int fd, const struct mg_listen_address *address)
{
    const struct sockaddr *sockaddr = (const struct sockaddr *)&address->sockaddr;
    return bind(fd, sockaddr, address->length) ? -errno : 0;
}

/* Whether the path is a socket on which nobody answers. */
static bool is_stale(const struct mg_listen_address *address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&address->sockaddr;
    struct stat info;
    if (un->sun_path[0] == '\0' || lstat(un->sun_path, &info) || !S_ISSOCK(info.st_mode)) {
        return false;
    }
    const int fd = new_socket(address);
    if (fd < 0) {
        return false;
    }
    const bool refused =
        connect(fd, (const struct sockaddr *)un, address->length) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int bind_unix(int fd, const struct mg_listen_address *address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&address->sockaddr;
    const int err = bind_to(fd, address);
    if (err != -EADDRINUSE || !is_stale(address)) {
        return err;
    }
    return unlink(un->sun_path) ? -errno : bind_to(fd, address);
}

static int set_on(int fd, int level, int option)
{
    const int on = 1;
    return setsockopt(fd, level, option, &on, sizeof on) ? -errno : 0;
}

/* The options are inherited by accepted connections where that matters (TCP_NODELAY). */
static int bind_tcp(int fd, const struct mg_listen_address *address, bool shared)
{
    int err = set_on(fd, SOL_SOCKET, SO_REUSEADDR);
    if (!err && shared) {
        err = set_on(fd, SOL_SOCKET, SO_REUSEPORT);
    }
    if (!err) {
        err = set_on(fd, IPPROTO_TCP, TCP_NODELAY);
    }
    if (!err && address->sockaddr.ss_family == AF_INET6) {
        err = set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    }
    return err ? err : bind_to(fd, address);
}

static int bind_listening(const struct mg_listen_address *address, bool shared, int backlog,
                          char *message, size_t message_bytes)
{
    const int fd = new_socket(address);
    if (fd < 0) {
        return explain(address, fd, message, message_bytes);
    }
    int err = address->is_unix ? bind_unix(fd, address) : bind_tcp(fd, address, shared);
    if (!err && listen(fd, backlog)) {
        err = -errno;
    }
    if (err) {
        close(fd);
        return explain(address, err, message, message_bytes);
    }
    return fd;
}

int mg_listen_bind(const struct mg_listen_address *address, int backlog, char *message,
                   size_t message_bytes)
{
    return bind_listening(address, true, backlog, message, message_bytes);
}

int mg_listen_bind_alone(const struct mg_listen_address *address, int backlog, char *message,
                         size_t message_bytes)
{
    return bind_listening(address, false, backlog, message, message_bytes);
}

int mg_listen_probe(const struct mg_listen_address *address, char *message, size_t message_bytes)
{
    if (address->is_unix) {
        return 0;
    }
    const int fd = new_socket(address);
    if (fd < 0) {
        return explain(address, fd, message, message_bytes);
    }
    const int err = bind_tcp(fd, address, false);
    close(fd);
    return err ? explain(address, err, message, message_bytes) : 0;
}

void mg_listen_unlink(const struct mg_listen_address *address)
{
    const char *path = address->text + strlen("unix:");
    if (address->is_unix && path[0] != '@') {
        unlink(path);
    }
}

uint16_t mg_listen_port(int fd)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof storage;
    struct mg_address address;
    (void)getsockname(fd, (struct sockaddr *)&storage, &length);
    mg_address_set(&address, (const struct sockaddr *)&storage);
    return address.port;
}

/* --- accepting -------------------------------------------------------------------------------- */

struct mg_listener {
    struct mg_watch watch;
    struct mg_loop *loop;
    struct mg_loop_task end;
    struct mg_deadline resume;
    struct mg_stats *stats; /* NULL: nobody counts */
    mg_accept_fn *on_accept;
    void *context;
    int fd;
    int reserve; /* a descriptor to give up when there are no others, -1 = given up */
    bool is_unix, is_closing;
};

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void rest(struct mg_listener *listener);

static void on_resume(struct mg_deadline *deadline)
{
    struct mg_listener *listener = MG_CONTAINER(deadline, struct mg_listener, resume);
    if (mg_loop_watch(listener->loop, &listener->watch, listener->fd, EPOLLIN)) {
        rest(listener); /* the kernel's memory for watches */
    }
}

/* Not watched at all: of a listener that somebody has shut down epoll would tell in each turn. */
static void rest(struct mg_listener *listener)
{
    struct mg_loop *loop = listener->loop;
    if (listener->watch.fd >= 0) {
        mg_loop_unwatch(loop, &listener->watch);
    }
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, PAUSE_MS), &listener->resume, on_resume,
                    mg_loop_now_ms(loop));
}

/* The one that has waited longest is told at once instead of hanging. */
static void refuse_one(struct mg_listener *listener)
{
    if (listener->reserve >= 0) {
        close(listener->reserve);
        const int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
        }
    }
    listener->reserve = open_reserve();
}

/* Whether to go on after a failed accept. */
static bool survive(struct mg_listener *listener, int err)
{
    switch (err) {
    case EAGAIN:
        return false;
    case EINTR:
    case ECONNABORTED:
    case EPROTO: /* accept(2): pending network errors of the new connection; try the next */
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
        return true;
    case EMFILE:
    case ENFILE:
        refuse_one(listener);
        rest(listener);
        return false;
    default: /* no memory, or worse: do not spin */
        rest(listener);
        return false;
    }
}

/* Whatever the events: accept tells what is wrong. */
static void on_ready(struct mg_watch *watch, uint32_t events)
{
    (void)events;
    struct mg_listener *listener = MG_CONTAINER(watch, struct mg_listener, watch);
    mg_loop_wake(listener->loop);
    for (int i = 0; i < ACCEPTS_PER_EVENT && !listener->is_closing; i++) {
        struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
        socklen_t length = sizeof from;
        struct sockaddr *sockaddr = (struct sockaddr *)&from;
        const int fd = accept4(listener->fd, sockaddr, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            struct mg_address peer;
            sockaddr->sa_family = listener->is_unix ? AF_UNIX : sockaddr->sa_family;
            mg_address_set(&peer, sockaddr);
            listener->on_accept(listener->context, fd, &peer);
        } else {
            const int err = errno;
            if (listener->stats && err != EAGAIN && err != EINTR) {
                mg_stats_add(listener->stats, MG_STAT_ACCEPT_ERRORS, 1);
            }
            if (!survive(listener, err)) {
                return;
            }
        }
    }
}

static void on_closed(struct mg_loop_task *end)
{
    free(MG_CONTAINER(end, struct mg_listener, end));
}

int mg_listener_open(struct mg_listener **out, struct mg_loop *loop, int fd, bool is_unix,
                     mg_accept_fn *on_accept, void *context)
{
    struct mg_listener *listener = malloc(sizeof *listener);
    mg_require(listener != NULL);
    *listener = (struct mg_listener){.watch.fn = on_ready,
                                     .loop = loop,
                                     .end.fn = on_closed,
                                     .on_accept = on_accept,
                                     .context = context,
                                     .fd = fd,
                                     .reserve = -1,
                                     .is_unix = is_unix};
    mg_deadline_init(&listener->resume);
    mg_link_init(&listener->end.link);
    const int err = mg_loop_watch(loop, &listener->watch, fd, EPOLLIN);
    if (err) {
        free(listener);
        *out = NULL;
        return err;
    }
    listener->reserve = open_reserve();
    *out = listener;
    return 0;
}

void mg_listener_count(struct mg_listener *listener, struct mg_stats *stats)
{
    listener->stats = stats;
}

void mg_listener_close(struct mg_listener *listener)
{
    if (listener->is_closing) {
        return;
    }
    listener->is_closing = true;
    mg_deadline_cancel(&listener->resume);
    if (listener->watch.fd >= 0) {                         /* it does not rest */
        mg_loop_unwatch(listener->loop, &listener->watch); /* the master has the socket, too */
    }
    close(listener->fd);
    mg_loop_end_later(listener->loop, &listener->end);
    if (listener->reserve >= 0) {
        close(listener->reserve);
    }
}
