/* Who has been told to look again.
 *
 * ESTALE as the answer to an open makes the kernel look the whole path up again and open what it finds, once (version.h).
 * Until then it is kept here which thread that was, what it wanted, and what it is to find. A look-up or an open by the
 * same thread belongs to that only if it is of the same name and wants the same: the second attempt may have ended before it
 * came so far (the name was gone by then and the file was created, say), and what that thread opens next is another matter. */
#pragma once

#include "bucket/file.h"

struct redirect {
	struct redirect *next;
	pid_t thread;
	uint64_t from;   /* the inode that it tried to open, … */
	uint64_t names[2]; /* … by one of these names (redirect_name): the one it has and the one it lost last; 0: none */
	unsigned wants;  /* tree_open_flag */
	struct file *to; /* referenced; NULL: what it tried was gone, so this is decided when it looks */
	uint64_t node;   /* of data.json, instead of a file (data_node.h); 0: none */
	int64_t since;
	bool refused;    /* the name by which it looked again is not one that it may be opened by */
};

/* A name in a folder, as a number. */
uint64_t redirect_name(const struct bucket *b, uint64_t parent, struct slice name);

/* Replaces what there was of the same thread. Takes the reference on r->to over, also on failure: -ENOMEM. */
int redirect_add(struct fs *fs, const struct redirect *r);
/* Takes the thread's out; NULL: it has none. Nobody's is thread 0: what has not been come for in time goes with every call. */
struct redirect *redirect_take(struct fs *fs, pid_t thread);
/* NULL is fine. Under no lock of a file or a bucket. */
void redirect_free(struct redirect *r);
/* What a thread that looks again is to find by this name, referenced, or NULL. With b->lock held. */
struct file *redirect_find(struct fs *fs, const struct bucket *b, pid_t thread, uint64_t parent, struct slice name);
/* Whether a thread looks again for this name, and what it wants there. */
bool redirect_is(struct fs *fs, const struct bucket *b, pid_t thread, uint64_t parent, struct slice name, unsigned *wants);
/* The node of data.json that a thread which looks again is to find by this name; 0: none. */
uint64_t redirect_node(struct fs *fs, const struct bucket *b, pid_t thread, uint64_t parent, struct slice name);
/* The name by which a thread looks again is refused, of which it is told when it opens what it finds. */
void redirect_refuse(struct fs *fs, pid_t thread);
/* What it finds is held until it comes. Takes no reference over. */
void redirect_hold(struct fs *fs, pid_t thread, struct file *f);
/* At the end of the mount. */
void redirect_drop_all(struct fs *fs);

/* The latest nodes that were deleted or moved, and the names that they had: who comes to open one has looked it up a moment
 * ago. */
enum { redirect_lost_max = 1024 };
struct redirect_lost {
	uint64_t inode, name;
};
void redirect_note_lost(struct fs *fs, uint64_t inode, uint64_t name);
/* 0: it has lost none, or that is not known any more. */
uint64_t redirect_lost_name(struct fs *fs, uint64_t inode);
