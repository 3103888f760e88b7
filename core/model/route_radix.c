/* SPDX-License-Identifier: Apache-2.0 */
/* Building the radix tree. Depth is bounded by the longest prefix of the configuration. */
#include "model/route_radix.h"

#include "base/err.h"

#define WORD_CHILDREN 8 /* so many labels fit into one word */

struct mg_radix_node *mg_radix_new(struct mg_arena *arena)
{
    return mg_arena_zalloc(arena, sizeof(struct mg_radix_node));
}

/* Doubles an array in the arena; the old one is left there. */
static void *grow(struct mg_arena *arena, const void *old, uint32_t count, uint32_t capacity,
                  size_t item)
{
    void *array = mg_arena_alloc(arena, capacity * item);
    if (count > 0) {
        memcpy(array, old, count * item);
    }
    return array;
}

void mg_radix_append(struct mg_arena *arena, struct mg_ranks *ranks, uint32_t rank)
{
    if (ranks->count > 0 && ranks->at[ranks->count - 1] == rank) {
        return;
    }
    mg_require(ranks->count == 0 || ranks->at[ranks->count - 1] < rank);
    if (ranks->count == ranks->capacity) {
        ranks->capacity = ranks->capacity ? ranks->capacity * 2 : 2;
        ranks->at = grow(arena, ranks->at, ranks->count, ranks->capacity, sizeof *ranks->at);
    }
    ranks->at[ranks->count++] = rank;
}

static void add_child(struct mg_arena *arena, struct mg_radix_node *node,
                      struct mg_radix_node *child)
{
    if (node->child_count == node->child_capacity) {
        const uint32_t capacity = node->child_capacity ? node->child_capacity * 2 : 2;
        node->children = grow(arena, node->children, node->child_count, capacity, sizeof(void *));
        node->labels = grow(arena, node->labels, node->child_count, capacity, 1);
        node->child_capacity = capacity;
    }
    const uint8_t label = (uint8_t)child->text[0];
    uint32_t at = node->child_count++;
    while (at > 0 && node->labels[at - 1] > label) {
        node->labels[at] = node->labels[at - 1];
        node->children[at] = node->children[at - 1];
        at--;
    }
    node->labels[at] = label;
    node->children[at] = child;
}

static struct mg_radix_node *add_leaf(struct mg_arena *arena, struct mg_radix_node *node,
                                      mg_str text)
{
    struct mg_radix_node *leaf = mg_radix_new(arena);
    leaf->text = text.ptr;
    leaf->length = (uint32_t)text.len;
    add_child(arena, node, leaf);
    return leaf;
}

/* Cuts the edge that leads to node after length bytes: node becomes the upper part, and what it was
 * becomes its only child. */
static void split(struct mg_arena *arena, struct mg_radix_node *node, uint32_t length)
{
    struct mg_radix_node *lower = mg_radix_new(arena);
    *lower = *node;
    lower->text += length;
    lower->length -= length;
    *node = (struct mg_radix_node){.text = node->text, .length = length};
    add_child(arena, node, lower);
}

static struct mg_radix_node *find_child(const struct mg_radix_node *node, char first)
{
    for (uint32_t i = 0; i < node->child_count; i++) {
        if (node->labels[i] == (uint8_t)first) {
            return node->children[i];
        }
    }
    return NULL;
}

struct mg_radix_node *mg_radix_place(struct mg_arena *arena, struct mg_radix_node *root,
                                     mg_str text)
{
    struct mg_radix_node *node = root;
    while (text.len > 0) {
        struct mg_radix_node *child = find_child(node, text.ptr[0]);
        if (!child) {
            return add_leaf(arena, node, text);
        }
        uint32_t common = 0;
        while (common < child->length && common < text.len &&
               child->text[common] == text.ptr[common]) {
            common++;
        }
        if (common < child->length) {
            split(arena, child, common);
        }
        node = child;
        text = mg_str_slice(text, common, text.len);
    }
    return node;
}

void mg_radix_freeze(struct mg_arena *arena, struct mg_radix_node *root)
{
    if (root->child_count > WORD_CHILDREN) {
        root->table = mg_arena_zalloc(arena, 256 * sizeof *root->table);
        for (uint32_t i = 0; i < root->child_count; i++) {
            root->table[root->labels[i]] = (uint16_t)(i + 1);
        }
    }
    for (uint32_t i = 0; i < root->child_count && i < WORD_CHILDREN; i++) {
        root->first_bytes |= (uint64_t)root->labels[i] << (8 * i);
    }
    for (uint32_t i = 0; i < root->child_count; i++) {
        mg_radix_freeze(arena, root->children[i]);
    }
}
