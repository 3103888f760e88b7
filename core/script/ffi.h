/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Lua may call in C and what both may read: this file and, behind it, ffi_log.h and
 * ffi_plan.h, read by the C compiler and by ffi.cdef (lua/moongate/runtime/ffi.lua). Declarations
 * and comments only; no preprocessor, no include guard.
 *
 * Rules (architecture.md, 6): a function here is a leaf: it never enters Lua, blocks or jumps. No
 * struct by value, no varargs, no callbacks. In: pointer and length. Out: pointers to memory of the
 * request (or of the generation), valid until the request changes what they show. Returns int: 0 or
 * more, or a negative code of base/err.h. Definitions carry MG_FFI_EXPORT (script/export.h) and are
 * named mg_ffi_*. Each section belongs to one C file; append yours at its mark.
 */

struct mg_req;
struct mg_vm;
struct mg_shm;

/* A view of bytes, laid out as mg_str. For out-parameters: Lua keeps one permanent cdata and passes
 * it. */
struct mg_ffi_str {
    const char *ptr;
    size_t len;
};

/* ---- runtime (script/sched.c) -------------------------------------------------------------- */

/* Through this Lua knows what is running now. One per VM, at one address for its whole life. C
 * writes it before each resume; Lua writes turn, unwind, exited and dirty. */
struct mg_ffi_shared {
    int32_t slot;    /* pool place of the running request; -1 = none (timer, start) */
    uint32_t number; /* of the request in that place */
    int32_t phase;   /* enum mg_phase */
    int32_t turn;    /* whose turn it is: index of a plugin with its limits; 0 = none */
    uint32_t chain;  /* the running chain */
    int32_t unwind;  /* not 0: pcall and its kin raise again (enum mg_unwind) */
    int32_t exited;  /* turn of the last one that called response.exit in this run; 0: none has */
    int32_t skipped; /* bits of the chain's places that this request's consumer has no part in */
    int32_t dirty;   /* 1: Lua keeps tables for this request; it is told when the request ends */
    uint32_t task;   /* the running coroutine ... */
    uint32_t ticket; /* ... and its next wait: the two together name one wait for ever */
    int32_t exiting; /* 1: this generation is retired */
    int32_t loop_thread;    /* 1: on the loop; 0: modules are being loaded, nothing may wait */
    int32_t expression;     /* a value in Lua is computed: 1 and the ticks it has used; 0: no */
    struct mg_req *request; /* in that slot */
    struct mg_vm *vm;
};

/* The running coroutine is to be woken after ms with status 0; then call sched.wait().
 * MG_ECANCELLED outside a coroutine that may wait. */
int mg_ffi_sched_sleep(struct mg_vm *vm, double ms);
/* Wakes the wait {task, ticket} in the next loop turn with that status; nothing once it is over. */
int mg_ffi_sched_wake(struct mg_vm *vm, uint32_t task, uint32_t ticket, int status);
/* Starts a timer: in ms the runtime's function for its id runs in a coroutine of its own. Returns
 * the id, 1 or more; MG_EFULL over 16384 timers; MG_ECANCELLED when retired and ms > 0. */
int mg_ffi_sched_timer(struct mg_vm *vm, double ms);
int mg_ffi_sched_timer_stop(struct mg_vm *vm, int id); /* 0; MG_ENOT_FOUND: it has fired */
/* Loop time: wall clock in seconds with a fraction of ms (ngx.now). */
double mg_ffi_sched_now(struct mg_vm *vm);
void mg_ffi_sched_update_time(struct mg_vm *vm); /* takes the time anew (ngx.update_time) */

/* The running code was stopped inside a value in Lua (lua/moongate/expression.lua), which had used
 * its part of the CPU limit: the rest of the slice goes on. */
void mg_ffi_expression_forgive(struct mg_vm *vm);
void mg_ffi_expression_failed(struct mg_vm *vm, const char *plugin, const char *option);
/* A plugin's turn begins, and the one before is over: only where an access log shows plugin_ms. */
void mg_ffi_took(struct mg_req *req, int turn);
/* metrics (script/api_metrics.c); a series below 0 is -1 - that of __overflow__ */
struct mg_ffi_metric_def {
    const char *name, *help, *labels; /* names of labels with blanks between */
    int type, bound_count;            /* enum mg_metric_type */
    const double *bounds;
};
int mg_ffi_metric_open(struct mg_vm *vm, const struct mg_ffi_metric_def *def);
int mg_ffi_metric_series(struct mg_vm *vm, int metric, const struct mg_ffi_str *values);
void mg_ffi_metric_count(struct mg_vm *vm, int metric, int series, double value, int set);

