#include "bucket/fresh.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum { slots_first = 256, slots_each = 2 /* for each name, at least */ };

/* The names' hashes, where they are or right behind; 0: free. */
struct folder {
	uint64_t inode; /* 0: none */
	uint64_t used;  /* fresh->uses then */
	uint32_t *slots;
	size_t mask, count;
};

struct fresh {
	pthread_mutex_t lock;
	uint64_t uses;
	struct folder folders[fresh_folders];
};

int fresh_new(struct fresh **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	pthread_mutex_init(&(*out)->lock, NULL);
	return 0;
}

static void forget(struct folder *d)
{
	free(d->slots);
	*d = (struct folder){0};
}

void fresh_free(struct fresh *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < fresh_folders; i++)
		forget(&f->folders[i]);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

/* With the lock held. */
static struct folder *find(struct fresh *f, uint64_t inode)
{
	for (size_t i = 0; i < fresh_folders; i++) {
		if (f->folders[i].inode == inode) {
			f->folders[i].used = ++f->uses;
			return &f->folders[i];
		}
	}
	return NULL;
}

static uint32_t hash_of(uint64_t inode, struct slice name)
{
	uint64_t hash = slice_hash(name, inode);
	uint32_t folded = (uint32_t)(hash ^ hash >> 32);

	return folded ? folded : 1;
}

/* Where it is, or the free one where it would be. There is one. */
static uint32_t *slot_of(const struct folder *d, uint32_t hash)
{
	size_t i = hash & d->mask;

	while (d->slots[i] && d->slots[i] != hash)
		i = (i + 1) & d->mask;
	return &d->slots[i];
}

static bool grow(struct folder *d)
{
	size_t size = d->slots ? (d->mask + 1) * 2 : slots_first;
	struct folder larger = *d;

	if (size > (size_t)fresh_names * slots_each)
		return false;
	larger.slots = calloc(size, sizeof(*larger.slots));
	larger.mask = size - 1;
	if (!larger.slots)
		return false;
	for (size_t i = 0; d->slots && i <= d->mask; i++)
		if (d->slots[i])
			*slot_of(&larger, d->slots[i]) = d->slots[i];
	free(d->slots);
	*d = larger;
	return true;
}

void fresh_begin(struct fresh *f, uint64_t folder)
{
	struct folder *oldest = f->folders;

	pthread_mutex_lock(&f->lock);
	for (size_t i = 1; i < fresh_folders; i++)
		if (f->folders[i].used < oldest->used)
			oldest = &f->folders[i];
	/* Never two of one: what is known of its names is in the first. */
	if (!find(f, folder)) {
		forget(oldest);
		oldest->inode = folder;
		oldest->used = ++f->uses;
	}
	pthread_mutex_unlock(&f->lock);
}

void fresh_add(struct fresh *f, uint64_t folder, struct slice name)
{
	struct folder *d;

	pthread_mutex_lock(&f->lock);
	d = find(f, folder);
	if (d && (!d->slots || (d->count + 1) * slots_each > d->mask + 1) && !grow(d)) {
		forget(d);
	} else if (d) {
		uint32_t hash = hash_of(folder, name), *slot = slot_of(d, hash);

		d->count += !*slot;
		*slot = hash;
	}
	pthread_mutex_unlock(&f->lock);
}

bool fresh_lacks(struct fresh *f, uint64_t folder, struct slice name)
{
	struct folder *d;
	bool lacks;

	pthread_mutex_lock(&f->lock);
	d = find(f, folder);
	lacks = d && (!d->slots || !*slot_of(d, hash_of(folder, name)));
	pthread_mutex_unlock(&f->lock);
	return lacks;
}
