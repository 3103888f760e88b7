/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a sink. In the pool's thread only struct mg_sink_file is touched, which the loop
 * leaves alone while it is busy. */
#include "net/sink_file.h"

#include "net/sink_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Made with exactly that mode, or opened as it is. O_NONBLOCK: a pipe without a reader is an
 * error. */
static int open_path(const char *path, mode_t mode)
{
    const int flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    const int made = open(path, flags | O_CREAT | O_EXCL, mode);
    if (made >= 0) {
        (void)fchmod(made, mode); /* the umask took part of it */
        return made;
    }
    if (errno != EEXIST) {
        return -errno;
    }
    const int opened = open(path, flags);
    return opened >= 0 ? opened : -errno;
}

int mg_sink_file_open(struct mg_sink_file *file, mg_str path, mode_t mode, uint64_t check_ms)
{
    char *copy = malloc(path.len + 1);
    mg_require(copy != NULL);
    memcpy(copy, path.ptr, path.len);
    copy[path.len] = '\0';
    const int fd = open_path(copy, mode);
    if (fd < 0) {
        free(copy);
        return fd;
    }
    *file = (struct mg_sink_file){.path = copy, .fd = fd, .mode = mode, .check_ms = check_ms};
    file->checked_ms = uv_hrtime() / 1000000;
    return 0;
}

void mg_sink_file_take(struct mg_sink_file *file, int fd)
{
    *file = (struct mg_sink_file){.fd = fd};
}

void mg_sink_file_close(struct mg_sink_file *file)
{
    mg_require(!file->busy);
    close(file->fd);
    free(file->path);
    file->fd = -1;
    file->path = NULL;
}

static bool path_leads_elsewhere(const struct mg_sink_file *file)
{
    struct stat ours, there;
    if (fstat(file->fd, &ours) != 0) {
        return true;
    }
    return stat(file->path, &there) != 0 || there.st_ino != ours.st_ino ||
           there.st_dev != ours.st_dev;
}

/* Where the new one cannot be opened, the old one takes the lines. */
static void refresh(struct mg_sink_file *file)
{
    const uint64_t now_ms = uv_hrtime() / 1000000;
    const bool due = now_ms - file->checked_ms >= file->check_ms;
    if (!file->path || !(file->reopen || due)) {
        return;
    }
    file->checked_ms = now_ms;
    if (!file->reopen && !path_leads_elsewhere(file)) {
        return;
    }
    const int fd = open_path(file->path, file->mode);
    if (fd < 0) {
        file->err = fd;
        return;
    }
    close(file->fd);
    file->fd = fd;
    file->reopen = false;
}

/* Cuts off the last bytes that were written, when nobody wrote behind them. */
static void take_back(int fd, size_t bytes)
{
    struct stat about;
    const off_t end = lseek(fd, 0, SEEK_CUR);
    if (bytes == 0 || end < (off_t)bytes || fstat(fd, &about) != 0 || about.st_size != end) {
        return;
    }
    if (ftruncate(fd, end - (off_t)bytes) == 0) {
        (void)lseek(fd, end - (off_t)bytes, SEEK_SET);
    }
}

/* Writes whole lines; returns how many bytes of them are in the file. */
static size_t write_lines(struct mg_sink_file *file, mg_str lines)
{
    size_t done = 0;
    while (done < lines.len) {
        const struct mg_buf rest = {
            .data = (char *)lines.ptr, .start = done, .len = lines.len - done};
        const mg_str piece = mg_sink_queue_piece(&rest, MG_SINK_FILE_BYTES);
        const ssize_t n = write(file->fd, piece.ptr, piece.len);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            file->err = -errno;
            break;
        }
        size_t kept = (size_t)n;
        while (kept > 0 && piece.ptr[kept - 1] != '\n') {
            kept--;
        }
        take_back(file->fd, (size_t)n - kept);
        done += kept;
        if (kept == 0) {
            file->err = -ENOSPC; /* not even one line fits */
            break;
        }
    }
    return done;
}

void mg_sink_file_run(struct mg_sink_file *file)
{
    file->err = 0;
    file->lead_done = false;
    file->data_done = 0;
    refresh(file);
    if (file->lead.len == 0 && file->data.len == 0) {
        return;
    }
    const int refresh_err = file->err;
    file->err = 0;
    const bool locked = flock(file->fd, LOCK_EX) == 0;
    file->lead_done = write_lines(file, file->lead) == file->lead.len;
    if (file->lead_done) {
        file->data_done = write_lines(file, file->data);
    }
    if (locked) {
        flock(file->fd, LOCK_UN);
    }
    file->err = file->err ? file->err : refresh_err;
}

static void on_work(uv_work_t *work)
{
    mg_sink_file_run(MG_CONTAINER(work, struct mg_sink_file, work));
}

static void after_work(uv_work_t *work, int status)
{
    struct mg_sink_file *file = MG_CONTAINER(work, struct mg_sink_file, work);
    (void)status; /* never cancelled */
    mg_loop_wake(file->loop);
    file->busy = false;
    file->on_done(file->context);
}

int mg_sink_file_start(struct mg_sink_file *file, struct mg_loop *loop,
                       void (*on_done)(void *context), void *context)
{
    file->loop = loop;
    file->on_done = on_done;
    file->context = context;
    file->busy = true;
    const int err = uv_queue_work(&loop->uv, &file->work, on_work, after_work);
    if (err) {
        file->busy = false;
    }
    return err;
}
