/* SPDX-License-Identifier: Apache-2.0 */
/* Listening: addresses, binding and its messages, accepting, and running out of descriptors. */
#include "net/listen.h"

#include "support/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct mg_listen_address parse(const char *text)
{
    struct mg_listen_address address;
    assert_int_equal(mg_listen_parse(mg_str_from(text), &address), 0);
    assert_string_equal(address.text, text);
    return address;
}

static void parses_the_three_forms(void **state)
{
    (void)state;
    struct mg_listen_address address = parse("127.0.0.1:8000");
    struct mg_address text;
    mg_address_set(&text, (struct sockaddr *)&address.sockaddr);
    assert_string_equal(text.ip, "127.0.0.1");
    assert_int_equal(text.port, 8000);
    assert_false(address.is_unix);
    address = parse("[::1]:65535");
    mg_address_set(&text, (struct sockaddr *)&address.sockaddr);
    assert_string_equal(text.ip, "::1");
    assert_int_equal(text.port, 65535);
    address = parse("unix:/run/x.sock");
    assert_true(address.is_unix);
    assert_int_equal(address.length, offsetof(struct sockaddr_un, sun_path) + 12);
    address = parse("unix:@name");
    assert_int_equal(address.length, offsetof(struct sockaddr_un, sun_path) + 5);
}

static void refuses_what_is_no_address(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",         "8000",       ":8000",         "127.0.0.1",    "127.0.0.1:",
        "1.2.3:80", "1.2.3.4:-1", "1.2.3.4:65536", "1.2.3.4:80x",  "localhost:80",
        "::1:80",   "[::1]80",    "[::1]",         "[1.2.3.4]:80", "[::g]:80",
        "unix:",    "unix:x",     "[]:80",         "1.2.3.4 :80",  "999.2.3.4:80",
        "[::1]:",   "0x7f.1:80",
    };
    struct mg_listen_address address;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mg_listen_parse(mg_str_from(bad[i]), &address), MG_EINVALID);
    }
    char path[200] = "unix:/";
    memset(path + 6, 'a', sizeof path - 6);
    assert_int_equal(mg_listen_parse(mg_str_make(path, 5 + 107), &address), 0);
    assert_int_equal(mg_listen_parse(mg_str_make(path, 5 + 108), &address), MG_EINVALID);
    assert_int_equal(mg_listen_parse(mg_str_make("unix:/a\0b", 9), &address), MG_EINVALID);
}

static int bind_to(const char *text, char *message, size_t bytes)
{
    const struct mg_listen_address address = parse(text);
    return mg_listen_bind(&address, 16, message, bytes);
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    assert_return_code(getsockopt(fd, level, name, &value, &length), errno);
    return value;
}

static void binds_with_the_options_that_workers_need(void **state)
{
    (void)state;
    char message[200], text[64];
    const int fd = bind_to("127.0.0.1:0", message, sizeof message);
    assert_true(fd >= 0);
    assert_true(option(fd, SOL_SOCKET, SO_REUSEPORT));
    assert_true(option(fd, IPPROTO_TCP, TCP_NODELAY));
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    snprintf(text, sizeof text, "127.0.0.1:%u", mg_listen_port(fd));
    const int second = bind_to(text, message, sizeof message); /* of the next worker */
    assert_true(second >= 0);
    close(second);
    close(fd);
}

static void says_who_has_the_port(void **state)
{
    (void)state;
    char message[200] = "", text[64], expected[200];
    uint16_t port;
    const int other = sockets_listen(&port); /* without SO_REUSEPORT */
    snprintf(text, sizeof text, "127.0.0.1:%u", port);
    snprintf(expected, sizeof expected, "%s is in use by another process", text);
    assert_int_equal(bind_to(text, message, sizeof message), -EADDRINUSE);
    assert_string_equal(message, expected);
    close(other);
}

static void a_probe_sees_a_listener_that_shares_its_port(void **state)
{
    (void)state;
    char message[200] = "", text[64];
    const int fd = bind_to("127.0.0.1:0", message, sizeof message);
    snprintf(text, sizeof text, "127.0.0.1:%u", mg_listen_port(fd));
    const struct mg_listen_address address = parse(text);
    assert_int_equal(mg_listen_probe(&address, message, sizeof message), -EADDRINUSE);
    assert_non_null(strstr(message, "is in use by another process"));
    close(fd);
    assert_int_equal(mg_listen_probe(&address, message, sizeof message), 0);
}

