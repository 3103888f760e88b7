/* SPDX-License-Identifier: Apache-2.0 */
/* Slots and their servers: a list of masters, and for each slot the number of its master. */
#include "net/redis_slots.h"

#include <stdlib.h>

#define NOBODY UINT16_MAX
#define HOST_BYTES 256

struct master {
    struct mg_redis_address address; /* host is a view of the text below */
    char host[HOST_BYTES];
};

struct mg_redis_slots {
    struct master *masters;
    uint32_t count, size;
    uint16_t served_by[MG_REDIS_SLOTS]; /* number of a master, or NOBODY */
};

/* --- slots of keys ---------------------------------------------------------------------------- */

static uint16_t crc16(mg_str bytes)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        crc = (uint16_t)(crc ^ (uint16_t)((unsigned char)bytes.ptr[i] << 8));
        for (int bit = 0; bit < 8; bit++) {
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
        }
    }
    return crc;
}

uint16_t mg_redis_slot_of(mg_str key)
{
    const ptrdiff_t open = mg_str_find(key, '{', 0);
    const ptrdiff_t close = open < 0 ? -1 : mg_str_find(key, '}', (size_t)open + 1);
    if (close > open + 1) {
        key = mg_str_slice(key, (size_t)open + 1, (size_t)close);
    }
    return crc16(key) % MG_REDIS_SLOTS;
}

/* --- the map ---------------------------------------------------------------------------------- */

struct mg_redis_slots *mg_redis_slots_new(void)
{
    struct mg_redis_slots *slots = calloc(1, sizeof *slots);
    mg_require(slots != NULL);
    memset(slots->served_by, 0xff, sizeof slots->served_by);
    return slots;
}

void mg_redis_slots_free(struct mg_redis_slots *slots)
{
    if (slots) {
        free(slots->masters);
        free(slots);
    }
}

/* Growing moves the texts that the views show. */
static void grow(struct mg_redis_slots *slots)
{
    slots->size = slots->size ? slots->size * 2 : 8;
    slots->masters = realloc(slots->masters, slots->size * sizeof *slots->masters);
    mg_require(slots->masters != NULL);
    for (uint32_t i = 0; i < slots->count; i++) {
        slots->masters[i].address.host.ptr = slots->masters[i].host;
    }
}

/* The number of the master with that address, which is added when it is new; NOBODY when there are
 * too many, or the host is too long. */
static uint16_t master_number(struct mg_redis_slots *slots, mg_str host, uint16_t port)
{
    for (uint32_t i = 0; i < slots->count; i++) {
        const struct mg_redis_address *address = &slots->masters[i].address;
        if (address->port == port && mg_str_equal(address->host, host)) {
            return (uint16_t)i;
        }
    }
    if (slots->count == MG_REDIS_MASTERS || host.len == 0 || host.len >= HOST_BYTES) {
        return NOBODY;
    }
    if (slots->count == slots->size) {
        grow(slots);
    }
    struct master *master = &slots->masters[slots->count];
    memcpy(master->host, host.ptr, host.len);
    master->address =
        (struct mg_redis_address){.host = mg_str_make(master->host, host.len), .port = port};
    return (uint16_t)slots->count++;
}

static bool read_number(const struct mg_resp_node *node, int64_t most, int64_t *value)
{
    *value = node && node->type == MG_RESP_INTEGER ? node->value : -1;
    return *value >= 0 && *value <= most;
}

/* One element: [first, last, [host, port, ...] of the master, replicas ...]. No slot is served
 * twice, which also bounds the work. */
