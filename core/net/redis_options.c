/* SPDX-License-Identifier: Apache-2.0 */
/* Options: copied, compared, named. All texts of a copy lie in the same block, so that freeing
 * wipes them together. */
#include "net/redis_options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXTS 10

static void texts_of(struct mg_redis_options *options, mg_str *texts[TEXTS])
{
    texts[0] = &options->name;
    texts[1] = &options->master;
    texts[2] = &options->sentinel_username;
    texts[3] = &options->sentinel_password;
    texts[4] = &options->username;
    texts[5] = &options->password;
    texts[6] = &options->server_name;
    texts[7] = &options->tls.ca;
    texts[8] = &options->tls.cert;
    texts[9] = &options->tls.key;
}

static size_t bytes_of(struct mg_redis_options *options)
{
    mg_str *texts[TEXTS];
    size_t bytes = sizeof *options + options->node_count * sizeof *options->nodes;
    texts_of(options, texts);
    for (size_t i = 0; i < TEXTS; i++) {
        bytes += texts[i]->len;
    }
    for (uint32_t i = 0; i < options->node_count; i++) {
        bytes += options->nodes[i].host.len;
    }
    return bytes;
}

/* Moves the view to its copy at *at. */
static void place_text(mg_str *text, char **at)
{
    if (text->len > 0) {
        memcpy(*at, text->ptr, text->len);
    }
    text->ptr = *at;
    *at += text->len;
}

struct mg_redis_options *mg_redis_options_copy(const struct mg_redis_options *options)
{
    struct mg_redis_options shallow = *options;
    struct mg_redis_options *copy = malloc(bytes_of(&shallow));
    mg_require(copy != NULL);
    *copy = shallow;
    copy->nodes = (struct mg_redis_address *)(copy + 1);
    memcpy(copy->nodes, options->nodes, options->node_count * sizeof *copy->nodes);
    char *at = (char *)(copy->nodes + copy->node_count);
    mg_str *texts[TEXTS];
    texts_of(copy, texts);
    for (size_t i = 0; i < TEXTS; i++) {
        place_text(texts[i], &at);
    }
    for (uint32_t i = 0; i < copy->node_count; i++) {
        place_text(&copy->nodes[i].host, &at);
    }
    return copy;
}

void mg_redis_options_free(struct mg_redis_options *options)
{
    if (options) {
        explicit_bzero(options, bytes_of(options));
        free(options);
    }
}

static bool equal_nodes(const struct mg_redis_options *a, const struct mg_redis_options *b)
{
    if (a->node_count != b->node_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->node_count; i++) {
        if (a->nodes[i].port != b->nodes[i].port ||
            !mg_str_equal(a->nodes[i].host, b->nodes[i].host)) {
            return false;
        }
    }
    return true;
}

bool mg_redis_options_equal(const struct mg_redis_options *a, const struct mg_redis_options *b)
{
    struct mg_redis_options left = *a, right = *b;
    mg_str *left_texts[TEXTS], *right_texts[TEXTS];
    texts_of(&left, left_texts);
    texts_of(&right, right_texts);
    for (size_t i = 0; i < TEXTS; i++) {
        if (!mg_str_equal(*left_texts[i], *right_texts[i])) {
            return false;
        }
    }
    return a->topology == b->topology && a->use_tls == b->use_tls &&
           a->tls.no_verify == b->tls.no_verify && equal_nodes(a, b) &&
           a->database == b->database && a->timeout_ms == b->timeout_ms &&
           a->connect_timeout_ms == b->connect_timeout_ms && a->connections == b->connections &&
           a->max_pending == b->max_pending && a->breaker.failures == b->breaker.failures &&
           a->breaker.within_ms == b->breaker.within_ms &&
           a->breaker.open_ms == b->breaker.open_ms && a->breaker.max_ms == b->breaker.max_ms;
}

static int put(struct mg_buf *out, mg_str text, const char *format, ...)
{
    char numbers[64];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(numbers, sizeof numbers, format, arguments);
    va_end(arguments);
    const int err = mg_buf_append(out, text);
    return err ? err : mg_buf_append(out, mg_str_make(numbers, (size_t)length));
}

int mg_redis_options_identity(const struct mg_redis_options *options, struct mg_buf *out)
{
    int err = put(out, options->name, "\n%d %u ", (int)options->topology, options->database);
    err = err ? err : mg_buf_append(out, options->master);
    for (uint32_t i = 0; !err && i < options->node_count; i++) {
        const struct mg_redis_address *node = &options->nodes[i];
        err = mg_buf_append(out, MG_STR("\n"));
        err = err ? err : put(out, node->host, " %u", node->port);
    }
    return err;
}
