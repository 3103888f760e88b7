/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks a configuration as a whole: loads the file and every plugin from disk, builds the snapshot
 * and the chains as a worker would, and makes the bundle that workers load from. For `moongate
 * check`, for the master's forked checker, and for `explain`, which goes on with what was loaded.
 *
 *     struct mg_checker_options options = {.file = "conf/moongate.yml", .lua_path = ..., ...};
 *     int err = mg_checker_run(&options, &writer, &report);       // all in one
 *
 *     struct mg_checker *checker;
 *     int err = mg_checker_open(&checker, &options, &report);
 *     ... mg_checker_config(checker), mg_checker_bundle, mg_checker_plugins ...
 *     mg_checker_close(checker);
 *
 * Nothing is run but the plugins' module chunks: no init_worker, no timer, no network.
 */
#pragma once

#include "base/buf.h"
#include "model/config.h"
#include "script/bundle.h"

struct mg_log;

struct mg_checker_options {
    const char *file;         /* of the configuration */
    mg_str text;              /* its YAML; ptr NULL: read from file */
    const char *lua_path;     /* folder of lua/moongate */
    const char *plugins_path; /* folder of the plugins we ship */
    const char *ffi_header;   /* path of core/script/ffi.h */
    struct mg_log *log;       /* what plugins say while they load; may be NULL */
    bool json;                /* report as one JSON object for each finding and line */
    bool color;               /* report with terminal colours */
    uint32_t workers;         /* what ngx.worker.count() says; 0 = 1 */
    uint64_t timeout_ms;      /* of loading; 0 = 30 s. A module that runs longer is an error */
};

struct mg_checker;

/* Loads. The report (its cap is the caller's) gets warnings, or all errors; it may be empty. 0, or
 * MG_EINVALID: the configuration is refused, *out is NULL. */
MG_NODISCARD int mg_checker_open(struct mg_checker **out, const struct mg_checker_options *options,
                                 struct mg_buf *report);
void mg_checker_close(struct mg_checker *checker);
/* Lives as long as the checker. */
struct mg_config *mg_checker_config(struct mg_checker *checker);
/* Writes the whole bundle. MG_EINVALID with a sentence in the report, MG_ENO_MEMORY. */
MG_NODISCARD int mg_checker_bundle(struct mg_checker *checker, struct mg_bundle_writer *out,
                                   struct mg_buf *report);

/* A plugin in the chain of a route. */
struct mg_checker_plugin {
    mg_str name, instance; /* instance_name, or empty */
    mg_str phases;         /* "access header_filter log" */
    mg_str scope;          /* of its configuration: "route", "service+consumer", "global" */
    mg_str source;         /* file of its handler */
    double priority;
    bool by_consumer; /* the consumer may change its configuration */
};

/* Calls fn for each plugin of the route (NULL: of requests without one), in order. The texts live
 * until fn returns. */
MG_NODISCARD int mg_checker_plugins(struct mg_checker *checker, const struct mg_route *route,
                                    void (*fn)(void *context,
                                               const struct mg_checker_plugin *plugin),
                                    void *context);

/* Opens, writes the bundle (unless out is NULL), closes. */
MG_NODISCARD int mg_checker_run(const struct mg_checker_options *options,
                                struct mg_bundle_writer *out, struct mg_buf *report);
