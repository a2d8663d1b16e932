#include "bucket/data_node.h"

#include <string.h>

#include "bucket/data.h"
#include "bucket/redirect.h"

/* A document that was changed so lately will be changed again before long; ns. */
enum { data_busy = 500000000 };
/* So long after its open a reader is taken to be at it still; ns. */
enum { data_reading = 100000000 };
/* So long a thread is shown the size of what it has opened on NODE_DATA: then the name counts, for a program may keep a
 * descriptor open and look by the name whether there is something new; ns. */
static const int64_t data_own_size = 2000000000;

static const struct slice data_name = {"data.json", 9};

static bool is_quiet_reader(const struct data_opened *o)
{
	return o->node == NODE_DATA && !o->writes;
}

/* ---- the descriptors ---- */

/* Whether the document may change while a new reader has it, or a reader has an older one on NODE_DATA. With
 * b->handles_lock held. */
static bool is_busy(struct fs *fs, struct bucket *b)
{
	int64_t changed = __atomic_load_n(&b->data_changed, __ATOMIC_RELAXED);

	return b->data_writers || b->data_stale || (changed && fs_moment(fs) - changed < data_busy);
}

/* The newest come first. With b->handles_lock held. */
static bool others_read(struct fs *fs, struct bucket *b, pid_t thread)
{
	int64_t now = fs_moment(fs);
	bool is = false;

	if (b->data_readers)
		for (const struct data_opened *o = b->data_opened; o && !is && now - o->since < data_reading;
		     o = o->next)
			is = is_quiet_reader(o) && o->quiet && o->thread != thread;
	return is;
}

/* With b->handles_lock held. */
static int check_open(struct fs *fs, struct bucket *b, const struct data_opened *o, unsigned flags)
{
	if (o->node != NODE_DATA)
		return 0;
	if (!o->writes)
		return !(flags & DATA_OPENED_HERE) && o->thread && is_busy(fs, b) ? BUCKET_REDIRECTED : 0;
	if (!(flags & DATA_OPENED_WAITS) || !others_read(fs, b, o->thread))
		return 0;
	/* From here on each new reader has an inode of its own. */
	__atomic_store_n(&b->data_changed, fs_moment(fs), __ATOMIC_RELAXED);
	return BUCKET_WAIT;
}

static void link_opened(struct fs *fs, struct bucket *b, struct data_opened *o)
{
	o->quiet = !is_busy(fs, b);
	o->document = b->data_changes;
	b->data_writers += o->writes;
	b->data_readers += is_quiet_reader(o);
	o->next = b->data_opened;
	if (o->next)
		o->next->previous = o;
	b->data_opened = o;
}

static int try_open(struct fs *fs, struct bucket *b, struct data_opened *o, unsigned flags)
{
	int r;

	o->since = fs_moment(fs);
	pthread_mutex_lock(&b->handles_lock);
	r = check_open(fs, b, o, flags);
	if (!r)
		link_opened(fs, b, o);
	pthread_mutex_unlock(&b->handles_lock);
	return r;
}

/* Programs that open a file for another one, or to lock it. */
static bool opens_for_others(const struct caller *who)
{
	static const char *const programs[] = {"sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "busybox", "flock"};
	char name[16] = "";

	if (who->command)
		who->command(who, name);
	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++)
		if (strcmp(name, programs[i]) == 0)
			return true;
	return false;
}

int data_node_again(struct fs *fs, struct bucket *b, pid_t thread)
{
	struct redirect new = {
		.thread = thread,
		.from = inode_of(b->number, NODE_DATA),
		.names = {redirect_name(b, NODE_BUCKET, data_name)},
		.wants = DATA_READ,
		.node = SNAPSHOT_NODE | __atomic_add_fetch(&fs->transient_count, 1, __ATOMIC_RELAXED),
	};
	int r = redirect_add(fs, &new);

	return r ? r : BUCKET_REDIRECTED;
}

