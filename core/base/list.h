/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive doubly linked ring. The head is a link of its own; an unlinked link points to itself.
 *
 *     struct thing { struct mg_link link; };
 *     mg_list_append(&head, &thing->link);
 *     struct thing *first = MG_CONTAINER(head.next, struct thing, link);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct mg_link {
    struct mg_link *prev, *next;
};

#define MG_CONTAINER(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void mg_link_init(struct mg_link *link)
{
    link->prev = link->next = link;
}

static inline bool mg_list_empty(const struct mg_link *head)
{
    return head->next == head;
}

static inline void mg_link_insert_after(struct mg_link *at, struct mg_link *link)
{
    link->prev = at;
    link->next = at->next;
    at->next->prev = link;
    at->next = link;
}

/* At the end of the list. The link must be unlinked. */
static inline void mg_list_append(struct mg_link *head, struct mg_link *link)
{
    mg_link_insert_after(head->prev, link);
}

/* At the front of the list. The link must be unlinked. */
static inline void mg_list_push(struct mg_link *head, struct mg_link *link)
{
    mg_link_insert_after(head, link);
}

/* Harmless on an unlinked link. */
static inline void mg_link_remove(struct mg_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    mg_link_init(link);
}
