#include "store/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "util/container.h"

enum { lock_count = 256 };

/* A record's place is given by its key's hash; the one that was there before makes room. */
struct slot {
	uint32_t bucket;
	uint32_t erased; /* cache->erased when it was put here; another one by now: it is void */
	uint16_t key_len, value_len; /* no key: empty */
	unsigned char bytes[cache_slot_bytes];
};

/* Every lock_count-th slot. `changes` is for who reads without being kept from a commit at the same time: what was read before
 * a change must not be put here after it. */
struct part {
	pthread_mutex_t lock;
	uint64_t changes;
};

struct cache {
	struct store base;
	struct store *inner;
	enum store_space space;
	uint32_t erased; /* how often; atomic */
	struct part parts[lock_count];
	struct slot *slots;
};

static struct cache *self(struct store *base)
{
	return container_of(base, struct cache, base);
}

static size_t place_of(uint32_t bucket, struct slice key)
{
	return slice_hash(key, (uint64_t)bucket << 32) % cache_slots;
}

/* ---- one slot, with its part's lock held ---- */

static bool holds(const struct cache *c, const struct slot *s, uint32_t bucket, struct slice key)
{
	return key.len && s->key_len == key.len && s->bucket == bucket && memcmp(s->bytes, key.at, key.len) == 0 &&
	       s->erased == __atomic_load_n(&c->erased, __ATOMIC_ACQUIRE);
}

static void keep(struct cache *c, struct slot *s, uint32_t bucket, struct slice key, struct slice value)
{
	if (key.len == 0 || key.len + value.len > cache_slot_bytes)
		return;
	s->bucket = bucket;
	s->erased = __atomic_load_n(&c->erased, __ATOMIC_ACQUIRE);
	s->key_len = (uint16_t)key.len;
	s->value_len = (uint16_t)value.len;
	memcpy(s->bytes, key.at, key.len);
	if (value.len)
		memcpy(s->bytes + key.len, value.at, value.len);
}

/* ---- what the store is asked ---- */

static int cache_get(struct store *base, uint32_t bucket, enum store_space space, struct slice key, struct buf *value)
{
	struct cache *c = self(base);
	struct part *part;
	struct slot *s;
	size_t place;
	uint64_t changes;
	int r;

	if (space != c->space)
		return store_get(c->inner, bucket, space, key, value);
	place = place_of(bucket, key);
	part = &c->parts[place % lock_count];
	s = &c->slots[place];
	pthread_mutex_lock(&part->lock);
	if (holds(c, s, bucket, key)) {
		value->len = 0;
		r = buf_add(value, s->bytes + s->key_len, s->value_len);
		pthread_mutex_unlock(&part->lock);
		return r;
	}
	changes = part->changes;
	pthread_mutex_unlock(&part->lock);
	r = store_get(c->inner, bucket, space, key, value);
	if (r)
		return r;
	pthread_mutex_lock(&part->lock);
	if (part->changes == changes)
		keep(c, s, bucket, key, buf_slice(value));
	pthread_mutex_unlock(&part->lock);
	return 0;
}

/* A commit that failed may have been made all the same: then nothing is known of what it changed. */
static int cache_commit(struct store *base, uint32_t bucket, uint64_t expect, struct slice head,
			const struct store_batch *batch, uint64_t *revision)
{
	struct cache *c = self(base);
	int r = store_commit(c->inner, bucket, expect, head, batch, revision);
	struct store_op op;
	size_t at = 0;

	while (store_batch_next(batch, &at, &op)) {
		if (op.space != c->space || (op.kind != STORE_OP_PUT && op.kind != STORE_OP_DELETE))
			continue;
		size_t place = place_of(bucket, op.key);
		struct part *part = &c->parts[place % lock_count];
		struct slot *s = &c->slots[place];

		pthread_mutex_lock(&part->lock);
		part->changes++;
		/* What has just been made is opened, looked at or removed next. */
		if (holds(c, s, bucket, op.key))
			s->key_len = 0;
		if (!r && op.kind == STORE_OP_PUT)
			keep(c, s, bucket, op.key, op.value);
		pthread_mutex_unlock(&part->lock);
	}
	return r;
}

static int cache_erase(struct store *base, uint32_t bucket)
{
	struct cache *c = self(base);
	int r = store_erase(c->inner, bucket);

	/* Who has read before it must not put it here any more, and nothing that is here counts. */
	for (size_t i = 0; i < lock_count; i++) {
		pthread_mutex_lock(&c->parts[i].lock);
		c->parts[i].changes++;
		pthread_mutex_unlock(&c->parts[i].lock);
	}
	__atomic_add_fetch(&c->erased, 1, __ATOMIC_RELEASE);
	return r;
}

static int cache_statistics(struct store *base, struct store_statistics *statistics)
{
	int r = store_statistics(self(base)->inner, statistics);

	statistics->memory_bytes += cache_slots * sizeof(struct slot);
	return r;
}

/* ---- what is passed on; cursors and contents are the inner store's own ---- */

static int cache_head(struct store *base, uint32_t bucket, uint64_t *revision, struct buf *head)
{
	return store_head(self(base)->inner, bucket, revision, head);
}

static int cache_sync(struct store *base)
{
	return store_sync(self(base)->inner);
}

static int cache_usage(struct store *base, struct store_usage *usage)
{
	return store_usage(self(base)->inner, usage);
}

static int cache_cursor_open(struct store *base, uint32_t bucket, enum store_space space, struct slice prefix,
			     struct slice from, struct store_cursor **out)
{
	return store_cursor_open(self(base)->inner, bucket, space, prefix, from, out);
}

static int cache_content_create(struct store *base, struct store_content **out)
{
	return store_content_create(self(base)->inner, out);
}

static int cache_content_open(struct store *base, uint64_t number, struct store_content **out)
{
	return store_content_open(self(base)->inner, number, out);
}

static int cache_content_has_writer(struct store *base, uint64_t number, bool *has)
{
	return store_content_has_writer(self(base)->inner, number, has);
}

static void cache_free(struct cache *c)
{
	for (size_t i = 0; i < lock_count; i++)
		pthread_mutex_destroy(&c->parts[i].lock);
	free(c->slots);
	free(c);
}

static void cache_close(struct store *base)
{
	store_close(self(base)->inner);
	cache_free(self(base));
}

static const struct store_ops cache_ops = {
	.name = "cache",
	.close = cache_close,
	.head = cache_head,
	.get = cache_get,
	.commit = cache_commit,
	.erase = cache_erase,
	.sync = cache_sync,
	.usage = cache_usage,
	.statistics = cache_statistics,
	.cursor_open = cache_cursor_open,
	.content_create = cache_content_create,
	.content_open = cache_content_open,
	.content_has_writer = cache_content_has_writer,
};

int cache_store_open(struct store **out, struct store *inner, enum store_space space)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->base.ops = &cache_ops;
	c->inner = inner;
	c->space = space;
	for (size_t i = 0; i < lock_count; i++)
		pthread_mutex_init(&c->parts[i].lock, NULL);
	c->slots = calloc(cache_slots, sizeof(*c->slots));
	if (!c->slots) {
		cache_free(c);
		return -ENOMEM;
	}
	*out = &c->base;
	return 0;
}
