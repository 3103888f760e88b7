/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dialling:
 *
 *     start --name known?--no--> resolving --> connecting --refused, slow--> the next address
 *       |          yes-----------------------------^  |
 *       '--unix--> connected at once, or busy         '--> finish
 *                  (backlog full: again in 10 ms)
 *
 * What is known at once is told from a deadline of length "now", because fn must not fire before
 * mg_dial_start has returned.
 */
#include "net/dial.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define SHARE_MS 250     /* least time of one address among several */
#define BUSY_MS 10       /* until a unix socket with a full backlog is tried again */
#define SELF_PORT 32768U /* lowest port that the kernel gives to the connecting side, usually */

struct attempt {
    struct mg_dial *dial;
    struct mg_link link;
    struct mg_dial_place place;
    struct mg_dns_query query;
    struct mg_deadline total, step; /* step: the next thing to do by itself */
    uint64_t give_up_ms;            /* MG_DEADLINE_NEVER: no limit */
    struct mg_io *io;               /* connecting; or connected, to be told */
    struct sockaddr_storage *addresses;
    int count, next, left;
    int status; /* of the last try */
};

static struct mg_loop *loop_of(const struct attempt *attempt)
{
    return attempt->place.loop;
}

/* Everything but telling dial. */
static void end_attempt(struct attempt *attempt)
{
    mg_deadline_cancel(&attempt->total);
    mg_deadline_cancel(&attempt->step);
    mg_dns_cancel(&attempt->query);
    mg_link_remove(&attempt->link);
    if (attempt->io) {
        mg_io_close(attempt->io);
    }
    attempt->dial->state = NULL;
    if (attempt->place.on_over) {
        attempt->place.on_over(attempt->place.owner);
    }
    free(attempt->addresses);
    free(attempt);
}

static void finish(struct attempt *attempt, int status)
{
    struct mg_dial *dial = attempt->dial;
    struct mg_io *io = status == 0 ? attempt->io : NULL;
    attempt->io = status == 0 ? NULL : attempt->io;
    end_attempt(attempt);
    dial->fn(dial, status, io);
}

static void on_finish(struct mg_deadline *deadline)
{
    struct attempt *attempt = MG_CONTAINER(deadline, struct attempt, step);
    finish(attempt, attempt->status);
}

static void finish_later(struct attempt *attempt, int status)
{
    struct mg_loop *loop = loop_of(attempt);
    attempt->status = status;
    mg_deadline_arm_at(&loop->deadlines, &attempt->step, on_finish, mg_loop_now_ms(loop));
}

static void on_total(struct mg_deadline *deadline)
{
    finish(MG_CONTAINER(deadline, struct attempt, total), MG_ETIMEOUT);
}

/* --- TCP -------------------------------------------------------------------------------------- */

static void connect_next(struct attempt *attempt);

static void give_address_up(struct attempt *attempt, int status)
{
    mg_deadline_cancel(&attempt->step);
    mg_io_close(attempt->io);
    attempt->io = NULL;
    attempt->status = status;
    connect_next(attempt);
}

static void on_slow_address(struct mg_deadline *deadline)
{
    give_address_up(MG_CONTAINER(deadline, struct attempt, step), MG_ETIMEOUT);
}

/* On the loopback a socket can be given the very port it connects to, and is then connected to
 * itself (RFC 9293, simultaneous open). Nobody listens there. */
static bool is_self(const struct attempt *attempt)
{
    if (attempt->place.port < SELF_PORT) {
        return false;
    }
    struct mg_address peer, local;
    mg_io_peer(attempt->io, &peer);
    mg_io_local(attempt->io, &local);
    return peer.port == local.port && strcmp(peer.ip, local.ip) == 0;
}

static void on_connect(void *context, int status)
{
    struct attempt *attempt = context;
    if (status == 0 && is_self(attempt)) {
        status = UV_ECONNREFUSED;
    }
    if (status) {
        give_address_up(attempt, status);
        return;
    }
    finish(attempt, 0);
}

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET) {
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
    } else {
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
    }
}

/* The last address, and all when there is no limit, have the kernel's own patience. */
static void arm_share(struct attempt *attempt)
{
    struct mg_loop *loop = loop_of(attempt);
    const uint64_t now_ms = mg_loop_now_ms(loop);
    if (attempt->left == 0 || attempt->give_up_ms == MG_DEADLINE_NEVER) {
        return;
    }
    const uint64_t rest_ms = attempt->give_up_ms > now_ms ? attempt->give_up_ms - now_ms : 0;
    const uint64_t share_ms = rest_ms / ((uint64_t)attempt->left + 1);
    mg_deadline_arm_at(&loop->deadlines, &attempt->step, on_slow_address,
                       now_ms + (share_ms > SHARE_MS ? share_ms : SHARE_MS));
}

