/* Threads for work that takes long, beside those that serve requests: schemas, large documents, listings of everything,
 * what asks the name service, and changes that wait for the disk.
 *
 * One user must not keep the others waiting: of each user one job runs at a time (urgent ones beside it), and the jobs
 * with one key (an inode) run in the order in which they came. A job may make its bucket busy: then requests on that
 * bucket wait here as well (defer.h), rather than in a thread that serves others, until the job has ended. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct workers;

/* So many jobs of a user may wait for which one CPU's ring keeps a place (defer.h). */
enum { worker_threads = 4, worker_jobs_of_a_user = 24 };

struct worker_job {
	void (*run)(struct worker_job *job); /* frees it */
	uid_t uid;
	uint64_t key;      /* jobs with the same one run in their order; 0: none */
	uint32_t bucket;   /* it waits while this is busy; 0: for none */
	bool makes_busy;   /* it makes it so itself */
	bool urgent;       /* it does not wait for the user's other jobs: the kernel keeps everybody waiting for it */
};

/* -errno. */
int workers_new(struct workers **out);
/* Takes the job over. It is done at once if there is no memory for it, and if as many of the user wait as may: unless
 * it has a key, or its bucket is busy. */
void workers_add(struct workers *w, struct worker_job *job);
/* Whether a job makes this bucket busy. Cheap. */
bool workers_are_busy_in(struct workers *w, uint32_t bucket);
/* The same by a thread that is none of these. False: so many are busy that this one cannot be as well; then there is no
 * end to call. */
bool workers_begin_busy(struct workers *w, uint32_t bucket);
void workers_end_busy(struct workers *w, uint32_t bucket);
/* How many jobs of a user that this CPU's threads received are waiting or running. */
unsigned workers_count(struct workers *w, uid_t uid);
/* Waits until none is left. NULL is fine. */
void workers_drain(struct workers *w);
/* Does what is left, then ends. NULL is fine. */
void workers_free(struct workers *w);

/* Between its beginning and its end the job that this thread runs does not make its bucket busy. */
void worker_pause(bool begins);
/* Whether the calling thread may take its time: all but those that serve requests may. */
bool worker_may_take_long(void);
/* The calling thread serves requests. */
void worker_serves(bool serves);
