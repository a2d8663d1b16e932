/* Buckets: finding, making and removing them, judging callers, committing changes. */
#pragma once

#include "bucket/fs.h"
#include "util/mutex.h"

/* The rendered document of one moment, shared by its readers. */
struct text {
	unsigned refs;
	unsigned kept; /* how often reading.c has it */
	int64_t modified; /* when that document was changed last; ns since the epoch */
	struct buf bytes;
};

struct bucket {
	struct table_node by_number;
	struct bucket *idle_previous, *idle_next;
	uint32_t number;
	unsigned refs;     /* fs->lock */
	struct slice name; /* empty for the root */
	uint32_t owner, group; /* the head's, which never change */
	uint32_t generation;   /* of all its inodes: another bucket by the same number has another one */
	struct {
		int64_t modified;
		uint64_t files, file_bytes, data_keys;
	} shown;                 /* as the head has them; atomic, … */
	bool enabled;            /* … so is this, … */
	uint64_t max_data_size, max_file_size, max_total_size; /* … and as the limits have it: for who looks without the lock */

	pthread_mutex_t handles_lock; /* innermost: */
	struct data_opened *data_opened; /* the descriptors of data.json (data_node.h), newest first; of these, … */
	unsigned data_writers; /* … how many can write, … */
	unsigned data_readers; /* … how many only read NODE_DATA and have today's document, … */
	unsigned data_stale;   /* … and how many have an older one */
	uint64_t data_changes; /* how often the document has become another one since the bucket was loaded */

	int64_t data_changed; /* when it did last, or a writer waited for readers (fs_moment); 0: not yet; atomic */

	pthread_mutex_t lock; /* guards all below */
	bool dead;            /* removed; handles may still be open. Atomic for who looks without the lock */
	bool handed_over;     /* a transaction whose contents another bucket owns: nothing in it is changed any more. Atomic as above */
	bool numbers_checked; /* the next number is known to be nobody's (bucket_check_numbers). Atomic as above */
	bool judges_slowly;   /* its schema took long lately; atomic */
	bool lingers;         /* it is that, and its name could not be taken away: it has one reference more, so that it stays in memory */
	uint64_t revision;
	struct head head;
	struct own_limits own_limits;
	struct limits limits; /* what counts here: its own, else the mount's */
	struct schema *schema; /* compiled, if … */
	bool schema_known;     /* … it was asked for (control_schema) */
	struct scratch *scratch; /* scratch.h; atomic for who looks whether there are any */
	struct text *text;    /* the document as of now, if it was rendered since it changed */
	int64_t resolved;      /* when @job or @device led somebody here last (fs_moment); 0: not in this mount; atomic */
	int64_t published;     /* when a file was published last; atomic */
	int64_t listed;        /* when a folder of it was listed last; atomic */
	struct table making;   /* files that are not published yet, by parent and name (version.h) */
	uint64_t turns;        /* the last that was given to one of them that was closed, or to what took a name */
	uint64_t names;        /* how many names other than a new file's own have been put */
	bool no_partials;      /* none was there when they were looked for, and none has been named since */
	int64_t partials_kept; /* when they were looked for in vain last, because all are open */
	struct absent_name {   /* looked up and not in the store, while `names` stays: what is created next is asked for first */
		uint64_t parent, names;
		uint8_t len; /* 0: none */
		char name[47];
	} absent[4];
	unsigned next_absent;
	struct depths *depths; /* tree_depth.c */
	uint64_t folders[16]; /* where files were found (tree_find_number); atomic */
	uint64_t new_files;    /* those of them that no commit knows and that replace nothing */
	int64_t pending_bytes; /* what publishing and committing what is open would add to head.file_bytes; atomic (file_count) */

	struct acl acl; /* fs->acl_lock */
	unsigned acl_changes; /* how often it was changed since it was loaded; atomic */
};

/* b->lock, which is mostly held for a commit. */
static inline void bucket_lock(struct bucket *b)
{
	mutex_lock_soon(&b->lock);
}

/* Whether it was free and is taken now. */
static inline bool bucket_try_lock(struct bucket *b)
{
	return pthread_mutex_trylock(&b->lock) == 0;
}

static inline void bucket_unlock(struct bucket *b)
{
	pthread_mutex_unlock(&b->lock);
}

/* The store has a record of this turn, of before the bucket was loaded: all that are given from now on come after it. */
static inline void bucket_has_turn(struct bucket *b, uint64_t turn)
{
	if (turn > b->turns)
		b->turns = turn;
}

