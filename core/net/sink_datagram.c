/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams through a connected socket, so that the kernel tells of a port where nobody listens.
 * The name is asked again after each failure and now and then, since no failure tells that it leads
 * elsewhere.
 */
#include "net/sink_datagram.h"

#include "net/sink_syslog.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_BYTES 8192    /* of a datagram */
#define TURN_DATAGRAMS 256 /* sent in one turn of the loop */
#define FULL_MS 5          /* until a full socket is tried again */
#define ASK_AGAIN_MS 30000

struct datagram_sink {
    struct mg_sink sink;
    int fd; /* -1: none */
    uint64_t connected_ms;
    struct mg_dns_query query;
    bool asking;
};

static struct datagram_sink *datagram_of(const struct mg_sink *sink)
{
    return MG_CONTAINER(sink, struct datagram_sink, sink);
}

static int open_datagram(struct mg_sink *sink, char *message, size_t message_bytes)
{
    struct sockaddr_un address;
    struct datagram_sink *datagram = datagram_of(sink);
    if (sink->settings.path.len >= sizeof address.sun_path) {
        snprintf(message, message_bytes, "the path of a unix socket is at most %zu bytes long",
                 sizeof address.sun_path - 1);
        return -ENAMETOOLONG;
    }
    datagram->fd = -1;
    const size_t head = sink->settings.syslog ? MG_SYSLOG_HEAD_BYTES : 0;
    if (sink->line_bytes > LINE_BYTES + 1 - head) {
        sink->line_bytes = LINE_BYTES + 1 - head; /* the LF is not sent */
    }
    return 0;
}

static void disconnect(struct datagram_sink *datagram)
{
    if (datagram->fd >= 0) {
        close(datagram->fd);
    }
    datagram->fd = -1;
}

static void close_datagram(struct mg_sink *sink)
{
    struct datagram_sink *datagram = datagram_of(sink);
    mg_dns_cancel(&datagram->query);
    disconnect(datagram);
}

static void failed(struct datagram_sink *datagram, int err)
{
    disconnect(datagram);
    mg_sink_failed(&datagram->sink, err, 0);
}

static int connect_to(struct datagram_sink *datagram, const struct sockaddr *address,
                      socklen_t length)
{
    const int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, address, length) != 0) {
        const int err = -errno;
        close(fd);
        return err;
    }
    datagram->fd = fd;
    datagram->connected_ms = mg_loop_now_ms(mg_sink_loop(&datagram->sink));
    return 0;
}

static int connect_unix(struct datagram_sink *datagram)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const mg_str path = datagram->sink.settings.path;
    memcpy(address.sun_path, path.ptr, path.len);
    return connect_to(datagram, (const struct sockaddr *)&address, sizeof address);
}

/* One of the addresses, each time another one. */
static int connect_any(struct datagram_sink *datagram, const struct mg_dns_answer *answer)
{
    if (answer->count == 0) {
        return MG_EDNS;
    }
    struct sockaddr_storage address = answer->addresses[mg_sink_now_us() % (unsigned)answer->count];
    const uint16_t port = htons(datagram->sink.settings.port);
    socklen_t length = sizeof(struct sockaddr_in);
    if (address.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&address)->sin6_port = port;
        length = sizeof(struct sockaddr_in6);
    } else {
        ((struct sockaddr_in *)&address)->sin_port = port;
    }
    return connect_to(datagram, (const struct sockaddr *)&address, length);
}

static void on_answer(struct mg_dns_query *query, int status, const struct mg_dns_answer *answer)
{
    struct datagram_sink *datagram = MG_CONTAINER(query, struct datagram_sink, query);
    datagram->asking = false;
    const int err = status ? status : connect_any(datagram, answer);
    if (err) {
        failed(datagram, err);
    } /* else the flush of this turn goes on */
}

