/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML to Lua values with marks: a recursive descent over libyaml's events. The tree is read with a
 * depth of at most 32, so the recursion is bounded. See yaml.h for the result.
 */
#include "script/yaml.h"

#include "script/yaml_marks.h"
#include "script/yaml_scalar.h"

#include <lauxlib.h>
#include <lua.h>
#include <yaml.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_BYTES = 4 * 1024 * 1024,
    MAX_DEPTH = 32,
    MAX_ALIAS_NODES = 10000,
};

#define READER_TYPE "moongate.yaml.reader"

struct reader {
    lua_State *L;
    const char *text;
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_parser;
    bool has_event;
    int marks;   /* stack index of the marks table */
    int anchors; /* stack index: name -> {value, nodes, height, kind} */
    int notes;   /* stack index of the notes array */
    size_t alias_nodes;
    bool limit; /* the failure is one of size, not of form */
    yaml_mark_t failed_at;
    char message[256];
};

enum kind { SCALAR, SEQ, MAP };

/* What a finished node weighs, for the depth and alias limits; and where it stands. */
struct node {
    size_t count;
    unsigned height;
    enum kind kind;
    double mark;
};

static double event_mark(const yaml_event_t *event)
{
    return mg_yaml_mark(event->start_mark.line, event->start_mark.column, event->end_mark.line,
                        event->end_mark.column);
}

static int fail(struct reader *r, const yaml_mark_t *at, const char *message)
{
    r->failed_at = *at;
    snprintf(r->message, sizeof r->message, "%s", message);
    return -1;
}

static int fail_limit(struct reader *r, const char *message)
{
    r->limit = true;
    return fail(r, &r->event.start_mark, message);
}

static int fail_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "not valid YAML";
    if (p->error == YAML_MEMORY_ERROR) {
        return fail(r, &p->mark, "not enough memory");
    }
    if (p->error == YAML_READER_ERROR) { /* it reads ahead of its mark */
        yaml_mark_t at = p->mark;
        mg_yaml_place(r->text, p->problem_offset, &at.line, &at.column);
        return fail(r, &at, problem);
    }
    if (!p->context) {
        return fail(r, &p->problem_mark, problem);
    }
    r->failed_at = p->problem_mark;
    snprintf(r->message, sizeof r->message, "%s (%s that began on line %zu)", problem, p->context,
             p->context_mark.line + 1);
    return -1;
}

static int next_event(struct reader *r)
{
    if (r->has_event) {
        r->has_event = false;
        yaml_event_delete(&r->event);
    }
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        return fail_syntax(r);
    }
    r->has_event = true;
    return 0;
}

static void set_number(lua_State *L, const char *name, size_t value)
{
    lua_pushnumber(L, (lua_Number)value);
    lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

/* Notes something about the present event. */
static void add_note(struct reader *r, const char *severity, const char *kind, const char *message)
{
    lua_State *L = r->L;
    const yaml_mark_t *start = &r->event.start_mark;
    const yaml_mark_t *end = &r->event.end_mark;
    lua_createtable(L, 0, 6);
    set_text(L, "severity", severity);
    set_text(L, "kind", kind);
    set_number(L, "line", start->line + 1);
    set_number(L, "column", start->column + 1);
    set_number(L, "length", end->line == start->line ? end->column - start->column : 0);
    set_text(L, "message", message);
    lua_rawseti(L, r->notes, (int)lua_objlen(L, r->notes) + 1);
}

static bool is_word(const char *text, const char *const *words)
{
    while (*words && strcmp(*words, text) != 0) {
        words++;
    }
    return *words != NULL;
}

/* A tag of YAML's own schema is as good as none, but for !!str. */
static int check_tag(struct reader *r, const char *tag, bool *is_text)
{
    static const char *const known[] = {"null", "bool", "int", "float", "map", "seq", NULL};
    static const char prefix[] = "tag:yaml.org,2002:";
    *is_text = false;
    if (!tag) {
        return 0;
    }
    if (strcmp(tag, "!") == 0) {
        *is_text = true;
        return 0;
    }
    if (strncmp(tag, prefix, sizeof prefix - 1) == 0) {
        const char *name = tag + sizeof prefix - 1;
        *is_text = strcmp(name, "str") == 0;
        if (*is_text || is_word(name, known)) {
            return 0;
        }
    }
    char message[120];
    snprintf(message, sizeof message, "the tag %.80s is not supported", tag);
    return fail(r, &r->event.start_mark, message);
}

static int build_scalar(struct reader *r, struct node *out)
{
    const yaml_event_t *event = &r->event;
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    bool is_text;
    if (check_tag(r, (const char *)event->data.scalar.tag, &is_text) < 0) {
        return -1;
    }
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !is_text) {
        char sentence[160];
        if (mg_yaml_is_trap(text, length, sentence, sizeof sentence)) {
            add_note(r, "warning", "trap", sentence);
        }
        mg_yaml_push_plain(r->L, text, length);
    } else {
        lua_pushlstring(r->L, text, length);
    }
    *out = (struct node){.count = 1, .height = 1, .mark = event_mark(event)};
    return 0;
}

