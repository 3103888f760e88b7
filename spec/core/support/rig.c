/* SPDX-License-Identifier: Apache-2.0 */
/* The rig of spec/core/flow: a gateway of one route in a process of its own. */
#define _GNU_SOURCE /* accept4; NOLINT(bugprone-reserved-identifier): the C library's own switch */
#include "support/rig.h"

#include "model/retry.h"
#include "model/route.h"
#include "support/sockets.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void set_limits(struct mg_limits *limits)
{
    *limits = (struct mg_limits){.header_timeout = 10000,
                                 .body_timeout = 15000,
                                 .body_total_timeout = 300000,
                                 .body_min_rate = 1024,
                                 .send_timeout = 30000,
                                 .keepalive_timeout = 65000,
                                 .tunnel_timeout = 600000,
                                 .connect_timeout = 2000,
                                 .read_timeout = 60000,
                                 .write_timeout = 60000,
                                 .query_args = 100,
                                 .cookies = 100,
                                 .request_head = {8192, 32768, 8192, 256, 100},
                                 .response_head = {8192, 65536, 65536, 256, 200},
                                 .chunk = {64, 4096, 20, 8192},
                                 .interim_responses = 8,
                                 .request_body = 10U << 20,
                                 .request_buffer = 65536,
                                 .response_buffer = 8U << 20,
                                 .connections = 1000,
                                 .connection_requests = 10000,
                                 .regex_match_limit = 100000};
}

static struct mg_config *make_config(const struct rig *rig)
{
    struct mg_config *config = mg_config_new();
    struct mg_arena *arena = &config->arena;
    set_limits(&config->gateway.limits);
    config->gateway.upstream_defaults = (struct mg_upstream_settings){.keepalive = 64,
                                                                      .keepalive_idle = 55000,
                                                                      .limits = {1024, 128, 1024},
                                                                      .retry = mg_retry_usual()};
    config->gateway.headers.request_id = MG_STR("X-Request-ID");
    config->gateway.headers.request_id_kind = MG_HEADER_X_REQUEST_ID;
    config->gateway.headers.via = MG_STR("moongate");
    config->gateway.headers.via_1_1 = MG_STR("1.1 moongate");
    config->services = mg_arena_zalloc(arena, sizeof *config->services);
    config->service_count = 1;
    config->services[0] = (struct mg_service){.id = MG_STR("s"),
                                              .name = MG_STR("service"),
                                              .host = MG_STR("127.0.0.1"),
                                              .port = rig->upstream_port,
                                              .connect_timeout = 2000,
                                              .read_timeout = 60000,
                                              .write_timeout = 60000,
                                              .retries = -1,
                                              .enabled = true,
                                              .settings = config->gateway.upstream_defaults};
    config->routes = mg_arena_zalloc(arena, sizeof *config->routes);
    config->route_count = 1;
    struct mg_route_path *path = mg_arena_zalloc(arena, sizeof *path);
    path->text = MG_STR("/");
    config->routes[0] = (struct mg_route){.id = MG_STR("r"),
                                          .name = MG_STR("route"),
                                          .service = &config->services[0],
                                          .paths = path,
                                          .path_count = 1,
                                          .strip_path = false,
                                          .request_buffering = true,
                                          .response_buffering = true,
                                          .http = true,
                                          .https = true,
                                          .websocket = true,
                                          .limits = &config->gateway.limits};
    return config;
}

struct gateway {
    struct mg_loop loop;
    struct mg_server server;
};

static void before_poll(void *context)
{
    mg_server_turn_end(&((struct gateway *)context)->server);
}

static void run_gateway(struct rig *rig, int fd, rig_configure *configure)
{
    static struct gateway gateway;
    static struct mg_generation generation;
    char message[256];
    struct mg_config *config = make_config(rig);
    if (configure) {
        configure(config);
    }
    mg_require(mg_router_compile(config, message, sizeof message) == 0);
    generation = (struct mg_generation){.number = 1, .config = config, .references = 1};
    generation.peers = mg_peers_new(config, NULL);
    mg_require(mg_loop_open(&gateway.loop) == 0);
    gateway.loop.before_poll = before_poll;
    gateway.loop.context = &gateway;
    struct mg_dns *dns;
    struct mg_pool *pool;
    const struct mg_dns_options options = {.timeout_ms = 2000, .tries = 2};
    mg_require(mg_dns_open(&dns, &gateway.loop, &options) == 0);
    mg_require(mg_pool_open(&pool, &gateway.loop, dns) == 0);
    const struct mg_server_parts parts = {.loop = &gateway.loop,
                                          .stats = (struct mg_stats *)rig->stats,
                                          .pool = pool,
                                          .connection_limit = config->gateway.limits.connections};
    mg_server_open(&gateway.server, &parts);
    mg_server_use(&gateway.server, &generation);
    mg_require(mg_server_listen(&gateway.server, fd, false, 0) == 0);
    mg_loop_run(&gateway.loop);
    _exit(0);
}

