#include "fuse/defer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/caller.h"
#include "fuse/frontend.h"
#include "fuse/worker.h"

/* Over io_uring a request that waits keeps one of the places of its CPU's ring, of which there are ring_places: one
 * user must leave some to the others. A close that is refused loses what was written, so it is refused last. */
enum { most_of_a_user = worker_jobs_of_a_user, most_with_closes = ring_places - 4 };
_Static_assert(most_of_a_user < most_with_closes, "a close is refused last");

enum op {
	OP_LOOKUP, OP_MKDIR, OP_MKNOD, OP_UNLINK, OP_RMDIR, OP_RENAME, OP_OPENDIR, OP_READDIR, OP_READDIRPLUS,
	OP_RELEASEDIR, OP_GETATTR, OP_SETATTR, OP_ACCESS, OP_CREATE, OP_OPEN, OP_READ, OP_WRITE, OP_FLUSH, OP_FSYNC,
	OP_RELEASE, OP_FALLOCATE, OP_LSEEK, OP_COPY, OP_GETXATTR, OP_SETXATTR, OP_REMOVEXATTR, OP_LISTXATTR,
};

/* A request with a copy of everything that it points at. */
struct request {
	enum op op;
	fuse_req_t req;
	fuse_ino_t inode, other;
	const char *name, *new_name, *bytes; /* bytes: `size` of them */
	size_t size;
	off_t at, other_at;
	int flags;
	mode_t mode;
	dev_t device;
	struct stat st;
	bool has_fi;
	struct fuse_file_info fi, other_fi;
};

struct deferred {
	struct worker_job job;
	struct request r;
	char copies[];
};

static _Thread_local bool takes_long, may_defer;

bool defer_request(void)
{
	if (!may_defer || worker_may_take_long())
		return false;
	takes_long = true;
	return true;
}

/* ---- serving ---- */

static void serve(const struct request *r)
{
	/* Operations may change these, and the request may have to be served again. */
	struct fuse_file_info own = r->fi, other = r->other_fi, *fi = r->has_fi ? &own : NULL;
	struct stat st;

	switch (r->op) {
	case OP_LOOKUP: op_lookup(r->req, r->inode, r->name); break;
	case OP_MKDIR: op_mkdir(r->req, r->inode, r->name, r->mode); break;
	case OP_MKNOD: op_mknod(r->req, r->inode, r->name, r->mode, r->device); break;
	case OP_UNLINK: op_unlink(r->req, r->inode, r->name); break;
	case OP_RMDIR: op_rmdir(r->req, r->inode, r->name); break;
	case OP_RENAME: op_rename(r->req, r->inode, r->name, r->other, r->new_name, (unsigned)r->flags); break;
	case OP_OPENDIR: op_opendir(r->req, r->inode, fi); break;
	case OP_READDIR: op_readdir(r->req, r->inode, r->size, r->at, fi); break;
	case OP_READDIRPLUS: op_readdirplus(r->req, r->inode, r->size, r->at, fi); break;
	case OP_RELEASEDIR: op_releasedir(r->req, r->inode, fi); break;
	case OP_GETATTR: op_getattr(r->req, r->inode, fi); break;
	case OP_SETATTR:
		st = r->st;
		op_setattr(r->req, r->inode, &st, r->flags, fi);
		break;
	case OP_ACCESS: op_access(r->req, r->inode, r->flags); break;
	case OP_CREATE: op_create(r->req, r->inode, r->name, r->mode, fi); break;
	case OP_OPEN: op_open(r->req, r->inode, fi); break;
	case OP_READ: op_read(r->req, r->inode, r->size, r->at, fi); break;
	case OP_WRITE: op_write(r->req, r->inode, r->bytes, r->size, r->at, fi); break;
	case OP_FLUSH: op_flush(r->req, r->inode, fi); break;
	case OP_FSYNC: op_fsync(r->req, r->inode, r->flags, fi); break;
	case OP_RELEASE: op_release(r->req, r->inode, fi); break;
	case OP_FALLOCATE: op_fallocate(r->req, r->inode, r->flags, r->at, r->other_at, fi); break;
	case OP_LSEEK: op_lseek(r->req, r->inode, r->at, r->flags, fi); break;
	case OP_COPY:
		op_copy_file_range(r->req, r->inode, r->at, fi, r->other, r->other_at, &other, r->size, r->flags);
		break;
	case OP_GETXATTR: op_getxattr(r->req, r->inode, r->name, r->size); break;
	case OP_SETXATTR: op_setxattr(r->req, r->inode, r->name, r->bytes, r->size, r->flags); break;
	case OP_REMOVEXATTR: op_removexattr(r->req, r->inode, r->name); break;
	case OP_LISTXATTR: op_listxattr(r->req, r->inode, r->size); break;
	}
}

