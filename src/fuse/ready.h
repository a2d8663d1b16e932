/* The mount answers, and whoever waits for that is told: the process that started it, and systemd (sd_notify(3)). */
#pragma once

#include <stdbool.h>

struct ready;

/* Waits in a thread of its own until a request on `mountpoint` has been answered. Then it calls `ready`, tells systemd, writes a byte to
 * `parent` (-1: nobody waits) and closes that. `mountpoint` must stay valid. -errno. */
int ready_new(struct ready **out, const char *mountpoint, int parent, void (*ready)(void *context), void *context);
/* After the kernel's connection has ended. NULL is fine. */
void ready_free(struct ready *r);
/* One message to systemd, such as STOPPING=1; nothing where there is none. */
void ready_notify(const char *state);
