/* A decorator that tells of every call, its result and how long it took. */
#pragma once

#include "bucketfs/store.h"

/* `line` is called once a call, from the thread that made it. On success *out owns `inner`. */
int trace_store_open(struct store **out, struct store *inner, void (*line)(void *context, const char *text),
		     void *context);
