/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing and reading of bundles. The reader trusts nothing: every length is held against the
 * mapping before it is used, although only our own checker writes bundles.
 */
#define _GNU_SOURCE /* memfd_create, seals */
#include "script/bundle.h"

#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "MGBUNDLE"
#define VERSION 1
#define HEAD_BYTES 16
#define ENTRY_HEAD_BYTES 8
#define MAX_BYTES (256UL * 1024 * 1024) /* of a bundle: sources and one configuration */
#define SEAL_TRIES 5

/* --- writing --------------------------------------------------------------------------------- */

void mg_bundle_writer_init(struct mg_bundle_writer *writer)
{
    writer->entries = 0;
    mg_buf_init(&writer->bytes, MAX_BYTES);
}

static int append_u32(struct mg_buf *buf, uint32_t value)
{
    char bytes[sizeof value];
    memcpy(bytes, &value, sizeof value);
    return mg_buf_append(buf, mg_str_make(bytes, sizeof bytes));
}

static int append_head(struct mg_bundle_writer *writer)
{
    int err = mg_buf_append(&writer->bytes, MG_STR(MAGIC));
    if (!err) {
        err = append_u32(&writer->bytes, VERSION);
    }
    return err ? err : append_u32(&writer->bytes, 0); /* the count comes when it is sealed */
}

static int append_padding(struct mg_buf *buf)
{
    const size_t rest = buf->len % 8;
    return rest ? mg_buf_append(buf, mg_str_make("\0\0\0\0\0\0\0", 8 - rest)) : 0;
}

int mg_bundle_writer_add(struct mg_bundle_writer *writer, mg_str name, mg_str data)
{
    if (name.len > MAX_BYTES || data.len > MAX_BYTES) {
        return MG_ENO_MEMORY;
    }
    int err = writer->bytes.len == 0 ? append_head(writer) : 0;
    if (!err) {
        err = append_u32(&writer->bytes, (uint32_t)name.len);
    }
    if (!err) {
        err = append_u32(&writer->bytes, (uint32_t)data.len);
    }
    if (!err) {
        err = mg_buf_append(&writer->bytes, name);
    }
    if (!err) {
        err = mg_buf_append(&writer->bytes, data);
    }
    if (!err) {
        err = append_padding(&writer->bytes);
    }
    writer->entries += !err;
    return err;
}

/* What is written of a plan, and read back: a line "key value" each. */
#define PLAN_NUMBERS(X)                                                                            \
    X(workers)                                                                                     \
    X(shared_memory)                                                                               \
    X(limit_cells)                                                                                 \
    X(breakers)                                                                                    \
    X(keyed_breakers)                                                                              \
    X(metric_series)                                                                               \
    X(status_given)                                                                                \
    X(watchdog_ms)                                                                                 \
    X(drain_delay)                                                                                 \
    X(drain_timeout)                                                                               \
    X(init_timeout)                                                                                \
    X(dns_timeout)                                                                                 \
    X(dns_tries)                                                                                   \
    X(dns_stale)                                                                                   \
    X(dns_negative)
#define PLAN_TEXTS(X)                                                                              \
    X(user)                                                                                        \
    X(error_log)                                                                                   \
    X(status)                                                                                      \
    X(log_level)

static int append_line(struct mg_buf *buf, const char *key, const char *value)
{
    if (strchr(value, '\n')) {
        return MG_EINVALID;
    }
    int err = mg_buf_append(buf, mg_str_from(key));
    if (!err) {
        err = mg_buf_append(buf, MG_STR(" "));
    }
    if (!err) {
        err = mg_buf_append(buf, mg_str_from(value));
    }
    return err ? err : mg_buf_append(buf, MG_STR("\n"));
}

