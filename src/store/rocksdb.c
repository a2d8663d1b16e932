#include "store/rocksdb.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "store/blob.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/log.h"

/* Column families: "default" holds heads ('H' bucket), the content counter ('C') and the contents that no record owns
 * ('X' number): being written, or let go. The others are one a space; their keys begin with the bucket's number. */
enum { family_own = STORE_SPACES, family_count };
static const char *const family_name[family_count] = {"meta", "doc", "node", "body", "default"};

enum { key_prefix = 4, content_step = 1024, stripe_count = 64, named_count = 4096 };

/* A commit reads the revision and writes the next one: one at a time for each bucket. */
struct stripe {
	pthread_mutex_t lock;
	rocksdb_writebatch_t *batch; /* used again and again */
	uint32_t bucket;             /* the last one that was committed to, and … */
	uint64_t revision;           /* … where it is since; 0: not known */
};

struct rocksdb_store {
	struct store base;
	char *folder;
	int folder_fd;
	int lock_fd;
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_options_t *family_options[family_count];
	rocksdb_block_based_table_options_t *table_options[family_count];
	rocksdb_cache_t *cache;
	rocksdb_env_t *env;
	rocksdb_column_family_handle_t *family[family_count];
	rocksdb_readoptions_t *read;
	rocksdb_writeoptions_t *write;

	struct stripe stripe[stripe_count];
	uint64_t commits, commit_ns; /* atomic */

	pthread_mutex_t lock;
	uint64_t next_content;
	uint64_t reserved_content;
	uint64_t named[named_count]; /* contents whose names are known to be on the disk, by number; atomic */

	/* Contents let go: removed by a thread of their own, for a large file takes its time. */
	pthread_t reaper;
	bool reaper_runs;
	bool leaving;
	pthread_cond_t wake;
	struct buf condemned;
};

struct rocksdb_cursor {
	struct store_cursor base;
	rocksdb_iterator_t *iterator;
	rocksdb_readoptions_t *read;
	bool started;
	unsigned char upper[1];
};

struct content {
	struct blob blob;
	struct rocksdb_store *store;
};

/* RocksDB speaks in sentences. */
static int errno_of(char *sentence)
{
	int r = 0;

	if (!sentence)
		return 0;
	if (strstr(sentence, "No space left"))
		r = -ENOSPC;
	else if (strstr(sentence, "emory"))
		r = -ENOMEM;
	else
		r = -EIO;
	log_error("store: %s", sentence);
	rocksdb_free(sentence);
	return r;
}

static void own_key(unsigned char raw[9], char kind, uint64_t number)
{
	raw[0] = (unsigned char)kind;
	for (int i = 8; i > 0; i--, number >>= 8)
		raw[i] = (unsigned char)number;
}

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

static int get(struct rocksdb_store *s, int family, const void *key, size_t len, struct buf *value)
{
	char *error = NULL;
	rocksdb_pinnableslice_t *found =
		rocksdb_get_pinned_cf(s->db, s->read, s->family[family], key, len, &error);
	const char *bytes;
	size_t size;
	int r;

	buf_clear(value);
	if (error)
		return errno_of(error);
	if (!found)
		return STORE_ABSENT;
	bytes = rocksdb_pinnableslice_value(found, &size);
	r = buf_add(value, bytes, size);
	rocksdb_pinnableslice_destroy(found);
	return r;
}

static int rocksdb_store_get(struct store *base, uint32_t bucket, enum store_space space, struct slice name,
			     struct buf *value)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	struct key key;
	int r = key_init(&key, bucket, name);

	if (r)
		return r;
	r = get(s, space, key.at, key.len, value);
	key_release(&key);
	return r;
}

static int rocksdb_store_head(struct store *base, uint32_t bucket, uint64_t *revision, struct buf *head)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	unsigned char key[9];
	int r;

	*revision = 0;
	own_key(key, 'H', bucket);
	r = get(s, family_own, key, sizeof(key), head);
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
		return errno_of(error);
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

