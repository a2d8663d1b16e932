/* Operations on open files: data.json and what is in files/. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bucket/control.h"
#include "bucket/data_node.h"
#include "fuse/caller.h"
#include "fuse/control_file.h"
#include "fuse/defer.h"
#include "fuse/editor.h"
#include "fuse/frontend.h"
#include "fuse/io_mode.h"
#include "fuse/metrics.h"
#include "fuse/notify.h"
#include "fuse/patience.h"
#include "fuse/sync.h"
#include "fuse/worker.h"
#include "util/log.h"

/* ---- opening ---- */

static unsigned data_flags(int flags)
{
	int mode = flags & O_ACCMODE;

	return (mode != O_WRONLY ? DATA_READ : 0) | (mode != O_RDONLY ? DATA_WRITE : 0) |
	       (flags & O_TRUNC ? DATA_TRUNCATE : 0);
}

static unsigned tree_flags(int flags)
{
	int mode = flags & O_ACCMODE;

	return (mode != O_WRONLY ? TREE_READ : 0) | (mode != O_RDONLY ? TREE_WRITE : 0) |
	       (flags & O_TRUNC ? TREE_TRUNCATE : 0) | (flags & O_APPEND ? TREE_APPEND : 0) |
	       (flags & O_EXCL ? TREE_EXCLUSIVE : 0);
}

/* The second half of a save whose first half moved data.json away, or *took is false. */
static int open_saved(struct call *c, bool reads, bool *took, struct fuse_file_info *fi)
{
	struct data_handle *data = NULL;
	struct reading_key reader = {0};
	struct text *read = editor_base(c, &reader);
	int r = scratch_recreate(c->fs, c->b, &c->who, read, reads, took, &data, &c->why);

	data_text_put(read);
	if (r || !*took)
		return r;
	if (reader.source)
		data_keep_reading(data, &reader);
	return handle_new_data(c, data, fi);
}

static int open_data(struct call *c, unsigned flags, struct fuse_file_info *fi)
{
	struct reading_key reader = {0};
	struct data_handle *data;
	bool took = false;
	struct text *base;
	int r = 0;

	if (flags & DATA_WRITE && flags & DATA_TRUNCATE && scratch_is_saving(c->fs, c->b, &c->who))
		r = open_saved(c, flags & DATA_READ, &took, fi);
	if (r || took)
		return r;
	base = flags & DATA_WRITE ? scratch_editor_base(c->b, &c->who) : NULL;
	if (!base && flags & DATA_WRITE && flags & DATA_TRUNCATE)
		base = editor_base(c, &reader);
	r = base ? data_open_edit(c->fs, c->b, &c->who, c->node, base, flags, &data, &c->why) :
		   data_open(c->fs, c->b, &c->who, c->node, flags, &data, &c->why);
	if (r)
		return r;
	if (!(flags & DATA_WRITE))
		editor_reads(c, &reader);
	if (reader.source)
		data_keep_reading(data, &reader);
	return handle_new_data(c, data, fi);
}

static int open_scratch(struct call *c, struct fuse_file_info *fi)
{
	struct scratch *scratch;
	int r = scratch_open(c->fs, c->b, &c->who, c->node, fi->flags & O_TRUNC, &scratch);

	if (r)
		return r;
	if (fi->flags & O_TRUNC)
		editor_copies(c);
	return handle_new_scratch(c, scratch, fi);
}

static int create_scratch(struct call *c, const char *name, struct fuse_file_info *fi, struct attr *attr)
{
	struct scratch *scratch;
	int r = scratch_create(c->fs, c->b, &c->who, slice_str(name), fi->flags & O_EXCL,
			       (fi->flags & O_ACCMODE) == O_RDWR, &scratch, &c->why);

	if (r)
		return r;
	editor_copies(c);
	r = scratch_attr(c->fs, c->b, &c->who, scratch_node(scratch), attr);
	if (r) {
		scratch_put(scratch);
		return r;
	}
	return handle_new_scratch(c, scratch, fi);
}

