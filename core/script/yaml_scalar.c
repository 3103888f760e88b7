/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain YAML scalars to Lua values. Source of the forms: YAML 1.2.2, section 10.3.2; of the traps:
 * the bool, int and float types of YAML 1.1.
 */
#include "script/yaml_scalar.h"

#include <lua.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    LONGEST_TRAP = 40,
    LONGEST_OCTAL = 19, /* 0o and 17 digits: below 2^53 */
    LONGEST_HEX = 15,   /* 0x and 13 digits: below 2^53 */
};

static bool is_word(const char *text, size_t length, const char *const *words)
{
    for (; *words; words++) {
        if (strlen(*words) == length && memcmp(text, *words, length) == 0) {
            return true;
        }
    }
    return false;
}

static const char *skip_sign(const char *text)
{
    return text + (*text == '-' || *text == '+');
}

/* How many bytes at text are decimal digits. */
static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* A decimal number with an optional fraction and exponent. */
static bool is_decimal(const char *text)
{
    const char *p = skip_sign(text);
    size_t whole = digits(p);
    size_t part = 0;
    p += whole;
    if (*p == '.') {
        part = digits(++p);
        p += part;
    }
    if (whole + part == 0) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p = skip_sign(p + 1);
        size_t exponent = digits(p);
        if (exponent == 0) {
            return false;
        }
        p += exponent;
    }
    return *p == '\0';
}

static bool push_octal(lua_State *L, const char *text, size_t length)
{
    if (length < 3 || length > LONGEST_OCTAL || text[0] != '0' || text[1] != 'o' ||
        strspn(text + 2, "01234567") != length - 2) {
        return false;
    }
    double value = 0;
    for (const char *p = text + 2; *p; p++) {
        value = value * 8 + (*p - '0');
    }
    lua_pushnumber(L, value);
    return true;
}

/* Hexadecimal and decimal go through Lua's own conversion, which no locale changes. */
static bool push_number(lua_State *L, const char *text, size_t length)
{
    bool is_hex = length > 2 && length <= LONGEST_HEX && text[0] == '0' && text[1] == 'x' &&
                  strspn(text + 2, "0123456789abcdefABCDEF") == length - 2;
    if (push_octal(L, text, length)) {
        return true;
    }
    if (!is_hex && !is_decimal(text)) {
        return false;
    }
    size_t plus = *text == '+';
    lua_pushlstring(L, text + plus, length - plus);
    const double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    if (isinf(value)) {
        return false; /* too large for a number: nothing downstream could write it down */
    }
    lua_pushnumber(L, value);
    return true;
}

void mg_yaml_push_plain(lua_State *L, const char *text, size_t length)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const truths[] = {"true", "True", "TRUE", NULL};
    static const char *const lies[] = {"false", "False", "FALSE", NULL};
    if (is_word(text, length, nulls)) {
        lua_pushlightuserdata(L, NULL);
    } else if (is_word(text, length, truths)) {
        lua_pushboolean(L, 1);
    } else if (is_word(text, length, lies)) {
        lua_pushboolean(L, 0);
    } else if (strlen(text) != length || !push_number(L, text, length)) {
        lua_pushlstring(L, text, length);
    }
}

/* 22:30 and 1:02:03, base 60 in YAML 1.1. */
static bool is_sexagesimal(const char *text)
{
    const char *p = skip_sign(text);
    size_t count = digits(p);
    if (count == 0 || p[count] != ':') {
        return false;
    }
    for (p += count; *p == ':'; p += count) {
        count = digits(++p);
        if (count == 0 || count > 2 || (count == 2 && *p > '5')) {
            return false;
        }
    }
    return *p == '\0';
}

static bool is_leading_zero(const char *text)
{
    const char *p = skip_sign(text);
    return *p == '0' && digits(p) > 1 && p[digits(p)] == '\0';
}

/* 1_000, one thousand in YAML 1.1. */
static bool is_grouped(const char *text)
{
    const char *p = skip_sign(text);
    return digits(p) > 0 && p[digits(p)] == '_' && p[strspn(p, "0123456789_")] == '\0';
}

bool mg_yaml_is_trap(const char *text, size_t length, char *sentence, size_t size)
{
    static const char *const truths[] = {"yes", "Yes", "YES", "on", "On", "ON", NULL};
    static const char *const lies[] = {"no", "No", "NO", "off", "Off", "OFF", NULL};
    const char *how = NULL;
    if (length > LONGEST_TRAP || strlen(text) != length) {
        return false;
    }
    if (is_word(text, length, truths)) {
        how = "is text here, but true in YAML 1.1: quote it, or write true";
    } else if (is_word(text, length, lies)) {
        how = "is text here, but false in YAML 1.1: quote it, or write false";
    } else if (is_leading_zero(text)) {
        how = "is a decimal number here, but octal in YAML 1.1: quote it, or drop the zero";
    } else if (is_sexagesimal(text)) {
        how = "is text here, but a number in base 60 in YAML 1.1: quote it";
    } else if (is_grouped(text)) {
        how = "is text here, but a number in YAML 1.1: quote it, or drop the _";
    } else {
        return false;
    }
    snprintf(sentence, size, "%s %s", text, how);
    return true;
}