static int translate(struct rocksdb_store *s, uint32_t bucket, const struct store_batch *batch,
		     rocksdb_writebatch_t *out, bool *drops)
{
	struct store_op op;

	for (size_t at = 0; store_batch_next(batch, &at, &op);) {
		unsigned char own[9];
		struct key key;
		int r;

		if (op.kind >= STORE_OP_ADOPT) {
			own_key(own, 'X', op.content);
			if (op.kind == STORE_OP_ADOPT)
				rocksdb_writebatch_delete_cf(out, s->family[family_own], (char *)own, sizeof(own));
			else
				rocksdb_writebatch_put_cf(out, s->family[family_own], (char *)own, sizeof(own), "", 0);
			*drops |= op.kind == STORE_OP_DROP;
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

/* After this the reaper removes the files. If there is no memory for the list, the next open does. */
static void condemn(struct rocksdb_store *s, const struct store_batch *batch)
{
	struct store_op op;

	pthread_mutex_lock(&s->lock);
	for (size_t at = 0; store_batch_next(batch, &at, &op);)
		if (op.kind == STORE_OP_DROP)
			bytes_add_64(&s->condemned, op.content);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
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
			 struct slice head, const struct store_batch *batch, uint64_t *revision, bool *drops)
{
	rocksdb_writebatch_t *out = empty_batch(stripe);
	unsigned char key[9], number[8];
	const char *keys[1] = {(const char *)key};
	const char *values[2] = {(const char *)number, head.at};
	size_t key_sizes[1] = {sizeof(key)}, value_sizes[2] = {sizeof(number), head.len};
	int64_t began;
	uint64_t now;
	char *error = NULL;
	int r = translate(s, bucket, batch, out, drops);

	own_key(key, 'H', bucket);
	if (!r)
		r = revision_now(s, stripe, bucket, key, &now);
	if (r)
		return r;
	if (expect != STORE_ANY_REVISION && expect != now)
		return STORE_CONFLICT;
	bytes_put_le64(number, now + 1);
	rocksdb_writebatch_putv_cf(out, s->family[family_own], 1, keys, key_sizes, 2, values, value_sizes);
	began = clock_monotonic();
	rocksdb_write(s->db, s->write, out, &error);
	__atomic_add_fetch(&s->commit_ns, (uint64_t)(clock_monotonic() - began), __ATOMIC_RELAXED);
	__atomic_add_fetch(&s->commits, 1, __ATOMIC_RELAXED);
	r = errno_of(error);
	/* After an error nobody knows what is there. */
	stripe->bucket = bucket;
	stripe->revision = r ? 0 : now + 1;
	*revision = now + 1;
	return r;
}

static int rocksdb_store_commit(struct store *base, uint32_t bucket, uint64_t expect, struct slice head,
				const struct store_batch *batch, uint64_t *revision)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	struct stripe *stripe = &s->stripe[bucket % stripe_count];
	bool drops = false;
	uint64_t new;
	int r = batch->error;

	if (r)
		return r;
	pthread_mutex_lock(&stripe->lock);
	r = commit_locked(s, stripe, bucket, expect, head, batch, &new, &drops);
	pthread_mutex_unlock(&stripe->lock);
	if (!r && revision)
		*revision = new;
	if (!r && drops)
		condemn(s, batch);
	return r;
}

static int rocksdb_store_erase(struct store *base, uint32_t bucket)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	rocksdb_writebatch_t *out = rocksdb_writebatch_create();
	struct stripe *stripe = &s->stripe[bucket % stripe_count];
	unsigned char from[key_prefix], to[key_prefix], head[9];
	char *error = NULL;

	bytes_put_be32(from, bucket);
	bytes_put_be32(to, bucket + 1);
	own_key(head, 'H', bucket);
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
	rocksdb_write(s->db, s->write, out, &error);
	stripe->revision = 0;
	pthread_mutex_unlock(&stripe->lock);
	rocksdb_writebatch_destroy(out);
	return errno_of(error);
}

static int rocksdb_store_sync(struct store *base)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	char *error = NULL;

	rocksdb_flush_wal(s->db, 1, &error);
	return errno_of(error);
}

