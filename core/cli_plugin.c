/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `moongate plugin new NAME`: writes a plugin that works, with its schema, manual and spec. In the
 * templates @NAME@ is the plugin's name. Nothing is overwritten.
 */
#include "cli_verbs.h"

#include "base/buf.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_LENGTH 64
#define FILE_BYTES 65536

enum option { OPTION_LAYOUT, OPTION_DIR };

static const struct mg_option options[] = {
    {"layout", "LAYOUT", "folder (default): handler.lua and schema.lua; file: NAME.lua", 0},
    {"dir", "DIR", "where to write (default: plugins)", 0},
    {NULL, NULL, NULL, 0},
};

struct template
{
    const char *file; /* after the folder or before the name */
    const char *text;
};

static const char handler_text[] =
    "-- @NAME@: tells the client, by a response header, that a request passed here.\n"
    "local Handler = { PRIORITY = 1000, VERSION = '0.1.0' }\n"
    "\n"
    "-- Runs when the route is known and before the upstream is called. To answer from here:\n"
    "--     return moongate.response.exit(403, { message = 'no' })\n"
    "function Handler:access(conf)\n"
    "    moongate.ctx.plugin.greeting = conf.greeting .. ', ' .. moongate.client.get_ip()\n"
    "end\n"
    "\n"
    "-- Runs when the head of the response is ready and not sent yet.\n"
    "function Handler:header_filter(conf)\n"
    "    moongate.response.set_header(conf.header, moongate.ctx.plugin.greeting)\n"
    "end\n"
    "\n"
    "return Handler\n";

static const char schema_text[] =
    "-- What may stand under `config:` of this plugin; everything else is an error at load.\n"
    "local typedefs = require 'moongate.typedefs'\n"
    "\n"
    "return {\n"
    "    name = '@NAME@',\n"
    "    fields = {\n"
    "        { protocols = typedefs.protocols_http },\n"
    "        { config = {\n"
    "            type = 'record',\n"
    "            fields = {\n"
    "                { header = { type = 'string', default = 'X-Greeting' } },\n"
    "                { greeting = { type = 'string', default = 'Hello' } },\n"
    "            },\n"
    "        } },\n"
    "    },\n"
    "}\n";

static const char file_text[] =
    "-- @NAME@: tells the client, by a response header, that a request passed here.\n"
    "-- `config` says what may stand under `config:`; everything else is an error at load.\n"
    "local plugin = { PRIORITY = 1000, VERSION = '0.1.0', config = {\n"
    "    header   = { type = 'string', default = 'X-Greeting' },\n"
    "    greeting = { type = 'string', default = 'Hello' } } }\n"
    "\n"
    "-- Runs when the route is known and before the upstream is called. To answer from here:\n"
    "--     return moongate.response.exit(403, { message = 'no' })\n"
    "function plugin:access(conf)\n"
    "    moongate.ctx.plugin.greeting = conf.greeting .. ', ' .. moongate.client.get_ip()\n"
    "end\n"
    "\n"
    "-- Runs when the head of the response is ready and not sent yet.\n"
    "function plugin:header_filter(conf)\n"
    "    moongate.response.set_header(conf.header, moongate.ctx.plugin.greeting)\n"
    "end\n"
    "\n"
    "return plugin\n";

static const char readme_text[] =
    "# @NAME@\n"
    "\n"
    "Tells the client, by a response header, that a request passed here.\n"
    "\n"
    "```yaml\n"
    "plugins:\n"
    "- name: @NAME@\n"
    "  config:\n"
    "    header: X-Greeting     # the header that is set\n"
    "    greeting: Hello        # its first word; the client's address follows\n"
    "```\n"
    "\n"
    "When the plugin raises an error, the request fails with 500 (`on_error: closed`, the safe\n"
    "default). To let requests pass without it instead:\n"
    "\n"
    "```yaml\n"
    "gateway:\n"
    "  plugins:\n"
    "    settings:\n"
    "      @NAME@: { on_error: open }\n"
    "```\n"
    "\n"
    "Run its spec with `moongate test`.\n";

