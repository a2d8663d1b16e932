/* Operations on names: looking them up, making, removing and moving them. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/data_node.h"
#include "bucket/transaction.h"
#include "bucket/version.h"
#include "fuse/control_file.h"
#include "fuse/editor.h"
#include "fuse/frontend.h"
#include "fuse/notify.h"
#include "fuse/patience.h"

static const struct slice data_name = {"data.json", 9}, files_name = {"files", 5}, control_folder = {".bucketfs", 9};

static bool is(const char *name, struct slice fixed)
{
	return slice_equal(slice_str(name), fixed);
}

/* ---- lookup ---- */

static int lookup_data(struct call *c, struct attr *attr)
{
	int r = call_data_attr(c, attr);

	if (r || (attr->inode & INODE_NODE_MASK) != NODE_DATA)
		return r;
	attr->inode = inode_of(c->b->number, data_node_find(c->fs, c->b, &c->who));
	/* It is for this reader alone. */
	attr->private |= snapshot_is(attr->inode & INODE_NODE_MASK);
	return 0;
}

/* By number: "." is the node itself and ".." its folder. The kernel asks so for a handle (open_by_handle_at, NFS) after it has forgotten
 * the node. */
static int lookup_number(struct call *c, bool parent, struct attr *attr)
{
	int r = 0;

	if (parent && call_in_tree(c) && c->node != NODE_FILES) {
		r = tree_parent(c->fs, c->b, c->node, &c->node);
	} else if (parent && c->node == NODE_BUCKET && !call_is_root(c)) {
		bucket_put(c->fs, c->b);
		c->b = bucket_share(c->fs, c->fs->root);
	} else if (parent && (c->node == NODE_TX || call_in_history(c))) {
		c->node = NODE_CONTROL;
	} else if (parent && control_is_history(c->node)) {
		c->node = NODE_HISTORY;
	} else if (parent) {
		c->node = call_in_control(c) && c->node != NODE_CONTROL ? NODE_CONTROL : NODE_BUCKET;
	}
	return r ? r : call_attr(c, attr);
}

static int lookup(struct call *c, struct slice name, int64_t closed, struct attr *attr, bool *canonical)
{
	struct bucket *b;
	int r;

	*canonical = true;
	if (slice_equal(name, slice_str(".")) || slice_equal(name, slice_str("..")))
		return lookup_number(c, name.len == 2, attr);
	if (call_is_root(c) && c->node == NODE_BUCKET && name.len && *(const char *)name.at == '@') {
		c->node = link_node(name.at);
		return c->node ? link_attr(c, attr) : BUCKET_ABSENT;
	}
	if (call_is_root(c) && c->node == NODE_BUCKET && !slice_equal(name, control_folder)) {
		r = bucket_lookup(c->fs, name, &b);
		if (r)
			return r;
		r = bucket_attr(c->fs, b, &c->who, attr);
		bucket_put(c->fs, b);
		return r;
	}
	if (call_in_tx(c))
		return control_tx_lookup(c, name, attr);
	if (call_in_control(c))
		return control_file_lookup(c, name, attr);
	if (c->node == NODE_BUCKET && slice_equal(name, control_folder)) {
		c->node = NODE_CONTROL;
		return call_attr(c, attr);
	}
	if (c->node == NODE_BUCKET) {
		r = bucket_check_enter(c->fs, c->b, &c->who, "look inside");
		if (r)
			return r;
		if (slice_equal(name, data_name))
			return lookup_data(c, attr);
		if (slice_equal(name, files_name))
			return tree_attr(c->fs, c->b, &c->who, NODE_FILES, attr);
		return scratch_lookup(c->fs, c->b, &c->who, name, attr);
	}
	return tree_lookup(c->fs, c->b, &c->who, c->node, name, closed, attr, canonical);
}

