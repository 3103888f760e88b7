/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions behind moongate.redis (ffi.h, section Redis): a batch of commands belongs to Lua;
 * the wait for its replies belongs to the scheduler, which may give it up. */
#include "net/redis.h"
#include "script/sched.h"
#include "script/vm.h"

#include "script/export.h"
#include "script/ffi.h"

#include <stdlib.h>

#define WORDS_BYTES (16UL * 1024 * 1024) /* of all commands of a batch */
#define NODES 64
#define BATCH_COMMANDS 10000

/* One command of a batch. */
struct entry {
    struct mg_redis_command command;
    struct mg_ffi_redis_batch *batch;
    struct mg_redis_script *script; /* held by Lua */
    uint32_t first, count, keys;    /* its words */
    enum mg_redis_result result;
    struct mg_resp_reply reply;
};

struct word {
    size_t at, len; /* in bytes */
};

struct mg_ffi_redis_batch {
    struct mg_vm *vm;
    struct mg_redis *redis;
    struct mg_ticket ticket;
    struct mg_buf bytes;
    struct word *words;
    uint32_t word_count, word_size, ended; /* ended: words of commands that are complete */
    bool too_large;
    uint32_t count, size, waiting;
    struct entry entries[];
};

static mg_str given(struct mg_ffi_str text)
{
    return mg_str_make(text.ptr, text.len);
}

static uint64_t to_ms(double ms)
{
    return ms > 0 && ms < 4e12 ? (uint64_t)ms : 0;
}

/* --- instances and scripts -------------------------------------------------------------------- */

MG_FFI_EXPORT int mg_ffi_tls_check(const struct mg_ffi_str *ca, const struct mg_ffi_str *cert,
                                   const struct mg_ffi_str *key, char *message, size_t room)
{
    const struct mg_tls_options options = {
        .ca = given(*ca), .cert = given(*cert), .key = given(*key)};
    struct mg_tls_context *context = NULL;
    const int err = mg_tls_context_new(&context, &options, message, room);
    mg_tls_context_free(context);
    return err == 0;
}

MG_FFI_EXPORT struct mg_redis *mg_ffi_redis_hold(struct mg_vm *vm,
                                                 const struct mg_ffi_redis_options *options)
{
    struct mg_redis_address nodes[NODES];
    const uint32_t count = options->node_count < NODES ? (uint32_t)options->node_count : NODES;
    if (!vm->options.redis || count == 0) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        nodes[i] = (struct mg_redis_address){.host = given(options->nodes[i].host),
                                             .port = (uint16_t)options->nodes[i].port};
    }
    const struct mg_redis_options plain = {.name = given(options->name),
                                           .topology = (enum mg_redis_topology)options->topology,
                                           .nodes = nodes,
                                           .node_count = count,
                                           .master = given(options->master),
                                           .sentinel_username = given(options->sentinel_username),
                                           .sentinel_password = given(options->sentinel_password),
                                           .username = given(options->username),
                                           .password = given(options->password),
                                           .database = (uint32_t)options->database,
                                           .use_tls = options->use_tls != 0,
                                           .tls.no_verify = options->no_verify != 0,
                                           .tls.ca = given(options->ca),
                                           .tls.cert = given(options->cert),
                                           .tls.key = given(options->key),
                                           .server_name = given(options->server_name),
                                           .timeout_ms = to_ms(options->timeout_ms),
                                           .connect_timeout_ms = to_ms(options->connect_timeout_ms),
                                           .connections = (uint32_t)options->connections,
                                           .max_pending = (uint32_t)options->max_pending,
                                           .breaker = {.failures = (uint32_t)options->failures,
                                                       .within_ms = to_ms(options->within_ms),
                                                       .open_ms = to_ms(options->open_ms),
                                                       .max_ms = to_ms(options->max_ms)}};
    return mg_redis_hold(vm->options.redis, &plain);
}

MG_FFI_EXPORT void mg_ffi_redis_release(struct mg_redis *redis)
{
    mg_redis_release(redis);
}

MG_FFI_EXPORT struct mg_redis_script *mg_ffi_redis_script(struct mg_vm *vm, const char *source,
                                                          size_t len)
{
    return vm->options.redis
               ? mg_redis_script_hold(mg_redis_scripts(vm->options.redis), mg_str_make(source, len))
               : NULL;
}

MG_FFI_EXPORT void mg_ffi_redis_script_release(struct mg_redis_script *script)
{
    mg_redis_script_release(script);
}

/* --- writing a batch -------------------------------------------------------------------------- */

MG_FFI_EXPORT struct mg_ffi_redis_batch *mg_ffi_redis_batch(struct mg_vm *vm,
                                                            struct mg_redis *redis, int commands)
{
    const size_t size = commands > 0 && commands <= BATCH_COMMANDS ? (size_t)commands : 0;
    struct mg_ffi_redis_batch *batch = calloc(1, sizeof *batch + size * sizeof *batch->entries);
    mg_require(batch != NULL);
    batch->vm = vm;
    batch->redis = redis;
    batch->size = (uint32_t)size;
    mg_buf_init(&batch->bytes, WORDS_BYTES);
    return batch;
}

