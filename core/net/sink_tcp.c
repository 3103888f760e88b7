/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP connection that takes lines, a piece at a time:
 *
 *     [none] --lines wait--> [dialling] --> [connected] --piece--> [sending] --taken--> [connected]
 *        ^------------------ failure, end of the peer, nothing taken for long ---------------'
 *
 * What the peer says is thrown away.
 */
#include "net/sink_tcp.h"

#include "net/sink_syslog.h"
#include "net/tls_stream.h"

#include <stdio.h>

#define PIECE_BYTES (64 * 1024)
#define FRAME_BYTES 24 /* of the length in front of a syslog message */

struct tcp_sink {
    struct mg_sink sink;
    struct mg_dial dial;
    bool dialling, securing;
    struct mg_tls_context *tls;
    struct mg_io *io;
    struct mg_buf out; /* lead and lines as they go on the wire */
    size_t lead_out;   /* bytes of the lead in out */
    size_t piece;      /* bytes of the queue's batch in out; 0: nothing is being sent */
    size_t taken;      /* bytes of out that the kernel surely has */
    struct mg_deadline stall;
};

static struct tcp_sink *tcp_of(const struct mg_sink *sink)
{
    return MG_CONTAINER(sink, struct tcp_sink, sink);
}

static int open_tcp(struct mg_sink *sink, char *message, size_t message_bytes)
{
    struct tcp_sink *tcp = tcp_of(sink);
    const int err = mg_sink_tls_new(sink, &tcp->tls, message, message_bytes);
    if (err) {
        return err;
    }
    if (sink->settings.syslog && sink->line_bytes > MG_SYSLOG_HEAD_BYTES * 2) {
        sink->line_bytes -= MG_SYSLOG_HEAD_BYTES;
    }
    mg_buf_init(&tcp->out, SIZE_MAX);
    mg_deadline_init(&tcp->stall);
    return 0;
}

static void hang_up(struct tcp_sink *tcp)
{
    mg_deadline_cancel(&tcp->stall);
    if (tcp->dialling) {
        mg_dial_cancel(&tcp->dial);
        tcp->dialling = false;
    }
    if (tcp->io) {
        mg_io_close(tcp->io);
        tcp->io = NULL;
    }
    tcp->securing = false;
}

static void close_tcp(struct mg_sink *sink)
{
    hang_up(tcp_of(sink));
    mg_buf_deinit(&tcp_of(sink)->out);
    mg_tls_context_free(tcp_of(sink)->tls);
}

/* --- frames --------------------------------------------------------------------------------- */

/* A line as it goes on the wire; with out NULL only how long it is. Octet counting: "LENGTH
 * MESSAGE", without LF (RFC 6587, 3.4.1). */
static size_t frame(const struct tcp_sink *tcp, mg_str line, struct mg_buf *out)
{
    char count[FRAME_BYTES];
    size_t head = 0;
    if (tcp->sink.settings.syslog) {
        line.len--;
        head = (size_t)snprintf(count, sizeof count, "%zu ", line.len);
    }
    if (out) {
        int err = mg_buf_append(out, mg_str_make(count, head));
        err = err ? err : mg_buf_append(out, line);
        mg_require(err == 0); /* the buffer has no bound but that of a piece */
    }
    return head + line.len;
}

static mg_str next_line(mg_str *rest)
{
    const size_t end = (size_t)mg_str_find(*rest, '\n', 0) + 1;
    const mg_str line = mg_str_slice(*rest, 0, end);
    *rest = mg_str_slice(*rest, end, rest->len);
    return line;
}

static void frame_lead(struct tcp_sink *tcp)
{
    const struct mg_sink *sink = &tcp->sink;
    char text[MG_SYSLOG_HEAD_BYTES + MG_SINK_LOSS_BYTES];
    mg_str rest = mg_str_make(sink->lead, sink->lead_len);
    while (rest.len > 0) {
        const mg_str line = next_line(&rest);
        const size_t head =
            sink->settings.syslog
                ? mg_syslog_head(text, &sink->settings, MG_SYSLOG_WARNING, mg_sink_wall_ms(sink))
                : 0;
        memcpy(text + head, line.ptr, line.len);
        frame(tcp, mg_str_make(text, head + line.len), &tcp->out);
    }
    tcp->lead_out = tcp->out.len;
}

/* Bytes of the batch whose frames were taken as a whole. */
static size_t taken_lines(const struct tcp_sink *tcp)
{
    mg_str rest = mg_str_slice(mg_buf_view(&tcp->sink.queue.batch), 0, tcp->piece);
    size_t wire = tcp->lead_out;
    size_t lines = 0;
    while (rest.len > 0) {
        const mg_str line = next_line(&rest);
        wire += frame(tcp, line, NULL);
        if (wire > tcp->taken) {
            break;
        }
        lines += line.len;
    }
    return lines;
}

/* --- failures ------------------------------------------------------------------------------- */

static void give_up(struct mg_sink *sink)
{
    struct tcp_sink *tcp = tcp_of(sink);
    if (tcp->piece > 0) {
        mg_sink_wrote(sink, tcp->taken >= tcp->lead_out, taken_lines(tcp));
        tcp->piece = 0;
    }
    hang_up(tcp);
}

static void failed(struct tcp_sink *tcp, int err)
{
    give_up(&tcp->sink);
    mg_sink_failed(&tcp->sink, err, 0);
}

