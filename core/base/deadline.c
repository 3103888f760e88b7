/* SPDX-License-Identifier: Apache-2.0 */
/* Deadline lists. The class with timeout_ms UINT64_MAX is the sorted one of mg_deadline_arm_at. */
#include "base/deadline.h"

#include "base/err.h"

#include <stdlib.h>

#define SORTED_CLASS UINT64_MAX

void mg_deadlines_init(struct mg_deadlines *all)
{
    *all = (struct mg_deadlines){.next_ms = MG_DEADLINE_NEVER};
    mg_link_init(&all->classes);
}

void mg_deadlines_deinit(struct mg_deadlines *all)
{
    while (!mg_list_empty(&all->classes)) {
        struct mg_deadline_class *class =
            MG_CONTAINER(all->classes.next, struct mg_deadline_class, link);
        mg_link_remove(&class->link);
        while (!mg_list_empty(&class->members)) {
            mg_link_remove(class->members.next);
        }
        free(class);
    }
}

struct mg_deadline_class *mg_deadlines_class(struct mg_deadlines *all, uint64_t timeout_ms)
{
    for (struct mg_link *at = all->classes.next; at != &all->classes; at = at->next) {
        struct mg_deadline_class *class = MG_CONTAINER(at, struct mg_deadline_class, link);
        if (class->timeout_ms == timeout_ms) {
            return class;
        }
    }
    struct mg_deadline_class *class = malloc(sizeof *class);
    mg_require(class != NULL);
    *class = (struct mg_deadline_class){.timeout_ms = timeout_ms, .owner = all};
    mg_link_init(&class->members);
    mg_link_init(&class->link);
    mg_list_append(&all->classes, &class->link);
    return class;
}

static void note_earlier(struct mg_deadlines *all, uint64_t at_ms)
{
    if (at_ms < all->next_ms) {
        all->next_ms = at_ms;
        if (all->on_earlier) {
            all->on_earlier(all->context);
        }
    }
}

void mg_deadline_arm(struct mg_deadline_class *class, struct mg_deadline *deadline,
                     void (*fn)(struct mg_deadline *), uint64_t now_ms)
{
    mg_link_remove(&deadline->link);
    if (class->timeout_ms == 0) {
        return;
    }
    deadline->at_ms = now_ms + class->timeout_ms;
    deadline->fn = fn;
    mg_list_append(&class->members, &deadline->link);
    note_earlier(class->owner, deadline->at_ms);
}

void mg_deadline_arm_at(struct mg_deadlines *all, struct mg_deadline *deadline,
                        void (*fn)(struct mg_deadline *), uint64_t at_ms)
{
    struct mg_deadline_class *class = mg_deadlines_class(all, SORTED_CLASS);
    mg_link_remove(&deadline->link);
    deadline->at_ms = at_ms;
    deadline->fn = fn;
    struct mg_link *place = class->members.prev;
    while (place != &class->members &&
           MG_CONTAINER(place, struct mg_deadline, link)->at_ms > at_ms) {
        place = place->prev;
    }
    mg_link_insert_after(place, &deadline->link);
    note_earlier(all, at_ms);
}

uint64_t mg_deadlines_next(const struct mg_deadlines *all)
{
    uint64_t next = MG_DEADLINE_NEVER;
    for (const struct mg_link *at = all->classes.next; at != &all->classes; at = at->next) {
        const struct mg_deadline_class *class = MG_CONTAINER(at, struct mg_deadline_class, link);
        if (!mg_list_empty(&class->members)) {
            const uint64_t first =
                MG_CONTAINER(class->members.next, struct mg_deadline, link)->at_ms;
            next = first < next ? first : next;
        }
    }
    return next;
}

/* The earliest due member over all classes, or NULL. */
static struct mg_deadline *earliest_due(struct mg_deadlines *all, uint64_t now_ms)
{
    struct mg_deadline *found = NULL;
    for (struct mg_link *at = all->classes.next; at != &all->classes; at = at->next) {
        struct mg_deadline_class *class = MG_CONTAINER(at, struct mg_deadline_class, link);
        if (mg_list_empty(&class->members)) {
            continue;
        }
        struct mg_deadline *first = MG_CONTAINER(class->members.next, struct mg_deadline, link);
        if (first->at_ms <= now_ms && (!found || first->at_ms < found->at_ms)) {
            found = first;
        }
    }
    return found;
}

uint64_t mg_deadlines_run(struct mg_deadlines *all, uint64_t now_ms)
{
    struct mg_deadline *due = earliest_due(all, now_ms);
    while (due) {
        mg_link_remove(&due->link);
        due->fn(due);
        due = earliest_due(all, now_ms);
    }
    all->next_ms = mg_deadlines_next(all);
    return all->next_ms;
}
