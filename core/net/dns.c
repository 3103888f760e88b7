/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver. An entry is a name with what is known about it; a lookup is its query in flight,
 * which collects both families until it settles:
 *
 *     unknown --resolve--> lookup --both answered, or one and 50 ms--> settle: known or failed
 *     known --TTL over--> expired --resolve--> lookup
 *                             '--servers fail, or say nothing for 200 ms--> stale, asked again
 *                                behind the requests' backs until an answer comes or stale_ms are
 *                                over
 *
 * Waiters are always told from a deadline, never from inside c-ares or from inside mg_dns_resolve.
 */
#include "net/dns.h"

#include "net/ares.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define BUCKETS 256
#define MAX_ENTRIES 4096 /* plugins may take names from clients */
#define MIN_TTL_S 1      /* a name server may not make us ask at each request */
#define MAX_TTL_S 3600
#define SECOND_FAMILY_MS 50 /* RFC 8305, 3: "resolution delay" */
#define STALE_PATIENCE_MS                                                                          \
    200 /* a request waits so long for servers while there is a stale answer */
#define FAMILIES 2

struct lookup;

struct entry {
    struct mg_link bucket, recent;
    struct mg_dns *dns;
    struct mg_link waiters; /* struct mg_dns_query */
    struct mg_deadline settle, patience;
    struct lookup *lookup; /* NULL: none in flight */
    struct sockaddr_storage *addresses;
    int count;
    bool serve_stale; /* the servers failed when they were asked last */
    bool is_firing;
    uint64_t expires_ms, stale_until_ms;
    uint64_t failed_until_ms;
    size_t len;
    char name[]; /* lower case, terminated */
};

struct family {
    struct mg_ares_ask ask;
    struct lookup *lookup;
};

struct lookup {
    struct entry *entry; /* NULL: a newer lookup has taken over */
    struct family hosts; /* both, from the hosts file */
    struct family families[FAMILIES];
    int running;     /* families not answered yet */
    bool is_settled; /* waiters have been told; one family is late */
    bool is_failed;  /* a server failed, so "no such name" is not certain */
    uint64_t answered_ms;
    int ttl_s;
    int count;
    struct sockaddr_storage addresses[MG_DNS_ADDRESSES];
};

struct mg_dns {
    struct mg_loop *loop;
    struct mg_ares *ares;
    struct mg_dns_options options;
    struct mg_link buckets[BUCKETS];
    struct mg_link recent; /* entries, used last first */
    unsigned entries;
    bool is_closing;
    struct sockaddr_storage literal;
};

/* --- entries ---------------------------------------------------------------------------------- */

/* Brackets of IPv6 literals are taken off. */
static bool parse_literal(mg_str host, struct sockaddr_storage *out)
{
    char text[INET6_ADDRSTRLEN];
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        host = mg_str_slice(host, 1, host.len - 1);
    }
    if (host.len == 0 || host.len >= sizeof text) {
        return false;
    }
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    *out = (struct sockaddr_storage){.ss_family = AF_INET};
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)out;
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        return true;
    }
    *out = (struct sockaddr_storage){.ss_family = AF_INET6};
    return inet_pton(AF_INET6, text, &in6->sin6_addr) == 1;
}

static bool is_name(mg_str host)
{
    return host.len > 0 && host.len <= MG_DNS_NAME_BYTES && !memchr(host.ptr, 0, host.len);
}

/* FNV-1a over lower case: our own names, few of them; the cap bounds what a client could do. */
static struct mg_link *bucket_of(struct mg_dns *dns, mg_str host)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < host.len; i++) {
        hash = (hash ^ (unsigned char)mg_char_lower(host.ptr[i])) * 16777619U;
    }
    return &dns->buckets[hash % BUCKETS];
}

static struct entry *find_entry(struct mg_dns *dns, mg_str host)
{
    struct mg_link *bucket = bucket_of(dns, host);
    for (struct mg_link *at = bucket->next; at != bucket; at = at->next) {
        struct entry *entry = MG_CONTAINER(at, struct entry, bucket);
        if (mg_str_iequal(host, mg_str_make(entry->name, entry->len))) {
            mg_link_remove(&entry->recent);
            mg_list_push(&dns->recent, &entry->recent);
            return entry;
        }
    }
    return NULL;
}

static void free_entry(struct entry *entry)
{
    entry->dns->entries--;
    mg_deadline_cancel(&entry->settle);
    mg_deadline_cancel(&entry->patience);
    mg_link_remove(&entry->bucket);
    mg_link_remove(&entry->recent);
    free(entry->addresses);
    free(entry);
}