/* ---- PDK: request, service.request (script/api*.c) ----------------------------------------- */

/*
 * What lua/moongate/pdk and lua/moongate/ngx ask of a live request, which is never NULL. Text comes
 * back as a view that lives until the request ends; of fields and chunks, until the next change:
 * Lua copies it at once. Where a comment names no other result, 1 = found or done, 0 = not.
 */

/* which text of the request; 0 is returned where there is none */
enum {
    MG_FFI_METHOD = 0, /* as the client sent it */
    MG_FFI_TARGET,     /* request target as sent */
    MG_FFI_PATH,       /* canonical */
    MG_FFI_RAW_PATH,   /* as sent */
    MG_FFI_QUERY,      /* without '?'; none when there was no '?' */
    MG_FFI_HOST,       /* lower case, no port */
    MG_FFI_PEER_IP,    /* of the connection */
    MG_FFI_CLIENT_IP,  /* by trusted_ips */
    MG_FFI_REQUEST_ID,
    MG_FFI_ROUTE_ID,
    MG_FFI_ROUTE_NAME,
    MG_FFI_SERVICE_ID,
    MG_FFI_SERVICE_NAME,
    MG_FFI_SERVICE_HOST,
    MG_FFI_PREFIX,    /* part of the path that the route's path took */
    MG_FFI_UP_METHOD, /* towards the upstream */
    MG_FFI_UP_PATH,   /* none before routing */
    MG_FFI_UP_QUERY,
    MG_FFI_UP_HOST,    /* value of the Host field, when a plugin set it */
    MG_FFI_HELD_BODY,  /* whole upstream body, when the answer is held */
    MG_FFI_BODY,       /* the client's, when it was read or replaced as a whole */
    MG_FFI_ANSWER,     /* body of an answer made here */
    MG_FFI_CHUNK,      /* of this body_filter round */
    MG_FFI_OUTCOME,    /* outcome word */
    MG_FFI_ENDED_BY,   /* plugin, or core */
    MG_FFI_CONSUMER,   /* what mg_ffi_req_consumer stored */
    MG_FFI_NOTE_LIMIT, /* JSON, left by policies */
    MG_FFI_NOTE_BREAKER
};
int mg_ffi_req_text(struct mg_req *req, int which, struct mg_ffi_str *out);

/* which number of the request; booleans are 0 and 1 */
enum {
    MG_FFI_MINOR = 0, /* of HTTP/1.x; -1: no request line could be read */
    MG_FFI_PEER_PORT,
    MG_FFI_SERVER_PORT,
    MG_FFI_CLIENT_PORT,
    MG_FFI_HOST_PORT, /* of the Host field, -1 = none */
    MG_FFI_PEER_TRUSTED,
    MG_FFI_HAS_QUERY,
    MG_FFI_CONNECTION_REQUESTS,
    MG_FFI_BODY_STATE, /* 0 unread, 1 reading, 2 whole */
    MG_FFI_CLIENT_GONE,
    MG_FFI_ROUTE_INDEX,  /* in the file's order, -1 = no route */
    MG_FFI_SERVICE_PORT, /* -1 = no service */
    MG_FFI_CAPTURES,     /* groups of the route's regex, the whole match included; 0 = none */
    MG_FFI_HTTPS_ONLY,   /* the route takes https and not http */
    MG_FFI_STRIP_PATH,   /* of the route */
    MG_FFI_STATUS,       /* 0: no answer yet */
    MG_FFI_UP_STATUS,    /* 0: the upstream did not answer */
    MG_FFI_SOURCE,       /* 0 none, 1 service, 2 exit, 3 error */
    MG_FFI_HEAD_SENT,
    MG_FFI_HELD,
    MG_FFI_CHUNK_LAST,
    MG_FFI_TRIES
};
int mg_ffi_req_int(struct mg_req *req, int which);

/* which measure of the request */
enum {
    MG_FFI_STARTED_MS = 0, /* wall clock, ms since the epoch */
    MG_FFI_TOTAL_MS,       /* the next four: durations in ms, -1 = it did not happen */
    MG_FFI_GATEWAY_MS,     /* total without the upstream's share */
    MG_FFI_UPSTREAM_MS,    /* first byte to the upstream until its head */
    MG_FFI_RECEIVE_MS,     /* the upstream's head until its last byte */
    MG_FFI_BYTES_IN,       /* bytes, heads included */
    MG_FFI_BYTES_OUT,
    MG_FFI_BODY_BYTES_IN,
    MG_FFI_BODY_BYTES_OUT,
    MG_FFI_RESPONSE_BUFFER, /* limits.response_buffer in force, bytes; 0 = unlimited */
    MG_FFI_CONNECTION_ID
};
double mg_ffi_req_measure(struct mg_req *req, int which);

