/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshot's life, names of phases, and address ranges. */
#include "model/config.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define ARENA_BYTES (16 * 1024)
#define MAPPED_BITS 96 /* IPv4 stands after ten zero bytes and ff ff (RFC 4291, 2.5.5.2) */

const char *mg_phase_name(enum mg_phase phase)
{
    static const char *const names[MG_PHASE_COUNT] = {
        [MG_PHASE_INIT_WORKER] = "init_worker",
        [MG_PHASE_CONFIGURE] = "configure",
        [MG_PHASE_REWRITE] = "rewrite",
        [MG_PHASE_ACCESS] = "access",
        [MG_PHASE_RESPONSE] = "response",
        [MG_PHASE_HEADER_FILTER] = "header_filter",
        [MG_PHASE_BODY_FILTER] = "body_filter",
        [MG_PHASE_LOG] = "log",
        [MG_PHASE_TIMER] = "timer",
    };
    return (unsigned)phase < MG_PHASE_COUNT ? names[phase] : "unknown";
}

struct mg_config *mg_config_new(void)
{
    struct mg_config *config = calloc(1, sizeof *config);
    mg_require(config != NULL);
    mg_arena_init(&config->arena, ARENA_BYTES);
    return config;
}

void mg_config_free(struct mg_config *config)
{
    if (!config) {
        return;
    }
    mg_arena_deinit(&config->arena); /* router and regexes are its cleanups */
    free(config);
}

/* Text of an address to 16 bytes, IPv4 mapped; a zone ("fe80::1%eth0") is ignored. */
static bool parse_address(mg_str text, uint8_t out[16], bool *is_v4)
{
    char terminated[INET6_ADDRSTRLEN];
    const ptrdiff_t zone = mg_str_find(text, '%', 0);
    const size_t length = zone < 0 ? text.len : (size_t)zone;
    if (length == 0 || length >= sizeof terminated || memchr(text.ptr, '\0', length)) {
        return false;
    }
    memcpy(terminated, text.ptr, length);
    terminated[length] = '\0';
    *is_v4 = memchr(terminated, ':', length) == NULL;
    if (!*is_v4) {
        return inet_pton(AF_INET6, terminated, out) == 1;
    }
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    return inet_pton(AF_INET, terminated, out + 12) == 1;
}

static bool is_mapped(const uint8_t address[16])
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address, prefix, sizeof prefix) == 0;
}

int mg_address_canonical(struct mg_arena *arena, mg_str text, mg_str *out)
{
    uint8_t address[16];
    char canonical[INET6_ADDRSTRLEN];
    bool is_v4;
    if (mg_str_find(text, '%', 0) >= 0 || !parse_address(text, address, &is_v4)) {
        return MG_EINVALID;
    }
    const char *written = is_mapped(address)
                              ? inet_ntop(AF_INET, address + 12, canonical, sizeof canonical)
                              : inet_ntop(AF_INET6, address, canonical, sizeof canonical);
    if (!written) {
        return MG_EINVALID;
    }
    *out = mg_arena_copy_str(arena, mg_str_from(written));
    return 0;
}

/* Sets the bits of address from position bits on to zero. */
static void clear_rest(uint8_t address[16], unsigned bits)
{
    for (unsigned i = 0; i < 16; i++) {
        const unsigned kept = bits > i * 8 ? bits - i * 8 : 0;
        const unsigned mask = kept >= 8 ? 0xffU : 0xff00U >> kept & 0xffU;
        address[i] = (uint8_t)(address[i] & mask);
    }
}

int mg_cidr_parse(mg_str text, struct mg_cidr *out)
{
    const ptrdiff_t slash = mg_str_find(text, '/', 0);
    const mg_str address = slash < 0 ? text : mg_str_slice(text, 0, (size_t)slash);
    bool is_v4;
    if (mg_str_find(address, '%', 0) >= 0 || !parse_address(address, out->address, &is_v4)) {
        return MG_EINVALID;
    }
    const unsigned most = is_v4 ? 32 : 128;
    uint64_t bits = most;
    if (slash >= 0) {
        const mg_str digits = mg_str_slice(text, (size_t)slash + 1, text.len);
        if (!mg_str_to_u64(digits, &bits) || bits > most) {
            return MG_EINVALID;
        }
    }
    out->bits = (uint8_t)(is_v4 ? MAPPED_BITS + bits : bits);
    clear_rest(out->address, out->bits);
    return 0;
}

static bool has_prefix(const uint8_t address[16], const struct mg_cidr *range)
{
    const unsigned whole = range->bits / 8, rest = range->bits % 8;
    if (memcmp(address, range->address, whole) != 0) {
        return false;
    }
    return rest == 0 || (address[whole] & (0xff00U >> rest) & 0xffU) == range->address[whole];
}

bool mg_cidr_match(const struct mg_cidr *ranges, uint32_t count, mg_str ip)
{
    uint8_t address[16];
    bool is_v4;
    if (count == 0 || !parse_address(ip, address, &is_v4)) {
        return false;
    }
    /* "::/0" speaks of IPv6 only: a range shorter than the mapped prefix takes no IPv4 address. */
    const unsigned least = is_mapped(address) ? MAPPED_BITS : 0;
    for (uint32_t i = 0; i < count; i++) {
        if (ranges[i].bits >= least && has_prefix(address, &ranges[i])) {
            return true;
        }
    }
    return false;
}
