#include "check/check_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <unistd.h>

#include "bucket/transaction_id.h"
#include "store/rocksdb_check.h"
#include "util/log.h"

/* A damaged store may give the more to mend the more is mended; in the end nothing is. */
enum { rounds_most = 8, looks = 3, path_most = 4096 };

/* ---- findings ---- */

struct check_found {
	char *bucket, *path, *detail;
	const char *kind;
	unsigned flags;
};

/* For a terminal: a damaged record may hold any bytes. */
static char *printable(const char *bytes, size_t len)
{
	char *text = malloc(len + 1);

	for (size_t i = 0; text && i < len; i++)
		text[i] = bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '?';
	if (text)
		text[len] = 0;
	return text;
}

static void found_release(struct check_found *f)
{
	free(f->bucket);
	free(f->path);
	free(f->detail);
}

/* As users see it: a transaction is a folder of the bucket that it belongs to. */
static char *shown_bucket(struct check *c, struct slice id)
{
	struct check_bucket *into = NULL;
	char text[2 * name_max + 32];

	if (transaction_is_id(id) && memchr((const char *)id.at + 3, '.', id.len - 3))
		into = check_find_bucket(c, transaction_bucket(id));
	if (!into)
		return printable(id.len ? id.at : "", id.len);
	snprintf(text, sizeof(text), "%.*s/.bucketfs/tx/%.*s", (int)into->id.len, (const char *)into->id.at,
		 (int)transaction_name(id).len, (const char *)transaction_name(id).at);
	return printable(text, strlen(text));
}

int check_tell(struct check *c, struct slice id, const char *path, const char *kind, unsigned flags, const char *format, ...)
{
	struct check_found f = {.kind = kind, .flags = flags};
	char detail[512];
	va_list args;
	int r = -ENOMEM;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	f.bucket = shown_bucket(c, id);
	f.path = printable(path ? path : "", path ? strnlen(path, path_most) : 0);
	f.detail = printable(detail, strlen(detail));
	if (f.bucket && f.path && f.detail)
		r = buf_add(&c->found, &f, sizeof(f));
	if (r)
		found_release(&f);
	c->mended |= !r && flags & CHECK_MENDED;
	return r;
}

static int compare_found(const void *a, const void *b)
{
	const struct check_found *x = a, *y = b;
	int order = strcmp(x->bucket, y->bucket);

	if (!order)
		order = strcmp(x->path, y->path);
	return order ? order : strcmp(x->kind, y->kind);
}

static void found_clear(struct buf *found)
{
	struct check_found *f = (struct check_found *)found->data;

	for (size_t i = 0; i < found->len / sizeof(*f); i++)
		found_release(&f[i]);
	buf_clear(found);
}

/* What was found at both looks. */
static void found_keep_common(struct buf *found, struct buf *before)
{
	struct check_found *f = (struct check_found *)found->data;
	size_t count = found->len / sizeof(*f), kept = 0;

	if (before->len)
		qsort(before->data, before->len / sizeof(*f), sizeof(*f), compare_found);
	for (size_t i = 0; i < count; i++) {
		if (before->len && bsearch(&f[i], before->data, before->len / sizeof(*f), sizeof(*f), compare_found))
			f[kept++] = f[i];
		else
			found_release(&f[i]);
	}
	found->len = kept * sizeof(*f);
}

/* Tells those of one kind, mended or not, and forgets all. */
static void tell_all(struct check *c, bool all)
{
	struct check_found *f = (struct check_found *)c->found.data;

	for (size_t i = 0; i < c->found.len / sizeof(*f); i++) {
		struct check_finding finding = {f[i].bucket, f[i].path, f[i].kind, f[i].detail, f[i].flags & CHECK_MENDED,
						f[i].flags & CHECK_NOTE};

		/* What was left is found again at the next round. */
		if (!all && !finding.mended)
			continue;
		if (finding.note) {
			c->sums->notes++;
		} else {
			c->sums->findings++;
			c->sums->mended += finding.mended;
		}
		c->o->finding(c->o->context, &finding);
	}
	found_clear(&c->found);
}

/* ---- one pass ---- */

