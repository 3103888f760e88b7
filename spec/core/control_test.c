/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: who may use it, what it answers, whom it does not wait for. */
#include "control.h"

#include "control_client.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct scene {
    char folder[64], path[96];
    struct mg_control *control;
    uint64_t now_ms;
};

static void on_greet(void *context, struct mg_control_client *client, mg_str arguments)
{
    (void)context;
    char text[64];
    snprintf(text, sizeof text, "hello %.*s", MG_STR_ARG(arguments));
    mg_control_reply(client, 0, mg_str_from(text));
}

static void on_wait(void *context, struct mg_control_client *client, mg_str arguments)
{
    (void)context;
    uint64_t ticket;
    assert_true(mg_str_to_u64(arguments, &ticket));
    mg_control_await(client, ticket);
}

static const struct mg_control_verb verbs[] = {
    {"greet", on_greet}, {"wait", on_wait}, {NULL, NULL}};

static int open_control(struct scene *scene, struct mg_control **control, char *message,
                        size_t bytes)
{
    return mg_control_open(control, scene->path, verbs, scene, message, bytes);
}

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    snprintf(scene->folder, sizeof scene->folder, "/tmp/moongate-test-XXXXXX");
    assert_non_null(mkdtemp(scene->folder));
    snprintf(scene->path, sizeof scene->path, "%s/control", scene->folder);
    char message[256];
    assert_int_equal(open_control(scene, &scene->control, message, sizeof message), 0);
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    mg_control_close(scene->control);
    assert_int_equal(rmdir(scene->folder), 0); /* nothing is left behind */
    free(scene);
    return 0;
}

