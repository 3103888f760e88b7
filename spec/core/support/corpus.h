/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the raw messages of spec/corpus; the README there describes the files.
 *
 *     struct corpus_message message;
 *     FILE *file = fopen(path, "r");
 *     while (corpus_next(file, &message)) {
 *         ... message.bytes, message.verdicts[0].status, .reason ...
 *         corpus_free(&message);
 *     }
 */
#pragma once

#include "base/buf.h"

#include <stdio.h>

enum { CORPUS_VERDICTS = 8, CORPUS_WORD = 32 };

struct corpus_verdict {
    int status;
    char reason[CORPUS_WORD]; /* "" when it is accepted */
    bool close;
};

struct corpus_message {
    char title[256];
    struct mg_buf bytes;
    struct corpus_verdict verdicts[CORPUS_VERDICTS];
    size_t verdict_count;
};

/* The next message, or false at the end of the file. A line that is none fails the test. */
bool corpus_next(FILE *file, struct corpus_message *message);
void corpus_free(struct corpus_message *message);
