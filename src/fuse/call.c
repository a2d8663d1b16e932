#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/control.h"
#include "bucket/gone.h"
#include "bucket/transaction.h"
#include "fuse/caller.h"
#include "fuse/control_file.h"
#include "fuse/defer.h"
#include "fuse/frontend.h"
#include "fuse/metrics.h"
#include "fuse/notify.h"
#include "fuse/patience.h"
#include "fuse/ring.h"
#include "util/clock.h"
#include "util/log.h"

/* A removed bucket lives on in the files that are still open. */
static int bucket_of_open_file(struct fs *fs, fuse_ino_t inode, struct bucket **out)
{
	struct file *f = file_find(fs, inode);

	if (!f)
		return BUCKET_GONE;
	*out = bucket_share(fs, f->b);
	file_put(f);
	return 0;
}

int64_t call_clock(struct frontend *fe)
{
	int64_t now = clock_monotonic();

	rings_serve(fe->rings, now);
	return now;
}

static int begin(struct call *c, fuse_req_t req, fuse_ino_t inode, const char *name)
{
	int r;

	*c = (struct call){.began = call_clock(fuse_req_userdata(req)), .req = req, .fe = fuse_req_userdata(req), .name = name, .node = inode & INODE_NODE_MASK};
	c->fs = c->fe->fs;
	c->who = caller_of(req);
	r = bucket_get(c->fs, (uint32_t)(inode >> inode_node_bits), &c->b);
	return r == BUCKET_GONE ? bucket_of_open_file(c->fs, inode, &c->b) : r;
}

/* Bytes for a bucket that is not there any more, whose own errors are gone with it. */
static void lost(const struct call *c)
{
	struct reason why;

	if (strcmp(c->name, "write") && strcmp(c->name, "close") && strcmp(c->name, "fsync"))
		return;
	reason_set(&why, "the bucket was deleted meanwhile");
	fs_refused(c->fs, 0, &c->who, "/", "ESTALE", &why);
}

bool call_begin(struct call *c, fuse_req_t req, fuse_ino_t inode, const char *name)
{
	int r = begin(c, req, inode, name);

	if (r == BUCKET_GONE)
		lost(c);
	if (r)
		fuse_reply_err(req, reply_errno(r));
	return !r;
}

/* Folders that every bucket has, and those that were remembered. */
static bool is_gone_folder(struct call *c, fuse_ino_t inode, struct found *found)
{
	static const uint64_t own[] = {NODE_BUCKET, NODE_FILES, NODE_CONTROL, NODE_TX, NODE_HISTORY};

	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		if (c->node == own[i])
			return true;
	return c->node >= NODE_FIRST && gone_find(c->fs, inode, found) == 0 && found->node.kind == NODE_FOLDER;
}

bool call_begin_gone(struct call *c, fuse_req_t req, fuse_ino_t inode, const char *name, struct attr *gone)
{
	struct found found = {0};
	int r = begin(c, req, inode, name);
	bool is = r == BUCKET_GONE && is_gone_folder(c, inode, &found);

	*gone = (struct attr){0};
	if (is) {
		c->b = bucket_share(c->fs, c->fs->root);
		*gone = (struct attr){.inode = inode,
				      .mode = S_IFDIR | 0555,
				      .uid = found.node.uid,
				      .gid = found.node.gid,
				      .modified = found.node.modified,
				      .changed = found.node.changed,
				      .unlinked = true,
				      .private = true};
	} else if (r) {
		fuse_reply_err(req, reply_errno(r));
	}
	tree_found_release(&found);
	return is || !r;
}

bool call_begin_turn(struct call *c, const struct question *q, const struct turn *turn, const char *name)
{
	if (!call_begin(c, q->req, q->inode, name))
		return false;
	if (turn->began)
		c->began = turn->began;
	return true;
}

void *call_begin_later(size_t size, fuse_req_t req, fuse_ino_t inode, const char *name)
{
	struct call *c = calloc(1, size);

	if (!c) {
		fuse_reply_err(req, ENOMEM);
	} else if (!call_begin(c, req, inode, name)) {
		free(c);
		c = NULL;
	}
	return c;
}

static void count(const struct call *c, int result)
{
	metrics_count(c->name, result, c->began);
}

void call_release(struct call *c)
{
	if (!c->counted)
		count(c, 0);
	bucket_put(c->fs, c->b);
	c->b = NULL;
}

void call_postpone(struct call *c)
{
	c->counted = true;
	call_release(c);
}

/* Where it was, as well as it is known. */
static void path_of(const struct call *c, const char *bucket, char *path, size_t size)
{
	const char *leaf = c->leaf ? c->leaf : "", *slash = c->leaf ? "/" : "";

	if (call_is_root(c) && call_in_control(c))
		snprintf(path, size, ".bucketfs/%s", control_file_name(c, c->node) ? control_file_name(c, c->node) : leaf);
	else if (call_is_root(c))
		snprintf(path, size, "%s", c->leaf ? c->leaf : "/");
	else if (call_is_data(c))
		snprintf(path, size, "%s/data.json", bucket);
	else if (call_in_tree(c))
		snprintf(path, size, "%s/files%s%s", bucket, slash, leaf);
	else if (call_in_history(c) || control_is_history(c->node))
		snprintf(path, size, "%s/.bucketfs/history%s%s", bucket, slash, leaf);
	else if (control_is(c->node))
		snprintf(path, size, "%s/.bucketfs/%s", bucket, control_name(c->node));
	else if (call_in_tx(c))
		snprintf(path, size, "%s/.bucketfs/tx%s%s", bucket, slash, leaf);
	else if (c->node == NODE_CONTROL)
		snprintf(path, size, "%s/.bucketfs%s%s", bucket, slash, leaf);
	else
		snprintf(path, size, "%s%s%s", bucket, slash, leaf);
}