/* What the kernel has of what is being sent; by TLS it is not known which bytes these are. */
static void note_taken(struct tcp_sink *tcp)
{
    const size_t queued = mg_io_queued(tcp->io);
    tcp->taken = queued == 0 ? tcp->out.len : tcp->tls ? 0 : tcp->out.len - queued;
}

static void on_stall(struct mg_deadline *deadline)
{
    struct tcp_sink *tcp = MG_CONTAINER(deadline, struct tcp_sink, stall);
    if (!tcp->securing) {
        note_taken(tcp);
    }
    failed(tcp, MG_ETIMEOUT);
}

/* --- sending -------------------------------------------------------------------------------- */

static void done(struct tcp_sink *tcp)
{
    mg_deadline_cancel(&tcp->stall);
    mg_sink_wrote(&tcp->sink, true, tcp->piece);
    tcp->piece = 0;
    mg_sink_worked(&tcp->sink);
}

static void send_piece(struct tcp_sink *tcp)
{
    struct mg_sink *sink = &tcp->sink;
    struct mg_loop *loop = mg_sink_loop(sink);
    mg_sink_begin(sink);
    mg_str rest = mg_sink_queue_piece(&sink->queue.batch, PIECE_BYTES);
    tcp->piece = rest.len;
    mg_buf_clear(&tcp->out);
    frame_lead(tcp);
    while (rest.len > 0) {
        frame(tcp, next_line(&rest), &tcp->out);
    }
    const mg_str bytes = mg_buf_view(&tcp->out);
    const int err = mg_io_write(tcp->io, &bytes, 1);
    if (err) {
        tcp->taken = 0;
        failed(tcp, err);
        return;
    }
    note_taken(tcp);
    if (tcp->taken == tcp->out.len) {
        done(tcp);
    } else {
        mg_deadline_arm_at(&loop->deadlines, &tcp->stall, on_stall,
                           mg_loop_now_ms(loop) + sink->settings.timeout_ms);
    }
}

static void on_data(void *context, mg_str bytes)
{
    (void)context;
    (void)bytes;
}

/* A peer that ends an idle connection has done nothing wrong. */
static void on_end(void *context, int status)
{
    struct tcp_sink *tcp = context;
    if (tcp->piece == 0 && mg_sink_queue_is_empty(&tcp->sink.queue)) {
        hang_up(tcp);
        mg_sink_retry_later(&tcp->sink, tcp->sink.settings.first_ms);
    } else {
        failed(tcp, status);
    }
}

static void on_drain(void *context, int status)
{
    struct tcp_sink *tcp = context;
    if (status) {
        failed(tcp, status);
    } else if (tcp->piece > 0) {
        done(tcp);
    }
}

static const struct mg_io_handler io_handler = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
};

static void on_secure(void *context, int status, const char *text)
{
    struct tcp_sink *tcp = context;
    (void)text;
    tcp->securing = false;
    mg_deadline_cancel(&tcp->stall);
    if (status) {
        failed(tcp, status);
    }
}

static void on_dial(struct mg_dial *dial, int status, struct mg_io *io)
{
    struct tcp_sink *tcp = MG_CONTAINER(dial, struct tcp_sink, dial);
    tcp->dialling = false;
    if (status) {
        failed(tcp, status);
        return;
    }
    tcp->io = io;
    mg_io_set_handler(io, &io_handler, tcp);
    if (!tcp->tls) {
        mg_io_read_start(io); /* the flush of this turn goes on */
        return;
    }
    struct mg_loop *loop = mg_sink_loop(&tcp->sink);
    tcp->securing = true;
    mg_deadline_arm_at(&loop->deadlines, &tcp->stall, on_stall,
                       mg_loop_now_ms(loop) + tcp->sink.settings.connect_ms);
    mg_tls_stream_start(io, mg_tls_client(tcp->tls, mg_sink_server_name(&tcp->sink)), on_secure,
                        tcp);
}

static void start_dial(struct tcp_sink *tcp)
{
    struct mg_sink *sink = &tcp->sink;
    const struct mg_dial_place place = {.loop = mg_sink_loop(sink),
                                        .dns = sink->sinks->parts.dns,
                                        .host = sink->settings.host,
                                        .port = sink->settings.port,
                                        .random = (uint32_t)mg_sink_now_us()};
    tcp->dial.fn = on_dial;
    const int err = place.dns ? mg_dial_start(&tcp->dial, &place, sink->settings.connect_ms,
                                              &sink->sinks->dials)
                              : MG_EUNSUPPORTED;
    tcp->dialling = err == 0;
    if (err) {
        failed(tcp, err);
    }
}

static void flush_tcp(struct mg_sink *sink)
{
    struct tcp_sink *tcp = tcp_of(sink);
    if (mg_sink_queue_is_empty(&sink->queue) || tcp->dialling || tcp->securing || tcp->piece > 0) {
        return;
    }
    if (!tcp->io) {
        start_dial(tcp);
        return;
    }
    while (tcp->io && tcp->piece == 0 && mg_sink_queue_fill_batch(&sink->queue)) {
        send_piece(tcp);
    }
}

static bool is_busy(const struct mg_sink *sink)
{
    const struct tcp_sink *tcp = tcp_of(sink);
    return tcp->piece > 0 || tcp->dialling || tcp->securing;
}

const struct mg_sink_type mg_sink_tcp = {
    .bytes = sizeof(struct tcp_sink),
    .open = open_tcp,
    .flush = flush_tcp,
    .is_busy = is_busy,
    .give_up = give_up,
    .close = close_tcp,
};
