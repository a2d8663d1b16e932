#include "bucket/redirect.h"

#include <errno.h>
#include <stdlib.h>

/* A thread looks again at once or never: a program may have been killed in between. */
enum { redirect_lifetime = 2000000000 };

uint64_t redirect_name(const struct bucket *b, uint64_t parent, struct slice name)
{
	return slice_hash(name, inode_of(b->number, parent)) | 1;
}

/* Mostly there are none. */
static bool is_empty(struct fs *fs)
{
	return !__atomic_load_n(&fs->redirects, __ATOMIC_ACQUIRE);
}

/* With fs->lock held. */
static struct redirect *find(struct fs *fs, pid_t thread)
{
	struct redirect *r = fs->redirects;

	while (r && r->thread != thread)
		r = r->next;
	return r;
}

void redirect_free(struct redirect *r)
{
	while (r) {
		struct redirect *next = r->next;

		if (r->to)
			file_put(r->to);
		free(r);
		r = next;
	}
}

/* Those whose time has passed, and in *own the thread's. With fs->lock held. */
static struct redirect *take_out(struct fs *fs, pid_t thread, struct redirect **own)
{
	struct redirect *old = NULL;
	int64_t now = fs_moment(fs);

	*own = NULL;
	for (struct redirect **at = &fs->redirects; *at;) {
		struct redirect *r = *at, **to;

		if (now - r->since > redirect_lifetime) {
			to = &old;
		} else if (r->thread == thread) {
			to = own;
		} else {
			at = &r->next;
			continue;
		}
		__atomic_store_n(at, r->next, __ATOMIC_RELAXED);
		r->next = *to;
		*to = r;
	}
	return old;
}

int redirect_add(struct fs *fs, const struct redirect *r)
{
	struct redirect *redirect = malloc(sizeof(*redirect)), *old, *own;

	if (!redirect) {
		if (r->to)
			file_put(r->to);
		return -ENOMEM;
	}
	*redirect = *r;
	pthread_mutex_lock(&fs->lock);
	old = take_out(fs, r->thread, &own);
	redirect->since = fs_moment(fs);
	redirect->next = fs->redirects;
	__atomic_store_n(&fs->redirects, redirect, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&fs->lock);
	redirect_free(old);
	redirect_free(own);
	return 0;
}

struct redirect *redirect_take(struct fs *fs, pid_t thread)
{
	struct redirect *old, *own;

	if (is_empty(fs))
		return NULL;
	pthread_mutex_lock(&fs->lock);
	old = take_out(fs, thread, &own);
	pthread_mutex_unlock(&fs->lock);
	redirect_free(old);
	return own;
}

struct file *redirect_find(struct fs *fs, const struct bucket *b, pid_t thread, uint64_t parent, struct slice name)
{
	const struct redirect *r;
	struct file *found = NULL;

	if (is_empty(fs))
		return NULL;
	pthread_mutex_lock(&fs->lock);
	r = find(fs, thread);
	if (r && r->to && r->to->b == b && r->to->node.parent == parent && slice_equal(r->to->node.name, name)) {
		found = r->to;
		found->refs++;
	}
	pthread_mutex_unlock(&fs->lock);
	return found;
}

bool redirect_is(struct fs *fs, const struct bucket *b, pid_t thread, uint64_t parent, struct slice name, unsigned *wants)
{
	const struct redirect *r;
	uint64_t number;
	bool is;

	if (is_empty(fs))
		return false;
	number = redirect_name(b, parent, name);
	pthread_mutex_lock(&fs->lock);
	r = find(fs, thread);
	is = r && (r->names[0] == number || r->names[1] == number);
	if (is)
		*wants = r->wants;
	pthread_mutex_unlock(&fs->lock);
	return is;
}

uint64_t redirect_node(struct fs *fs, const struct bucket *b, pid_t thread, uint64_t parent, struct slice name)
{
	const struct redirect *r;
	uint64_t number, node;

	if (is_empty(fs))
		return 0;
	number = redirect_name(b, parent, name);
	pthread_mutex_lock(&fs->lock);
	r = find(fs, thread);
	node = r && r->names[0] == number ? r->node : 0;
	pthread_mutex_unlock(&fs->lock);
	return node;
}

void redirect_refuse(struct fs *fs, pid_t thread)
{
	struct redirect *r;

	pthread_mutex_lock(&fs->lock);
	r = find(fs, thread);
	if (r)
		r->refused = true;
	pthread_mutex_unlock(&fs->lock);
}

void redirect_hold(struct fs *fs, pid_t thread, struct file *f)
{
	struct redirect *r;
	struct file *other = NULL;

	pthread_mutex_lock(&fs->lock);
	r = find(fs, thread);
	if (r) {
		other = r->to;
		r->to = f;
		f->refs++;
	}
	pthread_mutex_unlock(&fs->lock);
	if (other)
		file_put(other);
}

void redirect_drop_all(struct fs *fs)
{
	struct redirect *all = fs->redirects;

	fs->redirects = NULL;
	redirect_free(all);
}

void redirect_note_lost(struct fs *fs, uint64_t inode, uint64_t name)
{
	pthread_mutex_lock(&fs->lock);
	fs->lost[inode % redirect_lost_max] = (struct redirect_lost){inode, name};
	pthread_mutex_unlock(&fs->lock);
}

uint64_t redirect_lost_name(struct fs *fs, uint64_t inode)
{
	struct redirect_lost lost;

	pthread_mutex_lock(&fs->lock);
	lost = fs->lost[inode % redirect_lost_max];
	pthread_mutex_unlock(&fs->lock);
	return lost.inode == inode ? lost.name : 0;
}
