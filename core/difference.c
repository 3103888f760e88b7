/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compares two bundles. Entities are counted by kind, files are named up to NAMES_MAX. Lists are
 * short (thousands of lines at most) and reloads rare, so lines are looked up in a sorted array.
 */
#include "difference.h"

#include <stdlib.h>

#define KINDS_MAX 16
#define NAMES_MAX 5 /* files named; the rest is counted */

struct line {         /* of a summary */
    mg_str kind, key; /* key: kind and name */
    mg_str digest;
};

struct summary {
    struct line *lines;
    size_t count;
};

struct tally {
    mg_str kind;
    unsigned added, changed, removed;
};

struct difference {
    const struct mg_bundle *other;
    struct mg_buf *out;
    unsigned parts; /* written so far, for the commas */
    struct tally tallies[KINDS_MAX];
    size_t kinds;
    unsigned files;
    const char *verb;
};

/* Where the next part goes, behind its comma. */
static struct mg_buf *next(struct difference *difference)
{
    if (difference->parts++ > 0) {
        (void)!mg_buf_append(difference->out, MG_STR(", "));
    }
    return difference->out;
}

/* --- entities ---------------------------------------------------------------------------- */

static int compare_lines(const void *a, const void *b)
{
    return mg_str_compare(((const struct line *)a)->key, ((const struct line *)b)->key);
}

static bool parse_line(mg_str text, struct line *line)
{
    const ptrdiff_t first = mg_str_find(text, ' ', 0);
    size_t last = text.len;
    while (last > 0 && text.ptr[last - 1] != ' ') {
        last--;
    }
    if (first <= 0 || last <= (size_t)first + 1) {
        return false;
    }
    line->kind = mg_str_slice(text, 0, (size_t)first);
    line->key = mg_str_slice(text, 0, last - 1);
    line->digest = mg_str_slice(text, last, text.len);
    return true;
}

static struct summary read_summary(const struct mg_bundle *bundle)
{
    struct summary summary = {.lines = NULL};
    mg_str text;
    if (!mg_bundle_find(bundle, MG_STR("summary"), &text)) {
        return summary;
    }
    size_t room = 1;
    for (size_t i = 0; i < text.len; i++) {
        room += text.ptr[i] == '\n' ? 1 : 0;
    }
    summary.lines = calloc(room, sizeof *summary.lines);
    mg_require(summary.lines != NULL);
    for (size_t at = 0; at < text.len;) {
        const ptrdiff_t found = mg_str_find(text, '\n', at);
        const size_t end = found < 0 ? text.len : (size_t)found;
        if (parse_line(mg_str_slice(text, at, end), &summary.lines[summary.count])) {
            summary.count++;
        }
        at = end + 1;
    }
    qsort(summary.lines, summary.count, sizeof *summary.lines, compare_lines);
    return summary;
}

static struct tally *tally_of(struct difference *difference, mg_str kind)
{
    for (size_t i = 0; i < difference->kinds; i++) {
        if (mg_str_equal(difference->tallies[i].kind, kind)) {
            return &difference->tallies[i];
        }
    }
    if (difference->kinds < KINDS_MAX) {
        difference->tallies[difference->kinds++] = (struct tally){.kind = kind};
    }
    return &difference->tallies[difference->kinds - 1];
}

/* Both lists are sorted: one walk. */
static void count_entities(struct difference *difference, const struct summary *before,
                           const struct summary *after)
{
    size_t i = 0;
    size_t j = 0;
    while (i < before->count || j < after->count) {
        const int order = i == before->count ? 1
                          : j == after->count
                              ? -1
                              : mg_str_compare(before->lines[i].key, after->lines[j].key);
        if (order < 0) {
            tally_of(difference, before->lines[i++].kind)->removed++;
        } else if (order > 0) {
            tally_of(difference, after->lines[j++].kind)->added++;
        } else {
            if (!mg_str_equal(before->lines[i].digest, after->lines[j].digest)) {
                tally_of(difference, after->lines[j].kind)->changed++;
            }
            i++;
            j++;
        }
    }
}

static void put_count(struct difference *difference, unsigned count, mg_str kind, const char *verb)
{
    if (count > 0 && mg_str_equal(kind, MG_STR("gateway"))) {
        mg_buf_put(next(difference), "section gateway %s", verb);
    } else if (count > 0) {
        mg_buf_put(next(difference), "%u %.*s%s %s", count, MG_STR_ARG(kind), count > 1 ? "s" : "",
                   verb);
    }
}

static void describe_entities(struct difference *difference, const struct mg_bundle *before,
                              const struct mg_bundle *after)
{
    struct summary old = read_summary(before);
    struct summary new = read_summary(after);
    count_entities(difference, &old, &new);
    for (size_t i = 0; i < difference->kinds; i++) {
        const struct tally *tally = &difference->tallies[i];
        put_count(difference, tally->added, tally->kind, "added");
        put_count(difference, tally->changed, tally->kind, "changed");
        put_count(difference, tally->removed, tally->kind, "removed");
    }
    free(old.lines);
    free(new.lines);
}

/* --- files ------------------------------------------------------------------------------- */

/* data: its path, a line end, its text (lua/moongate/runtime/describe.lua). */
static void name_file(struct difference *difference, mg_str data)
{
    const ptrdiff_t end = mg_str_find(data, '\n', 0);
    const mg_str path = mg_str_slice(data, 0, end < 0 ? 0 : (size_t)end);
    if (difference->files++ < NAMES_MAX) {
        mg_buf_put(next(difference), "file %.*s %s", MG_STR_ARG(path), difference->verb);
    }
}

/* A file of the newer bundle: is it in the older one, with the same text? */
static void on_new_file(void *context, mg_str name, mg_str data)
{
    struct difference *difference = context;
    mg_str other;
    const bool is_known = mg_bundle_find(difference->other, name, &other);
    if (!is_known || !mg_str_equal(data, other)) {
        difference->verb = is_known ? "changed" : "added";
        name_file(difference, data);
    }
}

static void on_old_file(void *context, mg_str name, mg_str data)
{
    struct difference *difference = context;
    mg_str other;
    if (!mg_bundle_find(difference->other, name, &other)) {
        difference->verb = "removed";
        name_file(difference, data);
    }
}

void mg_difference_describe(const struct mg_bundle *before, const struct mg_bundle *after,
                            struct mg_buf *out)
{
    struct difference difference = {.out = out, .other = before};
    describe_entities(&difference, before, after);
    mg_bundle_each(after, MG_STR("lua:"), on_new_file, &difference);
    difference.other = after;
    mg_bundle_each(before, MG_STR("lua:"), on_old_file, &difference);
    if (difference.files > NAMES_MAX) {
        mg_buf_put(next(&difference), "%u more files changed", difference.files - NAMES_MAX);
    }
    mg_str old = MG_STR("");
    mg_str new = MG_STR("");
    if (difference.parts == 0 && mg_bundle_find(before, MG_STR("config"), &old) &&
        mg_bundle_find(after, MG_STR("config"), &new)) {
        mg_buf_put(next(&difference), "%s",
                   mg_str_equal(old, new) ? "Nothing has changed"
                                          : "The configuration has changed");
    }
    (void)!mg_buf_append(out, MG_STR(".\n"));
}
