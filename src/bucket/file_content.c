/* What is in an open file, as it is read and written. With f->lock held for writing unless said otherwise. */
#include "bucket/file.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "bucket/tree.h"
#include "bucket/version.h"
#include "util/checksum.h"
#include "util/log.h"

void file_drop_content(struct file *f)
{
	store_content_close(f->content, f->content && f->content->number != f->stored.content);
	f->content = NULL;
	f->trimmed = false;
	checksum_free(f->sums);
	f->sums = NULL;
}

/* An open file that nobody reads at the moment needs no descriptor: it is opened again. With fs->lock held. */
static int close_if_idle(void *context, struct table_node *node)
{
	struct file *f = container_of(node, struct file, by_inode);
	size_t *closed = context;

	if (pthread_rwlock_trywrlock(&f->lock))
		return 0;
	if (f->content && f->loaded && !f->unsaved && !f->exposed && !file_is(&f->unlinked) && !file_is(&f->unlisted) &&
	    file_is_in_place(f)) {
		store_content_close(f->content, false);
		f->content = NULL;
		f->trimmed = f->loaded = false;
		checksum_free(f->sums);
		f->sums = NULL;
		++*closed;
	}
	pthread_rwlock_unlock(&f->lock);
	return 0;
}

/* The process has no descriptor left. Locks of other files are only tried. */
static bool close_idle(struct fs *fs)
{
	size_t closed = 0;

	pthread_mutex_lock(&fs->lock);
	table_each(&fs->files, close_if_idle, &closed);
	pthread_mutex_unlock(&fs->lock);
	return closed;
}

/* With b->lock held. */
static int load_locked(struct file *f)
{
	struct key_buf key = key_body(f->node.number);
	int r = 0;

	if (f->unlinked && f->node.place == PLACE_CONTENT) {
		f->content = f->kept_content;
		f->kept_content = NULL;
		r = f->content ? 0 : -EIO;
	} else if (f->unlinked) {
		f->bytes = f->kept_bytes;
		f->kept_bytes = (struct buf){0};
	} else if (f->node.place == PLACE_CONTENT) {
		r = store_content_open(f->fs->store, f->node.content, &f->content);
		if ((r == -EMFILE || r == -ENFILE) && close_idle(f->fs))
			r = store_content_open(f->fs->store, f->node.content, &f->content);
	} else {
		r = store_get(f->fs->store, f->b->number, STORE_BODY, key_slice(&key), &f->bytes);
	}
	return r;
}

/* A content that is shorter than its record says is damaged, and what is missing is not zero. */
static int check_length(struct file *f)
{
	uint64_t length = f->bytes.len;
	int r = f->content ? store_content_size(f->content, &length) : 0;

	if (!r && length < f->node.size) {
		log_error("bucket %.*s: file number %llu is damaged: it has %llu of its %llu bytes", (int)f->b->name.len,
			  (const char *)f->b->name.at, (unsigned long long)f->node.number, (unsigned long long)length,
			  (unsigned long long)f->node.size);
		r = -EIO;
	}
	if (!f->content && length > f->node.size)
		f->bytes.len = (size_t)f->node.size;
	return r;
}

/* What was brought into memory is not what it should be. */
static void file_forget(struct file *f)
{
	store_content_close(f->content, false);
	f->content = NULL;
	buf_release(&f->bytes);
}

static int load(struct file *f)
{
	struct key_buf key = key_body(f->node.number);
	int r = STORE_ABSENT;

	if (f->loaded)
		return 0;
	/* A small content in the store changes under the file's own lock only, so who reads it waits for nobody else's commit. If
	 * it is not there, the file was unlinked just now, and its content has been kept. */
	if (f->node.place == PLACE_INLINE && !file_is(&f->unlinked))
		r = store_get(f->fs->store, f->b->number, STORE_BODY, key_slice(&key), &f->bytes);
	if (r == STORE_ABSENT) {
		bucket_lock(f->b);
		r = load_locked(f);
		bucket_unlock(f->b);
	}
	if (r)
		log_error("bucket %.*s: the content of file number %llu is missing from the store", (int)f->b->name.len,
			  (const char *)f->b->name.at, (unsigned long long)f->node.number);
	else
		r = check_length(f);
	if (!r)
		f->loaded = true;
	else
		file_forget(f);
	return r < 0 ? r : r ? -EIO : 0;
}

