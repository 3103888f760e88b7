/* SPDX-License-Identifier: Apache-2.0 */
/* Messages over SOCK_SEQPACKET with SCM_RIGHTS (unix(7)). */
#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

union control { /* room for one descriptor, aligned as cmsg(3) asks */
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

int mg_channel_pair(int ends[2])
{
    const int type = SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC;
    return socketpair(AF_UNIX, type, 0, ends) ? -errno : 0;
}

int mg_channel_send(int channel, const struct mg_channel_message *message, int fd)
{
    union control control = {.bytes = {0}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof *message};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    ssize_t sent;
    do {
        sent = sendmsg(channel, &header, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

static int passed_fd(struct msghdr *header)
{
    const struct cmsghdr *rights = CMSG_FIRSTHDR(header);
    if (!rights || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) {
        return -1;
    }
    int fd;
    memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return fd;
}

int mg_channel_receive(int channel, struct mg_channel_message *message, int *fd)
{
    union control control = {.bytes = {0}};
    struct iovec part = {.iov_base = message, .iov_len = sizeof *message};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    *fd = -1;
    ssize_t received;
    do {
        received = recvmsg(channel, &header, MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    if (received < 0) {
        return errno == EAGAIN ? MG_EAGAIN : -errno;
    }
    *fd = passed_fd(&header);
    if (received == sizeof *message) {
        message->text[sizeof message->text - 1] = '\0';
        return 0;
    }
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return MG_ECLOSED;
}

int mg_channel_put_text(mg_str text)
{
    const int fd = memfd_create("moongate text", MFD_CLOEXEC);
    for (size_t done = 0; fd >= 0 && done < text.len;) {
        const ssize_t written = write(fd, text.ptr + done, text.len - done);
        if (written < 0 && errno != EINTR) {
            const int err = -errno;
            close(fd);
            return err;
        }
        done += written > 0 ? (size_t)written : 0;
    }
    return fd < 0 ? -errno : fd;
}

int mg_channel_get_text(int fd, struct mg_buf *out)
{
    off_t at = 0;
    char piece[4096];
    for (;;) {
        const ssize_t got = pread(fd, piece, sizeof piece, at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? -errno : 0;
        }
        if (mg_buf_append(out, mg_str_make(piece, (size_t)got))) {
            return 0; /* the cap cuts it */
        }
        at += got;
    }
}