static _Thread_local const struct request *serving;

bool defer_is_abandoned(void)
{
	return serving && caller_is_ending(fuse_req_ctx(serving->req)->pid);
}

static void run(struct worker_job *job)
{
	struct deferred *d = container_of(job, struct deferred, job);

	serving = &d->r;
	serve(&d->r);
	serving = NULL;
	free(d);
}

/* ---- handing on ---- */

static char *copy(char **to, const void *from, size_t size)
{
	char *at = *to;

	memcpy(at, from, size);
	*to += size;
	return at;
}

static struct deferred *make_copy(const struct request *r)
{
	size_t name = r->name ? strlen(r->name) + 1 : 0, new_name = r->new_name ? strlen(r->new_name) + 1 : 0;
	size_t bytes = r->bytes ? r->size : 0;
	struct deferred *d = calloc(1, sizeof(*d) + name + new_name + bytes);
	char *to;

	if (!d)
		return NULL;
	d->r = *r;
	to = d->copies;
	if (r->name)
		d->r.name = copy(&to, r->name, name);
	if (r->new_name)
		d->r.new_name = copy(&to, r->new_name, new_name);
	if (r->bytes)
		d->r.bytes = copy(&to, r->bytes, bytes);
	return d;
}

static uint32_t bucket_of(fuse_ino_t inode)
{
	return (uint32_t)(inode >> inode_node_bits);
}

static void refuse(struct frontend *fe, const struct request *r, int error, const char *text)
{
	struct caller who = {.uid = fuse_req_ctx(r->req)->uid, .pid = fuse_req_ctx(r->req)->pid};
	struct reason why;

	reason_set_own(&why, "%s: try again", text);
	if (error == EBUSY)
		fs_refused(fe->fs, bucket_of(r->inode), &who, "", "EBUSY", &why);
	fuse_reply_err(r->req, error);
}

/* For a rename from folder to folder the kernel has a lock of the whole mount: the next one waits for it, in whichever
 * bucket. */
static bool holds_all(const struct request *r)
{
	return r->op == OP_RENAME && r->inode != r->other;
}

static void hand_on(struct frontend *fe, const struct request *r, bool makes_busy)
{
	uid_t uid = fuse_req_ctx(r->req)->uid;
	/* A release has no caller who could be told to try again. */
	bool ends = r->op == OP_RELEASE || r->op == OP_RELEASEDIR;
	unsigned most = r->op == OP_FLUSH ? most_with_closes : most_of_a_user;
	struct deferred *d;

	if (fe->io_uring && uid && !ends && workers_count(fe->workers, uid) >= most) {
		refuse(fe, r, EBUSY, "as many of your requests as one user may have take long just now");
		return;
	}
	d = make_copy(r);
	if (!d && !ends) {
		refuse(fe, r, ENOMEM, "no memory");
	} else if (!d) {
		serve(r);
	} else {
		d->job = (struct worker_job){.run = run, .uid = uid, .key = r->inode, .bucket = bucket_of(r->inode),
					     .makes_busy = makes_busy, .urgent = holds_all(r)};
		workers_add(fe->workers, &d->job);
	}
}