/* Whether nothing has to be summed up to know that. The bucket may be in the middle of a commit, so it is looked at without
 * its lock. */
static bool is_within_limits(const struct bucket *b, uint64_t size, int64_t growth)
{
	uint64_t most = __atomic_load_n(&b->max_file_size, __ATOMIC_RELAXED);

	return growth < 0 || (!__atomic_load_n(&b->max_total_size, __ATOMIC_RELAXED) && (!most || size <= most));
}

/* What the bucket's files would come to if this one grew by so much, with b->lock held. Sizes that programs ask for may
 * be any. */
static uint64_t total_with(const struct file *f, int64_t growth)
{
	int64_t counted = __atomic_load_n(&f->counted, __ATOMIC_RELAXED), grown, total;

	if (__builtin_add_overflow(counted, growth, &grown) ||
	    __builtin_add_overflow((int64_t)(f->b->head.file_bytes + f->b->head.attribute_bytes),
				   file_counts(grown) - file_counts(counted), &total) ||
	    __builtin_add_overflow(total, __atomic_load_n(&f->b->pending_bytes, __ATOMIC_RELAXED), &total))
		return INT64_MAX;
	return total > 0 ? (uint64_t)total : 0;
}

static int check_total(struct file *f, int64_t growth, struct reason *why)
{
	uint64_t most = f->b->limits.max_total_size, total;
	int r;

	if (growth < 0 || !most || f->unlinked)
		return 0;
	total = total_with(f, growth);
	r = total > most ? tree_make_room(f->fs, f->b, 0, total - most) : 0;
	if (r != BUCKET_OVER_QUOTA)
		return r;
	reason_set(why, "the bucket's files would have %llu bytes and max_total_size is %llu",
		   (unsigned long long)total, (unsigned long long)most);
	return BUCKET_OVER_QUOTA;
}

/* The file's size is about to become `size`: checks the limits and counts it. Undone by calling it with the old one. */
static int account(struct file *f, uint64_t size, struct reason *why)
{
	const struct limits *l = &f->b->limits;
	int64_t growth = (int64_t)(size - f->node.size);
	int r = 0;

	if (growth == 0)
		return 0;
	if (is_within_limits(f->b, size, growth)) {
		if (!file_is(&f->unlinked))
			file_count(f, growth);
		return 0;
	}
	bucket_lock(f->b);
	if (growth > 0 && l->max_file_size && size > l->max_file_size) {
		reason_set(why, "the file would have %llu bytes and max_file_size is %llu", (unsigned long long)size,
			   (unsigned long long)l->max_file_size);
		r = BUCKET_TOO_LARGE;
	} else {
		r = check_total(f, growth, why);
	}
	if (!r && !f->unlinked)
		file_count(f, growth);
	bucket_unlock(f->b);
	return r;
}

static void unaccount(struct file *f, uint64_t size)
{
	if (!file_is(&f->unlinked))
		file_count(f, (int64_t)f->node.size - (int64_t)size);
}

/* Committed bytes are not what they were any more: what was before has ended the seal. */
static void changed(struct file *f, uint64_t at)
{
	f->unsealed |= file_is_in_place(f) && at < f->stored.size;
}

/* Some of the bytes may be, though the store refused: the checksums that were committed may be wrong, and the next commit has others. */
static void maybe_changed(struct file *f, uint64_t at, uint64_t len)
{
	checksum_changed(f->sums, at, len);
	if (!file_is_in_place(f) || at >= f->stored.size)
		return;
	f->dirty = true;
	file_becomes(&f->unsaved, true);
	f->reseal |= !file_is(&f->unlisted);
}

static void touched(struct file *f)
{
	f->node.modified = f->node.changed = fs_now(f->fs);
	f->dirty = true;
	file_becomes(&f->unsaved, true);
	f->reseal |= file_is_in_place(f) && !file_is(&f->unlisted);
	file_becomes(&f->candidate, false);
	file_becomes(&f->closed, false);
}

/* From memory into a content of the store. */
static int spill(struct file *f)
{
	struct store_content *content;
	int r = store_content_create(f->fs->store, &content);

	if (r)
		return r;
	r = store_content_write(content, 0, f->bytes.data, f->bytes.len);
	if (r) {
		store_content_close(content, true);
		return r;
	}
	f->content = content;
	f->sums = checksum_new();
	checksum_written(f->sums, 0, f->bytes.data, f->bytes.len);
	f->trimmed = true;
	f->node.place = PLACE_CONTENT;
	f->node.content = content->number;
	buf_release(&f->bytes);
	return 0;
}

