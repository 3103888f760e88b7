/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is counted for a request. A route or service has its words from its first request on; the
 * counters by code and outcome are found in a little table of those that came last, and only what
 * is not in there is looked up.
 */
#include "model/meter.h"

#include "base/shm_metrics.h"

#include <stdio.h>
#include <stdlib.h>

#define BOUNDS 14
#define RECENT 8 /* counters a route remembers; a power of two */
#define NO_ROUTE "_none"
#define LIMIT_NOTE 80     /* bytes of a note of rate-limit: {"decision":"denied","name":"minute" */
#define UPSTREAM_TEXT 272 /* a host name and a port */
#define SELDOM __attribute__((noinline, cold)) /* kept out of the way of what every request does */
/* A host that may be any; as model/peer calls it. */
#define BY_PLUGIN "(chosen by a plugin)"

/* microseconds */
static const double bounds[BOUNDS] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
                                      100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};
/* Between one power of two and the next there is at most one bound: for each power from
 * 2^8 on, the first bound that is not below it; the last entry is for all above. */
static const uint32_t whole_bounds[BOUNDS] = {500,     1000,    2500,    5000,    10000,
                                              25000,   50000,   100000,  250000,  500000,
                                              1000000, 2500000, 5000000, 10000000};
#define FIRST_POWER 8
#define LAST_POWER 24
static const uint8_t first_bound[LAST_POWER - FIRST_POWER + 1] = {0, 1, 2,  2,  3,  4,  5,  6, 7,
                                                                  8, 9, 10, 11, 11, 12, 13, 14};

enum metric {
    REQUESTS,
    DURATION,
    GATEWAY_DURATION,
    BYTES_IN,
    BYTES_OUT,
    UPSTREAM_REQUESTS,
    UPSTREAM_DURATION,
    UPSTREAM_CONNECT,
    LIMIT_DECISIONS,
    METRIC_COUNT
};

static const char *const request_labels[] = {"route", "method", "code", "outcome"};
static const char *const route_labels[] = {"route"};
static const char *const try_labels[] = {"upstream", "code", "outcome"};
static const char *const limit_labels[] = {"route", "policy", "decision"};
static const char *const upstream_labels[] = {"upstream"};

struct definition {
    const char *name, *help;
    bool is_histogram;
    const char *const *labels;
    uint32_t label_count;
};

static const struct definition definitions[METRIC_COUNT] = {
    [REQUESTS] = {"moongate_http_requests_total", "requests that have ended", false, request_labels,
                  4},
    [DURATION] = {"moongate_http_request_duration_seconds",
                  "from the first byte of a request to the last of its answer", true, route_labels,
                  1},
    [GATEWAY_DURATION] = {"moongate_http_gateway_duration_seconds",
                          "the same without waiting for the request's head and the upstream", true,
                          route_labels, 1},
    [BYTES_IN] = {"moongate_http_request_bytes_total", "bytes of requests, heads included", false,
                  route_labels, 1},
    [BYTES_OUT] = {"moongate_http_response_bytes_total", "bytes of answers, heads included", false,
                   route_labels, 1},
    [LIMIT_DECISIONS] = {"moongate_ratelimit_decisions_total",
                         "requests by what rate-limit decided; policy: the limit that did not let "
                         "them pass",
                         false, limit_labels, 3},
    [UPSTREAM_REQUESTS] = {"moongate_upstream_requests_total",
                           "tries to have a request answered; code 0: no answer", false, try_labels,
                           3},
    [UPSTREAM_DURATION] = {"moongate_upstream_request_duration_seconds",
                           "from the start of a try to the head of its answer", true,
                           upstream_labels, 1},
    [UPSTREAM_CONNECT] = {"moongate_upstream_connect_duration_seconds",
                          "to connect, for tries without a pooled connection", true,
                          upstream_labels, 1},
};

struct recent_limit {
    const struct mg_route *route;
    uint64_t generation; /* of the route: its address may come again in another */
    uint32_t bytes;
    char note[LIMIT_NOTE]; /* so much of it tells decision and policy */
    uint64_t *word;
};

struct recent {
    uint32_t key; /* 0 = none */
    uint64_t *word;
};

/* Of a route: with what one try adds that ended as the request did, once that is known. */
struct recent_request {
    uint32_t key;
    uint64_t *word, *try_word, *try_duration;
};

struct mg_route_meter {
    uint64_t *duration, *gateway, *bytes_in, *bytes_out;
    struct recent_request recent[RECENT];
};

struct mg_service_meter {
    uint64_t *duration, *connect;
    struct recent recent[RECENT];
};