static bool must_wait(struct frontend *fe, const struct request *r)
{
	return workers_are_busy_in(fe->workers, bucket_of(r->inode)) ||
	       (r->op == OP_COPY && workers_are_busy_in(fe->workers, bucket_of(r->other)));
}

/* The kernel keeps the root locked while a bucket is removed: nobody could look up another one while this one waits. */
static bool removes_busy(struct frontend *fe, const struct request *r)
{
	struct bucket *b;
	bool is;

	if (r->op != OP_RMDIR || r->inode != FUSE_ROOT_ID || bucket_lookup(fe->fs, slice_str(r->name), &b))
		return false;
	is = workers_are_busy_in(fe->workers, b->number);
	bucket_put(fe->fs, b);
	return is;
}

static void begin(const struct request *r)
{
	struct frontend *fe = fuse_req_userdata(r->req);

	if (removes_busy(fe, r)) {
		refuse(fe, r, EBUSY, "the bucket is at work that takes long");
		return;
	}
	if (must_wait(fe, r)) {
		hand_on(fe, r, false);
		return;
	}
	worker_serves(true);
	takes_long = false;
	may_defer = true;
	serve(r);
	may_defer = false;
	if (takes_long)
		hand_on(fe, r, true);
}

/* ---- what libfuse calls ---- */

#define BEGIN(...) begin(&(struct request){__VA_ARGS__})

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	BEGIN(.op = OP_LOOKUP, .req = req, .inode = parent, .name = name);
}

static void mkdir_(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	BEGIN(.op = OP_MKDIR, .req = req, .inode = parent, .name = name, .mode = mode);
}

static void mknod_(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	BEGIN(.op = OP_MKNOD, .req = req, .inode = parent, .name = name, .mode = mode, .device = device);
}

static void unlink_(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	BEGIN(.op = OP_UNLINK, .req = req, .inode = parent, .name = name);
}

static void rmdir_(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	BEGIN(.op = OP_RMDIR, .req = req, .inode = parent, .name = name);
}

static void rename_(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		    unsigned flags)
{
	BEGIN(.op = OP_RENAME, .req = req, .inode = parent, .name = name, .other = new_parent, .new_name = new_name,
	      .flags = (int)flags);
}

static void opendir_(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_OPENDIR, .req = req, .inode = inode, .has_fi = true, .fi = *fi);
}

static void readdir_(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_READDIR, .req = req, .inode = inode, .size = size, .at = at, .has_fi = true, .fi = *fi);
}

static void readdirplus(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_READDIRPLUS, .req = req, .inode = inode, .size = size, .at = at, .has_fi = true, .fi = *fi);
}

static void releasedir(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_RELEASEDIR, .req = req, .inode = inode, .has_fi = true, .fi = *fi);
}

static void getattr(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	(void)fi;
	BEGIN(.op = OP_GETATTR, .req = req, .inode = inode);
}

static void setattr(fuse_req_t req, fuse_ino_t inode, struct stat *st, int set, struct fuse_file_info *fi)
{
	struct request r = {.op = OP_SETATTR, .req = req, .inode = inode, .st = *st, .flags = set, .has_fi = fi};

	if (fi)
		r.fi = *fi;
	begin(&r);
}

static void access_(fuse_req_t req, fuse_ino_t inode, int mask)
{
	BEGIN(.op = OP_ACCESS, .req = req, .inode = inode, .flags = mask);
}

static void create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_CREATE, .req = req, .inode = parent, .name = name, .mode = mode, .has_fi = true, .fi = *fi);
}

static void open_(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_OPEN, .req = req, .inode = inode, .has_fi = true, .fi = *fi);
}

static void read_(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_READ, .req = req, .inode = inode, .size = size, .at = at, .has_fi = true, .fi = *fi);
}