/* A try at an upstream: target, then its status, 0 = none. */
int mg_ffi_req_try(struct mg_req *req, int index, struct mg_ffi_str *target, int *status);
/* Group of the route's regex; name is empty for an unnamed one. 0 when it took no part. */
int mg_ffi_req_capture(struct mg_req *req, int group, struct mg_ffi_str *name,
                       struct mg_ffi_str *value);

/* which table of fields */
enum { MG_FFI_REQUEST = 0, MG_FFI_RESPONSE = 1, MG_FFI_UPSTREAM = 2 };
int mg_ffi_fields_count(struct mg_req *req, int table);
int mg_ffi_fields_at(struct mg_req *req, int table, int index, struct mg_ffi_str *name,
                     struct mg_ffi_str *value);
/* First field with the name at or after index from, blind to case and with '_' equal to '-': its
 * index + 1. Before there is an answer the response table shows what was asked for it. */
int mg_ffi_fields_find(struct mg_req *req, int table, const char *name, size_t len, int from,
                       struct mg_ffi_str *value);

/* Setters of text refuse what cannot stand in a head: MG_FFI_BAD_NAME, MG_FFI_BAD_VALUE. */
enum { MG_FFI_BAD_NAME = -1, MG_FFI_BAD_VALUE = -2, MG_FFI_TOO_LATE = -3 };
/* kind: 0 set, 1 add, 2 clear */
enum { MG_FFI_SET = 0, MG_FFI_ADD = 1, MG_FFI_CLEAR = 2 };
/* Could mg_ffi_response_field and mg_ffi_request_field do it? 1 or a refusal. */
int mg_ffi_field_check(const char *name, size_t name_len, const char *value, size_t value_len);
/* The answer's fields; recorded when there is no answer yet. MG_FFI_TOO_LATE after the head. */
int mg_ffi_response_field(struct mg_req *req, int kind, const char *name, size_t name_len,
                          const char *value, size_t value_len);
/* The fields that go to the upstream; Host becomes the upstream's Host field. */
int mg_ffi_request_field(struct mg_req *req, int kind, const char *name, size_t name_len,
                         const char *value, size_t value_len);

/* Arguments of a query or form: finds the one that begins at offset `at` (0 first). Name and value
 * are as sent; has_value is 0 for a bare key. Returns the offset of the next one, 0 at the end. */
struct mg_ffi_arg {
    struct mg_ffi_str name, value;
    int has_value, escaped; /* escaped: decoding would change name or value */
};
int mg_ffi_args_next(const char *text, size_t len, int at, struct mg_ffi_arg *out);
/* First argument with that (decoded) name. */
int mg_ffi_args_find(const char *text, size_t len, const char *name, size_t name_len,
                     struct mg_ffi_arg *out);
/* Decodes %XX, and '+' as a space, into out (len bytes of room); bad escapes stay. Returns the
 * length. */
int mg_ffi_uri_unescape(const char *text, size_t len, char *out);
/* Escapes all but unreserved characters into out (3 * len bytes of room). Returns the length. */
int mg_ffi_uri_escape(const char *text, size_t len, char *out);

/* Towards the upstream. */
/* known, not CONNECT, TRACE */
int mg_ffi_up_method(struct mg_req *req, const char *method, size_t len);
int mg_ffi_up_path(struct mg_req *req, const char *path, size_t len);   /* made canonical */
int mg_ffi_up_query(struct mg_req *req, const char *query, size_t len); /* empty: no query */
int mg_ffi_up_target(struct mg_req *req, const char *host, size_t len, int port);
int mg_ffi_up_upstream(struct mg_req *req, const char *name, size_t len); /* 0: no such upstream */
int mg_ffi_up_retries(struct mg_req *req, int retries);
int mg_ffi_up_timeouts(struct mg_req *req, int connect_ms, int write_ms, int read_ms);
int mg_ffi_up_buffer(struct mg_req *req); /* hold the whole answer */
int mg_ffi_req_set_body(struct mg_req *req, const char *body, size_t len);
/* Reads the whole request body: 1 there, 0 wait (the request is resumed once), else a refusal. */
enum { MG_FFI_BODY_UNBUFFERED = -1, MG_FFI_BODY_TOO_LARGE = -2, MG_FFI_BODY_FAILED = -3 };
int mg_ffi_req_read_body(struct mg_req *req);
int mg_ffi_req_body_result(struct mg_req *req, int status); /* the same, of the status waited for */
/* The consumer's name for the log, its id for balancing. */
int mg_ffi_req_consumer(struct mg_req *req, const char *name, size_t name_len, const char *id,
                        size_t id_len);