/* Stack: name, value -> value. */
static void remember_anchor(struct reader *r, const struct node *node)
{
    lua_State *L = r->L;
    lua_createtable(L, 5, 0);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, 1);
    lua_pushnumber(L, (lua_Number)node->count);
    lua_rawseti(L, -2, 2);
    lua_pushnumber(L, node->height);
    lua_rawseti(L, -2, 3);
    lua_pushnumber(L, (lua_Number)node->kind);
    lua_rawseti(L, -2, 4);
    lua_pushvalue(L, -3);
    lua_insert(L, -2);
    lua_rawset(L, r->anchors);
    lua_remove(L, -2);
}

static lua_Number anchor_field(lua_State *L, int slot)
{
    lua_rawgeti(L, -1, slot);
    lua_Number value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

static int build_alias(struct reader *r, unsigned depth, struct node *out)
{
    lua_State *L = r->L;
    const char *name = (const char *)r->event.data.alias.anchor;
    lua_pushstring(L, name);
    lua_rawget(L, r->anchors);
    if (!lua_istable(L, -1)) {
        char message[120];
        snprintf(message, sizeof message, "no finished anchor is called \"%.60s\" at this point",
                 name);
        return fail(r, &r->event.start_mark, message);
    }
    *out = (struct node){.count = (size_t)anchor_field(L, 2),
                         .height = (unsigned)anchor_field(L, 3),
                         .kind = (enum kind)anchor_field(L, 4),
                         .mark = event_mark(&r->event)};
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
    r->alias_nodes += out->count;
    if (r->alias_nodes > MAX_ALIAS_NODES) {
        return fail_limit(r, "aliases repeat more than 10000 nodes");
    }
    if (depth + out->height > MAX_DEPTH + 1) {
        return fail_limit(r, "nested more than 32 deep");
    }
    return 0;
}

static int build_node(struct reader *r, unsigned depth, struct node *out);

static void add_child(struct node *parent, const struct node *child)
{
    parent->count += child->count;
    if (child->height + 1 > parent->height) {
        parent->height = child->height + 1;
    }
}

static int build_sequence(struct reader *r, unsigned depth, struct node *out)
{
    lua_State *L = r->L;
    *out = (struct node){.count = 1, .height = 1, .kind = SEQ, .mark = event_mark(&r->event)};
    mg_yaml_push_pair(L, r->marks, false, out->mark);
    lua_getfield(L, -1, "values");
    for (int i = 1;; i++) {
        struct node child;
        if (next_event(r) < 0) {
            return -1;
        }
        if (r->event.type == YAML_SEQUENCE_END_EVENT) {
            lua_pop(L, 2);
            return 0;
        }
        if (build_node(r, depth + 1, &child) < 0) {
            return -1;
        }
        add_child(out, &child);
        lua_rawseti(L, -4, i);
        lua_pushnumber(L, child.mark);
        lua_rawseti(L, -2, i);
    }
}

static int build_alias_key(struct reader *r)
{
    struct node node;
    if (build_alias(r, 0, &node) < 0) {
        return -1;
    }
    if (!lua_isstring(r->L, -1)) {
        return fail(r, &r->event.start_mark, "a key must be text");
    }
    lua_tostring(r->L, -1); /* a number becomes text in place */
    return 0;
}

/* Pushes the text of the key that is the present event. */
static int build_key(struct reader *r, bool *is_merge)
{
    lua_State *L = r->L;
    const yaml_event_t *event = &r->event;
    bool is_text;
    *is_merge = false;
    if (event->type == YAML_ALIAS_EVENT) {
        return build_alias_key(r);
    }
    if (event->type != YAML_SCALAR_EVENT) {
        return fail(r, &event->start_mark, "a key must be text, not a list or a map");
    }
    if (check_tag(r, (const char *)event->data.scalar.tag, &is_text) < 0) {
        return -1;
    }
    const char *text = (const char *)event->data.scalar.value;
    if (event->data.scalar.anchor) {
        lua_pushstring(L, (const char *)event->data.scalar.anchor);
        lua_pushlstring(L, text, event->data.scalar.length);
        remember_anchor(r, &(struct node){.count = 1, .height = 1});
    } else {
        lua_pushlstring(L, text, event->data.scalar.length);
    }
    *is_merge =
        event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !is_text && strcmp(text, "<<") == 0;
    return 0;
}

static void note_duplicate(struct reader *r, double first)
{
    char message[200];
    snprintf(message, sizeof message, "duplicate key \"%.100s\", first given on line %.0f",
             lua_tostring(r->L, -1), mg_yaml_mark_line(first));
    add_note(r, "error", "duplicate", message);
}

/* Stack: pair -> pair. A `<<` is kept in R.merge until the map's own keys are known: these win. */
static int build_entry(struct reader *r, unsigned depth, struct node *out, struct node *merged)
{
    lua_State *L = r->L;
    double mark = event_mark(&r->event);
    double first = 0;
    bool is_merge;
    struct node child;
    if (build_key(r, &is_merge) < 0) {
        return -1;
    }
    if (!is_merge) {
        first = mg_yaml_place_key(L, mark);
    }
    if (first > 0) {
        note_duplicate(r, first);
    }
    if (next_event(r) < 0 || build_node(r, depth + 1, &child) < 0) {
        return -1;
    }
    add_child(out, &child);
    if (is_merge) {
        *merged = child;
        lua_setfield(L, -3, "merge");
        lua_pop(L, 1);
    } else if (first > 0) {
        lua_pop(L, 2);
    } else {
        mg_yaml_place_value(L, child.mark);
    }
    return 0;
}

/* Stack: pair, source -> pair. source must be a map of this document. */
static int merge_one(struct reader *r)
{
    lua_State *L = r->L;
    bool is_map = false;
    if (lua_istable(L, -1)) {
        lua_pushvalue(L, -1);
        lua_rawget(L, r->marks);
        lua_getfield(L, -1, "order");
        is_map = lua_istable(L, -1);
        lua_pop(L, 2);
    }
    if (!is_map) {
        return fail(r, &r->event.start_mark, "the map that ends here merges (<<) what is no map");
    }
    mg_yaml_merge(L, r->marks, lua_gettop(L) - 2);
    lua_pop(L, 1);
    return 0;
}

/* Stack: pair -> pair. Earlier maps of a list win over later ones. */
static int merge_all(struct reader *r, enum kind kind)
{
    lua_State *L = r->L;
    int pair = lua_gettop(L) - 1;
    lua_getfield(L, pair + 1, "merge");
    if (kind != SEQ) {
        return merge_one(r);
    }
    int count = (int)lua_objlen(L, -1);
    for (int i = 1; i <= count; i++) {
        lua_getfield(L, pair + 1, "merge");
        lua_rawgeti(L, -1, i);
        lua_replace(L, pair + 2);
        lua_settop(L, pair + 2);
        if (merge_one(r) < 0) {
            return -1;
        }
        lua_pushnil(L);
    }
    lua_settop(L, pair + 1);
    return 0;
}

static int build_mapping(struct reader *r, unsigned depth, struct node *out)
{
    lua_State *L = r->L;
    struct node merged = {.count = 0};
    *out = (struct node){.count = 1, .height = 1, .kind = MAP, .mark = event_mark(&r->event)};
    mg_yaml_push_pair(L, r->marks, true, out->mark);
    for (;;) {
        if (next_event(r) < 0) {
            return -1;
        }
        if (r->event.type == YAML_MAPPING_END_EVENT) {
            break;
        }
        if (build_entry(r, depth, out, &merged) < 0) {
            return -1;
        }
    }
    if (merged.count > 0) {
        if (merge_all(r, merged.kind) < 0) {
            return -1;
        }
        lua_pushnil(L);
        lua_setfield(L, -2, "merge");
    }
    lua_pop(L, 1);
    return 0;
}

static int build_node(struct reader *r, unsigned depth, struct node *out)
{
    lua_State *L = r->L;
    const yaml_event_t *event = &r->event;
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    luaL_checkstack(L, 16, "YAML");
    if (event->type == YAML_ALIAS_EVENT) {
        return build_alias(r, depth, out);
    }
    if (depth > MAX_DEPTH) {
        return fail_limit(r, "nested more than 32 deep");
    }
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    bool has_anchor = anchor != NULL;
    bool is_text;
    if (has_anchor) {
        lua_pushstring(L, (const char *)anchor);
    }
    if (check_tag(r, (const char *)tag, &is_text) < 0) {
        return -1;
    }
    int rc = event->type == YAML_SCALAR_EVENT           ? build_scalar(r, out)
             : event->type == YAML_SEQUENCE_START_EVENT ? build_sequence(r, depth, out)
                                                        : build_mapping(r, depth, out);
    if (rc == 0 && has_anchor) {
        remember_anchor(r, out);
    }
    return rc;
}

static int build_document(struct reader *r)
{
    struct node root;
    do {
        if (next_event(r) < 0) {
            return -1;
        }
    } while (r->event.type == YAML_STREAM_START_EVENT ||
             r->event.type == YAML_DOCUMENT_START_EVENT);
    if (r->event.type == YAML_STREAM_END_EVENT) {
        lua_pushlightuserdata(r->L, NULL);
        return 0;
    }
    if (build_node(r, 1, &root) < 0 || next_event(r) < 0 || next_event(r) < 0) {
        return -1;
    }
    if (r->event.type != YAML_STREAM_END_EVENT) {
        return fail(r, &r->event.start_mark, "a second document begins here; only one is read");
    }
    return 0;
}

static void release(struct reader *r)
{
    if (r->has_event) {
        r->has_event = false;
        yaml_event_delete(&r->event);
    }
    if (r->has_parser) {
        r->has_parser = false;
        yaml_parser_delete(&r->parser);
    }
}

/* Only where Lua ran out of memory in between. */
static int reader_gc(lua_State *L)
{
    release(luaL_checkudata(L, 1, READER_TYPE));
    return 0;
}

static struct reader *push_reader(lua_State *L)
{
    struct reader *r = lua_newuserdata(L, sizeof *r);
    memset(r, 0, sizeof *r);
    r->L = L;
    luaL_getmetatable(L, READER_TYPE);
    lua_setmetatable(L, -2);
    return r;
}

static int push_failure(lua_State *L, const struct reader *r)
{
    lua_pushnil(L);
    lua_createtable(L, 0, 4);
    lua_pushnumber(L, (lua_Number)(r->failed_at.line + 1));
    lua_setfield(L, -2, "line");
    lua_pushnumber(L, (lua_Number)(r->failed_at.column + 1));
    lua_setfield(L, -2, "column");
    lua_pushstring(L, r->message);
    lua_setfield(L, -2, "message");
    if (r->limit) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "limit");
    }
    return 2;
}