static int rocksdb_store_usage(struct store *base, struct store_usage *usage)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	struct statvfs v;

	if (fstatvfs(s->folder_fd, &v))
		return -errno;
	*usage = (struct store_usage){
		.total_bytes = (uint64_t)v.f_blocks * v.f_frsize,
		.free_bytes = (uint64_t)v.f_bfree * v.f_frsize,
		.available_bytes = (uint64_t)v.f_bavail * v.f_frsize,
		.total_nodes = v.f_files,
		.free_nodes = v.f_ffree,
	};
	return 0;
}

static int rocksdb_store_statistics(struct store *base, struct store_statistics *statistics)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);

	*statistics = (struct store_statistics){
		.memory_bytes = rocksdb_cache_get_usage(s->cache),
		.commits = __atomic_load_n(&s->commits, __ATOMIC_RELAXED),
		.commit_ns = __atomic_load_n(&s->commit_ns, __ATOMIC_RELAXED),
	};
	for (int i = 0; i < family_count; i++) {
		uint64_t value;

		if (!rocksdb_property_int_cf(s->db, s->family[i], "rocksdb.size-all-mem-tables", &value))
			statistics->memory_bytes += value;
		if (!rocksdb_property_int_cf(s->db, s->family[i], "rocksdb.total-sst-files-size", &value))
			statistics->record_bytes += value;
	}
	return 0;
}

/* ---- cursor ---- */

static void rocksdb_cursor_close(struct store_cursor *base)
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

static int rocksdb_cursor_open(struct store *base, uint32_t bucket, enum store_space space, struct slice prefix,
			       struct slice from, struct store_cursor **out)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	struct rocksdb_cursor *c = calloc(1, sizeof(*c) + key_prefix + prefix.len);
	size_t upper = key_prefix + prefix.len;
	struct key first;
	int r;

	if (!c)
		return -ENOMEM;
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

static int rocksdb_cursor_next(struct store_cursor *base, struct slice *key, struct slice *value)
{
	struct rocksdb_cursor *c = container_of(base, struct rocksdb_cursor, base);

	if (c->started && rocksdb_iter_valid(c->iterator))
		rocksdb_iter_next(c->iterator);
	c->started = true;
	if (!rocksdb_iter_valid(c->iterator)) {
		char *error = NULL;

		rocksdb_iter_get_error(c->iterator, &error);
		return error ? errno_of(error) : STORE_END;
	}
	key->at = rocksdb_iter_key(c->iterator, &key->len);
	key->at = (const char *)key->at + key_prefix;
	key->len -= key_prefix;
	value->at = rocksdb_iter_value(c->iterator, &value->len);
	return 0;
}

/* ---- contents ---- */

static int own_write(struct rocksdb_store *s, char kind, uint64_t number, const void *value, size_t len)
{
	unsigned char key[9];
	char *error = NULL;

	own_key(key, kind, number);
	rocksdb_put_cf(s->db, s->write, s->family[family_own], (char *)key, sizeof(key), value, len, &error);
	return errno_of(error);
}

static int own_delete(struct rocksdb_store *s, char kind, uint64_t number)
{
	unsigned char key[9];
	char *error = NULL;

	own_key(key, kind, number);
	rocksdb_delete_cf(s->db, s->write, s->family[family_own], (char *)key, sizeof(key), &error);
	return errno_of(error);
}

/* Numbers are taken in steps, so that the counter is written once in a thousand. */
static int next_content(struct rocksdb_store *s, uint64_t *number)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->next_content == s->reserved_content) {
		unsigned char raw[8];

		bytes_put_le64(raw, s->reserved_content + content_step);
		r = own_write(s, 'C', 0, raw, sizeof(raw));
		if (!r)
			s->reserved_content += content_step;
	}
	if (!r)
		*number = s->next_content++;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Syncing a folder waits for the disk too: not twice for one content, if that is remembered. */
static bool is_named(struct rocksdb_store *s, uint64_t number)
{
	return __atomic_load_n(&s->named[number % named_count], __ATOMIC_RELAXED) == number;
}

static int rocksdb_content_sync(struct store_content *base)
{
	struct content *c = container_of(base, struct content, blob.base);
	int r = blob_sync(base);

	if (!r)
		__atomic_store_n(&c->store->named[base->number % named_count], base->number, __ATOMIC_RELAXED);
	return r;
}

