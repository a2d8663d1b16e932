#include "fuse/control_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/control.h"
#include "bucket/history.h"
#include "bucket/transaction.h"
#include "fuse/caller.h"
#include "fuse/patience.h"
#include "fuse/worker.h"

enum { text_max = 4 << 20 };

struct control_handle {
	struct fs *fs;
	struct bucket *b;
	struct caller who;
	uint64_t node;
	pthread_mutex_t lock;
	struct buf text; /* what is read; what was written */
	struct charge charge; /* for it */
	bool writes, dirty;
	int refused; /* the verdict upon what was written, until it is truncated; 0: none */
	struct reason refusal;
};

/* ---- the root's own files ---- */

static const char *const root_files[] = {
	[NODE_ROOT_VERSION] = "version",
	[NODE_ROOT_CONFIG] = "config.json",
	[NODE_ROOT_METRICS] = "metrics",
	[NODE_ERRORS] = "errors",
};

const char *control_file_name(const struct call *c, uint64_t node)
{
	if (!call_is_root(c))
		return control_name(node);
	return node < sizeof(root_files) / sizeof(*root_files) ? root_files[node] : NULL;
}

int control_file_attr(struct call *c, struct attr *attr)
{
	int64_t now = fs_now(c->fs);

	if (!call_is_root(c))
		return control_attr(c->fs, c->b, &c->who, c->node, attr);
	*attr = (struct attr){
		.inode = c->node,
		.mode = c->node == NODE_CONTROL ? S_IFDIR | 0555 : S_IFREG | 0444,
		.uid = c->fs->options.mount_uid,
		.modified = now,
		.changed = now,
		.accessed = now,
		.private = true,
		.fleeting = true,
	};
	return control_file_name(c, c->node) || c->node == NODE_CONTROL ? 0 : BUCKET_ABSENT;
}

int control_file_lookup(struct call *c, struct slice name, struct attr *attr)
{
	if (!call_is_root(c) && slice_equal(name, slice_str("tx"))) {
		c->node = NODE_TX;
		return call_attr(c, attr);
	}
	if (call_in_history(c))
		return control_history_lookup(c->fs, c->b, &c->who, name, attr);
	if (!call_is_root(c) && slice_equal(name, slice_str("history"))) {
		c->node = NODE_HISTORY;
		return call_attr(c, attr);
	}
	for (uint64_t node = NODE_CONTROL + 1; node <= NODE_CONTROL_LAST; node++) {
		const char *known = control_file_name(c, node);

		if (!known || !slice_equal(name, slice_str(known)))
			continue;
		c->node = node;
		return call_attr(c, attr);
	}
	return BUCKET_ABSENT;
}

int control_tx_lookup(struct call *c, struct slice name, struct attr *attr)
{
	struct bucket *t;
	int r = transaction_lookup(c->fs, c->b, &c->who, name, &t);

	if (r)
		return r;
	r = bucket_attr(c->fs, t, &c->who, attr);
	attr->private = true;
	bucket_put(c->fs, t);
	return r;
}

int control_tx_mkdir(struct call *c, const char *name, struct attr *attr)
{
	struct bucket *t;
	int r = transaction_begin(c->fs, c->b, &c->who, slice_str(name), &t, &c->why);

	if (r)
		return r;
	r = bucket_attr(c->fs, t, &c->who, attr);
	attr->private = true;
	bucket_put(c->fs, t);
	return r;
}

/* ---- publishing: it may be long, and what was just closed may not be released yet ---- */

struct commit_job {
	struct call c;
	struct worker_job work;
	struct patience_job job;
	int64_t moment;
	char name[];
};

/* Requests on the bucket and on the transaction wait meanwhile. */
static void run_commit(struct worker_job *base)
{
	struct commit_job *job = container_of(base, struct commit_job, work);
	struct workers *w = job->c.fe->workers;
	struct call *c = &job->c;
	struct bucket *t;
	uint32_t number = 0;
	bool busy = false;
	int r;

	if (!transaction_lookup(c->fs, c->b, &c->who, slice_str(job->name), &t)) {
		number = t->number;
		bucket_put(c->fs, t);
		busy = workers_begin_busy(w, number);
	}
	reason_set(&c->why, "%s", "");
	r = transaction_commit(c->fs, c->b, &c->who, slice_str(job->name), &c->why);
	if (busy)
		workers_end_busy(w, number);
	c->leaf = job->name;
	call_end(c, r);
	free(job);
}

