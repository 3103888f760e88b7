/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds and bookkeeping of a sink's queue: no line is lost without being counted. */
#include "net/sink_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW 1000

static struct mg_sink_part part; /* of the queue of the test */

static void begin(struct mg_sink_queue *queue, size_t bytes, uint32_t entries, bool newest)
{
    part = (struct mg_sink_part){0};
    mg_sink_queue_init(queue, bytes, entries, newest, &part, NOW);
}

static void put(struct mg_sink_queue *queue, const char *line)
{
    mg_sink_queue_put(queue, mg_str_from(line), NOW);
}

static void expect_bytes(const struct mg_buf *buf, const char *wanted)
{
    assert_int_equal(buf->len, strlen(wanted));
    assert_memory_equal(buf->data + buf->start, wanted, buf->len);
}

static void expect_balance(const struct mg_sink_queue *queue)
{
    assert_int_equal(queue->counts.offered,
                     queue->counts.written + queue->counts.dropped + queue->counts.queued);
    assert_int_equal(part.offered, queue->counts.offered);
    assert_int_equal(part.written, queue->counts.written);
    assert_int_equal(mg_sink_part_queued(&part), queue->counts.queued);
    assert_int_equal(part.queue_bytes, queue->batch.len + queue->bytes.len);
}

static void a_full_queue_drops_its_oldest_lines(void **state)
{
    (void)state;
    struct mg_sink_queue queue;
    begin(&queue, 10, 100, false);
    put(&queue, "aaa\n");
    put(&queue, "bbb\n");
    put(&queue, "cccccc\n");
    expect_bytes(&queue.bytes, "cccccc\n");
    put(&queue, "dd\n");
    expect_bytes(&queue.bytes, "cccccc\ndd\n");
    assert_int_equal(queue.losses[MG_SINK_QUEUE_FULL].lines, 2);
    expect_balance(&queue);
    mg_sink_queue_deinit(&queue);
}

static void a_full_queue_may_drop_the_newest_line_instead(void **state)
{
    (void)state;
    struct mg_sink_queue queue;
    begin(&queue, 100, 2, true);
    put(&queue, "a\n");
    put(&queue, "b\n");
    put(&queue, "c\n");
    expect_bytes(&queue.bytes, "a\nb\n");
    assert_int_equal(queue.counts.dropped, 1);
    expect_balance(&queue);
    mg_sink_queue_deinit(&queue);
}

static void a_half_written_line_is_not_dropped(void **state)
{
    (void)state;
    struct mg_sink_queue queue;
    begin(&queue, 12, 100, false);
    put(&queue, "abcd\n");
    put(&queue, "efgh\n");
    mg_sink_queue_wrote(&queue, &queue.bytes, 2);
    assert_true(queue.partial);
    put(&queue, "ijklmn\n");
    expect_bytes(&queue.bytes, "cd\nijklmn\n");
    mg_sink_queue_wrote(&queue, &queue.bytes, 3);
    assert_false(queue.partial);
    assert_int_equal(queue.counts.written, 1);
    expect_balance(&queue);
    mg_sink_queue_deinit(&queue);
}

static void a_busy_batch_is_not_touched(void **state)
{
    (void)state;
    struct mg_sink_queue queue;
    begin(&queue, 10, 100, false);
    put(&queue, "aaaa\n");
    assert_true(mg_sink_queue_fill_batch(&queue));
    queue.busy = true;
    const char *place = queue.batch.data;
    put(&queue, "bb\n");
    put(&queue, "cc\n");
    put(&queue, "ddddd\n"); /* only bb and cc may go, and that is not enough */
    assert_ptr_equal(queue.batch.data, place);
    expect_bytes(&queue.batch, "aaaa\n");
    expect_bytes(&queue.bytes, "");
    assert_int_equal(queue.counts.dropped, 3);
    queue.busy = false;
    queue.full_reason = MG_SINK_DISK;
    put(&queue, "eeeee\n");
    put(&queue, "f\n");
    expect_bytes(&queue.batch, "");
    expect_bytes(&queue.bytes, "eeeee\nf\n");
    assert_int_equal(queue.losses[MG_SINK_DISK].lines, 1);
    expect_balance(&queue);
    mg_sink_queue_deinit(&queue);
}

