#include "fuse/notify.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "bucket/tree.h"
#include "fuse/later.h"
#include "util/clock.h"
#include "util/log.h"

enum { absent_bits = 1 << 16, bucket_places = 4096 };

struct notifier {
	struct fuse_session *session;
	struct later *later;
	int probed;
	bool has_epoch;
	/* Which absent names the kernel may keep, by hash: only when one of them appears must the epoch end. */
	uint64_t absent[absent_bits / 64];

	pthread_mutex_t lock; /* guards all below */
	int64_t next_epoch[bucket_places];   /* by a bucket's number: see forget_names */
	int64_t unkept_until[bucket_places]; /* likewise; atomic for others */
	uint32_t forgetting[bucket_places]; /* the bucket whose names are all about to be forgotten, by number; 0: none */
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
	pthread_mutex_init(&n->lock, NULL);
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
	pthread_mutex_destroy(&n->lock);
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

	if (!has_epoch(n) || !notifier_keeps_names(n, (uint32_t)(parent >> inode_node_bits)))
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

/* An end of the epoch makes the kernel ask again for every name that it has, everybody's. So a bucket that ends too
 * many is made one whose names the kernel does not keep: then nothing has to be forgotten for it. */
static void forget_names(struct notifier *n, uint32_t bucket)
{
	const int64_t second = 1000000000, interval = 10 * second, burst = 5 * interval, unkept = 600 * second;
	size_t place = bucket % bucket_places;
	int64_t now = clock_monotonic();
	bool ends = true;

	pthread_mutex_lock(&n->lock);
	if (now < n->unkept_until[place]) {
		ends = false;
		__atomic_store_n(&n->unkept_until[place], now + unkept, __ATOMIC_SEQ_CST);
	} else if (n->next_epoch[place] - now < burst) {
		n->next_epoch[place] = (n->next_epoch[place] > now ? n->next_epoch[place] : now) + interval;
	} else {
		/* A reply that was made before this is of a look-up that began before the end of the epoch. */
		__atomic_store_n(&n->unkept_until[place], now + unkept, __ATOMIC_SEQ_CST);
	}
	pthread_mutex_unlock(&n->lock);
	if (ends)
		end_epoch(n);
}

bool notifier_keeps_names(struct notifier *n, uint32_t bucket)
{
	int64_t until = __atomic_load_n(&n->unkept_until[bucket % bucket_places], __ATOMIC_SEQ_CST);

	return !until || clock_monotonic() >= until;
}

static void forget_entry_later(struct notifier *n, fuse_ino_t parent, struct slice name)
{
	struct entry_job *e = malloc(sizeof(*e));

	if (!e) {
		log_warning("out of memory: the kernel may know a file by an old name for a while");
		return;
	}
	*e = (struct entry_job){{NULL, invalidate_entry}, n->session, parent, name.len, {0}};
	memcpy(e->name, name.at, name.len);
	later_add(n->later, &e->job);
}

void notifier_spelled(struct notifier *n, fuse_ino_t parent, struct slice given, bool gone)
{
	char name[name_max];
	size_t len, bit;

	if (name_normalise(given, name, &len))
		return;
	bit = absent_bit(parent, slice_of(name, len));
	if (has_epoch(n) && !gone && !(__atomic_load_n(&n->absent[bit / 64], __ATOMIC_SEQ_CST) >> bit % 64 & 1))
		return;
	if (has_epoch(n))
		forget_names(n, (uint32_t)(parent >> inode_node_bits));
	else
		forget_entry_later(n, parent, slice_of(name, len));
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

struct forget_job {
	struct later_job job;
	struct notifier *n;
	struct fs *fs;
	uint32_t bucket;
};

static void run_forget(struct later_job *base)
{
	struct forget_job *job = container_of(base, struct forget_job, job);
	struct notifier *n = job->n;
	struct bucket *b;

	/* Changes from here on need another look. */
	pthread_mutex_lock(&n->lock);
	n->forgetting[job->bucket % bucket_places] = 0;
	pthread_mutex_unlock(&n->lock);
	if (bucket_get(job->fs, job->bucket, &b) == 0) {
		forget(n, job->fs, b, true);
		bucket_put(job->fs, b);
	}
	free(job);
}

/* By the notifier's own thread: invalidating an entry waits for the folder's lock, which a thread may hold that waits
 * for this one. */
static void forget_names_later(struct notifier *n, struct fs *fs, uint32_t bucket)
{
	struct forget_job *job = malloc(sizeof(*job));

	if (!job) {
		log_warning("out of memory: the kernel may know files by old names for a while");
		return;
	}
	*job = (struct forget_job){{NULL, run_forget}, n, fs, bucket};
	later_add(n->later, &job->job);
}

void notifier_names_lost(struct notifier *n, struct fs *fs, uint32_t bucket)
{
	uint32_t *forgetting = &n->forgetting[bucket % bucket_places];
	bool begun;

	if (has_epoch(n)) {
		forget_names(n, bucket);
		return;
	}
	pthread_mutex_lock(&n->lock);
	begun = *forgetting == bucket;
	*forgetting = bucket;
	pthread_mutex_unlock(&n->lock);
	if (!begun)
		forget_names_later(n, fs, bucket);
}

void notifier_narrowed(struct notifier *n, struct fs *fs, struct bucket *b)
{
	/* The root's list is what all others inherit. */
	if (has_epoch(n) && b->number)
		forget_names(n, b->number);
	else if (has_epoch(n))
		end_epoch(n);
	/* Without attributes every stat asks, so that names alone are of little use. Takes no lock either. */
	forget(n, fs, b, false);
}

void notifier_narrowed_after(struct notifier *n, struct fs *fs, struct bucket *b)
{
	if (!has_epoch(n))
		forget_names_later(n, fs, b->number);
}