/* Connected at once, or later; a failure is dealt with. */
static void connect_later(struct datagram_sink *datagram)
{
    struct mg_sink *sink = &datagram->sink;
    struct mg_dns_answer answer;
    int err;
    if (sink->settings.path.len > 0) {
        err = connect_unix(datagram);
    } else if (!sink->sinks->parts.dns) {
        err = MG_EUNSUPPORTED;
    } else {
        err = mg_dns_cached(sink->sinks->parts.dns, sink->settings.host, &answer);
        if (err == 0) {
            err = connect_any(datagram, &answer);
        } else if (err == MG_EAGAIN) {
            datagram->query = (struct mg_dns_query){.fn = on_answer};
            err = mg_dns_resolve(sink->sinks->parts.dns, sink->settings.host, &datagram->query);
            datagram->asking = err == 0;
        }
    }
    if (err) {
        failed(datagram, err);
    }
}

/* --- sending -------------------------------------------------------------------------------- */

static int send_one(const struct datagram_sink *datagram, mg_str line)
{
    const size_t length = line.len > 0 && line.ptr[line.len - 1] == '\n' ? line.len - 1 : line.len;
    const ssize_t n =
        send(datagram->fd, line.ptr, length < LINE_BYTES ? length : LINE_BYTES, MSG_NOSIGNAL);
    return n >= 0 ? 0 : -errno;
}

static int send_losses(struct datagram_sink *datagram)
{
    struct mg_sink *sink = &datagram->sink;
    mg_sink_begin(sink);
    sink->queue.busy = false; /* it is over when this returns */
    if (sink->lead_len == 0) {
        return 0;
    }
    char text[MG_SYSLOG_HEAD_BYTES + MG_SINK_LOSS_BYTES];
    for (size_t at = 0, end; at < sink->lead_len; at = end) {
        const mg_str rest = mg_str_make(sink->lead + at, sink->lead_len - at);
        end = at + (size_t)mg_str_find(rest, '\n', 0) + 1;
        size_t length = 0;
        if (sink->settings.syslog) {
            length =
                mg_syslog_head(text, &sink->settings, MG_SYSLOG_WARNING, mg_sink_wall_ms(sink));
        }
        memcpy(text + length, rest.ptr, end - at);
        const int err = send_one(datagram, mg_str_make(text, length + end - at));
        if (err) {
            return err;
        }
    }
    mg_sink_queue_loss_told(&sink->queue, sink->lead_losses);
    return 0;
}

/* Lines one by one; 0 when the queue is empty, MG_EFULL when the turn is over. */
static int send_lines(struct datagram_sink *datagram)
{
    struct mg_sink_queue *queue = &datagram->sink.queue;
    for (int i = 0; i < TURN_DATAGRAMS; i++) {
        if (!mg_sink_queue_fill_batch(queue)) {
            return 0;
        }
        const mg_str line = mg_sink_queue_lines(&queue->batch, SIZE_MAX, 1);
        const int err = send_one(datagram, line);
        if (err == -EMSGSIZE) {
            mg_sink_queue_drop_first(queue, 1, MG_SINK_TOO_BIG, mg_sink_wall_ms(&datagram->sink));
        } else if (err) {
            return err;
        } else {
            mg_sink_queue_wrote(queue, &queue->batch, line.len);
        }
    }
    return MG_EFULL;
}

static void flush_datagram(struct mg_sink *sink)
{
    struct datagram_sink *datagram = datagram_of(sink);
    if (datagram->asking || mg_sink_queue_is_empty(&sink->queue)) {
        return;
    }
    if (datagram->fd >= 0 &&
        mg_loop_now_ms(mg_sink_loop(sink)) - datagram->connected_ms > ASK_AGAIN_MS) {
        disconnect(datagram);
    }
    if (datagram->fd < 0) {
        connect_later(datagram);
        if (datagram->fd < 0) {
            return;
        }
    }
    int err = send_losses(datagram);
    err = err ? err : send_lines(datagram);
    if (err == MG_EFULL || err == -EAGAIN || err == -ENOBUFS) {
        mg_sink_retry_later(sink, err == MG_EFULL ? 1 : FULL_MS);
        err = 0;
    }
    if (err) {
        failed(datagram, err);
    } else {
        mg_sink_worked(sink);
    }
}

static bool is_busy(const struct mg_sink *sink)
{
    return datagram_of(sink)->asking;
}

const struct mg_sink_type mg_sink_datagram = {
    .bytes = sizeof(struct datagram_sink),
    .open = open_datagram,
    .flush = flush_datagram,
    .is_busy = is_busy,
    .close = close_datagram,
};