static int open_tree(struct call *c, int64_t closed, struct fuse_file_info *fi)
{
	struct file_open *file;
	int r = tree_open(c->fs, c->b, &c->who, c->node, tree_flags(fi->flags), closed, &file, &c->why);

	return r ? r : handle_new_file(c, file, fi);
}

struct open_question {
	struct question q;
	struct fuse_file_info fi;
};

static bool ask_open(const struct question *q, const struct turn *turn)
{
	struct fuse_file_info fi = container_of(q, struct open_question, q)->fi;
	struct call c;
	struct attr attr;
	int r;

	if (!call_begin_turn(&c, q, turn, "open"))
		return true;
	if (call_in_control(&c)) {
		/* What is in there may ask the name service. */
		call_postpone(&c);
		control_file_open(q->req, q->inode, NULL, &fi);
		return true;
	}
	if (call_is_data(&c)) {
		r = data_attr(c.fs, c.b, &c.who, &attr);
		/* Removed since it was looked up: the kernel looks again, and creates it. */
		if (r == BUCKET_ABSENT && c.node == NODE_DATA)
			r = data_flags(fi.flags) == DATA_READ ? data_node_again(c.fs, c.b, c.who.pid) : BUCKET_GONE;
		if (!r)
			r = open_data(&c, data_flags(fi.flags) | (turn->closed > 0 ? DATA_WAITS : 0), &fi);
	} else if (scratch_is(c.node)) {
		r = open_scratch(&c, &fi);
	} else {
		r = call_in_tree(&c) ? open_tree(&c, turn->closed, &fi) : BUCKET_IS_FOLDER;
	}
	if (r == BUCKET_WAIT) {
		call_postpone(&c);
		return false;
	}
	if (r) {
		call_end(&c, r);
		return true;
	}
	/* If the open was interrupted meanwhile, nobody will ever close it. */
	if (fuse_reply_open(q->req, &fi) == -ENOENT)
		handle_close(c.fe, handle_of(&fi), q->req, true);
	call_release(&c);
	return true;
}

void op_open(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct open_question q = {{.req = req, .inode = inode, .ask = ask_open}, *fi};

	question_put(&q.q, sizeof(q));
}

static int create_data(struct call *c, struct fuse_file_info *fi, struct attr *attr)
{
	unsigned created = 0;
	bool took = false;
	int r = data_attr(c->fs, c->b, &c->who, attr);

	if (!r && fi->flags & O_EXCL)
		return BUCKET_EXISTS;
	if (r == BUCKET_ABSENT) {
		r = open_saved(c, (fi->flags & O_ACCMODE) == O_RDWR, &took, fi);
		if (!r && !took)
			r = data_create(c->fs, c->b, &c->who);
		created = DATA_CREATED;
	}
	c->node = NODE_DATA;
	if (!r && !took)
		r = open_data(c, data_flags(fi->flags) | created, fi);
	return r ? r : call_data_attr(c, attr);
}

