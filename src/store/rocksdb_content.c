#include "store/rocksdb_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/blob.h"
#include "util/bytes.h"
#include "util/container.h"
#include "util/log.h"

struct content {
	struct blob blob;
	struct rocksdb_store *store;
};

/* Numbers are taken in steps, so that the counter is written once in a thousand. */
static int next_content(struct rocksdb_store *s, uint64_t *number)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->next_content == s->reserved_content) {
		unsigned char raw[8];

		bytes_put_le64(raw, s->reserved_content + content_step);
		r = rocks_own_write(s, 'C', 0, raw, sizeof(raw));
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

int rocks_content_sync(struct store_content *base)
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

int rocks_content_create(struct store *base, struct store_content **out)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);

	for (;;) {
		uint64_t number;
		int fd, r = next_content(s, &number);

		if (!r)
			r = rocks_own_write(s, 'X', number, "", 0);
		if (r)
			return r;
		fd = blob_create(s->folder_fd, number);
		/* After a loss of power the counter may be behind the files. */
		if (fd == -EEXIST)
			continue;
		if (fd < 0) {
			rocks_own_delete(s, 'X', number);
			return fd;
		}
		return content_new(s, number, fd, out);
	}
}

int rocks_content_open(struct store *base, uint64_t number, struct store_content **out)
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
		rocks_own_delete(s, 'X', number);
	else
		log_error("store: cannot remove blob %016llx: %s", (unsigned long long)number, strerror(-r));
}

void rocks_content_close(struct store_content *base, bool discard)
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
		if (store_sync(&s->base) == 0)
			for (size_t at = 0; at < list.len; at += 8)
				content_remove(s, bytes_get_le64(list.data + at));
		buf_release(&list);
	}
	return NULL;
}

void rocks_content_condemn(struct rocksdb_store *s, const struct store_batch *batch)
{
	struct store_op op;

	pthread_mutex_lock(&s->lock);
	for (size_t at = 0; store_batch_next(batch, &at, &op);)
		if (op.kind == STORE_OP_DROP)
			bytes_add_64(&s->condemned, op.content);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

/* Reads the counter, and condemns the contents that nobody owns. */
static int recover(struct rocksdb_store *s)
{
	struct buf value = {0};
	unsigned char key[9];
	int r;

	rocks_own_key(key, 'C', 0);
	r = rocks_get(s, family_own, key, sizeof(key), &value);
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

int rocks_content_begin(struct rocksdb_store *s)
{
	int r = recover(s);

	if (!r)
		r = -pthread_create(&s->reaper, NULL, reap, s);
	s->reaper_runs = !r;
	return r;
}

bool rocks_content_end(struct rocksdb_store *s)
{
	if (!s->reaper_runs)
		return false;
	pthread_mutex_lock(&s->lock);
	s->leaving = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->reaper, NULL);
	return true;
}