/* The answer. */
int mg_ffi_response_status(struct mg_req *req, int status); /* 0: there is no answer yet */
/* Makes the answer: status and body; fields come after it. MG_FFI_TOO_LATE after the head. */
int mg_ffi_response_exit(struct mg_req *req, int status, const char *body, size_t len);
/* Adds to the body of an answer that mg_ffi_response_exit made empty. */
int mg_ffi_response_append(struct mg_req *req, const char *text, size_t len);
const char *mg_ffi_status_reason(int status); /* "" for an unknown one */
/* body_filter: replaces this round's chunk, 0 when it is over a cap; and its end flag. */
int mg_ffi_chunk_set(struct mg_req *req, const char *chunk, size_t len);
int mg_ffi_chunk_last(struct mg_req *req, int last);
int mg_ffi_chunk_hold(struct mg_req *req); /* the head waits for the end of the body */
/* The body is larger than a plugin may collect: the request ends with that, whatever it does. */
int mg_ffi_chunk_over(struct mg_req *req, const char *plugin, size_t len);

/* The node. Each writes to out (room bytes) and returns the length, 0 on failure. */
int mg_ffi_node_hostname(char *out, size_t room);
int mg_ffi_node_id(char *out, size_t room); /* UUID made from the machine's id; 36 bytes */
/* Is the address inside gateway.trusted_ips? */
int mg_ffi_ip_is_trusted(struct mg_vm *vm, const char *ip, size_t len);
int mg_ffi_process_id(void);
const char *mg_ffi_version(void);       /* of the gateway, "0.1.0" */
int mg_ffi_worker_id(struct mg_vm *vm); /* 0 to count - 1 */
int mg_ffi_worker_count(struct mg_vm *vm);
/* Client connections and requests of all workers. */
struct mg_ffi_statistics {
    double active, idle, accepted, requests, requests_active;
};
int mg_ffi_node_statistics(struct mg_vm *vm, struct mg_ffi_statistics *out);
/* The error log. level as in syslog: 0 emerg, 3 err, 5 notice, 7 debug. component: who speaks. */
int mg_ffi_log_enabled(struct mg_vm *vm, int level);
int mg_ffi_log_write(struct mg_vm *vm, int level, const char *component, const char *text,
                     size_t len);

/* Random bytes that nobody can foretell, at most 16. */
int mg_ffi_random(char *out, size_t len);

/* PCRE2 with limits. NULL with a sentence in message. Free it once. */
struct mg_regex;
struct mg_regex *mg_ffi_regex_new(const char *pattern, size_t len, int caseless, char *message,
                                  size_t room);
void mg_ffi_regex_free(struct mg_regex *regex);
/* groups: room for 16. How many groups matched, the whole match included; 0 = no match; a negative
 * error over the match limit. A group that took no part has ptr NULL. */
int mg_ffi_regex_exec(struct mg_vm *vm, const struct mg_regex *regex, const char *subject,
                      size_t len, struct mg_ffi_str *groups);

/* ---- policies: limiter, breaker (script/api_limit.c, script/api_breaker.c) ------------------- */

/* Outcome words as numbers of enum mg_outcome; -1: there is no such word. */
int mg_ffi_outcome_of(const char *word, size_t len);
int mg_ffi_req_outcome(const struct mg_req *req);
/* Why the request ends as it does; before response.exit, which keeps it. */
int mg_ffi_req_set_outcome(struct mg_req *req, int outcome);
/* Notes for the access log, JSON objects. */
int mg_ffi_req_note_breaker(struct mg_req *req, const char *json, size_t len);
/* The exchange with the upstream is cut when its response head is not there in ms, and the request
 * ends with 503 and that outcome; 0 = no such limit. */
int mg_ffi_up_head_timeout(struct mg_req *req, double ms, int outcome);

/* Several limits that are decided together: one for each entry of the plugin, Lua's to free.
 * They count in the memory that all workers share. */