static void connect_next(struct attempt *attempt)
{
    while (attempt->left > 0) {
        struct sockaddr_storage *address = &attempt->addresses[attempt->next];
        attempt->next = (attempt->next + 1) % attempt->count;
        attempt->left--;
        set_port(address, attempt->place.port);
        attempt->status = mg_io_new_connect(&attempt->io, loop_of(attempt),
                                            (const struct sockaddr *)address, on_connect, attempt);
        if (attempt->status == 0) {
            arm_share(attempt);
            return;
        }
    }
    finish_later(attempt, attempt->status);
}

static void take_addresses(struct attempt *attempt, const struct mg_dns_answer *answer)
{
    const size_t bytes = (size_t)answer->count * sizeof *answer->addresses;
    attempt->addresses = malloc(bytes);
    mg_require(attempt->addresses != NULL);
    memcpy(attempt->addresses, answer->addresses, bytes);
    attempt->count = attempt->left = answer->count;
    attempt->next = (int)(attempt->place.random % (unsigned)answer->count);
    connect_next(attempt);
}

static void on_answer(struct mg_dns_query *query, int status, const struct mg_dns_answer *answer)
{
    struct attempt *attempt = MG_CONTAINER(query, struct attempt, query);
    if (status) {
        finish(attempt, status);
        return;
    }
    take_addresses(attempt, answer);
}

static void dial_tcp(struct attempt *attempt)
{
    struct mg_dns_answer answer;
    int err = mg_dns_cached(attempt->place.dns, attempt->place.host, &answer);
    if (err == 0) {
        take_addresses(attempt, &answer);
        return;
    }
    if (err == MG_EAGAIN) {
        attempt->query.fn = on_answer;
        err = mg_dns_resolve(attempt->place.dns, attempt->place.host, &attempt->query);
    }
    if (err) {
        finish_later(attempt, err);
    }
}

/* --- unix ------------------------------------------------------------------------------------- */

static int connect_unix(struct attempt *attempt)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    const struct sockaddr *address = (const struct sockaddr *)&attempt->place.unix_address;
    if (connect(fd, address, attempt->place.unix_length)) {
        const int err = -errno;
        close(fd);
        return err;
    }
    return mg_io_new_fd(&attempt->io, loop_of(attempt), fd, true);
}

static void dial_unix(struct attempt *attempt);

static void on_again(struct mg_deadline *deadline)
{
    dial_unix(MG_CONTAINER(deadline, struct attempt, step));
}

static void dial_unix(struct attempt *attempt)
{
    struct mg_loop *loop = loop_of(attempt);
    const int err = connect_unix(attempt);
    if (err == -EAGAIN) {
        mg_deadline_arm(mg_deadlines_class(&loop->deadlines, BUSY_MS), &attempt->step, on_again,
                        mg_loop_now_ms(loop));
        return;
    }
    finish_later(attempt, err);
}

/* --- starting, cancelling --------------------------------------------------------------------- */

int mg_dial_start(struct mg_dial *dial, const struct mg_dial_place *place, uint64_t timeout_ms,
                  struct mg_link *list)
{
    struct attempt *attempt = calloc(1, sizeof *attempt);
    mg_require(attempt != NULL);
    struct mg_loop *loop = place->loop;
    const uint64_t now_ms = mg_loop_now_ms(loop);
    attempt->dial = dial;
    attempt->place = *place;
    attempt->give_up_ms = timeout_ms ? now_ms + timeout_ms : MG_DEADLINE_NEVER;
    mg_link_init(&attempt->link);
    mg_link_init(&attempt->query.link);
    mg_deadline_init(&attempt->total);
    mg_deadline_init(&attempt->step);
    mg_list_append(list, &attempt->link);
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, timeout_ms), &attempt->total, on_total,
                    now_ms);
    dial->state = attempt;
    if (place->unix_length > 0) {
        dial_unix(attempt);
    } else {
        dial_tcp(attempt);
    }
    return 0;
}

void mg_dial_cancel(struct mg_dial *dial)
{
    if (dial->state) {
        end_attempt(dial->state);
    }
}

void mg_dial_cancel_all(struct mg_link *list)
{
    while (!mg_list_empty(list)) {
        finish(MG_CONTAINER(list->next, struct attempt, link), MG_ECANCELLED);
    }
}
