/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memmem */
/* Checking a configuration with its plugins, and what the bundle holds. */
#include "support/project.h"

static const char services[] = "_format_version: \"3.0\"\n"
                               "services:\n"
                               "- name: orders\n"
                               "  url: http://127.0.0.1:9101\n"
                               "  routes:\n"
                               "  - name: orders\n"
                               "    paths: [/orders]\n";

static char report_text[1 << 16];

/* The checker's result; its report stands in report_text. */
static int check(const char *folder, struct mg_bundle_writer *writer, bool json)
{
    char path[256];
    struct mg_checker_options options = project_options(path, folder);
    options.json = json;
    struct mg_buf report;
    mg_buf_init(&report, sizeof report_text - 1);
    const int err = mg_checker_run(&options, writer, &report);
    memcpy(report_text, mg_buf_view(&report).ptr ? mg_buf_view(&report).ptr : "", report.len);
    report_text[report.len] = '\0';
    mg_buf_deinit(&report);
    return err;
}

static void write_config(const char *folder, const char *more)
{
    char text[4096];
    snprintf(text, sizeof text, "%s%s", services, more);
    project_write(folder, "moongate.yml", text);
}

static void assert_reported(const char *words)
{
    if (!strstr(report_text, words)) {
        fail_msg("\"%s\" is not in the report:\n%s", words, report_text);
    }
}

static void a_plain_file_is_accepted_and_its_plan_written(void **state)
{
    (void)state;
    char folder[PROJECT_PATH];
    project_make(folder);
    write_config(folder, "gateway:\n  workers: 3\n  listeners:\n  - address: 127.0.0.1:8000\n"
                         "    backlog: 77\n  shutdown: { drain_timeout: 7s }\n");
    struct mg_bundle bundle;
    project_bundle(folder, &bundle);
    assert_int_equal(bundle.plan.workers, 3);
    assert_int_equal(bundle.plan.listener_count, 1);
    assert_string_equal(bundle.plan.listeners[0].address, "127.0.0.1:8000");
    assert_int_equal(bundle.plan.listeners[0].backlog, 77);
    assert_int_equal(bundle.plan.drain_timeout, 7000);
    assert_int_equal(bundle.plan.watchdog_ms, 2000);
    assert_int_equal(bundle.plan.shared_memory, 64 * 1024 * 1024);
    assert_int_equal(strlen(bundle.plan.digest), 64);
    mg_str data;
    assert_true(mg_bundle_find(&bundle, MG_STR("config"), &data));
    assert_true(mg_bundle_find(&bundle, MG_STR("ffi.h"), &data));
    assert_true(mg_bundle_find(&bundle, MG_STR("lua:moongate.runtime.bootstrap"), &data));
    assert_true(mg_bundle_find(&bundle, MG_STR("summary"), &data));
    mg_bundle_close(&bundle);
    project_remove(folder);
}

static void a_plugin_and_the_modules_beside_it_go_into_the_bundle(void **state)
{
    (void)state;
    char folder[PROJECT_PATH];
    project_make(folder);
    write_config(folder, "plugins:\n- name: tenant\n  config: { limits: [ { max_keys: 500 } ] }\n"
                         "- name: single\n");
    project_write(folder, "plugins/tenant/handler.lua",
                  "local text = require 'kong.plugins.tenant.text'\n"
                  "assert(text == require 'moongate.plugins.tenant.text')\n"
                  "return { PRIORITY = 10, VERSION = '1.0.0', access = function() end }");
    project_write(folder, "plugins/tenant/text.lua", "return { hello = 'hi' }");
    project_write(folder, "plugins/tenant/late.lua", "return 'late'");
    project_write(folder, "plugins/tenant/tenant_spec.lua", "error('not to be loaded')");
    project_write(folder, "plugins/tenant/schema.lua",
                  "return { name = 'tenant', fields = { { config = { type = 'record', fields = {"
                  " { limits = { type = 'array', elements = { type = 'record', fields = {"
                  " { max_keys = { type = 'integer' } } } } } } } } } } }");
    project_write(folder, "plugins/single.lua", "return { log = function() end }");
    struct mg_bundle bundle;
    project_bundle(folder, &bundle);
    mg_str data;
    assert_true(mg_bundle_find(&bundle, MG_STR("lua:moongate.plugins.tenant.handler"), &data));
    assert_true(mg_str_starts(data, mg_str_from(folder)));
    assert_true(mg_bundle_find(&bundle, MG_STR("lua:moongate.plugins.tenant.schema"), &data));
    assert_true(mg_bundle_find(&bundle, MG_STR("lua:moongate.plugins.tenant.text"), &data));
    assert_true(mg_bundle_find(&bundle, MG_STR("lua:moongate.plugins.tenant.late"), &data));
    assert_false(mg_bundle_find(&bundle, MG_STR("lua:moongate.plugins.tenant.tenant_spec"), &data));
    assert_true(mg_bundle_find(&bundle, MG_STR("lua:moongate.plugins.single"), &data));
    assert_int_equal(bundle.plan.limit_cells, 500);
    mg_bundle_close(&bundle);
    project_remove(folder);
}

