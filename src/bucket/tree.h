/* The tree under files/: finding, making, removing, renaming and listing. Names come as given and are found by their
 * normalised form (name.h). A parent is NODE_FILES or a folder's number. */
#pragma once

#include "bucket/bucket.h"
#include "bucket/file.h"

/* stat of a node, NODE_FILES included. Readers see everything; who may only edit sees files that are their own or that
 * they have open, and of folders only that they are there. BUCKET_GONE, BUCKET_DENIED. */
int tree_attr(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct attr *attr);
/* Who looks waits for files that were closed before a moment (fs_moment) and are not published yet: for any of them at first, and
 * for no later ones when they ask again, or not at all. That somebody else has none of them open is a guess, with a limit
 * (version_wait); after that they wait for those only whose release is here, however long the disk takes for it. */
#define TREE_CLOSED_ANY INT64_MAX
#define TREE_CLOSED_NONE 0
static inline int64_t tree_closed_received(int64_t moment)
{
	return moment < 0 ? moment : -moment;
}
/* What has this name. *canonical: the name was given in its stored form. BUCKET_ABSENT, BUCKET_DENIED; BUCKET_WAIT: it was
 * closed, before then, and is not published yet. */
int tree_lookup(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		int64_t closed, struct attr *attr, bool *canonical);
/* The name as it was given at creation. */
int tree_given_name(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct buf *name);
/* Where a symbolic link leads. BUCKET_INVALID: it is none. */
int tree_target(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct buf *target);
/* Who made a file, and in which job. */
int tree_source(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct buf *job, uint32_t *uid);
/* The number of the folder that a node is in. BUCKET_GONE. */
int tree_parent(struct fs *fs, struct bucket *b, uint64_t number, uint64_t *parent);

enum tree_open_flag {
	TREE_READ = 1,
	TREE_WRITE = 2,
	TREE_TRUNCATE = 4,
	TREE_APPEND = 8,
	TREE_EXCLUSIVE = 16, /* tree_create: must not exist */
	TREE_REPLACE = 32,   /* set by version_choose: see struct file_open */
};

/* Opens a file by number. BUCKET_GONE, BUCKET_DENIED, BUCKET_IS_FOLDER, BUCKET_IS_LINK, BUCKET_REDIRECTED; BUCKET_WAIT as above, for who writes
 * to a new file and for who reads what a killed writer has closed. */
int tree_open(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, unsigned flags, int64_t closed,
	      struct file_open **out, struct reason *why);
/* Creates and opens, or opens what is there. BUCKET_EXISTS, BUCKET_OVER_QUOTA (max_files), BUCKET_NOT_PERMITTED (a type
 * that is not accepted), BUCKET_NAME_TOO_LONG. *canonical as in tree_lookup. */
int tree_create(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		uint32_t mode, unsigned flags, struct file_open **out, bool *canonical, struct reason *why);
int tree_mkdir(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
	       uint64_t *number, bool *canonical, struct reason *why);
/* A symbolic link, whose target is kept as it is given. BUCKET_NOT_PERMITTED with symlinks=off; BUCKET_OVER_QUOTA. */
int tree_symlink(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name, struct slice target,
		 uint64_t *number, bool *canonical, struct reason *why);
/* unlink, or rmdir with `folder`. BUCKET_IS_FOLDER, BUCKET_NOT_FOLDER, BUCKET_NOT_EMPTY. */
int tree_unlink(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		bool folder, bool *canonical);
/* rmdir of files/ itself: it is always there, so if it is empty this only ends the inode. */
int tree_remove_root(struct fs *fs, struct bucket *b, const struct caller *who);
/* Publishes what is being made. BUCKET_WAIT as above, if its writer was killed; BUCKET_BUSY: it is not whole. */
int tree_rename(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		uint64_t new_parent, struct slice new_name, bool no_replace, int64_t closed, bool *canonical, struct reason *why);

/* What may be set of a node; NULL stays. */
struct tree_change {
	const uint32_t *mode; /* only its execute bits */
	const int64_t *accessed, *modified;
};
int tree_set(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number,
	     const struct tree_change *change);
/* Changes a record. */
void tree_apply(struct node *n, const struct tree_change *change, int64_t now);
/* truncate(2) by name. BUCKET_WAIT as above. */
int tree_truncate(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, uint64_t size, int64_t closed,
		  struct reason *why);