/* Ready to be written up to `end`. */
static int prepare(struct file *f, uint64_t end)
{
	int r = load(f);

	if (!r && f->node.place != PLACE_CONTENT) {
		if (end > file_inline_max)
			return spill(f);
		f->node.place = PLACE_INLINE;
	}
	/* A crash may have left bytes past the size that was committed. */
	if (!r && f->node.place == PLACE_CONTENT && !f->trimmed) {
		r = store_content_truncate(f->content, f->node.size);
		f->trimmed = !r;
	}
	if (!r && f->node.place == PLACE_CONTENT && !f->sums)
		f->sums = checksum_new();
	return r;
}

/* Whether a range may be written, with the reserve of the disk in mind: that counts bytes for which there is no space yet. Bytes that
 * are written over need none, and neither does a hole that stays one. Only near a full disk is it looked at where holes are. */
static int check_space(struct file *f, uint64_t at, uint64_t len, struct reason *why)
{
	uint64_t size = f->node.size, inside = at >= size ? 0 : len < size - at ? len : size - at, holes = 0;
	int r = fs_check_space(f->fs, len, why);

	if (r != BUCKET_NO_SPACE || !inside)
		return r;
	if (f->node.place == PLACE_CONTENT) {
		r = load(f);
		if (!r)
			r = store_content_holes(f->content, at, inside, &holes);
		if (r)
			return r;
	}
	return fs_check_space(f->fs, len - inside + holes, why);
}

static int write_locked(struct file *f, uint64_t at, struct slice bytes, struct reason *why)
{
	uint64_t end = at + bytes.len, size = end > f->node.size ? end : f->node.size;
	int r;

	if (end < at || end > INT64_MAX)
		return BUCKET_TOO_LARGE;
	r = check_space(f, at, bytes.len, why);
	if (!r)
		r = account(f, size, why);
	if (r)
		return r;
	r = prepare(f, size);
	if (!r)
		r = file_settle_before(f, at, bytes.len);
	if (!r)
		r = f->node.place == PLACE_CONTENT ? store_content_write(f->content, at, bytes.at, bytes.len) :
						     buf_write_at(&f->bytes, (size_t)at, bytes.at, bytes.len);
	if (r) {
		unaccount(f, size);
		/* Part of it may be there already. */
		f->trimmed = false;
		maybe_changed(f, at, bytes.len);
		return r;
	}
	checksum_resized(f->sums, f->node.size, size);
	checksum_written(f->sums, at, bytes.at, bytes.len);
	f->node.size = size;
	changed(f, at);
	touched(f);
	return 0;
}

/* Before something comes into an empty file that was opened with truncation: that is a new version, not a change of the old one. With
 * f->lock held for writing. */
static int begin_to_fill(struct file_open *h, struct reason *why)
{
	struct file *f = h->file;
	int r = 0;

	if (file_is(&h->replaces) && f->node.size == 0 && (!file_is(&f->unlisted) || (f->closed && !f->written)))
		r = version_swap(f, why);
	if (!r && file_is(&f->unlisted) && f->candidate)
		r = version_mark(f);
	return r;
}

