/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks over the network and their peers. */
#define _GNU_SOURCE /* accept4 */
#include "support/sink_rig.h"

#include "support/sockets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static void before_poll(void *context)
{
    struct sink_rig *f = context;
    if (f->sinks) {
        mg_sinks_flush(f->sinks);
    }
}

int sink_rig_setup(void **state)
{
    static const struct mg_dns_options options = {.timeout_ms = 1000, .tries = 1};
    struct sink_rig *f = calloc(1, sizeof *f);
    assert_int_equal(mg_loop_open_virtual(&f->loop, 1000000), 0);
    assert_int_equal(mg_dns_open(&f->dns, &f->loop, &options), 0);
    f->loop.before_poll = before_poll;
    f->loop.context = f;
    f->sinks = mg_sinks_open(&(struct mg_sinks_parts){.loop = &f->loop, .dns = f->dns});
    f->listening = f->peer = -1;
    *state = f;
    return 0;
}

void sink_rig_close_sinks(struct sink_rig *f)
{
    struct mg_sinks *sinks = f->sinks;
    f->sinks = NULL;
    if (sinks) {
        mg_sinks_close(sinks, 100);
    }
}

void sink_rig_hang_up(struct sink_rig *f)
{
    if (f->peer >= 0) {
        close(f->peer);
    }
    f->peer = -1;
    f->len = 0;
}

void sink_rig_let_go(struct sink_rig *f, struct mg_sink *sink)
{
    for (unsigned i = f->held_count; i-- > 0;) {
        if (!sink || f->held[i] == sink) {
            mg_sink_close(f->held[i]);
            f->held[i] = f->held[--f->held_count];
            if (sink) {
                return;
            }
        }
    }
}

int sink_rig_teardown(void **state)
{
    struct sink_rig *f = *state;
    sink_rig_close_sinks(f);
    sink_rig_let_go(f, NULL);
    sink_rig_hang_up(f);
    if (f->listening >= 0) {
        close(f->listening);
    }
    if (f->path[0]) {
        unlink(f->path);
    }
    f->loop.before_poll = NULL;
    mg_dns_close(f->dns);
    mg_loop_close(&f->loop);
    free(f);
    return 0;
}

/* --- the sink --- */

struct mg_sink_settings sink_rig_settings_of(const struct sink_rig *f, enum mg_sink_kind kind)
{
    return (struct mg_sink_settings){.kind = kind,
                                     .queue_bytes = 1 << 20,
                                     .queue_entries = 8192,
                                     .name = MG_STR("net"),
                                     .host = MG_STR("127.0.0.1"),
                                     .port = f->port,
                                     .connect_ms = 1000,
                                     .timeout_ms = 5000,
                                     .first_ms = 50,
                                     .max_ms = 1000,
                                     .for_ms = 10000,
                                     .batch = 3,
                                     .flush_ms = 1000,
                                     .facility = 16,
                                     .tag = MG_STR("moongate"),
                                     .method = MG_STR("POST"),
                                     .target = MG_STR("/logs?a=1"),
                                     .host_field = MG_STR("logs.test"),
                                     .headers = MG_STR("X-Key: 1\nX-More: a b\n"),
                                     .content_type = MG_STR("application/x-ndjson"),
                                     .keepalive_ms = 60000};
}

void sink_rig_open_sink(struct sink_rig *f, const struct mg_sink_settings *settings)
{
    char message[256] = "";
    if (mg_sink_open(f->sinks, settings, &f->sink, message, sizeof message) != 0) {
        fail_msg("%s", message);
    }
    assert_true(f->held_count < sizeof f->held / sizeof f->held[0]);
    f->held[f->held_count++] = f->sink;
}

struct mg_sink_counts sink_rig_counts_of(const struct sink_rig *f)
{
    struct mg_sink_counts counts;
    mg_sink_counts(f->sink, &counts);
    assert_int_equal(counts.offered, counts.written + counts.dropped + counts.queued);
    return counts;
}

void sink_rig_put(struct sink_rig *f, const char *line)
{
    mg_sink_put(f->sink, mg_str_from(line), MG_SINK_INFO);
}

void sink_rig_turn(struct sink_rig *f)
{
    mg_loop_turn(&f->loop);
}

void sink_rig_pass(struct sink_rig *f, uint64_t ms)
{
    sink_rig_turn(f); /* what waits begins to wait before the time passes */
    mg_clock_advance(&f->loop.clock, ms * 1000);
    sink_rig_turn(f);
    sink_rig_turn(f);
}

static bool has_written(void *context)
{
    struct sink_rig *f = context;
    return sink_rig_counts_of(f).written >= f->wanted;
}

void sink_rig_wait_written(struct sink_rig *f, size_t lines)
{
    f->wanted = lines;
    sockets_run_until(&f->loop, has_written, f);
}

bool sink_rig_has_failed(void *context)
{
    struct sink_rig *f = context;
    return mg_deadline_armed(&f->sink->retry);
}

bool sink_rig_is_quiet(void *context)
{
    struct sink_rig *f = context;
    return sink_rig_counts_of(f).queued == 0;
}

/* --- its peer --- */

void sink_rig_listen_tcp(struct sink_rig *f)
{
    f->listening = sockets_listen(&f->port);
    assert_return_code(fcntl(f->listening, F_SETFL, O_NONBLOCK), 0);
}

bool sink_rig_hears(void *context)
{
    struct sink_rig *f = context;
    if (f->peer < 0) {
        f->peer = accept4(f->listening, NULL, NULL, SOCK_NONBLOCK);
        return false;
    }
    const ssize_t n = recv(f->peer, f->said + f->len, sizeof f->said - 1 - f->len, 0);
    f->len += n > 0 ? (size_t)n : 0;
    f->said[f->len] = '\0';
    return f->len >= f->wanted;
}

void sink_rig_wait_said(struct sink_rig *f, const char *text)
{
    f->wanted = strlen(text);
    sockets_run_until(&f->loop, sink_rig_hears, f);
    assert_string_equal(f->said, text);
    f->len = 0;
}
