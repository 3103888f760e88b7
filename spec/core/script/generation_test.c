/* SPDX-License-Identifier: Apache-2.0 */
/* Building generations from a bundle, their start, hand-over and end. */
#include "support/project.h"

#include "model/req.h"
#include "net/loop.h"
#include "script/generation.h"
#include "script/hook.h"
#include "script/vm.h"

#include <lua.h>

struct world {
    char folder[PROJECT_PATH];
    struct mg_loop loop;
    struct mg_environment environment;
    struct mg_bundle bundle;
    struct mg_generation *built;
    bool done;
    int status;
    char errors[1 << 14];
    struct mg_req req;
    int verdict;
};

static struct world world;

static const char config_head[] = "_format_version: \"3.0\"\n"
                                  "services:\n"
                                  "- name: orders\n"
                                  "  url: http://127.0.0.1:9101\n"
                                  "  routes:\n"
                                  "  - name: orders\n"
                                  "    paths: [/orders]\n"
                                  "plugins:\n- name: p\n";

static void on_hook_done(struct mg_req *req, enum mg_phase phase, int verdict)
{
    (void)req;
    (void)phase;
    world.verdict = verdict;
}

static const struct mg_req_ops ops = {.hook_done = on_hook_done};

static int setup(void **state)
{
    memset(&world, 0, sizeof world);
    *state = &world;
    project_make(world.folder);
    project_write(world.folder, "moongate.yml", config_head);
    if (mg_loop_open(&world.loop)) {
        return -1;
    }
    world.environment = (struct mg_environment){
        .loop = &world.loop,
        .lua_path = MOONGATE_SOURCE_DIR "/lua",
        .plugins_path = MOONGATE_SOURCE_DIR "/plugins",
        .ffi_header = "/nowhere/ffi.h", /* all comes from the bundle */
        .workers = 1,
    };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mg_loop_close(&world.loop);
    project_remove(world.folder);
    return 0;
}

static void on_built(void *context, int status, struct mg_generation *generation,
                     const char *errors)
{
    (void)context;
    world.done = true;
    world.status = status;
    world.built = generation;
    snprintf(world.errors, sizeof world.errors, "%s", errors ? errors : "");
    assert_int_equal(status == 0, generation != NULL);
}

/* The generation for plugins/p.lua with that text; NULL: refused, see world.errors. */
static struct mg_generation *build(const char *plugin, uint64_t number)
{
    project_write(world.folder, "plugins/p.lua", plugin);
    project_bundle(world.folder, &world.bundle);
    project_write(world.folder, "plugins/p.lua", "error('read from disk')");
    world.done = false;
    assert_int_equal(mg_generation_build(&world.environment, &world.bundle, number, on_built, NULL),
                     0);
    assert_false(world.done);
    for (int turns = 0; !world.done && turns < 1000000; turns++) {
        mg_loop_step(&world.loop, true);
    }
    assert_true(world.done);
    mg_bundle_close(&world.bundle);
    return world.built;
}

static struct mg_req *request_on(struct mg_generation *generation)
{
    struct mg_req *req = &world.req;
    if (!req->arena.block_bytes) {
        mg_arena_init(&req->arena, 4096);
        mg_buf_init(&req->filter_out, 1024);
    }
    mg_arena_reset(&req->arena);
    mg_req_reset(req);
    mg_generation_hold(generation);
    req->config = generation->config;
    req->vm = generation->vm;
    req->ops = &ops;
    req->route = &generation->config->routes[0];
    req->request_id = MG_STR("id");
    world.verdict = -1;
    return req;
}

static void end_request(struct mg_generation *generation)
{
    if (world.req.lua_used) {
        mg_hook_end(&world.req);
    }
    mg_arena_deinit(&world.req.arena);
    mg_buf_deinit(&world.req.filter_out);
    memset(&world.req, 0, sizeof world.req);
    mg_generation_release(generation);
}