/* "There is no such name", which the kernel may keep if it will learn of its appearance. */
static void end_absent(struct call *c, fuse_ino_t parent, struct slice name, bool canonical)
{
	struct fuse_entry_param none = {.entry_timeout = CACHE_SECONDS};

	/* A partial appears when a file is released, and who looks for it then is to wait for that. */
	if (!canonical || !call_in_tree(c) || bucket_is_private(c->fs, c->b) || version_is_partial(name) ||
	    !notifier_keep_absent(c->fe->notifier, parent, name)) {
		call_end(c, BUCKET_ABSENT);
		return;
	}
	fuse_reply_entry(c->req, &none);
	call_release(c);
}

static bool ask_lookup(const struct question *q, const struct turn *turn)
{
	struct slice name = slice_str(q->name);
	struct call c;
	struct attr attr;
	bool canonical;
	int r;

	if (!call_begin_turn(&c, q, turn, "lookup"))
		return true;
	r = lookup(&c, name, turn->closed, &attr, &canonical);
	if (r == BUCKET_WAIT) {
		call_postpone(&c);
		return false;
	}
	if (r == BUCKET_ABSENT)
		end_absent(&c, q->inode, name, canonical);
	else
		call_end_entry(&c, r, &attr, canonical);
	return true;
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct question q = {.req = req, .inode = parent, .name = name, .ask = ask_lookup};

	question_put(&q, sizeof(q));
}

static const char stays[] = ".bucketfs/ stays where and as it is; a transaction is begun with mkdir in .bucketfs/tx/";

static int not_here(struct call *c, const char *reason)
{
	reason_set_own(&c->why, "%s", reason);
	return BUCKET_NOT_PERMITTED;
}

/* ---- making ---- */

static int mkdir_root(struct call *c, struct slice name, struct attr *attr)
{
	struct bucket *b;
	int r = bucket_create(c->fs, &c->who, name, &b);

	if (r == BUCKET_INVALID)
		reason_set_own(&c->why, "a bucket's name is made of a-z, 0-9 and _");
	if (r)
		return r;
	r = bucket_attr(c->fs, b, &c->who, attr);
	bucket_put(c->fs, b);
	return r;
}

static int mkdir_tree(struct call *c, struct slice name, struct attr *attr, bool *canonical)
{
	uint64_t number;
	int r = tree_mkdir(c->fs, c->b, &c->who, c->node, name, &number, canonical, &c->why);

	if (r)
		return r;
	if (!*canonical)
		notifier_spelled(c->fe->notifier, inode_of(c->b->number, c->node), name, false);
	return tree_attr(c->fs, c->b, &c->who, number, attr);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct call c;
	struct attr attr;
	bool canonical = true;
	int r;

	(void)mode;
	if (!call_begin(&c, req, parent, "mkdir"))
		return;
	c.leaf = name;
	if (call_in_tx(&c)) {
		r = control_tx_mkdir(&c, name, &attr);
	} else if (call_in_control(&c) || is(name, control_folder)) {
		r = not_here(&c, stays);
	} else if (call_is_root(&c)) {
		r = mkdir_root(&c, slice_str(name), &attr);
	} else if (call_in_bucket(&c)) {
		reason_set_own(&c.why, "a bucket holds data.json and files/ and nothing else: put folders into files/");
		r = is(name, data_name) || is(name, files_name) ? BUCKET_EXISTS : BUCKET_NOT_PERMITTED;
	} else {
		r = mkdir_tree(&c, slice_str(name), &attr, &canonical);
	}
	call_end_entry(&c, r, &attr, canonical);
}

static int mknod_tree(struct call *c, struct slice name, uint32_t mode, struct attr *attr, bool *canonical)
{
	struct file_open *h;
	uint64_t inode;
	int r = tree_create(c->fs, c->b, &c->who, c->node, name, mode, TREE_WRITE | TREE_EXCLUSIVE, &h, canonical, &c->why);

	if (r)
		return r;
	if (!*canonical)
		notifier_spelled(c->fe->notifier, inode_of(c->b->number, c->node), name, false);
	/* Nobody has it open, so nobody will close it. */
	r = version_publish(h->file);
	inode = h->file->inode;
	file_close(h, false);
	return r ? r : tree_attr(c->fs, c->b, &c->who, inode & INODE_NODE_MASK, attr);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	struct call c;
	struct attr attr;
	bool canonical = true;
	int r;

	(void)device;
	if (!call_begin(&c, req, parent, "mknod"))
		return;
	c.leaf = name;
	if (S_ISREG(mode) && call_in_tree(&c)) {
		r = mknod_tree(&c, slice_str(name), mode, &attr, &canonical);
	} else {
		r = not_here(&c, "only plain files, folders and symbolic links, and only in files/");
	}
	call_end_entry(&c, r, &attr, canonical);
}

