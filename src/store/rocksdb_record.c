#include "store/rocksdb_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/reserve.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/container.h"

struct rocksdb_cursor {
	struct store_cursor base;
	rocksdb_iterator_t *iterator;
	rocksdb_readoptions_t *read;
	bool started;
	unsigned char upper[1];
};

/* A whole key: short ones on the stack. */
struct key {
	unsigned char small[288];
	unsigned char *at;
	size_t len;
};

static int key_init(struct key *k, uint32_t bucket, struct slice name)
{
	k->len = key_prefix + name.len;
	k->at = k->len <= sizeof(k->small) ? k->small : malloc(k->len);
	if (!k->at)
		return -ENOMEM;
	bytes_put_be32(k->at, bucket);
	if (name.len)
		memcpy(k->at + key_prefix, name.at, name.len);
	return 0;
}

static void key_release(struct key *k)
{
	if (k->at != k->small)
		free(k->at);
}

int rocks_record_get(struct store *base, uint32_t bucket, enum store_space space, struct slice name,
		     struct buf *value)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	struct key key;
	int r = key_init(&key, bucket, name);

	if (r)
		return r;
	r = rocks_get(s, space, key.at, key.len, value);
	key_release(&key);
	return r;
}

int rocks_record_head(struct store *base, uint32_t bucket, uint64_t *revision, struct buf *head)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	unsigned char key[9];
	int r;

	*revision = 0;
	rocks_own_key(key, 'H', bucket);
	r = rocks_get(s, family_own, key, sizeof(key), head);
	if (r)
		return r;
	if (head->len < 8)
		return -EIO;
	*revision = bytes_get_le64(head->data);
	memmove(head->data, head->data + 8, head->len - 8);
	head->len -= 8;
	return 0;
}

/* ---- commit ---- */

static int read_revision(struct rocksdb_store *s, const unsigned char key[9], uint64_t *revision)
{
	char *error = NULL;
	rocksdb_pinnableslice_t *found = rocksdb_get_pinned_cf(s->db, s->read, s->family[family_own],
							       (const char *)key, 9, &error);
	const char *bytes;
	size_t len;

	*revision = 0;
	if (error)
		return rocks_errno_of(error);
	if (!found)
		return 0;
	bytes = rocksdb_pinnableslice_value(found, &len);
	if (len >= 8)
		*revision = bytes_get_le64((const unsigned char *)bytes);
	rocksdb_pinnableslice_destroy(found);
	return len >= 8 ? 0 : -EIO;
}

/* Nobody else writes in this store, so that what was written last is known without reading. */
static int revision_now(struct rocksdb_store *s, const struct stripe *stripe, uint32_t bucket,
			const unsigned char key[9], uint64_t *revision)
{
	if (stripe->bucket != bucket || !stripe->revision)
		return read_revision(s, key, revision);
	*revision = stripe->revision;
	return 0;
}

static int translate_content(struct rocksdb_store *s, const struct store_op *op, rocksdb_writebatch_t *out)
{
	rocksdb_column_family_handle_t *own = s->family[family_own];
	unsigned char unowned[9], sealed[9];
	struct buf seal = {0};
	int r = 0;

	rocks_own_key(unowned, 'X', op->content);
	rocks_own_key(sealed, 'S', op->content);
	if (op->kind == STORE_OP_ADOPT) {
		rocksdb_writebatch_delete_cf(out, own, (char *)unowned, sizeof(unowned));
		rocksdb_writebatch_put_cf(out, own, (char *)sealed, sizeof(sealed), "", 0);
	} else if (op->kind == STORE_OP_DROP) {
		rocksdb_writebatch_put_cf(out, own, (char *)unowned, sizeof(unowned), "", 0);
		rocksdb_writebatch_delete_cf(out, own, (char *)sealed, sizeof(sealed));
	} else {
		r = rocks_seal_join(s, op->content, op->value, &seal);
		if (!r)
			rocksdb_writebatch_put_cf(out, own, (char *)sealed, sizeof(sealed), (char *)seal.data, seal.len);
		buf_release(&seal);
	}
	return r == STORE_ABSENT ? 0 : r;
}

