/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads a configuration with its plugins into a fresh state, in the checker from YAML and disk, in
 * a worker from the bundle: snapshot, plugins, chains.
 *
 *     struct mg_load_ask ask = {.file = ..., .config = ...};
 *     int err = mg_load_run(vm, &ask, config, &report);
 */
#pragma once

#include "base/buf.h"
#include "model/config.h"
#include "script/vm.h"

struct mg_load_ask {
    /* name of the configuration file, for messages; its folder is where paths start */
    mg_str file;
    mg_str text;       /* its YAML; or */
    mg_str config;     /* the expanded configuration of an earlier load; or */
    mg_str unreadable; /* why there is no text: the report says so */
    uint64_t number;   /* of the generation */
    bool json, color;  /* form of the report */
};

/* The C modules of our own that Lua requires: for mg_vm_options. */
extern const struct mg_vm_module mg_load_modules[];

/* Fills config (empty, the caller's, also after a failure) and the VM's tables of chains. The
 * report gets warnings, or all errors. 0 or MG_EINVALID. */
MG_NODISCARD int mg_load_run(struct mg_vm *vm, const struct mg_load_ask *ask,
                             struct mg_config *config, struct mg_buf *report);
