/* The whole: a store, its buckets, and who may do what with them. Knows nothing of FUSE.
 *
 * Locks, always taken in this order: a file's (file.c), a bucket's, the root bucket's, fs->lock. The ACLs of all
 * buckets share fs->acl_lock, which is innermost and never held across a commit. */
#pragma once

#include <pthread.h>

#include "bucket/acl.h"
#include "bucket/budget.h"
#include "bucket/limits.h"
#include "bucket/record.h"
#include "bucket/verdict.h"
#include "bucketfs/store.h"
#include "util/clock.h"
#include "util/reason.h"
#include "util/table.h"

struct fs_options {
	struct limits limits; /* as of the start: later they are those of fs_limits */
	const struct acl_names *names;
	struct clock clock;
	uid_t mount_uid;  /* admin everywhere, like uid 0 */
	bool squash_root; /* uid 0 is like anyone */
	char server[256]; /* this host's name */
	size_t memory_max;   /* bytes that all users together may make it hold (budget.h); 0: no bound */
	size_t files_max;    /* likewise open files */
	bool collide_refuse; /* two given names with one stored form: EEXIST instead of replacing */
	bool symlinks_off;   /* no link of a user is made, nor followed */
	unsigned char boot[boot_size]; /* which boot of the system this is */
	char device[256]; /* what @device and @job call it */
	/* A name means another inode now, or none, and the kernel may not know. May be NULL; called with locks held. */
	void (*name_lost)(void *context, uint64_t parent_inode, struct slice name);
	/* Whether the calling thread serves no others; NULL: it never does. */
	bool (*may_take_long)(void);
	/* Whether nobody waits for what the calling thread does, any more; NULL: always somebody does. */
	bool (*is_abandoned)(void);
	/* Between its beginning and its end the calling thread keeps nobody from its bucket, though it is at work
	 * there. NULL is fine. With no lock held. */
	void (*pause)(bool begins);
	/* The same for any names of a bucket, with no lock held. */
	void (*names_lost)(void *context, uint32_t bucket);
	void *context;
};

struct fs {
	struct store *store;
	struct fs_options options;
	struct bucket *root; /* bucket 0: its lock and head guard the list of buckets, its ACL is what others inherit */

	pthread_rwlock_t acl_lock;
	pthread_mutex_t recovering; /* outermost, recursive: who makes up for a crash in a bucket that nobody else has yet */

	pthread_mutex_t lock;  /* guards all below */
	struct table buckets;  /* by number */
	struct bucket *idle_first, *idle_last;
	size_t idle_count;
	uint64_t evictions;    /* how often a bucket left the table though it lives on in the store */
	uint64_t transient_count; /* nodes given out that are in no store (record.h); atomic */
	uint64_t collisions;   /* files that replaced one of another name; atomic */
	uint64_t merges;       /* that changed a document; atomic */
	uint64_t scrub_damaged; /* contents that a scrub found damaged; atomic */
	uint64_t exposures;    /* how often a content was exposed (file_expose); atomic */
	size_t text_bytes;     /* of rendered documents kept by buckets */
	struct table files;    /* open files, by inode number (file.c) */
	struct budget *budget; /* with a lock of its own */
	struct refusals *refusals; /* likewise */
	struct redirect *redirects; /* redirect.h */
	struct redirect_lost *lost;
	struct readings *readings; /* with a lock of its own */
	struct fresh *fresh; /* likewise */
	struct gone *gone;   /* likewise */
	int64_t opened; /* when (fs_moment) */
	struct buf unsettled; /* of struct unsettled, in the order of time */
	struct buf overdue;   /* likewise: those that do not wait any longer */
	struct buf strays;    /* of scratch_stray.c */
	struct file *unended; /* files whose last writer is gone, while the store refused to publish them (file_end_again) */
	unsigned reserve_permille; /* options.limits has it too; atomic for who looks without the lock */
	int64_t space_checked; /* when; ns */
	uint64_t space_left;   /* above the reserve, in bytes, less what was written since */
};

/* A content that is to be known to be on the disk (settle.h). */
struct unsettled {
	uint32_t bucket;
	uint64_t number, content;
	int64_t since;
	bool reseal; /* its checksums are to be made anew */
};

/* Takes no ownership of the store. -EIO: what is in it cannot be read. */
int fs_open(struct fs **out, struct store *store, const struct fs_options *options);
/* Every handle must be closed and every bucket put. */
void fs_close(struct fs *fs);

static inline int64_t fs_now(const struct fs *fs)
{
	return clock_now(&fs->options.clock);
}

/* Whether the calling thread may do what takes long: else a function that finds that it would is BUCKET_LONG, and has
 * changed nothing. */
static inline bool fs_may_take_long(const struct fs *fs)
{
	return !fs->options.may_take_long || fs->options.may_take_long();
}

static inline void fs_pause(const struct fs *fs, bool begins)
{
	if (fs->options.pause)
		fs->options.pause(begins);
}

/* Of a clock that nobody sets: only to be compared with others of it. */
static inline int64_t fs_moment(const struct fs *fs)
{
	return clock_moment(&fs->options.clock);
}

/* The mount's limits. They may change: a copy. */
void fs_limits(struct fs *fs, struct limits *out);
/* Others from now on, for all buckets. Contents that are over them stay. */
void fs_set_limits(struct fs *fs, const struct limits *limits);
/* Whether `bytes` more may be written to files, with the reserve in mind: 0 or BUCKET_NO_SPACE. It waits for up to a second until what was
 * removed before is off the disk. */
int fs_check_space(struct fs *fs, uint64_t bytes, struct reason *why);

/* For `errors`: what was refused, to whom, where and why. `bucket` 0: by privilege, or outside any bucket. */
void fs_refused(struct fs *fs, uint32_t bucket, const struct caller *who, const char *path, const char *error,
		const struct reason *why);
/* The same, where nothing else says it in the log. */
void fs_refused_and_log(struct fs *fs, uint32_t bucket, const struct caller *who, const char *path, const char *error,
			const struct reason *why);

/* A line in the log about something worth an audit: who did what, where. */
void fs_audit(const struct caller *who, const char *action, struct slice bucket, const char *detail);

/* What stat shows. */
struct attr {
	uint64_t inode;
	uint64_t shown_inode; /* as users see it, where that is another one; 0: the same */
	uint64_t generation; /* changes when a number's object ends and another begins */
	uint32_t mode;
	uint32_t uid, gid;
	uint64_t size, blocks;
	int64_t modified, changed, accessed;
	bool private; /* not everybody may see it: nothing of it may stay in a cache */
	bool unlinked; /* it has no name any more */
	bool fleeting; /* changes without the kernel's knowledge: do not cache the attributes */
};