static int content_new(struct rocksdb_store *s, uint64_t number, int fd, struct store_content **out)
{
	struct content *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	*c = (struct content){{{s->base.ops, number}, s->folder_fd, fd, is_named(s, number)}, s};
	*out = &c->blob.base;
	return 0;
}

static int rocksdb_content_create(struct store *base, struct store_content **out)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);

	for (;;) {
		uint64_t number;
		int fd, r = next_content(s, &number);

		if (!r)
			r = own_write(s, 'X', number, "", 0);
		if (r)
			return r;
		fd = blob_create(s->folder_fd, number);
		/* After a loss of power the counter may be behind the files. */
		if (fd == -EEXIST)
			continue;
		if (fd < 0) {
			own_delete(s, 'X', number);
			return fd;
		}
		return content_new(s, number, fd, out);
	}
}

static int rocksdb_content_open(struct store *base, uint64_t number, struct store_content **out)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	int fd = blob_open(s->folder_fd, number);

	if (fd < 0)
		return fd == -ENOENT ? STORE_ABSENT : fd;
	return content_new(s, number, fd, out);
}

static void content_remove(struct rocksdb_store *s, uint64_t number)
{
	int r = blob_remove(s->folder_fd, number);

	if (r == 0 || r == -ENOENT)
		own_delete(s, 'X', number);
	else
		log_error("store: cannot remove blob %016llx: %s", (unsigned long long)number, strerror(-r));
}

static void rocksdb_content_close(struct store_content *base, bool discard)
{
	struct content *c = container_of(base, struct content, blob.base);

	if (discard)
		content_remove(c->store, base->number);
	close(c->blob.fd);
	free(c);
}

/* Takes what is condemned; false: nothing more will be. */
static bool wait_for_condemned(struct rocksdb_store *s, struct buf *list)
{
	pthread_mutex_lock(&s->lock);
	while (!s->condemned.len && !s->leaving)
		pthread_cond_wait(&s->wake, &s->lock);
	*list = s->condemned;
	s->condemned = (struct buf){0};
	pthread_mutex_unlock(&s->lock);
	return list->len;
}

static void *reap(void *argument)
{
	struct rocksdb_store *s = argument;
	struct buf list;

	while (wait_for_condemned(s, &list)) {
		/* After a loss of power no record may ask for a file that is gone: the commit that let it go comes first. If
		 * the disk refuses, they go at the next open. */
		if (rocksdb_store_sync(&s->base) == 0)
			for (size_t at = 0; at < list.len; at += 8)
				content_remove(s, bytes_get_le64(list.data + at));
		buf_release(&list);
	}
	return NULL;
}

/* ---- open and close ---- */

/* What is in memory goes into tables, so that the next open has no log to read again. If it cannot, the log has it. */
static void flush_tables(struct rocksdb_store *s)
{
	rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
	char *error = NULL;

	for (int i = 0; i < family_count; i++) {
		rocksdb_flush_cf(s->db, options, s->family[i], &error);
		errno_of(error);
		error = NULL;
	}
	rocksdb_flushoptions_destroy(options);
}

static void rocksdb_store_close(struct store *base)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);

	if (s->reaper_runs) {
		pthread_mutex_lock(&s->lock);
		s->leaving = true;
		pthread_cond_signal(&s->wake);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->reaper, NULL);
		flush_tables(s);
	}
	for (int i = 0; i < family_count; i++)
		if (s->family[i])
			rocksdb_column_family_handle_destroy(s->family[i]);
	if (s->db)
		rocksdb_close(s->db);
	for (int i = 0; i < family_count; i++) {
		if (s->family_options[i])
			rocksdb_options_destroy(s->family_options[i]);
		if (s->table_options[i])
			rocksdb_block_based_options_destroy(s->table_options[i]);
	}
	if (s->options)
		rocksdb_options_destroy(s->options);
	if (s->cache)
		rocksdb_cache_destroy(s->cache);
	if (s->env)
		rocksdb_env_destroy(s->env);
	if (s->read)
		rocksdb_readoptions_destroy(s->read);
	if (s->write)
		rocksdb_writeoptions_destroy(s->write);
	for (int i = 0; i < stripe_count; i++) {
		if (s->stripe[i].batch)
			rocksdb_writebatch_destroy(s->stripe[i].batch);
		pthread_mutex_destroy(&s->stripe[i].lock);
	}
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->wake);
	buf_release(&s->condemned);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->folder_fd >= 0)
		close(s->folder_fd);
	free(s->folder);
	free(s);
}

