/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error log. A line is formatted and escaped on the stack and leaves in one write. Call sites
 * are counted in a small table indexed by the site's address; two sites that share a slot push each
 * other out, which at worst lets a few more lines pass.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SITES 128           /* slots */
#define LINES_PER_SECOND 10 /* of one site */
#define TAIL_BYTES 8        /* kept free for "[cut]\n" */

struct site {
    const void *key;
    char component[48]; /* of the suppressed lines; a copy: the caller's may be gone by then */
    int64_t second;
    unsigned lines, suppressed;
};

struct mg_log {
    int fd;
    char *path; /* NULL: standard error */
    enum mg_log_level level;
    const struct mg_clock *clock;
    unsigned lost; /* lines refused by the fd since the last one that went through */
    struct site sites[SITES];
};

/* A line under construction. */
struct line {
    char bytes[MG_LOG_LINE_BYTES];
    size_t len;
    bool is_cut;
};

static const char *const level_names[] = {"emerg", "alert",  "crit", "error",
                                          "warn",  "notice", "info", "debug"};

/* --- opening ---------------------------------------------------------------------------------- */

/* Non-blocking for the sake of FIFOs and terminals; files do not know it. */
static int open_file(const char *path)
{
    const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    const int fd = open(path, flags, 0640);
    return fd < 0 ? -errno : fd;
}

/* A pipe or terminal is opened anew, for its flags are shared with whoever else has it, and a
 * reader that stops must not stop us. Where that is refused (another user's) or makes no sense (a
 * socket), the descriptor is asked before each line. A file is left alone: one opened anew would
 * overwrite what others write through the old one. */
static int open_stderr(void)
{
    struct stat about;
    if (fstat(STDERR_FILENO, &about) || !(S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode))) {
        return STDERR_FILENO;
    }
    const int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    const int fd = open("/proc/self/fd/2", flags);
    return fd < 0 ? STDERR_FILENO : fd;
}

int mg_log_open(struct mg_log **out, const char *path, enum mg_log_level level)
{
    *out = NULL;
    const bool is_file = path && strcmp(path, "stderr") != 0;
    const int fd = is_file ? open_file(path) : open_stderr();
    if (fd < 0) {
        return fd;
    }
    struct mg_log *log = calloc(1, sizeof *log);
    mg_require(log != NULL);
    log->fd = fd;
    log->level = level;
    log->path = is_file ? strdup(path) : NULL;
    mg_require(!is_file || log->path != NULL);
    *out = log;
    return 0;
}

int mg_log_reopen(struct mg_log *log)
{
    if (!log->path) {
        return 0;
    }
    const int fd = open_file(log->path);
    if (fd < 0) {
        return fd;
    }
    mg_log_flush(log);
    close(log->fd);
    log->fd = fd;
    return 0;
}

void mg_log_close(struct mg_log *log)
{
    if (!log) {
        return;
    }
    mg_log_flush(log);
    if (log->fd != STDERR_FILENO) {
        close(log->fd);
    }
    free(log->path);
    free(log);
}

void mg_log_set_level(struct mg_log *log, enum mg_log_level level)
{
    log->level = level;
}

void mg_log_set_clock(struct mg_log *log, const struct mg_clock *clock)
{
    log->clock = clock;
}

bool mg_log_enabled(const struct mg_log *log, enum mg_log_level level)
{
    return log && level <= log->level;
}

/* --- a line ----------------------------------------------------------------------------------- */

static void put(struct line *line, const char *bytes, size_t count)
{
    if (line->is_cut || count > sizeof line->bytes - TAIL_BYTES - line->len) {
        line->is_cut = true;
        return;
    }
    memcpy(line->bytes + line->len, bytes, count);
    line->len += count;
}

static void put_escaped(struct line *line, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    if (c == '\n') {
        put(line, "\\n", 2);
    } else if (c == '\t') {
        put(line, "\\t", 2);
    } else if (c == '\r') {
        put(line, "\\r", 2);
    } else {
        const char hex[] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
        put(line, hex, sizeof hex);
    }
}