static int translate(struct rocksdb_store *s, uint32_t bucket, const struct store_batch *batch,
		     rocksdb_writebatch_t *out, bool *contents)
{
	struct store_op op;

	for (size_t at = 0; store_batch_next(batch, &at, &op);) {
		struct key key;
		int r;

		if (op.kind >= STORE_OP_ADOPT) {
			r = translate_content(s, &op, out);
			if (r)
				return r;
			*contents = true;
			continue;
		}
		r = key_init(&key, bucket, op.key);
		if (r)
			return r;
		if (op.kind == STORE_OP_PUT)
			rocksdb_writebatch_put_cf(out, s->family[op.space], (char *)key.at, key.len, op.value.at,
						  op.value.len);
		else
			rocksdb_writebatch_delete_cf(out, s->family[op.space], (char *)key.at, key.len);
		key_release(&key);
	}
	return 0;
}

/* The stripe's batch, emptied. A very large one does not stay. */
static rocksdb_writebatch_t *empty_batch(struct stripe *stripe)
{
	enum { keep_bytes = 256 << 10 };
	size_t size = 0;

	if (stripe->batch) {
		rocksdb_writebatch_data(stripe->batch, &size);
		if (size <= keep_bytes) {
			rocksdb_writebatch_clear(stripe->batch);
			return stripe->batch;
		}
		rocksdb_writebatch_destroy(stripe->batch);
	}
	return stripe->batch = rocksdb_writebatch_create();
}

static int commit_locked(struct rocksdb_store *s, struct stripe *stripe, uint32_t bucket, uint64_t expect,
			 struct slice head, const struct store_batch *batch, uint64_t *revision, bool *contents)
{
	rocksdb_writebatch_t *out = empty_batch(stripe);
	unsigned char key[9], number[8];
	const char *keys[1] = {(const char *)key};
	const char *values[2] = {(const char *)number, head.at};
	size_t key_sizes[1] = {sizeof(key)}, value_sizes[2] = {sizeof(number), head.len};
	int64_t began;
	uint64_t now;
	char *error = NULL;
	int r = translate(s, bucket, batch, out, contents);

	rocks_own_key(key, 'H', bucket);
	if (!r)
		r = revision_now(s, stripe, bucket, key, &now);
	if (r)
		return r;
	if (expect != STORE_ANY_REVISION && expect != now)
		return STORE_CONFLICT;
	bytes_put_le64(number, now + 1);
	rocksdb_writebatch_putv_cf(out, s->family[family_own], 1, keys, key_sizes, 2, values, value_sizes);
	r = rocks_health_enter(s);
	if (r)
		return r;
	began = clock_monotonic();
	rocksdb_write(s->db, s->write, out, &error);
	__atomic_add_fetch(&s->commit_ns, (uint64_t)(clock_monotonic() - began), __ATOMIC_RELAXED);
	__atomic_add_fetch(&s->commits, 1, __ATOMIC_RELAXED);
	r = rocks_health_written(s, error);
	/* After an error the next commit reads what is there. */
	stripe->bucket = bucket;
	stripe->revision = r ? 0 : now + 1;
	*revision = now + 1;
	return r;
}

/* Whether it removes something, or adds nothing. On a full disk only such a commit may use what is left. */
static bool gives_room(const struct store_batch *batch)
{
	struct store_op op;
	bool adds = false;

	for (size_t at = 0; store_batch_next(batch, &at, &op);) {
		if (op.kind == STORE_OP_DELETE || op.kind == STORE_OP_DROP)
			return true;
		adds = true;
	}
	return !adds;
}

int rocks_record_commit(struct store *base, uint32_t bucket, uint64_t expect, struct slice head,
			const struct store_batch *batch, uint64_t *revision)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	struct stripe *stripe = &s->stripe[bucket % stripe_count];
	bool contents = false;
	uint64_t new;
	int r = batch->error;

	if (!r)
		r = rocks_health_refusal(s);
	/* RocksDB has it in a batch that grows by doubling, in the log's buffer and in a memtable. */
	if (!r)
		r = reserve_ask(4 * batch->ops.len);
	if (!r) {
		r = rocks_health_may_grow(s);
		if (r && gives_room(batch))
			r = 0;
	}
	if (r)
		return r;
	pthread_mutex_lock(&stripe->lock);
	r = commit_locked(s, stripe, bucket, expect, head, batch, &new, &contents);
	pthread_mutex_unlock(&stripe->lock);
	if (!r && revision)
		*revision = new;
	if (!r && contents)
		rocks_content_committed(s, batch);
	return r;
}

