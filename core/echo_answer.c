/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer's life: start -> (delay) -> begin -> pump ... pump -> end. pump writes until the queue
 * is long enough and goes on when it is empty; the head leaves together with the first block.
 */
#include "echo_answer.h"

#include "wire/write.h"

#include <inttypes.h>
#include <stdio.h>

#define LINGER_MS 1000
#define HEAD_BYTES 1024

void mg_echo_answer_init(struct mg_echo_answer *answer)
{
    mg_buf_init(&answer->head, HEAD_BYTES);
    mg_deadline_init(&answer->deadline);
}

void mg_echo_answer_deinit(struct mg_echo_answer *answer)
{
    mg_deadline_cancel(&answer->deadline);
    mg_buf_deinit(&answer->head);
    answer->busy = false;
}

static bool put_start(struct mg_buf *out, uint16_t status, const char *date, const char *type)
{
    return mg_buf_put(out,
                      "HTTP/1.1 %u %s\r\nDate: %s\r\nServer: moongate-echo\r\n"
                      "Content-Type: %s\r\n",
                      status, mg_status_reason(status), date, type);
}

bool mg_echo_answer_head(struct mg_buf *out, const struct mg_echo_wish *wish, const char *date,
                         const char *type, uint64_t length)
{
    return put_start(out, wish->status, date, type) &&
           mg_buf_put(out, "Content-Length: %" PRIu64 "\r\n\r\n", length);
}

static bool has_no_body(uint16_t status)
{
    return status == 204 || status == 304;
}

static void build_head(struct mg_echo_answer *answer)
{
    const struct mg_echo_wish *wish = &answer->wish;
    const char *type =
        wish->events ? "text/event-stream" : (answer->text.ptr ? "application/json" : "text/plain");
    mg_buf_clear(&answer->head);
    bool ok =
        put_start(&answer->head, wish->status, mg_clock_http_date(&answer->loop->clock), type);
    if (answer->framed) {
        ok = ok && mg_buf_put(&answer->head, "Transfer-Encoding: chunked\r\n");
    } else if (!wish->events && !wish->chunked && !has_no_body(wish->status)) {
        ok = ok && mg_buf_put(&answer->head, "Content-Length: %" PRIu64 "\r\n", answer->total);
    }
    if (wish->events) {
        ok = ok && mg_buf_put(&answer->head, "Cache-Control: no-cache\r\n");
    }
    ok = ok && mg_buf_put(&answer->head, "%s\r\n", answer->close ? "Connection: close\r\n" : "");
    mg_require(ok); /* HEAD_BYTES is enough for all of these */
}

static enum mg_echo_progress end(struct mg_echo_answer *answer)
{
    answer->busy = false;
    if (answer->close) {
        mg_io_close_lingering(answer->io, LINGER_MS);
        return MG_ECHO_GONE;
    }
    return MG_ECHO_WRITTEN;
}

static enum mg_echo_progress fail(struct mg_echo_answer *answer)
{
    answer->busy = false;
    mg_io_close(answer->io);
    return MG_ECHO_GONE;
}

/* The head (once), then the block in the body's framing; last: with the end of the body. */
static int write_block(struct mg_echo_answer *answer, mg_str block, bool last)
{
    char size_line[20];
    mg_str parts[5];
    size_t count = 0;
    if (!answer->head_out) {
        parts[count++] = mg_buf_view(&answer->head);
        answer->head_out = true;
    }
    if (answer->framed && block.len > 0) {
        parts[count++] = mg_str_make(size_line, mg_write_chunk_head(size_line, block.len));
        parts[count++] = block;
        parts[count++] = MG_CHUNK_END;
    } else {
        parts[count++] = block;
    }
    if (answer->framed && last) {
        parts[count++] = MG_CHUNK_LAST;
    }
    return mg_io_write(answer->io, parts, count);
}

static mg_str next_block(const struct mg_echo_answer *answer, uint64_t until)
{
    const uint64_t left = until - answer->sent;
    const char *from = answer->text.ptr ? answer->text.ptr + answer->sent
                                        : answer->pattern + answer->sent % MG_ECHO_BLOCK;
    const uint64_t most =
        answer->text.ptr ? MG_ECHO_BLOCK : MG_ECHO_BLOCK - answer->sent % MG_ECHO_BLOCK;
    return mg_str_make(from, (size_t)(left < most ? left : most));
}