static int append_plan(struct mg_buf *buf, const struct mg_plan *plan)
{
    char value[192];
    int err = 0;
#define APPEND_NUMBER(field)                                                                       \
    snprintf(value, sizeof value, "%llu", (unsigned long long)plan->field);                        \
    err = err ? err : append_line(buf, #field, value);
    PLAN_NUMBERS(APPEND_NUMBER)
#undef APPEND_NUMBER
#define APPEND_TEXT(field) err = err ? err : append_line(buf, #field, plan->field);
    PLAN_TEXTS(APPEND_TEXT)
#undef APPEND_TEXT
    for (uint32_t i = 0; !err && i < plan->listener_count; i++) {
        snprintf(value, sizeof value, "%d %s", plan->listeners[i].backlog,
                 plan->listeners[i].address);
        err = append_line(buf, "listener", value);
    }
    return err;
}

int mg_bundle_writer_plan(struct mg_bundle_writer *writer, const struct mg_plan *plan)
{
    struct mg_buf text;
    mg_buf_init(&text, 64 * 1024);
    int err = append_plan(&text, plan);
    if (!err) {
        err = mg_bundle_writer_add(writer, MG_STR("plan"), mg_buf_view(&text));
    }
    mg_buf_deinit(&text);
    return err;
}

static int write_all(int fd, mg_str bytes)
{
    while (bytes.len > 0) {
        const ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0) {
            return -errno;
        }
        bytes = mg_str_slice(bytes, (size_t)n, bytes.len);
    }
    return 0;
}

