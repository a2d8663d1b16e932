/* Extended attributes of the user's own (user.*, but not user.bucketfs.*), on anything in a bucket. */
#pragma once

#include "bucket/bucket.h"

enum { attribute_value_max = 65536 };

/* BUCKET_NO_ATTRIBUTE, BUCKET_DENIED. */
int attribute_get(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name,
		  struct buf *value);
/* With `create` BUCKET_EXISTS, with `replace` BUCKET_NO_ATTRIBUTE; BUCKET_VALUE_TOO_LARGE, BUCKET_DENIED. */
int attribute_set(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name,
		  struct slice value, bool create, bool replace);
int attribute_remove(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name);
/* Their names, each ended by a NUL. */
int attribute_list(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct buf *names);

/* Adds the removal of all of a node's attributes to a batch. With b->lock held. */
int attribute_delete_all(struct fs *fs, struct bucket *b, uint64_t node, struct store_batch *batch);
