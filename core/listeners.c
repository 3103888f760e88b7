/* SPDX-License-Identifier: Apache-2.0 */
/* Binding all listeners. Port 0 is resolved by the first worker's socket; the others follow it. */
#include "listeners.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int *place(const struct mg_listeners *listeners, uint32_t worker, uint32_t address)
{
    return &listeners->fds[(size_t)worker * listeners->count + address];
}

int mg_listeners_fd(const struct mg_listeners *listeners, uint32_t worker, uint32_t address)
{
    return *place(listeners, worker, address);
}

static void set_port(struct mg_listen_address *address, uint16_t port)
{
    if (address->sockaddr.ss_family == AF_INET) {
        ((struct sockaddr_in *)(void *)&address->sockaddr)->sin_port = htons(port);
    } else {
        ((struct sockaddr_in6 *)(void *)&address->sockaddr)->sin6_port = htons(port);
    }
}

/* Of one address, for all workers. */
static int bind_address(struct mg_listeners *listeners, uint32_t at, int backlog, char *message,
                        size_t message_bytes)
{
    struct mg_listen_address *address = &listeners->addresses[at];
    const int probed = mg_listen_probe(address, message, message_bytes);
    if (probed) {
        return probed;
    }
    struct mg_listen_address found = *address;
    for (uint32_t worker = 0; worker < listeners->workers; worker++) {
        const bool shared = address->is_unix && worker > 0;
        const int fd = shared ? *place(listeners, 0, at)
                              : mg_listen_bind(&found, backlog, message, message_bytes);
        if (fd < 0) {
            return fd;
        }
        *place(listeners, worker, at) = fd;
        if (!address->is_unix) {
            set_port(&found, mg_listen_port(fd));
        }
    }
    return 0;
}

int mg_listeners_bind(struct mg_listeners *listeners, const struct mg_plan *plan, uint32_t workers,
                      char *message, size_t message_bytes)
{
    *listeners = (struct mg_listeners){.count = plan->listener_count, .workers = workers};
    const size_t slots = (size_t)workers * listeners->count;
    listeners->fds = malloc((slots ? slots : 1) * sizeof *listeners->fds);
    mg_require(listeners->fds != NULL);
    for (size_t i = 0; i < slots; i++) {
        listeners->fds[i] = -1;
    }
    for (uint32_t i = 0; i < listeners->count; i++) {
        const char *text = plan->listeners[i].address;
        int err = mg_listen_parse(mg_str_from(text), &listeners->addresses[i]);
        if (err) {
            snprintf(message, message_bytes,
                     "gateway.listeners[%u].address: '%s' is no address such as 127.0.0.1:8000, "
                     "[::]:8000 or unix:/path",
                     i, text);
        } else {
            err = bind_address(listeners, i, plan->listeners[i].backlog, message, message_bytes);
        }
        if (err) {
            mg_listeners_close(listeners);
            listeners->count = i; /* the paths made so far */
            mg_listeners_unlink(listeners);
            return err;
        }
    }
    return 0;
}

static void close_worker(struct mg_listeners *listeners, uint32_t worker, bool shared_too)
{
    for (uint32_t i = 0; i < listeners->count; i++) {
        int *fd = place(listeners, worker, i);
        const bool is_shared = listeners->addresses[i].is_unix;
        if (*fd >= 0 && (!is_shared || (shared_too && worker == 0))) {
            close(*fd);
        }
        if (!is_shared || shared_too) {
            *fd = -1;
        }
    }
}

void mg_listeners_keep(struct mg_listeners *listeners, uint32_t worker)
{
    for (uint32_t other = 0; other < listeners->workers; other++) {
        if (other != worker) {
            close_worker(listeners, other, false);
        }
    }
}

void mg_listeners_close(struct mg_listeners *listeners)
{
    if (!listeners->fds) {
        return;
    }
    for (uint32_t worker = 0; worker < listeners->workers; worker++) {
        close_worker(listeners, worker, true);
    }
    free(listeners->fds);
    listeners->fds = NULL;
}

void mg_listeners_unlink(const struct mg_listeners *listeners)
{
    for (uint32_t i = 0; i < listeners->count; i++) {
        mg_listen_unlink(&listeners->addresses[i]);
    }
}

void mg_listeners_describe_one(const struct mg_listeners *listeners, uint32_t at, char *text,
                               size_t text_bytes)
{
    const struct mg_listen_address *address = &listeners->addresses[at];
    const int fd = listeners->fds ? mg_listeners_fd(listeners, 0, at) : -1;
    if (fd < 0 || address->is_unix) {
        snprintf(text, text_bytes, "%s", address->text);
        return;
    }
    const int host = (int)(strrchr(address->text, ':') - address->text);
    snprintf(text, text_bytes, "%.*s:%u", host, address->text, mg_listen_port(fd));
}

void mg_listeners_describe(const struct mg_listeners *listeners, char *text, size_t text_bytes)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < listeners->count; i++) {
        char one[256];
        mg_listeners_describe_one(listeners, i, one, sizeof one);
        const int length = snprintf(text + at, text_bytes - at, "%s%s", i ? ", " : "", one);
        at += length > 0 ? (size_t)length : 0;
        if (at >= text_bytes) {
            return;
        }
    }
}
