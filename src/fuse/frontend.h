/* The FUSE frontend: what the operations share.
 *
 * An operation decodes its request into a `call`, makes one call into the domain and replies once. Requests are served
 * by whichever thread receives them; what waits for the disk is handed to a thread of its own (later.h), and what takes
 * long or asks the name service to the workers (worker.h). The kernel is notified from the notifier alone (notify.h).
 */
#pragma once

#include "bucket/control.h"
#include "bucket/data.h"
#include "bucket/scratch.h"
#include "bucket/file.h"
#include "bucket/tree.h"
#include "fuse/idle.h"
#include "fuse/lowlevel.h"

/* How many requests a CPU's ring takes at once, over io_uring. */
enum { ring_places = 32 };

/* How long the kernel may keep what only this mount can change; seconds. */
#define CACHE_SECONDS 86400.0

struct frontend {
	struct fs *fs;
	struct fuse_session *session;
	struct notifier *notifier;
	struct rings *rings;
	struct later *disk;  /* fsync */
	struct workers *workers; /* whatever may take long */
	struct patience *patience;   /* names, folders, opens, sizes and renames */
	struct patience *publishing; /* transactions */
	bool sync_on_close;  /* mount option sync */
	bool io_uring;       /* asked for, and offered by the kernel */
	bool passthrough;    /* the same */
	bool store_is_stacked; /* on another filesystem, such as a container's */
	bool direct_files;   /* files may be opened for direct I/O: they can be mapped all the same */
	bool passthrough_failed; /* atomic: it was tried and does not work */
	const char *editors;    /* programs that save in place, colon-separated; NULL: editor_default */
	const char *job_env;    /* which environment variables name a job, comma-separated; NULL: BUCKETFS_JOB */
	const char *job_schema; /* a folder of schemas for new @job buckets, or NULL */
	const char *device_acl; /* the first lists of @device, or NULL */

	pthread_mutex_t lock;
	struct handle *handles;
	struct idle idle; /* of the thread that looks at it each second */
	/* A bit for some inodes each, atomic: they were written with O_DIRECT. Beside that a reader may leave old bytes in the page cache. */
	uint64_t written_direct[64];
};

/* How the kernel reaches a file's content (io_mode.h). MAPPABLE: it may be mapped, as it can be read. */
enum io_mode { IO_CACHED, IO_DIRECT, IO_DIRECT_MAPPABLE, IO_PASSED, IO_PASSED_DIRECT };

/* What fi->fh points at. */
struct handle {
	struct handle *previous, *next; /* frontend->lock */
	struct data_handle *data;       /* one of the four, or none */
	struct file_open *file;
	struct control_handle *control;
	struct scratch *scratch;
	struct charge charge;
	bool scratch_closed; /* for scratch_closes */
	enum io_mode io_mode; /* of a file */
	pid_t opener;         /* of a file: the thread that opened it */
	bool flushed;         /* of a file: a descriptor of it was closed; atomic */
	bool reviewed;        /* … and somebody has looked since whether there is another one; atomic */
	/* None of them: a folder. The kernel asks once more after the last entry; by then a file may have been replaced, and
	 * its new number would make it appear twice. So this is the cookie that the last listing ended with; 0: it has not. */
	off_t folder_end;
};

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
	struct handle *h = (struct handle *)(uintptr_t)fi->fh;

	order_use(h);
	return h;
}

/* `abandon`: what was not flushed is not published. `req` as for io_mode_close. */
void handle_close(struct frontend *fe, struct handle *h, fuse_req_t req, bool abandon);
/* Looks at files that were closed with something in them and are open all the same: if their opener has them open, a crash must not
 * find them whole. For a thread of its own, about once a second. */
void handle_review(struct frontend *fe);
/* At the end: commits what was acknowledged and names what is still open. */
void handle_drain(struct frontend *fe);

/* One request. */
struct call {
	fuse_req_t req;
	struct frontend *fe;
	struct fs *fs;
	struct caller who;
	struct bucket *b;
	uint64_t node;
	const char *name; /* of the operation */
	const char *leaf; /* the name it was given, or NULL */
	struct reason why;
	bool told;     /* a refusal without `why` has been told of, or programs try this and go on without */
	int64_t began; /* for the metrics */
	bool counted;
};

/* The time at which a request came in, for its metrics; CLOCK_MONOTONIC, ns. */
int64_t call_clock(struct frontend *fe);
/* Finds the bucket. False: it has been replied to. */
bool call_begin(struct call *c, fuse_req_t req, fuse_ino_t inode, const char *name);
/* The same for a request that a process may make of the folder that it is in, though that is gone with its bucket: then *gone is what
 * the folder looks like, and c->b is the root. Else gone->mode is 0. */
bool call_begin_gone(struct call *c, fuse_req_t req, fuse_ino_t inode, const char *name, struct attr *gone);
/* The same for one that may be asked again (patience.h). */
struct question;
struct turn;
bool call_begin_turn(struct call *c, const struct question *q, const struct turn *turn, const char *name);
/* The same for a request that another thread will answer: a job of `size` bytes on the heap, which begins with its call and
 * is zero otherwise. NULL: it has been replied to. Whoever ends the call frees the job. */
