/* Questions that are a moment too early: a file has been closed, and the kernel has not told us yet that nobody else has
 * it open (bucket/version.h). They are asked again when it does, or answered as things are when the moment has passed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct patience;

struct patience_job {
	struct patience_job *next;
	int64_t until;
	/* Replies and frees the job; false: still too early, which only a `patient` call may say. */
	bool (*run)(struct patience_job *job, bool patient);
};

/* Each question has `wait` nanoseconds. */
int patience_new(struct patience **out, const char *name, int64_t wait);
/* Takes the job over. It is asked at once, by the thread of that name. */
void patience_add(struct patience *p, struct patience_job *job);
/* Something has been closed for good. */
void patience_wake(struct patience *p);
/* Answers what there is without waiting any longer. NULL is fine. */
void patience_drain(struct patience *p);
/* Answers what is left, then ends. NULL is fine. */
void patience_free(struct patience *p);
