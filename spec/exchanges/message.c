/* SPDX-License-Identifier: Apache-2.0 */
/* What messages are made of. */
#include "message.h"

#include "base/err.h"

#include <inttypes.h>

void message_add(struct message *message, mg_str name, mg_str value, bool passes)
{
    mg_require(message->field_count < MESSAGE_FIELDS);
    message->fields[message->field_count++] =
        (struct field){.name = name, .value = value, .before = MG_STR(" "), .passes = passes};
}

static mg_str random_blanks(struct dice *dice)
{
    static const mg_str all[] = {{"", 0}, {" ", 1}, {"\t", 1}, {"  ", 2}, {" \t ", 3}};
    return all[dice_below(dice, sizeof all / sizeof all[0])];
}

/* Some names come twice: two lines, whose order counts. */
static mg_str random_name(const struct message *message, struct mg_arena *arena, struct dice *dice)
{
    const uint32_t count = message->field_count;
    const struct field *other = count > 0 ? &message->fields[dice_below(dice, count)] : NULL;
    if (other && other->passes && mg_str_starts(other->name, MG_STR("Y-")) &&
        dice_chance(dice, 150)) {
        return other->name;
    }
    const mg_str token = text_token(arena, dice, dice_between(dice, 1, 20));
    return mg_arena_format(arena, "Y-%.*s", MG_STR_ARG(token));
}

void message_add_random(struct message *message, struct mg_arena *arena, struct dice *dice,
                        uint32_t most)
{
    const bool large = dice_chance(dice, 20);
    const uint32_t bits = large ? 12 : 7;
    uint32_t count = (uint32_t)dice_bits(dice, 31 - (uint32_t)__builtin_clz(most));
    count = large && count > 6 ? 6 : count; /* below limits.header_bytes */
    for (uint32_t i = 0; i < count; i++) {
        message_add(message, random_name(message, arena, dice), text_value(arena, dice, bits),
                    true);
        struct field *field = &message->fields[message->field_count - 1];
        field->before = random_blanks(dice);
        field->after = dice_chance(dice, 100) ? random_blanks(dice) : MG_STR("");
    }
}

/* Mostly small, some around the sizes of buffers, one in ten up to 8 MB. */
static uint64_t random_size(struct dice *dice)
{
    static const uint32_t edges[] = {1 << 12, 1 << 14, 1 << 16, 1 << 18};
    const uint32_t kind = dice_below(dice, 20);
    if (kind == 0) {
        return edges[dice_below(dice, 4)] + dice_between(dice, 0, 6) - 3;
    }
    return dice_bits(dice, kind <= 2 ? 23 : 16);
}

void message_set_body(struct message *message, struct mg_arena *arena, struct dice *dice,
                      enum framing framing)
{
    message->framing = framing;
    if (framing == FRAMING_NONE) {
        return;
    }
    message->body_bytes = random_size(dice);
    message->content = dice_roll(dice);
    if (framing == FRAMING_LENGTH) {
        message_add(message, text_any_case(arena, dice, "Content-Length"),
                    mg_arena_format(arena, "%" PRIu64, message->body_bytes), false);
    } else if (framing == FRAMING_CHUNKED) {
        const uint32_t bits = 64 - (uint32_t)__builtin_clzll(message->body_bytes | 1);
        message->chunk_dice = (struct dice){dice_roll(dice)};
        message->chunk_bits = dice_between(dice, bits > 10 ? bits - 9 : 1, 17);
        message->extensions = dice_chance(dice, 200);
        message->trailers = dice_chance(dice, 150) ? dice_between(dice, 1, 3) : 0;
        message_add(message, text_any_case(arena, dice, "Transfer-Encoding"), MG_STR("chunked"),
                    false);
    }
}

static char *put(char *to, mg_str bytes)
{
    if (bytes.len > 0) {
        memcpy(to, bytes.ptr, bytes.len);
    }
    return to + bytes.len;
}

mg_str message_head(const struct message *message, struct mg_arena *arena)
{
    size_t most = message->start.len + 4;
    for (uint32_t i = 0; i < message->field_count; i++) {
        const struct field *field = &message->fields[i];
        most += field->name.len + field->before.len + field->value.len + field->after.len + 3;
    }
    char *text = mg_arena_alloc(arena, most), *to = text;
    to = put(put(to, message->start), MG_STR("\r\n"));
    for (uint32_t i = 0; i < message->field_count; i++) {
        const struct field *field = &message->fields[i];
        to = put(put(to, field->name), MG_STR(":"));
        to = put(put(put(to, field->before), field->value), field->after);
        to = put(to, MG_STR("\r\n"));
    }
    to = put(to, MG_STR("\r\n"));
    return mg_str_make(text, (size_t)(to - text));
}