static int create_tree(struct call *c, const char *name, mode_t mode, struct fuse_file_info *fi, struct attr *attr,
		       bool *canonical)
{
	struct file_open *file;
	uint64_t inode;
	bool version;
	int r = tree_create(c->fs, c->b, &c->who, c->node, slice_str(name), mode, tree_flags(fi->flags), &file, canonical,
			    &c->why);

	if (r)
		return r;
	if (!*canonical)
		notifier_spelled(c->fe->notifier, inode_of(c->b->number, c->node), slice_str(name), false);
	inode = file->file->inode;
	version = file_is(&file->file->version);
	r = handle_new_file(c, file, fi);
	if (r)
		return r;
	/* Whoever created it has it open, so they may see it even where they may not read. */
	r = tree_attr(c->fs, c->b, &c->who, inode & INODE_NODE_MASK, attr);
	/* Others find something else by this name. */
	attr->private |= version;
	if (r)
		handle_close(c->fe, handle_of(fi), c->req, true);
	return r;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param entry;
	struct call c;
	struct attr attr;
	bool canonical = true;
	int r = BUCKET_NOT_PERMITTED;

	if (!call_begin(&c, req, parent, "create"))
		return;
	c.leaf = name;
	if (c.node == NODE_CONTROL && !call_is_root(&c) && control_node(slice_str(name))) {
		call_postpone(&c);
		control_file_open(req, inode_of((uint32_t)(parent >> inode_node_bits), control_node(slice_str(name))), name, fi);
		return;
	}
	if (call_in_tree(&c))
		r = create_tree(&c, name, mode, fi, &attr, &canonical);
	else if (call_in_bucket(&c) && slice_equal(slice_str(name), slice_str("data.json")))
		r = create_data(&c, fi, &attr);
	else if (call_in_bucket(&c) && slice_equal(slice_str(name), slice_str("files")))
		r = BUCKET_IS_FOLDER;
	else if (call_in_bucket(&c))
		r = create_scratch(&c, name, fi, &attr);
	else if (call_in_tx(&c) || call_in_control(&c))
		reason_set(&c.why, ".bucketfs/ holds what it holds; a transaction is begun with mkdir in .bucketfs/tx/");
	else
		reason_set(&c.why, "the root of the mount holds buckets only: make one with mkdir");
	if (r) {
		call_end(&c, r);
		return;
	}
	entry = call_entry(&c, &attr, canonical);
	if (fuse_reply_create(req, &entry, fi) == -ENOENT)
		handle_close(c.fe, handle_of(fi), req, true);
	call_release(&c);
}

void op_release(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct frontend *fe = fuse_req_userdata(req);
	int64_t began = call_clock(fe);

	(void)inode;
	handle_close(fe, handle_of(fi), req, false);
	patience_wake(fe->patience);
	patience_wake(fe->publishing);
	fuse_reply_err(req, 0);
	metrics_count("release", 0, began);
}

/* ---- what is done by a thread of its own ---- */

/* A request on an open file that waits for the disk in the middle. */
struct slow_request {
	struct worker_job job;
	fuse_req_t req;
	fuse_ino_t inode;
	struct fuse_file_info fi;
	struct file *file; /* referenced, for the handle may be closed once there is an answer */
	bool changes;
	int mode;
	off_t at;
	size_t size;
	off_t from_at; /* of a copy */
	struct fuse_file_info from_fi;
	char bytes[];
};

/* False: there is no memory for it, and it is done where it was received. A reader that came between would be given the old bytes, and
 * leave them in the page cache, where the kernel has the new ones already: so reading waits in the same row (`is_changing`). */
static bool do_later(fuse_req_t req, fuse_ino_t inode, const struct fuse_file_info *fi, const struct slow_request *what, const char *bytes,
		     void (*run)(struct worker_job *job))
{
	struct frontend *fe = fuse_req_userdata(req);
	size_t len = bytes ? what->size : 0;
	struct slow_request *slow = malloc(sizeof(*slow) + len);

	if (!slow)
		return false;
	*slow = *what;
	slow->job = (struct worker_job){.run = run,
					.uid = fuse_req_ctx(req)->uid,
					.key = inode,
					.bucket = (uint32_t)(inode >> inode_node_bits)};
	slow->req = req;
	slow->inode = inode;
	slow->fi = *fi;
	if (len)
		memcpy(slow->bytes, bytes, len);
	slow->file = file_share(handle_of(fi)->file->file);
	__atomic_add_fetch(&slow->file->slow, slow->changes, __ATOMIC_ACQ_REL);
	workers_add(fe->workers, &slow->job);
	return true;
}

static bool is_changing(const struct handle *h)
{
	return __atomic_load_n(&h->file->file->slow, __ATOMIC_ACQUIRE);
}

static void slow_end(struct slow_request *slow)
{
	__atomic_sub_fetch(&slow->file->slow, slow->changes, __ATOMIC_ACQ_REL);
	file_put(slow->file);
	free(slow);
}

/* ---- reading and writing ---- */

/* For telling of it: its name now. */
static const char *file_leaf(struct file *f, char leaf[name_max + 1])
{
	bucket_lock(f->b);
	memcpy(leaf, f->name, f->node.name.len);
	leaf[f->node.name.len] = 0;
	bucket_unlock(f->b);
	return leaf;
}