struct mg_ffi_limits;
struct mg_ffi_limit_rule {
    int algorithm; /* 0 fixed-window, 1 sliding-window, 2 token-bucket, 3 gcra, 4 concurrency, 5
                    * leaky-bucket */
    int align_first, shadow;
    int calendar; /* 0 none, 1 month, 2 year: the window of a fixed-window */
    double quota, window_ms, burst, max_delay_ms, max_keys;
};
struct mg_ffi_ban_rule {
    int extend;
    double after, within_ms, for_ms, factor, max_ms, forget_ms, max_keys;
};
/* Right after a decision. */
struct mg_ffi_limit_answer {
    int asked; /* took part: the others are of an earlier decision */
    int ok, too_big, overflow;
    double quota; /* in force; ten times the rule's in an overflow cell */
    double remaining, reset_ms, retry_ms, delay_ms;
};
struct mg_ffi_limit_verdict {
    int admitted;
    int banned;    /* it was banned before: no limit was looked at */
    int ban_began; /* with this denial */
    double ban_ms; /* time left of the ban */
    double delay_ms;
};
struct mg_ffi_limits *mg_ffi_limits_new(struct mg_vm *vm); /* NULL: there is no shared memory */
void mg_ffi_limits_free(struct mg_ffi_limits *limits);
/* identity: what makes its counters its own. Its index (0 to 15), or a negative error. */
int mg_ffi_limits_add(struct mg_ffi_limits *limits, const struct mg_ffi_limit_rule *rule,
                      const char *identity, size_t identity_len, const char *name, size_t name_len);
const struct mg_ffi_limit_answer *mg_ffi_limits_answer(const struct mg_ffi_limits *limits,
                                                       int index);
/* Bans keys that are denied too often; as mg_ffi_limits_add. Once for a set. */
int mg_ffi_limits_ban(struct mg_ffi_limits *limits, const struct mg_ffi_ban_rule *rule,
                      const char *identity, size_t identity_len, const char *name, size_t name_len);
/* Denied requests are charged too, up to the quota. */
void mg_ffi_limits_count_denied(struct mg_ffi_limits *limits);
/* The key of the request: begin, its parts in order, then use it for one limit or more. A tag keeps
 * parts of different meaning apart; 1 or more. */
void mg_ffi_limits_key(struct mg_ffi_limits *limits);
void mg_ffi_limits_text(struct mg_ffi_limits *limits, int tag, const char *text, size_t len);
/* The client's address under prefixes of so many bits; as text where it is no IP address. */
void mg_ffi_limits_address(struct mg_ffi_limits *limits, int tag, struct mg_req *req, int ipv4_bits,
                           int ipv6_bits);
/* cost: units, 0 = checked only. quota: of this request, 0 denies; negative: the rule's. */
void mg_ffi_limits_use(struct mg_ffi_limits *limits, int index, double cost, double quota);
/* The key that was made is the ban's. */
void mg_ffi_limits_use_ban(struct mg_ffi_limits *limits);
/* Decides on the limits that were given a key since the last decision, and charges all or none.
 * What is held is given back when the request ends. Valid until the set decides again. */
const struct mg_ffi_limit_verdict *mg_ffi_limits_take(struct mg_ffi_limits *limits,
                                                      struct mg_req *req);
/* A Redis that limits are counted in; Lua's to release. All it holds and owes goes on. */
struct mg_redis;
struct mg_limit_store;
struct mg_ffi_limit_store_options {
    struct mg_ffi_str prefix, script;
    int tag_is_prefix;
    double timeout_ms, hold_ttl_ms, instances; /* instances: 0 = those that are alive */
};
/* Decisions without Redis: before it is told (interval_ms), or of units that were charged there
 * before (lease_ttl_ms); both 0: there are none. */
struct mg_ffi_limit_mode {
    double interval_ms, over_admit_permille;
    int asks_before_denial; /* before it is told: only Redis denies */
    double lease_ttl_ms, lease_permille;
};
struct mg_limit_store *mg_ffi_limit_store_new(struct mg_vm *vm, struct mg_redis *redis,
                                              const struct mg_ffi_limit_store_options *options);
void mg_ffi_limit_store_release(struct mg_limit_store *store);
/* Before limits are added: they are counted there. learns: for decisions alone. */
void mg_ffi_limits_store(struct mg_ffi_limits *limits, struct mg_limit_store *store, int learns,
                         const struct mg_ffi_limit_mode *mode);
/* The name of a limit's counters; -1: of the ban's. */
void mg_ffi_limits_counter(struct mg_ffi_limits *limits, int index, const char *name, size_t len);
/* With a store, after a key was made and before it is used. parts: what it is made of. */
void mg_ffi_limits_hash(struct mg_ffi_limits *limits, const char *parts, size_t len);
/* As mg_ffi_limits_take, in three steps: what was asked, in memory of the request (NULL: nothing);
 * 0 where the answer is to be waited for; the verdict, or NULL where the store has failed. */
