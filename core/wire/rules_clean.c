/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is taken out of a head on its way (docs/threat-model.md): fields of one hop, and fields by
 * which a peer that is not trusted would speak for a proxy or for an authentication plugin. One
 * pass over the table; a known field costs one test of a bit.
 */
#include "wire/connection.h"
#include "wire/rules.h"

#define BIT(id) ((uint64_t)1 << MG_HEADER_##id)

/* RFC 9110, 7.6.1, and what this gateway answers itself. */
static const uint64_t hop_by_hop = BIT(CONNECTION) | BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) |
                                   BIT(TE) | BIT(TRAILER) | BIT(TRANSFER_ENCODING) | BIT(UPGRADE) |
                                   BIT(PROXY_AUTHENTICATE) | BIT(PROXY_AUTHORIZATION);

/* X-Forwarded-* has a prefix test too; these are the ones with an id. */
static const uint64_t for_trusted =
    BIT(FORWARDED) | BIT(X_REAL_IP) | BIT(X_FORWARDED_FOR) | BIT(X_FORWARDED_PROTO) |
    BIT(X_FORWARDED_HOST) | BIT(X_FORWARDED_PORT) | BIT(X_FORWARDED_PATH) | BIT(X_FORWARDED_PREFIX);

/* Fields the gateway reads or sets whose name has a hyphen: with '_' instead, a server behind us
 * may take one for the other. */
static const uint64_t never_alias =
    BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING) | BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) |
    BIT(PROXY_AUTHENTICATE) | BIT(PROXY_AUTHORIZATION) | BIT(MAX_FORWARDS) | BIT(X_REAL_IP) |
    BIT(X_FORWARDED_FOR) | BIT(X_FORWARDED_PROTO) | BIT(X_FORWARDED_HOST) | BIT(X_FORWARDED_PORT) |
    BIT(X_FORWARDED_PATH) | BIT(X_FORWARDED_PREFIX) | BIT(X_REQUEST_ID);

/* The framing and Host of the next message come from the model, whatever Connection lists. */
static const uint64_t not_by_connection = BIT(HOST) | BIT(CONTENT_LENGTH);

struct cleaning {
    struct mg_connection connection;
    const struct mg_rules_trust *trust;
    uint64_t hop_by_hop;
    uint64_t identity_lengths; /* bit n: some identity name has n bytes, modulo 64 */
    uint32_t untrusted;        /* dropped */
    bool has_request_id;
};

static bool has_bit(uint64_t set, const struct mg_header *field)
{
    return set >> field->id & 1;
}

static bool is_of_this_hop(const struct cleaning *cleaning, const struct mg_header *field)
{
    return has_bit(cleaning->hop_by_hop, field) ||
           (cleaning->connection.count > 0 && !has_bit(not_by_connection, field) &&
            mg_connection_lists(&cleaning->connection, field->name));
}

/* Whether the name begins with the prefix, folded as CGI folds names. */
static bool begins(mg_str name, mg_str prefix)
{
    return mg_str_field_equal(mg_str_slice(name, 0, prefix.len), prefix);
}

static bool is_proxy_family(mg_str name)
{
    return name.len > 2 && mg_char_lower(name.ptr[0]) == 'x' &&
           (begins(name, MG_STR("x-forwarded-")) || begins(name, MG_STR("x-original-")) ||
            begins(name, MG_STR("x-rewrite-")));
}

/* Most names differ in length from those that are looked for. */
static bool is_identity(const struct cleaning *cleaning, mg_str name)
{
    if (!(cleaning->identity_lengths >> (name.len & 63) & 1)) {
        return false;
    }
    const struct mg_rules_trust *trust = cleaning->trust;
    for (size_t i = 0; i < trust->identity_count; i++) {
        if (mg_str_field_equal(trust->identity_names[i], name)) {
            return true;
        }
    }
    return false;
}

/* Does the name with '_' read as '-' have an id in never_alias? None of those is that long. */
static bool is_alias_of_known(mg_str name)
{
    char folded[64];
    if (name.len > sizeof folded) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        folded[i] = name.ptr[i] == '_' ? '-' : name.ptr[i];
    }
    return never_alias >> mg_header_id_of(mg_str_make(folded, name.len)) & 1;
}

