/* SPDX-License-Identifier: Apache-2.0 */
/* The path that goes to the upstream (plugin-interface, 10.4). */
#include "model/route.h"

static bool ends_with_slash(mg_str text)
{
    return text.len > 0 && text.ptr[text.len - 1] == '/';
}

static mg_str without_first_slash(mg_str text)
{
    return text.len > 0 && text.ptr[0] == '/' ? mg_str_slice(text, 1, text.len) : text;
}

static mg_str join(struct mg_arena *arena, mg_str first, mg_str between, mg_str last)
{
    char *out = mg_arena_alloc(arena, first.len + between.len + last.len);
    memcpy(out, first.ptr, first.len);
    memcpy(out + first.len, between.ptr, between.len);
    memcpy(out + first.len + between.len, last.ptr, last.len);
    return mg_str_make(out, first.len + between.len + last.len);
}

/* strip_path, and the match took the whole path. */
static mg_str base_alone(struct mg_arena *arena, mg_str base, mg_str path)
{
    if (!ends_with_slash(base)) {
        return path.len > 1 && ends_with_slash(path) ? join(arena, base, MG_STR("/"), MG_STR(""))
                                                     : base;
    }
    return base.len == 1 || ends_with_slash(path) ? base : mg_str_slice(base, 0, base.len - 1);
}

static mg_str stripped(struct mg_arena *arena, mg_str base, mg_str path, mg_str rest)
{
    if (rest.len == 0) {
        return base_alone(arena, base, path);
    }
    if (ends_with_slash(base)) {
        return join(arena, base, MG_STR(""), without_first_slash(rest));
    }
    return join(arena, base, rest.ptr[0] == '/' ? MG_STR("") : MG_STR("/"), rest);
}

static mg_str whole(struct mg_arena *arena, mg_str base, mg_str path)
{
    if (ends_with_slash(base)) {
        return base.len == 1 ? path : join(arena, base, MG_STR(""), without_first_slash(path));
    }
    return path.len == 1 ? base : join(arena, base, MG_STR(""), path);
}

int mg_route_upstream_path(struct mg_arena *arena, const struct mg_match *match, mg_str base,
                           mg_str path, const struct mg_uri_rules *rules, mg_str *out)
{
    if (path.len == 0 || path.ptr[0] != '/') {
        *out = path; /* "*" of OPTIONS: for the origin as it stands (RFC 9112, 3.2.4) */
        return 0;
    }
    if (base.len == 0) {
        base = MG_STR("/");
    }
    if (!match->route->strip_path) {
        *out = whole(arena, base, path);
    } else {
        const mg_str rest =
            match->path ? mg_str_slice(path, match->matched, path.len) : without_first_slash(path);
        *out = stripped(arena, base, path, rest);
    }
    if (out->ptr == path.ptr) {
        return 0; /* as it came: canonical already */
    }
    mg_str canonical;
    if (mg_uri_canonical_path(arena, *out, rules, &canonical) || !mg_str_equal(canonical, *out)) {
        return MG_ETARGET;
    }
    return 0;
}
