/* Listing folders. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/control.h"
#include "bucket/transaction.h"
#include "fuse/control_file.h"
#include "fuse/frontend.h"
#include "fuse/patience.h"
#include "fuse/sync.h"

/* A folder's cookies: 1 and 2 are . and .., then each entry has its own number, which is stable under change. Buckets
 * are counted from 1 and files from NODE_FIRST, so buckets are moved up. */
enum { cookie_dot = 1, cookie_dotdot = 2, cookie_data = 3, cookie_files = 4, cookie_bucket = 16 };

struct listing {
	struct call *c;
	char *buffer;
	size_t size, used;
	bool plus;
	int64_t closed;
	off_t last; /* the cookie of the last entry */
};

static int add(struct listing *l, struct slice name, const struct attr *attr, off_t cookie)
{
	char text[name_max + 1];
	size_t len;

	memcpy(text, name.at, name.len);
	text[name.len] = 0;
	/* A folder's own entry must not count as a lookup; the kernel sees to that for . and .. by their names. */
	if (l->plus) {
		struct fuse_entry_param entry = call_entry(l->c, attr, true);

		len = fuse_add_direntry_plus(l->c->req, l->buffer + l->used, l->size - l->used, text, &entry, cookie);
	} else {
		struct stat st = {.st_ino = attr->inode, .st_mode = attr->mode};

		len = fuse_add_direntry(l->c->req, l->buffer + l->used, l->size - l->used, text, &st, cookie);
	}
	if (len > l->size - l->used)
		return 1;
	l->used += len;
	l->last = cookie;
	return 0;
}

static int add_dots(struct listing *l, off_t at, uint64_t parent)
{
	struct attr dot = {.inode = inode_of(l->c->b->number, l->c->node), .mode = S_IFDIR, .private = true};
	int r = 0;

	if (at < cookie_dot)
		r = add(l, slice_str("."), &dot, cookie_dot);
	dot.inode = parent;
	if (!r && at < cookie_dotdot)
		r = add(l, slice_str(".."), &dot, cookie_dotdot);
	return r;
}

static int add_bucket(void *context, uint32_t number, struct slice name)
{
	struct listing *l = context;
	struct attr attr = {.inode = inode_of(number, NODE_BUCKET), .mode = S_IFDIR};
	struct bucket *b;
	int r;

	if (transaction_is_id(name))
		return 0;
	if (l->plus) {
		r = bucket_get(l->c->fs, number, &b);
		if (r == BUCKET_GONE)
			return 0;
		if (!r) {
			r = bucket_attr(l->c->fs, b, &l->c->who, &attr);
			bucket_put(l->c->fs, b);
		}
		if (r)
			return r == BUCKET_GONE ? 0 : r;
	}
	return add(l, name, &attr, (off_t)number + cookie_bucket);
}

static int list_root(struct listing *l, off_t at)
{
	int r = add_dots(l, at, FUSE_ROOT_ID);

	return r ? r : bucket_list(l->c->fs, at > cookie_bucket ? (uint32_t)(at - cookie_bucket) : 0, add_bucket, l);
}

/* Under the bucket's lock: what the kernel wants to know of it, it asks for itself. */
static int add_scratch(void *context, struct slice name, uint64_t node)
{
	struct listing *l = context;
	struct attr attr = {.inode = inode_of(l->c->b->number, node), .mode = S_IFREG | 0600, .private = true,
			    .generation = l->c->b->generation};

	return add(l, name, &attr, (off_t)node);
}

static int list_bucket(struct listing *l, off_t at)
{
	struct attr attr;
	int r = add_dots(l, at, FUSE_ROOT_ID);

	if (!r && at < cookie_data) {
		r = call_data_attr(l->c, &attr);
		r = r == BUCKET_ABSENT ? 0 : r ? r : add(l, slice_str("data.json"), &attr, cookie_data);
	}
	if (!r && at < cookie_files) {
		r = tree_attr(l->c->fs, l->c->b, &l->c->who, NODE_FILES, &attr);
		if (!r)
			r = add(l, slice_str("files"), &attr, cookie_files);
	}
	return r ? r : scratch_list(l->c->fs, l->c->b, &l->c->who, (uint64_t)at, add_scratch, l);
}

static int add_node(void *context, const struct node *node, const struct attr *attr)
{
	return add(context, node->name, attr, (off_t)node->number);
}

static int list_tree(struct listing *l, off_t at)
{
	uint64_t parent = NODE_BUCKET;
	int r = 0;

	if (at < cookie_dotdot && l->c->node != NODE_FILES)
		r = tree_parent(l->c->fs, l->c->b, l->c->node, &parent);
	if (!r)
		r = add_dots(l, at, inode_of(l->c->b->number, parent));
	return r ? r : tree_list(l->c->fs, l->c->b, l->c->node, (uint64_t)at, at ? TREE_CLOSED_NONE : l->closed, add_node, l);
}

static int add_transaction(void *context, struct slice name, uint32_t number)
{
	struct listing *l = context;
	struct attr attr = {.inode = inode_of(number, NODE_BUCKET), .mode = S_IFDIR | 0700, .private = true, .fleeting = true};
	struct bucket *t;

	if (l->plus) {
		if (bucket_get(l->c->fs, number, &t))
			return 0;
		attr.generation = t->generation;
		bucket_put(l->c->fs, t);
	}
	return add(l, name, &attr, (off_t)number + cookie_bucket);
}