/* Whether there is room for one more entry; the one not used for the longest time makes way. */
static bool make_room(struct mg_dns *dns)
{
    struct mg_link *at = dns->recent.prev;
    while (dns->entries >= MAX_ENTRIES && at != &dns->recent) {
        struct entry *entry = MG_CONTAINER(at, struct entry, recent);
        at = at->prev;
        if (!entry->lookup && !entry->is_firing && mg_list_empty(&entry->waiters)) {
            free_entry(entry);
        }
    }
    return dns->entries < MAX_ENTRIES;
}

static struct entry *new_entry(struct mg_dns *dns, mg_str host)
{
    if (!make_room(dns)) {
        return NULL;
    }
    struct entry *entry = calloc(1, sizeof *entry + host.len + 1);
    mg_require(entry != NULL);
    entry->dns = dns;
    entry->len = host.len;
    for (size_t i = 0; i < host.len; i++) {
        entry->name[i] = mg_char_lower(host.ptr[i]);
    }
    mg_link_init(&entry->waiters);
    mg_link_init(&entry->bucket);
    mg_link_init(&entry->recent);
    mg_deadline_init(&entry->settle);
    mg_deadline_init(&entry->patience);
    mg_list_push(bucket_of(dns, host), &entry->bucket);
    mg_list_push(&dns->recent, &entry->recent);
    dns->entries++;
    return entry;
}

static bool is_fresh(const struct entry *entry, uint64_t now_ms)
{
    return entry->count > 0 && now_ms < entry->expires_ms;
}

static bool has_stale(const struct entry *entry, uint64_t now_ms)
{
    return entry->count > 0 && now_ms < entry->stale_until_ms;
}

/* --- lookups ---------------------------------------------------------------------------------- */

static void tell_waiters(struct entry *entry)
{
    const uint64_t now_ms = mg_loop_now_ms(entry->dns->loop);
    const bool known = is_fresh(entry, now_ms) || (entry->serve_stale && has_stale(entry, now_ms));
    const struct mg_dns_answer answer = {.addresses = entry->addresses, .count = entry->count};
    struct mg_link waiters; /* those of now; a fn may add new ones */
    mg_deadline_cancel(&entry->patience);
    mg_link_init(&waiters);
    while (!mg_list_empty(&entry->waiters)) {
        struct mg_link *first = entry->waiters.next;
        mg_link_remove(first);
        mg_list_append(&waiters, first);
    }
    entry->is_firing = true;
    while (!mg_list_empty(&waiters)) {
        struct mg_dns_query *query = MG_CONTAINER(waiters.next, struct mg_dns_query, link);
        mg_link_remove(&query->link);
        query->fn(query, known ? 0 : MG_EDNS, known ? &answer : NULL);
    }
    entry->is_firing = false;
}

static void store_answer(struct entry *entry, const struct lookup *lookup)
{
    const size_t bytes = (size_t)lookup->count * sizeof *entry->addresses;
    free(entry->addresses);
    entry->addresses = malloc(bytes);
    mg_require(entry->addresses != NULL);
    memcpy(entry->addresses, lookup->addresses, bytes);
    entry->count = lookup->count;
    entry->expires_ms = lookup->answered_ms + (uint64_t)lookup->ttl_s * 1000;
    entry->stale_until_ms = entry->expires_ms + entry->dns->options.stale_ms;
    entry->failed_until_ms = 0;
    entry->serve_stale = false;
}

/* A server's "no such name" also ends the stale answer; silence does not. */
static void store_failure(struct entry *entry, const struct lookup *lookup)
{
    const uint64_t now_ms = mg_loop_now_ms(entry->dns->loop);
    entry->failed_until_ms = now_ms + entry->dns->options.negative_ms;
    entry->serve_stale = lookup->is_failed;
    if (!lookup->is_failed) {
        entry->count = 0;
    }
}

static void on_settle(struct mg_deadline *deadline)
{
    struct entry *entry = MG_CONTAINER(deadline, struct entry, settle);
    struct lookup *lookup = entry->lookup;
    if (lookup) {
        if (lookup->count > 0) {
            store_answer(entry, lookup);
        } else {
            store_failure(entry, lookup);
        }
        lookup->is_settled = true;
        if (lookup->running == 0) {
            entry->lookup = NULL;
            free(lookup);
        }
    }
    tell_waiters(entry);
}

