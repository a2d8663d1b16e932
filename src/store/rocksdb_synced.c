/* Notices at the start that RocksDB's log lacks something that was on the disk.
 *
 * RocksDB reads its log up to the first record that is not whole, which is where it ends after a loss of power, and says nothing of what
 * comes after that: of a damaged record and all that follow it. So after each sync the store writes down the
 * sequence number that is on the disk now, and at the next start compares. That file is never synced itself: an older
 * number is as good.
 *
 * As long as the system runs, nothing that was written is lost with a process. So after the same boot whatever follows a damaged record
 * was there, too, synced or not. Each start writes down which boot it is. */
#include "store/rocksdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/clock.h"
#include "util/log.h"

/* rocksdb::crc32c::Extend; the linker may lead it to crc32c.c. */
uint32_t _ZN7rocksdb6crc32c6ExtendEjPKcm(uint32_t crc, const char *bytes, size_t len);

enum { note_size = 12, start_size = boot_size + 12, block_size = 32768, header_size = 7, batch_header = 12 };

static const char note_name[] = "synced", start_name[] = "boot";

/* ---- the note ---- */

static uint32_t crc_of(const unsigned char *bytes, size_t len)
{
	return _ZN7rocksdb6crc32c6ExtendEjPKcm(0, (const char *)bytes, len);
}