/* With a line in `errors`: a reader that is told EIO wants to know why. `f`: NULL if it is no file in files/. */
static void refuse_read(fuse_req_t req, fuse_ino_t inode, struct file *f, int r)
{
	char leaf[name_max + 1];
	struct call c;

	if (!call_begin(&c, req, inode, "read"))
		return;
	if (f)
		c.leaf = file_leaf(f, leaf);
	if (f && r == -EIO)
		file_explain(f, &c.why);
	call_end(&c, r);
}

static void reply_bytes(fuse_req_t req, fuse_ino_t inode, struct file *f, int r, struct buf *bytes)
{
	metrics_bytes(false, bytes->len);
	if (r)
		refuse_read(req, inode, f, r);
	else
		fuse_reply_buf(req, (char *)bytes->data, bytes->len);
	buf_release(bytes);
}

/* For a thread that serves no ring. Not as read_file does, which answers with the file's lock held: the thread of a
 * ring may wait for that lock, and its answers wait for the thread. */
static void read_copy(fuse_req_t req, fuse_ino_t inode, struct file *f, uint64_t at, size_t size)
{
	struct buf copy = {0};
	size_t got = 0;
	int r = buf_resize(&copy, size);

	if (!r)
		r = file_read(f, at, copy.data, size, &got);
	copy.len = got;
	reply_bytes(req, inode, f, r, &copy);
}

static void read_file(fuse_req_t req, fuse_ino_t inode, struct file *f, uint64_t at, size_t size)
{
	struct fuse_bufvec from = FUSE_BUFVEC_INIT(0);
	struct file_span span;
	struct buf copy = {0};
	size_t got = 0;
	int r = file_read_begin(f, at, size, &span);

	if (r) {
		refuse_read(req, inode, f, r);
		return;
	}
	/* Whoever has the answer may close the file before its lock is given back. */
	file_share(f);
	metrics_bytes(false, span.len);
	if (span.bytes || span.len == 0) {
		fuse_reply_buf(req, span.bytes, span.len);
		file_read_end(f);
	} else if (span.fd >= 0) {
		from.buf[0].size = span.len;
		from.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY;
		from.buf[0].fd = span.fd;
		from.buf[0].pos = (off_t)at;
		fuse_reply_data(req, &from, 0);
		file_read_end(f);
	} else {
		file_read_end(f);
		r = buf_resize(&copy, span.len);
		if (!r)
			r = file_read(f, at, copy.data, span.len, &got);
		copy.len = got;
		reply_bytes(req, inode, f, r, &copy);
	}
	file_put(f);
}

static void run_read(struct worker_job *job)
{
	struct slow_request *slow = container_of(job, struct slow_request, job);
	int64_t began = call_clock(fuse_req_userdata(slow->req));

	read_copy(slow->req, slow->inode, slow->file, (uint64_t)slow->at, slow->size);
	slow_end(slow);
	metrics_count("read", 0, began);
}

void op_read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct buf bytes = {0};
	int64_t began = call_clock(fuse_req_userdata(req));

	if (h->file && is_changing(h) && do_later(req, inode, fi, &(struct slow_request){.at = at, .size = size}, NULL, run_read))
		return;
	if (h->scratch)
		scratch_uses(h->scratch, &h->scratch_closed);
	if (h->control)
		control_file_read(req, h->control, (uint64_t)at, size);
	else if (h->scratch)
		reply_bytes(req, inode, NULL, scratch_read(h->scratch, (uint64_t)at, size, &bytes), &bytes);
	else if (h->file && worker_may_take_long())
		read_copy(req, inode, h->file->file, (uint64_t)at, size);
	else if (h->file)
		read_file(req, inode, h->file->file, (uint64_t)at, size);
	else
		reply_bytes(req, inode, NULL, data_read(h->data, (uint64_t)at, size, &bytes), &bytes);
	metrics_count("read", 0, began);
}

