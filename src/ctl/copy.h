/* Copying one file. 0 or a negative errno. */
#pragma once

#include "ctl/progress.h"

enum copy_side { COPY_READING, COPY_WRITING };

/* A file below a folder. */
struct copy_end {
	int folder;
	const char *path;
	const char *link; /* of a source: it is a symbolic link, and this is what it leads to; NULL: a file */
	bool follow;      /* of a source: links on the way to it and at its end are followed. Nowhere else are any */
};

/* Copies a link, or a regular file of just this size, to a new file, whose folders are made if need be; holes stay holes, and it
 * can be executed if the original can. *side: whose error it is. -ESTALE: the size is another. -ELOOP: a link is in the way.
 * -EINTR: somebody wants this to end (copy_catch_signals). */
int copy_file(const struct copy_end *from, const struct copy_end *to, off_t size, struct progress *progress, enum copy_side *side);
/* SIGINT, SIGTERM and SIGHUP end copying from now on, so that what is half-done can be taken away. */
void copy_catch_signals(void);
bool copy_was_interrupted(void);
