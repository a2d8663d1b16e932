/* RocksDB cannot write: the store refuses changes and tries again.
 *
 * After an error RocksDB writes nothing until DB::Resume() has begun a new log and written the memtables to tables. The
 * memtables hold exactly the commits that succeeded, so that a commit which was refused does not come back. Meanwhile
 * commits get the error at once, reads go on, and a thread tries again. */
#include "store/rocksdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/reserve.h"
#include "util/clock.h"
#include "util/log.h"

enum { second = 1000000000, first_pause = second / 20, ballast_seconds = 10 };

static const char ballast_name[] = "ballast";
static const uint64_t ballast_most = 64u << 20;

/* ---- the state ---- */

int rocks_health_refusal(const struct rocksdb_store *s)
{
	return __atomic_load_n(&s->health.refusal, __ATOMIC_ACQUIRE);
}

void rocks_health_failed(struct rocksdb_store *s, int error, const char *sentence)
{
	struct health *h = &s->health;
	bool first;

	if (error != -ENOSPC)
		error = -EIO;
	pthread_mutex_lock(&h->lock);
	first = !h->refusal;
	/* The first error is the cause. The later ones follow from it. */
	if (first) {
		__atomic_store_n(&h->refusal, error, __ATOMIC_RELEASE);
		__atomic_add_fetch(&h->failures, 1, __ATOMIC_RELAXED);
		/* RocksDB says "IO error: WHAT: FILE: CAUSE". */
		snprintf(h->sentence, sizeof(h->sentence), "%s", sentence);
		pthread_cond_broadcast(&h->wake);
	}
	pthread_mutex_unlock(&h->lock);
	if (first)
		log_error("store: RocksDB cannot write (%s): changes are refused until it can; reads go on; trying again every second",
			  sentence);
}

void rocks_health_background(void *context, const char *sentence, bool goes_on)
{
	if (goes_on)
		log_warning("store: RocksDB could not compact its tables (%s) and tries again", sentence);
	else
		rocks_health_failed(context, rocks_errno_in(sentence), sentence);
}

int rocks_health_enter(struct rocksdb_store *s)
{
	/* While the store tries again, nobody waits for it. */
	int r = rocks_health_refusal(s);

	if (r)
		return r;
	pthread_rwlock_rdlock(&s->health.writers);
	r = rocks_health_refusal(s);
	if (r)
		pthread_rwlock_unlock(&s->health.writers);
	return r;
}

int rocks_health_written(struct rocksdb_store *s, char *sentence)
{
	int r = sentence ? rocks_errno_in(sentence) : 0;

	pthread_rwlock_unlock(&s->health.writers);
	if (!sentence)
		return 0;
	rocks_health_failed(s, r, sentence);
	rocksdb_free(sentence);
	r = rocks_health_refusal(s);
	return r ? r : -EIO;
}

/* ---- the log's files ---- */

/* *refused: the disk may have lost something. Otherwise an error means only that nothing was tried. */
static int sync_file(int folder, const char *name, bool *refused)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC), r = 0;

	/* RocksDB has removed it: what was in it is in tables, on the disk. */
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fdatasync(fd)) {
		r = -errno;
		*refused = true;
	}
	close(fd);
	return r;
}