void rig_start(struct rig *rig, rig_configure *configure)
{
    *rig = (struct rig){.pid = -1};
    signal(SIGPIPE, SIG_IGN);
    rig->stats = mmap(NULL, sizeof(struct mg_stats), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(rig->stats != MAP_FAILED);
    rig->upstream_fd = sockets_listen(&rig->upstream_port);
    struct mg_listen_address address;
    char message[256];
    assert_int_equal(mg_listen_parse(MG_STR("127.0.0.1:0"), &address), 0);
    const int fd = mg_listen_bind(&address, 128, message, sizeof message);
    assert_true(fd >= 0);
    rig->port = mg_listen_port(fd);
    rig->pid = fork();
    assert_true(rig->pid >= 0);
    if (rig->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(rig->upstream_fd);
        run_gateway(rig, fd, configure);
    }
    close(fd);
}

void rig_stop(struct rig *rig)
{
    int status = 0;
    const pid_t died = waitpid(rig->pid, &status, WNOHANG);
    if (died == 0) {
        kill(rig->pid, SIGKILL);
        waitpid(rig->pid, &status, 0);
    }
    for (int i = 0; i < rig->open_count; i++) {
        if (rig->open[i] >= 0) {
            close(rig->open[i]);
        }
    }
    close(rig->upstream_fd);
    munmap((void *)rig->stats, sizeof(struct mg_stats));
    assert_int_equal(died, 0); /* it must not have ended by itself */
}

static int keep(struct rig *rig, int fd)
{
    assert_true(fd >= 0);
    for (int i = 0; i < rig->open_count; i++) {
        if (rig->open[i] < 0) {
            rig->open[i] = fd;
            return fd;
        }
    }
    assert_true(rig->open_count < 64);
    rig->open[rig->open_count++] = fd;
    return fd;
}

int rig_client(struct rig *rig)
{
    return keep(rig, sockets_connect(rig->port));
}

static int readable_within(int fd, int ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, ms) == 1;
}

int rig_accept(struct rig *rig)
{
    assert_true(readable_within(rig->upstream_fd, RIG_TIMEOUT_S * 1000));
    return keep(rig, accept4(rig->upstream_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int rig_connects_within(struct rig *rig, int ms)
{
    return readable_within(rig->upstream_fd, ms);
}

void rig_close(struct rig *rig, int fd)
{
    for (int i = 0; i < rig->open_count; i++) {
        if (rig->open[i] == fd) {
            rig->open[i] = -1;
        }
    }
    close(fd);
}

void rig_reset(struct rig *rig, int fd)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    rig_close(rig, fd);
}

void rig_expect_stat(const struct rig *rig, enum mg_stat which, uint64_t value)
{
    for (int i = 0; i < RIG_TIMEOUT_S * 1000 && rig->stats->value[which] != value; i++) {
        usleep(1000); /* another process counts: there is nothing to wait on */
    }
    assert_int_equal(rig->stats->value[which], value);
}

void rig_send_bytes(int fd, const void *bytes, size_t count)
{
    const char *at = bytes;
    while (count > 0) {
        const ssize_t wrote = write(fd, at, count);
        if (wrote < 0) {
            assert_int_equal(errno, EAGAIN);
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            assert_int_equal(poll(&wait, 1, RIG_TIMEOUT_S * 1000), 1);
            continue;
        }
        at += wrote;
        count -= (size_t)wrote;
    }
}

void rig_send(int fd, const char *text)
{
    rig_send_bytes(fd, text, strlen(text));
}

void rig_send_slowly(int fd, const char *text)
{
    for (; *text; text++) {
        rig_send_bytes(fd, text, 1);
        usleep(200); /* lets the gateway see the bytes one by one; not a synchronisation */
    }
}

size_t rig_read_until(int fd, char *into, size_t size, const char *marker)
{
    size_t length = 0;
    const size_t marker_length = strlen(marker);
    while (length < marker_length ||
           memcmp(into + length - marker_length, marker, marker_length) != 0) {
        assert_true(length + 1 < size);
        rig_read(fd, into + length, 1);
        length++;
    }
    into[length] = '\0';
    return length;
}

void rig_read(int fd, void *into, size_t count)
{
    char *at = into;
    while (count > 0) {
        const ssize_t got = read(fd, at, count);
        if (got < 0 && errno == EAGAIN) {
            assert_true(readable_within(fd, RIG_TIMEOUT_S * 1000));
            continue;
        }
        assert_true(got > 0);
        at += got;
        count -= (size_t)got;
    }
}

ssize_t rig_read_to_end(int fd, char *into, size_t size)
{
    size_t length = 0;
    for (;;) {
        assert_true(readable_within(fd, RIG_TIMEOUT_S * 1000));
        assert_true(length + 1 < size);
        const ssize_t got = read(fd, into + length, size - 1 - length);
        if (got <= 0) {
            into[length] = '\0';
            return got < 0 ? -1 : (ssize_t)length;
        }
        length += (size_t)got;
    }
}

int rig_is_silent(int fd, int ms)
{
    return !readable_within(fd, ms);
}
