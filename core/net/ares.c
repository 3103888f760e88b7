/* SPDX-License-Identifier: Apache-2.0 */
/* c-ares: its sockets on uv_poll, its timeouts on a deadline, its answers in our words. */
#include "net/ares.h"

#include <ares.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

/* Answers up to this size come by UDP without fragments; longer ones by TCP. */
#define EDNS_BYTES 1232

/* One socket of c-ares. */
struct watch {
    uv_poll_t poll;
    struct mg_link link;
    struct mg_ares *ares;
    ares_socket_t fd;
};

struct mg_ares {
    struct mg_loop *loop;
    ares_channel channel;
    ares_channel hosts; /* a second one, because what is looked up where is set for a channel */
    struct mg_deadline timeout; /* the next one of c-ares */
    struct mg_link watches;
};

/* --- sockets and timeouts --------------------------------------------------------------------- */

static void on_timeout(struct mg_deadline *deadline);

/* To be called after whatever may have started or ended queries. */
static void set_timeout(struct mg_ares *ares)
{
    struct timeval space;
    const struct timeval *wait = ares_timeout(ares->channel, NULL, &space);
    mg_deadline_cancel(&ares->timeout);
    if (wait) {
        const uint64_t ms = (uint64_t)wait->tv_sec * 1000 + (uint64_t)wait->tv_usec / 1000 + 1;
        mg_deadline_arm_at(&ares->loop->deadlines, &ares->timeout, on_timeout,
                           mg_loop_now_ms(ares->loop) + ms);
    }
}

