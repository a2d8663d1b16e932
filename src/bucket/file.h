/* Open files: their content while it is open, and its way into the store.
 *
 * A `file` exists once for an inode that is open, however many have it open; a `file_open` once for each open. New
 * files live here alone until they are flushed: creating, writing and closing one is a single commit. Small contents
 * are in memory while open; past file_inline_max they move to a content of the store. */
#pragma once

#include "bucket/bucket.h"
#include "bucket/budget.h"

enum { file_inline_max = 32768 };

/* In how many ways the kernel has an inode open; whoever serves it keeps count (fuse/io_mode.h). */
struct file_modes {
	pthread_mutex_t lock;
	unsigned cached, direct, mappable, passed;
	int backing;      /* while some are passed: what the kernel calls the file behind it, … */
	uint64_t content; /* … and which content that is */
};

struct file {
	struct table_node by_inode; /* fs->lock */
	unsigned refs;              /* fs->lock */
	struct file *next_unended;  /* fs->lock: in fs->unended, which has a reference, while … */
	bool unended;               /* … this is true */
	uint64_t inode;
	struct fs *fs;
	struct bucket *b;

	/* b->lock */
	struct table_node by_name;        /* in b->making, while … */
	bool unlisted;                    /* … it is not published (version.h); begins under both locks */
	bool pending;                     /* no commit knows it yet */
	bool version;                     /* it will take the name from what has it now, and has none in the store */
	bool marked;                      /* the store has it under key_making */
	bool spelled;                     /* the kernel may know the old one by name when this takes it */
	bool respelled;                   /* its name as given is not the one in its record */
	bool unlinked;                    /* it has no name any more */
	bool partial;                     /* it has the name of one */
	uint64_t names;                   /* b->names when it was made, as long as it is pending */
	unsigned writers;                 /* handles that may write */
	unsigned closes;                  /* how often a descriptor was closed; atomic */
	unsigned truncating;              /* threads that change its size without a handle */
	int64_t begun;                    /* when this object was made */
	uint64_t turn;                    /* the bucket's when it was closed or fsynced last; 0: never */
	uint64_t overtaken;               /* the turn of what took its name after that; 0: nothing did */
	int64_t counted;                  /* its part of b->pending_bytes; atomic (file_count) */
	struct file_open *handles;
	bool abandoned;                   /* its last writer did not close it */
	int64_t settling;                 /* its last writer was released and closed it then; 0: not yet */
	char name[name_max], given[name_max], job[node_job_max]; /* what node.name, .given and .job point at */
	struct buf kept_bytes;            /* the stored content of a file unlinked while open, until it is loaded: … */
	struct store_content *kept_content; /* … one or the other */
	struct buf attributes;            /* of a file unlinked while open (attribute_bag.h), … */
	struct charge attributes_charge;  /* … for which its owner is charged */

	/* lock */
	pthread_rwlock_t lock;
	struct node node;    /* as of now; its parent and names are under b->lock */
	struct node stored;  /* as of the last commit, without names */
	bool stored_whole;   /* that was published, or whole for all that was known: something to fall back to (settle.h) */
	bool loaded;         /* `bytes` or `content` is what node.place says */
	bool preallocated;   /* `content` has space past the end, for as long as the file is open; atomic */
	bool trimmed;        /* `content` has no bytes past the record's size */
	bool dirty;          /* differs from what is stored, and … */
	bool unsaved;        /* … so does its content; atomic */
	bool written;        /* something was written since it was made */
	bool promised;       /* fsynced while it was made: a later commit does not lose that, for the disk has its bytes first; atomic */
	bool candidate;      /* closed or fsynced, and nothing written since */
	bool marked_again;   /* since it was committed, as being written again: a commit that may not be on the disk */
	bool failed;         /* a write failed: what is there is not whole */
	int error;           /* of one that had been acknowledged; 0: none since it was begun */
	bool killed;         /* whoever flushed it last was dying of a signal */
	bool closed;         /* by somebody, and nothing written since */
	bool lent;           /* others read `content` by themselves: while it is here, it stays the same one */
	struct buf bytes;
	struct store_content *content;
	struct checksum *sums; /* of what is written to `content`, since it is here; NULL: nothing was */
	struct buf checks;     /* the list for the commit that comes, from file_drain; empty: none, for … */
	int checks_error;      /* … this reason */
	uint64_t safe;         /* so many of the committed bytes are known to be on the disk (settle.h), if … */
	bool safe_known;       /* … it was asked */
	bool ownerless;        /* it has lost its name, and nothing falls back to its content any more */
	bool unsealed;         /* committed bytes of `content` were changed, and it has no seal any more that a change would have to end */
	bool exposed;          /* others may write to `content` by themselves */
	bool reseal;           /* it was changed in place: its checksums are to be made again when nobody has it open */

	struct file_modes modes;
	unsigned slow; /* changes that are on their way with a thread of their own (fuse/ops_file.c); atomic */
};

