/* SPDX-License-Identifier: Apache-2.0 */
/* Random words. */
#include "text.h"

#include <ctype.h>

#define ALPHANUMERICS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static char pick(struct dice *dice, mg_str from)
{
    return from.ptr[dice_below(dice, (uint32_t)from.len)];
}

mg_str text_token(struct mg_arena *arena, struct dice *dice, size_t len)
{
    char *text = mg_arena_alloc(arena, len);
    for (size_t i = 0; i < len; i++) {
        const bool mark = i > 0 && dice_chance(dice, 50);
        text[i] = pick(dice, mark ? MG_STR("!#$%&'*+-.^_`|~") : MG_STR(ALPHANUMERICS));
    }
    return mg_str_make(text, len);
}

static char value_octet(struct dice *dice, bool inside)
{
    const uint32_t kind = dice_below(dice, 20);
    if (kind == 0) {
        return (char)dice_between(dice, 0x80, 0xff);
    }
    if (kind <= 2 && inside) {
        return kind == 1 ? ' ' : '\t';
    }
    return (char)dice_between(dice, 0x21, 0x7e);
}

mg_str text_value(struct mg_arena *arena, struct dice *dice, uint32_t most_bits)
{
    const size_t len = dice_bits(dice, most_bits);
    char *text = mg_arena_alloc(arena, len);
    for (size_t i = 0; i < len; i++) {
        text[i] = value_octet(dice, i > 0 && i + 1 < len);
    }
    return mg_str_make(text, len);
}

/* One character, or one escape that cannot be written without. */
static char *put_character(char *to, struct dice *dice, mg_str marks)
{
    static const char *const escapes[] = {"%20", "%22", "%3C", "%7B", "%C3%A9", "%E2%82%AC"};
    const uint32_t kind = dice_below(dice, 40);
    if (kind == 0) {
        const mg_str escape = mg_str_from(escapes[dice_below(dice, 6)]);
        memcpy(to, escape.ptr, escape.len);
        return to + escape.len;
    }
    *to = pick(dice, kind < 6 ? marks : MG_STR(ALPHANUMERICS));
    return to + 1;
}

enum { MOST_CHARACTERS = 1200, MOST_ESCAPE = 9 };

/* A dot never begins a segment, so that none is a dot segment in any disguise. */
mg_str text_path(struct mg_arena *arena, struct dice *dice)
{
    char *text = mg_arena_alloc(arena, MOST_CHARACTERS * MOST_ESCAPE), *to = text;
    const size_t count = dice_bits(dice, 10);
    memcpy(to, "/x", 2);
    to += 2;
    for (size_t i = 0; i < count; i++) {
        if (to[-1] != '/' && dice_chance(dice, 100)) {
            *to++ = '/';
        } else {
            to = put_character(to, dice, to[-1] == '/' ? MG_STR("-_~") : MG_STR("-_~.!$'()*+,=:@"));
        }
    }
    return mg_str_make(text, (size_t)(to - text));
}

mg_str text_query(struct mg_arena *arena, struct dice *dice)
{
    char *text = mg_arena_alloc(arena, MOST_CHARACTERS * MOST_ESCAPE), *to = text;
    const size_t count = dice_bits(dice, 9);
    for (size_t i = 0; i < count; i++) {
        to = put_character(to, dice, MG_STR("-_~.!$'()*+,;=:@/?&"));
    }
    return mg_str_make(text, (size_t)(to - text));
}

mg_str text_any_case(struct mg_arena *arena, struct dice *dice, const char *word)
{
    const mg_str plain = mg_str_from(word);
    const uint32_t kind = dice_below(dice, 6); /* mostly as it is */
    char *text = mg_arena_copy(arena, plain);
    for (size_t i = 0; i < plain.len; i++) {
        const int c = (unsigned char)text[i];
        text[i] = (char)(kind == 0 ? toupper(c) : kind == 1 ? tolower(c) : c);
    }
    return mg_str_make(text, plain.len);
}
