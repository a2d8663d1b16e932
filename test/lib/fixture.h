/* One bucket, "nightly", on the memory store. */
#pragma once

#include "domain.h"

struct fixture {
	struct store *store;
	struct fs *fs;
	struct bucket *b;
};

static inline int setup(void **state)
{
	struct fixture *f = *state = calloc(1, sizeof(*f));

	return memory_store_open(&f->store) || test_fs_open(f->store, &f->fs) ||
	       bucket_create(f->fs, &test_root, S("nightly"), &f->b);
}

/* Nothing is left open or counted twice. */
static inline int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->fs->files.count, 0);
	if (!f->b->dead) {
		assert_int_equal(f->b->pending_bytes, 0);
		assert_int_equal(f->b->making.count, 0);
	}
	bucket_put(f->fs, f->b);
	fs_close(f->fs);
	store_close(f->store);
	free(f);
	return 0;
}