/* Asks whether files of it may still be released, without a look at all that is in it. */
static bool ask_commit(struct patience_job *base, enum patience_mood mood)
{
	struct commit_job *job = container_of(base, struct commit_job, job);
	struct call *c = &job->c;
	struct slice name = slice_str(job->name);

	/* The kernel keeps all renames between folders of the mount waiting meanwhile: so only for a release that is on
	 * its way. */
	if (transaction_is_early(c->fs, c->b, &c->who, name, patience_closed(mood, job->moment)))
		return false;
	job->work = (struct worker_job){.run = run_commit, .uid = c->who.uid, .bucket = c->b->number, .makes_busy = true};
	workers_add(c->fe->workers, &job->work);
	return true;
}

void control_tx_commit(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct commit_job *job = call_begin_later(sizeof(*job) + strlen(name) + 1, req, parent, "commit");

	if (!job)
		return;
	job->job.run = ask_commit;
	job->moment = fs_moment(job->c.fs);
	strcpy(job->name, name);
	patience_add(job->c.fe->publishing, &job->job);
}

int control_file_remove(struct call *c, const char *name)
{
	uint64_t node = control_node(slice_str(name)), revision;
	int r;

	if (call_in_history(c))
		node = history_parse(slice_str(name), &revision) ? HISTORY_NODE | revision : 0;
	if (!node)
		return BUCKET_ABSENT;
	c->node = node;
	r = control_remove(c->fs, c->b, &c->who, node);
	if (r == BUCKET_NOT_PERMITTED)
		reason_set_own(&c->why, "of the files in .bucketfs/ only schema.json, previous.json and "
					"those in history/ can be removed");
	return r;
}

/* ---- opening ---- */

struct open_job {
	struct call c;
	struct worker_job job;
	struct patience_job early;
	int64_t closed; /* what it waits for */
	struct fuse_file_info fi;
	bool create;
};

int control_file_check(struct call *c)
{
	int r = call_is_root(c) ? BUCKET_NOT_PERMITTED : control_check_write(c->fs, c->b, &c->who, c->node);

	if (r == BUCKET_NOT_PERMITTED && !(c->node == NODE_SCHEMA && transaction_check_setting(c->b, &c->why)))
		reason_set_own(&c->why, "of the files in .bucketfs/ only a bucket's meta.json and schema.json can be written");
	return r;
}

static int check(struct call *c, int flags, bool create)
{
	struct attr attr;
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	int r = call_attr(c, &attr);

	if (c->node == NODE_CONTROL || call_in_history(c))
		return BUCKET_IS_FOLDER;
	if (r == BUCKET_ABSENT && create && c->node == NODE_SCHEMA)
		r = 0;
	else if (!r && create && flags & O_EXCL)
		r = BUCKET_EXISTS;
	if (!r && writes)
		r = control_file_check(c);
	return r;
}

static int handle_open(struct call *c, int flags, struct control_handle **out)
{
	struct control_handle *h = calloc(1, sizeof(*h));
	int r = 0;

	if (!h)
		return -ENOMEM;
	h->fs = c->fs;
	h->who = c->who;
	h->who.request = 0;
	h->node = c->node;
	h->b = bucket_share(c->fs, c->b);
	h->writes = (flags & O_ACCMODE) != O_RDONLY;
	pthread_mutex_init(&h->lock, NULL);
	if (!h->writes || ((flags & O_ACCMODE) == O_RDWR && !(flags & O_TRUNC)))
		r = call_is_root(c) ? about_text(c->fe, &c->who, c->node, &h->text) :
				      control_text(c->fs, c->b, &c->who, c->node, &h->text);
	if (r == BUCKET_ABSENT && h->writes)
		r = 0;
	if (!r)
		r = budget_charge(h->fs->budget, &h->charge, c->who.uid, h->text.cap, &c->why);
	if (r)
		control_file_close(h);
	else
		*out = h;
	return r;
}

static void run_open(struct worker_job *base)
{
	struct open_job *job = container_of(base, struct open_job, job);
	struct control_handle *h;
	struct call *c = &job->c;
	struct fuse_entry_param entry;
	struct attr attr;
	int r = check(c, job->fi.flags, job->create), sent;

	if (!r)
		r = handle_open(c, job->fi.flags, &h);
	if (!r)
		r = handle_new_control(c, h, &job->fi);
	if (r) {
		call_end(c, r);
	} else {
		if (call_attr(c, &attr))
			attr = (struct attr){.inode = inode_of(c->b->number, c->node), .generation = c->b->generation,
					     .mode = S_IFREG | 0644, .private = true};
		entry = call_entry(c, &attr, true);
		sent = job->create ? fuse_reply_create(c->req, &entry, &job->fi) : fuse_reply_open(c->req, &job->fi);
		if (sent == -ENOENT)
			handle_close(c->fe, handle_of(&job->fi), c->req, true);
		call_release(c);
	}
	free(job);
}

static bool run_early(struct patience_job *base, enum patience_mood mood)
{
	struct open_job *job = container_of(base, struct open_job, early);

	if (control_is_early(job->c.fs, job->c.b, job->c.node, patience_closed(mood, job->closed)))
		return false;
	workers_add(job->c.fe->workers, &job->job);
	return true;
}

