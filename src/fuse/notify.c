#include "fuse/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "bucket/tree.h"
#include "fuse/later.h"
#include "util/log.h"

enum { absent_bits = 1 << 16 };

struct notifier {
	struct fuse_session *session;
	struct later *later;
	int probed;
	bool has_epoch;
	/* Which absent names the kernel may keep, by hash: only when one of them appears must the epoch end. */
	uint64_t absent[absent_bits / 64];
};

/* What libfuse 3.18 does as well, but not before the kernel's first request is answered: a notification is a reply without
 * a request (linux/fuse.h). */
static int epoch_increment(struct notifier *n)
{
	enum { notify_inc_epoch = 8 };
	const struct {
		uint32_t len;
		int32_t error;
		uint64_t unique;
	} message = {16, notify_inc_epoch, 0};

	return write(fuse_session_fd(n->session), &message, sizeof(message)) == sizeof(message) ? 0 : -errno;
}

/* The kernel is asked once: what it knows by then is of the old epoch. */
static bool has_epoch(struct notifier *n)
{
	int state = __atomic_load_n(&n->probed, __ATOMIC_ACQUIRE);

	if (state == 0) {
		n->has_epoch = epoch_increment(n) == 0;
		__atomic_store_n(&n->probed, 1, __ATOMIC_RELEASE);
	}
	return n->has_epoch;
}

int notifier_new(struct notifier **out, struct fuse_session *session)
{
	struct notifier *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->session = session;
	r = later_new(&n->later, "notify", NULL, NULL);
	if (r)
		free(n);
	else
		*out = n;
	return r;
}

void notifier_begin(struct notifier *n)
{
	has_epoch(n);
}

void notifier_free(struct notifier *n)
{
	if (!n)
		return;
	later_free(n->later);
	free(n);
}

static size_t absent_bit(fuse_ino_t parent, struct slice name)
{
	return (size_t)(slice_hash(name, parent) % absent_bits);
}

bool notifier_is_exact(struct notifier *n)
{
	return has_epoch(n);
}

bool notifier_keep_absent(struct notifier *n, fuse_ino_t parent, struct slice name)
{
	size_t bit = absent_bit(parent, name);

	if (!has_epoch(n))
		return false;
	__atomic_or_fetch(&n->absent[bit / 64], 1ULL << bit % 64, __ATOMIC_SEQ_CST);
	return true;
}

struct entry_job {
	struct later_job job;
	struct fuse_session *session;
	fuse_ino_t parent;
	size_t len;
	char name[name_max];
};

static void invalidate_entry(struct later_job *job)
{
	struct entry_job *e = container_of(job, struct entry_job, job);

	fuse_lowlevel_notify_inval_entry(e->session, e->parent, e->name, e->len);
	free(e);
}

static void end_epoch(struct notifier *n)
{
	/* Cleared first: a name that is kept after this belongs to the new epoch or, harmlessly, to the old one. */
	for (size_t i = 0; i < absent_bits / 64; i++)
		__atomic_store_n(&n->absent[i], 0, __ATOMIC_SEQ_CST);
	epoch_increment(n);
}

void notifier_spelled(struct notifier *n, fuse_ino_t parent, struct slice given, bool gone)
{
	char name[name_max];
	struct entry_job *e;
	size_t len, bit;

	if (name_normalise(given, name, &len))
		return;
	if (has_epoch(n)) {
		bit = absent_bit(parent, slice_of(name, len));
		if (gone || __atomic_load_n(&n->absent[bit / 64], __ATOMIC_SEQ_CST) >> bit % 64 & 1)
			end_epoch(n);
		return;
	}
	e = malloc(sizeof(*e));
	if (!e) {
		log_warning("out of memory: the kernel may know a file by an old name for a while");
		return;
	}
	*e = (struct entry_job){{NULL, invalidate_entry}, n->session, parent, len, {0}};
	memcpy(e->name, name, len);
	later_add(n->later, &e->job);
}

/* ---- losing the privilege to read ---- */

struct forget {
	struct notifier *n;
	struct fs *fs;
	struct bucket *b;
	bool entries;
};

static int forget_node(void *context, const struct node *node)
{
	struct forget *f = context;
	fuse_ino_t inode = inode_of(f->b->number, node->number);

	fuse_lowlevel_notify_inval_inode(f->n->session, inode, -1, 0);
	return 0;
}

static int forget_entry(void *context, const struct node *node, const struct attr *attr)
{
	struct forget *f = context;

	(void)attr;
	/* Invalidating a folder's entry takes all below it along. */
	fuse_lowlevel_notify_inval_entry(f->n->session, inode_of(f->b->number, NODE_FILES), node->name.at,
					 node->name.len);
	return 0;
}

static void forget_bucket(struct forget *f)
{
	static const uint64_t own[] = {NODE_BUCKET, NODE_DATA, NODE_FILES};

	if (f->entries) {
		tree_list(f->fs, f->b, NODE_FILES, 0, TREE_CLOSED_NONE, forget_entry, f);
		fuse_lowlevel_notify_inval_entry(f->n->session, inode_of(f->b->number, NODE_BUCKET), "files", 5);
		fuse_lowlevel_notify_inval_entry(f->n->session, FUSE_ROOT_ID, f->b->name.at, f->b->name.len);
	}
	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		fuse_lowlevel_notify_inval_inode(f->n->session, inode_of(f->b->number, own[i]), -1, 0);
	tree_each(f->fs, f->b, forget_node, f);
}

static int forget_listed(void *context, uint32_t number, struct slice name)
{
	struct forget *f = context;

	(void)name;
	if (bucket_get(f->fs, number, &f->b))
		return 0;
	forget_bucket(f);
	bucket_put(f->fs, f->b);
	return 0;
}

static void forget(struct notifier *n, struct fs *fs, struct bucket *b, bool entries)
{
	struct forget f = {n, fs, b, entries};

	if (b->number)
		forget_bucket(&f);
	else
		bucket_list(fs, 0, forget_listed, &f);
}

void notifier_narrowed(struct notifier *n, struct fs *fs, struct bucket *b)
{
	/* Without attributes every stat asks, so that names alone are of little use. Takes no lock either. */
	if (has_epoch(n))
		end_epoch(n);
	forget(n, fs, b, false);
}

struct narrowed_job {
	struct later_job job;
	struct notifier *n;
	struct fs *fs;
	uint32_t bucket;
};

static void forget_later(struct later_job *job)
{
	struct narrowed_job *narrowed = container_of(job, struct narrowed_job, job);
	struct bucket *b;

	if (bucket_get(narrowed->fs, narrowed->bucket, &b) == 0) {
		forget(narrowed->n, narrowed->fs, b, true);
		bucket_put(narrowed->fs, b);
	}
	free(narrowed);
}

/* By the notifier's own thread: invalidating an entry waits for the folder's lock, and who holds that may be waiting for
 * the thread that we are in. */
void notifier_narrowed_after(struct notifier *n, struct fs *fs, struct bucket *b)
{
	struct narrowed_job *job;

	if (has_epoch(n))
		return;
	job = malloc(sizeof(*job));
	if (!job) {
		log_warning("out of memory: the kernel may show for a while what an access list hides now");
		return;
	}
	*job = (struct narrowed_job){{NULL, forget_later}, n, fs, b->number};
	later_add(n->later, &job->job);
}
