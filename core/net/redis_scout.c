/* SPDX-License-Identifier: Apache-2.0 */
/* Each look has a connection of its own, which ends with the answer or with the next look. */
#include "net/redis_scout.h"

#include <stdlib.h>

#define LOOK_MS 100
#define LOOKS 20

struct mg_redis_scout {
    mg_redis_scout_fn *fn;
    void *context;
    const struct mg_redis_slots *known;
    struct mg_redis_slots *seen;
    struct mg_redis_connection_options connect;
    struct mg_redis_connection *connection; /* NULL: none */
    struct mg_redis_command command;        /* CLUSTER SLOTS */
    uint32_t looks;                         /* so many more */
    uint32_t next;                          /* number of the master that is asked next */
    struct mg_deadline again;
};

static void drop(struct mg_redis_scout *scout)
{
    struct mg_redis_connection *connection = scout->connection;
    scout->connection = NULL;
    if (connection) {
        mg_redis_connection_close(connection, MG_REDIS_REFUSED);
    }
}

static void on_map(struct mg_redis_command *command, struct mg_redis_connection *connection,
                   enum mg_redis_result result, struct mg_resp_reply *reply)
{
    struct mg_redis_scout *scout = MG_CONTAINER(command, struct mg_redis_scout, command);
    const mg_str host = scout->connect.host;
    if (connection != scout->connection || result != MG_REDIS_OK ||
        mg_redis_slots_read(scout->seen, reply, host) ||
        mg_redis_slots_equal(scout->seen, scout->known)) {
        return;
    }
    mg_redis_scout_stop(scout);
    scout->fn(scout->context);
}

static void on_up(void *context, struct mg_redis_connection *connection)
{
    struct mg_redis_scout *scout = context;
    if (mg_redis_connection_send(connection, &scout->command)) {
        drop(scout); /* the next look is soon */
    }
}

static void on_down(void *context, struct mg_redis_connection *connection, bool was_up,
                    enum mg_redis_result result, mg_str text)
{
    struct mg_redis_scout *scout = context;
    (void)connection;
    (void)was_up;
    (void)result;
    (void)text; /* that the store fails was told */
    scout->connection = NULL;
}

static const struct mg_redis_connection_handler handler = {.on_up = on_up, .on_down = on_down};

static void look(struct mg_redis_scout *scout);

static void on_again(struct mg_deadline *deadline)
{
    look(MG_CONTAINER(deadline, struct mg_redis_scout, again));
}

static void arm(struct mg_redis_scout *scout)
{
    struct mg_loop *loop = scout->connect.loop;
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, LOOK_MS), &scout->again, on_again,
                    mg_loop_now_ms(loop));
}

static void look(struct mg_redis_scout *scout)
{
    drop(scout);
    const struct mg_redis_address *master = mg_redis_slots_master(scout->known, scout->next++);
    if (!master) { /* round again */
        scout->next = 1;
        master = mg_redis_slots_master(scout->known, 0);
    }
    if (!master || scout->looks == 0) {
        return;
    }
    scout->looks--;
    scout->connect.host = master->host;
    scout->connect.port = master->port;
    scout->connection = mg_redis_connection_open(&scout->connect, &handler, scout);
    arm(scout);
}

void mg_redis_scout_start(struct mg_redis_scout *scout)
{
    mg_redis_scout_stop(scout);
    scout->looks = LOOKS;
    arm(scout);
}

void mg_redis_scout_stop(struct mg_redis_scout *scout)
{
    drop(scout);
    mg_deadline_cancel(&scout->again);
}

struct mg_redis_scout *mg_redis_scout_new(const struct mg_redis_connection_options *connect,
                                          const struct mg_redis_slots *known, mg_redis_scout_fn *fn,
                                          void *context)
{
    struct mg_redis_scout *scout = calloc(1, sizeof *scout);
    const mg_str words[] = {MG_STR("CLUSTER"), MG_STR("SLOTS")};
    const struct mg_redis_words group = {.items = words, .count = 2};
    mg_require(scout != NULL);
    mg_require(mg_redis_command_set(&scout->command, &group, 1) == 0);
    scout->command.deliver = on_map;
    scout->fn = fn;
    scout->context = context;
    scout->known = known;
    scout->seen = mg_redis_slots_new();
    scout->connect = *connect;
    mg_deadline_init(&scout->command.deadline);
    mg_deadline_init(&scout->again);
    return scout;
}

void mg_redis_scout_free(struct mg_redis_scout *scout)
{
    if (scout) {
        mg_redis_scout_stop(scout);
        mg_redis_command_clear(&scout->command);
        mg_redis_slots_free(scout->seen);
        free(scout);
    }
}
