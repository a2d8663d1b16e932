/* Whole or not at all: files that are being made, and how they become the file that others see.
 *
 * A file that is being made (`unlisted`) is one of two:
 *  - new: nothing else has its name, so the name finds it at once, but it is not listed;
 *  - a version: it will replace what has its name, and until then the name finds that, except for its maker.
 * When its last writer has closed it, it is published: listed under its name, what had that name is unlinked. If the
 * writer was killed or a write failed, it becomes `.NAME.partial` instead and the name stays as it was.
 *
 * A version is another inode, for Linux keeps one size and one page cache for an inode. So an open for writing with
 * truncation is answered ESTALE, upon which the kernel looks the name up again, once; that lookup, by that thread, is
 * given the version, and the open that follows finds it: a redirect. Where this is not possible (opened through /proc,
 * truncated by ftruncate) the old content moves to an inode of its own instead: a swap.
 *
 * In the store a new file stands under its name from its first flush on; a version does not. What is in the store and
 * not published has a record under key_making:
 *  - CANDIDATE: closed or fsynced, nothing written since; after a crash it is published;
 *  - OVERTAKEN: a candidate, and what was closed later has its name by now; after a crash it is dropped;
 *  - WRITING: after a crash it becomes the partial. Also what was closed by others than its opener alone (enum file_closer).
 * A new file that was closed or fsynced and not written since needs no such record: that is how all of them usually look. */
#pragma once

#include "bucket/file.h"

/* Which file an open gets: with f->… unlocked. Sets TREE_REPLACE or clears TREE_TRUNCATE in *flags. 0: this one;
 * BUCKET_REDIRECTED; BUCKET_WAIT and BUCKET_GONE as below. */
int version_choose(struct file *f, const struct caller *who, unsigned *flags, int64_t closed, struct reason *why);
/* The same where any file can be given (creat): *f is replaced, its reference with it. On failure it is put. */
int version_replace(struct file **f, const struct caller *who, struct slice given, unsigned *flags, struct reason *why);
/* A new file is about to be written to, or to be read though its writer was killed. BUCKET_WAIT if it has been closed before
 * that moment and not released yet: who writes to it would make it one that is being made again, which others miss.
 * BUCKET_GONE: it was waited for, and its name leads elsewhere by now. With b->lock and f->lock free. */
int version_wait_for_new(struct file *f, int64_t closed);
/* A file that is being made is about to be renamed, which publishes it. BUCKET_WAIT as above, if its writer was killed or failed:
 * it is not whole then, and will have lost its name. BUCKET_BUSY: a write to it failed, and somebody has it open. */
int version_wait_for_rename(struct file *f, int64_t closed);
/* A node is about to be deleted or moved: who looked it up a moment ago may come to open it. */
void version_note_lost(struct fs *fs, const struct bucket *b, const struct node *n);
/* An open came for an inode that is gone: if its thread looks the same name up again … */
void version_missed(struct fs *fs, const struct caller *who, uint64_t inode, unsigned flags);
/* … this tells so, and what it wanted; … */
bool version_has_missed(struct fs *fs, const struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
			unsigned *wants);
/* … and what it found is held for it, or a version of that in its place. On failure *f is put. BUCKET_GONE. */
int version_hold(struct file **f, const struct caller *who, unsigned wants);
/* This thread does not look for anything again: there is no such name, or it makes it now. */
void version_found_nothing(struct fs *fs, const struct caller *who);
/* Who is redirected gets their file in *f, referenced, also on failure. *several: others find something else.
 * BUCKET_WAIT if a version, or what this may become the partial of, has been closed before that moment and not released yet.
 * With b->lock held. */
int version_lookup(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		   struct slice given, int64_t closed, bool *several, struct file **f);
/* Whether a file in this folder, or with 0 in any, has been closed before that moment and not released yet. With b->lock held. */
bool version_is_closing(struct fs *fs, struct bucket *b, uint64_t parent, int64_t before);
/* How long those who look wait for a release that is not here yet, in nanoseconds: it may take as long as it takes our threads to
 * get a processor. It is on its way only if all who write have closed, but what was closed may be open elsewhere all the same (a
 * child has it), so it cannot be for ever, and it is shorter where that is likely: a shell closes what it redirects to before
 * anything is written, and what several have is closed several times. Who opens it to write waits once in vain, not again. */
enum { version_wait = 100000000, version_wait_shared = 10000000 };
/* A new file that is in the store and being made loses its name to another: from then on it is a version. With b->lock
 * held; the second after the commit. */
void version_demote(struct file *f, struct head *head, struct store_batch *batch);
void version_demoted(struct file *f);
/* Something takes a name, in this turn of the bucket. What was closed for good before that may be
 * released after it, for the kernel tells of that later and in any order: then it does not take the name back. */
struct overtaking {
	uint64_t parent;
	struct slice name;
	const struct file *by; /* what takes it, if that is being made itself */
	struct file *demoted;  /* what loses it in the same batch, to version_demote */
	uint64_t turn; /* 0: nobody's */
};
/* With b->lock held: in the batch, or with NULL once that is committed. */
void version_overtake(struct bucket *b, const struct overtaking *o, struct store_batch *batch);

/* `.NAME.partial`, cut where it would be too long; a partial's is its own. The length of it. */
size_t version_partial_name(struct slice name, char partial[name_max]);
bool version_is_partial(struct slice name);
/* The last writer has closed it: publishes it, or makes it the partial. With `abandon` only a candidate is published. What the store
 * refuses stays unlisted: version_settle_again tries once more, if nobody has begun to write it since. */
int version_settle(struct file *f, bool abandon);
int version_settle_again(struct file *f);
/* Publishes it as it is. Fine if it is published. */
int version_publish(struct file *f);
/* A file that is being made loses its name. With b->lock held. */
int version_drop(struct file *f);

/* Before the first write after a flush; with f->lock held for writing. */
int version_mark(struct file *f);
/* A file that is published, or that a close has completed, and whose content is replaced in place: what is stored moves to an
 * inode of its own, which is published, and this one becomes a version with nothing in it. With f->lock held for writing. */
int version_swap(struct file *f, struct reason *why);
/* Whether others that are being made will take the same name. With b->lock held. */
bool version_has_rival(struct file *f);
void version_unmark(struct file *f, struct head *head, struct store_batch *batch);

/* A loss of power has taken bytes of a node: if it is not published, it will not be, and *published is false. For settle_recover. */
int version_unfinish(struct fs *fs, struct bucket *b, uint64_t number, bool *published, struct store_batch *batch);
/* After a crash: whether somebody was writing the node when it was committed last. */
int version_was_written(struct fs *fs, struct bucket *b, uint64_t number, bool *was);
/* A loss of power has taken bytes of a node, which has again what was closed in that turn: if it is not published, that is its turn. */
int version_fall_back(struct fs *fs, struct bucket *b, uint64_t number, uint64_t turn, struct store_batch *batch);
/* A loss of power has taken what had a name since the turn `from`: what was overtaken by that has its chance again. */
int version_restore(struct fs *fs, struct bucket *b, const struct node *lost, uint64_t from, struct store_batch *batch);
/* Settles what a crash has left. The bucket is not known to anybody else yet. */
int version_recover(struct fs *fs, struct bucket *b);
