/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a message, as they are asked for. */
#include "source.h"

#include "content.h"

#include <inttypes.h>
#include <stdio.h>

enum { EXTENDED_LINES = 40 }; /* below limits.chunk_extensions */

void source_init(struct source *source, const struct message *message, struct mg_arena *arena)
{
    *source =
        (struct source){.message = message,
                        .arena = arena,
                        .text = message_head(message, arena),
                        .dice = message->chunk_dice,
                        .ends = message->framing != FRAMING_CHUNKED &&
                                (message->framing == FRAMING_NONE || message->body_bytes == 0)};
}

/* CR LF of the chunk before, size with zeros in front and digits of any case, an extension. */
static void make_chunk_line(struct source *source, uint64_t size)
{
    static const char *const extensions[] = {"", ";a", ";name=token", ";q=\"v \\\" ;\"", ";a;b=c"};
    const bool extended = source->message->extensions && source->lines < EXTENDED_LINES;
    const char *extension = extended ? extensions[dice_below(&source->dice, 5)] : "";
    const int zeros = dice_chance(&source->dice, 50) ? (int)dice_below(&source->dice, 6) : 0;
    const char *before = source->lines++ > 0 ? "\r\n" : "";
    const bool upper = dice_chance(&source->dice, 300);
    const int len = upper ? snprintf(source->line, sizeof source->line, "%s%.*s%" PRIX64 "%s\r\n",
                                     before, zeros, "000000", size, extension)
                          : snprintf(source->line, sizeof source->line, "%s%.*s%" PRIx64 "%s\r\n",
                                     before, zeros, "000000", size, extension);
    source->text = mg_str_make(source->line, (size_t)len);
}

static void make_end(struct source *source)
{
    const char *before = source->lines > 0 ? "\r\n" : "";
    mg_str text = mg_arena_format(source->arena, "%s0\r\n", before);
    for (uint32_t i = 1; i <= source->message->trailers; i++) {
        const mg_str value = text_value(source->arena, &source->dice, 5);
        text = mg_arena_format(source->arena, "%.*sX-Trailer-%" PRIu32 ": %.*s\r\n",
                               MG_STR_ARG(text), i, MG_STR_ARG(value));
    }
    source->text = mg_arena_format(source->arena, "%.*s\r\n", MG_STR_ARG(text));
}

/* Makes the next text, or the next octets. */
static void advance(struct source *source)
{
    const struct message *message = source->message;
    const uint64_t left = message->body_bytes - source->sent;
    if (message->framing != FRAMING_CHUNKED) {
        source->chunk_left = left;
        source->ends = true;
    } else if (left == 0) {
        make_end(source);
        source->ends = true;
    } else {
        const uint64_t wish = dice_bits(&source->dice, message->chunk_bits) + 1;
        source->chunk_left = wish < left ? wish : left;
        make_chunk_line(source, source->chunk_left);
    }
}

static size_t read_text(struct source *source, char *to, size_t most)
{
    const size_t count = source->text.len < most ? source->text.len : most;
    memcpy(to, source->text.ptr, count);
    source->text = mg_str_slice(source->text, count, source->text.len);
    return count;
}

static size_t read_octets(struct source *source, char *to, size_t most)
{
    const size_t count = source->chunk_left < most ? (size_t)source->chunk_left : most;
    content_fill(source->message->content, source->sent, to, count);
    source->sent += count;
    source->chunk_left -= count;
    return count;
}

size_t source_read(struct source *source, char *to, size_t most)
{
    size_t done = 0;
    while (done < most) {
        if (source->text.len > 0) {
            done += read_text(source, to + done, most - done);
        } else if (source->chunk_left > 0) {
            done += read_octets(source, to + done, most - done);
        } else if (source->ends || source->holds_body) {
            break;
        } else {
            advance(source);
        }
    }
    return done;
}
