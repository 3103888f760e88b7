/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Lua may call in C and what both may read: one file, read by the C compiler and by ffi.cdef
 * (lua/moongate/runtime/ffi.lua). Declarations and comments only; no preprocessor, no include guard.
 *
 * Rules (architecture.md, 6): a function here is a leaf: it never enters Lua, blocks or jumps. No struct
 * by value, no varargs, no callbacks. In: pointer and length. Out: pointers to memory of the request (or
 * of the generation), valid until the request changes what they show. Returns int: 0 or more, or a
 * negative code of base/err.h. Definitions carry MG_FFI_EXPORT (script/export.h) and are named mg_ffi_*.
 * Each section belongs to one C file; append yours at its mark.
 */

struct mg_req;
struct mg_vm;
struct mg_shm;

/* A view of bytes, laid out as mg_str. For out-parameters: Lua keeps one permanent cdata and passes it. */
struct mg_ffi_str {
    const char *ptr;
    size_t len;
};

/* ---- runtime (script/sched.c) -------------------------------------------------------------- */

/* Through this Lua knows what is running now. One per VM, at one address for its whole life. C writes it
 * before each resume; Lua writes turn, unwind, exited and dirty. */
struct mg_ffi_shared {
    int32_t slot;    /* pool place of the running request; -1 = none (timer, start) */
    uint32_t number; /* of the request in that place */
    int32_t phase;   /* enum mg_phase */
    int32_t turn;    /* whose turn it is: index of a plugin with its limits; 0 = none */
    uint32_t chain;  /* the running chain */
    int32_t unwind;  /* not 0: pcall and its kin raise again (enum mg_unwind) */
    int32_t exited;  /* 1: response.exit was called in this run */
    int32_t dirty;   /* 1: Lua keeps tables for this request; it is told when the request ends */
    uint32_t task;   /* the running coroutine ... */
    uint32_t ticket; /* ... and its next wait: the two together name one wait for ever */
    int32_t exiting; /* 1: this generation is retired */
    int32_t loop_thread; /* 1: on the loop; 0: modules are being loaded, nothing may wait */
    struct mg_req *request; /* in that slot */
    struct mg_vm *vm;
};

/* The running coroutine is to be woken after ms with status 0; then call sched.wait(). MG_ECANCELLED
 * outside a coroutine that may wait. */
int mg_ffi_sched_sleep(struct mg_vm *vm, double ms);
/* Wakes the wait {task, ticket} in the next loop turn with that status; no effect when it is over. */
int mg_ffi_sched_wake(struct mg_vm *vm, uint32_t task, uint32_t ticket, int status);
/* Starts a timer: in ms the runtime's function for its id runs in a coroutine of its own. Returns the id,
 * 1 or more; MG_EFULL over 16384 timers; MG_ECANCELLED in a retired generation when ms > 0. */
int mg_ffi_sched_timer(struct mg_vm *vm, double ms);
/* 0, or MG_ENOT_FOUND when it has fired. */
int mg_ffi_sched_timer_stop(struct mg_vm *vm, int id);
/* Loop time: wall clock in seconds with a fraction of ms (ngx.now), and monotonic milliseconds. */
double mg_ffi_sched_now(struct mg_vm *vm);
double mg_ffi_sched_monotonic_ms(struct mg_vm *vm);
/* Takes the real time anew (ngx.update_time). */
void mg_ffi_sched_update_time(struct mg_vm *vm);

/* ---- end of runtime ------------------------------------------------------------------------ */

/* ---- PDK: request, service.request (script/api*.c) ----------------------------------------- */
/* ---- end of PDK ---------------------------------------------------------------------------- */

/* ---- policies: limiter, breaker (script/limit.c, script/breaker.c) -------------------------- */
/* ---- end of policies ----------------------------------------------------------------------- */

/* ---- log ----------------------------------------------------------------------------------- */
/* ---- end of log ---------------------------------------------------------------------------- */

/* ---- HTTP client --------------------------------------------------------------------------- */
/* ---- end of HTTP client -------------------------------------------------------------------- */
