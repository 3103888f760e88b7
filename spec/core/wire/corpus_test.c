/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of spec/corpus through scanner, parser, rules and chunk decoder alone: whole, byte
 * by byte and cut in two at every place, always with the same verdicts, heads and octets. */
#include "wire/chunk.h"
#include "wire/rules.h"

#include "base/buf.h"
#include "support/corpus.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct mg_http1_limits head_limits = {8192, 32768, 8192, 256, 100};
static const struct mg_chunk_limits chunk_limits = {64, 4096, 20, 8192};
static const struct mg_uri_rules uri_rules = {0};
static const uint64_t most_body = 10 << 20;

enum { MOST_CUTS = 500 }; /* of one long message */

/* A client's connection, as far as it can be understood without answering. */
struct reader {
    struct mg_arena arena; /* of the present message */
    struct mg_http1_scan scan;
    struct mg_buf head;
    struct mg_chunk chunk;
    struct mg_buf story; /* what was understood, to be compared */
    uint64_t left;
    enum mg_framing framing; /* NONE: a head is awaited */
    size_t requests;
    int err;
    bool last; /* the connection ends with the present message */
};

static void tell(struct reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void tell(struct reader *reader, const char *format, ...)
{
    char *place = mg_buf_reserve(&reader->story, 80000);
    assert_non_null(place);
    va_list arguments;
    va_start(arguments, format);
    mg_buf_commit(&reader->story, (size_t)vsnprintf(place, 80000, format, arguments));
    va_end(arguments);
}

static void end_message(struct reader *reader)
{
    reader->framing = MG_FRAMING_NONE;
    reader->requests++;
    mg_arena_reset(&reader->arena);
    tell(reader, "end\n");
}

static int understand(struct reader *reader, mg_str bytes)
{
    struct mg_request_head head;
    struct mg_uri uri;
    struct mg_host host;
    const mg_str copy = mg_arena_copy_str(&reader->arena, bytes);
    int err = mg_http1_parse_request(&reader->arena, copy, &head);
    if (!err) {
        err = mg_uri_parse_target(&reader->arena, head.target, head.method_id, &uri_rules, &uri);
    }
    if (!err) {
        err = mg_rules_check_request(&head, &uri, &host);
    }
    if (err) {
        return err;
    }
    tell(reader, "%.*s %.*s?%.*s at %.*s:%d, framing %d of %llu, stays %d\n",
         MG_STR_ARG(head.method), MG_STR_ARG(uri.path), MG_STR_ARG(uri.query),
         MG_STR_ARG(host.name), (int)host.port, (int)head.framing,
         (unsigned long long)head.content_length, head.keep_alive);
    reader->last = !head.keep_alive;
    reader->framing = head.framing;
    reader->left = head.content_length;
    mg_chunk_init(&reader->chunk, &chunk_limits);
    if (head.framing == MG_FRAMING_NONE || (head.framing == MG_FRAMING_LENGTH && !reader->left)) {
        end_message(reader);
    }
    return reader->left > most_body ? MG_EBODY_TOO_LARGE : 0;
}

static mg_str feed_head(struct reader *reader, mg_str bytes)
{
    size_t used = 0;
    const int err = mg_http1_scan(&reader->scan, MG_HTTP1_REQUEST, &head_limits, bytes, &used);
    assert_int_equal(mg_buf_append(&reader->head, mg_str_slice(bytes, 0, used)), 0);
    if (err != MG_EAGAIN) {
        const mg_str all = mg_buf_view(&reader->head);
        reader->err =
            err ? err : understand(reader, mg_str_slice(all, reader->scan.skipped, all.len));
        reader->scan = (struct mg_http1_scan){0};
        mg_buf_clear(&reader->head);
    }
    return mg_str_slice(bytes, used, bytes.len);
}

static mg_str feed_body(struct reader *reader, mg_str bytes)
{
    size_t used = bytes.len < reader->left ? bytes.len : (size_t)reader->left;
    mg_str octets = mg_str_slice(bytes, 0, used);
    bool ends = false;
    if (reader->framing == MG_FRAMING_CHUNKED) {
        reader->err = mg_chunk_next(&reader->chunk, bytes, &used, &octets);
        ends = reader->chunk.done;
    } else {
        reader->left -= used;
        ends = reader->left == 0;
    }
    assert_int_equal(mg_buf_append(&reader->story, octets), 0);
    if (ends && !reader->err) {
        end_message(reader);
    }
    return mg_str_slice(bytes, used, bytes.len);
}

/* The piece is copied, so that reads beyond it show. */
static void feed(struct reader *reader, mg_str piece)
{
    char *copy = malloc(piece.len + !piece.len);
    assert_non_null(copy);
    memcpy(copy, piece.ptr, piece.len);
    mg_str rest = mg_str_make(copy, piece.len);
    while (rest.len > 0 && !reader->err) {
        if (reader->framing != MG_FRAMING_NONE) {
            rest = feed_body(reader, rest);
        } else if (!reader->last) {
            rest = feed_head(reader, rest);
        } else {
            break; /* bytes behind the last request (M17) */
        }
    }
    free(copy);
}

static void open_reader(struct reader *reader)
{
    memset(reader, 0, sizeof *reader);
    mg_arena_init(&reader->arena, 4096);
    mg_buf_init(&reader->head, 1 << 20);
    mg_buf_init(&reader->story, 1 << 24);
}

static void close_reader(struct reader *reader)
{
    mg_arena_deinit(&reader->arena);
    mg_buf_deinit(&reader->head);
    mg_buf_deinit(&reader->story);
}

/* The first `first` bytes, then `step` at a time. */
static void read_message(struct reader *reader, mg_str bytes, size_t first, size_t step)
{
    open_reader(reader);
    for (size_t at = 0, piece = first; at < bytes.len; at += piece, piece = step) {
        feed(reader, mg_str_slice(bytes, at, at + piece));
    }
}

static void expect_same(const struct corpus_message *message, const struct reader *whole,
                        size_t first, size_t step)
{
    struct reader other;
    read_message(&other, mg_buf_view(&message->bytes), first, step);
    if (other.err != whole->err || other.requests != whole->requests ||
        !mg_str_equal(mg_buf_view(&other.story), mg_buf_view(&whole->story))) {
        fail_msg("%s, cut at %zu: %s after %zu requests", message->title, first,
                 mg_err_text(other.err), other.requests);
    }
    close_reader(&other);
}

/* The verdict of the gateway, as far as it is one of these parsers. */
static void expect_verdict(const struct corpus_message *message, const struct reader *whole)
{
    const struct corpus_verdict *last = &message->verdicts[message->verdict_count - 1];
    const size_t accepted = message->verdict_count - (last->reason[0] != '\0');
    const char *name = mg_err_name(whole->err);
    char word[CORPUS_WORD] = "";
    for (size_t i = 0; name && name[i] && i + 1 < sizeof word; i++) {
        word[i] = mg_char_lower(name[i]);
    }
    if (strcmp(word, last->reason) != 0 || whole->requests != accepted ||
        (!whole->err && whole->last != last->close)) {
        fail_msg("%s: '%s' after %zu requests", message->title, word, whole->requests);
    }
}

static void check_message(const struct corpus_message *message)
{
    const mg_str bytes = mg_buf_view(&message->bytes);
    struct reader whole;
    read_message(&whole, bytes, bytes.len, 1);
    expect_verdict(message, &whole);
    expect_same(message, &whole, 1, 1);
    for (size_t cut = 1; cut < bytes.len; cut += 1 + bytes.len / MOST_CUTS) {
        expect_same(message, &whole, cut, bytes.len);
    }
    close_reader(&whole);
}

static void smg_01_pieces_of_any_size_are_understood_as_the_whole(void **state)
{
    (void)state;
    glob_t files;
    size_t messages = 0;
    assert_int_equal(glob(MOONGATE_SOURCE_DIR "/spec/corpus/*.txt", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        FILE *file = fopen(files.gl_pathv[i], "r");
        struct corpus_message message;
        assert_non_null(file);
        for (; corpus_next(file, &message); messages++) {
            check_message(&message);
            corpus_free(&message);
        }
        corpus_free(&message);
        fclose(file);
    }
    globfree(&files);
    assert_true(messages >= 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smg_01_pieces_of_any_size_are_understood_as_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
