/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions about the machine and this process (ffi.h, section PDK). The PDK asks for the name
 * and the id once, while a generation is loaded. */
#include "base/hash.h"
#include "base/log.h"
#include "base/shm.h"
#include "model/config.h"
#include "script/vm.h"
#include "script/export.h"
#include "script/ffi.h"

#include <fcntl.h>
#include <unistd.h>

#define UUID_CHARS 36

MG_FFI_EXPORT int mg_ffi_node_hostname(char *out, size_t room)
{
    if (room < 2 || gethostname(out, room) != 0) {
        return 0;
    }
    out[room - 1] = '\0'; /* a longer name comes without an end */
    return (int)strlen(out);
}

/* What names this machine and survives restarts: machine-id(5), else the host name. */
static int read_machine_id(char *out, size_t room)
{
    const int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 ? -1 : read(fd, out, room);
    if (fd >= 0) {
        close(fd);
    }
    return got > 0 ? (int)got : mg_ffi_node_hostname(out, room);
}

/* machine-id(5) asks that the id itself is not shown; a digest of it is. Laid out as a UUID of
 * version 8 (RFC 9562, 5.8): 8-4-4-4-12 hex digits. */
MG_FFI_EXPORT int mg_ffi_node_id(char *out, size_t room)
{
    char text[288] = "moongate.node:";
    const size_t prefix = strlen(text);
    const int got = read_machine_id(text + prefix, sizeof text - prefix);
    if (got <= 0 || room < UUID_CHARS) {
        return 0;
    }
    uint8_t digest[MG_SHA256_BYTES];
    mg_hash_sha256(mg_str_make(text, prefix + (size_t)got), digest);
    digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x80);
    digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
    char hex[32];
    mg_hash_hex(digest, 16, hex);
    static const uint8_t groups[] = {8, 4, 4, 4, 12};
    size_t from = 0, at = 0;
    for (size_t i = 0; i < sizeof groups; i++) {
        if (i > 0) {
            out[at++] = '-';
        }
        memcpy(out + at, hex + from, groups[i]);
        at += groups[i];
        from += groups[i];
    }
    return UUID_CHARS;
}

MG_FFI_EXPORT int mg_ffi_random(char *out, size_t len)
{
    uint8_t bytes[MG_SIPHASH_KEY_BYTES];
    if (len > sizeof bytes) {
        return 0;
    }
    mg_hash_random_key(bytes);
    memcpy(out, bytes, len);
    return 1;
}

MG_FFI_EXPORT int mg_ffi_ip_is_trusted(struct mg_vm *vm, const char *ip, size_t len)
{
    const struct mg_config *config = vm->config;
    return config && mg_cidr_match(config->gateway.trusted, config->gateway.trusted_count,
                                   mg_str_make(ip, len));
}

MG_FFI_EXPORT int mg_ffi_process_id(void)
{
    return (int)getpid();
}

MG_FFI_EXPORT const char *mg_ffi_version(void)
{
    return MOONGATE_VERSION;
}

MG_FFI_EXPORT int mg_ffi_worker_id(struct mg_vm *vm)
{
    return (int)vm->options.worker;
}

MG_FFI_EXPORT int mg_ffi_worker_count(struct mg_vm *vm)
{
    return (int)vm->options.workers;
}

MG_FFI_EXPORT int mg_ffi_node_statistics(struct mg_vm *vm, struct mg_ffi_statistics *out)
{
    struct mg_stats total;
    memset(&total, 0, sizeof total);
    if (vm->options.shm) {
        mg_shm_stats_sum(vm->options.shm, &total);
    } else if (vm->options.stats) {
        total = *vm->options.stats;
    }
    out->active = (double)total.value[MG_STAT_CONNECTIONS];
    out->idle = (double)total.value[MG_STAT_CONNECTIONS_IDLE];
    out->accepted = (double)total.value[MG_STAT_ACCEPTED];
    out->requests = (double)total.value[MG_STAT_REQUESTS];
    out->requests_active = (double)total.value[MG_STAT_REQUESTS_ACTIVE];
    return 1;
}

MG_FFI_EXPORT int mg_ffi_log_enabled(struct mg_vm *vm, int level)
{
    return vm->options.on_log || mg_log_enabled(vm->options.log, (enum mg_log_level)level);
}

MG_FFI_EXPORT int mg_ffi_log_write(struct mg_vm *vm, int level, const char *component,
                                   const char *text, size_t len)
{
    mg_vm_log(vm, (enum mg_log_level)level, component, NULL, mg_str_make(text, len));
    return 1;
}
