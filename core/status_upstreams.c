/* SPDX-License-Identifier: Apache-2.0 */
/* Upstreams in the order of their places in shared memory, each with its targets. */
#include "status_upstreams.h"

#include "model/upstreams.h"

#include <inttypes.h>
#include <stdlib.h>

/* The targets of each upstream, in one pass over the table. */
struct targets {
    struct mg_master *master;
    uint64_t now_ms;
    uint32_t *first; /* by upstream; index + 1, 0 = none */
    uint32_t *next;  /* by target */
};

static void gather(struct targets *targets, struct mg_master *master, uint64_t now_ms)
{
    const uint32_t count = mg_upstream_records(master->shm);
    *targets = (struct targets){.master = master,
                                .now_ms = now_ms,
                                .first = calloc(count, sizeof *targets->first),
                                .next = calloc(count, sizeof *targets->next)};
    mg_require(targets->first != NULL && targets->next != NULL);
    for (uint32_t i = count; i-- > 0;) {
        const struct mg_target_record *record = mg_target_record(master->shm, i);
        const uint32_t upstream = record ? record->upstream : count;
        if (upstream < count) {
            targets->next[i] = targets->first[upstream];
            targets->first[upstream] = i + 1;
        }
    }
}

static void forget(struct targets *targets)
{
    free(targets->first);
    free(targets->next);
}

/* The next target of an upstream; *at begins as first[upstream]. */
static bool next_target(const struct targets *targets, uint32_t *at, struct mg_target_view *view)
{
    while (*at > 0) {
        const uint32_t index = *at - 1;
        *at = targets->next[index];
        if (mg_target_view(targets->master->shm, index, targets->master->generation,
                           targets->now_ms, view)) {
            return true;
        }
    }
    return false;
}

/* --- text --- */

static void put_counts(const struct mg_upstream_view *view, struct mg_buf *out)
{
    mg_buf_put(out, "%" PRIu64 " requests", view->requests);
    for (unsigned i = 0; i < MG_RETRY_RESULTS; i++) {
        if (view->retries[i] > 0) {
            mg_buf_put(out, ", retries %s %" PRIu64, mg_retry_result_name((enum mg_retry_result)i),
                       view->retries[i]);
        }
    }
    for (unsigned i = 0; i < MG_EJECT_REASONS; i++) {
        if (view->ejections[i] > 0) {
            mg_buf_put(out, ", out for %s %" PRIu64, mg_eject_reason_name((enum mg_eject_reason)i),
                       view->ejections[i]);
        }
    }
    for (unsigned i = 0; i < MG_FULL_LIMITS; i++) {
        if (view->full[i] > 0) {
            mg_buf_put(out, ", full %s %" PRIu64, mg_full_limit_name((enum mg_full_limit)i),
                       view->full[i]);
        }
    }
    mg_buf_put(out, "\n");
}

static bool has_something_to_tell(const struct mg_upstream_view *view)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < MG_RETRY_RESULTS; i++) {
        sum += view->retries[i];
    }
    for (unsigned i = 0; i < MG_FULL_LIMITS; i++) {
        sum += view->full[i];
    }
    return sum > 0;
}

static void put_target(const struct mg_target_view *view, struct mg_buf *out)
{
    mg_buf_put(out, "             %-28s %s", view->name, mg_health_state_name(view->state));
    if (view->left_ms > 0) {
        mg_buf_put(out, ", %" PRIu64 ".%" PRIu64 " s left", view->left_ms / 1000,
                   view->left_ms % 1000 / 100);
    }
    if (view->ejected > 0) {
        mg_buf_put(out, ", out %" PRIu64 " times", view->ejected);
    }
    if (view->checks_ok + view->checks_failed > 0) {
        mg_buf_put(out, ", checks %" PRIu64 " ok %" PRIu64 " failed", view->checks_ok,
                   view->checks_failed);
    }
    mg_buf_put(out, "\n");
}