void *call_begin_later(size_t size, fuse_req_t req, fuse_ino_t inode, const char *name);
/* Each replies once and ends the call. `result` is a verdict or errno; 0 is success. */
void call_end(struct call *c, int result);
void call_end_attr(struct call *c, int result, const struct attr *attr);
void call_end_entry(struct call *c, int result, const struct attr *attr, bool canonical);
void call_end_written(struct call *c, int result, size_t size);
/* For getxattr and listxattr: the value, or its size if the caller asked for that. */
void call_end_value(struct call *c, int result, struct buf *value, size_t size);
/* Without a reply: it has been sent. */
void call_release(struct call *c);
/* It will be asked again, and counts then. */
void call_postpone(struct call *c);

/* An entry for the kernel, to keep for as long as names of its bucket may be kept. */
struct fuse_entry_param call_entry(const struct call *c, const struct attr *attr, bool canonical);
/* stat of whatever the node is. */
int call_attr(struct call *c, struct attr *attr);
/* data.json as a look-up or a list finds it, as an entry for the kernel to keep. */
int call_data_attr(struct call *c, struct attr *attr);

/* Each takes over what is given, also on failure: BUCKET_OVER_QUOTA if the caller has too many open (bucket/budget.h).
 */
int handle_new_data(struct call *c, struct data_handle *data, struct fuse_file_info *fi);
int handle_new_file(struct call *c, struct file_open *file, struct fuse_file_info *fi);
int handle_new_folder(struct call *c, struct fuse_file_info *fi);
int handle_new_scratch(struct call *c, struct scratch *scratch, struct fuse_file_info *fi);
int handle_new_control(struct call *c, struct control_handle *control, struct fuse_file_info *fi);

static inline bool call_is_root(const struct call *c)
{
	return c->b->number == 0;
}
static inline bool call_in_tx(const struct call *c)
{
	return c->b->number != 0 && c->node == NODE_TX;
}
static inline bool call_is_link(const struct call *c)
{
	return call_is_root(c) && (c->node == NODE_ROOT_DEVICE || c->node == NODE_ROOT_JOB);
}
static inline bool call_is_data(const struct call *c)
{
	return c->node == NODE_DATA || c->node == NODE_DATA_BLIND || snapshot_is(c->node);
}
static inline bool call_in_history(const struct call *c)
{
	return c->b->number != 0 && c->node == NODE_HISTORY;
}
/* The control folder, history/ in it, and their files. */
static inline bool call_in_control(const struct call *c)
{
	return (c->node >= NODE_CONTROL && c->node <= NODE_CONTROL_LAST) || call_in_history(c) ||
	       (c->b->number != 0 && control_is_history(c->node));
}
static inline bool call_in_bucket(const struct call *c)
{
	return c->b->number != 0 && c->node == NODE_BUCKET;
}
static inline bool call_in_tree(const struct call *c)
{
	return c->b->number != 0 && (c->node == NODE_FILES || (c->node >= NODE_FIRST && c->node < NODE_END));
}

/* ---- reply.c: the one place that knows errno values ---- */

int reply_errno(int result);
const char *reply_errno_name(int result);
/* For a refusal that nobody has said anything about; NULL: errno says it all. */
const char *reply_reason(int result);
struct stat reply_stat(const struct attr *attr);
struct fuse_entry_param reply_entry(const struct attr *attr, bool canonical);

/* ---- the operations, one file a subject ---- */

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name);
void op_readlink(fuse_req_t req, fuse_ino_t inode);
void op_link(fuse_req_t req, fuse_ino_t inode, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	       unsigned flags);

void op_opendir(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t inode, int datasync, struct fuse_file_info *fi);

void op_getattr(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t inode, struct stat *st, int set, struct fuse_file_info *fi);
void op_access(fuse_req_t req, fuse_ino_t inode, int mask);
void op_statfs(fuse_req_t req, fuse_ino_t inode);

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t inode, const char *bytes, size_t size, off_t at, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t inode, int datasync, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t inode, int mode, off_t at, off_t len, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t inode, off_t at, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_at, struct fuse_file_info *from_fi, fuse_ino_t to,
			off_t to_at, struct fuse_file_info *to_fi, size_t len, int flags);

void op_getxattr(fuse_req_t req, fuse_ino_t inode, const char *name, size_t size);
void op_setxattr(fuse_req_t req, fuse_ino_t inode, const char *name, const char *value, size_t size, int flags);
void op_removexattr(fuse_req_t req, fuse_ino_t inode, const char *name);
void op_listxattr(fuse_req_t req, fuse_ino_t inode, size_t size);

/* ops_link.c: the node of @device or @job; 0: neither. */
uint64_t link_node(const char *name);
int link_attr(struct call *c, struct attr *attr);

void op_forget(fuse_req_t req, fuse_ino_t inode, uint64_t lookups);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