static int list_tx(struct listing *l, off_t at)
{
	int r = add_dots(l, at, inode_of(l->c->b->number, NODE_CONTROL));

	return r ? r : transaction_list(l->c->fs, l->c->b, &l->c->who, at > cookie_bucket ? (uint32_t)(at - cookie_bucket) : 0,
					add_transaction, l);
}

static int list_control(struct listing *l, off_t at)
{
	int r = add_dots(l, at, inode_of(l->c->b->number, NODE_BUCKET));

	for (uint64_t node = NODE_CONTROL + 1; !r && node <= NODE_CONTROL_LAST; node++) {
		struct attr attr;
		const char *name = control_file_name(l->c, node);

		if (at >= (off_t)node || !name)
			continue;
		l->c->node = node;
		r = call_attr(l->c, &attr);
		r = r == BUCKET_ABSENT ? 0 : r ? r : add(l, slice_str(name), &attr, (off_t)node);
	}
	if (!r && !call_is_root(l->c) && at < (off_t)NODE_HISTORY) {
		struct attr attr;

		/* It is shown once there is something in it. */
		l->c->node = NODE_PREVIOUS;
		r = call_attr(l->c, &attr);
		l->c->node = NODE_HISTORY;
		if (!r)
			r = call_attr(l->c, &attr);
		r = r == BUCKET_ABSENT ? 0 : r ? r : add(l, slice_str("history"), &attr, NODE_HISTORY);
	}
	l->c->node = NODE_CONTROL;
	return r;
}

static int add_kept(void *context, struct slice name, uint64_t node)
{
	struct listing *l = context;
	struct attr attr = {.inode = inode_of(l->c->b->number, node),
			    .generation = l->c->b->generation,
			    .mode = S_IFREG | 0444,
			    .private = true,
			    .fleeting = true};

	if (l->plus && control_attr(l->c->fs, l->c->b, &l->c->who, node, &attr))
		return 0;
	return add(l, name, &attr, (off_t)node);
}

static int list_history(struct listing *l, off_t at)
{
	int r = add_dots(l, at, inode_of(l->c->b->number, NODE_CONTROL));

	return r ? r : control_history_list(l->c->fs, l->c->b, (uint64_t)at, add_kept, l);
}

struct list_question {
	struct question q;
	size_t size;
	off_t at;
	bool plus;
	struct handle *folder;
};

static bool ask_list(const struct question *base, const struct turn *turn)
{
	const struct list_question *q = container_of(base, struct list_question, q);
	struct call c;
	struct listing l = {&c, NULL, q->size, 0, q->plus, turn->closed, 0};
	int r;

	order_use(q->folder);
	if (!call_begin_turn(&c, base, turn, "readdir"))
		return true;
	l.buffer = malloc(q->size);
	if (!l.buffer)
		r = -ENOMEM;
	else if (call_in_tx(&c))
		r = list_tx(&l, q->at);
	else if (call_in_history(&c))
		r = list_history(&l, q->at);
	else if (c.node == NODE_CONTROL)
		r = list_control(&l, q->at);
	else if (call_is_root(&c))
		r = list_root(&l, q->at);
	else
		r = c.node == NODE_BUCKET ? list_bucket(&l, q->at) : list_tree(&l, q->at);
	if (r == BUCKET_WAIT) {
		call_postpone(&c);
		free(l.buffer);
		return false;
	}
	if (r == 0)
		__atomic_store_n(&q->folder->folder_end, l.used ? l.last : q->at, __ATOMIC_RELAXED);
	/* 1 means the buffer is full. What was found before an error is given; the error comes with the next call. */
	if (r == 1 || (r && l.used))
		r = 0;
	if (r) {
		call_end(&c, r);
	} else {
		fuse_reply_buf(base->req, l.buffer, l.used);
		call_release(&c);
	}
	free(l.buffer);
	return true;
}

static void list(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, bool plus, const struct fuse_file_info *fi)
{
	struct list_question q = {{.req = req, .inode = inode, .ask = ask_list}, size, at, plus, handle_of(fi)};

	if (at && at == __atomic_load_n(&q.folder->folder_end, __ATOMIC_RELAXED))
		fuse_reply_buf(req, NULL, 0);
	else
		question_put(&q.q, sizeof(q));
}

void op_opendir(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct attr gone;
	struct call c;
	int r = 0;

	if (!call_begin_gone(&c, req, inode, "opendir", &gone))
		return;
	/* Everybody may see which buckets there are. */
	if (!call_is_root(&c))
		r = bucket_check(c.fs, c.b, &c.who, PRIVILEGE_READ, "list a folder");
	if (!r)
		r = handle_new_folder(&c, fi);
	if (r) {
		call_end(&c, r);
		return;
	}
	if (fuse_reply_open(req, fi) == -ENOENT)
		handle_close(c.fe, handle_of(fi), req, true);
	call_release(&c);
}

void op_releasedir(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	(void)inode;
	handle_close(fuse_req_userdata(req), handle_of(fi), req, true);
	fuse_reply_err(req, 0);
}

void op_readdir(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, struct fuse_file_info *fi)
{
	list(req, inode, size, at, false, fi);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t inode, size_t size, off_t at, struct fuse_file_info *fi)
{
	list(req, inode, size, at, true, fi);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t inode, int datasync, struct fuse_file_info *fi)
{
	(void)datasync, (void)fi;
	sync_later(req, inode, NULL);
}