struct mg_ffi_limit_call;
struct mg_ffi_limit_call *mg_ffi_limits_ask(struct mg_ffi_limits *limits, struct mg_req *req);
int mg_ffi_limits_send(struct mg_ffi_limit_call *call);
const struct mg_ffi_limit_verdict *mg_ffi_limits_reply(struct mg_ffi_limit_call *call);
/* Then: looks at the ban alone, and (how) 0 denies, 1 admits; 2: decides by the host's part. */
const struct mg_ffi_limit_verdict *mg_ffi_limits_alone(struct mg_ffi_limit_call *call, int how);
/* What the last decision charged, to be settled when the request's true cost is known; memory of
 * the request. If the request ends before that, all is given back. NULL: nothing was charged. */
struct mg_ffi_charges;
struct mg_ffi_charges *mg_ffi_limits_charges(struct mg_ffi_limits *limits, struct mg_req *req);
/* The cost was `cost` units, not what was charged: 0 gives all back; negative: it was right.
 * Returns how many charges could not be corrected: their window has passed. */
int mg_ffi_charges_settle(struct mg_ffi_charges *charges, double cost);
/* Leaves the note for the access log: of that limit, with shadow limits that would have denied.
 * index -1: of none, since the request was not counted. */
int mg_ffi_limits_note(struct mg_ffi_limits *limits, struct mg_req *req, int index,
                       const char *decision, size_t len);
/* Sets a field of the answer to a whole number from 0 on; as mg_ffi_response_field. */
int mg_ffi_limits_field(struct mg_req *req, const char *name, size_t len, double number);
/* A list of address ranges (CIDR), Lua's to free: add texts, then ask for clients. -1: no range. */
struct mg_ffi_ranges;
struct mg_ffi_ranges *mg_ffi_ranges_new(void);
void mg_ffi_ranges_free(struct mg_ffi_ranges *ranges);
int mg_ffi_ranges_add(struct mg_ffi_ranges *ranges, const char *text, size_t len);
int mg_ffi_ranges_has_client(const struct mg_ffi_ranges *ranges, struct mg_req *req);
/* Opens the count of requests without that part of a limit's key; for the next one. */
int mg_ffi_limits_part(struct mg_ffi_limits *limits, const char *policy, size_t policy_len,
                       const char *part, size_t part_len);
/* A key part resolved to nothing; counter: of mg_ffi_limits_part, or -1. */
void mg_ffi_limits_missing(struct mg_ffi_limits *limits, int counter);
struct mg_ffi_sleep;
/* The request is to wait so long for its turn; NULL: 10,000 of the worker do. Its end ends that
 * too. */
struct mg_ffi_sleep *mg_ffi_limits_sleep(struct mg_ffi_limits *limits, struct mg_req *req,
                                         double ms);
void mg_ffi_limits_wake(struct mg_ffi_sleep *sleep);

struct mg_ffi_breaker; /* Lua's to free; the state is common to all workers */
struct mg_ffi_breaker_rule {
    int by_count, buckets, window_calls, min_requests, consecutive, probes, probe_results, shadow,
        slow_until_end, max_keys;
    double window_ms, failure_percent, network_percent, slow_percent, slow_over_ms, open_base_ms,
        open_factor, open_max_ms, open_jitter_percent, probe_success_percent, ramp_ms;
};
/* Of the last call; changed: it brought about a transition; unheard: of ask, see heard. */
struct mg_ffi_breaker_answer {
    int state, probe, unheard, changed, from, to, reason, n, key;
    double retry_ms, open_ms, total, failures, network, slow;
};
/* NULL: there is no shared memory, or no room (*error is a negative code). */
struct mg_ffi_breaker *mg_ffi_breaker_new(struct mg_vm *vm, const struct mg_ffi_breaker_rule *rule,
                                          const char *name, size_t len, int *error);
void mg_ffi_breaker_free(struct mg_ffi_breaker *breaker);
const struct mg_ffi_breaker_answer *mg_ffi_breaker_answer(const struct mg_ffi_breaker *breaker);
const char *mg_ffi_breaker_state_name(int state);
const char *mg_ffi_breaker_reason_name(int reason);
/* May the request go on? 1 or 0. A slot it takes is given back when the request ends. key: NULL, or
 * the set with the request's key, for the breaker of that key. */
int mg_ffi_breaker_ask(struct mg_ffi_breaker *breaker, struct mg_req *req,
                       const struct mg_ffi_limits *key);
int mg_ffi_breaker_waits(const struct mg_req *req); /* 1: admitted, and without a result */
/* The result (enum mg_breaker_result) of a request that waits; 1: it counted. A later failure of
 * the same request (its body) counts too, with again = 1. */
