/* Time as an injected dependency: tests bring their own. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct clock {
	int64_t (*now)(void *context);    /* nanoseconds since the epoch; may be set, backwards too */
	int64_t (*moment)(void *context); /* nanoseconds since some start, which only go on: for what is how long ago */
	void *context;
};

extern const struct clock clock_system;

static inline int64_t clock_now(const struct clock *c)
{
	return c->now(c->context);
}

static inline int64_t clock_moment(const struct clock *c)
{
	return c->moment(c->context);
}

/* For how long something takes: CLOCK_MONOTONIC in nanoseconds. */
int64_t clock_monotonic(void);
/* A condition that is waited for by that clock. */
void clock_condition_init(pthread_cond_t *condition);
/* Until it is signalled, which may be for nothing, or the moment has passed: then false. With the lock held. */
bool clock_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until);
