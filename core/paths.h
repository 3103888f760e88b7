/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are: the Lua and the plugins that belong to this binary, the configuration file, the
 * control socket of the gateway that runs it.
 *
 *     struct mg_paths paths;
 *     char message[256];
 *     if (mg_paths_find(&paths, message, sizeof message)) ... say(message)
 */
#pragma once

#include "base/err.h"

#include <limits.h>
#include <stddef.h>

struct mg_paths {
    char binary[PATH_MAX];
    char lua[PATH_MAX];        /* folder that holds moongate/ */
    char plugins[PATH_MAX];    /* the plugins we ship */
    char ffi_header[PATH_MAX]; /* ffi.h */
};

/* Looks beside the binary: under a prefix (../share/moongate), in a build folder of the tree, then
 * in the tree it was built from. MG_ENOT_FOUND with a sentence. */
MG_NODISCARD int mg_paths_find(struct mg_paths *paths, char *message, size_t message_bytes);

/* The configuration file: the one that is given, or with NULL moongate.yml here, else
 * /etc/moongate/moongate.yml. NULL with a sentence: none is given and there is neither. */
const char *mg_paths_config(const char *given, char *message, size_t message_bytes);
/* Its absolute name without links. -ENOENT, -EACCES. */
MG_NODISCARD int mg_paths_absolute(const char *path, char absolute[PATH_MAX]);
/* The control socket of the gateway that runs config: $RUNTIME_DIRECTORY/moongate.sock, else a name
 * made of config in /tmp/moongate-UID, a folder that only its owner may enter; made when missing.
 * Negative errno with a sentence. */
MG_NODISCARD int mg_paths_control(const char *config, char *path, size_t path_bytes, char *message,
                                  size_t message_bytes);