static int yaml_parse(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    lua_settop(L, 1);
    struct reader *r = push_reader(L);
    lua_newtable(L);
    r->marks = lua_gettop(L);
    lua_newtable(L);
    r->anchors = lua_gettop(L);
    lua_newtable(L);
    r->notes = lua_gettop(L);
    if (length > MAX_BYTES) {
        r->limit = true;
        fail(r, &r->failed_at, "the file is larger than 4 MiB");
        return push_failure(L, r);
    }
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        length -= 3;
    }
    r->text = text;
    if (!yaml_parser_initialize(&r->parser)) {
        return luaL_error(L, "not enough memory");
    }
    r->has_parser = true;
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, length);
    const int err = build_document(r);
    release(r);
    if (err < 0) {
        return push_failure(L, r);
    }
    lua_pushvalue(L, r->marks);
    lua_pushvalue(L, r->notes);
    return 3;
}

int mg_yaml_open(lua_State *L)
{
    luaL_newmetatable(L, READER_TYPE);
    lua_pushcfunction(L, reader_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, yaml_parse);
    lua_setfield(L, -2, "parse");
    return 1;
}

#ifdef MG_LUA_MODULE
/* For plain luajit: cc -shared -fPIC -DMG_LUA_MODULE -o moongate/yaml.so yaml.c -lyaml */
__attribute__((visibility("default"))) int luaopen_moongate_yaml(lua_State *L);

int luaopen_moongate_yaml(lua_State *L)
{
    return mg_yaml_open(L);
}
#endif
