/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a Lua program of our own on the command line, such as the test runner: a plain state with
 * the standard library, our Lua on package.path and our C modules preloaded, the compiler off. No
 * limits hold and no request runs in it.
 *
 *     exit_code = mg_program_run(&options, "moongate.test.runner", argc, argv);
 *
 * The module returns a function that gets the arguments as one array and returns the exit code.
 */
#pragma once

struct mg_program_options {
    const char *lua_path;     /* folder of lua/moongate */
    const char *plugins_path; /* plugins we ship; moongate.program.plugins_path in Lua */
    const char *ffi_header;   /* moongate.program.ffi_header */
};

/* What the program returned, or 1 with a sentence or a traceback on stderr. */
int mg_program_run(const struct mg_program_options *options, const char *module, int argc,
                   char **argv);

/* "2.1.0-beta3": of the LuaJIT that this was built with; static. */
const char *mg_program_luajit(void);
