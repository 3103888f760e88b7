/* SPDX-License-Identifier: Apache-2.0 */
/* Circuit breakers in the master: their names, `moongate breaker`. */
#include "breakers.h"

#include "base/shm_named.h"
#include "breakers_show.h"
#include "cli.h"
#include "model/breaker.h"
#include "model/breaker_hand.h"
#include "model/breaker_view.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES 1024
#define ALL_BYTES (4 * 1024 * 1024)

/* --- names ----------------------------------------------------------------------------------- */

/* The lines of the bundle's entry "breakers". */
static mg_str names_of(const struct mg_master *master)
{
    mg_str names = mg_str_make(NULL, 0);
    (void)mg_bundle_find(&master->bundle, MG_STR("breakers"), &names);
    return names;
}

static bool next_name(mg_str *names, mg_str *name)
{
    if (names->len == 0) {
        return false;
    }
    const ptrdiff_t end = mg_str_find(*names, '\n', 0);
    const size_t length = end < 0 ? names->len : (size_t)end;
    *name = mg_str_slice(*names, 0, length);
    *names = mg_str_slice(*names, length + 1, names->len);
    return true;
}

void mg_breakers_follow(struct mg_master *master, uint64_t now_ms)
{
    mg_str rest = names_of(master), name;
    size_t count = 0;
    while (next_name(&rest, &name)) {
        count++;
    }
    mg_str *names = calloc(count + 1, sizeof *names);
    mg_require(names != NULL);
    rest = names_of(master);
    for (size_t i = 0; i < count && next_name(&rest, &name); i++) {
        names[i] = name;
    }
    mg_breaker_records_follow(master->shm, names, count, mg_shm_now_ms(master->shm, now_ms));
    free(names);
}

/* --- lists ----------------------------------------------------------------------------------- */

struct list {
    struct mg_buf text;
    struct mg_json_out json;
    bool as_json;
    mg_str only; /* this one; empty = all */
    int64_t now_ms;
};

static bool show_one(void *context, const struct mg_breaker_view *view)
{
    struct list *list = context;
    if (list->only.len > 0 && !mg_str_equal(list->only, mg_str_from(view->name))) {
        return true;
    }
    if (list->as_json) {
        mg_breakers_show_json(view, &list->json);
    } else {
        mg_breakers_show_text(view, list->now_ms, &list->text);
    }
    return true;
}

static void reply_list(struct mg_master *master, struct mg_control_client *client, bool as_json,
                       mg_str only, uint64_t now_ms)
{
    struct list list = {
        .as_json = as_json, .only = only, .now_ms = mg_shm_now_ms(master->shm, now_ms)};
    mg_buf_init(&list.text, ALL_BYTES);
    list.json = (struct mg_json_out){.buf = &list.text};
    if (as_json) {
        mg_json_out_open(&list.json, '{');
        mg_json_out_number_field(&list.json, "format", MG_BREAKERS_FORMAT);
        mg_json_out_key(&list.json, MG_STR("breakers"));
        mg_json_out_open(&list.json, '[');
    }
    mg_breaker_visit(master->shm, list.now_ms, show_one, &list);
    if (as_json) {
        mg_json_out_close(&list.json, ']');
        mg_json_out_close(&list.json, '}');
        (void)!mg_buf_append(&list.text, MG_STR("\n"));
    } else if (list.text.len == 0) {
        (void)!mg_buf_append(&list.text, MG_STR("no breakers are configured\n"));
    }
    mg_control_reply(client, MG_EXIT_OK, mg_buf_view(&list.text));
    mg_buf_deinit(&list.text);
}

/* --- changes by hand -------------------------------------------------------------------------- */

struct order {
    bool as_json;
    mg_str word;
    enum mg_breaker_hand hand;
    int64_t for_ms;
    mg_str name, reason;
};

/* What stands before the next tab. */
static mg_str next_part(mg_str *rest)
{
    const ptrdiff_t end = mg_str_find(*rest, '\t', 0);
    const size_t length = end < 0 ? rest->len : (size_t)end;
    const mg_str part = mg_str_slice(*rest, 0, length);
    *rest = mg_str_slice(*rest, length + 1, rest->len);
    return part;
}

