/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as text. */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

void mg_address_set(struct mg_address *address, const struct sockaddr *sockaddr)
{
    *address = (struct mg_address){.port = 0};
    if (sockaddr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sockaddr;
        inet_ntop(AF_INET, &in->sin_addr, address->ip, sizeof address->ip);
        address->port = ntohs(in->sin_port);
    } else if (sockaddr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sockaddr;
        inet_ntop(AF_INET6, &in6->sin6_addr, address->ip, sizeof address->ip);
        address->port = ntohs(in6->sin6_port);
    } else if (sockaddr->sa_family == AF_UNIX) {
        memcpy(address->ip, "unix:", 6);
    }
}

void mg_address_of(int fd, bool peer, struct mg_address *address)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
    struct sockaddr *sockaddr = (struct sockaddr *)&storage;
    socklen_t length = sizeof storage;
    if (fd >= 0) {
        (void)(peer ? getpeername(fd, sockaddr, &length) : getsockname(fd, sockaddr, &length));
    }
    mg_address_set(address, sockaddr);
}