void mg_status_upstreams_text(struct mg_master *master, uint64_t now_ms, struct mg_buf *out)
{
    const char *label = "upstreams";
    struct targets targets;
    gather(&targets, master, now_ms);
    for (uint32_t i = 0; i < mg_upstream_records(master->shm); i++) {
        struct mg_upstream_view view;
        struct mg_target_view target;
        uint32_t at = targets.first[i];
        if (!mg_upstream_view(master->shm, i, master->generation, now_ms, &view)) {
            continue;
        }
        const bool has_target = next_target(&targets, &at, &target);
        if (!has_target && !has_something_to_tell(&view)) {
            continue;
        }
        mg_buf_put(out, "%-10s %s: ", label, view.name);
        put_counts(&view, out);
        label = "";
        for (bool more = has_target; more; more = next_target(&targets, &at, &target)) {
            put_target(&target, out);
        }
    }
    forget(&targets);
}

/* --- JSON --- */

static void json_target(const struct mg_target_view *view, struct mg_json_out *json)
{
    mg_json_out_open(json, '{');
    mg_json_out_text_field(json, "target", mg_str_from(view->name));
    mg_json_out_number_field(json, "weight", view->weight);
    mg_json_out_text_field(json, "health", mg_str_from(mg_health_state_name(view->state)));
    mg_json_out_number_field(json, "left_ms", view->left_ms);
    mg_json_out_number_field(json, "ejected", view->ejected);
    mg_json_out_number_field(json, "checks_ok", view->checks_ok);
    mg_json_out_number_field(json, "checks_failed", view->checks_failed);
    mg_json_out_close(json, '}');
}

static void json_counts(const struct mg_upstream_view *view, struct mg_json_out *json)
{
    mg_json_out_number_field(json, "requests", view->requests);
    mg_json_out_number_field(json, "retry_budget", view->retry_budget / 1000);
    mg_json_out_key(json, MG_STR("retries"));
    mg_json_out_open(json, '{');
    for (unsigned i = 0; i < MG_RETRY_RESULTS; i++) {
        mg_json_out_number_field(json, mg_retry_result_name((enum mg_retry_result)i),
                                 view->retries[i]);
    }
    mg_json_out_close(json, '}');
    mg_json_out_key(json, MG_STR("ejections"));
    mg_json_out_open(json, '{');
    for (unsigned i = 0; i < MG_EJECT_REASONS; i++) {
        mg_json_out_number_field(json, mg_eject_reason_name((enum mg_eject_reason)i),
                                 view->ejections[i]);
    }
    mg_json_out_close(json, '}');
    mg_json_out_key(json, MG_STR("full"));
    mg_json_out_open(json, '{');
    for (unsigned i = 0; i < MG_FULL_LIMITS; i++) {
        mg_json_out_number_field(json, mg_full_limit_name((enum mg_full_limit)i), view->full[i]);
    }
    mg_json_out_close(json, '}');
}

void mg_status_upstreams_json(struct mg_master *master, uint64_t now_ms, struct mg_json_out *json)
{
    struct targets targets;
    gather(&targets, master, now_ms);
    mg_json_out_key(json, MG_STR("upstreams"));
    mg_json_out_open(json, '[');
    for (uint32_t i = 0; i < mg_upstream_records(master->shm); i++) {
        struct mg_upstream_view view;
        struct mg_target_view target;
        uint32_t at = targets.first[i];
        if (!mg_upstream_view(master->shm, i, master->generation, now_ms, &view)) {
            continue;
        }
        mg_json_out_open(json, '{');
        mg_json_out_text_field(json, "name", mg_str_from(view.name));
        json_counts(&view, json);
        mg_json_out_key(json, MG_STR("targets"));
        mg_json_out_open(json, '[');
        while (next_target(&targets, &at, &target)) {
            json_target(&target, json);
        }
        mg_json_out_close(json, ']');
        mg_json_out_close(json, '}');
    }
    mg_json_out_close(json, ']');
    forget(&targets);
}
