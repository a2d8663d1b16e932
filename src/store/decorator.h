/* What decorators share: a store that forwards every call to another one and asks a hook before and after. */
#pragma once

#include "bucketfs/store.h"

struct decorator_hooks {
	/* Nonzero: the call is not made and this is its result. */
	int (*before)(void *context, const char *call);
	/* Gives the result that the caller sees. */
	int (*after)(void *context, const char *call, uint32_t bucket, int result, int64_t nanoseconds);
	void (*closed)(void *context);
	void *context;
};

/* On success *out owns `inner`. */
int decorator_open(struct store **out, struct store *inner, const struct decorator_hooks *hooks);
