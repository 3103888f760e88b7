/* SPDX-License-Identifier: Apache-2.0 */
/* Finding files. Folders are tried in a fixed order; the first that holds lua/moongate is taken. */
#include "paths.h"

#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_CHARACTERS 16 /* of the digest of a configuration's name, in the socket's name */

static bool join(char *out, size_t room, const char *folder, const char *name)
{
    const int length = snprintf(out, room, "%s/%s", folder, name);
    return length > 0 && (size_t)length < room;
}

/* ffi.h lies beside lua/ under a prefix, in core/script/ of the tree. */
static bool take_root(struct mg_paths *paths, const char *root)
{
    char probe[PATH_MAX];
    char resolved[PATH_MAX];
    if (!realpath(root, resolved) || !join(paths->lua, sizeof paths->lua, resolved, "lua") ||
        !join(probe, sizeof probe, paths->lua, "moongate") || access(probe, R_OK | X_OK)) {
        return false;
    }
    if (!join(paths->ffi_header, sizeof paths->ffi_header, resolved, "core/script/ffi.h") ||
        access(paths->ffi_header, R_OK)) {
        if (!join(paths->ffi_header, sizeof paths->ffi_header, resolved, "ffi.h") ||
            access(paths->ffi_header, R_OK)) {
            return false;
        }
    }
    return join(paths->plugins, sizeof paths->plugins, resolved, "plugins");
}

int mg_paths_find(struct mg_paths *paths, char *message, size_t message_bytes)
{
    static const char *const roots[] = {"../share/moongate", "..", "../..", "../../.."};
    const ssize_t length = readlink("/proc/self/exe", paths->binary, sizeof paths->binary - 1);
    if (length > 0) {
        paths->binary[length] = '\0';
        char folder[PATH_MAX];
        memcpy(folder, paths->binary, (size_t)length + 1);
        *strrchr(folder, '/') = '\0';
        for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
            char root[PATH_MAX];
            if (join(root, sizeof root, folder, roots[i]) && take_root(paths, root)) {
                return 0;
            }
        }
    }
    if (take_root(paths, MOONGATE_SOURCE_DIR)) {
        return 0;
    }
    snprintf(message, message_bytes,
             "cannot find lua/moongate beside %s (../share/moongate) nor in %s: the installation "
             "is not complete",
             length > 0 ? paths->binary : "the binary", MOONGATE_SOURCE_DIR);
    return MG_ENOT_FOUND;
}

const char *mg_paths_config(const char *given, char *message, size_t message_bytes)
{
    static const char *const places[] = {"moongate.yml", "/etc/moongate/moongate.yml"};
    for (size_t i = 0; !given && i < sizeof places / sizeof *places; i++) {
        given = access(places[i], F_OK) == 0 ? places[i] : NULL;
    }
    if (!given) {
        snprintf(message, message_bytes,
                 "no configuration: neither moongate.yml in this folder nor %s is there; -c FILE "
                 "names one",
                 places[1]);
    }
    return given;
}

int mg_paths_absolute(const char *path, char absolute[PATH_MAX])
{
    return realpath(path, absolute) ? 0 : -errno;
}

/* In /tmp anybody could have made the folder: it must be ours alone. */
static int own_folder(const char *folder)
{
    if (mkdir(folder, 0700) && errno != EEXIST) {
        return -errno;
    }
    struct stat info;
    if (lstat(folder, &info)) {
        return -errno;
    }
    const bool is_ours = S_ISDIR(info.st_mode) && info.st_uid == geteuid();
    return is_ours && (info.st_mode & 0077) == 0 ? 0 : -EACCES;
}

int mg_paths_control(const char *config, char *path, size_t path_bytes, char *message,
                     size_t message_bytes)
{
    const char *runtime = getenv("RUNTIME_DIRECTORY");
    if (runtime && *runtime) {
        snprintf(path, path_bytes, "%s/moongate.sock", runtime);
        return 0;
    }
    char folder[64];
    snprintf(folder, sizeof folder, "/tmp/moongate-%u", (unsigned)geteuid());
    const int err = own_folder(folder);
    if (err) {
        snprintf(message, message_bytes,
                 "cannot use %s for the control socket: %s (it must be a folder of yours with mode "
                 "0700; --control PATH takes another place)",
                 folder, err == -EACCES ? "not yours alone" : mg_err_text(err));
        return err;
    }
    uint8_t digest[MG_SHA256_BYTES];
    char key[2 * MG_SHA256_BYTES];
    mg_hash_sha256(mg_str_from(config), digest);
    mg_hash_hex(digest, sizeof digest, key);
    snprintf(path, path_bytes, "%s/%.*s.sock", folder, KEY_CHARACTERS, key);
    return 0;
}