static void settle_now(struct entry *entry)
{
    struct mg_loop *loop = entry->dns->loop;
    mg_deadline_arm_at(&loop->deadlines, &entry->settle, on_settle, mg_loop_now_ms(loop));
}

/* The servers are slow and there is an old answer: that one, from now on until a new one comes. */
static void on_patience_over(struct mg_deadline *deadline)
{
    struct entry *entry = MG_CONTAINER(deadline, struct entry, patience);
    entry->serve_stale = true;
    tell_waiters(entry);
}

static void take_answer(struct lookup *lookup, const struct mg_ares_answer *answer)
{
    const int ttl_s = answer->ttl_s < MIN_TTL_S   ? MIN_TTL_S
                      : answer->ttl_s > MAX_TTL_S ? MAX_TTL_S
                                                  : answer->ttl_s;
    if (lookup->count == 0 || ttl_s < lookup->ttl_s) {
        lookup->ttl_s = ttl_s;
    }
    for (int i = 0; i < answer->count && lookup->count < MG_DNS_ADDRESSES; i++) {
        lookup->addresses[lookup->count++] = answer->addresses[i];
    }
}

/* Also from inside mg_ares_ask, and from mg_ares_close, when the entry has no more use for it. */
static void on_family(struct mg_ares_ask *ask, int status, const struct mg_ares_answer *answer)
{
    struct lookup *lookup = MG_CONTAINER(ask, struct family, ask)->lookup;
    struct entry *entry = lookup->entry;
    lookup->running--;
    if (!entry) {
        if (lookup->running == 0) {
            free(lookup);
        }
        return;
    }
    struct mg_loop *loop = entry->dns->loop;
    if (answer) {
        take_answer(lookup, answer);
    }
    if (status && status != MG_ENOT_FOUND) {
        lookup->is_failed = true;
    }
    lookup->answered_ms = lookup->answered_ms ? lookup->answered_ms : mg_loop_now_ms(loop);
    if (lookup->running == 0) {
        settle_now(entry);
    } else if (lookup->count > 0) {
        mg_deadline_arm(mg_deadlines_class(&loop->deadlines, SECOND_FAMILY_MS), &entry->settle,
                        on_settle, mg_loop_now_ms(loop));
    }
}

static void on_hosts(struct mg_ares_ask *ask, int status, const struct mg_ares_answer *answer)
{
    (void)status;
    if (answer) {
        take_answer(MG_CONTAINER(ask, struct family, ask)->lookup, answer);
    }
}

/* What it finds goes nowhere. One that has settled and waits for nothing is freed at once. */
static void drop_lookup(struct entry *entry)
{
    struct lookup *lookup = entry->lookup;
    entry->lookup = NULL;
    lookup->entry = NULL;
    if (lookup->running == 0) {
        free(lookup);
    }
}

/* Unless a lookup is under way. One that only waits for its late half, when what it has brought is
 * already out of date, is left to itself. */
