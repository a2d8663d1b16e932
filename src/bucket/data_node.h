/* The inode of data.json for each caller, and the descriptors that are open.
 *
 * The kernel keeps one size and one set of pages for an inode. fstat, mmap and sendfile go by them, whatever the
 * descriptor. A document changes while it is open, and a descriptor must show the size of the text that it reads. So
 * while a document is being changed each reader gets an inode of its own (SNAPSHOT_NODE), which no name leads to:
 *
 *   open to read -> BUCKET_REDIRECTED -> the kernel looks the name up again (redirect.h) -> a new node -> open.
 *
 * The name, writers and watchers (inotify) keep NODE_DATA. In quiet times readers have NODE_DATA too, which costs
 * nothing; the first open for writing then waits until the readers of that moment are done. Locks belong to inodes as
 * well: so programs that open a file for others to lock it (shells, flock) always get NODE_DATA. */
#pragma once

#include "bucket/bucket.h"

/* One descriptor of data.json; a part of its handle. Guarded by b->handles_lock once it is added. */
struct data_opened {
	struct data_opened *next, *previous;
	uint64_t node;
	pid_t thread; /* that opened it */
	uid_t uid;
	bool writes;
	bool shows;        /* fstat of it shows this, not what the document has now: */
	uint64_t size;     /* bytes */
	int64_t modified;  /* ns since the epoch */
	struct text *text; /* what it reads as long as it is open; NULL: that changes */
	int64_t since;     /* fs_moment */
	uint64_t document; /* b->data_changes when it was added */
	bool quiet;        /* it was added in a quiet time */
};

enum data_opened_flag {
	DATA_OPENED_WAITS = 1, /* it can be asked again */
	DATA_OPENED_HERE = 2,  /* it is not redirected: the caller has just created the file */
};

/* With node, thread, uid and writes. BUCKET_REDIRECTED: the kernel is to look the name up again. BUCKET_WAIT: a reader
 * has just opened it. Else the caller removes it. */
int data_opened_add(struct fs *fs, struct bucket *b, const struct caller *who, struct data_opened *o, unsigned flags);
/* Has the thread look the name up again, and find a node of its own: BUCKET_REDIRECTED. The kernel does so once for an
 * open, so whatever else is a reason to look again must come with this. */
int data_node_again(struct fs *fs, struct bucket *b, pid_t thread);
void data_opened_remove(struct bucket *b, struct data_opened *o);
/* fstat of it shows this from now on. `text` as above; once it is set, it is not NULL again. */
void data_opened_show(struct bucket *b, struct data_opened *o, uint64_t size, int64_t modified, struct text *text);

/* The text of a snapshot's node, referenced; NULL: it is not open, or it is no such node. A second open of the node
 * (/proc/self/fd) is of the same inode, and so of the same text. */
struct text *data_node_text(struct bucket *b, uint64_t node);
/* The size and time that stat of the node shows the caller, if these are not the document's of now. */
struct data_shown {
	bool is;  /* there is such a thing */
	bool own; /* the caller's user has it open; if they may not read it any more, this is what they have read, … */
	bool has; /* … if they have read anything: */
	uint64_t size;
	int64_t modified;
};
/* `denied`: `own` and `has` are asked for as well. */
struct data_shown data_node_shows(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, bool denied);
/* The node that a look-up of the name finds. */
uint64_t data_node_find(struct fs *fs, struct bucket *b, const struct caller *who);
/* The document is another one now. With b->lock held. */
void data_node_changed(struct fs *fs, struct bucket *b);