static void write_now(fuse_req_t req, fuse_ino_t inode, const char *bytes, size_t size, off_t at, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct reason why = {.text = ""};
	struct call c;
	/* Pages of a mapping come back to where they belong, and fcntl may have changed the flag since the open. */
	bool append = fi->flags & O_APPEND && !fi->writepage;
	char leaf[name_max + 1];
	int64_t began = call_clock(fuse_req_userdata(req));
	int r;

	if (fi->flags & O_DIRECT && h->file)
		io_mode_written_direct(fuse_req_userdata(req), inode);
	if (h->scratch)
		scratch_uses(h->scratch, &h->scratch_closed);
	if (h->control && defer_request())
		return;
	if (h->control)
		r = control_file_write(h->control, (uint64_t)at, append, slice_of(bytes, size), &why);
	else if (h->scratch)
		r = scratch_write(h->scratch, (uint64_t)at, append, slice_of(bytes, size), &why);
	else if (h->file)
		r = file_write(h->file, (uint64_t)at, append, slice_of(bytes, size), &why);
	else
		r = data_write(h->data, (uint64_t)at, append, slice_of(bytes, size), &why);
	if (!r) {
		fuse_reply_write(req, size);
		metrics_bytes(true, size);
		metrics_count("write", 0, began);
	} else if (call_begin(&c, req, inode, "write")) {
		c.why = why;
		if (h->file)
			c.leaf = file_leaf(h->file->file, leaf);
		if (h->file && r == -EIO && !*why.text)
			file_explain(h->file->file, &c.why);
		call_end(&c, r);
	}
}

static void run_write(struct worker_job *job)
{
	struct slow_request *slow = container_of(job, struct slow_request, job);

	file_change_ahead(slow->file);
	write_now(slow->req, slow->inode, slow->bytes, slow->size, slow->at, &slow->fi);
	slow_end(slow);
}

void op_write(fuse_req_t req, fuse_ino_t inode, const char *bytes, size_t size, off_t at, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct slow_request what = {.changes = true, .at = at, .size = size};
	bool appends = fi->flags & O_APPEND && !fi->writepage;

	if (h->file && !appends && file_change_waits(h->file->file, (uint64_t)at, size) && do_later(req, inode, fi, &what, bytes, run_write))
		return;
	write_now(req, inode, bytes, size, at, fi);
}

static void flush_now(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct call c;

	/* A schema is compiled and judges the document. */
	if (handle_of(fi)->control && defer_request())
		return;

	if (!call_begin(&c, req, inode, "close"))
		return;
	call_end(&c, sync_flush(&c, handle_of(fi)));
}

static void run_flush(struct worker_job *job)
{
	struct slow_request *slow = container_of(job, struct slow_request, job);

	flush_now(slow->req, slow->inode, &slow->fi);
	slow_end(slow);
}

/* One close(2) of one descriptor; there may be several. */
void op_flush(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct frontend *fe = fuse_req_userdata(req);
	struct handle *h = handle_of(fi);

	if (h->scratch) {
		struct caller who = caller_of(req);

		scratch_closes(h->scratch, &who, &h->scratch_closed);
	}
	if (h->scratch || (h->file && !h->file->writes && !file_is(&h->file->file->unlisted))) {
		fuse_reply_err(req, 0);
		return;
	}
	if (fe->sync_on_close) {
		sync_flush_later(req, inode, h);
		return;
	}
	if (h->file && file_close_waits(h->file->file) && do_later(req, inode, fi, &(struct slow_request){0}, NULL, run_flush))
		return;
	flush_now(req, inode, fi);
}

void op_fsync(fuse_req_t req, fuse_ino_t inode, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	sync_later(req, inode, handle_of(fi));
}

/* ---- the rest ---- */

/* The range reads as zero and has space. */
static int zero(struct file_open *h, uint64_t at, uint64_t len, bool keep_size, struct reason *why)
{
	int r = file_punch(h->file, at, len);

	return r ? r : file_allocate(h, at, len, keep_size, why);
}

