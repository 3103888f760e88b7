/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadline lists: one list for each timeout length, so that the members expire in the order in
 * which they were armed. Arming is an append (about 1 ns); one timer of the loop serves all lists.
 *
 *     struct mg_deadlines all;                 // one per loop
 *     struct mg_deadline_class *idle = mg_deadlines_class(&all, 65000);
 *     mg_deadline_arm(idle, &conn->deadline, on_idle, now_ms);
 *     mg_deadline_cancel(&conn->deadline);     // harmless when not armed
 *     uint64_t next = mg_deadlines_run(&all, now_ms);   // fires what is due
 */
#pragma once

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

#define MG_DEADLINE_NEVER UINT64_MAX

struct mg_deadline {
    struct mg_link link;
    uint64_t at_ms;
    void (*fn)(struct mg_deadline *deadline);
};

struct mg_deadline_class {
    struct mg_link members; /* struct mg_deadline, earliest first */
    struct mg_link link;
    uint64_t timeout_ms;
    struct mg_deadlines *owner;
};

struct mg_deadlines {
    struct mg_link classes;
    uint64_t next_ms; /* lower bound of the earliest deadline; MG_DEADLINE_NEVER when none */
    void (*on_earlier)(void *context); /* called when next_ms becomes earlier; may be NULL */
    void *context;
};

void mg_deadlines_init(struct mg_deadlines *all);
void mg_deadlines_deinit(struct mg_deadlines *all);
/* The class of that length, made on first use; lives as long as all. A length of 0 means "never":
 * arming in that class does nothing but cancel. */
struct mg_deadline_class *mg_deadlines_class(struct mg_deadlines *all, uint64_t timeout_ms);

static inline void mg_deadline_init(struct mg_deadline *deadline)
{
    mg_link_init(&deadline->link);
    deadline->at_ms = MG_DEADLINE_NEVER;
}

static inline bool mg_deadline_armed(const struct mg_deadline *deadline)
{
    return deadline->link.next != &deadline->link;
}

static inline void mg_deadline_cancel(struct mg_deadline *deadline)
{
    mg_link_remove(&deadline->link);
}

/* Arms or arms anew: fn(deadline) runs once, timeout_ms from now_ms. */
void mg_deadline_arm(struct mg_deadline_class *class, struct mg_deadline *deadline,
                     void (*fn)(struct mg_deadline *), uint64_t now_ms);
/* Arms at an odd length: kept in a sorted class of its own; O(members). For rare use (Lua
 * timers). */
void mg_deadline_arm_at(struct mg_deadlines *all, struct mg_deadline *deadline,
                        void (*fn)(struct mg_deadline *), uint64_t at_ms);
/* Fires all that are due at now_ms, unlinked before their fn runs; fn may arm and cancel others and
 * itself. Returns the time of the next one, or MG_DEADLINE_NEVER. */
uint64_t mg_deadlines_run(struct mg_deadlines *all, uint64_t now_ms);
/* Exact time of the earliest armed deadline, or MG_DEADLINE_NEVER. */
uint64_t mg_deadlines_next(const struct mg_deadlines *all);