static enum mg_echo_progress pump(struct mg_echo_answer *answer)
{
    const struct mg_echo_wish *wish = &answer->wish;
    const bool cut = wish->cut && wish->cut_after < answer->total;
    const uint64_t until = cut ? wish->cut_after : answer->total;
    while (answer->sent < until || !answer->head_out) {
        if (mg_io_queued(answer->io) >= MG_ECHO_QUEUE) {
            return MG_ECHO_LATER;
        }
        const mg_str block = next_block(answer, until);
        answer->sent += block.len;
        if (write_block(answer, block, answer->sent == answer->total)) {
            return fail(answer);
        }
    }
    answer->close = answer->close || cut;
    return end(answer);
}

/* --- events ------------------------------------------------------------------------------ */

static void on_time(struct mg_deadline *deadline);

static enum mg_echo_progress wait(struct mg_echo_answer *answer)
{
    mg_deadline_arm(mg_deadlines_class(&answer->loop->deadlines, answer->wish.delay_ms),
                    &answer->deadline, on_time, mg_loop_now_ms(answer->loop));
    return MG_ECHO_LATER;
}

static enum mg_echo_progress pump_events(struct mg_echo_answer *answer)
{
    const struct mg_echo_wish *wish = &answer->wish;
    while (answer->events_sent < wish->events) {
        if (mg_io_queued(answer->io) >= MG_ECHO_QUEUE) {
            return MG_ECHO_LATER;
        }
        char event[96];
        answer->events_sent++;
        const int length =
            snprintf(event, sizeof event, "id: %" PRIu64 "\ndata: event %" PRIu64 "\n\n",
                     answer->events_sent, answer->events_sent);
        if (write_block(answer, mg_str_make(event, (size_t)length),
                        answer->events_sent == wish->events)) {
            return fail(answer);
        }
        if (wish->delay_ms > 0 && answer->events_sent < wish->events) {
            return wait(answer);
        }
    }
    return end(answer);
}

/* --- the story --------------------------------------------------------------------------- */

static enum mg_echo_progress go_on(struct mg_echo_answer *answer)
{
    if (!answer->begun) {
        answer->begun = true;
        if (answer->wish.reset) {
            mg_io_reset(answer->io);
            answer->busy = false;
            return MG_ECHO_GONE;
        }
        build_head(answer);
    }
    if (answer->no_body) {
        answer->framed = false; /* the head may say chunked, but no chunk follows */
        answer->head_out = true;
        const mg_str head = mg_buf_view(&answer->head);
        return mg_io_write(answer->io, &head, 1) ? fail(answer) : end(answer);
    }
    return answer->wish.events ? pump_events(answer) : pump(answer);
}

/* Going on outside of mg_echo_answer_start. */
static void go_on_later(struct mg_echo_answer *answer)
{
    if (go_on(answer) == MG_ECHO_WRITTEN) {
        answer->on_done(answer->context);
    }
}

static void on_time(struct mg_deadline *deadline)
{
    go_on_later(MG_CONTAINER(deadline, struct mg_echo_answer, deadline));
}

void mg_echo_answer_drained(struct mg_echo_answer *answer)
{
    if (answer->busy && answer->begun && !mg_deadline_armed(&answer->deadline)) {
        go_on_later(answer);
    }
}

enum mg_echo_progress mg_echo_answer_start(struct mg_echo_answer *answer,
                                           const struct mg_echo_ask *ask)
{
    const struct mg_echo_wish *wish = &answer->wish;
    const bool streams = wish->chunked || wish->events > 0;
    answer->text = wish->sized || wish->events ? mg_str_make(NULL, 0) : ask->text;
    answer->sent = answer->events_sent = 0;
    answer->total = answer->text.ptr ? answer->text.len : wish->size;
    answer->no_body = ask->is_head || has_no_body(wish->status);
    answer->framed = streams && !ask->is_old && !has_no_body(wish->status);
    answer->close = wish->close || !ask->keep_alive || (streams && ask->is_old);
    answer->head_out = answer->begun = false;
    answer->busy = true;
    return wish->delay_ms > 0 && !wish->events ? wait(answer) : go_on(answer);
}
