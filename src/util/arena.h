/* Memory in small pieces that is given back all at once. All zero is a valid empty one. */
#pragma once

#include "util/slice.h"

struct arena {
	struct arena_block *blocks;
	unsigned char *at;
	size_t left;
};

/* `count` zeroed objects of `size` bytes, aligned for anything; never NULL for nothing at all. NULL: out of memory. */
void *arena_alloc(struct arena *a, size_t count, size_t size);
/* A copy of the bytes; a NULL `at` is running out of memory. */
struct slice arena_copy(struct arena *a, struct slice bytes);
void arena_release(struct arena *a);