int file_write(struct file_open *h, uint64_t at, bool append, struct slice bytes, struct reason *why)
{
	struct file *f = h->file;
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	r = begin_to_fill(h, why);
	if (!r)
		r = write_locked(f, append ? f->node.size : at, bytes, why);
	file_becomes(&h->written, true);
	file_becomes(&f->written, true);
	__atomic_store_n(&h->closed, 0, __ATOMIC_RELAXED);
	if (r)
		file_becomes(&f->failed, true);
	/* It may have been one before it. */
	if (r < 0)
		file_drain(f);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_clear_locked(struct file *f, struct reason *why)
{
	int r = account(f, 0, why);

	if (r)
		return r;
	/* Nothing of the old content is needed; the stored one stays until the next commit replaces it. */
	file_drop_content(f);
	buf_clear(&f->bytes);
	f->loaded = true;
	f->lent = false;
	f->node.place = PLACE_NONE;
	f->node.content = 0;
	f->node.size = 0;
	/* Whoever begins anew after a write that failed has all of it again. */
	file_becomes(&f->failed, false);
	f->error = 0;
	touched(f);
	return 0;
}

/* A committed content becomes shorter where it is. The filesystem may write that down before the store's log is on the disk, and
 * then a record would ask for bytes that are gone: so the record comes first. */
static int shorten(struct file *f, uint64_t size)
{
	uint64_t was = f->node.size;
	int r = file_settle_before(f, size, was - size);

	if (!r) {
		checksum_resized(f->sums, was, size);
		f->node.size = size;
		touched(f);
		r = file_commit(f);
	}
	if (r && (f->dirty || f->node.size == was)) {
		f->node.size = was;
		unaccount(f, size);
	}
	/* Once the record says so, the bytes past the end must not come back. */
	if (f->stored.size != size)
		return r;
	f->trimmed = false;
	if (!r)
		r = store_sync(f->fs->store);
	if (!r)
		r = store_content_truncate(f->content, size);
	f->unsealed |= !r;
	f->trimmed = !r;
	/* The record has the blocks that it had before. */
	if (!r && !store_content_blocks(f->content, &f->node.blocks))
		f->dirty = true;
	return r;
}

static int truncate_locked(struct file *f, uint64_t size, struct reason *why)
{
	int r;

	if (size == 0 && !f->lent)
		return file_clear_locked(f, why);
	if (size > f->node.size) {
		r = fs_check_space(f->fs, 0, why);
		if (r)
			return r;
	}
	r = account(f, size, why);
	if (r)
		return r;
	r = prepare(f, size);
	if (!r && file_is_in_place(f) && !file_is(&f->unlisted) && size < f->stored.size)
		return shorten(f, size);
	if (!r && size < f->stored.size)
		r = file_settle_before(f, size, f->stored.size - size);
	if (!r)
		r = f->node.place == PLACE_CONTENT ? store_content_truncate(f->content, size) :
						     buf_resize(&f->bytes, (size_t)size);
	if (r) {
		unaccount(f, size);
		return r;
	}
	checksum_resized(f->sums, f->node.size, size);
	f->node.size = size;
	if (size)
		file_becomes(&f->written, true);
	touched(f);
	return 0;
}

int file_truncate_open(struct file_open *h, uint64_t size, struct reason *why)
{
	struct file *f = h->file;
	int r = 0;

	if (size && file_is(&h->replaces)) {
		pthread_rwlock_wrlock(&f->lock);
		r = begin_to_fill(h, why);
		if (!r)
			r = truncate_locked(f, size, why);
		pthread_rwlock_unlock(&f->lock);
		return r;
	}
	/* To nothing, by somebody who writes only and has not begun: what will be written is a new version, as if it had
	 * been opened with O_TRUNC (version.h). */
	if (size || h->reads || h->append || file_is(&h->written) || file_is(&f->unlisted))
		return file_truncate(f, size, why);
	pthread_rwlock_wrlock(&f->lock);
	/* An empty file becomes one when something is written. */
	if (f->node.size)
		r = version_swap(f, why);
	else
		file_becomes(&h->replaces, true);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_truncate(struct file *f, uint64_t size, struct reason *why)
{
	bool closed, as_before;
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	closed = file_is(&f->unlisted) && f->candidate;
	/* What was empty when it was closed is as whole as before. */
	as_before = closed && !size && !f->node.size && !file_is(&f->failed);
	if (closed && !as_before)
		r = version_mark(f);
	if (!r && !as_before)
		r = truncate_locked(f, size, why);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* Space in a content, or in memory. The length becomes `size`. */
static int allocate(struct file *f, uint64_t at, uint64_t len, uint64_t size)
{
	uint64_t end = at + len;
	int r = prepare(f, end > f->node.size ? end : f->node.size);

	if (r)
		return r;
	/* A short content stays in memory, and needs nothing. */
	if (f->node.place != PLACE_CONTENT)
		return size > f->bytes.len ? buf_resize(&f->bytes, (size_t)size) : 0;
	r = store_content_allocate(f->content, at, len, size < end);
	if (!r && size < end)
		file_becomes(&f->preallocated, true);
	return r;
}

/* More than a file may have is not kept for it either. */
static int check_kept(const struct file *f, uint64_t end, struct reason *why)
{
	uint64_t most = __atomic_load_n(&f->b->max_file_size, __ATOMIC_RELAXED);

	if (!most || end <= most)
		return 0;
	reason_set(why, "the file would have space for %llu bytes and max_file_size is %llu", (unsigned long long)end,
		   (unsigned long long)most);
	return BUCKET_TOO_LARGE;
}

int file_allocate(struct file_open *h, uint64_t at, uint64_t len, bool keep_size, struct reason *why)
{
	struct file *f = h->file;
	uint64_t end, size;
	int r;

	if (__builtin_add_overflow(at, len, &end) || end > INT64_MAX)
		return BUCKET_TOO_LARGE;
	pthread_rwlock_wrlock(&f->lock);
	size = !keep_size && end > f->node.size ? end : f->node.size;
	r = size > f->node.size ? begin_to_fill(h, why) : 0;
	if (!r)
		r = check_kept(f, end, why);
	if (!r)
		r = check_space(f, at, len, why);
	if (!r)
		r = account(f, size, why);
	if (!r) {
		r = allocate(f, at, len, size);
		if (r) {
			unaccount(f, size);
		} else if (size > f->node.size) {
			checksum_resized(f->sums, f->node.size, size);
			f->node.size = size;
			file_becomes(&f->written, true);
			touched(f);
		} else if (f->node.place == PLACE_CONTENT) {
			/* Its record says how many blocks it has. */
			f->dirty = true;
			file_becomes(&f->unsaved, true);
		}
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}

void file_give_back_locked(struct file *f)
{
	uint64_t blocks;

	if (!f->preallocated || !f->content || store_content_truncate(f->content, f->node.size))
		return;
	file_becomes(&f->preallocated, false);
	if (!store_content_blocks(f->content, &blocks) && blocks != f->node.blocks) {
		f->node.blocks = blocks;
		f->dirty = true;
	}
}

int file_punch(struct file *f, uint64_t at, uint64_t len)
{
	int r;

	pthread_rwlock_wrlock(&f->lock);
	r = file_is(&f->unlisted) && f->candidate ? version_mark(f) : 0;
	if (!r && at < f->node.size)
		r = prepare(f, f->node.size);
	if (!r && at < f->node.size) {
		len = len < f->node.size - at ? len : f->node.size - at;
		checksum_changed(f->sums, at, len);
		r = file_settle_before(f, at, len);
		if (!r && f->node.place == PLACE_CONTENT)
			r = store_content_punch(f->content, at, len);
		else if (!r)
			memset(f->bytes.data + at, 0, (size_t)len);
		if (r)
			maybe_changed(f, at, len);
		if (!r)
			changed(f, at);
		if (!r)
			touched(f);
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* ---- reading ---- */

/* Takes f->lock for reading, with the content loaded. */
static int lock_loaded(struct file *f)
{
	pthread_rwlock_rdlock(&f->lock);
	while (!f->loaded) {
		int r;

		pthread_rwlock_unlock(&f->lock);
		pthread_rwlock_wrlock(&f->lock);
		r = load(f);
		pthread_rwlock_unlock(&f->lock);
		if (r)
			return r;
		pthread_rwlock_rdlock(&f->lock);
	}
	return 0;
}

int file_read_begin(struct file *f, uint64_t at, size_t len, struct file_span *span)
{
	int r = lock_loaded(f);

	if (r)
		return r;
	*span = (struct file_span){NULL, -1, 0};
	if (at < f->node.size)
		span->len = len < f->node.size - at ? len : (size_t)(f->node.size - at);
	if (f->node.place == PLACE_CONTENT)
		span->fd = store_content_fd(f->content);
	else if (span->len)
		span->bytes = f->bytes.data + at;
	return 0;
}

void file_read_end(struct file *f)
{
	pthread_rwlock_unlock(&f->lock);
}

/* With f->lock held. */
static int read_locked(struct file *f, uint64_t at, void *bytes, size_t len, size_t *got)
{
	size_t had = 0;
	int r = 0;

	*got = at >= f->node.size ? 0 : len < f->node.size - at ? len : (size_t)(f->node.size - at);
	if (*got == 0)
		return 0;
	if (f->node.place == PLACE_CONTENT)
		r = store_content_read(f->content, at, bytes, *got, &had);
	else
		memcpy(bytes, f->bytes.data + at, had = *got);
	return !r && had < *got ? -EIO : r;
}

int file_read(struct file *f, uint64_t at, void *bytes, size_t len, size_t *got)
{
	int r = lock_loaded(f);

	if (r)
		return r;
	r = read_locked(f, at, bytes, len, got);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

void file_explain(struct file *f, struct reason *why)
{
	struct store_content *content;
	uint64_t number = file_content_now(f), length = 0;
	struct node node;
	int r = number ? store_content_open(f->fs->store, number, &content) : 0;

	if (r == STORE_ABSENT) {
		reason_set(why, "its content (number %llu) is missing from the store: restore it from a backup, or remove the file",
			   (unsigned long long)number);
		return;
	}
	if (!number || r)
		return;
	file_node(f, &node);
	if (!store_content_size(content, &length) && length < node.size)
		reason_set(why, "its content (number %llu) is damaged: it has %llu of its %llu bytes", (unsigned long long)number,
			   (unsigned long long)length, (unsigned long long)node.size);
	else
		reason_set(why, "its content (number %llu) is damaged: it is not what was written", (unsigned long long)number);
	store_content_close(content, false);
}

/* ---- lending ---- */

/* A reader that is not served by file_read goes by the content's length alone, and a crash may have left more than the record says. */
static int fit_content(struct file *f)
{
	uint64_t length;
	int r = store_content_fd(f->content) < 0 ? BUCKET_UNSUPPORTED : store_content_size(f->content, &length);

	if (!r && length != f->node.size)
		r = length < f->node.size ? -EIO : store_content_truncate(f->content, f->node.size);
	f->trimmed |= !r;
	return r;
}

int file_lend_begin(struct file *f, struct file_loan *loan)
{
	int r;

	pthread_rwlock_wrlock(&f->lock);
	/* The content of an unlinked file may be another file's by now: that of a transaction that was published. To lend it would fit
	 * its length to an old record. */
	r = file_is(&f->unlisted) || file_is(&f->unlinked) || f->node.place != PLACE_CONTENT ? BUCKET_UNSUPPORTED : load(f);
	if (!r)
		r = fit_content(f);
	if (r) {
		pthread_rwlock_unlock(&f->lock);
		return r;
	}
	*loan = (struct file_loan){store_content_fd(f->content), f->content->number};
	return 0;
}

void file_lend_end(struct file *f, bool lent)
{
	f->lent |= lent;
	pthread_rwlock_unlock(&f->lock);
}

int file_expose(struct file *f)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	if (!f->exposed && f->content)
		r = file_settle_before(f, 0, f->stored.size);
	if (!r && !f->exposed && f->content)
		r = store_content_unseal(f->content);
	f->exposed |= !r;
	f->reseal |= !r;
	if (!r)
		__atomic_add_fetch(&f->fs->exposures, 1, __ATOMIC_RELAXED);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

uint64_t file_content_now(struct file *f)
{
	uint64_t content;

	pthread_rwlock_rdlock(&f->lock);
	content = f->node.place == PLACE_CONTENT ? f->node.content : 0;
	pthread_rwlock_unlock(&f->lock);
	return content;
}

int file_seek(struct file *f, uint64_t at, int whence, uint64_t *found)
{
	int r = lock_loaded(f), fd;
	off_t where;

	if (r)
		return r;
	fd = f->node.place == PLACE_CONTENT ? store_content_fd(f->content) : -1;
	if (at >= f->node.size) {
		r = BUCKET_NO_DATA_THERE;
	} else if (fd < 0) {
		*found = whence == SEEK_DATA ? at : f->node.size;
	} else {
		where = lseek(fd, (off_t)at, whence);
		if (where < 0)
			r = errno == ENXIO ? BUCKET_NO_DATA_THERE : -errno;
		else
			*found = (uint64_t)where < f->node.size ? (uint64_t)where : f->node.size;
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_copy(struct file *from, uint64_t from_at, struct file_open *to, uint64_t to_at, size_t len, size_t *copied,
	      struct reason *why)
{
	enum { piece = 1 << 20 };
	char *buffer = malloc(len < piece ? len + 1 : piece);
	int r = buffer ? 0 : -ENOMEM;

	*copied = 0;
	while (!r && *copied < len) {
		size_t want = len - *copied < piece ? len - *copied : piece, got;

		r = file_read(from, from_at + *copied, buffer, want, &got);
		if (r || got == 0)
			break;
		r = file_write(to, to_at + *copied, false, slice_of(buffer, got), why);
		if (!r)
			*copied += got;
	}
	free(buffer);
	return *copied ? 0 : r;
}
