/* SPDX-License-Identifier: Apache-2.0 */
#include "net/socket.h"

#include <errno.h>
#include <sys/socket.h>

/* A unix socket's read ends behind bytes that came with descriptors, which the kernel closes here
 * (unix(7): MSG_CTRUNC). */
ssize_t mg_socket_receive(int fd, char *bytes, size_t room, bool is_unix, bool *is_cut)
{
    struct iovec part = {.iov_base = bytes, .iov_len = room};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t count;
    do {
        count = is_unix ? recvmsg(fd, &message, MSG_DONTWAIT) : recv(fd, bytes, room, MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    *is_cut = message.msg_flags & MSG_CTRUNC;
    return count < 0 ? -errno : count;
}

ssize_t mg_socket_send(int fd, struct iovec *parts, size_t count)
{
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    ssize_t taken;
    do {
        taken = count == 1 ? send(fd, parts->iov_base, parts->iov_len, flags)
                           : sendmsg(fd, &message, flags);
    } while (taken < 0 && errno == EINTR);
    return taken < 0 ? (errno == EAGAIN ? 0 : -errno) : taken;
}

int mg_socket_error(int fd)
{
    int err = 0;
    socklen_t length = sizeof err;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &length) == 0 ? -err : -errno;
}