/* Length of the printable character at the start of s: 0 for control bytes (C0, DEL, C1) and for
 * what is no UTF-8 (RFC 3629, 4). */
static size_t printable(mg_str s)
{
    const unsigned char *at = (const unsigned char *)s.ptr;
    if (at[0] < 0x80) {
        return at[0] >= 0x20 && at[0] != 0x7f ? 1 : 0;
    }
    const size_t more = at[0] >= 0xf0 ? 3 : at[0] >= 0xe0 ? 2 : 1;
    if (at[0] < 0xc2 || at[0] > 0xf4 || s.len <= more) {
        return 0;
    }
    for (size_t i = 1; i <= more; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    const bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    const bool surrogate = at[0] == 0xed && at[1] >= 0xa0;
    const bool too_high = at[0] == 0xf4 && at[1] >= 0x90;
    const bool control = at[0] == 0xc2 && at[1] < 0xa0;
    return overlong || surrogate || too_high || control ? 0 : more + 1;
}

static void put_message(struct line *line, mg_str message)
{
    while (message.len > 0 && !line->is_cut) {
        const size_t count = printable(message);
        if (count > 0) {
            put(line, message.ptr, count);
        } else {
            put_escaped(line, (unsigned char)message.ptr[0]);
        }
        message = mg_str_slice(message, count > 0 ? count : 1, message.len);
    }
}

static int64_t wall_ms(const struct mg_log *log)
{
    if (log->clock) {
        return mg_clock_wall_ms(log->clock);
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void put_head(struct line *line, int64_t now_ms, enum mg_log_level level,
                     const char *component)
{
    const time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    char stamp[32], millis[8];
    gmtime_r(&seconds, &tm);
    const size_t count = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(millis, sizeof millis, ".%03uZ ", (unsigned)(now_ms % 1000));
    put(line, stamp, count);
    put(line, millis, strlen(millis));
    put(line, level_names[level], strlen(level_names[level]));
    put(line, " ", 1);
    put_message(line, mg_str_make(component, strnlen(component, 100)));
    put(line, ": ", 2);
}

/* Whether a line can be written without waiting. */
static bool is_writable(const struct mg_log *log)
{
    struct pollfd poller = {.fd = log->fd, .events = POLLOUT};
    return log->fd != STDERR_FILENO || poll(&poller, 1, 0) > 0;
}

/* Never more than this one write; a partial one (full disk) counts as lost. */
static bool send_line(struct mg_log *log, struct line *line)
{
    if (line->is_cut) {
        memcpy(line->bytes + line->len, "[cut]", 5);
        line->len += 5;
    }
    line->bytes[line->len++] = '\n';
    if (!is_writable(log)) {
        return false;
    }
    ssize_t count;
    do {
        count = write(log->fd, line->bytes, line->len);
    } while (count < 0 && errno == EINTR);
    return count == (ssize_t)line->len;
}

static void send_message(struct mg_log *log, int64_t now_ms, enum mg_log_level level,
                         const char *component, mg_str message)
{
    struct line line;
    line.len = 0;
    line.is_cut = false;
    put_head(&line, now_ms, level, component);
    put_message(&line, message);
    if (!send_line(log, &line)) {
        log->lost++;
    }
}

static void send_count(struct mg_log *log, int64_t now_ms, const char *component, unsigned count,
                       const char *what)
{
    char text[64];
    snprintf(text, sizeof text, "%u %s", count, what);
    send_message(log, now_ms, MG_LOG_WARN, component, mg_str_from(text));
}

/* --- suppression ------------------------------------------------------------------------------ */

static void pay_suppressed(struct mg_log *log, struct site *site, int64_t now_ms)
{
    const unsigned count = site->suppressed;
    site->suppressed = 0;
    if (count > 0) {
        send_count(log, now_ms, site->component, count, "suppressed");
    }
}

static void pay_lost(struct mg_log *log, int64_t now_ms)
{
    const unsigned count = log->lost;
    if (count > 0) {
        log->lost = 0;
        send_count(log, now_ms, "log", count, "lost");
        log->lost += log->lost > 0 ? count - 1 : 0; /* the report itself was refused */
    }
}

/* Whether the site may write now. */
static bool admit(struct mg_log *log, const void *key, const char *component, int64_t now_ms)
{
    if (!key) {
        return true;
    }
    const uint64_t mixed = (uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15U; /* Fibonacci hashing */
    struct site *site = &log->sites[mixed >> 57];
    const int64_t second = now_ms / 1000;
    if (site->key != key || site->second != second) {
        pay_suppressed(log, site, now_ms);
        *site = (struct site){.key = key, .second = second};
    }
    if (site->lines >= LINES_PER_SECOND) {
        site->suppressed++;
        snprintf(site->component, sizeof site->component, "%s", component);
        return false;
    }
    site->lines++;
    return true;
}

void mg_log_bytes(struct mg_log *log, enum mg_log_level level, const char *component,
                  const void *site, mg_str message)
{
    if (!mg_log_enabled(log, level)) {
        return;
    }
    const int64_t now_ms = wall_ms(log);
    if (admit(log, site, component, now_ms)) {
        pay_lost(log, now_ms);
        send_message(log, now_ms, level, component, message);
    }
}

void mg_log_write(struct mg_log *log, enum mg_log_level level, const char *component,
                  const char *format, ...)
{
    if (!mg_log_enabled(log, level)) {
        return;
    }
    char text[MG_LOG_LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang 14 does not see va_start */
    const int count = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    /* a text cut here is longer than a line, so the line is marked as cut, too */
    const size_t len = count < 0 ? 0 : (size_t)count;
    const mg_str message = mg_str_make(text, len < sizeof text ? len : sizeof text - 1);
    mg_log_bytes(log, level, component, format, message);
}

void mg_log_text(struct mg_log *log, enum mg_log_level level, const char *component, mg_str text)
{
    unsigned lines = 0;
    for (size_t at = 0; at < text.len;) {
        const ptrdiff_t found = mg_str_find(text, '\n', at);
        const size_t end = found < 0 ? text.len : (size_t)found;
        if (end > at && lines++ < MG_LOG_TEXT_LINES) {
            mg_log_bytes(log, level, component, NULL, mg_str_slice(text, at, end));
        }
        at = end + 1;
    }
    if (lines > MG_LOG_TEXT_LINES) {
        mg_log_write(log, level, component, "%u more lines", lines - MG_LOG_TEXT_LINES);
    }
}

void mg_log_flush(struct mg_log *log)
{
    if (!log) {
        return;
    }
    const int64_t now_ms = wall_ms(log);
    for (size_t i = 0; i < SITES; i++) {
        pay_suppressed(log, &log->sites[i], now_ms);
    }
    pay_lost(log, now_ms);
}

/* --- words ------------------------------------------------------------------------------------ */

int mg_log_level_parse(mg_str name, enum mg_log_level *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (mg_str_equal(name, mg_str_from(level_names[i]))) {
            *level = (enum mg_log_level)i;
            return 0;
        }
    }
    if (mg_str_equal(name, MG_STR("warning"))) {
        *level = MG_LOG_WARN;
        return 0;
    }
    if (mg_str_equal(name, MG_STR("err"))) {
        *level = MG_LOG_ERROR;
        return 0;
    }
    return MG_EINVALID;
}

const char *mg_log_level_name(enum mg_log_level level)
{
    return level_names[level];
}

const char *mg_log_quote(char *into, size_t into_bytes, mg_str bytes)
{
    mg_require(into_bytes >= 3);
    size_t len = 0;
    into[len++] = '"';
    for (size_t i = 0; i < bytes.len && len + 4 <= into_bytes; i++) { /* escape, byte, '"', NUL */
        if (bytes.ptr[i] == '"' || bytes.ptr[i] == '\\') {
            into[len++] = '\\';
        }
        into[len++] = bytes.ptr[i] ? bytes.ptr[i] : '?';
    }
    into[len++] = '"';
    into[len] = '\0';
    return into;
}
