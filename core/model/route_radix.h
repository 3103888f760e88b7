/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte radix tree over path prefixes. Each node stands for the text on the way to it and holds
 * the ranks of the router's entries for that text, lowest first: `plain` for entries whose prefix
 * it is, `regex` for entries all of whose regexes begin with it. All of it lives in one arena.
 *
 *     /            "/a", "/apple", "/b" become
 *     |-- a        [/a]
 *     |   `-- pple [/apple]
 *     `-- b        [/b]
 *
 *     struct mg_radix_node *root = mg_radix_new(arena);
 *     mg_radix_append(arena, &mg_radix_place(arena, root, MG_STR("/a"))->plain, rank);
 *     mg_radix_freeze(arena, root);
 *     for (node = root, at = 0; node; node = mg_radix_next(node, path, &at)) ...
 */
#pragma once

#include "base/arena.h"

struct mg_ranks {
    uint32_t *at;
    uint32_t count, capacity;
};

struct mg_radix_node {
    const char *text; /* of the edge that leads here */
    uint32_t length;
    uint32_t child_count, child_capacity;
    struct mg_radix_node **children; /* by first byte, rising */
    uint8_t *labels;                 /* first bytes of the children, beside them */
    /* made at the end, for looking up: */
    uint64_t first_bytes; /* the labels of up to 8 children, the first one lowest */
    uint16_t *table;      /* of more: byte -> index in children + 1, 0 = none */
    struct mg_ranks plain, regex;
};

struct mg_radix_node *mg_radix_new(struct mg_arena *arena);
/* The node of the text, made where it is not there. The text is borrowed for the tree's life. */
struct mg_radix_node *mg_radix_place(struct mg_arena *arena, struct mg_radix_node *root,
                                     mg_str text);
/* Ranks must come in rising order; one that stands there already is not repeated. */
void mg_radix_append(struct mg_arena *arena, struct mg_ranks *ranks, uint32_t rank);
/* Makes the children easy to look up; nothing may be placed afterwards. */
void mg_radix_freeze(struct mg_arena *arena, struct mg_radix_node *root);

/* For a frozen tree. */
static inline const struct mg_radix_node *mg_radix_child(const struct mg_radix_node *node,
                                                         uint8_t byte)
{
    if (node->table) {
        const unsigned index = node->table[byte];
        return index ? node->children[index - 1] : NULL;
    }
    /* the lowest byte of first_bytes that equals byte: its difference, and no other, is zero */
    const uint64_t each = 0x0101010101010101U;
    const uint64_t difference = node->first_bytes ^ each * byte;
    const uint64_t zeros = (difference - each) & ~difference & each << 7;
    const unsigned index = zeros ? (unsigned)__builtin_ctzll(zeros) / 8 : node->child_count;
    return index < node->child_count ? node->children[index] : NULL;
}

/* The node further down whose text is a prefix of path, or NULL. *at: bytes of path taken so far.
 * */
static inline const struct mg_radix_node *mg_radix_next(const struct mg_radix_node *node,
                                                        mg_str path, size_t *at)
{
    if (*at == path.len) {
        return NULL;
    }
    const char *rest = path.ptr + *at;
    const struct mg_radix_node *child = mg_radix_child(node, (uint8_t)rest[0]);
    if (!child || path.len - *at < child->length ||
        (child->length > 1 && memcmp(rest + 1, child->text + 1, child->length - 1) != 0)) {
        return NULL;
    }
    *at += child->length;
    return child;
}