void control_file_open(fuse_req_t req, fuse_ino_t inode, const char *create, const struct fuse_file_info *fi)
{
	struct open_job *job = call_begin_later(sizeof(*job), req, inode, "open");

	if (!job)
		return;
	job->job = (struct worker_job){.run = run_open, .uid = job->c.who.uid, .bucket = job->c.b->number};
	job->fi = *fi;
	job->create = create != NULL;
	if (control_is_early(job->c.fs, job->c.b, job->c.node, TREE_CLOSED_ANY)) {
		job->closed = fs_moment(job->c.fs);
		job->early.run = run_early;
		patience_add(job->c.fe->patience, &job->early);
	} else {
		workers_add(job->c.fe->workers, &job->job);
	}
}

void control_file_close(struct control_handle *h)
{
	/* Who has read the last of it may close it while the thread that answered still has the lock. */
	pthread_mutex_lock(&h->lock);
	pthread_mutex_unlock(&h->lock);
	budget_release(h->fs->budget, &h->charge);
	bucket_put(h->fs, h->b);
	buf_release(&h->text);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* ---- reading and writing ---- */

/* Answered without the lock: the thread of a ring may wait for that, and answers wait for the thread. */
void control_file_read(fuse_req_t req, struct control_handle *h, uint64_t at, size_t size)
{
	struct buf bytes = {0};
	int r = 0;

	pthread_mutex_lock(&h->lock);
	if (at < h->text.len)
		r = buf_add(&bytes, h->text.data + at, size < h->text.len - at ? size : h->text.len - (size_t)at);
	pthread_mutex_unlock(&h->lock);
	if (r)
		fuse_reply_err(req, -r);
	else
		fuse_reply_buf(req, (char *)bytes.data, bytes.len);
	buf_release(&bytes);
}

static int check_size(uint64_t at, uint64_t len, struct reason *why)
{
	if (at <= text_max && len <= text_max - at)
		return 0;
	reason_set_own(why, "this file has up to %d bytes", text_max);
	return BUCKET_TOO_LARGE;
}

/* Room for so many bytes; a buffer grows to twice as much. With h->lock held. */
static int charge(struct control_handle *h, uint64_t len, struct reason *why)
{
	uint64_t bytes = len > h->text.cap ? 2 * len : h->text.cap;

	return budget_charge(h->fs->budget, &h->charge, h->who.uid, (size_t)bytes, why);
}

int control_file_write(struct control_handle *h, uint64_t at, bool append, struct slice bytes, struct reason *why)
{
	int r;

	if (!h->writes)
		return BUCKET_WRONG_HANDLE;
	pthread_mutex_lock(&h->lock);
	if (append)
		at = h->text.len;
	/* A writer may not notice before its next piece. */
	if (h->refused) {
		*why = h->refusal;
		r = h->refused;
		pthread_mutex_unlock(&h->lock);
		return r;
	}
	r = check_size(at, bytes.len, why);
	if (!r)
		r = charge(h, at + bytes.len, why);
	if (!r) {
		r = buf_write_at(&h->text, (size_t)at, bytes.at, bytes.len);
	}
	if (!r) {
		h->dirty = true;
		/* Shells tell of a failed write and ignore a failed close: so it is judged as soon as it can be. */
		r = control_judge(h->fs, h->b, h->node, buf_slice(&h->text), why);
		if (r == BUCKET_INCOMPLETE)
			r = 0;
	}
	if (r) {
		buf_clear(&h->text);
		h->dirty = false;
		h->refused = r;
		h->refusal = *why;
	}
	pthread_mutex_unlock(&h->lock);
	return r;
}

int control_file_truncate(struct control_handle *h, uint64_t size, struct reason *why)
{
	int r = h->writes ? check_size(0, size, why) : BUCKET_WRONG_HANDLE;

	pthread_mutex_lock(&h->lock);
	if (!r && !size)
		buf_release(&h->text);
	if (!r)
		r = charge(h, size, why);
	if (!r)
		r = buf_resize(&h->text, (size_t)size);
	if (!r && !size)
		h->refused = 0;
	pthread_mutex_unlock(&h->lock);
	return r;
}

int control_file_flush(struct call *c, struct control_handle *h)
{
	int r = 0;

	pthread_mutex_lock(&h->lock);
	if (h->dirty)
		r = control_write(h->fs, h->b, &h->who, h->node, buf_slice(&h->text), &c->why);
	if (!r)
		h->dirty = false;
	pthread_mutex_unlock(&h->lock);
	/* Not finished yet: that is the business of whoever opened it. */
	if (r == BUCKET_INCOMPLETE && !caller_same_process(c->who.pid, h->who.pid))
		r = 0;
	return r;
}