struct mg_meter {
    struct mg_shm *shm;
    uint64_t *words;
    int metrics[METRIC_COUNT];  /* negative: there was no room for it */
    uint64_t spare[BOUNDS + 2]; /* counted where there is no metric */
    struct recent_limit limits[RECENT];
    struct mg_route_meter no_route;
    struct mg_service_meter elsewhere; /* of a request that went elsewhere than its service says */
};

static int open_metric(struct mg_shm *shm, enum metric metric)
{
    const struct definition *definition = &definitions[metric];
    const bool is_histogram = definition->is_histogram;
    const struct mg_metric_def def = {.name = mg_str_from(definition->name),
                                      .help = mg_str_from(definition->help),
                                      .type =
                                          is_histogram ? MG_METRIC_HISTOGRAM : MG_METRIC_COUNTER,
                                      .unit = is_histogram ? MG_UNIT_MICROSECONDS : MG_UNIT_WHOLE,
                                      .labels = definition->labels,
                                      .label_count = definition->label_count,
                                      .bounds = is_histogram ? bounds : NULL,
                                      .bound_count = is_histogram ? BOUNDS : 0};
    return mg_metric_open(shm, &def);
}

struct mg_meter *mg_meter_new(struct mg_shm *shm, uint32_t worker)
{
    struct mg_meter *meter = calloc(1, sizeof *meter);
    mg_require(meter != NULL);
    meter->shm = shm;
    meter->words = mg_metric_words(shm, worker);
    for (int i = 0; i < METRIC_COUNT; i++) {
        meter->metrics[i] = open_metric(shm, (enum metric)i);
    }
    return meter;
}

void mg_meter_free(struct mg_meter *meter)
{
    free(meter);
}

static uint64_t *words_of(struct mg_meter *meter, enum metric metric, const mg_str *values)
{
    const int index = meter->metrics[metric];
    return index < 0 ? meter->spare
                     : meter->words + mg_series_open(meter->shm, (uint32_t)index, values, NULL);
}

/* From µs to the words of its histogram. */
static inline void observe(uint64_t *words, uint64_t us)
{
    unsigned bucket = 0;
    if (us > whole_bounds[0]) {
        const int power = 63 - __builtin_clzll(us);
        bucket = first_bound[(power < LAST_POWER ? power : LAST_POWER) - FIRST_POWER];
        bucket += bucket < BOUNDS && us > whole_bounds[bucket];
    }
    words[bucket]++;
    words[BOUNDS + 1] += us;
}

/* --- by route --------------------------------------------------------------------------------- */

static mg_str name_or_id(mg_str name, mg_str id)
{
    return name.len > 0 ? name : id;
}

static mg_str route_name(const struct mg_req *req)
{
    return req->route ? name_or_id(req->route->name, req->route->id) : MG_STR(NO_ROUTE);
}

static SELDOM struct mg_route_meter *open_route(struct mg_meter *meter, struct mg_req *req)
{
    struct mg_route_meter *of = &meter->no_route;
    if (req->route) {
        of = req->route->meter = mg_arena_zalloc(&req->config->arena, sizeof *of);
    }
    const mg_str name = route_name(req);
    of->duration = words_of(meter, DURATION, &name);
    of->gateway = words_of(meter, GATEWAY_DURATION, &name);
    of->bytes_in = words_of(meter, BYTES_IN, &name);
    of->bytes_out = words_of(meter, BYTES_OUT, &name);
    return of;
}

static struct mg_route_meter *meter_of_route(struct mg_meter *meter, struct mg_req *req)
{
    struct mg_route_meter *of = req->route ? req->route->meter : &meter->no_route;
    return of && of->duration ? of : open_route(meter, req);
}

/* A closed list, so that clients cannot make up series. */
static mg_str method_name(enum mg_method method)
{
    switch (method) {
    case MG_METHOD_GET:
        return MG_STR("GET");
    case MG_METHOD_HEAD:
        return MG_STR("HEAD");
    case MG_METHOD_POST:
        return MG_STR("POST");
    case MG_METHOD_PUT:
        return MG_STR("PUT");
    case MG_METHOD_DELETE:
        return MG_STR("DELETE");
    case MG_METHOD_OPTIONS:
        return MG_STR("OPTIONS");
    case MG_METHOD_PATCH:
        return MG_STR("PATCH");
    default:
        return MG_STR("_OTHER");
    }
}

/* The place where the counter of these three is, or is to be. */
static inline uint32_t place_of(uint32_t code, uint32_t outcome, uint32_t method, uint32_t *key)
{
    *key = 1 + outcome + (method << 8) + (code << 16);
    return (code ^ outcome ^ method) % RECENT;
}

static mg_str code_text(uint32_t code, char text[12])
{
    return mg_str_make(text, (size_t)snprintf(text, 12, "%u", code));
}

