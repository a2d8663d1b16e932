#include "store/rocksdb_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/blob.h"
#include "store/reserve.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/log.h"

const char *const rocks_family_name[family_count] = {"meta", "doc", "node", "body", "default"};

/* ---- what all its files use ---- */

int rocks_errno_in(const char *sentence)
{
	if (strstr(sentence, "No space left") || strstr(sentence, "quota exceeded"))
		return -ENOSPC;
	return strstr(sentence, "emory") ? -ENOMEM : -EIO;
}

int rocks_errno_of(char *sentence)
{
	int r;

	if (!sentence)
		return 0;
	r = rocks_errno_in(sentence);
	log_error("store: %s", sentence);
	rocksdb_free(sentence);
	return r;
}

void rocks_own_key(unsigned char raw[9], char kind, uint64_t number)
{
	raw[0] = (unsigned char)kind;
	for (int i = 8; i > 0; i--, number >>= 8)
		raw[i] = (unsigned char)number;
}

int rocks_get(struct rocksdb_store *s, int family, const void *key, size_t len, struct buf *value)
{
	char *error = NULL;
	rocksdb_pinnableslice_t *found =
		rocksdb_get_pinned_cf(s->db, s->read, s->family[family], key, len, &error);
	const char *bytes;
	size_t size;
	int r;

	buf_clear(value);
	if (error)
		return rocks_errno_of(error);
	if (!found)
		return STORE_ABSENT;
	bytes = rocksdb_pinnableslice_value(found, &size);
	r = buf_add(value, bytes, size);
	rocksdb_pinnableslice_destroy(found);
	return r;
}

int rocks_own_write(struct rocksdb_store *s, char kind, uint64_t number, const void *value, size_t len)
{
	unsigned char key[9];
	char *error = NULL;
	int r = reserve_ask(0);

	/* It is small, and without it nothing starts: a full disk has the ballast's room for it. */
	if (!r)
		r = rocks_health_enter(s);
	if (r)
		return r;
	rocks_own_key(key, kind, number);
	rocksdb_put_cf(s->db, s->write, s->family[family_own], (char *)key, sizeof(key), value, len, &error);
	return rocks_health_written(s, error);
}

int rocks_own_delete(struct rocksdb_store *s, char kind, uint64_t number)
{
	unsigned char key[9];
	char *error = NULL;
	int r = rocks_health_enter(s);

	if (r)
		return r;
	rocks_own_key(key, kind, number);
	rocksdb_delete_cf(s->db, s->write, s->family[family_own], (char *)key, sizeof(key), &error);
	return rocks_health_written(s, error);
}

/* ---- the whole ---- */

static int rocksdb_store_sync(struct store *base)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	int r;

	/* The contents that wait to be removed wait until the commits that let them go can be synced. */
	if (rocks_health_refusal(s) && s->reaper_runs && pthread_equal(pthread_self(), s->reaper))
		rocks_health_await(s);
	r = rocks_health_refusal(s);
	return r ? r : rocks_health_sync_logs(s);
}

static int rocksdb_store_usage(struct store *base, struct store_usage *usage)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);
	struct statvfs v;
	bool frees_more;

	/* First this: what is gone by now is counted as free. */
	pthread_mutex_lock(&s->lock);
	frees_more = s->condemned.len || s->reaping;
	pthread_mutex_unlock(&s->lock);
	if (fstatvfs(s->folder_fd, &v))
		return -errno;
	*usage = (struct store_usage){
		.total_bytes = (uint64_t)v.f_blocks * v.f_frsize,
		.free_bytes = (uint64_t)v.f_bfree * v.f_frsize,
		.available_bytes = (uint64_t)v.f_bavail * v.f_frsize,
		.total_nodes = v.f_files,
		.free_nodes = v.f_ffree,
		.frees_more = frees_more,
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
		.failures = __atomic_load_n(&s->health.failures, __ATOMIC_RELAXED),
		.refusal = rocks_health_refusal(s),
		.interrupted = s->interrupted,
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

void rocks_store_close(struct store *base)
{
	struct rocksdb_store *s = container_of(base, struct rocksdb_store, base);

	rocks_health_leave(s);
	rocks_content_end(s);
	rocks_health_end(s);
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
	rocks_disk_free(s->disk);
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
	pthread_rwlock_destroy(&s->health.writers);
	pthread_mutex_destroy(&s->health.lock);
	pthread_cond_destroy(&s->health.wake);
	buf_release(&s->condemned);
	buf_release(&s->unsynced);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->synced_fd >= 0)
		close(s->synced_fd);
	if (s->folder_fd >= 0)
		close(s->folder_fd);
	free(s->folder);
	free(s);
}