struct check_bucket *check_find_bucket(struct check *c, uint32_t number)
{
	size_t low = 0, high = c->bucket_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->buckets[middle].number == number)
			return &c->buckets[middle];
		if (c->buckets[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

int check_progress(struct check *c, const char *what, uint64_t done, uint64_t total)
{
	return c->o->progress && !c->o->progress(c->o->context, what, done, total) ? -EINTR : 0;
}

static int check_one(struct check *c, struct check_bucket *bucket)
{
	struct check_scan s = {0};
	int r = check_scan_load(&s, c, bucket, true);

	if (!r)
		r = check_names(&s);
	if (!r)
		r = check_bodies(&s);
	if (!r)
		r = check_data(&s);
	if (!r)
		r = check_counts(&s);
	if (!r)
		r = check_mend_commit(&s);
	check_scan_release(&s);
	/* RocksDB compares what it reads with its own checksums. The other buckets may be whole. */
	if (r == -EIO) {
		c->unsure = bucket->unread = true;
		r = check_tell(c, bucket->id, NULL, "record", 0, "its records cannot be read: the disk, or RocksDB's files, are damaged");
	}
	return r;
}

static void pass_release(struct check *c)
{
	free(c->buckets);
	c->buckets = NULL;
	c->bucket_count = 0;
	buf_clear(&c->ids);
	buf_clear(&c->owners);
	buf_clear(&c->published);
}

/* All records, at one moment. */
static int check_records(struct check *c)
{
	int r;

	pass_release(c);
	c->sums->buckets = c->sums->files = c->sums->bytes = c->sums->unsealed = c->done = 0;
	c->unsure = c->mended = false;
	r = check_root(c);
	for (size_t i = 0; !r && i < c->bucket_count; i++) {
		r = check_progress(c, "buckets", i, c->bucket_count);
		if (!r)
			r = check_one(c, &c->buckets[i]);
		c->sums->buckets += !transaction_is_id(c->buckets[i].id);
	}
	return r ? r : check_owners(c);
}

/* What a daemon is about to change is no finding. Each look is at one moment, so what is wrong is so at every one. */
static int check_live(struct check *c)
{
	struct buf before = {0};
	int r = check_records(c);

	for (int look = 1; !r && look < looks && c->found.len; look++) {
		buf_release(&before);
		before = c->found;
		c->found = (struct buf){0};
		r = rocksdb_check_catch_up(c->store);
		if (!r)
			r = check_records(c);
		found_keep_common(&c->found, &before);
		found_clear(&before);
	}
	buf_release(&before);
	if (!r)
		r = check_contents(c);
	if (!r)
		tell_all(c, true);
	return r;
}

static int check_alone(struct check *c)
{
	uint64_t lost = rocksdb_check_lost(c->store);
	int r = 0;

	for (int round = 0; !r && round < rounds_most; round++) {
		bool last;

		if (round == 0 && lost)
			r = check_tell(c, slice_of("", 0), NULL, "log", CHECK_MENDED, "%llu acknowledged records were in the damaged log, and are gone",
				       (unsigned long long)lost);
		if (!r)
			r = check_records(c);
		if (!r)
			r = check_contents(c);
		last = !c->mended || round + 1 == rounds_most;
		if (!r)
			tell_all(c, last);
		if (last)
			break;
	}
	if (!r && c->o->repair)
		r = store_sync(c->store);
	return r;
}

/* ---- opening ---- */

/* What RocksDB wrote by itself. */
static void remove_scratch(const char *scratch)
{
	DIR *folder = opendir(scratch);
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder)
		closedir(folder);
	rmdir(scratch);
}

static int open_live(struct check *c, char *scratch, size_t size, struct reason *why)
{
	const char *temporary = getenv("TMPDIR");
	int r = STORE_DAMAGED;

	snprintf(scratch, size, "%s/bucketfs-check-XXXXXX", temporary && *temporary ? temporary : "/tmp");
	if (!mkdtemp(scratch)) {
		r = -errno;
		reason_set(why, "cannot make a folder %s: %s", scratch, strerror(-r));
		*scratch = 0;
		return r;
	}
	c->live = c->sums->live = true;
	/* The daemon may remove a file between the look at its name and the look at its content. */
	for (int i = 0; i < looks && r == STORE_DAMAGED; i++)
		r = rocksdb_store_open_to_check(&c->store, c->o->store, ROCKSDB_CHECK_LIVE, scratch, why);
	return r;
}

static int open_store(struct check *c, char *scratch, size_t size, struct reason *why)
{
	enum rocksdb_check_mode mode = c->o->repair ? ROCKSDB_CHECK_REPAIR : ROCKSDB_CHECK_ALONE;
	int r = rocksdb_store_open_to_check(&c->store, c->o->store, mode, NULL, why);

	*scratch = 0;
	if (r == STORE_ABSENT)
		reason_set(why, "there is no store %s", c->o->store);
	if (r == STORE_IN_USE && !c->o->repair)
		r = open_live(c, scratch, size, why);
	return r > 0 ? -EIO : r;
}

int check_store(const struct check_options *options, struct check_sums *sums, struct reason *why)
{
	struct check c = {.o = options, .sums = sums};
	char scratch[4096];
	int r;

	*sums = (struct check_sums){0};
	reason_set(why, "%s", "");
	r = open_store(&c, scratch, sizeof(scratch), why);
	if (!r)
		r = c.live ? check_live(&c) : check_alone(&c);
	if (r && why && !*why->text)
		reason_set(why, "store %s: %s", options->store, strerror(-r));
	store_close(c.store);
	if (*scratch)
		remove_scratch(scratch);
	pass_release(&c);
	found_clear(&c.found);
	buf_release(&c.found);
	buf_release(&c.ids);
	buf_release(&c.owners);
	buf_release(&c.published);
	buf_release(&c.lost_name);
	return r;
}
