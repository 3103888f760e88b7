/* SPDX-License-Identifier: Apache-2.0 */
/* Text of a peer inside JSON strings. */
#include "base/escape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect(mg_str text, const char *wanted)
{
    char out[256];
    size_t taken;
    const size_t length = mg_escape_json(out, sizeof out, text, &taken);
    assert_int_equal(taken, text.len);
    assert_int_equal(length, strlen(wanted));
    assert_memory_equal(out, wanted, length);
}

static void plain_text_stays_as_it_is(void **state)
{
    (void)state;
    expect(MG_STR(""), "");
    expect(MG_STR("curl/7.88.1 (x86_64; Debian) ~!#$%&'()*+,-./:;<=>?@[]^_`{|}"),
           "curl/7.88.1 (x86_64; Debian) ~!#$%&'()*+,-./:;<=>?@[]^_`{|}");
    expect(MG_STR("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
           "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
}

static void quotes_and_controls_are_escaped_at_every_offset(void **state)
{
    (void)state;
    static const struct {
        char byte;
        const char *escaped;
    } cases[] = {
        {'"', "\\\""},       {'\\', "\\\\"},      {'\n', "\\n"},       {'\r', "\\r"},
        {'\t', "\\t"},       {'\b', "\\b"},       {'\f', "\\f"},       {'\0', "\\u0000"},
        {'\x1b', "\\u001b"}, {'\x1f', "\\u001f"}, {'\x7f', "\\u007f"}, {'\x01', "\\u0001"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t at = 0; at < 20; at++) {
            char text[20];
            memset(text, 'x', sizeof text);
            text[at] = cases[i].byte;
            char wanted[64] = {0};
            memset(wanted, 'x', at);
            memcpy(wanted + at, cases[i].escaped, strlen(cases[i].escaped));
            memset(wanted + strlen(wanted), 'x', sizeof text - at - 1);
            expect(mg_str_make(text, sizeof text), wanted);
        }
    }
}

static void terminal_controls_of_latin_1_are_escaped(void **state)
{
    (void)state;
    expect(MG_STR("\xc2\x9b"
                  "31m"),
           "\\u009b31m"); /* CSI in one character */
    expect(MG_STR("\xc2\x80\xc2\x9f\xc2\xa0"), "\\u0080\\u009f\xc2\xa0");
}

static void bytes_that_are_not_utf8_become_replacement_characters(void **state)
{
    (void)state;
    expect(MG_STR("a\xff"
                  "b"),
           "a\xef\xbf\xbd"
           "b");
    expect(MG_STR("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd");                 /* overlong '/' */
    expect(MG_STR("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* surrogate */
    expect(MG_STR("\xf4\x90\x80\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    expect(MG_STR("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd"); /* cut short */
    expect(MG_STR("\xe2\x82\""), "\xef\xbf\xbd\xef\xbf\xbd\\\"");
}

static void a_full_output_ends_before_a_character(void **state)
{
    (void)state;
    char out[16];
    size_t taken;
    assert_int_equal(mg_escape_json(out, 5, MG_STR("abcdefghijklmnop"), &taken), 5);
    assert_int_equal(taken, 5);
    assert_int_equal(mg_escape_json(out, 3, MG_STR("ab\n"), &taken), 2);
    assert_int_equal(taken, 2);
    assert_int_equal(mg_escape_json(out, 4, MG_STR("ab\n"), &taken), 4);
    assert_int_equal(taken, 3);
    assert_int_equal(mg_escape_json(out, 4, MG_STR("ab\xe2\x82\xac"), &taken), 2);
    assert_int_equal(taken, 2);
    assert_int_equal(mg_escape_json(out, 0, MG_STR("a"), &taken), 0);
    assert_int_equal(taken, 0);
}

/* Reads the escaped text back and compares: nothing is lost, nothing unescaped is left. */
static void random_ascii_survives_a_round_trip(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 20000; round++) {
        char text[40], out[sizeof text * MG_ESCAPE_JSON_GROWTH], back[sizeof text];
        const size_t length = (size_t)rand() % sizeof text;
        for (size_t i = 0; i < length; i++) {
            text[i] = (char)(rand() % 3 ? 'a' + rand() % 26 : rand() % 128);
        }
        size_t taken, used = 0;
        const size_t written = mg_escape_json(out, sizeof out, mg_str_make(text, length), &taken);
        for (size_t i = 0; i < written; i++) {
            assert_true((unsigned char)out[i] >= 0x20 && out[i] != '"' && out[i] != 0x7f);
            if (out[i] != '\\') {
                back[used++] = out[i];
            } else if (out[++i] == 'u') {
                const char hex[3] = {out[i + 3], out[i + 4], 0};
                back[used++] = (char)strtol(hex, NULL, 16);
                i += 4;
            } else {
                const char *place = strchr("\"\"\\\\n\nr\rt\tb\bf\f", out[i]);
                back[used++] = place[1];
            }
        }
        assert_int_equal(used, length);
        assert_memory_equal(back, text, length);
    }
}

/* A byte that may not be copied is seen at each place of each length; none behind the text is. */
static void texts_are_copied_where_no_byte_needs_more(void **state)
{
    (void)state;
    char text[51], out[sizeof text];
    for (size_t length = 0; length < sizeof text; length++) {
        memset(text, 'a', sizeof text);
        text[length] = '\n';
        assert_true(mg_escape_copy_plain(out, mg_str_make(text, length)));
        assert_memory_equal(out, text, length);
        assert_true(mg_escape_copy_printable(out, mg_str_make(text, length)));
        assert_memory_equal(out, text, length);
        for (size_t at = 0; at < length; at++) {
            for (int c = 0; c < 256; c++) {
                const bool is_printable = c >= 0x20 && c < 0x7f;
                const mg_str changed = mg_str_make(text, length);
                text[at] = (char)c;
                assert_int_equal(mg_escape_copy_printable(out, changed), is_printable);
                assert_int_equal(mg_escape_copy_plain(out, changed),
                                 is_printable && c != '"' && c != '\\');
            }
            text[at] = 'a';
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_stays_as_it_is),
        cmocka_unit_test(quotes_and_controls_are_escaped_at_every_offset),
        cmocka_unit_test(terminal_controls_of_latin_1_are_escaped),
        cmocka_unit_test(bytes_that_are_not_utf8_become_replacement_characters),
        cmocka_unit_test(a_full_output_ends_before_a_character),
        cmocka_unit_test(random_ascii_survives_a_round_trip),
        cmocka_unit_test(texts_are_copied_where_no_byte_needs_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
