/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder with a configuration and plugins, made for one test.
 *
 *     char folder[64];
 *     project_make(folder);
 *     project_write(folder, "plugins/a.lua", "return { ... }");
 *     ... project_bundle(folder, &bundle) ...            // as the checker makes it
 *     project_remove(folder);
 */
#pragma once

#include "script/bundle.h"
#include "script/checker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#define PROJECT_PATH 64

static inline void project_make(char folder[PROJECT_PATH])
{
    snprintf(folder, PROJECT_PATH, "/tmp/moongate-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
}

/* Makes the folders of the name, too (two levels). */
static inline void project_write(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static inline void project_remove(const char *folder)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- %s", folder);
    assert_int_equal(system(command), 0);
}

static inline struct mg_checker_options project_options(char path[256], const char *folder)
{
    snprintf(path, 256, "%s/moongate.yml", folder);
    return (struct mg_checker_options){
        .file = path,
        .lua_path = MOONGATE_SOURCE_DIR "/lua",
        .plugins_path = MOONGATE_SOURCE_DIR "/plugins",
        .ffi_header = MOONGATE_SOURCE_DIR "/core/script/ffi.h",
    };
}

/* Checks and opens the bundle; fails the test with the report when it is refused. */
static inline void project_bundle(const char *folder, struct mg_bundle *bundle)
{
    char path[256];
    const struct mg_checker_options options = project_options(path, folder);
    struct mg_bundle_writer writer;
    struct mg_buf report;
    mg_bundle_writer_init(&writer);
    mg_buf_init(&report, 1 << 20);
    if (mg_checker_run(&options, &writer, &report)) {
        fail_msg("%.*s", MG_STR_ARG(mg_buf_view(&report)));
    }
    mg_buf_deinit(&report);
    const int fd = mg_bundle_writer_seal(&writer);
    assert_true(fd >= 0);
    assert_int_equal(mg_bundle_open(bundle, fd), 0);
}