/* While the store cannot write, that is why a change failed, whatever the errno alone would say. */
static bool store_refuses(struct call *c, int result)
{
	struct store_statistics s;

	return result < 0 && store_statistics(c->fs->store, &s) == 0 && s.refusal == result;
}

/* Tells of a refusal that nobody would hear of otherwise. */
static void refused(struct call *c, int result)
{
	char path[320], bucket[name_max + 32];
	const char *reason = c->why.text[0] || c->told ? NULL : reply_reason(result);
	uint32_t number;

	if (reason && store_refuses(c, result))
		reason_set(&c->why, "the store cannot write to its disk at the moment (%s)", strerror(-result));
	else if (reason)
		reason_set(&c->why, "%s", reason);
	if (!c->why.text[0])
		return;
	number = transaction_path(c->fs, c->b, bucket, sizeof(bucket));
	path_of(c, bucket, path, sizeof(path));
	/* What is said of a transaction is to be found in the bucket, and of what is gone, in the root. */
	fs_refused(c->fs, __atomic_load_n(&c->b->dead, __ATOMIC_RELAXED) ? 0 : number, &c->who, path, reply_errno_name(result), &c->why);
	log_limited(c->who.uid, LOG_LEVEL_INFO, "refused: %s: uid=%u pid=%d bucket=%s errno=%d: %s", c->name, c->who.uid, c->who.pid,
		    call_is_root(c) ? "/" : bucket, reply_errno(result), c->why.text);
}

void call_end(struct call *c, int result)
{
	/* A worker will serve it, and answers. */
	if (result == BUCKET_LONG && defer_request()) {
		call_postpone(c);
		return;
	}
	if (result)
		refused(c, result);
	count(c, result);
	c->counted = true;
	fuse_reply_err(c->req, reply_errno(result));
	call_release(c);
}

void call_end_attr(struct call *c, int result, const struct attr *attr)
{
	struct stat st;

	if (result) {
		call_end(c, result);
		return;
	}
	st = reply_stat(attr);
	fuse_reply_attr(c->req, &st, attr->private || attr->fleeting ? 0 : CACHE_SECONDS);
	call_release(c);
}

void call_end_entry(struct call *c, int result, const struct attr *attr, bool canonical)
{
	struct fuse_entry_param entry;

	if (result) {
		call_end(c, result);
		return;
	}
	entry = call_entry(c, attr, canonical);
	fuse_reply_entry(c->req, &entry);
	call_release(c);
}

void call_end_written(struct call *c, int result, size_t size)
{
	if (result) {
		call_end(c, result);
		return;
	}
	fuse_reply_write(c->req, size);
	call_release(c);
}

void call_end_value(struct call *c, int result, struct buf *value, size_t size)
{
	if (result)
		call_end(c, result);
	else if (size == 0)
		fuse_reply_xattr(c->req, value->len);
	else if (size < value->len)
		fuse_reply_err(c->req, ERANGE);
	else
		fuse_reply_buf(c->req, (char *)value->data, value->len);
	if (!result)
		call_release(c);
	buf_release(value);
}

int call_data_attr(struct call *c, struct attr *attr)
{
	int r = data_attr(c->fs, c->b, &c->who, attr);

	/* Editors rename it, and the kernel takes what it keeps along to the new name: see op_rename. */
	attr->private |= !notifier_is_exact(c->fe->notifier);
	return r;
}

struct fuse_entry_param call_entry(const struct call *c, const struct attr *attr, bool canonical)
{
	struct fuse_entry_param entry = reply_entry(attr, canonical);

	if (entry.entry_timeout > 0 && !notifier_keeps_names(c->fe->notifier, (uint32_t)(attr->inode >> inode_node_bits)))
		entry.entry_timeout = 0;
	return entry;
}

int call_attr(struct call *c, struct attr *attr)
{
	if (c->node == NODE_BUCKET)
		return bucket_attr(c->fs, c->b, &c->who, attr);
	if (call_is_data(c))
		return data_attr_open(c->fs, c->b, &c->who, c->node, attr);
	if (call_is_link(c))
		return link_attr(c, attr);
	if (scratch_is(c->node))
		return scratch_attr(c->fs, c->b, &c->who, c->node, attr);
	if (call_in_tx(c)) {
		int r = control_attr(c->fs, c->b, &c->who, NODE_CONTROL, attr);

		attr->inode = inode_of(c->b->number, NODE_TX);
		attr->mode |= 0222;
		return r;
	}
	if (call_in_control(c))
		return control_file_attr(c, attr);
	return call_in_tree(c) ? tree_attr(c->fs, c->b, &c->who, c->node, attr) : BUCKET_GONE;
}
