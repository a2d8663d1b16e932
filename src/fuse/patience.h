/* Questions that are a moment too early: a file has been closed, and the kernel has not told us yet that nobody else has
 * it open (bucket/version.h). They are asked again when it does; when the moment has passed they are answered as things are, unless
 * the kernel has told us and it is we who are not done yet. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fuse/lowlevel.h"

struct patience;

/* What may still be waited for: what is likely, what is known to come, or nothing. */
enum patience_mood { PATIENCE_GUESS, PATIENCE_KNOWN, PATIENCE_NONE };

struct patience_job {
	struct patience_job *next;
	int64_t early, until; /* early 0: that has passed */
	bool late;            /* `until` has passed once */
	/* Replies and frees the job; false: still too early, which in the mood for nothing it may not say. */
	bool (*run)(struct patience_job *job, enum patience_mood mood);
};

/* The moment (bucket/tree.h) that a question asked in this mood is about. */
int64_t patience_closed(enum patience_mood mood, int64_t moment);

/* Each question has `wait` nanoseconds for guesses, and is asked again after `early` as well: not everything is worth all of
 * it. After that it is asked every `wait`. */
int patience_new(struct patience **out, const char *name, int64_t early, int64_t wait);
/* Only so many are asked on when `wait` has passed; the others are answered as things are. Before the first is added. */
void patience_limit(struct patience *p, unsigned most_late);
/* Takes the job over. It is asked at once, by the thread of that name. */
void patience_add(struct patience *p, struct patience_job *job);
/* Something has been closed for good, or has another name. */
void patience_wake(struct patience *p);
/* Answers what there is without waiting any longer. NULL is fine. */
void patience_drain(struct patience *p);
/* Answers what is left, then ends. NULL is fine. */
void patience_free(struct patience *p);

/* ---- requests that ask such a question ---- */

/* When a request is served: at first, or again. */
struct turn {
	int64_t closed; /* what it waits for: see TREE_CLOSED_ANY */
	int64_t began;  /* when it came in, for its metrics; 0: just now */
};

struct question {
	struct patience_job job;
	fuse_req_t req;
	fuse_ino_t inode;
	const char *name, *new_name; /* or NULL */
	struct turn turn;
	bool (*ask)(const struct question *q, const struct turn *turn); /* false: not answered */
};

/* Asks at once and, if it is too early, later: with a copy of the `size` bytes that begin with it, and of the names. */
void question_put(const struct question *q, size_t size);