static const struct store_ops rocksdb_ops = {
	.name = "rocksdb",
	.close = rocksdb_store_close,
	.head = rocksdb_store_head,
	.get = rocksdb_store_get,
	.commit = rocksdb_store_commit,
	.erase = rocksdb_store_erase,
	.sync = rocksdb_store_sync,
	.usage = rocksdb_store_usage,
	.statistics = rocksdb_store_statistics,
	.cursor_open = rocksdb_cursor_open,
	.cursor_next = rocksdb_cursor_next,
	.cursor_close = rocksdb_cursor_close,
	.content_create = rocksdb_content_create,
	.content_open = rocksdb_content_open,
	.content_read = blob_read,
	.content_write = blob_write,
	.content_truncate = blob_truncate,
	.content_allocate = blob_allocate,
	.content_punch = blob_punch,
	.content_blocks = blob_blocks,
	.content_sync = rocksdb_content_sync,
	.content_fd = blob_fd,
	.content_close = rocksdb_content_close,
};

static int read_line(int fd, char *line, size_t size)
{
	ssize_t n = pread(fd, line, size - 1, 0);

	if (n < 0)
		return -errno;
	line[n] = 0;
	line[strcspn(line, "\n")] = 0;
	return 0;
}

static int take_lock(struct rocksdb_store *s, const struct rocksdb_store_options *options, struct reason *why)
{
	char holder[512] = "";

	s->lock_fd = openat(s->folder_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0) {
		int r = -errno;

		reason_set(why, "cannot write in store %s: %s", s->folder, strerror(-r));
		return r;
	}
	for (int waited = 0; flock(s->lock_fd, LOCK_EX | LOCK_NB); waited++) {
		if (errno != EWOULDBLOCK)
			return -errno;
		read_line(s->lock_fd, holder, sizeof(holder));
		if (!options->holder_leaves || !options->holder_leaves(options->context, holder) ||
		    waited >= rocksdb_store_wait_seconds * 50) {
			reason_set(why, "store %s is in use (%s): stop that one first", s->folder,
				   *holder ? holder : "holder unknown");
			return STORE_IN_USE;
		}
		nanosleep(&(struct timespec){0, 20000000}, NULL);
	}
	if (ftruncate(s->lock_fd, 0) || dprintf(s->lock_fd, "%s\n", options->holder ? options->holder : "") < 0) {
		int r = -errno;

		reason_set(why, "cannot write in store %s: %s", s->folder, strerror(-r));
		return r;
	}
	return 0;
}

/* Whether the folder holds nothing but what an interrupted first start may have left. */
static int folder_is_new(struct rocksdb_store *s, bool *new)
{
	static const char *const ours[] = {".", "..", "lock", "db", "blobs", "format.new", "lost+found"};
	int fd = openat(s->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!folder)
		return -errno;
	*new = true;
	while (*new && (entry = readdir(folder))) {
		bool known = false;

		for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
			known |= strcmp(entry->d_name, ours[i]) == 0;
		*new = known;
	}
	closedir(folder);
	return 0;
}

static int check_format(struct rocksdb_store *s, bool *new, struct reason *why)
{
	char line[64] = "";
	unsigned version = 0;
	int fd = openat(s->folder_fd, "format", O_RDONLY | O_CLOEXEC), r;

	if (fd < 0 && errno != ENOENT) {
		r = -errno;
		reason_set(why, "cannot read %s/format: %s", s->folder, strerror(-r));
		return r;
	}
	if (fd < 0) {
		r = folder_is_new(s, new);
		if (!r && !*new) {
			reason_set(why, "%s is not a bucketfs store and not empty: give it a folder of its own", s->folder);
			r = STORE_FOREIGN;
		}
		return r;
	}
	*new = false;
	r = read_line(fd, line, sizeof(line));
	close(fd);
	if (r)
		return r;
	if (sscanf(line, "bucketfs store %u", &version) != 1 || version == 0) {
		reason_set(why, "store %s is damaged: its file \"format\" is not readable; restore it from a backup",
			   s->folder);
		return STORE_DAMAGED;
	}
	if (version > rocksdb_store_format) {
		reason_set(why, "store %s has format %u and this bucketfs knows up to %d: use a newer bucketfs",
			   s->folder, version, rocksdb_store_format);
		return STORE_NEWER;
	}
	return 0;
}

