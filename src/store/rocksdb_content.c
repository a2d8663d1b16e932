#include "store/rocksdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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
	struct rocks_seal seal;
};

static struct content *content_of(struct store_content *base)
{
	return container_of(base, struct content, blob.base);
}

/* Numbers are taken in steps, so that the counter is written once in some thousand. It is on the disk before any of them is used: a
 * content with a greater number cannot be there after a loss of power. */
static int reserve(struct rocksdb_store *s, uint64_t reserved)
{
	unsigned char raw[8];
	int r;

	bytes_put_le64(raw, reserved + content_step);
	r = rocks_own_write(s, 'C', 0, raw, sizeof(raw));
	return r ? r : store_sync(&s->base);
}

/* The next step is made by the reaper when half of one is used up, for the disk takes its time. */
static int next_content(struct rocksdb_store *s, uint64_t *number)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->next_content == s->reserved_content) {
		r = reserve(s, s->reserved_content);
		s->reserved_content += r ? 0 : content_step;
	} else if (s->reserved_content - s->next_content == content_step / 2) {
		s->reserving = true;
		pthread_cond_signal(&s->wake);
	}
	if (!r)
		*number = s->next_content++;
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void reserve_more(struct rocksdb_store *s)
{
	uint64_t reserved;
	bool wanted;

	pthread_mutex_lock(&s->lock);
	wanted = s->reserving;
	s->reserving = false;
	reserved = s->reserved_content;
	pthread_mutex_unlock(&s->lock);
	if (!wanted || reserve(s, reserved))
		return;
	pthread_mutex_lock(&s->lock);
	/* A writer that found none left has made the same step by itself. */
	if (s->reserved_content == reserved)
		s->reserved_content += content_step;
	pthread_mutex_unlock(&s->lock);
}

/* Syncing a folder waits for the disk too: not twice for one content, if that is remembered. */
static bool is_named(struct rocksdb_store *s, uint64_t number)
{
	return __atomic_load_n(&s->named[number % named_count], __ATOMIC_RELAXED) == number;
}

/* Where a content is in the list of those whose sync failed; its end: nowhere. With s->lock held. */
static size_t find_unsynced(const struct rocksdb_store *s, uint64_t number)
{
	size_t at = 0;

	while (at < s->unsynced.len && bytes_get_le64(s->unsynced.data + at) != number)
		at += 8;
	return at;
}

static bool is_unsynced(struct rocksdb_store *s, uint64_t number)
{
	bool is;

	pthread_mutex_lock(&s->lock);
	is = s->unsynced.len && find_unsynced(s, number) < s->unsynced.len;
	pthread_mutex_unlock(&s->lock);
	return is;
}

static int add_unsynced(struct rocksdb_store *s, uint64_t number)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (find_unsynced(s, number) == s->unsynced.len)
		r = bytes_add_64(&s->unsynced, number);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void remove_unsynced(struct rocksdb_store *s, uint64_t number)
{
	size_t at;

	pthread_mutex_lock(&s->lock);
	at = find_unsynced(s, number);
	if (at < s->unsynced.len) {
		s->unsynced.len -= 8;
		memmove(s->unsynced.data + at, s->unsynced.data + at + 8, s->unsynced.len - at);
	}
	pthread_mutex_unlock(&s->lock);
}

/* After a failed sync the kernel takes the pages for clean, and another sync would say 0: so they are made dirty again. */
static int sync_from(struct store_content *base, bool again, uint64_t from)
{
	struct rocksdb_store *s = content_of(base)->store;
	bool lost = false;
	int r = again ? blob_touch(base, from) : 0;

	if (!r)
		r = blob_sync(base, &lost);
	if (!r)
		__atomic_store_n(&s->named[base->number % named_count], base->number, __ATOMIC_RELAXED);
	if (lost && !again)
		add_unsynced(s, base->number);
	return r ? r : again ? STORE_REPEATED : 0;
}

int rocks_content_sync(struct store_content *base)
{
	return sync_from(base, is_unsynced(content_of(base)->store, base->number), 0);
}