static SELDOM uint64_t *request_words(struct mg_meter *meter, const struct mg_req *req)
{
    char code[12];
    const mg_str values[] = {route_name(req), method_name(req->head.method_id),
                             code_text(req->status, code), mg_outcome_text(req->outcome)};
    return words_of(meter, REQUESTS, values);
}

static struct recent_request *count_request(struct mg_meter *meter, struct mg_route_meter *of,
                                            const struct mg_req *req)
{
    uint32_t key;
    struct recent_request *recent =
        &of->recent[place_of(req->status, req->outcome, req->head.method_id, &key)];
    if (recent->key != key) {
        *recent = (struct recent_request){.key = key, .word = request_words(meter, req)};
    }
    (*recent->word)++;
    return recent;
}

static void time_request(struct mg_route_meter *of, const struct mg_req *req)
{
    const uint64_t total = req->ended_us > req->started_us ? req->ended_us - req->started_us : 0;
    const uint64_t others =
        req->head_us - req->started_us + (req->upstream_end_us - req->upstream_begin_us);
    uint64_t own = total - others;
    if (own > total) { /* more than there was, or a time that was never taken */
        own = (int64_t)own < 0 && req->head_us > 0 && req->upstream_end_us > 0 ? 0 : total;
    }
    observe(of->duration, total);
    observe(of->gateway, own);
}

void mg_meter_lost(struct mg_shm *shm, uint64_t requests)
{
    const int metric = open_metric(shm, REQUESTS);
    const mg_str values[] = {MG_STR(NO_ROUTE), method_name(MG_METHOD_OTHER), MG_STR("0"),
                             mg_str_from(mg_outcome_word(MG_OUTCOME_WORKER_DIED))};
    struct mg_shm_room room;
    mg_shm_room(shm, &room);
    if (metric >= 0 && requests > 0) {
        mg_metric_words(shm, room.workers)[mg_series_open(shm, (uint32_t)metric, values, NULL)] +=
            requests;
    }
}

/* --- by upstream ------------------------------------------------------------------------------ */

static struct mg_service_meter *meter_of_service(struct mg_meter *meter, struct mg_req *req)
{
    struct mg_service *service = req->service;
    if (!service || req->up.target_host.len > 0 || req->up.upstream.len > 0) {
        meter->elsewhere = (struct mg_service_meter){0};
        return &meter->elsewhere;
    }
    if (!service->meter) {
        service->meter = mg_arena_zalloc(&req->config->arena, sizeof *service->meter);
    }
    return service->meter;
}

/* As its record is called in the shared memory (base/shm_upstreams): "host:port" where the service
 * has no upstream. */
static mg_str upstream_name(const struct mg_req *req, char text[UPSTREAM_TEXT])
{
    if (req->up.target_host.len > 0) {
        return MG_STR(BY_PLUGIN);
    }
    if (req->up.upstream.len > 0) {
        return req->up.upstream;
    }
    const struct mg_service *service = req->service;
    if (!service || service->upstream) {
        return service ? service->upstream->name : MG_STR(NO_ROUTE);
    }
    if (service->port == 0) {
        return service->host; /* unix:/path */
    }
    const bool is_v6 = mg_str_find(service->host, ':', 0) >= 0 && service->host.ptr[0] != '[';
    const int length = snprintf(text, UPSTREAM_TEXT, is_v6 ? "[%.*s]:%u" : "%.*s:%u",
                                MG_STR_ARG(service->host), service->port);
    return mg_str_make(text, (size_t)length < UPSTREAM_TEXT ? (size_t)length : UPSTREAM_TEXT - 1);
}

static SELDOM uint64_t *try_words(struct mg_meter *meter, const struct mg_req *req,
                                  const struct mg_try *try)
{
    char code[12], text[UPSTREAM_TEXT];
    const mg_str values[] = {upstream_name(req, text), code_text(try->status, code),
                             mg_outcome_text(try->outcome)};
    return words_of(meter, UPSTREAM_REQUESTS, values);
}

static uint64_t *count_try(struct mg_meter *meter, struct mg_service_meter *of,
                           const struct mg_req *req, const struct mg_try *try)
{
    uint32_t key;
    struct recent *recent = &of->recent[place_of(try->status, try->outcome, 0, &key)];
    if (recent->key != key) {
        *recent = (struct recent){.key = key, .word = try_words(meter, req, try)};
    }
    (*recent->word)++;
    return recent->word;
}

static SELDOM void open_service(struct mg_meter *meter, struct mg_service_meter *of,
                                const struct mg_req *req)
{
    char text[UPSTREAM_TEXT];
    const mg_str name = upstream_name(req, text);
    of->duration = words_of(meter, UPSTREAM_DURATION, &name);
    of->connect = words_of(meter, UPSTREAM_CONNECT, &name);
}