static const char spec_text[] =
    "local gateway = require 'moongate.test'\n"
    "\n"
    "local CONFIG = [[\n"
    "_format_version: \"3.0\"\n"
    "services:\n"
    "- name: echo\n"
    "  url: http://127.0.0.1:9101\n"
    "  routes:\n"
    "  - name: echo\n"
    "    paths: [/]\n"
    "    plugins:\n"
    "    - name: @NAME@\n"
    "      config: { greeting: Welcome }\n"
    "]]\n"
    "\n"
    "describe('@NAME@', function()\n"
    "    local gw\n"
    "    setup(function() gw = gateway.start(CONFIG, { plugins_path = { '@DIR@' } }) end)\n"
    "    teardown(function() gw:stop() end)\n"
    "\n"
    "    it('greets the client', function()\n"
    "        local res = gw:get('/')\n"
    "        assert.response(res).has.status(200)\n"
    "        local greeting = assert.response(res).has.header('X-Greeting')\n"
    "        assert.truthy(greeting:find('Welcome, ', 1, true))\n"
    "    end)\n"
    "\n"
    "    it('lets the request through to the upstream', function()\n"
    "        gw:get('/orders/7')\n"
    "        local seen = gw.upstream.requests\n"
    "        assert.equal('/orders/7', seen[#seen].path)\n"
    "    end)\n"
    "end)\n";

static const struct template folder_templates[] = {
    {"handler.lua", handler_text},
    {"schema.lua", schema_text},
    {"README.md", readme_text},
    {"_spec.lua", spec_text}, /* begins with the name */
    {NULL, NULL},
};

static const struct template file_templates[] = {
    {".lua", file_text},
    {"_spec.lua", spec_text},
    {".md", readme_text},
    {NULL, NULL},
};

/* --- writing ------------------------------------------------------------------------------- */

/* plugin-interface, 2.2 */
static bool is_name(const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    char all[sizeof letters + 2];
    snprintf(all, sizeof all, "%s_-", letters);
    const size_t length = strlen(name);
    return length > 0 && length <= NAME_MAX_LENGTH && strspn(name, letters) > 0 &&
           strspn(name, all) == length;
}

/* Replaces @NAME@ and @DIR@. */
static int expand(struct mg_buf *out, const char *text, const char *name, const char *dir)
{
    int err = 0;
    while (*text && !err) {
        const bool is_name_mark = strncmp(text, "@NAME@", 6) == 0;
        const bool is_dir_mark = strncmp(text, "@DIR@", 5) == 0;
        if (is_name_mark || is_dir_mark) {
            err = mg_buf_append(out, mg_str_from(is_name_mark ? name : dir));
            text += is_name_mark ? 6 : 5;
        } else {
            err = mg_buf_append(out, mg_str_make(text++, 1));
        }
    }
    return err;
}

static int say_failed(const char *path, int err)
{
    mg_say("cannot write %s: %s", path,
           err == -EEXIST ? "it exists already, and nothing is overwritten" : mg_err_text(err));
    return MG_EXIT_FAILED;
}

static int write_file(const char *path, const char *text, const char *name, const char *dir)
{
    struct mg_buf content;
    mg_buf_init(&content, FILE_BYTES);
    int err = expand(&content, text, name, dir);
    const int fd = err ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (!err) {
        const mg_str bytes = mg_buf_view(&content);
        const ssize_t written = fd < 0 ? -1 : write(fd, bytes.ptr, bytes.len);
        err = written == (ssize_t)bytes.len ? 0 : -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    mg_buf_deinit(&content);
    return err ? say_failed(path, err) : 0;
}

static int make_folder(const char *path, bool may_exist)
{
    if (mkdir(path, 0755) == 0 || (errno == EEXIST && may_exist)) {
        return 0;
    }
    return say_failed(path, -errno);
}

/* A plugin in the other layout would make the name ambiguous, which a load refuses. */
static int refuse_other_layout(const char *name, const char *dir, bool as_folder)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s%s", dir, name, as_folder ? ".lua" : "/handler.lua");
    return access(path, F_OK) ? 0 : say_failed(path, -EEXIST);
}

