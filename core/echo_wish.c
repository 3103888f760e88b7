/* SPDX-License-Identifier: Apache-2.0 */
/* Reading wishes from a query. */
#include "echo_wish.h"

#include "cli.h"

static bool is_on(const char *value)
{
    return strcmp(value, "0") != 0 && strcmp(value, "false") != 0;
}

static void take_number(const char *value, uint64_t min, uint64_t max, uint64_t *number)
{
    uint64_t wanted;
    if (mg_cli_size(value, &wanted) && wanted >= min && wanted <= max) {
        *number = wanted;
    }
}

static void take(struct mg_echo_wish *wish, mg_str name, const char *value)
{
    uint64_t status = wish->status;
    if (mg_str_equal(name, MG_STR("status"))) {
        take_number(value, 200, 599, &status);
        wish->status = (uint16_t)status;
    } else if (mg_str_equal(name, MG_STR("size"))) {
        wish->sized = true;
        take_number(value, 0, UINT64_MAX, &wish->size);
    } else if (mg_str_equal(name, MG_STR("delay"))) {
        take_number(value, 0, MG_ECHO_MAX_DELAY_MS, &wish->delay_ms);
    } else if (mg_str_equal(name, MG_STR("sse"))) {
        take_number(value, 0, 1000000, &wish->events);
    } else if (mg_str_equal(name, MG_STR("chunked"))) {
        wish->chunked = is_on(value);
    } else if (mg_str_equal(name, MG_STR("close"))) {
        wish->close = is_on(value);
    } else if (mg_str_equal(name, MG_STR("reset"))) {
        wish->reset = is_on(value);
    } else if (mg_str_equal(name, MG_STR("raw"))) {
        wish->raw = is_on(value);
    } else if (mg_str_equal(name, MG_STR("cut"))) {
        wish->cut = true;
        take_number(value, 0, UINT64_MAX, &wish->cut_after);
    } else if (mg_str_equal(name, MG_STR("fail_rate"))) {
        double share;
        wish->fail_rate = mg_cli_share(value, &share) ? share : wish->fail_rate;
    }
}

void mg_echo_wish_query(struct mg_echo_wish *wish, mg_str query)
{
    for (size_t at = 0; at < query.len;) {
        const ptrdiff_t found = mg_str_find(query, '&', at);
        const size_t end = found < 0 ? query.len : (size_t)found;
        const mg_str argument = mg_str_slice(query, at, end);
        const ptrdiff_t equals = mg_str_find(argument, '=', 0);
        const size_t split = equals < 0 ? argument.len : (size_t)equals;
        const mg_str text = mg_str_slice(argument, split + 1, argument.len);
        char value[32] = "1"; /* a bare name switches on */
        if (equals >= 0 && text.len < sizeof value) {
            memcpy(value, text.ptr, text.len);
            value[text.len] = '\0';
        }
        take(wish, mg_str_slice(argument, 0, split), value);
        at = end + 1;
    }
}