static void on_timeout(struct mg_deadline *deadline)
{
    struct mg_ares *ares = MG_CONTAINER(deadline, struct mg_ares, timeout);
    ares_process_fd(ares->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timeout(ares);
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = MG_CONTAINER(poll, struct watch, poll);
    struct mg_ares *ares = watch->ares;
    mg_loop_wake(ares->loop);
    const bool readable = status < 0 || events & UV_READABLE; /* c-ares finds the error itself */
    const bool writable = status < 0 || events & UV_WRITABLE;
    ares_process_fd(ares->channel, readable ? watch->fd : ARES_SOCKET_BAD,
                    writable ? watch->fd : ARES_SOCKET_BAD);
    set_timeout(ares);
}

static void on_watch_closed(uv_handle_t *handle)
{
    free(MG_CONTAINER(handle, struct watch, poll));
}

static void close_watch(struct watch *watch)
{
    mg_link_remove(&watch->link);
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static struct watch *find_watch(struct mg_ares *ares, ares_socket_t fd)
{
    for (struct mg_link *at = ares->watches.next; at != &ares->watches; at = at->next) {
        struct watch *watch = MG_CONTAINER(at, struct watch, link);
        if (watch->fd == fd) {
            return watch;
        }
    }
    return NULL;
}

static struct watch *open_watch(struct mg_ares *ares, ares_socket_t fd)
{
    struct watch *watch = malloc(sizeof *watch);
    mg_require(watch != NULL);
    watch->ares = ares;
    watch->fd = fd;
    mg_link_init(&watch->link);
    if (uv_poll_init(&ares->loop->uv, &watch->poll, fd)) {
        free(watch); /* the query runs into its timeout */
        return NULL;
    }
    mg_list_append(&ares->watches, &watch->link);
    return watch;
}

/* c-ares says what it waits for; nothing = it is about to close the socket. */
static void on_socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
    struct mg_ares *ares = context;
    struct watch *watch = find_watch(ares, fd);
    if (!readable && !writable) {
        if (watch) {
            close_watch(watch);
        }
        return;
    }
    watch = watch ? watch : open_watch(ares, fd);
    if (watch) {
        const int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
        mg_require(uv_poll_start(&watch->poll, events, on_socket) == 0);
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

/* The lowest TTL of the aliases, or -1 where they are too many. */
static int lowest_alias_ttl(const struct ares_addrinfo *result)
{
    int ttl_s = INT32_MAX, count = 0;
    for (const struct ares_addrinfo_cname *at = result->cnames; at; at = at->next) {
        ttl_s = at->ttl < ttl_s ? at->ttl : ttl_s;
        count++;
    }
    return count <= MG_ARES_ALIASES ? ttl_s : -1;
}

static void tell_addresses(struct mg_ares_ask *ask, const struct ares_addrinfo *result)
{
    struct sockaddr_storage addresses[MG_ARES_ADDRESSES];
    struct mg_ares_answer answer = {.addresses = addresses, .ttl_s = lowest_alias_ttl(result)};
    if (answer.ttl_s < 0) {
        ask->fn(ask, MG_EDNS, NULL);
        return;
    }
    const struct ares_addrinfo_node *at = result->nodes;
    for (; at && answer.count < MG_ARES_ADDRESSES; at = at->ai_next) {
        if (at->ai_addrlen <= sizeof *addresses) {
            struct sockaddr_storage *address = &addresses[answer.count++];
            *address = (struct sockaddr_storage){.ss_family = AF_UNSPEC};
            memcpy(address, at->ai_addr, at->ai_addrlen);
            answer.ttl_s = at->ai_ttl < answer.ttl_s ? at->ai_ttl : answer.ttl_s;
        }
    }
    ask->fn(ask, answer.count > 0 ? 0 : MG_ENOT_FOUND, answer.count > 0 ? &answer : NULL);
}

static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *result)
{
    (void)timeouts;
    struct mg_ares_ask *ask = context;
    switch (status) {
    case ARES_SUCCESS:
        tell_addresses(ask, result);
        break;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
        ask->fn(ask, MG_ENOT_FOUND, NULL);
        break;
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED:
        ask->fn(ask, MG_ECANCELLED, NULL);
        break;
    default:
        ask->fn(ask, MG_EDNS, NULL);
    }
    if (result) {
        ares_freeaddrinfo(result);
    }
}

/* For both families in one: c-ares 1.18.1 loses memory when the hosts file has a name, but not in
 * the one family that was asked for. */
void mg_ares_ask_hosts(struct mg_ares *ares, const char *name, struct mg_ares_ask *ask)
{
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT};
    ares_getaddrinfo(ares->hosts, name, NULL, &hints, on_answer, ask);
}

void mg_ares_ask(struct mg_ares *ares, const char *name, int family, struct mg_ares_ask *ask)
{
    const struct ares_addrinfo_hints hints = {.ai_family = family, .ai_flags = ARES_AI_NOSORT};
    ares_getaddrinfo(ares->channel, name, NULL, &hints, on_answer, ask);
    set_timeout(ares);
}

/* --- opening, closing ------------------------------------------------------------------------- */

static int open_channel(struct mg_ares *ares, uint32_t timeout_ms, uint32_t tries,
                        const char *servers)
{
    char lookups[] = "b"; /* name servers; copied by c-ares */
    struct ares_options options = {.flags = ARES_FLAG_EDNS,
                                   .ednspsz = EDNS_BYTES,
                                   .timeout = (int)timeout_ms,
                                   .tries = (int)tries,
                                   .lookups = lookups,
                                   .sock_state_cb = on_socket_state,
                                   .sock_state_cb_data = ares};
    const int mask = ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                     ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
    if (ares_init_options(&ares->channel, &options, mask) != ARES_SUCCESS) {
        return MG_ENO_MEMORY;
    }
    if (servers && ares_set_servers_ports_csv(ares->channel, servers) != ARES_SUCCESS) {
        ares_destroy(ares->channel);
        return MG_EINVALID;
    }
    return 0;
}

static int open_hosts(struct mg_ares *ares)
{
    char lookups[] = "f";
    struct ares_options options = {.lookups = lookups};
    const int status = ares_init_options(&ares->hosts, &options, ARES_OPT_LOOKUPS);
    return status == ARES_SUCCESS ? 0 : MG_ENO_MEMORY;
}

int mg_ares_open(struct mg_ares **out, struct mg_loop *loop, uint32_t timeout_ms, uint32_t tries,
                 const char *servers)
{
    *out = NULL;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        return MG_ENO_MEMORY;
    }
    struct mg_ares *ares = calloc(1, sizeof *ares);
    mg_require(ares != NULL);
    ares->loop = loop;
    mg_deadline_init(&ares->timeout);
    mg_link_init(&ares->watches);
    int err = open_channel(ares, timeout_ms, tries, servers);
    if (!err) {
        err = open_hosts(ares);
        if (err) {
            ares_destroy(ares->channel);
        }
    }
    if (err) {
        free(ares);
        ares_library_cleanup();
        return err;
    }
    *out = ares;
    return 0;
}

void mg_ares_close(struct mg_ares *ares)
{
    ares_destroy(ares->channel);
    ares_destroy(ares->hosts);
    mg_deadline_cancel(&ares->timeout);
    while (!mg_list_empty(&ares->watches)) { /* of sockets that c-ares has closed without a word */
        close_watch(MG_CONTAINER(ares->watches.next, struct watch, link));
    }
    free(ares);
    ares_library_cleanup();
}
