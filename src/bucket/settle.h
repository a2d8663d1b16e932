/* What a loss of power leaves of contents.
 *
 * A commit survives the end of this process at once, and the loss of power from the next sync on: then a prefix of all
 * commits is there. A content is another file: its record may be on the disk before its bytes are. So a content that a
 * record begins to own is *unsettled* until it is known to be on the disk, a few seconds later or at fsync; as long as
 * it is, what it replaced is kept: its fallback. A record under key_unsettled says so.
 *
 * After another boot an unsettled content is believed if it is as long as its record says: filesystems that write data
 * before the length, as ext4, xfs and btrfs do by default, leave it shorter otherwise. (The space it takes tells nothing:
 * xfs gives back what it had taken in advance.)
 * If not, the node gets its fallback back, or without one becomes `.NAME.partial`. So each file is whole, old or new. */
#pragma once

#include "bucket/bucket.h"

/* One node's record under key_unsettled, while a commit that changes it is put together. With b->lock held. */
struct settle {
	uint64_t number;  /* the node */
	uint64_t content; /* unsettled; 0: none */
	bool stored;      /* the store has a record */
	bool changed;
	bool falls_back;
	struct node fallback; /* its place, size, blocks, content and time, and whose body it is (number) */
};

/* What the store has; `content` is 0 if that is nothing. */
int settle_load(struct fs *fs, struct bucket *b, uint64_t number, struct settle *s);
/* The node owns another content with this commit. */
void settle_begin(struct settle *s, uint64_t content);
/* `old` is what the node's content replaces. True: it is kept as the fallback, and must not be dropped. */
bool settle_fall_back(struct settle *s, const struct node *old);
/* Nothing of the node is unsettled any more: its fallback goes with the commit. */
void settle_end(struct settle *s, struct store_batch *batch);
/* Puts what has changed into the commit. */
void settle_write(struct fs *fs, struct bucket *b, struct settle *s, struct head *head, struct store_batch *batch);

/* Waits until a node's content is on the disk; then nothing of it is unsettled. Fine if it is gone, or another by now. */
int settle_content(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content);
/* Waits until everything of a bucket is on the disk. */
int settle_bucket(struct fs *fs, struct bucket *b);
/* The same for what was committed before this moment (fs_now), as far as it is known; for a thread of its own. */
void settle_due(struct fs *fs, int64_t before);
/* Adds the end of every fallback to a batch: the bucket is being removed. With b->lock held. */
int settle_drop_all(struct fs *fs, struct bucket *b, struct store_batch *batch);
/* After a crash: when the bucket is loaded, and known to nobody else yet. */
int settle_recover(struct fs *fs, struct bucket *b);