MG_FFI_EXPORT void mg_ffi_redis_word(struct mg_ffi_redis_batch *batch, const char *text, size_t len)
{
    const struct word word = {.at = batch->bytes.len, .len = len};
    if (mg_buf_append(&batch->bytes, mg_str_make(text, len))) {
        batch->too_large = true;
        return;
    }
    if (batch->word_count == batch->word_size) {
        batch->word_size = batch->word_size ? batch->word_size * 2 : 16;
        batch->words = realloc(batch->words, batch->word_size * sizeof *batch->words);
        mg_require(batch->words != NULL);
    }
    batch->words[batch->word_count++] = word;
}

MG_FFI_EXPORT int mg_ffi_redis_command(struct mg_ffi_redis_batch *batch,
                                       struct mg_redis_script *script, int key_count)
{
    if (batch->count == batch->size) {
        return 0;
    }
    struct entry *entry = &batch->entries[batch->count++];
    entry->batch = batch;
    entry->script = script;
    entry->first = batch->ended;
    entry->count = batch->word_count - batch->ended;
    entry->keys = key_count < 0                        ? 0
                  : (uint32_t)key_count < entry->count ? (uint32_t)key_count
                                                       : entry->count;
    batch->ended = batch->word_count;
    return 1;
}

/* --- sending ---------------------------------------------------------------------------------- */

static void on_cancel(void *context)
{
    struct mg_ffi_redis_batch *batch = context;
    for (uint32_t i = 0; i < batch->count; i++) {
        mg_redis_cancel(&batch->entries[i].command);
    }
}

static void on_reply(struct mg_redis_command *command, enum mg_redis_result result,
                     struct mg_resp_reply *reply)
{
    struct entry *entry = MG_CONTAINER(command, struct entry, command);
    struct mg_ffi_redis_batch *batch = entry->batch;
    entry->result = result;
    if (reply) {
        mg_resp_reply_move(&entry->reply, reply);
    }
    if (--batch->waiting == 0) {
        mg_sched_wake(batch->vm, batch->ticket, 0); /* may free the batch */
    }
}

static enum mg_redis_result send_entry(struct mg_ffi_redis_batch *batch, struct entry *entry,
                                       mg_str *words, uint64_t timeout_ms)
{
    const char *bytes = mg_buf_view(&batch->bytes).ptr;
    for (uint32_t i = 0; i < entry->count; i++) {
        const struct word *word = &batch->words[entry->first + i];
        words[i] = word->len > 0 ? mg_str_make(bytes + word->at, word->len) : MG_STR("");
    }
    const uint32_t keys = entry->script ? entry->keys : 0;
    const struct mg_redis_ask ask = {.words = words + keys,
                                     .count = entry->count - keys,
                                     .script = entry->script,
                                     .keys = words,
                                     .key_count = keys,
                                     .timeout_ms = timeout_ms};
    entry->command.fn = on_reply;
    return mg_redis_send(batch->redis, &entry->command, &ask);
}

MG_FFI_EXPORT int mg_ffi_redis_start(struct mg_ffi_redis_batch *batch, double timeout_ms)
{
    if (batch->too_large) {
        return MG_EINVALID;
    }
    const int err = mg_sched_begin(batch->vm, on_cancel, batch, &batch->ticket);
    if (err) {
        return err;
    }
    mg_str *words = malloc((batch->word_count + 1) * sizeof *words);
    mg_require(words != NULL);
    for (uint32_t i = 0; i < batch->count; i++) {
        struct entry *entry = &batch->entries[i];
        entry->result = send_entry(batch, entry, words, to_ms(timeout_ms));
        batch->waiting += entry->result == MG_REDIS_OK;
    }
    free(words);
    if (batch->waiting == 0) {
        mg_sched_forget(batch->vm, batch->ticket, batch);
        return MG_EAGAIN;
    }
    return 0;
}

/* --- replies ---------------------------------------------------------------------------------- */

MG_FFI_EXPORT int mg_ffi_redis_result(const struct mg_ffi_redis_batch *batch, int command)
{
    return (int)batch->entries[command].result;
}

MG_FFI_EXPORT const char *mg_ffi_redis_word_of(int result)
{
    return mg_redis_result_word((enum mg_redis_result)result);
}

MG_FFI_EXPORT const char *mg_ffi_redis_class(const char *text, size_t len)
{
    return mg_redis_result_word(mg_redis_result_of(mg_str_make(text, len)));
}

MG_FFI_EXPORT int mg_ffi_redis_value(const struct mg_ffi_redis_batch *batch, int command, int node,
                                     struct mg_ffi_redis_value *out)
{
    const struct mg_resp_reply *reply = &batch->entries[command].reply;
    if (node < 0 || (uint32_t)node >= reply->count) {
        return 0;
    }
    const struct mg_resp_node *found = &reply->nodes[node];
    const bool is_text = found->type == MG_RESP_STRING || found->type == MG_RESP_STATUS ||
                         found->type == MG_RESP_ERROR;
    const mg_str text = is_text ? mg_resp_text(reply, found) : MG_STR("");
    out->type = (int)found->type;
    out->number = is_text ? 0 : (double)found->value;
    out->text = (struct mg_ffi_str){.ptr = text.ptr, .len = text.len};
    return 1;
}

MG_FFI_EXPORT void mg_ffi_redis_free(struct mg_ffi_redis_batch *batch)
{
    mg_sched_forget(batch->vm, batch->ticket, batch);
    on_cancel(batch);
    for (uint32_t i = 0; i < batch->count; i++) {
        mg_resp_reply_deinit(&batch->entries[i].reply);
    }
    mg_buf_deinit(&batch->bytes);
    free(batch->words);
    free(batch);
}