/* Tells who keeps names that this one means another inode now, or none. With or without the lock. */
static inline void bucket_name_lost(struct fs *fs, const struct bucket *b, uint64_t parent, struct slice name)
{
	if (fs->options.name_lost)
		fs->options.name_lost(fs->options.context, inode_of(b->number, parent), name);
}

/* The same for many names of a bucket at once. Without its lock. */
static inline void bucket_names_lost(struct fs *fs, const struct bucket *b)
{
	if (fs->options.names_lost)
		fs->options.names_lost(fs->options.context, b->number);
}

/* By name. BUCKET_ABSENT. The caller puts it back. */
int bucket_lookup(struct fs *fs, struct slice name, struct bucket **out);
/* The same for any id, those that have no name in the root included. */
int bucket_find(struct fs *fs, struct slice id, struct bucket **out);
/* Every id that begins with the prefix, in the order of ids, until `each` returns nonzero, which is returned. */
int bucket_list_ids(struct fs *fs, struct slice prefix, int (*each)(void *context, struct slice id), void *context);
/* By number; 0 is the root. BUCKET_GONE. */
int bucket_get(struct fs *fs, uint32_t number, struct bucket **out);
/* One more reference on a bucket that the caller has one on. */
struct bucket *bucket_share(struct fs *fs, struct bucket *b);
/* NULL is fine. */
void bucket_put(struct fs *fs, struct bucket *b);

/* mkdir, which needs the create privilege. BUCKET_INVALID for a name that is no id, BUCKET_NAME_TOO_LONG,
 * BUCKET_EXISTS, BUCKET_DENIED. */
int bucket_create(struct fs *fs, const struct caller *who, struct slice name, struct bucket **out);
/* The same for whom it is owed: no privilege is asked, any id goes, and it begins with these lists (NULL: inherited). */
int bucket_make(struct fs *fs, const struct caller *owner, struct slice name, const struct acl_list *read,
		const struct acl_list *edit, struct bucket **out);
/* Takes the bucket's name away and makes it dead; with b->lock held. Files of it that are open lose their names and keep their
 * contents, as after unlink. Its records are erased by bucket_discard. */
int bucket_end_locked(struct fs *fs, struct bucket *b);
/* Another bucket owns its contents from now on, and it ends: now, or if that fails when bucket_discard is called, or at the next
 * start. With b->lock held, after file_keep_all and the commit of the other one. */
void bucket_hand_over_locked(struct fs *fs, struct bucket *b);
/* Ends a bucket with all that is in it. */
int bucket_purge(struct fs *fs, struct bucket *b);
/* Ends a bucket whose contents have another owner now: its records go, no content does. */
int bucket_discard(struct fs *fs, struct bucket *b);
int bucket_remove_any(struct fs *fs, const struct caller *who, struct slice name);
/* Removes a bucket that nobody has written to or set anything in. BUCKET_BUSY: that is not so any more, or somebody
 * uses it. */
int bucket_remove_untouched(struct fs *fs, const struct caller *who, struct bucket *b);
/* rmdir, which needs the delete privilege. BUCKET_NOT_EMPTY while it holds keys or files, BUCKET_ABSENT, BUCKET_BUSY:
 * another thread has had its lock for over 100 ms. */
int bucket_remove(struct fs *fs, const struct caller *who, struct slice name);
/* The same with everything in it, in one commit; it takes as long as it takes. BUCKET_GONE. */
int bucket_remove_all(struct fs *fs, const struct caller *who, struct bucket *b);

/* Every bucket whose number is greater than `after`, in the order of numbers, until `each` returns nonzero; that is
 * returned. */
int bucket_list(struct fs *fs, uint32_t after, int (*each)(void *context, uint32_t number, struct slice name),
		void *context);

/* ---- judging ---- */

/* Whether the caller has the privilege there. Owner, mount owner and uid 0 are admins, admins may do everything. */
bool bucket_may(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege);
/* The same as a verdict, 0 or BUCKET_DENIED; a denial is logged with `action`. BUCKET_READ_ONLY for who would change a
 * bucket that is disabled. */
int bucket_check(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege,
		 const char *action);