static void reply_text(struct mg_control_client *client, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void reply_text(struct mg_control_client *client, int code, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const size_t bytes = length < 0 ? 0 : (size_t)length;
    mg_control_reply(client, code,
                     mg_str_make(text, bytes < sizeof text ? bytes : sizeof text - 1));
}

/* The breaker that is meant by a name that there is not: a scope left out, or letters mistyped. */
struct search {
    const char *typed;
    char meant[MG_BREAKER_NAME];
};

static bool look_at(void *context, const struct mg_breaker_view *view)
{
    struct search *search = context;
    const char *colon = strchr(view->name, ':');
    const char *entity = colon ? colon + 1 : view->name;
    const char *const words[] = {view->name, entity, NULL};
    if (!mg_cli_meant(search->typed, words) && strcmp(search->typed, entity) != 0) {
        return true;
    }
    memcpy(search->meant, view->name, sizeof search->meant);
    return strcmp(search->typed, entity) != 0; /* nothing is nearer than the same entity */
}

static void reply_unknown(struct mg_master *master, struct mg_control_client *client, mg_str name,
                          int64_t now_ms)
{
    char typed[MG_CONTROL_LINE_BYTES];
    snprintf(typed, sizeof typed, "%.*s", MG_STR_ARG(name));
    struct search search = {.typed = typed};
    mg_breaker_visit(master->shm, now_ms, look_at, &search);
    if (search.meant[0]) {
        reply_text(client, MG_EXIT_FAILED, "there is no breaker '%s'; did you mean '%s'?\n", typed,
                   search.meant);
    } else {
        reply_text(client, MG_EXIT_FAILED,
                   "there is no breaker '%s'; 'moongate breaker' lists them\n", typed);
    }
}

/* "uid 0 (root), pid 12" */
static void asker_text(const struct mg_control_client *client, char *text, size_t bytes)
{
    int32_t pid = 0;
    uint32_t uid = 0;
    if (!mg_control_asker(client, &pid, &uid)) {
        snprintf(text, bytes, "somebody unknown");
        return;
    }
    const struct passwd *user = getpwuid(uid);
    snprintf(text, bytes, "uid %" PRIu32 " (%s), pid %" PRId32, uid, user ? user->pw_name : "?",
             pid);
}

static void log_order(struct mg_master *master, const struct mg_control_client *client,
                      const struct order *order, const struct mg_breaker_change *change)
{
    char who[256], lasts[48] = "";
    asker_text(client, who, sizeof who);
    if (order->for_ms > 0) {
        snprintf(lasts, sizeof lasts, ", for %.1f s", (double)order->for_ms / 1000);
    }
    mg_log_write(master->log, MG_LOG_WARN, "breaker", "breaker %.*s: %s -> %s (%s)%s, by %s%s%.*s",
                 MG_STR_ARG(order->name), mg_breaker_state_name(change->from),
                 mg_breaker_state_name(change->to), mg_breaker_reason_name(change->reason), lasts,
                 who, order->reason.len > 0 ? ": " : "", MG_STR_ARG(order->reason));
}

static void obey(struct mg_master *master, struct mg_control_client *client,
                 const struct order *order, uint64_t now_ms)
{
    struct mg_breaker_change change;
    const int64_t time_ms = mg_shm_now_ms(master->shm, now_ms);
    if (mg_breaker_by_hand(master->shm, order->name, order->hand, order->for_ms, time_ms,
                           &change) != 0) {
        reply_unknown(master, client, order->name, time_ms);
        return;
    }
    if (change.happened) {
        log_order(master, client, order, &change);
        mg_stats_add(mg_shm_stats(master->shm, master->seats.count), MG_STAT_BREAKER_TRANSITIONS,
                     1);
    }
    if (order->as_json) {
        reply_list(master, client, true, order->name, now_ms);
    } else if (change.happened) {
        reply_text(client, MG_EXIT_OK, "%.*s: %s -> %s\n", MG_STR_ARG(order->name),
                   mg_breaker_state_name(change.from), mg_breaker_state_name(change.to));
    } else {
        reply_text(client, MG_EXIT_OK, "%.*s: was not switched by hand, nothing to change\n",
                   MG_STR_ARG(order->name));
    }
}

/* --- the verb --------------------------------------------------------------------------------- */

void mg_breakers_answer(struct mg_master *master, struct mg_control_client *client,
                        mg_str arguments, uint64_t now_ms)
{
    struct order order = {.as_json = mg_str_equal(next_part(&arguments), MG_STR("json"))};
    char number[24];
    if (!master->shm) {
        reply_text(client, MG_EXIT_FAILED, "The gateway is just starting.\n");
        return;
    }
    order.word = next_part(&arguments);
    const mg_str for_ms = next_part(&arguments);
    snprintf(number, sizeof number, "%.*s", MG_STR_ARG(for_ms));
    order.for_ms = strtoll(number, NULL, 10);
    order.name = next_part(&arguments);
    order.reason = next_part(&arguments);
    if (mg_str_equal(order.word, MG_STR("list"))) {
        reply_list(master, client, order.as_json, mg_str_make(NULL, 0), now_ms);
    } else if (mg_breaker_hand_of(order.word, &order.hand) && order.for_ms >= 0) {
        obey(master, client, &order, now_ms);
    } else {
        reply_text(client, MG_EXIT_USAGE, "this gateway does not know '%.*s'\n",
                   MG_STR_ARG(order.word));
    }
}