/* Syncs all logs that are there, if asked to (refused is not NULL). *newest: the largest number among them. */
static int each_log(struct rocksdb_store *s, bool *refused, uint64_t *newest)
{
	int fd = openat(s->folder_fd, "db", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	*newest = 0;
	if (!folder) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (!r && (errno = 0, entry = readdir(folder))) {
		char *end;
		uint64_t number = strtoull(entry->d_name, &end, 10);

		if (end == entry->d_name || strcmp(end, ".log") != 0)
			continue;
		*newest = number > *newest ? number : *newest;
		if (refused)
			r = sync_file(fd, entry->d_name, refused);
	}
	if (!r && errno)
		r = -errno;
	closedir(folder);
	return r;
}

/* RocksDB's own call for this must not be used: after a log could not be written, it ends the process (an assertion in
 * writable_file_writer.h), and the error may come between any look at the state and the call. */
static int sync_logs(struct rocksdb_store *s, bool recovered, bool *refused)
{
	uint64_t newest = 0, sequence = rocksdb_get_latest_sequence_number(s->db);
	/* RocksDB counts a record that it could not write, but says first that it could not. */
	bool counted = recovered || !rocks_health_refusal(s);
	int r = each_log(s, refused, &newest), fd;

	/* A log that is new has a name that is new. */
	if (!r && newest > __atomic_load_n(&s->health.named, __ATOMIC_RELAXED)) {
		fd = openat(s->folder_fd, "db", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 || fsync(fd) ? -errno : 0;
		*refused |= fd >= 0 && r;
		if (!r)
			__atomic_store_n(&s->health.named, newest, __ATOMIC_RELAXED);
		if (fd >= 0)
			close(fd);
	}
	if (!r && counted)
		rocks_synced_note(s, sequence);
	return r;
}

int rocks_health_sync_logs(struct rocksdb_store *s)
{
	char sentence[96];
	bool refused = false;
	int r = sync_logs(s, false, &refused);

	if (refused) {
		snprintf(sentence, sizeof(sentence), "while syncing its log: %s", strerror(-r));
		rocks_health_failed(s, r, sentence);
	}
	return r;
}

/* ---- ballast: room on a full disk ---- */

static bool room(struct rocksdb_store *s, uint64_t bytes)
{
	struct statvfs v;

	return fstatvfs(s->folder_fd, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize >= bytes;
}

static uint64_t ballast_size(struct rocksdb_store *s)
{
	struct statvfs v;
	uint64_t share;

	if (fstatvfs(s->folder_fd, &v))
		return 0;
	share = (uint64_t)v.f_blocks * v.f_frsize / 32;
	return share < ballast_most ? share : ballast_most;
}

static void ballast_make(struct rocksdb_store *s)
{
	uint64_t size = ballast_size(s);
	int fd;

	/* Made from what is plenty only, or it would be the cause of what it is for. */
	if (!size || !room(s, 4 * size))
		return;
	fd = openat(s->folder_fd, ballast_name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (fallocate(fd, 0, 0, (off_t)size))
		unlinkat(s->folder_fd, ballast_name, 0);
	else
		__atomic_store_n(&s->health.short_of_room, false, __ATOMIC_RELEASE);
	close(fd);
}

bool rocks_health_give_room(void *context)
{
	struct rocksdb_store *s = context;

	if (unlinkat(s->folder_fd, ballast_name, 0))
		return false;
	/* The space of a removed file is free when its folder is on the disk, at the latest. */
	fsync(s->folder_fd);
	__atomic_store_n(&s->health.short_of_room, true, __ATOMIC_RELEASE);
	log_warning("store: the disk is full: the store's ballast is given up, so that removals work; what grows is refused");
	return true;
}

int rocks_health_may_grow(struct rocksdb_store *s)
{
	if (!__atomic_load_n(&s->health.short_of_room, __ATOMIC_ACQUIRE))
		return 0;
	return room(s, ballast_size(s)) ? 0 : -ENOSPC;
}

/* ---- the thread ---- */

static int flush_tables(struct rocksdb_store *s)
{
	char *error = NULL;
	int r = 0;

	for (int i = 0; !r && i < family_count; i++) {
		rocks_disk_flush(s->db, s->family[i], &error);
		if (error) {
			r = rocks_errno_in(error);
			log_debug("store: trying again: %s", error);
			free(error);
		}
	}
	return r;
}

/* ---- memory ---- */

/* The cache can be read from the disk again, and the memtables can go there. */
static void memory_changed(void *context, bool low)
{
	struct rocksdb_store *s = context;
	size_t all = rocksdb_cache_get_capacity(s->cache), used = rocksdb_cache_get_usage(s->cache);

	if (low) {
		s->health.cache_bytes = all;
		rocksdb_cache_set_capacity(s->cache, used / 4);
		if (!rocks_health_refusal(s))
			flush_tables(s);
	} else if (s->health.cache_bytes) {
		rocksdb_cache_set_capacity(s->cache, s->health.cache_bytes);
	}
}

/* RocksDB's Resume(), with its sentence as an errno. */
static int resume(struct rocksdb_store *s)
{
	char *error = NULL;
	int r;

	rocks_disk_resume(s->db, &error);
	if (!error)
		return 0;
	r = rocks_errno_in(error);
	log_debug("store: trying again: %s", error);
	free(error);
	return r;
}

static int write_mark(struct rocksdb_store *s, bool logged)
{
	rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();
	unsigned char key[9];
	char *error = NULL;
	int r = 0;

	rocksdb_writeoptions_disable_WAL(options, !logged);
	rocks_own_key(key, 'R', 0);
	rocksdb_put_cf(s->db, options, s->family[family_own], (char *)key, sizeof(key), "", 0, &error);
	rocksdb_writeoptions_destroy(options);
	if (error) {
		r = rocks_errno_in(error);
		rocksdb_free(error);
	}
	return r;
}

/* With nothing in the memtables Resume() keeps the log that failed, and the next write to it would end the process (the same
 * assertion). A record that goes to a memtable only makes RocksDB begin a new log. It may find out only then that the old one
 * had failed: that is what the second Resume() is for. */
static int begin_log(struct rocksdb_store *s)
{
	int r = write_mark(s, false);

	if (!r && flush_tables(s))
		r = resume(s);
	return r;
}

/* A sync of the log may have failed, but the memtables have everything, and they go to tables. */
static int recover(struct rocksdb_store *s)
{
	uint64_t before, after;
	bool refused = false;
	int r;

	if (rocks_health_refusal(s) == -ENOSPC)
		rocks_health_give_room(s);
	r = each_log(s, NULL, &before);
	if (!r)
		r = resume(s);
	if (!r)
		r = each_log(s, NULL, &after);
	if (!r && after == before)
		r = begin_log(s);
	if (!r)
		r = flush_tables(s);
	/* Only a write shows that writing works. And RocksDB has counted the record that it could not write: without another record
	 * after it, the number that is noted would be larger than any that the next start can find. */
	if (!r)
		r = write_mark(s, true);
	return r ? r : sync_logs(s, true, &refused);
}

static void try_again(struct rocksdb_store *s)
{
	struct health *h = &s->health;
	int r;

	/* A write that began before the failure has ended by then, and none begins: between the first step and the last one
	 * RocksDB would take it for the log that failed. */
	pthread_rwlock_wrlock(&h->writers);
	r = recover(s);
	pthread_mutex_lock(&h->lock);
	/* The cause may be another one by now. */
	__atomic_store_n(&h->refusal, r && r != -ENOSPC ? -EIO : r, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_rwlock_unlock(&h->writers);
	if (!r)
		log_info("store: RocksDB can write again: changes are taken");
}

/* Until the moment, or until the store fails where `or_failure` says so. False: the store is being closed. */
static bool wait(struct health *h, int64_t until, bool or_failure)
{
	bool goes_on;

	pthread_mutex_lock(&h->lock);
	while (!h->leaving && !(or_failure && h->refusal) && clock_wait(&h->wake, &h->lock, until))
		;
	goes_on = !h->leaving;
	pthread_mutex_unlock(&h->lock);
	return goes_on;
}

static void *serve(void *argument)
{
	struct rocksdb_store *s = argument;
	struct health *h = &s->health;
	/* Tests and tools that have a store open for a moment need no ballast. */
	int64_t ballast_at = clock_monotonic() + second;
	bool fresh = true;

	for (;;) {
		if (rocks_health_refusal(s)) {
			if (!wait(h, clock_monotonic() + (fresh ? first_pause : second), false))
				return NULL;
			try_again(s);
			fresh = !rocks_health_refusal(s);
			ballast_at = clock_monotonic() + (int64_t)ballast_seconds * second;
			continue;
		}
		if (!wait(h, ballast_at, true))
			return NULL;
		if (rocks_health_refusal(s))
			continue;
		if (faccessat(s->folder_fd, ballast_name, F_OK, 0))
			ballast_make(s);
		ballast_at = clock_monotonic() + (int64_t)ballast_seconds * second;
	}
}

void rocks_health_await(struct rocksdb_store *s)
{
	struct health *h = &s->health;

	pthread_mutex_lock(&h->lock);
	while (h->refusal && !h->leaving)
		pthread_cond_wait(&h->wake, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

int rocks_health_begin(struct rocksdb_store *s)
{
	int r = -pthread_create(&s->health.thread, NULL, serve, s);

	s->health.runs = !r;
	if (r)
		return r;
	pthread_setname_np(s->health.thread, "health");
	reserve_watch(memory_changed, s);
	return 0;
}

void rocks_health_leave(struct rocksdb_store *s)
{
	pthread_mutex_lock(&s->health.lock);
	s->health.leaving = true;
	pthread_cond_broadcast(&s->health.wake);
	pthread_mutex_unlock(&s->health.lock);
}

bool rocks_health_end(struct rocksdb_store *s)
{
	if (!s->health.runs)
		return false;
	reserve_watch(NULL, NULL);
	pthread_join(s->health.thread, NULL);
	if (rocks_health_refusal(s))
		try_again(s);
	if (rocks_health_refusal(s)) {
		log_error("store: RocksDB still cannot write (%s): what was committed since its last sync is in its log only as far as the disk took it",
			  s->health.sentence);
		return false;
	}
	/* So that the next start has no log to read again. If it cannot, the log has it. */
	return flush_tables(s) == 0 && rocks_health_sync_logs(s) == 0;
}