static void allocate_now(fuse_req_t req, fuse_ino_t inode, int mode, off_t at, off_t len, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct call c;
	int r = BUCKET_UNSUPPORTED;

	if (!call_begin(&c, req, inode, "fallocate"))
		return;
	if (!h->file)
		reason_set(&c.why, "this file has no space to be allocated");
	else if (!h->file->writes)
		r = BUCKET_WRONG_HANDLE;
	else if (mode == 0 || mode == FALLOC_FL_KEEP_SIZE)
		r = file_allocate(h->file, (uint64_t)at, (uint64_t)len, mode != 0, &c.why);
	else if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		r = file_punch(h->file->file, (uint64_t)at, (uint64_t)len);
	else if ((mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE)
		r = zero(h->file, (uint64_t)at, (uint64_t)len, mode & FALLOC_FL_KEEP_SIZE, &c.why);
	if (r == BUCKET_UNSUPPORTED)
		reason_set(&c.why, "space can be allocated, filled with zero and given back; nothing else");
	call_end(&c, r);
}

static void run_allocate(struct worker_job *job)
{
	struct slow_request *slow = container_of(job, struct slow_request, job);

	file_change_ahead(slow->file);
	allocate_now(slow->req, slow->inode, slow->mode, slow->at, (off_t)slow->size, &slow->fi);
	slow_end(slow);
}

void op_fallocate(fuse_req_t req, fuse_ino_t inode, int mode, off_t at, off_t len, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct slow_request what = {.changes = true, .mode = mode, .at = at, .size = (size_t)len};

	if (h->file && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && file_change_waits(h->file->file, (uint64_t)at, (uint64_t)len) &&
	    do_later(req, inode, fi, &what, NULL, run_allocate))
		return;
	allocate_now(req, inode, mode, at, len, fi);
}

void op_lseek(fuse_req_t req, fuse_ino_t inode, off_t at, int whence, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct call c;
	uint64_t found = 0;
	int r = BUCKET_INVALID;

	if (!call_begin(&c, req, inode, "lseek"))
		return;
	c.told = true;
	if (h->file && (whence == SEEK_DATA || whence == SEEK_HOLE))
		r = file_seek(h->file->file, (uint64_t)at, whence, &found);
	if (r) {
		call_end(&c, r);
		return;
	}
	fuse_reply_lseek(req, (off_t)found);
	call_release(&c);
}

static void copy_now(fuse_req_t req, off_t from_at, struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_at,
		     struct fuse_file_info *to_fi, size_t len)
{
	/* One request should not keep its thread for long; who wants more asks again. */
	enum { most = 4 << 20 };
	struct handle *source = handle_of(from_fi), *target = handle_of(to_fi);
	struct call c;
	size_t copied = 0;
	int r = BUCKET_UNSUPPORTED;

	if (!call_begin(&c, req, to, "copy_file_range"))
		return;
	/* With data.json on either side the kernel reads and writes instead. */
	if (source->file && target->file)
		r = file_copy(source->file->file, (uint64_t)from_at, target->file, (uint64_t)to_at, len < most ? len : most,
			      &copied, &c.why);
	call_end_written(&c, r, copied);
}

static void run_copy(struct worker_job *job)
{
	struct slow_request *slow = container_of(job, struct slow_request, job);

	file_change_ahead(slow->file);
	copy_now(slow->req, slow->from_at, &slow->from_fi, slow->inode, slow->at, &slow->fi, slow->size);
	slow_end(slow);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_at, struct fuse_file_info *from_fi, fuse_ino_t to,
			off_t to_at, struct fuse_file_info *to_fi, size_t len, int flags)
{
	struct handle *source = handle_of(from_fi), *target = handle_of(to_fi);
	struct slow_request what = {.changes = true, .at = to_at, .size = len, .from_at = from_at, .from_fi = *from_fi};

	(void)from, (void)flags;
	if (source->file && target->file && file_change_waits(target->file->file, (uint64_t)to_at, len) &&
	    do_later(req, to, to_fi, &what, NULL, run_copy))
		return;
	copy_now(req, from_at, from_fi, to, to_at, to_fi, len);
}