static void a_line_beyond_the_queue_is_refused(void **state)
{
    (void)state;
    struct mg_sink_queue queue;
    begin(&queue, 4, 100, false);
    put(&queue, "abc\n");
    put(&queue, "abcd\n");
    expect_bytes(&queue.bytes, "abc\n");
    assert_int_equal(queue.losses[MG_SINK_TOO_BIG].lines, 1);
    expect_balance(&queue);
    mg_sink_queue_deinit(&queue);
}

static void pieces_end_at_line_ends(void **state)
{
    (void)state;
    struct mg_sink_queue queue;
    begin(&queue, 1000, 100, false);
    assert_int_equal(mg_sink_queue_piece(&queue.bytes, 10).len, 0);
    put(&queue, "aaa\n");
    put(&queue, "bbb\n");
    put(&queue, "cccccccccccccc\n");
    assert_int_equal(mg_sink_queue_piece(&queue.bytes, 3).len, 4); /* one line, though too long */
    assert_int_equal(mg_sink_queue_piece(&queue.bytes, 4).len, 4);
    assert_int_equal(mg_sink_queue_piece(&queue.bytes, 7).len, 4);
    assert_int_equal(mg_sink_queue_piece(&queue.bytes, 8).len, 8);
    assert_int_equal(mg_sink_queue_piece(&queue.bytes, 22).len, 8);
    assert_int_equal(mg_sink_queue_piece(&queue.bytes, 23).len, 23);
    mg_sink_queue_deinit(&queue);
}

static void losses_are_told_once_with_time_and_reason(void **state)
{
    (void)state;
    struct mg_sink_queue queue;
    char text[MG_SINK_LOSS_BYTES];
    begin(&queue, 100, 1, false);
    assert_int_equal(mg_sink_queue_loss_text(&queue, MG_STR("stdout"), text), 0);
    mg_sink_queue_put(&queue, MG_STR("a\n"), 1700000000000);
    mg_sink_queue_put(&queue, MG_STR("b\n"), 1700000000007);
    mg_sink_queue_put(&queue, MG_STR("c\n"), 1700000001250);
    mg_sink_queue_refuse(&queue, MG_SINK_TOO_BIG, 1700000002000);
    const size_t length = mg_sink_queue_loss_text(&queue, MG_STR("/a\"b\n"), text);
    static const char wanted[] = "{\"event\":\"lost\",\"sink\":\"/"
                                 "a\\\"b\\n\",\"lines\":2,\"from\":\"2023-11-14T22:13:20.007Z\","
                                 "\"to\":\"2023-11-14T22:13:21.250Z\",\"reason\":\"queue_full\"}\n"
                                 "{\"event\":\"lost\",\"sink\":\"/"
                                 "a\\\"b\\n\",\"lines\":1,\"from\":\"2023-11-14T22:13:22.000Z\","
                                 "\"to\":\"2023-11-14T22:13:22.000Z\",\"reason\":\"too_big\"}\n";
    assert_int_equal(length, strlen(wanted));
    assert_memory_equal(text, wanted, length);
    struct mg_sink_loss told[MG_SINK_REASONS];
    memcpy(told, queue.losses, sizeof told);
    mg_sink_queue_put(&queue, MG_STR("d\n"), 1700000003000); /* lost while that is being written */
    mg_sink_queue_loss_told(&queue, told);
    assert_int_equal(queue.losses[MG_SINK_QUEUE_FULL].lines, 1);
    assert_int_equal(queue.losses[MG_SINK_TOO_BIG].lines, 0);
    assert_int_equal(queue.counts.dropped, 4);
    mg_sink_queue_deinit(&queue);
}