static void write_(fuse_req_t req, fuse_ino_t inode, const char *bytes, size_t size, off_t at,
		   struct fuse_file_info *fi)
{
	BEGIN(.op = OP_WRITE, .req = req, .inode = inode, .bytes = bytes, .size = size, .at = at, .has_fi = true, .fi = *fi);
}

static void flush(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_FLUSH, .req = req, .inode = inode, .has_fi = true, .fi = *fi);
}

static void fsync_(fuse_req_t req, fuse_ino_t inode, int datasync, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_FSYNC, .req = req, .inode = inode, .flags = datasync, .has_fi = true, .fi = *fi);
}

static void release(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_RELEASE, .req = req, .inode = inode, .has_fi = true, .fi = *fi);
}

static void fallocate_(fuse_req_t req, fuse_ino_t inode, int mode, off_t at, off_t len, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_FALLOCATE, .req = req, .inode = inode, .flags = mode, .at = at, .other_at = len, .has_fi = true,
	      .fi = *fi);
}

static void lseek_(fuse_req_t req, fuse_ino_t inode, off_t at, int whence, struct fuse_file_info *fi)
{
	BEGIN(.op = OP_LSEEK, .req = req, .inode = inode, .at = at, .flags = whence, .has_fi = true, .fi = *fi);
}

static void copy_file_range_(fuse_req_t req, fuse_ino_t from, off_t from_at, struct fuse_file_info *from_fi,
			     fuse_ino_t to, off_t to_at, struct fuse_file_info *to_fi, size_t len, int flags)
{
	BEGIN(.op = OP_COPY, .req = req, .inode = from, .at = from_at, .has_fi = true, .fi = *from_fi, .other = to,
	      .other_at = to_at, .other_fi = *to_fi, .size = len, .flags = flags);
}

static void getxattr_(fuse_req_t req, fuse_ino_t inode, const char *name, size_t size)
{
	BEGIN(.op = OP_GETXATTR, .req = req, .inode = inode, .name = name, .size = size);
}

static void setxattr_(fuse_req_t req, fuse_ino_t inode, const char *name, const char *value, size_t size, int flags)
{
	BEGIN(.op = OP_SETXATTR, .req = req, .inode = inode, .name = name, .bytes = value, .size = size, .flags = flags);
}

static void removexattr_(fuse_req_t req, fuse_ino_t inode, const char *name)
{
	BEGIN(.op = OP_REMOVEXATTR, .req = req, .inode = inode, .name = name);
}

static void listxattr_(fuse_req_t req, fuse_ino_t inode, size_t size)
{
	BEGIN(.op = OP_LISTXATTR, .req = req, .inode = inode, .size = size);
}

const struct fuse_lowlevel_ops defer_ops = {
	.lookup = lookup,
	.mkdir = mkdir_,
	.mknod = mknod_,
	.readlink = op_readlink,
	.symlink = op_symlink,
	.link = op_link,
	.unlink = unlink_,
	.rmdir = rmdir_,
	.rename = rename_,
	.opendir = opendir_,
	.readdir = readdir_,
	.readdirplus = readdirplus,
	.releasedir = releasedir,
	.fsyncdir = op_fsyncdir,
	.getattr = getattr,
	.setattr = setattr,
	.access = access_,
	.statfs = op_statfs,
	.create = create,
	.open = open_,
	.read = read_,
	.write = write_,
	.flush = flush,
	.fsync = fsync_,
	.release = release,
	.fallocate = fallocate_,
	.lseek = lseek_,
	.copy_file_range = copy_file_range_,
	.getxattr = getxattr_,
	.setxattr = setxattr_,
	.removexattr = removexattr_,
	.listxattr = listxattr_,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	/* No getlk, setlk, flock: the kernel's own locks are right for a filesystem of one host, and requests over
	 * io_uring cannot be interrupted. */
};
