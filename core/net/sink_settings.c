/* SPDX-License-Identifier: Apache-2.0 */
/* Copies and comparison of a sink's settings. */
#include "net/sink_settings.h"

#include "base/err.h"

#include <stdlib.h>

#define TEXTS 13

static void collect(struct mg_sink_settings *settings, mg_str *texts[TEXTS])
{
    mg_str *all[TEXTS] = {&settings->path,        &settings->name,       &settings->host,
                          &settings->tag,         &settings->method,     &settings->target,
                          &settings->headers,     &settings->host_field, &settings->content_type,
                          &settings->server_name, &settings->ca,         &settings->cert,
                          &settings->key};
    memcpy(texts, all, sizeof all);
}

void mg_sink_settings_copy(struct mg_sink_settings *to, const struct mg_sink_settings *from,
                           char **block)
{
    mg_str *texts[TEXTS];
    size_t bytes = 0;
    *to = *from;
    collect(to, texts);
    for (unsigned i = 0; i < TEXTS; i++) {
        bytes += texts[i]->len + 1;
    }
    char *at = *block = calloc(1, bytes);
    mg_require(at != NULL);
    for (unsigned i = 0; i < TEXTS; i++) {
        if (texts[i]->len > 0) {
            memcpy(at, texts[i]->ptr, texts[i]->len);
        }
        texts[i]->ptr = at;
        at += texts[i]->len + 1;
    }
}

static bool equal_texts(const struct mg_sink_settings *a, const struct mg_sink_settings *b)
{
    struct mg_sink_settings left = *a, right = *b;
    mg_str *ours[TEXTS], *theirs[TEXTS];
    collect(&left, ours);
    collect(&right, theirs);
    for (unsigned i = 0; i < TEXTS; i++) {
        if (!mg_str_equal(*ours[i], *theirs[i])) {
            return false;
        }
    }
    return true;
}

bool mg_sink_settings_equal(const struct mg_sink_settings *a, const struct mg_sink_settings *b)
{
    const bool where = a->kind == b->kind && a->port == b->port && a->mode == b->mode &&
                       a->reopen_check_ms == b->reopen_check_ms;
    const bool queue = a->queue_bytes == b->queue_bytes && a->queue_entries == b->queue_entries &&
                       a->drop_newest == b->drop_newest && a->batch == b->batch &&
                       a->flush_ms == b->flush_ms;
    const bool times = a->connect_ms == b->connect_ms && a->timeout_ms == b->timeout_ms &&
                       a->first_ms == b->first_ms && a->max_ms == b->max_ms &&
                       a->for_ms == b->for_ms && a->keepalive_ms == b->keepalive_ms;
    const bool form = a->syslog == b->syslog && a->facility == b->facility &&
                      a->encoding == b->encoding && a->gzip == b->gzip && a->tls == b->tls &&
                      a->no_verify == b->no_verify;
    return where && queue && times && form && equal_texts(a, b);
}
