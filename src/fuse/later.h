/* A thread for what must not be done where requests are received: waiting for the disk or for the name service. */
#pragma once

#include <stdbool.h>

struct later;

struct later_job {
	struct later_job *next;
	void (*run)(struct later_job *job);
};

/* `finish`, where not NULL, gets every job that was run since it was last called, as a list: so that one wait for the
 * disk serves all of them. It frees them; without it, `run` does. */
int later_new(struct later **out, const char *name, void (*finish)(void *context, struct later_job *jobs),
	      void *context);
/* Jobs are run in order. */
void later_add(struct later *l, struct later_job *job);
/* Returns when nothing is left to do. NULL is fine. */
void later_drain(struct later *l);
/* Runs what is left, then ends. NULL is fine. */
void later_free(struct later *l);
