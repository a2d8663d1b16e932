/* What tree.c (finding and opening), tree_change.c (making, removing, moving) and tree_list.c share. With b->lock held unless
 * said otherwise. */
#pragma once

#include "bucket/tree.h"

/* The first of them that was not overtaken; not referenced. */
struct file *tree_find_making(struct bucket *b, uint64_t parent, struct slice name);
/* 0 for a folder that things may be put into. */
int tree_check_folder(struct fs *fs, struct bucket *b, uint64_t parent);
/* Whether one more file or folder of this name may be. */
int tree_check_room(struct fs *fs, struct bucket *b, struct slice name, bool folder, struct reason *why);
/* Whether so many bytes more may be, which are in no content. BUCKET_OVER_QUOTA. */
int tree_check_bytes(const struct bucket *b, uint64_t bytes, struct reason *why);
/* A record for something new, without a number. Without the lock. */
struct node tree_new_node(struct fs *fs, const struct caller *who, enum node_kind kind, uint64_t parent, struct slice name,
			  struct slice given);
/* The open file for a number, made if need be; referenced. Without the lock. BUCKET_GONE, BUCKET_IS_FOLDER. */
int tree_get_file(struct fs *fs, struct bucket *b, uint64_t number, struct file **out);
/* stat of a record, and of what an open file knows better. Neither needs the lock. */
void tree_fill(const struct bucket_look *look, const struct bucket *b, const struct node *n, struct attr *attr);
void tree_fill_open(struct fs *fs, struct bucket *b, struct file *f, struct attr *attr);

/* ---- tree_depth.c, with b->lock held ---- */

/* How many folders there are from files/ to this one: 0 for files/ itself. */
int tree_depth(struct fs *fs, struct bucket *b, uint64_t folder, unsigned *depth);
/* Whether a folder may be made in this one. BUCKET_NAME_TOO_LONG over tree_depth_max. */
int tree_check_depth(struct fs *fs, struct bucket *b, uint64_t parent, struct reason *why);
/* Whether a folder may be moved there with all that is in it. BUCKET_NAME_TOO_LONG. */
int tree_check_move(struct fs *fs, struct bucket *b, const struct node *folder, uint64_t parent, struct reason *why);
/* A folder has been moved. */
void tree_forget_depths(struct bucket *b);