/* -EBUSY: the kernel itself held one of the pages just then. */
static int seal_copy(const struct mg_bundle_writer *writer)
{
    const int fd = memfd_create("moongate-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    int err = write_all(fd, mg_buf_view(&writer->bytes));
    if (!err && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)) {
        err = -errno;
    }
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

static int seal(const struct mg_bundle_writer *writer)
{
    int fd = -EBUSY;
    for (unsigned i = 0; i < SEAL_TRIES && fd == -EBUSY; i++) {
        fd = seal_copy(writer);
    }
    return fd;
}

int mg_bundle_writer_seal(struct mg_bundle_writer *writer)
{
    int err = writer->bytes.len == 0 ? append_head(writer) : 0;
    if (err) {
        return err;
    }
    memcpy(writer->bytes.data + writer->bytes.start + HEAD_BYTES - sizeof writer->entries,
           &writer->entries, sizeof writer->entries);
    const int fd = seal(writer);
    mg_buf_deinit(&writer->bytes);
    writer->entries = 0;
    return fd;
}

/* --- reading --------------------------------------------------------------------------------- */

struct cursor {
    const char *data;
    size_t bytes, at;
};

static uint32_t read_u32(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* The next entry; false at the end, and where the bundle is broken (then at < bytes). */
static bool next_entry(struct cursor *cursor, mg_str *name, mg_str *data)
{
    if (cursor->bytes - cursor->at < ENTRY_HEAD_BYTES) {
        return false;
    }
    const char *head = cursor->data + cursor->at;
    const size_t name_bytes = read_u32(head), data_bytes = read_u32(head + 4);
    const size_t whole = ENTRY_HEAD_BYTES + name_bytes + data_bytes; /* at most 8 GiB + 8 */
    const size_t padded = (whole + 7) & ~(size_t)7;
    if (padded > cursor->bytes - cursor->at) {
        return false;
    }
    *name = mg_str_make(head + ENTRY_HEAD_BYTES, name_bytes);
    *data = mg_str_make(head + ENTRY_HEAD_BYTES + name_bytes, data_bytes);
    cursor->at += padded;
    return true;
}

static struct cursor begin(const struct mg_bundle *bundle)
{
    return (struct cursor){.data = bundle->data, .bytes = bundle->bytes, .at = HEAD_BYTES};
}

bool mg_bundle_find(const struct mg_bundle *bundle, mg_str name, mg_str *data)
{
    struct cursor cursor = begin(bundle);
    mg_str found;
    while (next_entry(&cursor, &found, data)) {
        if (mg_str_equal(found, name)) {
            return true;
        }
    }
    return false;
}

void mg_bundle_each(const struct mg_bundle *bundle, mg_str prefix,
                    void (*fn)(void *context, mg_str name, mg_str data), void *context)
{
    struct cursor cursor = begin(bundle);
    mg_str name, data;
    while (next_entry(&cursor, &name, &data)) {
        if (mg_str_starts(name, prefix)) {
            fn(context, name, data);
        }
    }
}

static void copy_text(char *into, size_t bytes, mg_str value)
{
    const size_t length = value.len < bytes ? value.len : bytes - 1;
    memcpy(into, value.ptr, length);
    into[length] = '\0';
}

static int read_listener(struct mg_plan *plan, mg_str value)
{
    const ptrdiff_t space = mg_str_find(value, ' ', 0);
    uint64_t backlog;
    if (space < 0 || plan->listener_count == MG_PLAN_LISTENERS ||
        !mg_str_to_u64(mg_str_slice(value, 0, (size_t)space), &backlog) || backlog > INT32_MAX) {
        return MG_EINVALID;
    }
    struct mg_plan_listener *listener = &plan->listeners[plan->listener_count++];
    listener->backlog = (int)backlog;
    copy_text(listener->address, sizeof listener->address,
              mg_str_slice(value, (size_t)space + 1, value.len));
    return 0;
}

static int read_plan_line(struct mg_plan *plan, mg_str key, mg_str value)
{
    uint64_t number = 0;
    const bool is_number = mg_str_to_u64(value, &number);
    if (mg_str_equal(key, MG_STR("listener"))) {
        return read_listener(plan, value);
    }
#define READ_NUMBER(field)                                                                         \
    if (mg_str_equal(key, MG_STR(#field))) {                                                       \
        plan->field = (__typeof__(plan->field))number;                                             \
        return is_number ? 0 : MG_EINVALID;                                                        \
    }
    PLAN_NUMBERS(READ_NUMBER)
#undef READ_NUMBER
#define READ_TEXT(field)                                                                           \
    if (mg_str_equal(key, MG_STR(#field))) {                                                       \
        copy_text(plan->field, sizeof plan->field, value);                                         \
        return 0;                                                                                  \
    }
    PLAN_TEXTS(READ_TEXT)
#undef READ_TEXT
    return MG_EINVALID;
}

static int read_plan(struct mg_plan *plan, mg_str text)
{
    int err = 0;
    while (!err && text.len > 0) {
        const ptrdiff_t end = mg_str_find(text, '\n', 0);
        const size_t length = end < 0 ? text.len : (size_t)end;
        const mg_str line = mg_str_slice(text, 0, length);
        const ptrdiff_t space = mg_str_find(line, ' ', 0);
        if (space < 0) {
            return MG_EINVALID;
        }
        err = read_plan_line(plan, mg_str_slice(line, 0, (size_t)space),
                             mg_str_slice(line, (size_t)space + 1, line.len));
        text = mg_str_slice(text, length + 1, text.len);
    }
    return err;
}

/* Is every entry whole, and are there as many as the head says? */
static int check(const struct mg_bundle *bundle)
{
    if (bundle->bytes < HEAD_BYTES || memcmp(bundle->data, MAGIC, sizeof MAGIC - 1) != 0 ||
        read_u32(bundle->data + 8) != VERSION) {
        return MG_EINVALID;
    }
    struct cursor cursor = begin(bundle);
    mg_str name, data;
    uint32_t count = 0;
    while (next_entry(&cursor, &name, &data)) {
        count++;
    }
    return cursor.at == bundle->bytes && count == read_u32(bundle->data + 12) ? 0 : MG_EINVALID;
}

static void set_digest(struct mg_bundle *bundle)
{
    uint8_t digest[MG_SHA256_BYTES];
    mg_hash_sha256(mg_str_make(bundle->data, bundle->bytes), digest);
    mg_hash_hex(digest, sizeof digest, bundle->plan.digest);
    bundle->plan.digest[2 * sizeof digest] = '\0';
}

static int map(struct mg_bundle *bundle, int fd)
{
    struct stat status;
    if (fstat(fd, &status)) {
        return -errno;
    }
    if (status.st_size < HEAD_BYTES || (size_t)status.st_size > MAX_BYTES) {
        return MG_EINVALID;
    }
    void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        return -errno;
    }
    *bundle = (struct mg_bundle){.fd = fd, .data = data, .bytes = (size_t)status.st_size};
    return 0;
}

int mg_bundle_open(struct mg_bundle *bundle, int fd)
{
    int err = map(bundle, fd);
    if (err) {
        return err;
    }
    err = check(bundle);
    mg_str plan;
    if (!err && mg_bundle_find(bundle, MG_STR("plan"), &plan)) {
        err = read_plan(&bundle->plan, plan);
    }
    if (err) {
        munmap((void *)bundle->data, bundle->bytes);
        *bundle = (struct mg_bundle){.fd = -1};
        return err;
    }
    set_digest(bundle);
    return 0;
}

void mg_bundle_close(struct mg_bundle *bundle)
{
    if (bundle->data) {
        munmap((void *)bundle->data, bundle->bytes);
        close(bundle->fd);
    }
    *bundle = (struct mg_bundle){.fd = -1};
}