int mg_ffi_breaker_result(struct mg_ffi_breaker *breaker, struct mg_req *req, int result,
                          int again);
/* The request is over. 1: it was slow until its end, where that is asked for. */
int mg_ffi_breaker_end(struct mg_ffi_breaker *breaker, struct mg_req *req);
/* 1: somebody has switched it by hand, and no other worker was told: from, to, reason. */
int mg_ffi_breaker_heard(struct mg_ffi_breaker *breaker);

/* ---- HTTP client --------------------------------------------------------------------------- */

/* A plugin's request to another service (script/api_http.c). It is Lua's: free it once, waiting or
 * not. */
struct mg_ffi_http;
struct mg_ffi_http_ask {
    struct mg_ffi_str host, method, path, host_field, body;
    int port, tls;                   /* tls: 0 plain, 1 verified, 2 not verified */
    double timeout_ms, keepalive_ms; /* 0: none; close afterwards */
};
struct mg_ffi_http *mg_ffi_http_new(struct mg_vm *vm); /* NULL where nothing can wait */
void mg_ffi_http_free(struct mg_ffi_http *http);
/* 1, MG_FFI_BAD_NAME or MG_FFI_BAD_VALUE */
int mg_ffi_http_field(struct mg_ffi_http *http, const char *name, size_t name_len,
                      const char *value, size_t value_len);
/* 0: call sched.wait(), whose result is 0 or an error; a negative error: there is nothing to wait
 * for. */
int mg_ffi_http_start(struct mg_ffi_http *http, const struct mg_ffi_http_ask *ask);
/* The answer; lives until the call is freed. */
int mg_ffi_http_status(struct mg_ffi_http *http);
int mg_ffi_http_at(struct mg_ffi_http *http, int index, struct mg_ffi_str *name,
                   struct mg_ffi_str *value);
int mg_ffi_http_body(struct mg_ffi_http *http, struct mg_ffi_str *out);
/* Why TLS failed, when it has: 1. */
int mg_ffi_http_reason(struct mg_ffi_http *http, struct mg_ffi_str *out);
const char *mg_ffi_err_text(int err); /* of base/err.h; static */

/* ---- Redis --------------------------------------------------------------------------------- */

/* Commands to Redis (script/api_redis.c). An instance, a script and a batch are Lua's: give each
 * back once. */
struct mg_redis_script;
struct mg_ffi_redis_batch; /* commands that are sent together, and their replies */
struct mg_ffi_redis_node {
    struct mg_ffi_str host; /* or unix:/path */
    int port;
};
struct mg_ffi_redis_options {
    struct mg_ffi_str name, username, password, master, sentinel_username, sentinel_password;
    struct mg_ffi_str server_name, ca, cert, key; /* the last three are PEM */
    int use_tls, no_verify;
    const struct mg_ffi_redis_node *nodes;
    int topology; /* 0 single, 1 sentinel, 2 cluster */
    int node_count, database, connections, max_pending, failures;
    double timeout_ms, connect_timeout_ms, within_ms, open_ms, max_ms;
};
/* Can the PEM texts be used for TLS? Empty: not given. 1, or 0 with a sentence in message. */
int mg_ffi_tls_check(const struct mg_ffi_str *ca, const struct mg_ffi_str *cert,
                     const struct mg_ffi_str *key, char *message, size_t room);
/* The instance with these options, shared with whoever has the same; it begins to connect. NULL
 * where nothing can wait. */
struct mg_redis *mg_ffi_redis_hold(struct mg_vm *vm, const struct mg_ffi_redis_options *options);
void mg_ffi_redis_release(struct mg_redis *redis);
struct mg_redis_script *mg_ffi_redis_script(struct mg_vm *vm, const char *source, size_t len);
void mg_ffi_redis_script_release(struct mg_redis_script *script);
struct mg_ffi_redis_batch *mg_ffi_redis_batch(struct mg_vm *vm, struct mg_redis *redis,
                                              int commands);
/* Cancels what was not answered. */
void mg_ffi_redis_free(struct mg_ffi_redis_batch *batch);
/* The next word of the command that is being written (copied); then the command ends. script may be
 * NULL; of its words the first key_count are keys. 0: more commands than were said. */
void mg_ffi_redis_word(struct mg_ffi_redis_batch *batch, const char *text, size_t len);
int mg_ffi_redis_command(struct mg_ffi_redis_batch *batch, struct mg_redis_script *script,
                         int key_count);
/* Sends all. 0: call sched.wait(), until all are over; else there is nothing to wait for.
 * timeout_ms of each, 0: the instance's. */