static void look_up(struct entry *entry)
{
    static const int numbers[FAMILIES] = {AF_INET, AF_INET6};
    if (entry->lookup && entry->lookup->is_settled) {
        drop_lookup(entry);
    }
    if (entry->lookup || entry->dns->is_closing) {
        return;
    }
    struct lookup *lookup = calloc(1, sizeof *lookup);
    mg_require(lookup != NULL);
    lookup->entry = entry;
    lookup->running = FAMILIES;
    entry->lookup = lookup;
    lookup->hosts = (struct family){.ask.fn = on_hosts, .lookup = lookup};
    mg_ares_ask_hosts(entry->dns->ares, entry->name, &lookup->hosts.ask);
    if (lookup->count > 0) { /* the servers are not asked, as everywhere */
        lookup->running = 0;
        lookup->answered_ms = mg_loop_now_ms(entry->dns->loop);
        settle_now(entry);
        return;
    }
    for (int i = 0; i < FAMILIES; i++) {
        lookup->families[i] = (struct family){.ask.fn = on_family, .lookup = lookup};
    }
    for (int i = 0; i < FAMILIES; i++) {
        mg_ares_ask(entry->dns->ares, entry->name, numbers[i], &lookup->families[i].ask);
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

int mg_dns_cached(struct mg_dns *dns, mg_str host, struct mg_dns_answer *answer)
{
    if (parse_literal(host, &dns->literal)) {
        *answer = (struct mg_dns_answer){.addresses = &dns->literal, .count = 1};
        return 0;
    }
    struct entry *entry = find_entry(dns, host);
    if (!entry) {
        return MG_EAGAIN;
    }
    const uint64_t now_ms = mg_loop_now_ms(dns->loop);
    *answer = (struct mg_dns_answer){.addresses = entry->addresses, .count = entry->count};
    if (is_fresh(entry, now_ms)) {
        return 0;
    }
    const bool has_failed = now_ms < entry->failed_until_ms;
    if (entry->serve_stale && has_stale(entry, now_ms)) {
        if (!has_failed) {
            look_up(entry);
        }
        return 0;
    }
    return has_failed ? MG_EDNS : MG_EAGAIN;
}

/* A literal is told like a name, without asking anybody. */
static void know_literal(struct entry *entry, const struct sockaddr_storage *address)
{
    if (entry->count > 0) {
        return;
    }
    entry->addresses = malloc(sizeof *address);
    mg_require(entry->addresses != NULL);
    *entry->addresses = *address;
    entry->count = 1;
    entry->expires_ms = MG_DEADLINE_NEVER;
}

int mg_dns_resolve(struct mg_dns *dns, mg_str host, struct mg_dns_query *query)
{
    if (!is_name(host) || dns->is_closing) {
        return dns->is_closing ? MG_ECLOSED : MG_EINVALID;
    }
    struct entry *entry = find_entry(dns, host);
    entry = entry ? entry : new_entry(dns, host);
    if (!entry) {
        return MG_EFULL;
    }
    struct sockaddr_storage literal;
    if (parse_literal(host, &literal)) {
        know_literal(entry, &literal);
    }
    mg_link_init(&query->link);
    mg_list_append(&entry->waiters, &query->link);
    const uint64_t now_ms = mg_loop_now_ms(dns->loop);
    if (is_fresh(entry, now_ms) || now_ms < entry->failed_until_ms) {
        settle_now(entry);
        return 0;
    }
    look_up(entry);
    if (has_stale(entry, now_ms) && !mg_deadline_armed(&entry->patience)) {
        mg_deadline_arm(mg_deadlines_class(&dns->loop->deadlines, STALE_PATIENCE_MS),
                        &entry->patience, on_patience_over, now_ms);
    }
    return 0;
}

void mg_dns_cancel(struct mg_dns_query *query)
{
    if (query->link.next) {
        mg_link_remove(&query->link);
    }
}

/* --- opening, closing ------------------------------------------------------------------------- */

int mg_dns_open(struct mg_dns **out, struct mg_loop *loop, const struct mg_dns_options *options)
{
    *out = NULL;
    struct mg_ares *ares;
    const int err =
        mg_ares_open(&ares, loop, options->timeout_ms, options->tries, options->servers);
    if (err) {
        return err;
    }
    struct mg_dns *dns = calloc(1, sizeof *dns);
    mg_require(dns != NULL);
    dns->loop = loop;
    dns->ares = ares;
    dns->options = *options;
    dns->options.servers = NULL; /* borrowed until now only */
    mg_link_init(&dns->recent);
    for (size_t i = 0; i < BUCKETS; i++) {
        mg_link_init(&dns->buckets[i]);
    }
    *out = dns;
    return 0;
}

static void cancel_waiters(struct entry *entry)
{
    while (!mg_list_empty(&entry->waiters)) {
        struct mg_dns_query *query = MG_CONTAINER(entry->waiters.next, struct mg_dns_query, link);
        mg_link_remove(&query->link);
        query->fn(query, MG_ECANCELLED, NULL);
    }
}

void mg_dns_set_memory(struct mg_dns *dns, uint32_t stale_ms, uint32_t negative_ms)
{
    dns->options.stale_ms = stale_ms;
    dns->options.negative_ms = negative_ms;
}

void mg_dns_close(struct mg_dns *dns)
{
    dns->is_closing = true;
    for (struct mg_link *at = dns->recent.next; at != &dns->recent; at = at->next) {
        struct entry *entry = MG_CONTAINER(at, struct entry, recent);
        mg_require(!entry->is_firing);
        if (entry->lookup) { /* ends with its last answer, in mg_ares_close */
            drop_lookup(entry);
        }
    }
    mg_ares_close(dns->ares);
    while (!mg_list_empty(&dns->recent)) {
        struct entry *entry = MG_CONTAINER(dns->recent.next, struct entry, recent);
        cancel_waiters(entry);
        free_entry(entry);
    }
    free(dns);
}