static void not_permitted(fuse_req_t req, fuse_ino_t parent, const char *name, const char *reason)
{
	struct call c;

	if (!call_begin(&c, req, parent, name))
		return;
	reason_set_own(&c.why, "%s", reason);
	call_end(&c, BUCKET_NOT_PERMITTED);
}

static int symlink_tree(struct call *c, struct slice name, struct slice target, struct attr *attr, bool *canonical)
{
	uint64_t number;
	int r = tree_symlink(c->fs, c->b, &c->who, c->node, name, target, &number, canonical, &c->why);

	if (r)
		return r;
	if (!*canonical)
		notifier_spelled(c->fe->notifier, inode_of(c->b->number, c->node), name, false);
	return tree_attr(c->fs, c->b, &c->who, number, attr);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct call c;
	struct attr attr;
	bool canonical = true;
	int r;

	if (!call_begin(&c, req, parent, "symlink"))
		return;
	c.leaf = name;
	if (call_in_tree(&c))
		r = symlink_tree(&c, slice_str(name), slice_str(target), &attr, &canonical);
	else
		r = not_here(&c, "symbolic links only in files/");
	call_end_entry(&c, r, &attr, canonical);
}

void op_link(fuse_req_t req, fuse_ino_t inode, fuse_ino_t parent, const char *name)
{
	(void)inode, (void)name;
	not_permitted(req, parent, "link", "there are no hard links in a bucket: copy it (cp -r, tar --hard-dereference)");
}

/* ---- removing ---- */

static int remove_tree(struct call *c, struct slice name, bool folder)
{
	bool canonical = true;
	int r = tree_unlink(c->fs, c->b, &c->who, c->node, name, folder, &canonical);

	if (!r && !canonical)
		notifier_spelled(c->fe->notifier, inode_of(c->b->number, c->node), name, true);
	return r;
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct frontend *fe = fuse_req_userdata(req);
	struct call c;
	int r;

	if (!call_begin(&c, req, parent, "unlink"))
		return;
	c.leaf = name;
	if (call_in_control(&c) && !call_is_root(&c))
		r = control_file_remove(&c, name);
	else if (call_in_tree(&c))
		r = remove_tree(&c, slice_str(name), false);
	else if (call_in_bucket(&c) && is(name, data_name) && editor_takes_back(&c))
		r = not_here(&c, "data.json was merged, so its size is not that of the copy: nothing is wrong with it, and it stays");
	else if (call_in_bucket(&c) && is(name, data_name))
		r = data_remove(c.fs, c.b, &c.who, NULL);
	else if (call_in_bucket(&c) && !is(name, files_name))
		r = scratch_unlink(c.fs, c.b, &c.who, slice_str(name));
	else
		r = BUCKET_IS_FOLDER;
	call_end(&c, r);
	patience_wake(fe->patience);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call c;
	int r;

	if (!call_begin(&c, req, parent, "rmdir"))
		return;
	c.leaf = name;
	if (call_in_tx(&c))
		r = transaction_abandon(c.fs, c.b, &c.who, slice_str(name));
	else if (call_in_control(&c) || is(name, control_folder))
		r = not_here(&c, stays);
	else if (call_in_tree(&c))
		r = remove_tree(&c, slice_str(name), true);
	else if (call_is_root(&c))
		r = bucket_remove(c.fs, &c.who, slice_str(name));
	else if (is(name, files_name))
		r = tree_remove_root(c.fs, c.b, &c.who);
	else
		r = is(name, data_name) ? BUCKET_NOT_FOLDER : BUCKET_ABSENT;
	call_end(&c, r);
}