void rocks_synced_note(struct rocksdb_store *s, uint64_t sequence)
{
	unsigned char note[note_size];

	pthread_mutex_lock(&s->health.lock);
	if (sequence > s->synced || !s->synced_known) {
		bytes_put_le64(note, sequence);
		bytes_put_le32(note + 8, crc_of(note, 8));
		if (s->synced_fd < 0)
			s->synced_fd = openat(s->folder_fd, note_name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (s->synced_fd >= 0 && pwrite(s->synced_fd, note, sizeof(note), 0) == sizeof(note)) {
			s->synced = sequence;
			s->synced_known = true;
		}
	}
	pthread_mutex_unlock(&s->health.lock);
}

/* False: there is none. */
static bool note_read(struct rocksdb_store *s, uint64_t *sequence)
{
	unsigned char note[note_size];
	int fd = openat(s->folder_fd, note_name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : pread(fd, note, sizeof(note), 0);

	if (fd >= 0)
		close(fd);
	if (n == sizeof(note) && bytes_get_le32(note + 8) == crc_of(note, 8)) {
		*sequence = bytes_get_le64(note);
		return true;
	}
	if (n > 0)
		log_warning("store: the file \"%s\" is not readable: what the log has lost cannot be noticed this time", note_name);
	return false;
}

/* Which boot it is, and the last log that is older than this start. */
void rocks_synced_started(struct rocksdb_store *s, const unsigned char boot[boot_size])
{
	unsigned char note[start_size];
	int fd = openat(s->folder_fd, start_name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	memcpy(note, boot, boot_size);
	bytes_put_le64(note + boot_size, s->last_log);
	bytes_put_le32(note + boot_size + 8, crc_of(note, boot_size + 8));
	if (fd < 0 || pwrite(fd, note, sizeof(note), 0) != sizeof(note))
		log_warning("store: cannot write the file \"%s\": a damaged end of the log may not be noticed at the next start", start_name);
	if (fd >= 0)
		close(fd);
}

/* Whether the last start was in this boot; then *log is the last one that is older. */
static bool is_same_boot(struct rocksdb_store *s, const unsigned char *boot, uint64_t *log)
{
	unsigned char note[start_size];
	int fd = boot ? openat(s->folder_fd, start_name, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = fd < 0 ? 0 : pread(fd, note, sizeof(note), 0);

	if (fd >= 0)
		close(fd);
	if (n != sizeof(note) || bytes_get_le32(note + boot_size + 8) != crc_of(note, boot_size + 8))
		return false;
	*log = bytes_get_le64(note + boot_size);
	return memcmp(note, boot, boot_size) == 0;
}

/* ---- the logs ---- */

/* A record may be in several fragments, none of which crosses a block. */
enum fragment { fragment_none, fragment_full, fragment_first, fragment_middle, fragment_last };

struct reading {
	uint64_t last;         /* the last sequence number so far; 0: none */
	uint64_t after;        /* of logs with a greater number … */
	uint64_t seen;         /* … the greatest sequence number in any record */
	uint64_t damaged;      /* the number of the log where reading ended; 0: at the end */
	size_t damaged_at;
};

/* RocksDB stores a checksum so that one of a text that has checksums in it is not weak. */
static uint32_t unmask(uint32_t masked)
{
	uint32_t rotated = masked - 0xa282ead8u;

	return rotated >> 17 | rotated << 15;
}

/* The piece of a record at a place in a log. *size: with its header; 0: that cannot be told. A write that was cut off
 * is the end of a file. */
enum piece { piece_whole, piece_damaged, piece_cut_off, piece_nothing };

static enum piece piece_at(const unsigned char *at, size_t len, size_t pos, size_t *size)
{
	size_t left = block_size - pos % block_size, body;
	unsigned type;

	*size = 0;
	if (left < header_size)
		return piece_nothing;
	if (len - pos < header_size)
		return piece_cut_off;
	body = at[pos + 4] | (size_t)at[pos + 5] << 8;
	type = at[pos + 6];
	if (type == fragment_none && body == 0 && bytes_get_le32(at + pos) == 0)
		return piece_nothing;
	if (body > left - header_size || type < fragment_full || type > fragment_last)
		return piece_damaged;
	if (body > len - pos - header_size)
		return piece_cut_off;
	*size = header_size + body;
	return unmask(bytes_get_le32(at + pos)) == crc_of(at + pos + 6, body + 1) ? piece_whole : piece_damaged;
}

/* A whole record: a batch begins with its first sequence number and how many follow. False: it does not follow the last one. */
static bool batch_follows(struct reading *r, const unsigned char *head, size_t len)
{
	uint64_t first;
	uint32_t count;

	if (len < batch_header)
		return false;
	first = bytes_get_le64(head);
	count = bytes_get_le32(head + 8);
	if (r->last && first > r->last + 1)
		return false;
	/* A log that RocksDB has begun after a damaged one has an empty record first. */
	if (first + count > r->last + 1)
		r->last = first + count - 1;
	return true;
}

/* Reads one log; where it stopped. */
static size_t log_read(struct reading *r, const unsigned char *at, size_t len, bool *whole)
{
	unsigned char head[batch_header];
	size_t got = 0, pos = 0, begin = 0;
	bool inside = false;

	*whole = false;
	while (pos < len) {
		size_t left = block_size - pos % block_size, size;
		enum piece piece = piece_at(at, len, pos, &size);
		unsigned type;

		if (left < header_size) {
			pos += left;
			continue;
		}
		/* Space that was taken in advance is zero. */
		if (piece == piece_nothing)
			break;
		if (piece != piece_whole)
			return pos;
		size -= header_size;
		type = at[pos + 6];
		if ((type == fragment_full || type == fragment_first) == inside)
			return pos;
		if (!inside) {
			begin = pos;
			got = 0;
		}
		if (got < batch_header) {
			size_t more = batch_header - got < size ? batch_header - got : size;

			memcpy(head + got, at + pos + header_size, more);
			got += more;
		}
		inside = type == fragment_first || type == fragment_middle;
		if (!inside && !batch_follows(r, head, got))
			return begin;
		pos += header_size + size;
	}
	*whole = !inside;
	return inside ? begin : pos;
}

/* The last sequence number of a record that begins with this piece; 0: it begins none. */
static uint64_t sequence_in(const unsigned char *piece, size_t size)
{
	const unsigned char *head = piece + header_size;

	if ((piece[6] != fragment_full && piece[6] != fragment_first) || size < header_size + batch_header || !bytes_get_le32(head + 8))
		return 0;
	return bytes_get_le64(head) + bytes_get_le32(head + 8) - 1;
}

/* Looks for what was written after a place where reading has stopped. A record counts once its last piece is there. */
static void log_read_rest(struct reading *r, const unsigned char *at, size_t len, size_t pos)
{
	uint64_t begun = 0;

	while (pos < len) {
		size_t size;
		enum piece piece = piece_at(at, len, pos, &size);
		uint64_t last = 0;

		if (piece == piece_whole) {
			begun = sequence_in(at + pos, size) ? sequence_in(at + pos, size) : begun;
			last = at[pos + 6] == fragment_full || at[pos + 6] == fragment_last ? begun : 0;
		} else if (piece == piece_damaged) {
			/* That was one record at least. */
			last = r->last + 1;
		}
		r->seen = last > r->seen ? last : r->seen;
		pos = size ? pos + size : (pos / block_size + 1) * block_size;
	}
}

static int log_check(struct rocksdb_store *s, struct reading *r, uint64_t number)
{
	char name[64];
	struct stat st;
	bool whole = true;
	size_t end = 0;
	void *at;
	int fd;

	snprintf(name, sizeof(name), "db/%06llu.log", (unsigned long long)number);
	fd = openat(s->folder_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		int e = -errno;

		if (fd >= 0)
			close(fd);
		return e;
	}
	at = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
	close(fd);
	if (at == MAP_FAILED)
		return -errno;
	if (at) {
		madvise(at, (size_t)st.st_size, MADV_SEQUENTIAL);
		if (!r->damaged)
			end = log_read(r, at, (size_t)st.st_size, &whole);
		if (number > r->after)
			log_read_rest(r, at, (size_t)st.st_size, end);
		munmap(at, (size_t)st.st_size);
		if (!whole) {
			r->damaged = number;
			r->damaged_at = end;
		}
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* All logs that are there, in order, up to the first place that is not whole. */
static int logs_read(struct rocksdb_store *s, struct reading *r)
{
	int fd = openat(s->folder_fd, "db", O_RDONLY | O_DIRECTORY | O_CLOEXEC), e = 0;
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct buf numbers = {0};
	struct dirent *entry;

	if (!folder) {
		e = -errno;
		if (fd >= 0)
			close(fd);
		return e;
	}
	while (!e && (entry = readdir(folder))) {
		char *end;
		uint64_t number = strtoull(entry->d_name, &end, 10);

		if (end != entry->d_name && strcmp(end, ".log") == 0)
			e = buf_add(&numbers, &number, sizeof(number));
	}
	closedir(folder);
	if (!e && numbers.len)
		qsort(numbers.data, numbers.len / sizeof(uint64_t), sizeof(uint64_t), by_number);
	for (size_t i = 0; !e && i < numbers.len; i += sizeof(uint64_t)) {
		uint64_t number;

		memcpy(&number, numbers.data + i, sizeof(number));
		if (!r->damaged || number > r->after)
			e = log_check(s, r, number);
		s->last_log = number;
	}
	buf_release(&numbers);
	return e;
}

/* ---- the comparison ---- */

/* RocksDB's own answer. It writes nothing for that. */
static int sequence_by_rocksdb(struct rocksdb_store *s, uint64_t *sequence, struct reason *why)
{
	const rocksdb_options_t *options[family_count];
	rocksdb_column_family_handle_t *family[family_count] = {0};
	char path[4096], *error = NULL;
	rocksdb_t *db;

	for (int i = 0; i < family_count; i++)
		options[i] = s->family_options[i];
	snprintf(path, sizeof(path), "%s/db", s->folder);
	db = rocksdb_open_for_read_only_column_families(s->options, path, family_count, rocks_family_name, options, family, 0, &error);
	if (error) {
		reason_set(why, "store %s is damaged: restore it from a backup (%.120s)", s->folder, error);
		rocksdb_free(error);
		return STORE_DAMAGED;
	}
	*sequence = rocksdb_get_latest_sequence_number(db);
	for (int i = 0; i < family_count; i++)
		rocksdb_column_family_handle_destroy(family[i]);
	rocksdb_close(db);
	return 0;
}

int rocks_synced_check(struct rocksdb_store *s, const unsigned char *boot, bool accept_loss, struct reason *why)
{
	struct reading reading = {0};
	uint64_t noted = 0, there;
	char place[80] = "";
	bool same_boot = is_same_boot(s, boot, &reading.after);
	int r;

	if (!same_boot)
		reading.after = UINT64_MAX;
	if (!note_read(s, &noted) && !same_boot)
		return 0;
	/* Reading the logs takes a fraction of what RocksDB takes for it, and mostly answers the question. */
	r = logs_read(s, &reading);
	if (reading.seen > noted)
		noted = reading.seen;
	if (r == 0 && reading.last >= noted)
		return 0;
	r = sequence_by_rocksdb(s, &there, why);
	if (r || there >= noted)
		return r;
	if (reading.damaged)
		snprintf(place, sizeof(place), " (db/%06llu.log is not whole at byte %zu)", (unsigned long long)reading.damaged,
			 reading.damaged_at);
	if (!accept_loss) {
		reason_set(why, "store %.80s is damaged: %llu records that were acknowledged cannot be read from its log%s; restore it "
			   "from a backup, or go on without them with -o accept_loss", s->folder, (unsigned long long)(noted - there), place);
		return STORE_DAMAGED;
	}
	log_warning("store: %llu records that were acknowledged are lost%s", (unsigned long long)(noted - there), place);
	s->lost = noted - there;
	return 0;
}