static bool read_range(struct mg_redis_slots *slots, const struct mg_resp_reply *reply,
                       uint32_t range, mg_str asked, uint32_t *covered)
{
    int64_t first, last, port;
    const struct mg_resp_node *server = mg_resp_element(reply, range, 2);
    const uint32_t at = server ? (uint32_t)(server - reply->nodes) : 0;
    const struct mg_resp_node *host = server ? mg_resp_element(reply, at, 0) : NULL;
    if (!host || !read_number(mg_resp_element(reply, range, 0), MG_REDIS_SLOTS - 1, &first) ||
        !read_number(mg_resp_element(reply, range, 1), MG_REDIS_SLOTS - 1, &last) ||
        !read_number(mg_resp_element(reply, at, 1), UINT16_MAX, &port) || port == 0 ||
        first > last) {
        return false;
    }
    *covered += (uint32_t)(last - first) + 1;
    if (*covered > MG_REDIS_SLOTS) {
        return false;
    }
    const mg_str name = host->type == MG_RESP_STRING ? mg_resp_text(reply, host) : MG_STR("");
    const uint16_t number = master_number(slots, name.len > 0 ? name : asked, (uint16_t)port);
    for (int64_t slot = first; slot <= last && number != NOBODY; slot++) {
        slots->served_by[slot] = number;
    }
    return number != NOBODY;
}

int mg_redis_slots_read(struct mg_redis_slots *slots, const struct mg_resp_reply *reply,
                        mg_str asked)
{
    struct mg_redis_slots *fresh = mg_redis_slots_new();
    const struct mg_resp_node *root = &reply->nodes[0];
    const int64_t ranges = root->type == MG_RESP_ARRAY ? root->value : 0;
    uint32_t at = 1;
    uint32_t covered = 0;
    bool is_sound = ranges > 0;
    for (int64_t i = 0; i < ranges && is_sound; i++) {
        is_sound = read_range(fresh, reply, at, asked, &covered);
        at = mg_resp_after(reply, at);
    }
    if (is_sound) {
        const struct mg_redis_slots old = *slots;
        *slots = *fresh;
        *fresh = old;
    }
    mg_redis_slots_free(fresh);
    return is_sound ? 0 : MG_EBAD_RESPONSE;
}

const struct mg_redis_address *mg_redis_slots_server(const struct mg_redis_slots *slots,
                                                     uint16_t slot)
{
    const uint16_t number = slots->served_by[slot % MG_REDIS_SLOTS];
    return number == NOBODY ? NULL : &slots->masters[number].address;
}

const struct mg_redis_address *mg_redis_slots_master(const struct mg_redis_slots *slots,
                                                     uint32_t number)
{
    return number < slots->count ? &slots->masters[number].address : NULL;
}

bool mg_redis_slots_equal(const struct mg_redis_slots *a, const struct mg_redis_slots *b)
{
    for (uint16_t slot = 0; slot < MG_REDIS_SLOTS; slot++) {
        const struct mg_redis_address *one = mg_redis_slots_server(a, slot);
        const struct mg_redis_address *other = mg_redis_slots_server(b, slot);
        if (!one != !other ||
            (one && (one->port != other->port || !mg_str_equal(one->host, other->host)))) {
            return false;
        }
    }
    return true;
}

void mg_redis_slots_move(struct mg_redis_slots *slots, uint16_t slot,
                         const struct mg_redis_address *server)
{
    slots->served_by[slot % MG_REDIS_SLOTS] = master_number(slots, server->host, server->port);
}

/* --- redirections ----------------------------------------------------------------------------- */

int mg_redis_redirection(mg_str text, uint16_t *slot, struct mg_redis_address *server)
{
    const ptrdiff_t first = mg_str_find(text, ' ', 0);
    const ptrdiff_t second = first < 0 ? -1 : mg_str_find(text, ' ', (size_t)first + 1);
    uint64_t number, port;
    if (second < 0) {
        return MG_EBAD_RESPONSE;
    }
    const mg_str address = mg_str_slice(text, (size_t)second + 1, text.len);
    ptrdiff_t colon = (ptrdiff_t)address.len - 1; /* the last one: IPv6 has more */
    while (colon >= 0 && address.ptr[colon] != ':') {
        colon--;
    }
    if (colon < 0 || (size_t)colon >= HOST_BYTES ||
        !mg_str_to_u64(mg_str_slice(text, (size_t)first + 1, (size_t)second), &number) ||
        number >= MG_REDIS_SLOTS ||
        !mg_str_to_u64(mg_str_slice(address, (size_t)colon + 1, address.len), &port) || port == 0 ||
        port > UINT16_MAX) {
        return MG_EBAD_RESPONSE;
    }
    *slot = (uint16_t)number;
    server->host = mg_str_slice(address, 0, (size_t)colon);
    server->port = (uint16_t)port;
    return 0;
}