static int write_format(struct rocksdb_store *s)
{
	int fd = openat(s->folder_fd, "format.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (dprintf(fd, "bucketfs store %d\n", rocksdb_store_format) < 0 || fsync(fd))
		r = -errno;
	close(fd);
	if (!r && renameat(s->folder_fd, "format.new", s->folder_fd, "format"))
		r = -errno;
	if (!r && fsync(s->folder_fd))
		r = -errno;
	return r;
}

/* Most records of a node come one after the other with the ones that were written last, but those of several kinds take turns: names,
 * records, what is being made. With hints a memtable remembers for each kind where it was, a third of what it costs to insert
 * there. The C interface has no call of its own for it. Never with rocksdb_delete_range_cf: until RocksDB 9.2 that would go by the
 * same hints in another list. */
static void set_hints(rocksdb_options_t **options)
{
	/* A bucket's number and the kind. */
	_Static_assert(key_prefix == 4, "the text below says five bytes");
	rocksdb_options_t *hinted = rocksdb_options_create();
	char *error = NULL;

	rocksdb_get_options_from_string(*options, "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.5", hinted, &error);
	if (error) {
		/* It works without. */
		rocksdb_free(error);
		rocksdb_options_destroy(hinted);
		return;
	}
	rocksdb_options_destroy(*options);
	*options = hinted;
}

/* Bounded memory: one block cache for everything, indexes and filters included, and one budget for all memtables. */
static void make_options(struct rocksdb_store *s, const struct rocksdb_store_options *o, bool new)
{
	size_t buffers = o->buffer_bytes ? o->buffer_bytes : 96u << 20;

	s->cache = rocksdb_cache_create_lru(o->cache_bytes ? o->cache_bytes : 64u << 20);
	/* Compaction has time; who waits for a file, and the jobs of this host, have not. */
	s->env = rocksdb_create_default_env();
	rocksdb_env_lower_thread_pool_cpu_priority(s->env);
	rocksdb_env_lower_thread_pool_io_priority(s->env);
	s->options = rocksdb_options_create();
	rocksdb_options_set_env(s->options, s->env);
	rocksdb_options_set_create_if_missing(s->options, new);
	rocksdb_options_set_create_missing_column_families(s->options, new);
	rocksdb_options_set_db_write_buffer_size(s->options, buffers);
	rocksdb_options_set_max_total_wal_size(s->options, 128u << 20);
	rocksdb_options_set_max_open_files(s->options, 256);
	rocksdb_options_set_max_background_jobs(s->options, 2);
	rocksdb_options_set_bytes_per_sync(s->options, 1u << 20);
	rocksdb_options_set_info_log_level(s->options, 2);
	rocksdb_options_set_keep_log_file_num(s->options, 2);
	rocksdb_options_set_max_log_file_size(s->options, 4u << 20);
	rocksdb_options_set_stats_dump_period_sec(s->options, 0);
	rocksdb_options_set_skip_stats_update_on_db_open(s->options, 1);
	for (int i = 0; i < family_count; i++) {
		rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();

		rocksdb_block_based_options_set_block_cache(table, s->cache);
		rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
		rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
		rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10));
		rocksdb_block_based_options_set_block_size(table, i == STORE_BODY ? 16384 : 4096);
		s->table_options[i] = table;
		s->family_options[i] = rocksdb_options_create_copy(s->options);
		if (i == STORE_NODE || i == STORE_BODY)
			set_hints(&s->family_options[i]);
		rocksdb_options_set_block_based_table_factory(s->family_options[i], table);
		rocksdb_options_set_write_buffer_size(s->family_options[i], buffers / 2);
		/* What is young may not stay: only what has sunk to the bottom is worth compressing. */
		rocksdb_options_set_compression(s->family_options[i], rocksdb_no_compression);
		rocksdb_options_set_bottommost_compression(s->family_options[i], rocksdb_lz4_compression);
	}
	s->read = rocksdb_readoptions_create();
	s->write = rocksdb_writeoptions_create();
}

