/* Extended attributes of the user's own (user.*, but not user.bucketfs.*), on anything in a bucket. */
#pragma once

#include "bucket/bucket.h"

/* Of one value, and of all names of a file as listxattr shows them, which is what the kernel can show. */
enum { attribute_value_max = 65536, attribute_list_max = 65536 };

/* BUCKET_NO_ATTRIBUTE, BUCKET_DENIED. */
int attribute_get(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name,
		  struct buf *value);
/* With `create` BUCKET_EXISTS, with `replace` BUCKET_NO_ATTRIBUTE; BUCKET_VALUE_TOO_LARGE, BUCKET_DENIED. Names and
 * values count: those of a file against max_file_size, others against max_data_size (BUCKET_TOO_LARGE), all against
 * max_total_size (BUCKET_OVER_QUOTA, also for more names than attribute_list_max). */
int attribute_set(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name,
		  struct slice value, bool create, bool replace, struct reason *why);
int attribute_remove(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name);
/* Their names, each ended by a NUL. */
int attribute_list(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct buf *names);

/* ---- with b->lock held ---- */

/* Adds the removal of all of a node's attributes to a batch, and to a bag (attribute_bag.h; or NULL) those that fit into it. */
int attribute_delete_all(struct fs *fs, struct bucket *b, uint64_t node, struct buf *bag, struct head *head, struct store_batch *batch);
/* A file is about to lose its name while it is open: these are its attributes for as long as it is, as far as its owner's share of memory
 * goes (budget.h). */
struct file;
void attribute_keep(struct file *f, const struct buf *bag);
/* The same with those that the store has. */
int attribute_keep_stored(struct file *f);
/* Its end. */
void attribute_forget(struct file *f);
/* Adds copies of one node's attributes, which may be in another bucket, to a batch. What `to` has by itself stays. */
int attribute_copy_all(struct fs *fs, struct bucket *from_b, uint64_t from, struct bucket *to_b, uint64_t to,
		       struct head *head, struct store_batch *batch);