int mg_ffi_redis_start(struct mg_ffi_redis_batch *batch, double timeout_ms);
/* What became of a command: enum mg_redis_result, 0 = a reply that is no error. */
int mg_ffi_redis_result(const struct mg_ffi_redis_batch *batch, int command);
const char *mg_ffi_redis_word_of(int result); /* "timeout"; static */
/* The same of the text of an error reply. */
const char *mg_ffi_redis_class(const char *text, size_t len);
/* A node of its reply, in the order of the wire; an array is followed by its elements. text lives
 * as long as the batch. 0: there is no such node. */
enum {
    MG_FFI_REDIS_NIL = 0,
    MG_FFI_REDIS_INTEGER,
    MG_FFI_REDIS_STRING,
    MG_FFI_REDIS_STATUS,
    MG_FFI_REDIS_ERROR,
    MG_FFI_REDIS_ARRAY
};
struct mg_ffi_redis_value {
    int type;
    double number; /* of an integer; elements of an array */
    struct mg_ffi_str text;
};
int mg_ffi_redis_value(const struct mg_ffi_redis_batch *batch, int command, int node,
                       struct mg_ffi_redis_value *out);

/* ---- test harness (core/test_gateway.c) ---------------------------------------------------- */

/* A gateway under test on a loop of its own, for `moongate test` only: called from the tests'
 * state, whose compiler is off, so these may run the loop and with it the gateway's Lua. Texts
 * given out live until the next call for the same thing. */
struct mg_test;
struct mg_test_stream; /* the test's end of a connection */
struct mg_ffi_test_ask {
    const char *lua_path, *plugins_path, *ffi_header;
    const char *name; /* of its abstract sockets */
    int is_virtual;   /* its clock stands still until advanced; starts at wall_ms */
    double wall_ms;
};
struct mg_ffi_test_ended { /* a request */
    double connection;     /* as mg_ffi_test_connect said */
    int status;
    const char *outcome;
    struct mg_ffi_str route, request_id, ended_by;
    struct mg_ffi_str plugins; /* names in its chain, with blanks between */
};
/* A request that has ended and was not told of, or NULL. */
const struct mg_ffi_test_ended *mg_ffi_test_next_ended(struct mg_test *test);
struct mg_test *mg_ffi_test_open(const struct mg_ffi_test_ask *ask);
void mg_ffi_test_close(struct mg_test *test);
void mg_ffi_test_setenv(const char *name, const char *value); /* NULL: not set */
/* Checks the text (its name is for messages and relative paths) and starts to build a generation.
 * 0: turn the loop until is_building is 0; then the generation's number has changed, or the report
 * says why not. Negative: the report says why. */
int mg_ffi_test_load(struct mg_test *test, const char *file, const char *text, size_t len);
int mg_ffi_test_is_building(const struct mg_test *test);
double mg_ffi_test_generation(const struct mg_test *test);
void mg_ffi_test_report(const struct mg_test *test, struct mg_ffi_str *out);
void mg_ffi_test_metrics(struct mg_test *test, struct mg_ffi_str *out); /* of /metrics */
/* Lines of the error log since the last call. */
void mg_ffi_test_log(struct mg_test *test, struct mg_ffi_str *out);
/* Does what is ready, without waiting; 1: something happened. */
int mg_ffi_test_turn(struct mg_test *test);
/* Sleeps in real time until the loop has something to do or ms have passed. */
int mg_ffi_test_wait(struct mg_test *test, int ms);
int mg_ffi_test_is_busy(const struct mg_test *test);    /* work outside the loop is under way */
double mg_ffi_test_now_ms(const struct mg_test *test);  /* monotonic */
double mg_ffi_test_next_ms(const struct mg_test *test); /* the next deadline; -1: none */
void mg_ffi_test_advance(struct mg_test *test, double ms);
/* A client's connection from that address; NULL while nothing is served. */
struct mg_test_stream *mg_ffi_test_connect(struct mg_test *test, const char *ip,
                                           double *connection);
/* An upstream's connection the test has not seen, or NULL. */
struct mg_test_stream *mg_ffi_test_accept(struct mg_test *test);
int mg_ffi_test_write(struct mg_test_stream *stream, const char *bytes, size_t len);
/* What came and is not consumed; 0, or negative when no more comes. */
int mg_ffi_test_read(struct mg_test_stream *stream, struct mg_ffi_str *out);
void mg_ffi_test_consume(struct mg_test_stream *stream, size_t len);
void mg_ffi_test_close_stream(struct mg_test_stream *stream);
