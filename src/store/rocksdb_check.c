#include "store/rocksdb_check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "store/blob.h"
#include "store/reserve.h"
#include "store/rocksdb_internal.h"
#include "util/bytes.h"
#include "util/container.h"

/* ---- nothing is changed ---- */

static int no_commit(struct store *base, uint32_t bucket, uint64_t expect, struct slice head, const struct store_batch *batch,
		     uint64_t *revision)
{
	(void)base, (void)bucket, (void)expect, (void)head, (void)batch, (void)revision;
	return -EROFS;
}

static int no_erase(struct store *base, uint32_t bucket)
{
	(void)base, (void)bucket;
	return -EROFS;
}

static int no_create(struct store *base, struct store_content **out)
{
	(void)base, (void)out;
	return -EROFS;
}

static int no_write(struct store_content *base, uint64_t at, const void *bytes, size_t len)
{
	(void)base, (void)at, (void)bytes, (void)len;
	return -EROFS;
}

static int no_truncate(struct store_content *base, uint64_t len)
{
	(void)base, (void)len;
	return -EROFS;
}

static int no_range(struct store_content *base, uint64_t at, uint64_t len)
{
	(void)base, (void)at, (void)len;
	return -EROFS;
}

static int no_allocate(struct store_content *base, uint64_t at, uint64_t len, bool keep_size)
{
	(void)base, (void)at, (void)len, (void)keep_size;
	return -EROFS;
}

static int no_unseal(struct store_content *base)
{
	(void)base;
	return -EROFS;
}

static int no_sync(struct store *base)
{
	(void)base;
	return 0;
}

/* A content is read only, whatever the store is for. */
static struct store_ops reading, repairing;
static pthread_once_t ops_once = PTHREAD_ONCE_INIT;

static void make_ops(void)
{
	repairing = rocks_ops;
	repairing.content_create = no_create;
	repairing.content_write = no_write;
	repairing.content_truncate = no_truncate;
	repairing.content_allocate = no_allocate;
	repairing.content_punch = no_range;
	repairing.content_unseal = no_unseal;
	reading = repairing;
	reading.commit = no_commit;
	reading.erase = no_erase;
	reading.sync = no_sync;
}

/* ---- opening ---- */

/* The lock is taken as a daemon takes it, so that none starts meanwhile. On a read-only filesystem nobody can be told of that. */
static int lock(struct rocksdb_store *s, struct reason *why)
{
	struct rocksdb_store_options options = {0};
	char holder[64];
	int r;

	snprintf(holder, sizeof(holder), "process %d, bucketctl check", (int)getpid());
	options.holder = holder;
	if (faccessat(s->folder_fd, "lock", W_OK, AT_EACCESS) == 0 || errno != EROFS)
		return rocks_folder_lock(s, &options, why);
	s->lock_fd = openat(s->folder_fd, "lock", O_RDONLY | O_CLOEXEC);
	if (s->lock_fd < 0)
		return -errno;
	r = flock(s->lock_fd, LOCK_EX | LOCK_NB) ? -errno : 0;
	if (r == -EWOULDBLOCK) {
		reason_set(why, "store %s is in use: stop that one first", s->folder);
		r = STORE_IN_USE;
	}
	return r;
}

static int open_db(struct rocksdb_store *s, enum rocksdb_check_mode mode, const char *scratch, struct reason *why)
{
	const rocksdb_options_t *options[family_count];
	char path[4096], *error = NULL;

	/* Its tables must stay readable when a daemon removes their names. */
	rocksdb_options_set_max_open_files(s->options, -1);
	for (int i = 0; i < family_count; i++)
		options[i] = s->family_options[i];
	snprintf(path, sizeof(path), "%s/db", s->folder);
	if (mode == ROCKSDB_CHECK_LIVE)
		s->db = rocksdb_open_as_secondary_column_families(s->options, path, scratch, family_count, rocks_family_name, options,
								  s->family, &error);
	else if (mode == ROCKSDB_CHECK_ALONE)
		s->db = rocksdb_open_for_read_only_column_families(s->options, path, family_count, rocks_family_name, options, s->family,
								   0, &error);
	else
		s->db = rocksdb_open_column_families(s->options, path, family_count, rocks_family_name, options, s->family, &error);
	return error ? rocks_open_failed(s, error, why) : 0;
}