int data_opened_add(struct fs *fs, struct bucket *b, const struct caller *who, struct data_opened *o, unsigned flags)
{
	struct redirect *before = redirect_take(fs, o->thread);
	int r;

	/* There was no look-up in between: it is opened by a descriptor (/proc/self/fd), or mounted somewhere else. */
	if (before && before->from == inode_of(b->number, o->node))
		flags |= DATA_OPENED_HERE;
	redirect_free(before);
	r = try_open(fs, b, o, flags);
	if (r == BUCKET_REDIRECTED && opens_for_others(who))
		r = try_open(fs, b, o, flags | DATA_OPENED_HERE);
	return r == BUCKET_REDIRECTED ? data_node_again(fs, b, o->thread) : r;
}

void data_opened_remove(struct bucket *b, struct data_opened *o)
{
	pthread_mutex_lock(&b->handles_lock);
	*(o->previous ? &o->previous->next : &b->data_opened) = o->next;
	if (o->next)
		o->next->previous = o->previous;
	b->data_writers -= o->writes;
	if (is_quiet_reader(o) && o->document == b->data_changes)
		b->data_readers--;
	else if (is_quiet_reader(o))
		b->data_stale--;
	pthread_mutex_unlock(&b->handles_lock);
}

void data_opened_show(struct bucket *b, struct data_opened *o, uint64_t size, int64_t modified, struct text *text)
{
	pthread_mutex_lock(&b->handles_lock);
	o->shows = true;
	o->size = size;
	o->modified = modified;
	o->text = text;
	pthread_mutex_unlock(&b->handles_lock);
}

struct text *data_node_text(struct bucket *b, uint64_t node)
{
	struct text *text = NULL;

	if (!snapshot_is(node))
		return NULL;
	pthread_mutex_lock(&b->handles_lock);
	for (const struct data_opened *o = b->data_opened; o && !text; o = o->next)
		text = o->node == node ? o->text : NULL;
	if (text)
		data_text_share(text);
	pthread_mutex_unlock(&b->handles_lock);
	return text;
}

/* A snapshot's node has one text, for every caller. NODE_DATA may have several, so each thread is shown for a while the
 * one that it has opened itself. A user that has lost the privilege is shown what that user has opened. */
struct data_shown data_node_shows(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, bool denied)
{
	const struct data_opened *found = NULL;
	struct data_shown shown = {0};
	int64_t now = fs_moment(fs);

	pthread_mutex_lock(&b->handles_lock);
	for (const struct data_opened *o = b->data_opened; o && !shown.is; o = o->next) {
		bool own = o->uid == who->uid;

		/* There may be thousands, and the newest come first. */
		if (!denied && node == NODE_DATA && now - o->since >= data_own_size)
			break;
		shown.own |= own && (o->node == node || !snapshot_is(node));
		if (o->node != node || !o->shows)
			continue;
		shown.is = snapshot_is(node) || (own && o->thread == who->pid && now - o->since < data_own_size);
		if (shown.is || (own && !found))
			found = o;
	}
	if (found) {
		shown.has = true;
		shown.size = found->size;
		shown.modified = found->modified;
	}
	pthread_mutex_unlock(&b->handles_lock);
	return shown;
}

/* ---- the name ---- */

uint64_t data_node_find(struct fs *fs, struct bucket *b, const struct caller *who)
{
	uint64_t node = redirect_node(fs, b, who->pid, NODE_BUCKET, data_name);

	return node ? node : NODE_DATA;
}

void data_node_changed(struct fs *fs, struct bucket *b)
{
	__atomic_store_n(&b->data_changed, fs_moment(fs), __ATOMIC_RELAXED);
	pthread_mutex_lock(&b->handles_lock);
	b->data_changes++;
	b->data_stale += b->data_readers;
	b->data_readers = 0;
	pthread_mutex_unlock(&b->handles_lock);
}