const struct store_ops rocks_ops = {
	.name = "rocksdb",
	.close = rocks_store_close,
	.head = rocks_record_head,
	.get = rocks_record_get,
	.commit = rocks_record_commit,
	.erase = rocks_record_erase,
	.sync = rocksdb_store_sync,
	.usage = rocksdb_store_usage,
	.statistics = rocksdb_store_statistics,
	.cursor_open = rocks_cursor_open,
	.cursor_next = rocks_cursor_next,
	.cursor_close = rocks_cursor_close,
	.content_create = rocks_content_create,
	.content_open = rocks_content_open,
	.content_has_writer = rocks_content_has_writer,
	.content_read = rocks_content_read,
	.content_write = rocks_content_write,
	.content_truncate = rocks_content_truncate,
	.content_allocate = rocks_content_allocate,
	.content_punch = rocks_content_punch,
	.content_blocks = blob_blocks,
	.content_holes = blob_holes,
	.content_size = blob_size,
	.content_unseal = rocks_content_unseal,
	.content_is_sealed = rocks_content_is_sealed,
	.content_check = rocks_content_check,
	.content_sync = rocks_content_sync,
	.content_sync_again = rocks_content_sync_again,
	.content_fd = rocks_content_fd,
	.content_close = rocks_content_close,
};

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
void rocks_make_options(struct rocksdb_store *s, const struct rocksdb_store_options *o, bool new)
{
	size_t buffers = o->buffer_bytes ? o->buffer_bytes : 96u << 20;

	s->cache = rocksdb_cache_create_lru(o->cache_bytes ? o->cache_bytes : 64u << 20);
	/* Compaction has time; who waits for a file, and the jobs of this host, have not. */
	s->env = rocksdb_create_default_env();
	rocksdb_env_lower_thread_pool_cpu_priority(s->env);
	rocksdb_env_lower_thread_pool_io_priority(s->env);
	s->options = rocksdb_options_create();
	rocks_disk_use(s->disk, s->options);
	rocksdb_options_set_create_if_missing(s->options, new);
	rocksdb_options_set_create_missing_column_families(s->options, new);
	rocksdb_options_set_db_write_buffer_size(s->options, buffers);
	rocksdb_options_set_max_total_wal_size(s->options, 128u << 20);
	rocksdb_options_set_max_open_files(s->options, 256);
	rocksdb_options_set_max_background_jobs(s->options, 2);
	rocksdb_options_set_bytes_per_sync(s->options, 1u << 20);
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

int rocks_open_failed(struct rocksdb_store *s, char *error, struct reason *why)
{
	int r;

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

static int open_db(struct rocksdb_store *s, struct reason *why)
{
	const rocksdb_options_t *options[family_count];
	char path[4096], *error = NULL;

	for (int i = 0; i < family_count; i++)
		options[i] = s->family_options[i];
	snprintf(path, sizeof(path), "%s/db", s->folder);
	s->db = rocksdb_open_column_families(s->options, path, family_count, rocks_family_name, options, s->family, &error);
	if (!error)
		return 0;
	return rocks_open_failed(s, error, why);
}

static int start(struct rocksdb_store *s, const struct rocksdb_store_options *options, struct reason *why)
{
	bool new = false;
	int r = rocks_folder_check(s, &new, why);

	if (!r)
		r = rocks_folder_lock(s, options, why);
	if (!r)
		r = rocks_folder_check(s, &new, why);
	if (r)
		return r;
	r = rocks_folder_private(s, "blobs");
	if (!r)
		r = rocks_folder_private(s, "db");
	if (r)
		return r;
	r = reserve_begin();
	if (r)
		return r;
	s->disk = rocks_disk_new(s->folder_fd, rocks_health_background, rocks_health_give_room, s);
	if (!s->disk)
		return -ENOMEM;
	rocks_make_options(s, options, new);
	r = new ? 0 : rocks_synced_check(s, options->boot, options->accept_loss, why);
	if (r)
		return r;
	r = open_db(s, why);
	if (r == -ENOSPC && rocks_health_give_room(s)) {
		reason_set(why, "%s", "");
		r = open_db(s, why);
	}
	if (!r && new)
		r = rocks_folder_finish(s);
	/* An older program would leave seals behind that lie, and own contents that have none: a sweep would remove them. So the format
	 * is raised before the first note that makes this true. */
	if (!r && !new && s->format < rocksdb_store_format) {
		r = rocks_folder_finish(s);
		if (!r)
			log_info("store: its format was %u and is %d now: an older bucketfs does not open it any more", s->format,
				 rocksdb_store_format);
	}
	if (!r)
		r = rocks_content_begin(s);
	if (!r)
		r = rocks_health_begin(s);
	/* What has been read is what counts from here on, also where something was lost. */
	if (!r)
		r = rocks_health_sync_logs(s);
	if (!r && options->boot)
		rocks_synced_started(s, options->boot);
	return r;
}

int rocks_store_new(struct rocksdb_store **out, const char *folder, struct reason *why)
{
	struct rocksdb_store *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	s->base.ops = &rocks_ops;
	s->lock_fd = s->synced_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	pthread_mutex_init(&s->health.lock, NULL);
	pthread_rwlock_init(&s->health.writers, NULL);
	clock_condition_init(&s->health.wake);
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
	}
	if (r)
		rocks_store_close(&s->base);
	else
		*out = s;
	return r;
}

int rocksdb_store_open(struct store **out, const char *folder, const struct rocksdb_store_options *options,
		       struct reason *why)
{
	struct rocksdb_store *s;
	int r = rocks_store_new(&s, folder, why);

	if (r)
		return r;
	r = start(s, options, why);
	if (r == -EIO && why && !*why->text)
		reason_set(why, "store %s cannot be read: it may be damaged; restore it from a backup", folder);
	if (r < 0 && why && !*why->text)
		reason_set(why, "store %s: %s", folder, strerror(-r));
	if (r)
		rocks_store_close(&s->base);
	else
		*out = &s->base;
	return r;
}