/* A name with '_' that stands for a field of the gateway's own or of a plugin. */
static bool is_alias(const struct cleaning *cleaning, mg_str name)
{
    return mg_str_find(name, '_', 0) >= 0 &&
           (is_alias_of_known(name) || is_proxy_family(name) || is_identity(cleaning, name) ||
            mg_str_field_equal(cleaning->trust->request_id_name, name));
}

static bool is_request_id_name(const struct cleaning *cleaning, const struct mg_header *field)
{
    return cleaning->trust->request_id != MG_HEADER_OTHER
               ? field->id == cleaning->trust->request_id
               : mg_str_iequal(field->name, cleaning->trust->request_id_name);
}

/* A request id of the client's is kept if it is one and the only one. */
static bool is_bad_request_id(struct cleaning *cleaning, const struct mg_header *field)
{
    if (!is_request_id_name(cleaning, field)) {
        return false;
    }
    const bool bad = cleaning->has_request_id || !mg_rules_is_request_id(field->value);
    cleaning->has_request_id = true;
    return bad;
}

static bool is_untrusted(struct cleaning *cleaning, const struct mg_header *field)
{
    const bool other = field->id == MG_HEADER_OTHER;
    if (other && is_alias(cleaning, field->name)) {
        return true;
    }
    if (cleaning->trust->peer_is_trusted) {
        return false;
    }
    return has_bit(for_trusted, field) || (other && is_proxy_family(field->name)) ||
           is_bad_request_id(cleaning, field) || is_identity(cleaning, field->name);
}

static bool drop_from_request(void *context, const struct mg_header *field)
{
    struct cleaning *cleaning = context;
    if (is_of_this_hop(cleaning, field)) {
        return true;
    }
    const bool untrusted = is_untrusted(cleaning, field);
    cleaning->untrusted += untrusted;
    return untrusted;
}

/* Prepares the pass. Too many options were refused by the checks; here the rest is as good as
 * none. */
static void begin(struct cleaning *cleaning, const struct mg_headers *headers)
{
    const int err = mg_connection_parse(headers, &cleaning->connection);
    (void)err;
    cleaning->untrusted = 0;
    cleaning->has_request_id = false;
}

/* Most heads have nothing that could be dropped, which the set of their ids tells: names without an
 * id have to be read. */
static bool may_drop_from_request(const struct mg_headers *headers,
                                  const struct mg_rules_trust *trust)
{
    const uint64_t looked_at =
        hop_by_hop | for_trusted | BIT(EXPECT) | BIT(OTHER) | (uint64_t)1 << trust->request_id;
    return (headers->known & looked_at) != 0 || trust->identity_count > 0;
}

uint32_t mg_rules_clean_request(struct mg_headers *headers, const struct mg_rules_trust *trust)
{
    if (!may_drop_from_request(headers, trust)) {
        return 0;
    }
    struct cleaning cleaning;
    cleaning.trust = trust;
    cleaning.hop_by_hop = hop_by_hop | BIT(EXPECT);
    cleaning.identity_lengths = 0;
    for (size_t i = 0; i < trust->identity_count; i++) {
        cleaning.identity_lengths |= (uint64_t)1 << (trust->identity_names[i].len & 63);
    }
    begin(&cleaning, headers);
    mg_headers_filter(headers, drop_from_request, &cleaning);
    return cleaning.untrusted;
}

static bool drop_from_response(void *context, const struct mg_header *field)
{
    return is_of_this_hop(context, field);
}

void mg_rules_clean_response(struct mg_headers *headers)
{
    if (!(headers->known & hop_by_hop)) { /* of which Connection is one */
        return;
    }
    struct cleaning cleaning;
    cleaning.trust = NULL;
    cleaning.hop_by_hop = hop_by_hop;
    begin(&cleaning, headers);
    mg_headers_filter(headers, drop_from_response, &cleaning);
}
