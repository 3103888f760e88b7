/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, times and escaped texts of a log line. */
#include "script/record_text.h"

#include "base/escape.h"

#define MS_A_DAY 86400000

/* Two digits of each number under 100. */
static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                            "25262728293031323334353637383940414243444546474849"
                            "50515253545556575859606162636465666768697071727374"
                            "75767778798081828384858687888990919293949596979899";

/* The three digits of 1,000 numbers, by EACH(hundreds, tens, ones). */
#define TEN(EACH, h, t)                                                                            \
    EACH(h, t, 0)                                                                                  \
    EACH(h, t, 1)                                                                                  \
    EACH(h, t, 2)                                                                                  \
    EACH(h, t, 3)                                                                                  \
    EACH(h, t, 4) EACH(h, t, 5) EACH(h, t, 6) EACH(h, t, 7) EACH(h, t, 8) EACH(h, t, 9)
#define TENS(EACH, h)                                                                              \
    TEN(EACH, h, 1)                                                                                \
    TEN(EACH, h, 2)                                                                                \
    TEN(EACH, h, 3)                                                                                \
    TEN(EACH, h, 4)                                                                                \
    TEN(EACH, h, 5) TEN(EACH, h, 6) TEN(EACH, h, 7) TEN(EACH, h, 8) TEN(EACH, h, 9)
#define HUNDRED(EACH, h) TEN(EACH, h, 0) TENS(EACH, h)
#define HUNDREDS(EACH)                                                                             \
    HUNDRED(EACH, 1)                                                                               \
    HUNDRED(EACH, 2)                                                                               \
    HUNDRED(EACH, 3)                                                                               \
    HUNDRED(EACH, 4)                                                                               \
    HUNDRED(EACH, 5) HUNDRED(EACH, 6) HUNDRED(EACH, 7) HUNDRED(EACH, 8) HUNDRED(EACH, 9)
#define PADDED(h, t, o) #h #t #o " "
#define ONE_DIGIT(h, t, o) #o "\0\0\001"
#define TWO_DIGITS(h, t, o) #t #o "\0\002"
#define THREE_DIGITS(h, t, o) #h #t #o "\003"

const char mg_record_padded[] = HUNDRED(PADDED, 0) HUNDREDS(PADDED);
const char mg_record_unpadded[] = TEN(ONE_DIGIT, 0, 0) TENS(TWO_DIGITS, 0) HUNDREDS(THREE_DIGITS);

char *mg_record_long_digits(char *at, uint64_t number)
{
    const uint64_t high = number / 1000000;
    const unsigned low = (unsigned)(number % 1000000);
    at = mg_record_digits(at, high);
    memcpy(at, mg_record_padded + low / 1000 * 4, 4);
    memcpy(at + 3, mg_record_padded + low % 1000 * 4, 3);
    return at + 6;
}

void mg_record_put_u64(struct mg_record_text *text, uint64_t number)
{
    char place[MG_RECORD_DIGITS];
    if (text->end - text->at >= MG_RECORD_DIGITS) {
        text->at = mg_record_digits(text->at, number);
        return;
    }
    mg_record_put(text, mg_str_make(place, (size_t)(mg_record_digits(place, number) - place)));
}

/* The digits of each half side by side, first the high one: nibbles become bytes, eight at a time,
 * and those from ten on get the distance from '9' to 'a' on top. */
static uint64_t hex_word(uint32_t number)
{
    const uint64_t each = 0x0101010101010101;
    uint64_t word = __builtin_bswap32(number);
    word = (word | word << 16) & 0x0000ffff0000ffff;
    word = (word | word << 8) & 0x00ff00ff00ff00ff;
    word = (word >> 4 & 0x000f000f000f000f) | (word << 8 & 0x0f000f000f000f00);
    const uint64_t letters = (word + each * 6) >> 4 & each;
    return word + each * '0' + letters * ('a' - '9' - 1);
}

char *mg_record_hex(char *at, uint64_t number)
{
    const uint64_t words[2] = {hex_word((uint32_t)(number >> 32)), hex_word((uint32_t)number)};
    memcpy(at, words, sizeof words);
    return at + sizeof words;
}

void mg_record_put_hex(struct mg_record_text *text, uint64_t number)
{
    char digits[16];
    mg_record_hex(digits, number);
    mg_record_put(text, mg_str_make(digits, sizeof digits));
}

void mg_record_put_ms(struct mg_record_text *text, uint64_t us)
{
    char place[MG_RECORD_DIGITS + 4];
    if (text->end - text->at >= MG_RECORD_DIGITS + 4) {
        text->at = mg_record_ms(text->at, us);
        return;
    }
    mg_record_put(text, mg_str_make(place, (size_t)(mg_record_ms(place, us) - place)));
}