static int start(struct rocksdb_store *s, enum rocksdb_check_mode mode, const char *scratch, struct reason *why)
{
	struct rocksdb_store_options options = {0};
	unsigned char boot[boot_size];
	bool new = false;
	int r = rocks_folder_check(s, &new, why);

	boot_read(boot);
	if (!r && new) {
		reason_set(why, "there is no store in %s yet", s->folder);
		r = STORE_FOREIGN;
	}
	if (!r && mode != ROCKSDB_CHECK_LIVE)
		r = lock(s, why);
	if (!r)
		r = reserve_begin();
	if (r)
		return r;
	s->disk = rocks_disk_new(s->folder_fd, rocks_health_background, rocks_health_give_room, s);
	if (!s->disk)
		return -ENOMEM;
	rocks_make_options(s, &options, false);
	/* What the log lacks is told of; whoever repairs goes on without it. */
	r = mode == ROCKSDB_CHECK_LIVE ? 0 : rocks_synced_check(s, boot, mode == ROCKSDB_CHECK_REPAIR, why);
	if (!r)
		r = open_db(s, mode, scratch, why);
	/* RocksDB has put all that it could read of the logs into tables. */
	if (!r && mode == ROCKSDB_CHECK_REPAIR)
		rocks_synced_started(s, boot);
	return r;
}

int rocksdb_store_open_to_check(struct store **out, const char *folder, enum rocksdb_check_mode mode, const char *scratch,
				struct reason *why)
{
	struct rocksdb_store *s;
	int r = rocks_store_new(&s, folder, why);

	if (r)
		return r;
	pthread_once(&ops_once, make_ops);
	s->base.ops = mode == ROCKSDB_CHECK_REPAIR ? &repairing : &reading;
	r = start(s, mode, scratch, why);
	if (!r && mode == ROCKSDB_CHECK_LIVE)
		r = rocksdb_check_catch_up(&s->base);
	if (r < 0 && why && !*why->text)
		reason_set(why, "store %s: %s", folder, strerror(-r));
	if (r)
		rocks_store_close(&s->base);
	else
		*out = &s->base;
	return r;
}

/* A log that the daemon has just put into tables and removed is no longer there to be read: then the tables are known by the second
 * call only, and RocksDB does not say so. A list of tables that has just been replaced is an error, once. */
int rocksdb_check_catch_up(struct store *base)
{
	enum { tries = 5 };
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	char *error = NULL;

	for (int i = 0, good = 0; i < tries && good < 2; i++) {
		rocksdb_free(error);
		error = NULL;
		rocksdb_try_catch_up_with_primary(s->db, &error);
		good += !error;
	}
	return rocks_errno_of(error);
}

/* ---- what is there ---- */

static uint64_t number_in(const char *key)
{
	uint64_t number = 0;

	for (int i = 1; i < 9; i++)
		number = number << 8 | (unsigned char)key[i];
	return number;
}

/* The first bucket from `from` on that has a key of this family. False: none. */
static bool next_bucket(struct rocksdb_store *s, int family, rocksdb_iterator_t *it, uint32_t from, uint32_t *bucket)
{
	unsigned char raw[9];
	const char *key;
	size_t len;

	(void)s;
	if (family == family_own)
		rocks_own_key(raw, 'H', from);
	else
		bytes_put_be32(raw, from);
	rocksdb_iter_seek(it, (char *)raw, family == family_own ? 9 : key_prefix);
	if (!rocksdb_iter_valid(it))
		return false;
	key = rocksdb_iter_key(it, &len);
	if (family == family_own) {
		if (len != 9 || *key != 'H')
			return false;
		*bucket = (uint32_t)number_in(key);
		return true;
	}
	if (len < key_prefix)
		return false;
	*bucket = bytes_get_be32((const unsigned char *)key);
	return true;
}

static int iterator_error(rocksdb_iterator_t *it)
{
	char *error = NULL;

	rocksdb_iter_get_error(it, &error);
	return rocks_errno_of(error);
}

int rocksdb_check_buckets(struct store *base, int (*each)(void *context, uint32_t bucket), void *context)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	rocksdb_iterator_t *it[family_count];
	uint32_t from = 0;
	bool found = true;
	int r = 0;

	for (int i = 0; i < family_count; i++)
		it[i] = rocksdb_create_iterator_cf(s->db, s->read, s->family[i]);
	while (!r && found) {
		uint32_t least = UINT32_MAX, bucket;

		found = false;
		/* A family that cannot be read here cannot be read in one of the buckets either, and is told of there. */
		for (int i = 0; i < family_count; i++) {
			if (next_bucket(s, i, it[i], from, &bucket)) {
				least = !found || bucket < least ? bucket : least;
				found = true;
			}
		}
		if (!r && found)
			r = each(context, least);
		if (least == UINT32_MAX)
			break;
		from = least + 1;
	}
	for (int i = 0; i < family_count; i++)
		rocksdb_iter_destroy(it[i]);
	return r;
}

