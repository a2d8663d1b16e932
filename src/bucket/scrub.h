/* Reads contents again and compares them with their checksums, slowly, so that damage is known before somebody needs the file. */
#pragma once

#include "bucket/bucket.h"

struct scrub {
	/* Called before each piece is read (checksum_piece bytes). False: that is enough. May be called without any lock only. */
	bool (*go_on)(void *context);
	void *context;
};

/* All contents of a bucket. A damaged one is logged with its name, and counted in fs->scrub_damaged; one without checksums that
 * nobody writes gets some. Nonzero: it was not to go on, or the store failed. */
int scrub_bucket(struct fs *fs, struct bucket *b, const struct scrub *s);
