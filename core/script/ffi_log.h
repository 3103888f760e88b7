/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second part of ffi.h, under the same rules: the access log (script/api_log.c,
 * lua/moongate/access_log.lua). What a line shows, and where it goes; both are made in `configure`
 * and belong to Lua: free them once.
 */
struct mg_record;
struct mg_sink;
struct mg_ffi_log_form {
    int form;      /* 0 JSON, 1 combined, 2 template */
    int client_ip; /* 0 full, 1 prefix, 2 hash, 3 none */
    int action;    /* with secrets: 0 mask, 1 hash, 2 remove */
    double line_bytes;
    struct mg_ffi_str hash_key;         /* empty = random, the same in all workers */
    double request_body, response_body; /* bytes that are shown, 0 = none */
    struct mg_ffi_str body_types;       /* of those, each with a blank behind it */
};
struct mg_record *mg_ffi_log_record(struct mg_vm *vm, const struct mg_ffi_log_form *form);
void mg_ffi_log_record_free(struct mg_record *record);
/* Secrets, before the fields: name of an argument (0) or of a header (1). 0: bad name. */
int mg_ffi_log_hide(struct mg_record *record, int is_header, const char *name, size_t len);
/* A field by name; 0: there is none of that name in this form. */
int mg_ffi_log_field(struct mg_record *record, const char *name, size_t len, const char *fallback,
                     size_t fallback_len);
void mg_ffi_log_literal(struct mg_record *record, const char *text, size_t len);
void mg_ffi_log_constant(struct mg_record *record, const char *key, size_t len, const char *json,
                         size_t json_len);
struct mg_ffi_log_target {
    int kind; /* 0 stdout, 1 stderr, 2 file, 3 datagrams, 4 TCP, 5 HTTP, 6 taken */
    struct mg_ffi_str path;
    int mode;
    double reopen_ms, queue_bytes, queue_entries; /* of this worker */
    int drop_newest;
    /* over the network; net/sink_settings.h says what they mean */
    struct mg_ffi_str name, host, tag, method, target, host_field, headers, content_type;
    struct mg_ffi_str server_name, ca, cert, key; /* of tls */
    int tls, no_verify;
    int port, syslog, facility, encoding, gzip;
    double connect_ms, timeout_ms, first_ms, max_ms, for_ms, batch, flush_ms, keepalive_ms;
};
/* The sink with these settings, shared with other entries and generations. NULL with a sentence. */
struct mg_sink *mg_ffi_log_sink(struct mg_vm *vm, const struct mg_ffi_log_target *target,
                                char *message, size_t room);
void mg_ffi_log_sink_free(struct mg_sink *sink);
/* What decides whether a request gets a line. */
struct mg_ffi_log_about {
    int status;
    int denied; /* a policy said no */
    double total_ms;
    double share; /* 0 .. 1 by a hash of the trace id: the same on every host */
    struct mg_ffi_str outcome;
};
void mg_ffi_log_about(struct mg_req *req, struct mg_ffi_log_about *out);
/* Is there an outcome of that name? */
int mg_ffi_log_is_outcome(const char *word, size_t len);
/* A request gets no line, for `when` (0) or `sample` (1). */
void mg_ffi_log_filtered(struct mg_vm *vm, int reason);
/* The record of the request as JSON text, redacted, for expressions; until the next call. */
void mg_ffi_log_text(struct mg_req *req, const struct mg_record *record, struct mg_ffi_str *out);
/* The text as it may be shown: what looks like a secret argument is taken out. */
void mg_ffi_log_clean(struct mg_req *req, const struct mg_record *record, const char *text,
                      size_t len, struct mg_ffi_str *out);
/* Writes the line of the request; returns its length. members: further ones of JSON, each with a
 * comma before it. severity is for syslog (0 .. 7). */
int mg_ffi_log_line(struct mg_req *req, const struct mg_record *record, struct mg_sink *sink,
                    const char *members, size_t len, int severity);
/* Of the kind taken: lines that wait, each with its LF, until mg_ffi_log_taken; 0: there are none
 * to be delivered now. */
int mg_ffi_log_take(struct mg_sink *sink, struct mg_ffi_str *lines);
/* They were delivered, or (0) are to come again. */
void mg_ffi_log_taken(struct mg_sink *sink, int delivered);
/* Lines so far: written, dropped, queued. */
void mg_ffi_log_counts(const struct mg_sink *sink, double counts[3]);
