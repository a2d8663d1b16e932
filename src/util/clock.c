#include "util/clock.h"

#include <time.h>

static int64_t now(void *context)
{
	struct timespec t;

	(void)context;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

const struct clock clock_system = {now, 0};
