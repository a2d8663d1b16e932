/* What a loss of power leaves of contents.
 *
 * A commit survives the end of this process at once, and the loss of power from the next sync on: then a prefix of all commits is
 * there. A content is another file: its record may be on the disk before its bytes are. So a content that a record begins to own, or
 * that is changed, is *unsettled* until it is known to be on the disk, a few seconds later or at fsync. A record under key_unsettled
 * says so. It has
 *  - `safe`: so many bytes from the beginning are known to be on the disk, but for what is written over them in place;
 *  - the checksums of all pieces from there on, as of the last commit (util/checksum.h);
 *  - the fallback: what the content replaced, which is kept as long.
 *
 * After another boot an unsettled content is believed if its bytes have these checksums. If not, the node gets its fallback back;
 * without one it ends at `safe`; and where nothing is safe, what is left of it becomes `.NAME.partial`. So each file is whole, old or
 * new, and never longer than what is there. What changes committed bytes in place, and cannot be undone, waits until the content is
 * settled (settle_before_change). Once settled, the content is sealed with its checksums (store.h). */
#pragma once

#include "bucket/bucket.h"

/* One node's record under key_unsettled, while a commit that changes it is put together. With b->lock held. All zero is valid, and
 * settle_release is the end of every one. */
struct settle {
	uint64_t number;  /* the node */
	uint64_t content; /* unsettled; 0: none */
	uint64_t safe;    /* bytes */
	/* A turn of the bucket (version.h): since it the fallback, or nothing, does not have the name. If the node is not published: in it
	 * the fallback was closed. 0: it was closed by nobody. */
	uint64_t turn;
	int64_t since;    /* fs_moment: the fallback has been what a loss of power brings back for so long */
	struct buf checks; /* an encoded list of checksums; empty: of an older version, which goes by the length */
	unsigned char boot[boot_size]; /* when it began */
	bool stored;      /* the store has a record */
	bool fresh;       /* it begins with this commit */
	bool changed;
	bool falls_back;
	bool kept;        /* all of it is on the disk, and the record is kept because the file is being made, or was a moment ago */
	struct node fallback; /* its place, size, blocks, content and time, and whose body it is (number) */
};

/* What the store has; `content` is 0 if that is nothing. */
int settle_load(struct fs *fs, struct bucket *b, uint64_t number, struct settle *s);
void settle_release(struct settle *s);
/* The node gets another content, `content`, in the place of `old`; NULL: that is no fallback. `turn`: `old` is not published, and was closed
 * in it; else 0. True: the old one is taken care of; false: the caller drops it. */
bool settle_replace(struct fs *fs, struct settle *s, const struct node *old, uint64_t turn, uint64_t content, struct store_batch *batch);
/* The node's content is changed with this commit, of which so many bytes are safe at most; `checks` from there on, or from an earlier
 * piece. -ENOMEM is remembered in the batch. */
void settle_change(struct fs *fs, struct settle *s, uint64_t content, uint64_t safe, struct slice checks, struct store_batch *batch);
/* The node takes its name in this turn. */
void settle_takes_name(struct settle *s, uint64_t turn);
/* `old` is what the node's content replaces. True: it is kept as the fallback, and must not be dropped. */
bool settle_fall_back(struct settle *s, const struct node *old);
/* What was overtaken in that turn is about to be dropped. True: it is newer than the fallback, which goes, and has to take its place. */
bool settle_prefers(struct settle *s, uint64_t overtaken, struct store_batch *batch);
/* The same for a node that is unsettled itself: `own` is its record, which ends with the commit. */
bool settle_inherit(struct settle *s, struct settle *own, const struct node *old);
/* The fallback goes with the commit: something newer has had the name. */
void settle_drop_fallback(struct settle *s, struct store_batch *batch);
/* Nothing of the node is unsettled any more: its fallback goes with the commit. */
void settle_end(struct settle *s, struct store_batch *batch);
/* Puts what has changed into the commit. */
void settle_write(struct fs *fs, struct bucket *b, struct settle *s, struct head *head, struct store_batch *batch);

/* Waits until a node's content, as it was committed last, is on the disk; then nothing of that is unsettled. Fine if it is gone, or
 * another by now. */
int settle_content(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content);
/* The same for a caller that has the file's lock. */
int settle_content_locked(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content);
/* Waits until nothing falls back to this content, which is about to be changed: its node has lost its name. The caller may have locks of
 * files. */
int settle_heir(struct fs *fs, struct bucket *b, uint64_t content);
/* Waits until everything of a bucket is on the disk. */
int settle_bucket(struct fs *fs, struct bucket *b);
/* The same for what was committed before this moment (fs_moment), as far as it is known, and seals what nobody writes; for a thread
 * of its own. What fails is tried again at a later call. */
void settle_due(struct fs *fs, int64_t before);
/* A content is to be settled by settle_due, and sealed with new checksums, whether or not it is unsettled. */
void settle_later(struct fs *fs, uint32_t bucket, uint64_t number, uint64_t content);
/* How much reading a thread may do that has time. */
struct settle_pace {
	/* Called before each piece is read (checksum_piece bytes), without any lock. False: that is enough, which gives -EINTR. */
	bool (*go_on)(void *context);
	void *context;
};
/* Gives a content checksums, if it has none, is on the disk and nobody writes it: reads all of it. */
int settle_reseal(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content, const struct settle_pace *pace);
/* Adds the end of every fallback to a batch: the bucket is being removed. With b->lock held. */
int settle_drop_all(struct fs *fs, struct bucket *b, struct store_batch *batch);
/* After a crash: when the bucket is loaded, and known to nobody else yet. Before version_recover, which believes what is committed. */
int settle_recover(struct fs *fs, struct bucket *b);
