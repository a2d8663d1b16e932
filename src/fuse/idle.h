/* The daemon gives memory that it does not need back to the system when it has nothing else to do. */
#pragma once

#include <stdint.h>

struct idle {
	uint64_t requests, trimmed_at; /* of all, as of the last look and the last time */
	unsigned quiet, since; /* seconds: with few requests, and since the last time */
};

/* Once a second; `requests` that were answered so far. */
void idle_second(struct idle *i, uint64_t requests);
