/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions of the plugin rate-limit with a store (ffi.h, section policies): the store, and
 * what a set of limits is called there. */
#include "base/shm_limits.h"
#include "net/loop.h"
#include "script/export.h"

#include "script/api_limits.h"

MG_FFI_EXPORT struct mg_limit_store *mg_ffi_limit_store_new(
    struct mg_vm *vm, struct mg_redis *redis, const struct mg_ffi_limit_store_options *options)
{
    if (!vm->options.shm || !vm->loop || !vm->options.redis) {
        return NULL;
    }
    const struct mg_limit_store_parts parts = {.set = vm->options.redis,
                                               .loop = vm->loop,
                                               .shm = vm->options.shm,
                                               .stats = vm->options.stats};
    const struct mg_limit_store_options plain = {
        .redis = redis,
        .script = mg_str_make(options->script.ptr, options->script.len),
        .prefix = mg_str_make(options->prefix.ptr, options->prefix.len),
        .tag_is_prefix = options->tag_is_prefix != 0,
        .timeout_ms = (uint64_t)options->timeout_ms,
        .hold_ttl_ms = (int64_t)options->hold_ttl_ms,
        .instances = (uint32_t)options->instances};
    return mg_limit_store_new(&parts, &plain);
}

MG_FFI_EXPORT void mg_ffi_limit_store_release(struct mg_limit_store *store)
{
    mg_limit_store_release(store);
}

MG_FFI_EXPORT void mg_ffi_limits_store(struct mg_ffi_limits *limits, struct mg_limit_store *store,
                                       int learns, const struct mg_ffi_limit_mode *mode)
{
    const struct mg_limit_async_options async = {.interval_ms = (uint64_t)mode->interval_ms,
                                                 .over_admit_permille =
                                                     (int64_t)mode->over_admit_permille,
                                                 .worker = limits->vm->options.worker};
    const struct mg_limit_lease_options lease = {.ttl_ms = (uint64_t)mode->lease_ttl_ms,
                                                 .permille = (int64_t)mode->lease_permille,
                                                 .workers = limits->vm->options.workers};
    limits->store = mg_limit_store_hold(store);
    limits->async = async.interval_ms > 0 ? mg_limit_async_new(store, &async) : NULL;
    limits->leases = lease.ttl_ms > 0 ? mg_limit_leases_new(store, &lease) : NULL;
    limits->asks_before_denial = mode->asks_before_denial != 0;
    limits->learns = learns != 0;
    limits->parts = 1;
}

void mg_limits_publish(const struct mg_ffi_limits *limits, const struct mg_limits_entry *entry)
{
    int64_t units = 0;
    if (limits->async) {
        units = mg_limit_async_over_admit(limits->async, &entry->rule);
    } else if (limits->leases) {
        units = mg_limit_leases_over_admit(limits->leases, &entry->rule);
    }
    mg_limit_record_over_admit(limits->shm, entry->limit.record, (uint64_t)units);
}

/* A name that is too long is hashed. */
static void copy_counter(char *place, const char *name, size_t len)
{
    char hash[MG_LIMIT_KEY_CHARS];
    mg_str text = mg_str_make(name, len);
    if (len >= MG_LIMITS_COUNTER_BYTES) {
        mg_limit_key_text(text, hash);
        text = mg_str_make(hash, sizeof hash);
    }
    memcpy(place, text.ptr, text.len);
    place[text.len] = '\0';
}

MG_FFI_EXPORT void mg_ffi_limits_counter(struct mg_ffi_limits *limits, int index, const char *name,
                                         size_t len)
{
    copy_counter(index < 0 ? limits->ban_counter : limits->entries[index].counter, name, len);
}

MG_FFI_EXPORT void mg_ffi_limits_hash(struct mg_ffi_limits *limits, const char *parts, size_t len)
{
    /* the names of the parts, and then their values with lengths */
    char text[2 * MG_LIMITS_KEY_BYTES];
    const size_t names = len < MG_LIMITS_KEY_BYTES ? len : MG_LIMITS_KEY_BYTES;
    memcpy(text, parts, names);
    memcpy(text + names, limits->key, limits->key_length);
    mg_limit_key_text(mg_str_make(text, names + limits->key_length), limits->hash);
}