int rocks_content_sync_again(struct store_content *base, uint64_t from)
{
	return sync_from(base, true, from);
}

/* ---- what is changed ends its seal, what is read is compared with it ---- */

int rocks_content_read(struct store_content *base, uint64_t at, void *bytes, size_t len, size_t *got)
{
	struct content *c = content_of(base);
	int r = rocks_seal_is_checking(&c->seal) ? rocks_seal_check(c->store, &c->seal, base, at, len) : 0;

	*got = 0;
	return r ? r : blob_read(base, at, bytes, len, got);
}

int rocks_content_write(struct store_content *base, uint64_t at, const void *bytes, size_t len)
{
	struct content *c = content_of(base);
	int r = rocks_seal_break(c->store, &c->seal, base, at);

	return r ? r : blob_write(base, at, bytes, len);
}

int rocks_content_truncate(struct store_content *base, uint64_t len)
{
	struct content *c = content_of(base);
	int r = rocks_seal_break(c->store, &c->seal, base, len);

	return r ? r : blob_truncate(base, len);
}

int rocks_content_allocate(struct store_content *base, uint64_t at, uint64_t len, bool keep_size)
{
	return blob_allocate(base, at, len, keep_size);
}

int rocks_content_punch(struct store_content *base, uint64_t at, uint64_t len)
{
	struct content *c = content_of(base);
	int r = rocks_seal_break(c->store, &c->seal, base, at);

	return r ? r : blob_punch(base, at, len);
}

int rocks_content_unseal(struct store_content *base)
{
	return rocks_seal_break(content_of(base)->store, &content_of(base)->seal, base, 0);
}

int rocks_content_is_sealed(struct store_content *base, uint64_t size, bool *sealed)
{
	return rocks_seal_is(content_of(base)->store, base->number, size, sealed);
}

int rocks_content_check(struct store_content *base, uint64_t piece)
{
	return rocks_seal_scrub(content_of(base)->store, base, piece);
}

/* A reader of the descriptor compares nothing. */
int rocks_content_fd(struct store_content *base)
{
	return rocks_seal_is_checking(&content_of(base)->seal) ? -1 : blob_fd(base);
}

/* ---- making and opening ---- */

static int content_new(struct rocksdb_store *s, uint64_t number, int fd, const struct rocks_seal *seal, struct store_content **out)
{
	struct content *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	*c = (struct content){{{s->base.ops, number}, s->folder_fd, fd, is_named(s, number)}, s, *seal};
	*out = &c->blob.base;
	return 0;
}

int rocks_content_create(struct store *base, struct store_content **out)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);

	for (;;) {
		struct rocks_seal seal;
		uint64_t number;
		int fd, r = rocks_health_may_grow(s);

		if (!r)
			r = next_content(s, &number);
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
		seal = rocks_seal_none(s);
		rocks_seal_trust(s, number);
		return content_new(s, number, fd, &seal, out);
	}
}

int rocks_content_open(struct store *base, uint64_t number, struct store_content **out)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	int fd = blob_open(s->folder_fd, number), r;
	struct rocks_seal seal;

	if (fd < 0)
		return fd == -ENOENT ? STORE_ABSENT : fd;
	r = rocks_seal_load(s, number, &seal);
	if (r) {
		close(fd);
		return r;
	}
	r = content_new(s, number, fd, &seal, out);
	if (r)
		rocks_seal_release(&seal);
	return r;
}

int rocks_content_has_writer(struct store *base, uint64_t number, bool *has)
{
	int r = blob_has_writer(container_of(base, struct rocksdb_store, base)->folder_fd, number, has);

	return r == -ENOENT ? STORE_ABSENT : r;
}

static void content_remove(struct rocksdb_store *s, uint64_t number)
{
	int r = blob_remove(s->folder_fd, number);

	remove_unsynced(s, number);
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
	rocks_seal_release(&c->seal);
	free(c);
}

