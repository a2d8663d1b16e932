/* How far a transfer is: on a terminal only, on one line of stderr. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct progress {
	const char *what;
	bool shown;
	uint64_t bytes, bytes_total;
	size_t files, files_total;
	int64_t next; /* when the line is due again */
};

void progress_begin(struct progress *p, const char *what, size_t files, uint64_t bytes);
void progress_bytes(struct progress *p, uint64_t bytes);
void progress_file(struct progress *p);
/* Takes the line away. */
void progress_end(struct progress *p);