/* `unlisted`, `version`, `unlinked`, `partial`, `written`, `candidate`, `failed`, `killed` and `closed` change under the lock that they are
 * listed under, and are looked at under the other one or under none as well: by these. What was seen may have changed by then; where that
 * matters it is looked at again under the right lock. What follows from a flag is changed before it: whoever sees the flag sees that. */
static inline bool file_is(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}
static inline void file_becomes(bool *flag, bool value)
{
	__atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

/* What publishing and committing a file would add to its bucket's bytes has changed, or is nothing any more. Who counts a write holds
 * the file's lock only; if the file loses its name at the same moment, its last reference takes back what came too late. */
/* What a version will free is its own to fill, and nobody else's before it is published: in the bucket's sum it is not less than 0. */
static inline int64_t file_counts(int64_t counted)
{
	return counted > 0 ? counted : 0;
}
static inline void file_count(struct file *f, int64_t growth)
{
	int64_t was = __atomic_fetch_add(&f->counted, growth, __ATOMIC_RELAXED);

	__atomic_add_fetch(&f->b->pending_bytes, file_counts(was + growth) - file_counts(was), __ATOMIC_RELAXED);
}
static inline void file_count_none(struct file *f)
{
	int64_t was = __atomic_exchange_n(&f->counted, 0, __ATOMIC_RELAXED);

	__atomic_sub_fetch(&f->b->pending_bytes, file_counts(was), __ATOMIC_RELAXED);
}

/* It was closed or fsynced, then something else took its name, and nobody has written to it or closed it since: if that close
 * was its last one, which may not be known yet, it will not be published. With b->lock held. */
static inline bool file_is_overtaken(const struct file *f)
{
	return f->overtaken > f->turn && (file_is(&f->candidate) || file_is(&f->closed));
}

struct file_open {
	struct file *file;
	struct file_open *next;
	uid_t uid;
	bool append;
	bool reads, writes;
	bool written;
	bool replaces; /* opened with truncation, or truncated, while empty: the first write begins a new version; atomic */

	/* b->lock; of a file that is being made: whether the release of this is on its way (version.h) */
	int64_t closed;  /* when a descriptor of it was closed first after it was written through; 0: not since; atomic */
	int64_t closed_last;
	unsigned closes; /* how often one was, with something in the file */
	bool held;       /* the release did not come when it was waited for */
	bool received;   /* it is here; atomic */
};

/* ---- for tree.c ---- */

/* The open file with this inode number, referenced; NULL if it is not open. */
struct file *file_find(struct fs *fs, uint64_t inode);
/* The same without a reference: with b->lock held, and valid while it is. */
struct file *file_peek(struct fs *fs, uint64_t inode);
/* One more reference. */
struct file *file_share(struct file *f);
/* Gives a reference back; the last one commits what is left and frees. */
void file_put(struct file *f);
enum file_state { FILE_STORED, FILE_NEW, FILE_VERSION };
/* A file object for a record; with b->lock held, and none must exist. */
int file_new(struct fs *fs, struct bucket *b, const struct node *node, enum file_state state, struct file **out);
/* Makes sure an open file's stored content outlives its records; with b->lock held. */
int file_keep(struct file *f, const struct node *stored);
/* The file has lost its name; with b->lock held. */
void file_unlinked(struct file *f);
/* The same for every open file of a bucket that is about to end: the first before the commit that takes the records or the contents
 * away, the second after it. With b->lock held. */
int file_keep_all(struct fs *fs, struct bucket *b);
void file_unlinked_all(struct fs *fs, struct bucket *b);
/* Writes what the open files of a bucket have that is not stored yet, but for files that are being made. With b->lock free. */
int file_save_all(struct fs *fs, struct bucket *b);
/* Its attributes as of now, without its names and its folder. */
void file_node(struct file *f, struct node *node);
/* Waits until what was written is, and sums it up for the commit: not by the commit itself, for that has the bucket's lock, and the
 * disk may take its time. If something could not be written, the file has failed and ends before that, and this is why: until it is
 * begun anew. With f->lock held for writing, and b->lock free. */
int file_drain(struct file *f);
/* Committed bytes from `at` on are about to be changed in place, so many: waits until the disk has them, or a loss of power could
 * not be told from the change. With f->lock held for writing, and b->lock free. */
int file_settle_before(struct file *f, uint64_t at, uint64_t len);
/* Whether a change of these bytes of a file that is open waits for the disk, and whether a close does, or reads much: such a request is
 * not for a thread that serves others. The answer may be old by the time it is used. */
bool file_change_waits(struct file *f, uint64_t at, uint64_t len);
bool file_truncate_waits(struct file *f, uint64_t size);
bool file_close_waits(struct file *f);
/* Waits for what a change would wait for, without f->lock, so that others read meanwhile. The change itself meets an
 * error that comes here. */
void file_change_ahead(struct file *f);
/* Whether what is written now is written over what was committed. With f->lock held. */
bool file_is_in_place(const struct file *f);
/* Commits what is not stored yet; with f->lock held for writing. */
int file_commit(struct file *f);
/* Adds its content to a batch, and the number of blocks to its record; with both locks held. */
struct settle;
int file_add_content(struct file *f, struct settle *settle, struct store_batch *batch);
/* It is in the store as it is now; with both locks held. */
void file_settled(struct file *f);
/* The last one that has it open is about to go: space past the end is given back. With f->lock held for writing. */
void file_give_back_locked(struct file *f);
/* The content it has in hand is let go. With f->lock held for writing, or by its last user. */
void file_drop_content(struct file *f);
/* It has no content any more, also where that is lent: for a new one to begin. With f->lock held for writing. */
int file_clear_locked(struct file *f, struct reason *why);
/* Takes the reference over, also on failure. `flags` are tree_open_flag. BUCKET_GONE for who would write to a file of a transaction
 * that has been published. */
int file_open_new(struct file *f, const struct caller *who, unsigned flags, struct file_open **out);
/* Whether `uid` has the inode open. With b->lock held. */
bool file_is_opener(const struct file *f, uid_t uid);

/* ---- for those who have it open ---- */

/* A piece of the content: in memory, behind a descriptor, or neither: then file_read copies it. */
struct file_span {
	const void *bytes;
	int fd;
	size_t len; /* up to the end of the file */
};
/* The content stays as it is until file_read_end. After a failure there is no end to call. */
int file_read_begin(struct file *f, uint64_t at, size_t len, struct file_span *span);
void file_read_end(struct file *f);
int file_read(struct file *f, uint64_t at, void *bytes, size_t len, size_t *got);

/* Why it could not be read, after -EIO. */
void file_explain(struct file *f, struct reason *why);

/* The content behind a published file, for whoever reads it by other ways than file_read: as long as the record says, and
 * from here on changed in place only. BUCKET_UNSUPPORTED: it has none with a descriptor, or is not published. The descriptor
 * is valid until file_lend_end, which follows every success; `lent`: it was really taken. */
struct file_loan {
	int fd;
	uint64_t content;
};
int file_lend_begin(struct file *f, struct file_loan *loan);
void file_lend_end(struct file *f, bool lent);
/* A writer of what is lent may change it by itself from now on, through a mapping. */
int file_expose(struct file *f);
/* The number of the content it has now; 0: none. */
uint64_t file_content_now(struct file *f);

/* BUCKET_TOO_LARGE, BUCKET_OVER_QUOTA, BUCKET_NO_SPACE, and what the store says. */
int file_write(struct file_open *h, uint64_t at, bool append, struct slice bytes, struct reason *why);
int file_truncate(struct file *f, uint64_t size, struct reason *why);
/* The same for a thread that has no handle that may write. BUCKET_GONE in a transaction that has been published. */
int file_truncate_alone(struct file *f, uint64_t size, struct reason *why);
/* ftruncate(2). */
int file_truncate_open(struct file_open *h, uint64_t size, struct reason *why);
/* Space for a range, also inside the file, where it may have holes. Past the end with `keep_size`: for as long as the file is open. */
int file_allocate(struct file_open *h, uint64_t at, uint64_t len, bool keep_size, struct reason *why);
int file_punch(struct file *f, uint64_t at, uint64_t len);
/* lseek with SEEK_DATA or SEEK_HOLE. BUCKET_NO_DATA_THERE. */
int file_seek(struct file *f, uint64_t at, int whence, uint64_t *found);
/* Server-side copy within the store. */
int file_copy(struct file *from, uint64_t from_at, struct file_open *to, uint64_t to_at, size_t len, size_t *copied,
	      struct reason *why);
/* Every close(2) of a descriptor makes the file crash-proof as it is now. If that was its last one, it is published as of now. */
enum file_closer {
	FILE_CLOSER_DONE,   /* the process that opened it, which has no other descriptor of it: after a crash the file is whole */
	FILE_CLOSER_SHARES, /* another process, such as a child that ends, or one that goes on with a copy of the descriptor: after a
			     * crash it is not whole. Also where that cannot be known */
	FILE_CLOSER_DIES,   /* of a signal: if that was the last one, the file is not published */
};
int file_flush(struct file_open *h, enum file_closer closer);
/* It was not FILE_CLOSER_DONE after all: its opener had another descriptor, when so many had been closed (file->closes). */
void file_is_shared(struct file *f, unsigned closes);
/* Stores the changes that the store does not have yet, as a close would. */
int file_save(struct file *f);
/* Waits until the stored bytes of its content are on the disk. For its record there is store_sync. */
int file_settle(struct file *f);
/* The last close of this handle is here, though file_close may have to wait for locks: who looks waits for it from now on. */
static inline void file_closes(struct file_open *h)
{
	__atomic_store_n(&h->received, true, __ATOMIC_RELAXED);
}
/* The last close of this handle. With `abandon` (the mount ends) what was not flushed is not published. */
void file_close(struct file_open *h, bool abandon);
/* Tries again to publish the files whose store refused that when their last writer was gone. `last`: nobody will come again; the next
 * start finds them in the store. */
void file_end_again(struct fs *fs, bool last);