/* Takes what is condemned, maybe nothing as long as something is to be swept; false: nothing more will be. */
static bool wait_for_condemned(struct rocksdb_store *s, struct buf *list)
{
	bool more;

	pthread_mutex_lock(&s->lock);
	s->reaping = false;
	while (!s->condemned.len && !s->leaving && !s->reserving && s->sweep == sweep_end)
		pthread_cond_wait(&s->wake, &s->lock);
	*list = s->condemned;
	s->condemned = (struct buf){0};
	s->reaping = list->len;
	more = list->len || !s->leaving;
	pthread_mutex_unlock(&s->lock);
	return more;
}

static bool has_record(struct rocksdb_store *s, char kind, uint64_t number)
{
	struct buf value = {0};
	unsigned char key[9];
	int r;

	rocks_own_key(key, kind, number);
	r = rocks_get(s, family_own, key, sizeof(key), &value);
	buf_release(&value);
	/* What cannot be read may be there. */
	return r != STORE_ABSENT;
}

/* Calls for each content of a folder of contents, whoever owns it. */
static void each_blob(struct rocksdb_store *s, unsigned folder_number, void (*each)(struct rocksdb_store *s, uint64_t number, void *context),
		      void *context)
{
	struct dirent *entry;
	char path[32], *end;
	DIR *folder;
	int fd;

	snprintf(path, sizeof(path), "blobs/%02x", folder_number);
	fd = openat(s->folder_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	folder = fd < 0 ? NULL : fdopendir(fd);
	while (folder && (entry = readdir(folder))) {
		uint64_t number = strtoull(entry->d_name, &end, 16);

		if (!*end && end - entry->d_name == 16)
			each(s, number, context);
	}
	if (folder)
		closedir(folder);
	else if (fd >= 0)
		close(fd);
}

static void sweep_one(struct rocksdb_store *s, uint64_t number, void *swept)
{
	if (number < s->tracked || number >= s->swept || has_record(s, 'S', number) ||
	    has_record(s, 'X', number))
		return;
	if (!blob_remove(s->folder_fd, number))
		++*(unsigned *)swept;
}

/* A loss of power takes the last commits along, and with them the notes of contents that were being made. So their files are there
 * and nobody knows them. One folder of contents. */
static void sweep(struct rocksdb_store *s)
{
	unsigned swept = 0;

	each_blob(s, s->sweep, sweep_one, &swept);
	if (swept)
		log_info("store: removed %u contents that nobody owned", swept);
	s->sweep++;
}

static void *reap(void *argument)
{
	struct rocksdb_store *s = argument;
	struct buf list;

	while (wait_for_condemned(s, &list)) {
		reserve_more(s);
		/* After a loss of power no record may ask for a file that is gone: the commit that let it go comes first. If
		 * the disk refuses, they go at the next open. */
		if (list.len && store_sync(&s->base) == 0)
			for (size_t at = 0; at < list.len; at += 8)
				content_remove(s, bytes_get_le64(list.data + at));
		buf_release(&list);
		if (s->sweep < sweep_end)
			sweep(s);
	}
	return NULL;
}

void rocks_content_committed(struct rocksdb_store *s, const struct store_batch *batch)
{
	struct store_op op;
	bool drops = false;

	pthread_mutex_lock(&s->lock);
	for (size_t at = 0; store_batch_next(batch, &at, &op);) {
		if (op.kind == STORE_OP_SEAL)
			__atomic_add_fetch(&s->seals, 1, __ATOMIC_RELEASE);
		if (op.kind == STORE_OP_DROP)
			drops |= !bytes_add_64(&s->condemned, op.content);
	}
	if (drops)
		pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

static int read_number(struct rocksdb_store *s, char kind, uint64_t absent, uint64_t *number)
{
	struct buf value = {0};
	unsigned char key[9];
	int r;

	rocks_own_key(key, kind, 0);
	r = rocks_get(s, family_own, key, sizeof(key), &value);
	*number = absent;
	if (!r && value.len == 8)
		*number = bytes_get_le64(value.data);
	else if (!r)
		r = -EIO;
	buf_release(&value);
	return r == STORE_ABSENT ? 0 : r;
}

static void pass_number(struct rocksdb_store *s, uint64_t number, void *context)
{
	(void)context;
	if (number >= s->next_content)
		s->next_content = s->reserved_content = number + 1;
}

/* What nobody owns may be all that is left of a file: it stays until `bucketctl check --repair`. */
static void keep_all(struct rocksdb_store *s)
{
	for (unsigned folder = 0; folder < sweep_end; folder++)
		each_blob(s, folder, pass_number, NULL);
	s->tracked = 0;
}

/* Contents that are older than seals have none. If the store was closed as it should be, there is nothing to sweep. */
static int begin_tracking(struct rocksdb_store *s)
{
	unsigned char raw[8];
	uint64_t closed = 0;
	int r = read_number(s, 'T', 0, &s->tracked);

	if (!r && s->lost)
		keep_all(s);
	if (!r && !s->tracked) {
		s->tracked = s->next_content;
		bytes_put_le64(raw, s->tracked);
		r = rocks_own_write(s, 'T', 0, raw, sizeof(raw));
	}
	if (!r)
		r = read_number(s, 'Q', 0, &closed);
	s->swept = s->next_content;
	s->interrupted = closed != s->next_content && s->next_content != 1;
	s->sweep = s->interrupted ? 0 : sweep_end;
	if (!r && closed)
		r = rocks_own_delete(s, 'Q', 0);
	/* On the disk before anything else is written. */
	if (!r)
		r = reserve(s, s->reserved_content);
	s->reserved_content += r ? 0 : content_step;
	return r;
}

/* Reads the counter, and condemns the contents that nobody owns. */
static int recover(struct rocksdb_store *s)
{
	unsigned char key[9];
	int r;

	r = read_number(s, 'C', 1, &s->next_content);
	s->reserved_content = s->next_content;
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
		/* What it was when the log was lost is not known; keep_all. */
		r = s->lost ? rocks_own_delete(s, 'X', number) : bytes_add_64(&s->condemned, number);
		if (r)
			break;
	}
	rocksdb_iter_destroy(it);
	return r;
}

/* So many contents are looked at when a store is opened, which takes some milliseconds. A scrub looks at all, and a reader at his. */
enum { look_most = 10000 };

/* Says if files of contents are gone that the store has. They cannot be read, and whoever reads one is told so; the others can. */
static void look_for_missing(struct rocksdb_store *s)
{
	rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, s->read, s->family[family_own]);
	uint64_t number, first = 0;
	unsigned looked = 0, missing = 0;

	for (rocksdb_iter_seek(it, "S", 1); rocksdb_iter_valid(it) && looked < look_most; rocksdb_iter_next(it)) {
		size_t len;
		const char *at = rocksdb_iter_key(it, &len);

		if (len != 9 || *at != 'S')
			break;
		number = 0;
		for (int i = 1; i < 9; i++)
			number = number << 8 | (unsigned char)at[i];
		looked++;
		if (blob_exists(s->folder_fd, number))
			continue;
		first = missing++ ? first : number;
	}
	rocksdb_iter_destroy(it);
	if (missing)
		log_error("store: %u of %u contents that were looked at are missing from %s/blobs (number %llu, for one): their files cannot be "
			  "read; bucketctl check %s names them; restore the folder from a backup", missing, looked, s->folder,
			  (unsigned long long)first, s->folder);
}

int rocks_content_begin(struct rocksdb_store *s)
{
	int r = recover(s);

	if (!r)
		look_for_missing(s);

	if (!r)
		r = begin_tracking(s);
	if (!r)
		r = -pthread_create(&s->reaper, NULL, reap, s);
	s->reaper_runs = !r;
	return r;
}

bool rocks_content_end(struct rocksdb_store *s)
{
	unsigned char raw[8];

	if (!s->reaper_runs)
		return false;
	pthread_mutex_lock(&s->lock);
	s->leaving = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->reaper, NULL);
	/* Nobody is left who makes contents: the next open begins with the number that was reserved. */
	if (s->sweep == sweep_end) {
		bytes_put_le64(raw, s->reserved_content);
		rocks_own_write(s, 'Q', 0, raw, sizeof(raw));
	}
	return true;
}