static int open_db(struct rocksdb_store *s, struct reason *why)
{
	const rocksdb_options_t *options[family_count];
	char path[4096], *error = NULL;
	int r;

	for (int i = 0; i < family_count; i++)
		options[i] = s->family_options[i];
	snprintf(path, sizeof(path), "%s/db", s->folder);
	s->db = rocksdb_open_column_families(s->options, path, family_count, family_name, options, s->family, &error);
	if (!error)
		return 0;
	s->db = NULL;
	memset(s->family, 0, sizeof(s->family));
	r = strstr(error, "No space left") ? -ENOSPC : strstr(error, "Permission denied") ? -EACCES : STORE_DAMAGED;
	if (r == STORE_DAMAGED)
		reason_set(why, "store %s is damaged: restore it from a backup (%.120s)", s->folder, error);
	else
		reason_set(why, "store %s: %.160s", s->folder, error);
	rocksdb_free(error);
	return r;
}

/* Reads the content counter, and removes the contents that nobody owns. */
static int recover_contents(struct rocksdb_store *s)
{
	struct buf value = {0};
	unsigned char key[9];
	int r;

	own_key(key, 'C', 0);
	r = get(s, family_own, key, sizeof(key), &value);
	if (!r)
		s->next_content = s->reserved_content = bytes_get_le64(value.data);
	else if (r == STORE_ABSENT) {
		s->next_content = s->reserved_content = 1;
		r = 0;
	}
	buf_release(&value);
	if (r)
		return r;
	rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->read, s->family[family_own]);
	for (rocksdb_iter_seek(it, "X", 1); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
		size_t len;
		const char *at = rocksdb_iter_key(it, &len);
		uint64_t number = 0;

		if (len != sizeof(key) || *at != 'X')
			break;
		for (int i = 1; i < 9; i++)
			number = number << 8 | (unsigned char)at[i];
		r = bytes_add_64(&s->condemned, number);
		if (r)
			break;
	}
	rocksdb_iter_destroy(it);
	return r;
}

/* Who may read a bucket is decided above; the store's own files are for nobody. */
static int private_folder(struct rocksdb_store *s, const char *name)
{
	if (mkdirat(s->folder_fd, name, 0700) == 0)
		return 0;
	if (errno != EEXIST || fchmodat(s->folder_fd, name, 0700, 0))
		return -errno;
	return 0;
}

static int start(struct rocksdb_store *s, const struct rocksdb_store_options *options, struct reason *why)
{
	bool new = false;
	int r = check_format(s, &new, why);

	if (!r)
		r = take_lock(s, options, why);
	if (!r)
		r = check_format(s, &new, why);
	if (r)
		return r;
	r = private_folder(s, "blobs");
	if (!r)
		r = private_folder(s, "db");
	if (r)
		return r;
	make_options(s, options, new);
	r = open_db(s, why);
	if (!r && new)
		r = write_format(s);
	if (!r)
		r = recover_contents(s);
	if (!r)
		r = -pthread_create(&s->reaper, NULL, reap, s);
	s->reaper_runs = !r;
	return r;
}

int rocksdb_store_open(struct store **out, const char *folder, const struct rocksdb_store_options *options,
		       struct reason *why)
{
	struct rocksdb_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->base.ops = &rocksdb_ops;
	s->lock_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	for (int i = 0; i < stripe_count; i++)
		pthread_mutex_init(&s->stripe[i].lock, NULL);
	reason_set(why, "%s", "");
	s->folder = strdup(folder);
	s->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!s->folder) {
		r = -ENOMEM;
	} else if (s->folder_fd < 0) {
		r = errno == ENOENT ? STORE_ABSENT : -errno;
		reason_set(why, "store %s: %s%s", folder, strerror(errno), r == STORE_ABSENT ? ": create it with mkdir" : "");
	} else {
		r = start(s, options, why);
	}
	if (r < 0 && why && !*why->text)
		reason_set(why, "store %s: %s", folder, strerror(-r));
	if (r)
		rocksdb_store_close(&s->base);
	else
		*out = &s->base;
	return r;
}
