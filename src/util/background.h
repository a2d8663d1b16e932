/* A thread that does something from time to time, beside those that serve requests. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct background;

/* `body` runs in the new thread until it returns; its name is `name` (up to 15 bytes). -errno. */
int background_new(struct background **out, const char *name, void (*body)(struct background *g, void *context), void *context);
/* For the body: sleeps until this moment (clock_monotonic). False: it is to return. */
bool background_sleep(struct background *g, int64_t until);
/* Wakes the body and waits until it has returned. NULL is fine. */
void background_free(struct background *g);