/* If the node is open: notes there that it has extended attributes, which are about to change. Else nothing is done, and the caller
 * changes its record. BUCKET_GONE: it has no name any more. */
int tree_mark_attributes(struct fs *fs, struct bucket *b, uint64_t number, bool *open);

/* The nodes in a folder whose number is greater than `after`, in the order of numbers, until `each` returns nonzero;
 * that is returned. Files that are not published are not listed. BUCKET_WAIT as above. */
int tree_list(struct fs *fs, struct bucket *b, uint64_t parent, uint64_t after, int64_t closed,
	      int (*each)(void *context, const struct node *node, const struct attr *attr), void *context);
/* The numbers of what is in the store and not published, sorted; with b->lock held. */
int tree_unlisted(struct bucket *b, struct buf *numbers);
bool tree_is_unlisted(const struct buf *numbers, uint64_t number);
/* Every node of the bucket, in no particular order; without those whose records are damaged, which the log names. */
int tree_each(struct fs *fs, struct bucket *b, int (*each)(void *context, const struct node *node), void *context);

/* How deep folders may be in one another. */
enum { tree_depth_max = 4096 };

/* ---- for version.c and file.c; with b->lock held ---- */

/* A node as it was found: its record's bytes, or the open file that no commit knows yet. */
struct found {
	struct node node;
	struct buf record;
	struct file *pending; /* not referenced: valid while b->lock is held */
};
void tree_found_release(struct found *f);
/* By number and parent. BUCKET_GONE. */
int tree_get_record(struct fs *fs, struct bucket *b, uint64_t parent, uint64_t number, struct found *out);
/* The files that are being made under a name, one after the other; after: NULL gives the first. With b->lock held. */
struct file *tree_next_making(struct bucket *b, uint64_t parent, struct slice name, struct file *after);
/* By name in its normalised form. BUCKET_ABSENT. */
int tree_find_name(struct fs *fs, struct bucket *b, uint64_t parent, struct slice name, struct found *out);
/* Whether something in the store has the name of a file that is not there yet. */
int tree_name_is_taken(struct file *f, bool *taken);
int tree_put_record(const struct node *n, struct store_batch *batch);
void tree_put_name(struct fs *fs, struct bucket *b, const struct node *n, struct store_batch *batch);
/* The same for a new file whose name is known to be free. */
void tree_put_own_name(struct fs *fs, struct bucket *b, const struct node *n, struct store_batch *batch);
/* By number alone. BUCKET_GONE. */
int tree_find_number(struct fs *fs, struct bucket *b, uint64_t number, struct found *out);
/* Adds the end of a node to a batch. If it is open, its content is kept for those who have it: *open is that file, to be
 * told (file_unlinked) after the commit. `heir` (or NULL) takes its place: it falls back to its content (settle.h), and the caller gives it the name. */
struct settle;
int tree_delete_node(struct fs *fs, struct bucket *b, const struct node *n, struct settle *heir, struct head *head,
		     struct store_batch *batch, struct file **open);
/* Gives a node the partial's name in a batch. */
int tree_make_partial(struct fs *fs, struct bucket *b, const struct node *n, struct head *head, struct store_batch *batch);
/* `old` is about to be replaced by something that was given this name. If that is another name with the same stored
 * form: a warning, or BUCKET_EXISTS with collide=refuse. */
int tree_collision(struct fs *fs, struct bucket *b, const struct caller *who, const struct node *old, struct slice given,
		   struct reason *why);
/* So many files and bytes are needed, more than the limits leave: partials that nobody has open go, oldest first.
 * BUCKET_OVER_QUOTA if they would not suffice: then none goes. BUCKET_LONG. */
int tree_make_room(struct fs *fs, struct bucket *b, uint64_t files, uint64_t bytes);
/* A folder's time of change is now. */
int tree_touch(struct fs *fs, struct bucket *b, uint64_t folder, struct head *head, struct store_batch *batch);
/* Gives an open file the name and folder of a record. */
void tree_move_open(struct file *f, const struct node *to);
/* The files of a folder that are not published lose their names. Changes nothing if something in it is published. */
int tree_drop_unlisted(struct fs *fs, struct bucket *b, uint64_t parent);
