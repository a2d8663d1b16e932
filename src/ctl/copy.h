/* Copying one file. 0 or a negative errno. */
#pragma once

#include "ctl/progress.h"

enum copy_side { COPY_READING, COPY_WRITING };

/* Copies the file `from` below `from_folder`, a regular one of just this size, to the new file `to` below `to_folder`;
 * holes stay holes, and it can be executed if the original can. *side: whose error it is. -ESTALE: the size is another.
 * -EINTR: somebody wants this to end (copy_catch_signals). */
int copy_file(int from_folder, const char *from, int to_folder, const char *to, off_t size, struct progress *progress,
	      enum copy_side *side);
/* SIGINT, SIGTERM and SIGHUP end copying from now on, so that what is half-done can be taken away. */
void copy_catch_signals(void);
bool copy_was_interrupted(void);
