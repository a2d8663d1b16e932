/* Shared by scratch.c and scratch_stray.c. */
#pragma once

#include "bucket/scratch.h"

struct scratch {
	struct fs *fs;
	struct bucket *b;
	uint64_t node;
	uid_t uid;

	/* b->lock */
	struct scratch *next; /* newest first */
	unsigned refs;        /* the list has one, every descriptor one */
	unsigned closed;      /* of these, how many their maker has closed and the kernel has not released yet */
	bool unlinked;
	size_t name_len;
	char name[name_max];
	struct text *base;    /* the document when it was created, … */
	uint64_t since;       /* … as a number that grows (next_number) */
	pid_t maker;          /* who has begun it, or begun it anew, last */
	bool exclusive;       /* it was made exclusively, for reading and writing */
	bool stray;           /* it may be meant for files/ (scratch_stray.c); then its maker's … */
	gid_t gid;            /* … group, and … */
	int64_t idle;         /* … since when nobody has it open, as far as was seen; 0: somebody has */
	bool was_data;        /* it was data.json once, and renamed away: renamed back, all of it comes back */
	bool moved;           /* it is what data.json was, renamed away, and nothing has come back since … */
	int64_t moved_at;     /* … this moment; … */
	struct buf was;       /* … then it was this, whatever has been written to the file since */

	pthread_mutex_t lock; /* guards all below */
	struct buf bytes;
	struct charge charge; /* for them, … */
	size_t held;          /* … and for what `base` and `was` take. Atomic for threads with b->lock */
	int64_t modified;
};

/* Takes it off the bucket's list; whoever calls puts the list's reference. With b->lock held. */
void scratch_unlink_from_list(struct bucket *b, struct scratch *s);
/* Whether a name may be that of a new document that somebody is about to move onto data.json: new.json, tmp. Pure. */
bool scratch_may_stray(struct slice name);
/* Such a file was made. With b->lock held. */
void scratch_strays_add(struct fs *fs, struct scratch *s, const struct caller *who);