/* The same for removing something in it: whoever may delete the bucket may also remove what is in it. */
int bucket_check_removal(struct fs *fs, const struct bucket *b, const struct caller *who, const char *action);
/* The same for deleting the bucket itself: its admins may, also when it is disabled. */
int bucket_check_end(struct fs *fs, const struct bucket *b, const struct caller *who);
/* False: nothing in it can be changed. A transaction is what the bucket is that it will be published in. */
bool bucket_is_enabled(struct fs *fs, const struct bucket *b);
/* Notes why, and is BUCKET_READ_ONLY. */
int bucket_read_only(struct fs *fs, const struct bucket *b, const struct caller *who, const char *action);
/* 0 for readers and editors: who may pass through. */
int bucket_check_enter(struct fs *fs, const struct bucket *b, const struct caller *who, const char *action);
/* Some may not read it. */
bool bucket_is_private(struct fs *fs, const struct bucket *b);
/* What the ACL amounts to: permission bits, and whether some may not read. */
struct bucket_look {
	uint32_t file_mode, folder_mode;
	bool private;
};
struct bucket_look bucket_look(struct fs *fs, const struct bucket *b);
/* Its contents, as a JSON object: uid, created, modified, revision, keys, data_size, files (folders included), file_bytes. For readers. */
int bucket_usage(struct fs *fs, struct bucket *b, const struct caller *who, struct buf *out);
/* "read,edit": what the caller may do here. */
int bucket_access(struct fs *fs, const struct bucket *b, const struct caller *who, struct buf *out);

/* One privilege's list as text. BUCKET_NO_ATTRIBUTE if it is inherited; BUCKET_DENIED. */
int bucket_acl_get(struct fs *fs, struct bucket *b, const struct caller *who, enum privilege privilege,
		   struct buf *out);
/* Sets a list, or with NULL makes it inherited again (BUCKET_NO_ATTRIBUTE if it is). Needs admin. *narrowed: some may
 * not read any more who could; the frontend then empties the kernel's caches. */
int bucket_acl_set(struct fs *fs, struct bucket *b, const struct caller *who, enum privilege privilege,
		   const struct slice *text, bool *narrowed, struct reason *why);

/* One of the bucket's own limits (limits_own_name) as text. BUCKET_NO_ATTRIBUTE: it has none, the mount's counts. */
int bucket_limit_get(struct fs *fs, struct bucket *b, const struct caller *who, int which, struct buf *out);
/* Sets it, or with NULL takes it away. Needs admin, and admin of the root for more than the mount's limit
 * (BUCKET_NOT_PERMITTED). BUCKET_INVALID. Files over a new limit stay. */
int bucket_limit_set(struct fs *fs, struct bucket *b, const struct caller *who, int which, const struct slice *text,
		     struct reason *why);

/* The bucket's own folder, as this caller sees it: to who may not read it shows its number and nothing else. */
int bucket_attr(struct fs *fs, struct bucket *b, const struct caller *who, struct attr *attr);

/* ---- changing: with b->lock held ---- */

/* Commits the batch with the new head, which then is the bucket's; `modified` is set here. On failure the bucket is as
 * it was. BUCKET_GONE for a dead one. */
int bucket_commit(struct fs *fs, struct bucket *b, struct head *head, const struct store_batch *batch);
/* Commits that everything in the bucket is as it was made, unless somebody has written or set something since this
 * revision. With b->lock free. */
int bucket_commit_untouched(struct fs *fs, struct bucket *b, uint64_t revision);

/* Before the first new number since it was loaded: makes sure that no record has it, for that would be another file's end. */
int bucket_check_numbers(struct fs *fs, struct bucket *b);
/* A number for a new bucket; with the root's lock held. BUCKET_OVER_QUOTA: all are in use. */
int bucket_take_number(struct fs *fs, uint32_t *number);

/* ---- damage ---- */

/* Says in the log which record of the bucket is damaged and by what, and is -EIO. `record`: "file", "name in folder", … */
int bucket_damaged(const struct bucket *b, const char *record, uint64_t number, const char *fault);
/* The same for a record that is known by a name. */
int bucket_damaged_name(const struct bucket *b, const char *record, struct slice name, const char *fault);
/* Says so of a document's key if `r` is -EIO, and is `r`. */
int bucket_key_result(const struct bucket *b, struct slice key, int r);

/* ---- for fs.c ---- */

/* Read from the store; nobody else knows it yet, and bucket_free is its end. BUCKET_GONE; -EIO, which is logged. */
int bucket_load(struct fs *fs, uint32_t number, struct bucket **out);
/* NULL is fine. */
void bucket_free(struct fs *fs, struct bucket *b);
/* The records of a bucket that has no name any more. */
int bucket_erase(struct fs *fs, uint32_t number);
/* A transaction has its bucket's limits. With b->lock held. */
void bucket_limits_inherit(struct bucket *b, const struct limits *from);
/* What its own limits amount to with the mount's. -EIO: one of them is none. */
int bucket_limits_load(struct fs *fs, struct bucket *b);