/* A number that the plugin left in a global. */
static lua_Number global_number(const struct mg_generation *generation, const char *name)
{
    lua_State *L = generation->vm->L;
    lua_getglobal(L, name);
    const lua_Number value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

static void a_generation_is_built_from_the_bundle_alone(void **state)
{
    (void)state;
    struct mg_generation *generation =
        build("return { access = function() rawset(_G, 'ran', 7) end }", 3);
    if (!generation) {
        fail_msg("%s", world.errors);
    }
    assert_int_equal(generation->number, 3);
    assert_int_equal(generation->references, 1);
    assert_int_equal(generation->config->generation, 3);
    assert_int_equal(generation->config->digest.len, 64);
    assert_non_null(generation->peers);
    mg_generation_activate(generation, NULL);
    struct mg_req *req = request_on(generation);
    assert_int_equal(mg_hook_run(req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_int_equal(global_number(generation, "ran"), 7);
    end_request(generation);
    mg_generation_release(generation);
}

static void init_worker_and_configure_run_and_may_wait(void **state)
{
    (void)state;
    struct mg_generation *generation =
        build("local seen = {}\n"
              "return { init_worker = function() ngx.sleep(0.01) seen[1] = 'init' end,\n"
              "  configure = function(_, configs)\n"
              "    ngx.sleep(0.01)\n"
              "    rawset(_G, 'count', seen[1] == 'init' and #configs or -1) end }",
              1);
    if (!generation) {
        fail_msg("%s", world.errors);
    }
    assert_int_equal(global_number(generation, "count"), 1);
    mg_generation_release(generation);
}

static void a_failing_init_worker_refuses_the_generation(void **state)
{
    (void)state;
    assert_null(build("return { init_worker = function() error('no way') end }", 1));
    assert_int_equal(world.status, MG_ELUA);
    assert_non_null(strstr(world.errors, "plugin \"p\": "));
    assert_non_null(strstr(world.errors, "no way"));
    assert_non_null(strstr(world.errors, "plugins/p.lua:1:"));
}

static void a_failing_init_worker_of_an_open_plugin_is_only_logged(void **state)
{
    (void)state;
    struct mg_generation *generation =
        build("return { init_worker = function() error('no way') end, log = function() end }", 1);
    assert_non_null(generation);
    mg_generation_release(generation);
}

static void an_init_worker_that_waits_for_ever_is_given_up(void **state)
{
    (void)state;
    char text[1024];
    snprintf(text, sizeof text, "%sgateway: { plugins: { init_timeout: 50ms } }\n", config_head);
    project_write(world.folder, "moongate.yml", text);
    assert_null(build("return { init_worker = function() ngx.sleep(3600) end }", 1));
    assert_int_equal(world.status, MG_ETIMEOUT);
    assert_non_null(strstr(world.errors, "init_worker took longer than init_timeout (50 ms)"));
}

static void an_endless_init_worker_is_stopped_by_its_cpu_limit(void **state)
{
    (void)state;
    assert_null(build("return { init_worker = function() while true do end end }", 1));
    assert_non_null(
        strstr(world.errors, "CPU limit of 50 ms reached (plugin p, phase init_worker)"));
}

static void a_module_kept_for_later_is_found_when_the_bundle_is_closed(void **state)
{
    (void)state;
    project_write(world.folder, "plugins/q/handler.lua",
                  "return { PRIORITY = 1, VERSION = '1.0.0', access = function()"
                  " rawset(_G, 'late', require 'kong.plugins.q.late') end }");
    project_write(
        world.folder, "plugins/q/schema.lua",
        "return { name = 'q', fields = { { config = { type = 'record', fields = {} } } } }");
    project_write(world.folder, "plugins/q/late.lua", "return 42");
    char text[1024];
    snprintf(text, sizeof text, "%s- name: q\n", config_head);
    project_write(world.folder, "moongate.yml", text);
    struct mg_generation *generation = build("return {}", 1);
    if (!generation) {
        fail_msg("%s", world.errors);
    }
    struct mg_req *req = request_on(generation);
    assert_int_equal(mg_hook_run(req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_int_equal(global_number(generation, "late"), 42);
    end_request(generation);
    mg_generation_release(generation);
}

static void a_request_keeps_the_generation_it_began_with(void **state)
{
    (void)state;
    const char *plugin = "return { access = function() ngx.sleep(0.02) end }";
    struct mg_generation *old = build(plugin, 1);
    assert_non_null(old);
    mg_generation_activate(old, NULL);
    struct mg_req *req = request_on(old);
    assert_int_equal(mg_hook_run(req, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    struct mg_generation *new = build(plugin, 2);
    assert_non_null(new);
    mg_generation_activate(new, old);
    mg_generation_retire(old);
    assert_int_equal(old->references, 1);
    while (world.verdict < 0) {
        mg_loop_step(&world.loop, true);
    }
    assert_int_equal(world.verdict, MG_VERDICT_CONTINUE);
    end_request(old); /* which frees it: the sanitizer would tell */
    mg_generation_release(new);
}

static void on_later(struct mg_deadline *deadline)
{
    (void)deadline;
    world.done = true;
}

static void timers_of_a_retired_generation_fire_once_as_premature(void **state)
{
    (void)state;
    struct mg_generation *old =
        build("return { init_worker = function()\n"
              "  ngx.timer.at(3600, function(premature)\n"
              "    rawset(_G, 'premature', premature and 1 or 0)\n"
              "    local ok, err = ngx.timer.at(5, function() end)\n"
              "    rawset(_G, 'refused', not ok and err == 'process exiting' and 1 or 0)\n"
              "    ngx.sleep(0.01) end)\n"
              "end }",
              1);
    if (!old) {
        fail_msg("%s", world.errors);
    }
    mg_generation_hold(old); /* to look into it afterwards */
    mg_generation_retire(old);
    assert_int_equal(global_number(old, "premature"), 1);
    assert_int_equal(global_number(old, "refused"), 1);
    mg_generation_release(old); /* its timer still sleeps: it goes when that has ended */
    struct mg_deadline later;
    mg_deadline_init(&later);
    world.done = false;
    mg_deadline_arm_at(&world.loop.deadlines, &later, on_later, mg_loop_now_ms(&world.loop) + 50);
    while (!world.done) {
        mg_loop_step(&world.loop, true);
    }
}

static void a_loop_can_be_closed_while_a_generation_is_built(void **state)
{
    (void)state;
    project_write(world.folder, "plugins/p.lua", "return {}");
    project_bundle(world.folder, &world.bundle);
    assert_int_equal(mg_generation_build(&world.environment, &world.bundle, 1, on_built, NULL), 0);
    mg_loop_close(&world.loop);
    assert_true(world.done);
    assert_int_equal(world.status, MG_ECANCELLED);
    mg_bundle_close(&world.bundle);
    assert_int_equal(mg_loop_open(&world.loop), 0); /* for teardown */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_generation_is_built_from_the_bundle_alone),
        TEST(init_worker_and_configure_run_and_may_wait),
        TEST(a_failing_init_worker_refuses_the_generation),
        TEST(a_failing_init_worker_of_an_open_plugin_is_only_logged),
        TEST(an_init_worker_that_waits_for_ever_is_given_up),
        TEST(an_endless_init_worker_is_stopped_by_its_cpu_limit),
        TEST(a_module_kept_for_later_is_found_when_the_bundle_is_closed),
        TEST(a_request_keeps_the_generation_it_began_with),
        TEST(timers_of_a_retired_generation_fire_once_as_premature),
        TEST(a_loop_can_be_closed_while_a_generation_is_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
