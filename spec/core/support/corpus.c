/* SPDX-License-Identifier: Apache-2.0 */
/* The files of spec/corpus, line by line. */
#include "support/corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LINE = 1024 };

static void append(struct mg_buf *out, const char *bytes, size_t count)
{
    assert_int_equal(mg_buf_append(out, mg_str_make(bytes, count)), 0);
}

/* One escape behind its '\'; returns where it ends. */
static const char *put_escape(struct mg_buf *out, const char *at)
{
    static const char names[] = "rnt\\", bytes[] = "\r\n\t\\";
    if (*at == 'x') {
        const char digits[3] = {at[1], at[1] ? at[2] : '\0', '\0'};
        char *end;
        const char byte = (char)strtoul(digits, &end, 16);
        assert_ptr_equal(end, digits + 2);
        append(out, &byte, 1);
        return at + 3;
    }
    const char *found = *at ? strchr(names, *at) : NULL;
    assert_non_null(found);
    append(out, bytes + (found - names), 1);
    return at + 1;
}

/* The bytes that a line stands for; "\(TEXT*N)" is TEXT N times. */
static void unescape(struct mg_buf *out, const char *at, const char *end)
{
    while (at < end) {
        if (*at != '\\') {
            append(out, at++, 1);
        } else if (at[1] != '(') {
            at = put_escape(out, at + 1);
        } else {
            const char *close = memchr(at, ')', (size_t)(end - at));
            assert_non_null(close);
            const char *star = close;
            while (*star != '*') {
                star--;
            }
            for (unsigned long i = strtoul(star + 1, NULL, 10); i > 0; i--) {
                unescape(out, at + 2, star);
            }
            at = close + 1;
        }
    }
}

static void add_verdict(struct corpus_message *message, const char *text)
{
    assert_true(message->verdict_count < CORPUS_VERDICTS);
    struct corpus_verdict *verdict = &message->verdicts[message->verdict_count++];
    char *at;
    verdict->status = (int)strtol(text, &at, 10);
    while (*at == ' ') {
        const size_t length = strcspn(++at, " ");
        const mg_str word = mg_str_make(at, length);
        if (mg_str_equal(word, MG_STR("close"))) {
            verdict->close = true;
        } else if (!mg_str_equal(word, MG_STR("partial"))) {
            snprintf(verdict->reason, sizeof verdict->reason, "%.*s", MG_STR_ARG(word));
        }
        at += length;
    }
}

/* A line of a message; those about the upstream's side are not read here. */
static void take_line(struct corpus_message *message, char *line)
{
    if (strncmp(line, "| ", 2) == 0) {
        unescape(&message->bytes, line + 2, line + strlen(line));
    } else if (strncmp(line, "=> ", 3) == 0) {
        add_verdict(message, line + 3);
    } else {
        assert_true(line[0] == '\0' || line[0] == '#' || line[0] == ':' || line[0] == '>');
    }
}

bool corpus_next(FILE *file, struct corpus_message *message)
{
    char line[LINE];
    memset(message, 0, sizeof *message);
    mg_buf_init(&message->bytes, 1 << 20);
    for (;;) {
        const long start = ftell(file);
        if (!fgets(line, sizeof line, file)) {
            break;
        }
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "== ", 3) != 0) {
            take_line(message, line);
        } else if (message->title[0] == '\0') {
            snprintf(message->title, sizeof message->title, "%.200s", line + 3);
        } else {
            assert_int_equal(fseek(file, start, SEEK_SET), 0); /* the next one's */
            break;
        }
    }
    return message->title[0] != '\0';
}

void corpus_free(struct corpus_message *message)
{
    mg_buf_deinit(&message->bytes);
}