static void all_errors_are_told_in_one_run(void **state)
{
    (void)state;
    char folder[PROJECT_PATH];
    project_make(folder);
    write_config(folder, "plugins:\n- name: broken\n- name: wrong\n- name: nowhere\n- name: old\n"
                         "gateway:\n  wrokers: 3\n");
    project_write(folder, "plugins/broken.lua", "return {\n  access = function( end }");
    project_write(folder, "plugins/wrong.lua", "error('no luck')");
    project_write(folder, "plugins/old/handler.lua", "return { VERSION = '1.0.0' }");
    project_write(folder, "plugins/old/schema.lua", "return { name = 'old', fields = {} }");
    assert_int_equal(check(folder, NULL, false), MG_EINVALID);
    assert_reported("plugins/broken.lua:2:");
    assert_reported("no luck");
    assert_reported("no plugin is called \"nowhere\"");
    assert_reported("/plugins/, what comes with the gateway");
    assert_reported("PRIORITY field is not a valid integer number, got: \"nil\"");
    assert_reported("wrokers");
    assert_reported("moongate.yml:");
    project_remove(folder);
}

static void findings_come_as_json_too(void **state)
{
    (void)state;
    char folder[PROJECT_PATH];
    project_make(folder);
    write_config(folder, "gateway:\n  wrokers: 3\n");
    assert_int_equal(check(folder, NULL, true), MG_EINVALID);
    assert_int_equal(report_text[0], '{');
    assert_reported("\"line\":9");
    assert_reported("\"suggestion\":\"workers\"");
    project_remove(folder);
}

static void a_missing_file_is_one_sentence(void **state)
{
    (void)state;
    char folder[PROJECT_PATH];
    project_make(folder);
    assert_int_equal(check(folder, NULL, false), MG_EINVALID);
    assert_reported("moongate.yml: the configuration cannot be read: No such file or directory");
    project_remove(folder);
}

static void a_module_that_never_ends_is_stopped(void **state)
{
    (void)state;
    char folder[PROJECT_PATH], path[256];
    project_make(folder);
    write_config(folder, "plugins:\n- name: endless\n");
    project_write(folder, "plugins/endless.lua",
                  "while true do pcall(function() while true do end end) end");
    struct mg_checker_options options = project_options(path, folder);
    options.timeout_ms = 100;
    struct mg_buf report;
    mg_buf_init(&report, 1 << 16);
    assert_int_equal(mg_checker_run(&options, NULL, &report), MG_EINVALID);
    assert_non_null(memmem(mg_buf_view(&report).ptr, report.len, "init_timeout", 12));
    mg_buf_deinit(&report);
    project_remove(folder);
}

static void waiting_at_load_is_an_error_that_says_so(void **state)
{
    (void)state;
    char folder[PROJECT_PATH];
    project_make(folder);
    write_config(folder, "plugins:\n- name: sleeper\n");
    project_write(folder, "plugins/sleeper.lua", "ngx.sleep(1) return {}");
    assert_int_equal(check(folder, NULL, false), MG_EINVALID);
    assert_reported("nothing can wait while modules are loaded");
    project_remove(folder);
}

static void count_plugin(void *context, const struct mg_checker_plugin *plugin)
{
    char *text = context;
    const size_t length = strlen(text);
    snprintf(text + length, 512 - length, "%.*s %g %.*s [%.*s]%s\n", MG_STR_ARG(plugin->name),
             plugin->priority, MG_STR_ARG(plugin->scope), MG_STR_ARG(plugin->phases),
             plugin->by_consumer ? " by consumer" : "");
}

static void the_chain_of_a_route_can_be_told(void **state)
{
    (void)state;
    char folder[PROJECT_PATH], path[256], text[512] = "";
    project_make(folder);
    write_config(folder, "    plugins:\n    - name: b\nplugins:\n- name: a\n- name: b\n"
                         "consumers:\n- username: eve\n  plugins:\n  - name: a\n");
    project_write(folder, "plugins/a.lua",
                  "return { PRIORITY = 7, access = function() end,"
                  " log = function() end }");
    project_write(folder, "plugins/b.lua", "return { access = function() end }");
    const struct mg_checker_options options = project_options(path, folder);
    struct mg_checker *checker;
    struct mg_buf report;
    mg_buf_init(&report, 1 << 16);
    if (mg_checker_open(&checker, &options, &report)) {
        fail_msg("%.*s", MG_STR_ARG(mg_buf_view(&report)));
    }
    struct mg_config *config = mg_checker_config(checker);
    assert_int_equal(config->route_count, 1);
    assert_int_equal(mg_checker_plugins(checker, &config->routes[0], count_plugin, text), 0);
    assert_string_equal(text, "b 1000 route [access]\na 7 global [access log] by consumer\n");
    text[0] = '\0';
    assert_int_equal(mg_checker_plugins(checker, NULL, count_plugin, text), 0);
    assert_string_equal(text, "b 1000 global [access]\na 7 global [access log]\n");
    mg_checker_close(checker);
    mg_buf_deinit(&report);
    project_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_file_is_accepted_and_its_plan_written),
        cmocka_unit_test(a_plugin_and_the_modules_beside_it_go_into_the_bundle),
        cmocka_unit_test(all_errors_are_told_in_one_run),
        cmocka_unit_test(findings_come_as_json_too),
        cmocka_unit_test(a_missing_file_is_one_sentence),
        cmocka_unit_test(a_module_that_never_ends_is_stopped),
        cmocka_unit_test(waiting_at_load_is_an_error_that_says_so),
        cmocka_unit_test(the_chain_of_a_route_can_be_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