static void time_try(struct mg_meter *meter, struct mg_service_meter *of, const struct mg_req *req,
                     const struct mg_try *try)
{
    if (!of->duration) {
        open_service(meter, of, req);
    }
    if (try->ttfb_us > 0) {
        observe(of->duration, try->ttfb_us);
    }
    if (try->connect_us > 0) {
        observe(of->connect, try->connect_us);
    }
}

/* Its service's own upstream, not one that a plugin chose. */
static inline bool is_usual(const struct mg_req *req)
{
    return req->try_count == 1 && req->tries[0].status == req->status &&
           req->tries[0].outcome == req->outcome &&
           (req->up.target_host.len | req->up.upstream.len) == 0;
}

static SELDOM void count_tries(struct mg_meter *meter, struct recent_request *recent,
                               struct mg_req *req)
{
    struct mg_service_meter *of = meter_of_service(meter, req);
    const uint32_t kept = req->try_count < MG_TRIES ? req->try_count : MG_TRIES;
    for (uint32_t i = 0; i < kept; i++) {
        const struct mg_try *try = &req->tries[i];
        uint64_t *word = count_try(meter, of, req, try);
        time_try(meter, of, req, try);
        if (is_usual(req) && of != &meter->elsewhere) {
            recent->try_word = word;
            recent->try_duration = of->duration;
        }
    }
}

/* What nearly every request is: one try, which ended as the request did, on a pooled connection. A
 * route has one service, so its words are known. */
static inline bool count_usual(const struct recent_request *recent, const struct mg_req *req)
{
    const struct mg_try *try = &req->tries[0];
    if (!recent->try_word || !is_usual(req) || try->connect_us > 0 || try->ttfb_us == 0) {
        return false;
    }
    (*recent->try_word)++;
    observe(recent->try_duration, try->ttfb_us);
    return true;
}

/* --- decisions of rate-limit ------------------------------------------------------------------ */

/* Takes a text between quotes that follows `before`, which begins *rest. */
static mg_str take_text(mg_str *rest, mg_str before)
{
    if (!mg_str_starts(*rest, before)) {
        return (mg_str){0};
    }
    const ptrdiff_t end = mg_str_find(*rest, '"', before.len);
    if (end < 0) {
        return (mg_str){0};
    }
    const mg_str text = mg_str_slice(*rest, before.len, (size_t)end);
    *rest = mg_str_slice(*rest, (size_t)end + 1, rest->len);
    return text;
}

/* The policy is the limit that did not let the request pass. */
static SELDOM uint64_t *limit_words(struct mg_meter *meter, const struct mg_req *req, mg_str note)
{
    const mg_str decision = take_text(&note, MG_STR("{\"decision\":\""));
    const mg_str name = take_text(&note, MG_STR(",\"name\":\""));
    const bool passes = mg_str_equal(decision, MG_STR("allowed")) ||
                        mg_str_equal(decision, MG_STR("exempt")) || name.len == 0;
    const mg_str values[] = {route_name(req), passes ? MG_STR("-") : name, decision};
    return words_of(meter, LIMIT_DECISIONS, values);
}

/* The note of the entry that decided last. Its beginning is compared, up to the name's end. */
static void count_limit(struct mg_meter *meter, const struct mg_req *req)
{
    mg_str rest = req->note_limit;
    (void)take_text(&rest, MG_STR("{\"decision\":\""));
    (void)take_text(&rest, MG_STR(",\"name\":\""));
    const mg_str note = mg_str_slice(req->note_limit, 0, req->note_limit.len - rest.len);
    if (note.len == 0 || note.len > LIMIT_NOTE) {
        return;
    }
    const uintptr_t where = (uintptr_t)req->route / sizeof(struct mg_route);
    struct recent_limit *recent = &meter->limits[(where + note.len) % RECENT];
    if (recent->route != req->route || recent->generation != req->config->generation ||
        recent->bytes != note.len || memcmp(recent->note, note.ptr, note.len) != 0) {
        *recent = (struct recent_limit){.route = req->route,
                                        .generation = req->config->generation,
                                        .bytes = (uint32_t)note.len,
                                        .word = limit_words(meter, req, note)};
        memcpy(recent->note, note.ptr, note.len);
    }
    (*recent->word)++;
}

void mg_meter_count(struct mg_meter *meter, struct mg_req *req)
{
    struct mg_route_meter *of = meter_of_route(meter, req);
    struct recent_request *recent = count_request(meter, of, req);
    time_request(of, req);
    *of->bytes_in += req->bytes_in;
    *of->bytes_out += req->bytes_out;
    if (!count_usual(recent, req) && req->try_count > 0) {
        count_tries(meter, recent, req);
    }
    if (req->note_limit.len > 0) {
        count_limit(meter, req);
    }
}