static int write_plugin(const char *name, const char *dir, bool as_folder)
{
    char folder[PATH_MAX];
    char path[PATH_MAX + 256];
    snprintf(folder, sizeof folder, "%s%s%s", dir, as_folder ? "/" : "", as_folder ? name : "");
    int exit_code = refuse_other_layout(name, dir, as_folder);
    exit_code = exit_code ? exit_code : make_folder(dir, true);
    if (!exit_code && as_folder) {
        exit_code = make_folder(folder, false);
    }
    const struct template *file = as_folder ? folder_templates : file_templates;
    for (; !exit_code && file->file; file++) {
        const bool is_named = file->file[0] == '_' || file->file[0] == '.';
        snprintf(path, sizeof path, "%s/%s%s", folder, is_named ? name : "", file->file);
        exit_code = write_file(path, file->text, name, dir);
        if (!exit_code) {
            printf("%s\n", path);
        }
    }
    return exit_code;
}

/* One that ships has the same name: legal, and rarely meant. */
static void note_shipped(const char *name)
{
    struct mg_paths paths;
    char message[512];
    char path[PATH_MAX + 256];
    if (mg_paths_find(&paths, message, sizeof message)) {
        return;
    }
    snprintf(path, sizeof path, "%s/%s", paths.plugins, name);
    if (access(path, F_OK) == 0) {
        fprintf(stderr,
                "Note: a plugin called %s comes with the gateway; this one takes its place "
                "where its folder is on gateway.plugins.path.\n",
                name);
    }
}

static int run_new(struct mg_cli *cli, const char *name, const char *dir, const char *layout)
{
    const bool as_file = strcmp(layout, "file") == 0;
    if (!as_file && strcmp(layout, "folder") != 0 && strcmp(layout, "kong") != 0) {
        return mg_cli_refuse(cli, "'%s' is no layout: folder and file are", layout);
    }
    if (!is_name(name)) {
        return mg_cli_refuse(cli,
                             "'%s' is no name for a plugin: a letter or digit, then letters, "
                             "digits, '-' and '_'",
                             name);
    }
    const int exit_code = write_plugin(name, dir, !as_file);
    if (!exit_code) {
        note_shipped(name);
        fprintf(stderr, "Try its spec: moongate test %s/%s%s%s_spec.lua\n", dir,
                as_file ? "" : name, as_file ? "" : "/", name);
    }
    return exit_code;
}

static int run_plugin(struct mg_cli *cli)
{
    const char *words[2] = {NULL, NULL};
    const char *layout = "folder";
    const char *dir = "plugins";
    const char *value;
    int option;
    int count = 0;
    while ((option = mg_cli_next(cli, &value)) >= 0 || option == MG_CLI_ARGUMENT) {
        if (option == OPTION_LAYOUT) {
            layout = value;
        } else if (option == OPTION_DIR) {
            dir = value;
        } else if (count == 2) {
            return mg_cli_refuse(cli, "unexpected argument '%s'", value);
        } else {
            words[count++] = value;
        }
    }
    if (option == MG_CLI_STOP) {
        return cli->exit;
    }
    if (!words[0]) {
        return mg_cli_refuse(cli, "'new NAME' is missing");
    }
    if (strcmp(words[0], "new") != 0) {
        static const char *const known[] = {"new", NULL};
        return mg_cli_meant(words[0], known)
                   ? mg_cli_refuse(cli, "'%s' is unknown; did you mean 'new NAME'?", words[0])
                   : mg_cli_refuse(cli, "'%s' is not supported yet; 'new NAME' is", words[0]);
    }
    if (!words[1]) {
        return mg_cli_refuse(cli, "the new plugin's NAME is missing");
    }
    return run_new(cli, words[1], dir, layout);
}

const struct mg_verb mg_verb_plugin = {
    .name = "plugin",
    .arguments = "new NAME [--layout folder|file] [--dir DIR]",
    .summary = "Write a new plugin with its schema, manual and passing spec.",
    .options = options,
    .run = run_plugin,
};