/* ---- renaming ---- */

static int rename_within(struct call *c, const char *name, uint64_t new_parent, const char *new_name, bool no_replace,
			 int64_t closed)
{
	bool canonical = true;
	int r = tree_rename(c->fs, c->b, &c->who, c->node, slice_str(name), new_parent, slice_str(new_name), no_replace,
			    closed, &canonical, &c->why);

	if (!r && !canonical) {
		notifier_spelled(c->fe->notifier, inode_of(c->b->number, c->node), slice_str(name), true);
		notifier_spelled(c->fe->notifier, inode_of(c->b->number, new_parent), slice_str(new_name), true);
	}
	return r;
}

struct rename_question {
	struct question q;
	fuse_ino_t new_parent;
	unsigned flags;
};

static bool ask_rename(const struct question *q, const struct turn *turn)
{
	enum { no_replace = 1 }; /* RENAME_NOREPLACE */
	const char *name = q->name, *new_name = q->new_name;
	fuse_ino_t parent = q->inode, new_parent = container_of(q, struct rename_question, q)->new_parent;
	unsigned flags = container_of(q, struct rename_question, q)->flags;
	uint64_t to = new_parent & INODE_NODE_MASK;
	bool same_bucket = parent >> inode_node_bits == new_parent >> inode_node_bits;
	struct frontend *fe = fuse_req_userdata(q->req);
	struct call c;
	int r;

	if (!call_begin_turn(&c, q, turn, "rename"))
		return true;
	c.leaf = name;
	if (call_in_tx(&c) && same_bucket && to == NODE_CONTROL && is(new_name, slice_str("commit"))) {
		call_postpone(&c);
		control_tx_commit(q->req, parent, name);
		return true;
	}
	if (call_in_tx(&c) || to == NODE_TX || call_in_control(&c) || is(name, control_folder) ||
		   (to >= NODE_CONTROL && to <= NODE_CONTROL_LAST) || (to == NODE_HISTORY && !call_is_root(&c))) {
		r = not_here(&c, call_in_tx(&c) ? "a transaction is renamed to .bucketfs/commit and to nothing else" : stays);
	} else if (flags & ~(unsigned)no_replace) {
		reason_set_own(&c.why, "a name can be replaced, not exchanged");
		r = BUCKET_INVALID;
	} else if (call_is_root(&c) || new_parent == FUSE_ROOT_ID) {
		r = not_here(&c, "a bucket keeps its name, and the root of the mount holds buckets only");
	} else if (call_in_bucket(&c) && is(name, files_name)) {
		r = not_here(&c, "files/ stays where it is");
	} else if (!same_bucket) {
		r = BUCKET_CROSSES;
	} else if (call_in_tree(&c) && to != NODE_BUCKET) {
		r = rename_within(&c, name, to, new_name, flags & no_replace, turn->closed);
	} else if (call_in_bucket(&c) && to == NODE_BUCKET && !is(new_name, files_name)) {
		r = scratch_rename(c.fs, c.b, &c.who, slice_str(name), slice_str(new_name), flags & no_replace, &c.why);
		if (!r && is(name, data_name))
			notifier_spelled(c.fe->notifier, parent, data_name, true);
	} else if (to == NODE_BUCKET && !is(new_name, data_name)) {
		r = not_here(&c, "a bucket holds data.json and files/ and nothing else: put files into files/");
	} else {
		/* data.json and a file are different things: mv copies. */
		r = BUCKET_CROSSES;
	}
	if (r == BUCKET_WAIT) {
		call_postpone(&c);
		return false;
	}
	call_end(&c, r);
	patience_wake(fe->patience);
	return true;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	       unsigned flags)
{
	struct rename_question q = {{.req = req, .inode = parent, .name = name, .new_name = new_name, .ask = ask_rename},
				    new_parent, flags};

	question_put(&q.q, sizeof(q));
}
