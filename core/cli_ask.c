/* SPDX-License-Identifier: Apache-2.0 */
/* One request to a running gateway. */
#include "cli_ask.h"

#include "control_client.h"
#include "paths.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_BYTES (16 * 1024 * 1024)

/* The socket of the gateway that is meant; false with a sentence said. */
static bool find_control(const struct mg_cli_ask *ask, char *path, size_t path_bytes)
{
    char absolute[PATH_MAX];
    char message[512];
    if (ask->control) {
        return snprintf(path, path_bytes, "%s", ask->control) < (int)path_bytes;
    }
    const char *config = mg_paths_config(ask->config, message, sizeof message);
    if (!config) {
        mg_say("%s, or --control PATH the gateway's control socket", message);
        return false;
    }
    int err = mg_paths_absolute(config, absolute);
    if (err) {
        mg_say("cannot find %s: %s (the gateway is known by its configuration's name; "
               "--control PATH names its socket)",
               config, mg_err_text(err));
        return false;
    }
    err = mg_paths_control(absolute, path, path_bytes, message, sizeof message);
    if (err) {
        mg_say("%s", message);
    }
    return err == 0;
}

#define SERVICE_SOCKET "/run/moongate/moongate.sock"

/* A service's socket is in the folder that its manager made, and ours is named by our user. */
static void say_nobody(const char *path, const struct mg_cli_ask *ask)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISSOCK(info.st_mode)) {
        mg_say("%s is no control socket", path);
    } else if (ask->control) {
        mg_say("no gateway is running there (control socket %s)", path);
    } else if (access(SERVICE_SOCKET, F_OK) == 0) {
        mg_say("no gateway is running there (control socket %s); the service's gateway is reached "
               "with --control " SERVICE_SOCKET,
               path);
    } else {
        mg_say("no gateway is running there (control socket %s); one that another user or a "
               "service manager has started is reached with --control PATH",
               path);
    }
}

static void say_why(int err, const char *path, const struct mg_cli_ask *ask)
{
    if (err == -ENOENT || err == -ECONNREFUSED) {
        say_nobody(path, ask);
    } else if (err == MG_ETIMEOUT) {
        mg_say("no answer within %" PRIu64 " ms; what was asked for may still happen",
               ask->wait_ms);
    } else if (err == MG_ECLOSED) {
        mg_say("the gateway went away before it had answered");
    } else if (err == MG_EINVALID) {
        mg_say("%s is no gateway's control socket, or of another version", path);
    } else {
        mg_say("cannot use the control socket %s: %s", path, mg_err_text(err));
    }
}

int mg_cli_ask(const struct mg_cli_ask *ask, const char *request)
{
    char path[PATH_MAX];
    struct mg_buf answer;
    int code = MG_EXIT_FAILED;
    if (!find_control(ask, path, sizeof path)) {
        return MG_EXIT_FAILED;
    }
    mg_buf_init(&answer, ANSWER_BYTES);
    const int err = mg_control_ask(path, request, ask->wait_ms, &code, &answer);
    if (err) {
        say_why(err, path, ask);
        code = MG_EXIT_FAILED;
    } else {
        fprintf(code == MG_EXIT_OK ? stdout : stderr, "%.*s", MG_STR_ARG(mg_buf_view(&answer)));
    }
    mg_buf_deinit(&answer);
    return code;
}
