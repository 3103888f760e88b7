/* SPDX-License-Identifier: Apache-2.0 */
/* What a forked child gives up of its parent. */
#include "master_state.h"

#include <signal.h>
#include <unistd.h>

void mg_master_forget(struct mg_master *master, uint32_t keep)
{
    sigset_t none;
    mg_control_forget(master->control);
    master->control = NULL;
    if (master->signal_fd >= 0) {
        close(master->signal_fd);
        master->signal_fd = -1;
    }
    mg_check_end(
        &(struct mg_check){.channel = master->reload.check.channel, .report = -1, .bundle_fd = -1});
    for (uint32_t i = 0; i < master->seats.count; i++) {
        if (master->seats.items[i].channel >= 0) {
            close(master->seats.items[i].channel);
            master->seats.items[i].channel = -1;
        }
    }
    if (master->listeners.fds && keep == UINT32_MAX) {
        mg_listeners_close(&master->listeners);
    } else if (master->listeners.fds) {
        mg_listeners_keep(&master->listeners, keep);
    }
    if (master->status_fd >= 0 && keep == UINT32_MAX) {
        close(master->status_fd);
        master->status_fd = -1;
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* the master reads its signals from a descriptor */
}
