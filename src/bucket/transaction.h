/* Several files and a patch at once: BUCKET/.bucketfs/tx/NAME/ is filled like a bucket, and `mv tx/NAME commit` publishes
 * all of it in one commit, or nothing.
 *
 * A transaction is a bucket of its own that has no name in the root of the mount and is its maker's alone. Publishing it
 * moves its records into the other bucket; contents stay where they are, only their owner changes. A record in the
 * bucket (key_transaction) says so until the transaction is gone, so that a crash in between loses nothing twice. */
#pragma once

#include "bucket/bucket.h"
#include "bucket/transaction_id.h"

enum { transaction_max = 100 }; /* of one user in one bucket */

/* A bucket's path under the mount, with that of a transaction below its bucket; the number of the bucket. */
uint32_t transaction_path(struct fs *fs, const struct bucket *b, char *path, size_t size);

/* mkdir. BUCKET_INVALID for a name with other bytes than [A-Za-z0-9_.-] or of more than 100; BUCKET_EXISTS;
 * BUCKET_OVER_QUOTA for one more than transaction_max. */
int transaction_begin(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, struct bucket **out,
		      struct reason *why);
/* The caller's own. BUCKET_ABSENT. */
int transaction_lookup(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name,
		       struct bucket **out);
/* rmdir, when it is empty. BUCKET_READ_ONLY where the bucket is. */
int transaction_abandon(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name);
/* The caller's own with a number greater than `after`, in that order, until `each` returns nonzero, which is returned. */
int transaction_list(struct fs *fs, struct bucket *b, const struct caller *who, uint32_t after,
		     int (*each)(void *context, struct slice name, uint32_t number), void *context);
/* Publishes. BUCKET_BUSY while a file in it is open for writing; limits and schema are those of the bucket. */
int transaction_commit(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, struct reason *why);
/* Whether a file in it was closed before that moment (as in tree.h) and is not published yet: then BUCKET_BUSY may be too early. */
bool transaction_is_early(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, int64_t closed);
/* Access lists, limits and schema of a transaction are its bucket's: 0, or BUCKET_NOT_PERMITTED for a transaction. */
int transaction_check_setting(const struct bucket *b, struct reason *why);
/* Whether a bucket has any. */
bool transaction_any(struct fs *fs, uint32_t number);
/* All those of a bucket that is removed. */
int transaction_purge(struct fs *fs, uint32_t number);
/* After a crash: those that were published are ended. */
int transaction_recover(struct fs *fs);