static void random_use_never_loses_count(void **state)
{
    (void)state;
    srand(3);
    for (int round = 0; round < 50; round++) {
        struct mg_sink_queue queue;
        begin(&queue, 200, 20, rand() % 2);
        uint64_t offered = 0;
        for (int step = 0; step < 2000; step++) {
            char line[64];
            const size_t length = 1 + (size_t)rand() % 60;
            memset(line, 'x', length);
            line[length - 1] = '\n';
            if (rand() % 3) {
                mg_sink_queue_put(&queue, mg_str_make(line, length), NOW);
                offered++;
            } else if (round % 2) { /* a file */
                if (!queue.busy) {
                    queue.busy = mg_sink_queue_fill_batch(&queue);
                } else {
                    const size_t most = (size_t)rand() % 100;
                    const mg_str piece = mg_sink_queue_piece(&queue.batch, most);
                    mg_sink_queue_wrote(&queue, &queue.batch, piece.len);
                    queue.busy = false;
                }
            } else { /* a stream, which may take part of a line */
                const size_t most = (size_t)rand() % 100;
                mg_sink_queue_wrote(&queue, &queue.bytes,
                                    most < queue.bytes.len ? most : queue.bytes.len);
            }
            assert_int_equal(queue.counts.offered, offered);
            expect_balance(&queue);
            assert_true(queue.batch.len + queue.bytes.len <= 200);
            assert_true(queue.counts.queued <= 20);
        }
        queue.busy = false;
        mg_sink_queue_drop_all(&queue, MG_SINK_SHUTDOWN, NOW);
        assert_int_equal(queue.counts.queued, 0);
        expect_balance(&queue);
        mg_sink_queue_deinit(&queue);
    }
}

/* Were all of it moved for each line, this would take minutes. */
static void a_full_queue_slides_through_little_memory(void **state)
{
    (void)state;
    struct mg_sink_queue queue;
    const size_t bound = 8 << 20;
    char line[200];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    begin(&queue, bound, 1 << 20, false);
    for (int i = 0; i < 500000; i++) {
        mg_sink_queue_put(&queue, mg_str_make(line, sizeof line), NOW);
        assert_true(queue.bytes.start <= bound / 8 + 64 * 1024);
    }
    assert_int_equal(queue.counts.queued, bound / sizeof line);
    expect_balance(&queue);
    mg_sink_queue_deinit(&queue);
}

static void lines_of_a_dead_worker_are_told_by_the_next_one(void **state)
{
    (void)state;
    struct mg_sink_queue queue;
    char text[MG_SINK_LOSS_BYTES];
    part = (struct mg_sink_part){
        .offered = 7, .dropped[MG_SINK_WORKER_DIED] = 7, .died_told = 3, .since_ms = 500};
    mg_sink_queue_init(&queue, 100, 10, false, &part, NOW);
    const size_t length = mg_sink_queue_loss_text(&queue, MG_STR("s"), text);
    assert_string_equal(mg_str_make(text, length).ptr,
                        "{\"event\":\"lost\",\"sink\":\"s\",\"lines\":4,"
                        "\"from\":\"1970-01-01T00:00:00.500Z\","
                        "\"to\":\"1970-01-01T00:00:01.000Z\",\"reason\":\"worker_died\"}\n");
    mg_sink_queue_deinit(&queue);
    mg_sink_queue_init(&queue, 100, 10, false, &part, NOW); /* once only */
    assert_int_equal(mg_sink_queue_loss_text(&queue, MG_STR("s"), text), 0);
    mg_sink_queue_deinit(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_queue_slides_through_little_memory),
        cmocka_unit_test(lines_of_a_dead_worker_are_told_by_the_next_one),
        cmocka_unit_test(a_full_queue_drops_its_oldest_lines),
        cmocka_unit_test(a_full_queue_may_drop_the_newest_line_instead),
        cmocka_unit_test(a_half_written_line_is_not_dropped),
        cmocka_unit_test(a_busy_batch_is_not_touched),
        cmocka_unit_test(a_line_beyond_the_queue_is_refused),
        cmocka_unit_test(pieces_end_at_line_ends),
        cmocka_unit_test(losses_are_told_once_with_time_and_reason),
        cmocka_unit_test(random_use_never_loses_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
