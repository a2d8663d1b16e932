#include "store/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "util/bytes.h"
#include "util/container.h"

/* A record's key is space, bucket (big endian), key: one sorted array holds everything, heads in a space of their own. */
struct record {
	struct buf key;
	struct buf value;
};

/* A content's bytes, alive while the store or a handle wants them. */
struct body {
	uint64_t number;
	unsigned handles;
	bool adopted;
	bool dropped;
	pthread_rwlock_t lock;
	struct buf bytes;
};

struct memory_store {
	struct store base;
	pthread_mutex_t lock;
	struct record *records;
	size_t count, cap;
	struct body **bodies;
	size_t body_count;
	uint64_t next_content;
};

struct memory_cursor {
	struct store_cursor base;
	struct record *records;
	size_t count, at;
};

enum { key_prefix = 5, head_space = STORE_SPACES };

static int record_key(struct buf *out, uint32_t bucket, unsigned space, struct slice key)
{
	unsigned char raw[key_prefix] = {(unsigned char)space};
	int r;

	bytes_put_be32(raw + 1, bucket);
	buf_clear(out);
	r = buf_add(out, raw, sizeof(raw));
	return r ? r : buf_add_slice(out, key);
}

/* The first record that is not less than `key`. */
static size_t lower_bound(const struct memory_store *s, struct slice key)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (slice_compare(buf_slice(&s->records[middle].key), key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct record *find(const struct memory_store *s, struct slice key)
{
	size_t at = lower_bound(s, key);

	return at < s->count && slice_equal(buf_slice(&s->records[at].key), key) ? &s->records[at] : NULL;
}

static int reserve(struct memory_store *s, size_t extra)
{
	size_t cap = s->cap ? s->cap : 64;
	struct record *grown;

	while (cap < s->count + extra)
		cap *= 2;
	if (cap == s->cap)
		return 0;
	grown = realloc(s->records, cap * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->records = grown;
	s->cap = cap;
	return 0;
}

/* Takes over key and value; there must be room. */
static void put(struct memory_store *s, struct buf *key, struct buf *value)
{
	size_t at = lower_bound(s, buf_slice(key));

	if (at < s->count && slice_equal(buf_slice(&s->records[at].key), buf_slice(key))) {
		buf_release(&s->records[at].value);
		s->records[at].value = *value;
		buf_release(key);
	} else {
		memmove(s->records + at + 1, s->records + at, (s->count - at) * sizeof(*s->records));
		s->records[at] = (struct record){*key, *value};
		s->count++;
	}
	*key = *value = (struct buf){0};
}

static void delete_range(struct memory_store *s, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		buf_release(&s->records[i].key);
		buf_release(&s->records[i].value);
	}
	memmove(s->records + from, s->records + to, (s->count - to) * sizeof(*s->records));
	s->count -= to - from;
}

static int memory_head(struct store *base, uint32_t bucket, uint64_t *revision, struct buf *head)
{
	struct memory_store *s = container_of(base, struct memory_store, base);
	struct buf key = {0};
	int r = record_key(&key, bucket, head_space, slice_of(NULL, 0));

	*revision = 0;
	buf_clear(head);
	if (r)
		return r;
	pthread_mutex_lock(&s->lock);
	struct record *record = find(s, buf_slice(&key));
	if (record) {
		*revision = bytes_get_le64(record->value.data);
		r = buf_add(head, record->value.data + 8, record->value.len - 8);
	} else {
		r = STORE_ABSENT;
	}
	pthread_mutex_unlock(&s->lock);
	buf_release(&key);
	return r;
}

static int memory_get(struct store *base, uint32_t bucket, enum store_space space, struct slice name,
		      struct buf *value)
{
	struct memory_store *s = container_of(base, struct memory_store, base);
	struct buf key = {0};
	int r = record_key(&key, bucket, space, name);

	buf_clear(value);
	if (r)
		return r;
	pthread_mutex_lock(&s->lock);
	struct record *record = find(s, buf_slice(&key));
	r = record ? buf_add_slice(value, buf_slice(&record->value)) : STORE_ABSENT;
	pthread_mutex_unlock(&s->lock);
	buf_release(&key);
	return r;
}

static struct body *body_find(struct memory_store *s, uint64_t number)
{
	for (size_t i = 0; i < s->body_count; i++)
		if (s->bodies[i]->number == number)
			return s->bodies[i];
	return NULL;
}

static void body_forget(struct memory_store *s, struct body *body)
{
	for (size_t i = 0; i < s->body_count; i++) {
		if (s->bodies[i] == body) {
			s->bodies[i] = s->bodies[--s->body_count];
			break;
		}
	}
	pthread_rwlock_destroy(&body->lock);
	buf_release(&body->bytes);
	free(body);
}

static void apply_content(struct memory_store *s, const struct store_op *op)
{
	struct body *body = body_find(s, op->content);

	if (!body)
		return;
	if (op->kind == STORE_OP_ADOPT)
		body->adopted = true;
	else if (op->kind == STORE_OP_DROP)
		body->dropped = true;
	if (body->dropped && body->handles == 0)
		body_forget(s, body);
}

/* Copies of everything a commit will need, made before anything is changed. */
struct prepared {
	struct record *records;
	size_t count;
};

static void prepared_release(struct prepared *p)
{
	for (size_t i = 0; i < p->count; i++) {
		buf_release(&p->records[i].key);
		buf_release(&p->records[i].value);
	}
	free(p->records);
}

static int prepare(struct prepared *p, uint32_t bucket, const struct store_batch *batch)
{
	struct store_op op;
	size_t count = 0;
	int r = 0;

	for (size_t at = 0; store_batch_next(batch, &at, &op);)
		count++;
	p->records = calloc(count + 1, sizeof(*p->records));
	if (!p->records)
		return -ENOMEM;
	for (size_t at = 0; !r && store_batch_next(batch, &at, &op);) {
		struct record *record = &p->records[p->count++];

		if (op.kind >= STORE_OP_ADOPT)
			continue;
		r = record_key(&record->key, bucket, op.space, op.key);
		if (!r && op.kind == STORE_OP_PUT)
			r = buf_add_slice(&record->value, op.value);
	}
	return r;
}

static void apply(struct memory_store *s, struct prepared *p, const struct store_batch *batch)
{
	struct store_op op;
	size_t i = 0;

	for (size_t at = 0; store_batch_next(batch, &at, &op); i++) {
		struct record *record = &p->records[i];

		if (op.kind == STORE_OP_PUT) {
			put(s, &record->key, &record->value);
		} else if (op.kind == STORE_OP_DELETE) {
			size_t found = lower_bound(s, buf_slice(&record->key));

			if (found < s->count && slice_equal(buf_slice(&s->records[found].key), buf_slice(&record->key)))
				delete_range(s, found, found + 1);
		} else {
			apply_content(s, &op);
		}
	}
}

static int memory_commit(struct store *base, uint32_t bucket, uint64_t expect, struct slice head,
			 const struct store_batch *batch, uint64_t *revision)
{
	struct memory_store *s = container_of(base, struct memory_store, base);
	struct buf key = {0}, value = {0};
	struct prepared prepared = {0};
	uint64_t now = 0;
	int r = batch->error;

	if (!r)
		r = prepare(&prepared, bucket, batch);
	if (!r)
		r = record_key(&key, bucket, head_space, slice_of(NULL, 0));
	if (!r)
		r = bytes_add_64(&value, 0);
	if (!r)
		r = buf_add_slice(&value, head);
	if (r)
		goto out;
	pthread_mutex_lock(&s->lock);
	struct record *old = find(s, buf_slice(&key));
	if (old)
		now = bytes_get_le64(old->value.data);
	if (expect != STORE_ANY_REVISION && expect != now)
		r = STORE_CONFLICT;
	else
		r = reserve(s, prepared.count + 1);
	if (!r) {
		bytes_put_le64(value.data, now + 1);
		put(s, &key, &value);
		apply(s, &prepared, batch);
		if (revision)
			*revision = now + 1;
	}
	pthread_mutex_unlock(&s->lock);
out:
	prepared_release(&prepared);
	buf_release(&key);
	buf_release(&value);
	return r;
}

static int memory_erase(struct store *base, uint32_t bucket)
{
	struct memory_store *s = container_of(base, struct memory_store, base);
	struct buf key = {0};
	int r = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned space = 0; !r && space <= head_space; space++) {
		r = record_key(&key, bucket, space, slice_of(NULL, 0));
		if (!r) {
			size_t from = lower_bound(s, buf_slice(&key)), to = from;

			while (to < s->count && slice_starts_with(buf_slice(&s->records[to].key), buf_slice(&key)))
				to++;
			delete_range(s, from, to);
		}
	}
	pthread_mutex_unlock(&s->lock);
	buf_release(&key);
	return r;
}

static int memory_sync(struct store *base)
{
	(void)base;
	return 0;
}

static int memory_usage(struct store *base, struct store_usage *usage)
{
	(void)base;
	*usage = (struct store_usage){1ULL << 40, 1ULL << 39, 1ULL << 39, 1ULL << 32, 1ULL << 31, false};
	return 0;
}

static int memory_statistics(struct store *base, struct store_statistics *statistics)
{
	struct memory_store *s = container_of(base, struct memory_store, base);

	pthread_mutex_lock(&s->lock);
	*statistics = (struct store_statistics){.memory_bytes = s->cap * sizeof(*s->records)};
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void memory_cursor_close(struct store_cursor *base)
{
	struct memory_cursor *c = container_of(base, struct memory_cursor, base);

	for (size_t i = 0; i < c->count; i++) {
		buf_release(&c->records[i].key);
		buf_release(&c->records[i].value);
	}
	free(c->records);
	free(c);
}

/* A copy of the range: the consistent state that the contract asks for, without a snapshot. */
static int copy_range(struct memory_store *s, struct memory_cursor *c, struct slice first, struct slice prefix)
{
	size_t from = lower_bound(s, first), to = from;
	int r = 0;

	while (to < s->count && slice_starts_with(buf_slice(&s->records[to].key), prefix))
		to++;
	c->records = calloc(to - from + 1, sizeof(*c->records));
	if (!c->records)
		return -ENOMEM;
	for (size_t i = from; !r && i < to; i++) {
		struct record *copy = &c->records[c->count++];

		r = buf_add(&copy->key, s->records[i].key.data + key_prefix, s->records[i].key.len - key_prefix);
		if (!r)
			r = buf_add_slice(&copy->value, buf_slice(&s->records[i].value));
	}
	return r;
}

static int memory_cursor_open(struct store *base, uint32_t bucket, enum store_space space, struct slice prefix,
			      struct slice from, struct store_cursor **out)
{
	struct memory_store *s = container_of(base, struct memory_store, base);
	struct memory_cursor *c = calloc(1, sizeof(*c));
	struct buf first = {0}, all = {0};
	int r;

	if (!c)
		return -ENOMEM;
	c->base.ops = base->ops;
	r = record_key(&all, bucket, space, prefix);
	if (!r)
		r = record_key(&first, bucket, space, slice_compare(from, prefix) > 0 ? from : prefix);
	if (!r) {
		pthread_mutex_lock(&s->lock);
		r = copy_range(s, c, buf_slice(&first), buf_slice(&all));
		pthread_mutex_unlock(&s->lock);
	}
	buf_release(&all);
	buf_release(&first);
	if (r)
		memory_cursor_close(&c->base);
	else
		*out = &c->base;
	return r;
}

static int memory_cursor_next(struct store_cursor *base, struct slice *key, struct slice *value)
{
	struct memory_cursor *c = container_of(base, struct memory_cursor, base);

	if (c->at == c->count)
		return STORE_END;
	*key = buf_slice(&c->records[c->at].key);
	*value = buf_slice(&c->records[c->at].value);
	c->at++;
	return 0;
}

struct memory_handle {
	struct store_content base;
	struct memory_store *store;
	struct body *body;
};

static int handle_new(struct memory_store *s, struct body *body, struct store_content **out)
{
	struct memory_handle *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->base.ops = s->base.ops;
	h->base.number = body->number;
	h->store = s;
	h->body = body;
	body->handles++;
	*out = &h->base;
	return 0;
}

static int memory_content_create(struct store *base, struct store_content **out)
{
	struct memory_store *s = container_of(base, struct memory_store, base);
	struct body *body = calloc(1, sizeof(*body));
	int r = -ENOMEM;

	if (!body)
		return r;
	pthread_rwlock_init(&body->lock, NULL);
	pthread_mutex_lock(&s->lock);
	body->number = s->next_content + 1;
	struct body **grown = realloc(s->bodies, (s->body_count + 1) * sizeof(*grown));
	if (grown) {
		s->bodies = grown;
		r = handle_new(s, body, out);
	}
	if (!r) {
		s->next_content++;
		s->bodies[s->body_count++] = body;
	}
	pthread_mutex_unlock(&s->lock);
	if (r) {
		pthread_rwlock_destroy(&body->lock);
		free(body);
	}
	return r;
}

static int memory_content_open(struct store *base, uint64_t number, struct store_content **out)
{
	struct memory_store *s = container_of(base, struct memory_store, base);
	int r;

	pthread_mutex_lock(&s->lock);
	struct body *body = body_find(s, number);
	r = body && !body->dropped ? handle_new(s, body, out) : STORE_ABSENT;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* It gives no descriptors. */
static int memory_content_has_writer(struct store *base, uint64_t number, bool *has)
{
	(void)base, (void)number;
	*has = false;
	return 0;
}

static void memory_content_close(struct store_content *base, bool discard)
{
	struct memory_handle *h = container_of(base, struct memory_handle, base);
	struct memory_store *s = h->store;

	pthread_mutex_lock(&s->lock);
	h->body->handles--;
	if (discard && !h->body->adopted)
		h->body->dropped = true;
	if (h->body->dropped && h->body->handles == 0)
		body_forget(s, h->body);
	pthread_mutex_unlock(&s->lock);
	free(h);
}

static int memory_content_read(struct store_content *base, uint64_t at, void *bytes, size_t len, size_t *got)
{
	struct body *body = container_of(base, struct memory_handle, base)->body;

	pthread_rwlock_rdlock(&body->lock);
	*got = at >= body->bytes.len ? 0 : body->bytes.len - at < len ? body->bytes.len - (size_t)at : len;
	if (*got)
		memcpy(bytes, body->bytes.data + at, *got);
	pthread_rwlock_unlock(&body->lock);
	return 0;
}

static int memory_content_write(struct store_content *base, uint64_t at, const void *bytes, size_t len)
{
	struct body *body = container_of(base, struct memory_handle, base)->body;
	int r;

	pthread_rwlock_wrlock(&body->lock);
	r = len ? buf_write_at(&body->bytes, (size_t)at, bytes, len) : 0;
	pthread_rwlock_unlock(&body->lock);
	return r;
}

static int memory_content_truncate(struct store_content *base, uint64_t len)
{
	struct body *body = container_of(base, struct memory_handle, base)->body;
	int r;

	pthread_rwlock_wrlock(&body->lock);
	r = buf_resize(&body->bytes, (size_t)len);
	pthread_rwlock_unlock(&body->lock);
	return r;
}

static int memory_content_allocate(struct store_content *base, uint64_t at, uint64_t len, bool keep_size)
{
	struct body *body = container_of(base, struct memory_handle, base)->body;
	int r = 0;

	pthread_rwlock_wrlock(&body->lock);
	if (!keep_size && at + len > body->bytes.len)
		r = buf_resize(&body->bytes, (size_t)(at + len));
	pthread_rwlock_unlock(&body->lock);
	return r;
}

static int memory_content_punch(struct store_content *base, uint64_t at, uint64_t len)
{
	struct body *body = container_of(base, struct memory_handle, base)->body;

	pthread_rwlock_wrlock(&body->lock);
	if (at < body->bytes.len)
		memset(body->bytes.data + at, 0, len < body->bytes.len - at ? (size_t)len : body->bytes.len - (size_t)at);
	pthread_rwlock_unlock(&body->lock);
	return 0;
}

static int memory_content_blocks(struct store_content *base, uint64_t *blocks)
{
	struct body *body = container_of(base, struct memory_handle, base)->body;

	pthread_rwlock_rdlock(&body->lock);
	*blocks = (body->bytes.len + 511) / 512;
	pthread_rwlock_unlock(&body->lock);
	return 0;
}

static int memory_content_holes(struct store_content *base, uint64_t at, uint64_t len, uint64_t *bytes)
{
	struct body *body = container_of(base, struct memory_handle, base)->body;

	pthread_rwlock_rdlock(&body->lock);
	*bytes = at + len <= body->bytes.len ? 0 : at < body->bytes.len ? at + len - body->bytes.len : len;
	pthread_rwlock_unlock(&body->lock);
	return 0;
}

static int memory_content_size(struct store_content *base, uint64_t *size)
{
	struct body *body = container_of(base, struct memory_handle, base)->body;

	pthread_rwlock_rdlock(&body->lock);
	*size = body->bytes.len;
	pthread_rwlock_unlock(&body->lock);
	return 0;
}

/* Memory is as good as its checksum would be. */
static int memory_content_unseal(struct store_content *base)
{
	(void)base;
	return 0;
}

static int memory_content_is_sealed(struct store_content *base, uint64_t size, bool *sealed)
{
	(void)base, (void)size;
	*sealed = true;
	return 0;
}

static int memory_content_check(struct store_content *base, uint64_t piece)
{
	(void)base, (void)piece;
	return STORE_END;
}

static int memory_content_sync(struct store_content *base)
{
	(void)base;
	return 0;
}

static int memory_content_sync_again(struct store_content *base, uint64_t from)
{
	(void)base, (void)from;
	return STORE_REPEATED;
}

static int memory_content_fd(struct store_content *base)
{
	(void)base;
	return -1;
}

static void memory_close(struct store *base)
{
	struct memory_store *s = container_of(base, struct memory_store, base);

	delete_range(s, 0, s->count);
	while (s->body_count)
		body_forget(s, s->bodies[0]);
	free(s->records);
	free(s->bodies);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static const struct store_ops memory_ops = {
	.name = "memory",
	.close = memory_close,
	.head = memory_head,
	.get = memory_get,
	.commit = memory_commit,
	.erase = memory_erase,
	.sync = memory_sync,
	.usage = memory_usage,
	.statistics = memory_statistics,
	.cursor_open = memory_cursor_open,
	.cursor_next = memory_cursor_next,
	.cursor_close = memory_cursor_close,
	.content_create = memory_content_create,
	.content_open = memory_content_open,
	.content_has_writer = memory_content_has_writer,
	.content_read = memory_content_read,
	.content_write = memory_content_write,
	.content_truncate = memory_content_truncate,
	.content_allocate = memory_content_allocate,
	.content_punch = memory_content_punch,
	.content_blocks = memory_content_blocks,
	.content_holes = memory_content_holes,
	.content_size = memory_content_size,
	.content_unseal = memory_content_unseal,
	.content_is_sealed = memory_content_is_sealed,
	.content_check = memory_content_check,
	.content_sync = memory_content_sync,
	.content_sync_again = memory_content_sync_again,
	.content_fd = memory_content_fd,
	.content_close = memory_content_close,
};

int memory_store_open(struct store **out)
{
	struct memory_store *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->base.ops = &memory_ops;
	pthread_mutex_init(&s->lock, NULL);
	*out = &s->base;
	return 0;
}
