/* Time as an injected dependency: tests bring their own. */
#pragma once

#include <stdint.h>

struct clock {
	int64_t (*now)(void *context); /* nanoseconds since the epoch */
	void *context;
};

extern const struct clock clock_system;

static inline int64_t clock_now(const struct clock *c)
{
	return c->now(c->context);
}