int rocks_record_erase(struct store *base, uint32_t bucket)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	rocksdb_writebatch_t *out = rocksdb_writebatch_create();
	struct stripe *stripe = &s->stripe[bucket % stripe_count];
	unsigned char from[key_prefix], to[key_prefix], head[9];
	char *error = NULL;
	int r;

	bytes_put_be32(from, bucket);
	bytes_put_be32(to, bucket + 1);
	rocks_own_key(head, 'H', bucket);
	rocksdb_writebatch_delete_cf(out, s->family[family_own], (char *)head, sizeof(head));
	/* Few records are left when a bucket goes, and a range tombstone would slow every later read: one by one. */
	for (int i = 0; i < STORE_SPACES; i++) {
		rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->read, s->family[i]);

		for (rocksdb_iter_seek(it, (char *)from, sizeof(from)); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
			size_t len;
			const char *key = rocksdb_iter_key(it, &len);

			if (slice_compare(slice_of(key, len), slice_of(to, sizeof(to))) >= 0)
				break;
			rocksdb_writebatch_delete_cf(out, s->family[i], key, len);
		}
		rocksdb_iter_destroy(it);
	}
	pthread_mutex_lock(&stripe->lock);
	r = rocks_health_enter(s);
	if (!r) {
		rocksdb_write(s->db, s->write, out, &error);
		r = rocks_health_written(s, error);
	}
	stripe->revision = 0;
	pthread_mutex_unlock(&stripe->lock);
	rocksdb_writebatch_destroy(out);
	return r;
}

/* ---- cursor ---- */

void rocks_cursor_close(struct store_cursor *base)
{
	struct rocksdb_cursor *c = container_of(base, struct rocksdb_cursor, base);

	if (c->iterator)
		rocksdb_iter_destroy(c->iterator);
	rocksdb_readoptions_destroy(c->read);
	free(c);
}

/* The first key after all that begin with the prefix; false if there is none. */
static bool prefix_end(unsigned char *key, size_t *len)
{
	while (*len && key[*len - 1] == 0xff)
		(*len)--;
	if (*len == 0)
		return false;
	key[*len - 1]++;
	return true;
}

int rocks_cursor_open(struct store *base, uint32_t bucket, enum store_space space, struct slice prefix,
		      struct slice from, struct store_cursor **out)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	struct rocksdb_cursor *c = calloc(1, sizeof(*c) + key_prefix + prefix.len);
	size_t upper = key_prefix + prefix.len;
	struct key first;
	int r;

	if (!c)
		return -ENOMEM;
	r = reserve_ask(0);
	if (r) {
		free(c);
		return r;
	}
	r = key_init(&first, bucket, slice_compare(from, prefix) > 0 ? from : prefix);
	if (r) {
		free(c);
		return r;
	}
	c->base.ops = base->ops;
	c->read = rocksdb_readoptions_create();
	bytes_put_be32(c->upper, bucket);
	if (prefix.len)
		memcpy(c->upper + key_prefix, prefix.at, prefix.len);
	if (prefix_end(c->upper, &upper))
		rocksdb_readoptions_set_iterate_upper_bound(c->read, (char *)c->upper, upper);
	c->iterator = rocksdb_create_iterator_cf(s->db, c->read, s->family[space]);
	rocksdb_iter_seek(c->iterator, (char *)first.at, first.len);
	key_release(&first);
	*out = &c->base;
	return 0;
}

int rocks_cursor_next(struct store_cursor *base, struct slice *key, struct slice *value)
{
	struct rocksdb_cursor *c = container_of(base, struct rocksdb_cursor, base);

	if (c->started && rocksdb_iter_valid(c->iterator))
		rocksdb_iter_next(c->iterator);
	c->started = true;
	if (!rocksdb_iter_valid(c->iterator)) {
		char *error = NULL;

		rocksdb_iter_get_error(c->iterator, &error);
		return error ? rocks_errno_of(error) : STORE_END;
	}
	key->at = rocksdb_iter_key(c->iterator, &key->len);
	key->at = (const char *)key->at + key_prefix;
	key->len -= key_prefix;
	value->at = rocksdb_iter_value(c->iterator, &value->len);
	return 0;
}