static void says_why_an_address_cannot_be_bound(void **state)
{
    (void)state;
    char message[200] = "";
    assert_int_equal(bind_to("192.0.2.1:0", message, sizeof message), -EADDRNOTAVAIL);
    assert_string_equal(message, "192.0.2.1:0: no network interface here has this address");
    assert_int_equal(bind_to("unix:/nonexistent/x.sock", message, sizeof message), -ENOENT);
    assert_string_equal(message,
                        "unix:/nonexistent/x.sock: the folder of the socket does not exist");
}

struct folder {
    char path[32], text[80], file[64];
};

static void make_folder(struct folder *folder)
{
    snprintf(folder->path, sizeof folder->path, "/tmp/moongate-listen-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    snprintf(folder->file, sizeof folder->file, "%s/s", folder->path);
    snprintf(folder->text, sizeof folder->text, "unix:%s", folder->file);
}

static void remove_folder(struct folder *folder)
{
    unlink(folder->file);
    assert_return_code(rmdir(folder->path), errno);
}

static void replaces_a_unix_socket_that_nobody_answers(void **state)
{
    (void)state;
    struct folder folder;
    char message[200];
    make_folder(&folder);
    const int first = bind_to(folder.text, message, sizeof message);
    assert_true(first >= 0);
    assert_int_equal(mg_listen_port(first), 0);
    assert_int_equal(bind_to(folder.text, message, sizeof message), -EADDRINUSE); /* answered */
    close(first);
    const int second = bind_to(folder.text, message, sizeof message);
    assert_true(second >= 0);
    close(second);
    remove_folder(&folder);
}

static void leaves_a_file_alone_that_is_no_socket(void **state)
{
    (void)state;
    struct folder folder;
    char message[200];
    make_folder(&folder);
    close(open(folder.file, O_WRONLY | O_CREAT, 0600));
    assert_int_equal(bind_to(folder.text, message, sizeof message), -EADDRINUSE);
    struct stat info;
    assert_return_code(lstat(folder.file, &info), errno);
    assert_true(S_ISREG(info.st_mode));
    remove_folder(&folder);
}

/* --- accepting -------------------------------------------------------------------------------- */

struct server {
    struct mg_loop loop;
    struct mg_listener *listener;
    int fds[64];
    struct mg_address peer;
    int fd, accepted, wanted, close_after;
};

static void on_accept(void *context, int fd, const struct mg_address *peer)
{
    struct server *server = context;
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    server->fds[server->accepted++] = fd;
    server->peer = *peer;
    if (server->accepted == server->close_after) {
        mg_listener_close(server->listener);
    }
}

/* Returns the port. */
static uint16_t open_server(struct server *server, const char *text)
{
    char message[200];
    *server = (struct server){.accepted = 0};
    const int fd = bind_to(text, message, sizeof message);
    assert_true(fd >= 0);
    server->fd = fd;
    assert_int_equal(mg_loop_open_virtual(&server->loop, 0), 0);
    assert_int_equal(mg_listener_open(&server->listener, &server->loop, fd,
                                      strncmp(text, "unix:", 5) == 0, on_accept, server),
                     0);
    return mg_listen_port(fd);
}

static void close_server(struct server *server)
{
    if (server->close_after == 0) {
        mg_listener_close(server->listener);
    }
    mg_loop_close(&server->loop);
    for (int i = 0; i < server->accepted; i++) {
        close(server->fds[i]);
    }
}

static bool has_accepted(void *context)
{
    const struct server *server = context;
    return server->accepted >= server->wanted;
}

static void accepts_all_that_wait_in_one_turn(void **state)
{
    (void)state;
    struct server server;
    int clients[20];
    const uint16_t port = open_server(&server, "127.0.0.1:0");
    for (int i = 0; i < 16; i++) {
        clients[i] = sockets_connect(port);
    }
    server.wanted = 16;
    sockets_run_until(&server.loop, has_accepted, &server);
    assert_string_equal(server.peer.ip, "127.0.0.1");
    assert_true(server.peer.port > 0);
    assert_true(option(server.fds[0], IPPROTO_TCP, TCP_NODELAY)); /* inherited */
    for (int i = 0; i < 16; i++) {
        close(clients[i]);
    }
    close_server(&server);
}

static void accepts_on_a_unix_socket(void **state)
{
    (void)state;
    struct server server;
    struct folder folder;
    make_folder(&folder);
    assert_int_equal(open_server(&server, folder.text), 0);
    const struct mg_listen_address address = parse(folder.text);
    const int client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_return_code(connect(client, (const struct sockaddr *)&address.sockaddr, address.length),
                       errno);
    server.wanted = 1;
    sockets_run_until(&server.loop, has_accepted, &server);
    assert_string_equal(server.peer.ip, "unix:");
    close(client);
    close_server(&server);
    remove_folder(&folder);
}

static void may_be_closed_while_it_accepts(void **state)
{
    (void)state;
    struct server server;
    int clients[3];
    const uint16_t port = open_server(&server, "127.0.0.1:0");
    for (int i = 0; i < 3; i++) {
        clients[i] = sockets_connect(port);
    }
    server.close_after = server.wanted = 1;
    sockets_run_until(&server.loop, has_accepted, &server);
    mg_loop_turn(&server.loop);
    assert_int_equal(server.accepted, 1);
    for (int i = 0; i < 3; i++) {
        close(clients[i]);
    }
    close_server(&server);
}

/* The limit just above the fds in use, so that no more can be made; the old one comes out. */
static rlim_t forbid_new_fds(void)
{
    struct rlimit limit;
    assert_return_code(getrlimit(RLIMIT_NOFILE, &limit), errno);
    const rlim_t before = limit.rlim_cur;
    const int next = dup(0);
    close(next);
    limit.rlim_cur = (rlim_t)next;
    assert_return_code(setrlimit(RLIMIT_NOFILE, &limit), errno);
    return before;
}

static void allow_fds(rlim_t count)
{
    struct rlimit limit;
    assert_return_code(getrlimit(RLIMIT_NOFILE, &limit), errno);
    limit.rlim_cur = count;
    assert_return_code(setrlimit(RLIMIT_NOFILE, &limit), errno);
}

static void rests_when_descriptors_run_out_and_comes_back(void **state)
{
    (void)state;
    struct server server;
    char byte;
    const uint16_t port = open_server(&server, "127.0.0.1:0");
    const int warm = sockets_connect(port);
    server.wanted = 1;
    sockets_run_until(&server.loop, has_accepted, &server);
    const int refused = sockets_connect(port);
    const int waiting = sockets_connect(port);
    const rlim_t before = forbid_new_fds();
    while (mg_loop_turn(&server.loop)) {
    }
    sockets_wait_readable(refused);
    assert_true(recv(refused, &byte, 1, 0) <= 0); /* told at once */
    assert_int_equal(recv(waiting, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(server.accepted, 1);
    assert_false(mg_loop_turn(&server.loop)); /* one waits, and the loop does not spin */
    allow_fds(before);
    mg_clock_advance(&server.loop.clock, 100 * 1000);
    server.wanted = 2;
    sockets_run_until(&server.loop, has_accepted, &server);
    close(warm);
    close(refused);
    close(waiting);
    close_server(&server);
}

/* Another process that has the socket may do so (shutdown(2) is for all of them). */
static void does_not_spin_when_the_socket_is_shut_down(void **state)
{
    (void)state;
    struct server server;
    const uint16_t port = open_server(&server, "127.0.0.1:0");
    const int warm = sockets_connect(port);
    server.wanted = 1;
    sockets_run_until(&server.loop, has_accepted, &server);
    assert_return_code(shutdown(server.fd, SHUT_RDWR), errno);
    const uint64_t before = server.loop.turn;
    for (int i = 0; i < 10; i++) { /* a second */
        mg_loop_turn(&server.loop);
        mg_clock_advance(&server.loop.clock, 100 * 1000);
    }
    assert_true(server.loop.turn - before < 100);
    close(warm);
    close_server(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_the_three_forms),
        cmocka_unit_test(refuses_what_is_no_address),
        cmocka_unit_test(binds_with_the_options_that_workers_need),
        cmocka_unit_test(says_who_has_the_port),
        cmocka_unit_test(a_probe_sees_a_listener_that_shares_its_port),
        cmocka_unit_test(says_why_an_address_cannot_be_bound),
        cmocka_unit_test(replaces_a_unix_socket_that_nobody_answers),
        cmocka_unit_test(leaves_a_file_alone_that_is_no_socket),
        cmocka_unit_test(accepts_all_that_wait_in_one_turn),
        cmocka_unit_test(accepts_on_a_unix_socket),
        cmocka_unit_test(may_be_closed_while_it_accepts),
        cmocka_unit_test(rests_when_descriptors_run_out_and_comes_back),
        cmocka_unit_test(does_not_spin_when_the_socket_is_shut_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