/* The value without what is over the cap; never cut inside a UTF-8 sequence. */
static mg_str capped(struct mg_record_text *text, mg_str value)
{
    if (value.len <= text->cap) {
        return value;
    }
    size_t length = text->cap;
    while (length > 0 && ((unsigned char)value.ptr[length] & 0xc0) == 0x80) {
        length--;
    }
    text->cut = true;
    return mg_str_slice(value, 0, length);
}

void mg_record_put_json(struct mg_record_text *text, mg_str value)
{
    value = capped(text, value);
    const size_t room = (size_t)(text->end - text->at);
    if (room < value.len + 2) {
        text->full = true;
        return;
    }
    size_t taken;
    const size_t length = mg_escape_json(text->at + 1, room - 2, value, &taken);
    if (taken < value.len) {
        text->full = true;
        return;
    }
    text->at[0] = text->at[length + 1] = '"';
    text->at += length + 2;
}

static bool is_plain(char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Eight such bytes? May say no to some that are: the caller looks at each then. */
static bool are_plain(const char *bytes)
{
    const uint64_t each = 0x0101010101010101, high = each << 7;
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    const uint64_t quote = word ^ each * '"', backslash = word ^ each * '\\';
    return ((word | (word - each * 0x20) | (word + each) | (quote - each) | (backslash - each)) &
            high) == 0;
}

void mg_record_put_plain(struct mg_record_text *text, mg_str value)
{
    static const char hex[] = "0123456789ABCDEF";
    if (value.len == 0) {
        mg_record_put_char(text, '-');
        return;
    }
    value = capped(text, value);
    size_t from = 0;
    for (size_t i = 0; i < value.len; i++) {
        while (value.len - i > 8 && are_plain(value.ptr + i)) {
            i += 8;
        }
        if (!is_plain(value.ptr[i])) {
            const unsigned byte = (unsigned char)value.ptr[i];
            const char escaped[4] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
            mg_record_put(text, mg_str_slice(value, from, i));
            mg_record_put(text, mg_str_make(escaped, sizeof escaped));
            from = i + 1;
        }
    }
    mg_record_put(text, mg_str_slice(value, from, value.len));
}

/* --- times --- */

struct date {
    unsigned year, month, day; /* month and day from 1 */
    unsigned hour, minute, second, ms;
};

/* Days since 1970 to a date of the Gregorian calendar. Years begin in March here, so that the leap
 * day is the last day of a year, and are counted in eras of 400 (146,097 days). */
static struct date date_of(int64_t wall_ms)
{
    const uint64_t ms = wall_ms > 0 ? (uint64_t)wall_ms : 0;
    const uint64_t days = ms / MS_A_DAY + 719468; /* from 1 March of year 0 to 1 January 1970 */
    const unsigned in_day = (unsigned)(ms % MS_A_DAY);
    const uint64_t era = days / 146097;
    const unsigned day = (unsigned)(days % 146097); /* of the era */
    const unsigned year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    const unsigned day_of_year = day - (365 * year + year / 4 - year / 100);
    const unsigned month = (5 * day_of_year + 2) / 153; /* 0 = March; months of 153 days in five */
    return (struct date){
        .year = (unsigned)(year + era * 400 + (month >= 10)) % 10000,
        .month = month < 10 ? month + 3 : month - 9,
        .day = day_of_year - (153 * month + 2) / 5 + 1,
        .hour = in_day / 3600000,
        .minute = in_day / 60000 % 60,
        .second = in_day / 1000 % 60,
        .ms = in_day % 1000,
    };
}

static char *two(char *out, unsigned number)
{
    memcpy(out, pairs + number * 2, 2);
    return out + 2;
}

void mg_record_put_ts(struct mg_record_text *text, int64_t wall_ms)
{
    const struct date date = date_of(wall_ms);
    char place[24] = "0000-00-00T00:00:00.000Z";
    two(two(place, date.year / 100), date.year % 100);
    two(place + 5, date.month);
    two(place + 8, date.day);
    two(place + 11, date.hour);
    two(place + 14, date.minute);
    two(place + 17, date.second);
    place[20] = (char)('0' + date.ms / 100);
    two(place + 21, date.ms % 100);
    mg_record_put(text, mg_str_make(place, sizeof place));
}

void mg_record_put_clf_time(struct mg_record_text *text, int64_t wall_ms)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const struct date date = date_of(wall_ms);
    char place[28] = "[00/Jan/0000:00:00:00 +0000]";
    two(place + 1, date.day);
    memcpy(place + 4, months + (date.month - 1) * 3, 3);
    two(two(place + 8, date.year / 100), date.year % 100);
    two(place + 13, date.hour);
    two(place + 16, date.minute);
    two(place + 19, date.second);
    mg_record_put(text, mg_str_make(place, sizeof place));
}
