/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The third part of ffi.h, under the same rules: plans, which are what hooks do without Lua
 * (script/hook_plan.h).
 */
struct mg_hook_plan;
/* The chain's phase has no plans any more. */
void mg_ffi_plan_clear(struct mg_vm *vm, int chain, int phase);
/* One more at its front: of that place (from 0). It has to live as long as vm. */
void mg_ffi_plan_step(struct mg_vm *vm, int chain, int phase, int place, struct mg_hook_plan *plan);

/* The lines of an entry of access-log, written for every request. Free it once; the records and
 * sinks have to live as long as it. */
struct mg_hook_plan *mg_ffi_log_plan(void);
void mg_ffi_log_plan_add(struct mg_hook_plan *plan, const struct mg_record *record,
                         struct mg_sink *sink);
void mg_ffi_log_plan_free(struct mg_hook_plan *plan);

/* What circuit-breaker does for most requests; one for each configuration, Lua's to free. */
struct mg_ffi_breaker_plan;
struct mg_ffi_breaker_plan *mg_ffi_breaker_plan(struct mg_vm *vm);
void mg_ffi_breaker_plan_free(struct mg_ffi_breaker_plan *plan);
/* Answers of the upstream with that status are failures. */
void mg_ffi_breaker_plan_fails(struct mg_ffi_breaker_plan *plan, int status);
/* The breaker that the requests of this one's route meet from now on, or NULL: none. */
void mg_ffi_breaker_plan_meet(struct mg_ffi_breaker_plan *plan, const struct mg_req *req,
                              struct mg_ffi_breaker *breaker);
/* The note for the access log of those that it admits in that state. */
void mg_ffi_breaker_plan_note(struct mg_ffi_breaker_plan *plan, const struct mg_req *req, int state,
                              const char *json, size_t len);
struct mg_hook_plan *mg_ffi_breaker_plan_of(struct mg_ffi_breaker_plan *plan, int phase);

/* What rate-limit does for most requests; one for each entry, Lua's to free. The set has to live as
 * long as it. */
enum { MG_FFI_MISSING_IP, MG_FFI_MISSING_SKIP, MG_FFI_MISSING_SHARED, MG_FFI_MISSING_DENY };
struct mg_ffi_limits_plan;
struct mg_ffi_limits_plan_form {
    double cost;
    int ipv4_bits, ipv6_bits;
    int missing;
    int enforces; /* else all limits only watch, and clients are told nothing */
};
struct mg_ffi_limits_plan *mg_ffi_limits_plan(struct mg_ffi_limits *limits,
                                              const struct mg_ffi_limits_plan_form *form);
void mg_ffi_limits_plan_free(struct mg_ffi_limits_plan *plan);
/* A key that limits, or the ban, share; its parts and limits follow. */
void mg_ffi_limits_plan_group(struct mg_ffi_limits_plan *plan, int is_ban, int shadow);
/* A part: the client's address; a text that mg_ffi_req_text knows, or what stands for it where it
 * is missing; a field of the request by name; nothing. counter: of mg_ffi_limits_part, or -1. */
enum {
    MG_FFI_PART_ADDRESS,
    MG_FFI_PART_TEXT,
    MG_FFI_PART_EACH,
    MG_FFI_PART_HEADER,
    MG_FFI_PART_CONST
};
void mg_ffi_limits_plan_part(struct mg_ffi_limits_plan *plan, int kind, int which, const char *name,
                             size_t len, int counter);
/* judged: its verdict is shown. */
void mg_ffi_limits_plan_limit(struct mg_ffi_limits_plan *plan, int index, int judged);
/* Names of three fields of the answer. */
void mg_ffi_limits_plan_triple(struct mg_ffi_limits_plan *plan, const char *limit,
                               const char *remaining, const char *reset);
struct mg_hook_plan *mg_ffi_limits_plan_of(struct mg_ffi_limits_plan *plan, int phase);
/* The last decision of the set, until it decides again. */
const struct mg_ffi_limit_verdict *mg_ffi_limits_verdict(const struct mg_ffi_limits *limits);