static int dial(const struct scene *scene)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", scene->path);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* One turn of the owner's loop, without waiting. */
static void turn(struct scene *scene)
{
    struct pollfd fds[MG_CONTROL_FDS];
    const size_t count = mg_control_poll(scene->control, fds);
    assert_true(poll(fds, count, 0) >= 0);
    mg_control_serve(scene->control, fds, count, scene->now_ms);
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has come, or NULL when the other side has nothing to say yet. "" at the end. */
static const char *receive(int fd, char *text, size_t bytes)
{
    const ssize_t got = recv(fd, text, bytes - 1, MSG_DONTWAIT);
    text[got > 0 ? got : 0] = '\0';
    return got < 0 ? NULL : text;
}

static const char *ask(struct scene *scene, const char *request, char *text, size_t bytes)
{
    const int fd = dial(scene);
    send_text(fd, request);
    turn(scene); /* accepts */
    turn(scene); /* reads and answers */
    const char *answer = receive(fd, text, bytes);
    close(fd);
    return answer;
}

static void only_the_owner_may_open_it(void **state)
{
    struct scene *scene = *state;
    struct stat info;
    assert_int_equal(stat(scene->path, &info), 0);
    assert_true(S_ISSOCK(info.st_mode));
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void a_verb_answers_with_code_and_length(void **state)
{
    char text[256];
    assert_string_equal(ask(*state, "moongate/1 greet you there\n", text, sizeof text),
                        "moongate/1 0 15\nhello you there");
    assert_string_equal(ask(*state, "moongate/1 greet\n", text, sizeof text),
                        "moongate/1 0 6\nhello ");
}

static void unknown_verbs_and_versions_are_refused(void **state)
{
    char text[256];
    assert_non_null(strstr(ask(*state, "moongate/1 dance\n", text, sizeof text), "moongate/1 2 "));
    assert_non_null(strstr(ask(*state, "moongate/2 greet\n", text, sizeof text), "moongate/1 2 "));
    assert_non_null(strstr(ask(*state, "GET / HTTP/1.1\r\n", text, sizeof text), "moongate/1 2 "));
}

static void a_line_may_come_in_pieces(void **state)
{
    struct scene *scene = *state;
    char text[256];
    const int fd = dial(scene);
    send_text(fd, "moonga");
    turn(scene);
    turn(scene);
    assert_null(receive(fd, text, sizeof text));
    send_text(fd, "te/1 greet me\n");
    turn(scene);
    assert_string_equal(receive(fd, text, sizeof text), "moongate/1 0 8\nhello me");
    close(fd);
}

static void a_line_without_end_is_cut(void **state)
{
    struct scene *scene = *state;
    char text[MG_CONTROL_LINE_BYTES];
    const int fd = dial(scene);
    memset(text, 'a', sizeof text);
    assert_int_equal(send(fd, text, sizeof text, MSG_NOSIGNAL), sizeof text);
    turn(scene);
    turn(scene);
    assert_string_equal(receive(fd, text, sizeof text), "");
    close(fd);
}

static void a_silent_client_is_cut_after_its_time(void **state)
{
    struct scene *scene = *state;
    char text[64];
    const int fd = dial(scene);
    scene->now_ms = 1000;
    turn(scene);
    scene->now_ms += MG_CONTROL_PATIENCE_MS - 1;
    turn(scene);
    assert_null(receive(fd, text, sizeof text));
    scene->now_ms += 1;
    turn(scene);
    assert_string_equal(receive(fd, text, sizeof text), "");
    close(fd);
}

static void those_who_wait_are_answered_by_ticket(void **state)
{
    struct scene *scene = *state;
    char text[64];
    const int first = dial(scene);
    const int second = dial(scene);
    send_text(first, "moongate/1 wait 1\n");
    send_text(second, "moongate/1 wait 2\n");
    turn(scene);
    turn(scene);
    scene->now_ms += 1000000; /* no deadline while a verb is at work */
    turn(scene);
    mg_control_reply_awaiting(scene->control, 1, 78, MG_STR("no"));
    assert_string_equal(receive(first, text, sizeof text), "moongate/1 78 2\nno");
    assert_null(receive(second, text, sizeof text));
    mg_control_reply_awaiting(scene->control, 2, 0, MG_STR("yes"));
    assert_string_equal(receive(second, text, sizeof text), "moongate/1 0 3\nyes");
    close(first);
    close(second);
}

static void clients_over_the_number_wait_their_turn(void **state)
{
    struct scene *scene = *state;
    char text[64];
    int fds[MG_CONTROL_CLIENTS];
    for (size_t i = 0; i < MG_CONTROL_CLIENTS; i++) {
        fds[i] = dial(scene);
    }
    turn(scene);
    const int late = dial(scene);
    send_text(late, "moongate/1 greet late\n");
    turn(scene);
    turn(scene);
    assert_null(receive(late, text, sizeof text));
    close(fds[3]);
    turn(scene);
    turn(scene);
    turn(scene);
    assert_string_equal(receive(late, text, sizeof text), "moongate/1 0 10\nhello late");
    for (size_t i = 0; i < MG_CONTROL_CLIENTS; i++) {
        if (i != 3) {
            close(fds[i]);
        }
    }
    close(late);
}

static void a_second_gateway_is_told_the_pid_of_the_first(void **state)
{
    struct scene *scene = *state;
    struct mg_control *second;
    char message[256];
    char pid[32];
    snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_int_equal(open_control(scene, &second, message, sizeof message), -EADDRINUSE);
    assert_non_null(strstr(message, pid));
    assert_null(second);
}

static void a_socket_that_nobody_serves_is_replaced(void **state)
{
    struct scene *scene = *state;
    char message[256];
    char text[64];
    mg_control_forget(scene->control); /* as if killed: the path stays */
    assert_int_equal(access(scene->path, F_OK), 0);
    assert_int_equal(open_control(scene, &scene->control, message, sizeof message), 0);
    assert_non_null(ask(scene, "moongate/1 greet\n", text, sizeof text));
}

static void a_file_in_the_way_is_left_alone(void **state)
{
    struct scene *scene = *state;
    struct mg_control *other;
    char message[256];
    char path[128];
    snprintf(path, sizeof path, "%s/file", scene->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(mg_control_open(&other, path, verbs, scene, message, sizeof message), -EEXIST);
    assert_non_null(strstr(message, path));
    assert_int_equal(unlink(path), 0);
}

/* The server's side runs in a child, since the command line's side blocks. */
static void the_command_line_gets_code_and_text(void **state)
{
    struct scene *scene = *state;
    struct mg_buf answer;
    int code = -1;
    const pid_t child = fork();
    if (child == 0) {
        for (;;) {
            struct pollfd fds[MG_CONTROL_FDS];
            const size_t count = mg_control_poll(scene->control, fds);
            (void)poll(fds, count, 1000);
            mg_control_serve(scene->control, fds, count, 0);
        }
    }
    mg_buf_init(&answer, 4096);
    assert_int_equal(mg_control_ask(scene->path, "greet two", 10000, &code, &answer), 0);
    assert_int_equal(code, 0);
    assert_true(mg_str_equal(mg_buf_view(&answer), MG_STR("hello two")));
    assert_int_equal(mg_control_ask(scene->path, "wait 1", 20, &code, &answer), MG_ETIMEOUT);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    mg_buf_deinit(&answer);
}

static void the_command_line_is_told_when_nobody_is_there(void **state)
{
    struct scene *scene = *state;
    struct mg_buf answer;
    int code;
    mg_buf_init(&answer, 4096);
    assert_int_equal(mg_control_ask("/nonexistent/moongate", "status", 100, &code, &answer),
                     -ENOENT);
    mg_control_close(scene->control);
    scene->control = NULL;
    assert_int_equal(mg_control_ask(scene->path, "status", 100, &code, &answer), -ENOENT);
}

#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCENE(only_the_owner_may_open_it),
        WITH_SCENE(a_verb_answers_with_code_and_length),
        WITH_SCENE(unknown_verbs_and_versions_are_refused),
        WITH_SCENE(a_line_may_come_in_pieces),
        WITH_SCENE(a_line_without_end_is_cut),
        WITH_SCENE(a_silent_client_is_cut_after_its_time),
        WITH_SCENE(those_who_wait_are_answered_by_ticket),
        WITH_SCENE(clients_over_the_number_wait_their_turn),
        WITH_SCENE(a_second_gateway_is_told_the_pid_of_the_first),
        WITH_SCENE(a_socket_that_nobody_serves_is_replaced),
        WITH_SCENE(a_file_in_the_way_is_left_alone),
        WITH_SCENE(the_command_line_gets_code_and_text),
        WITH_SCENE(the_command_line_is_told_when_nobody_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