/* Two iterators go side by side, one over what is owned and one over what is not. */
static bool at_note(rocksdb_iterator_t *it, char kind, uint64_t *number, bool *sealed)
{
	size_t len;
	const char *key;

	if (!rocksdb_iter_valid(it))
		return false;
	key = rocksdb_iter_key(it, &len);
	if (len != 9 || *key != kind)
		return false;
	*number = number_in(key);
	rocksdb_iter_value(it, &len);
	*sealed = len > 0;
	return true;
}

int rocksdb_check_contents(struct store *base, int (*each)(void *context, const struct rocksdb_check_content *c), void *context)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	rocksdb_iterator_t *owned = rocksdb_create_iterator_cf(s->db, s->read, s->family[family_own]);
	rocksdb_iterator_t *unowned = rocksdb_create_iterator_cf(s->db, s->read, s->family[family_own]);
	int r = 0;

	rocksdb_iter_seek(owned, "S", 1);
	rocksdb_iter_seek(unowned, "X", 1);
	while (!r) {
		uint64_t a = 0, b = 0;
		bool sealed = false, ignored, has_a = at_note(owned, 'S', &a, &sealed), has_b = at_note(unowned, 'X', &b, &ignored);
		struct rocksdb_check_content c = {0};

		if (!has_a && !has_b)
			break;
		c.owned = has_a && (!has_b || a <= b);
		c.unowned = has_b && (!has_a || b <= a);
		c.number = c.owned ? a : b;
		c.sealed = c.owned && sealed;
		r = each(context, &c);
		if (c.owned)
			rocksdb_iter_next(owned);
		if (c.unowned)
			rocksdb_iter_next(unowned);
	}
	if (!r)
		r = iterator_error(owned);
	if (!r)
		r = iterator_error(unowned);
	rocksdb_iter_destroy(owned);
	rocksdb_iter_destroy(unowned);
	return r;
}

int rocksdb_check_content(struct store *base, uint64_t number, struct rocksdb_check_content *c)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	unsigned char key[9];
	struct buf value = {0};
	int r;

	*c = (struct rocksdb_check_content){.number = number};
	rocks_own_key(key, 'S', number);
	r = rocks_get(s, family_own, key, sizeof(key), &value);
	c->owned = r == 0;
	c->sealed = r == 0 && value.len;
	if (r >= 0) {
		rocks_own_key(key, 'X', number);
		r = rocks_get(s, family_own, key, sizeof(key), &value);
		c->unowned = r == 0;
	}
	buf_release(&value);
	return r < 0 ? r : 0;
}

int rocksdb_check_tracked(struct store *base, uint64_t *number)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	unsigned char key[9];
	struct buf value = {0};
	int r;

	rocks_own_key(key, 'T', 0);
	r = rocks_get(s, family_own, key, sizeof(key), &value);
	*number = !r && value.len == 8 ? bytes_get_le64(value.data) : UINT64_MAX;
	buf_release(&value);
	return r < 0 ? r : 0;
}

/* ---- files of contents ---- */

static int each_file(struct rocksdb_store *s, unsigned part, int (*each)(void *context, uint64_t number, const char *name),
		     void *context)
{
	char path[32], expected[24], shown[320];
	struct dirent *entry;
	DIR *folder;
	int fd, r = 0;

	snprintf(path, sizeof(path), "blobs/%02x", part);
	fd = openat(s->folder_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	folder = fd < 0 ? NULL : fdopendir(fd);
	if (!folder) {
		r = fd >= 0 || errno != ENOENT ? -errno : 0;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (!r && (entry = readdir(folder))) {
		uint64_t number = strtoull(entry->d_name, NULL, 16);

		if (entry->d_name[0] == '.' && strchr("..", entry->d_name[1]))
			continue;
		snprintf(expected, sizeof(expected), "%016llx", (unsigned long long)number);
		if (strcmp(expected, entry->d_name) || (number & 0xff) != part)
			number = 0;
		snprintf(shown, sizeof(shown), "%s/%s", path, entry->d_name);
		r = each(context, number, shown);
	}
	closedir(folder);
	return r;
}

int rocksdb_check_files(struct store *base, int (*each)(void *context, uint64_t number, const char *name), void *context)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	int r = 0;

	for (unsigned part = 0; !r && part < 256; part++)
		r = each_file(s, part, each, context);
	return r;
}

int rocksdb_check_remove_file(struct store *base, uint64_t number)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);

	return base->ops == &repairing ? blob_remove(s->folder_fd, number) : -EROFS;
}

int rocksdb_check_save_file(struct store *base, uint64_t number)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	int r = base->ops == &repairing ? blob_move(s->folder_fd, number, "lost+found") : -EROFS;

	return r == -ENOENT ? STORE_ABSENT : r;
}

uint64_t rocksdb_check_lost(struct store *base)
{
	return container_of(base, struct rocksdb_store, base)->lost;
}
