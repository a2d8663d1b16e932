/* An open file's way into the store. */
#include "bucket/file.h"

#include <errno.h>
#include <unistd.h>

#include "bucket/settle.h"
#include "bucket/tree.h"
#include "bucket/version_internal.h"
#include "util/checksum.h"

/* Whether the stored content has made room for another one, or for none. */
static bool has_moved(const struct file *f)
{
	return f->node.place != f->stored.place || f->node.content != f->stored.content;
}

int file_add_content(struct file *f, struct settle *settle, struct store_batch *batch)
{
	struct key_buf body = key_body(f->node.number);
	/* A later close of another file has had the name. */
	bool superseded = f->unlisted && f->overtaken > f->turn;
	bool kept = false;

	if (superseded)
		settle_drop_fallback(settle, batch);
	if (!f->loaded || !(f->unsaved || has_moved(f)))
		return 0;
	f->node.blocks = (f->node.size + 511) / 512;
	if (f->node.place == PLACE_CONTENT && !f->checks.len)
		return f->checks_error ? f->checks_error : -EIO;
	if (f->node.content != f->stored.content && f->node.content) {
		bool whole = f->stored.number && f->stored_whole && !superseded;
		struct node old = f->stored;

		old.number = f->node.number;
		store_batch_adopt(batch, f->node.content);
		kept = settle_replace(f->fs, settle, whole ? &old : NULL, f->unlisted ? f->turn : 0, f->node.content, batch);
		settle_change(f->fs, settle, f->node.content, 0, buf_slice(&f->checks), batch);
	} else if (has_moved(f)) {
		settle_end(settle, batch);
	} else if (f->node.place == PLACE_CONTENT) {
		uint64_t stored = f->stored.size < f->node.size ? f->stored.size : f->node.size;

		/* Bytes of what is being made may be written over at any time, and there is something else to fall back to. */
		if (f->unlisted)
			stored = 0;
		settle_change(f->fs, settle, f->node.content, stored, buf_slice(&f->checks), batch);
	}
	if (f->node.place == PLACE_INLINE)
		store_batch_put(batch, STORE_BODY, key_slice(&body), buf_slice(&f->bytes));
	else if (f->stored.place == PLACE_INLINE && !kept)
		store_batch_delete(batch, STORE_BODY, key_slice(&body));
	if (f->stored.content && f->node.content != f->stored.content && !kept)
		store_batch_drop(batch, f->stored.content);
	return f->content ? store_content_blocks(f->content, &f->node.blocks) : 0;
}

/* ---- before a commit ---- */

static int read_content(void *context, uint64_t at, void *bytes, size_t len, size_t *got)
{
	return store_content_read(context, at, bytes, len, got);
}

static uint64_t next_data(void *context, uint64_t at)
{
	int fd = store_content_fd(context);
	off_t data = fd < 0 ? (off_t)at : lseek(fd, (off_t)at, SEEK_DATA);

	return data >= 0 ? (uint64_t)data : errno == ENXIO ? UINT64_MAX : at;
}

bool file_is_in_place(const struct file *f)
{
	return f->node.place == PLACE_CONTENT && f->node.content == f->stored.content && !file_is(&f->unlinked);
}

/* How much of what was committed the disk is known to have. */
static int ask_safe(struct file *f)
{
	struct settle s;
	int r;

	if (f->safe_known)
		return 0;
	bucket_lock(f->b);
	r = settle_load(f->fs, f->b, f->node.number, &s);
	bucket_unlock(f->b);
	f->safe = s.content != f->stored.content ? f->stored.size : s.kept ? 0 : s.safe;
	f->safe_known = !r;
	settle_release(&s);
	return r;
}

/* A writer is about to change bytes that were closed or fsynced, and that are on the disk. The disk must have the mark
 * first, or a crash would publish a file that is half of one and half of the other. */
static int keep_mark(struct file *f)
{
	struct settle s;
	int r;

	bucket_lock(f->b);
	r = settle_load(f->fs, f->b, f->node.number, &s);
	bucket_unlock(f->b);
	if (!r && s.safe)
		r = store_sync(f->fs->store);
	if (!r)
		f->marked_again = false;
	settle_release(&s);
	return r;
}

int file_settle_before(struct file *f, uint64_t at, uint64_t len)
{
	uint64_t end = at + len < f->stored.size ? at + len : f->stored.size;
	int r;

	if (file_is(&f->unlinked) && f->node.place == PLACE_CONTENT && f->node.content == f->stored.content && !f->ownerless) {
		r = settle_heir(f->fs, f->b, f->stored.content);
		f->ownerless = !r;
		return r;
	}
	if (!file_is_in_place(f) || at >= end)
		return 0;
	/* A file that is being made has no other reader yet, and a mark in the store says that it is being made. */
	if (file_is(&f->unlisted))
		return f->marked_again ? keep_mark(f) : 0;
	r = ask_safe(f);
	if (!r && end > f->safe) {
		/* It may have been settled since. */
		f->safe_known = false;
		r = ask_safe(f);
	}
	if (r || end <= f->safe)
		return r;
	r = settle_content_locked(f->fs, f->b, f->node.number, f->stored.content);
	if (!r)
		f->safe = f->stored.size;
	return r;
}

bool file_change_waits(struct file *f, uint64_t at, uint64_t len)
{
	uint64_t end;
	bool waits = false;

	/* Most writes are to a file that is being made, and wait for nothing. */
	if (file_is(&f->unlisted))
		return false;
	pthread_rwlock_rdlock(&f->lock);
	end = at + len < f->stored.size ? at + len : f->stored.size;
	if (at < end && f->node.place == PLACE_CONTENT && f->node.content == f->stored.content)
		waits = file_is(&f->unlinked) ? !f->ownerless : !f->unsealed || !f->safe_known || end > f->safe;
	pthread_rwlock_unlock(&f->lock);
	return waits;
}

bool file_truncate_waits(struct file *f, uint64_t size)
{
	bool waits;

	if (file_is(&f->unlisted))
		return false;
	pthread_rwlock_rdlock(&f->lock);
	waits = file_is_in_place(f) && size < f->stored.size && (size || f->lent);
	pthread_rwlock_unlock(&f->lock);
	return waits;
}

bool file_close_waits(struct file *f)
{
	/* Fewer bytes are in memory, or read in a moment. */
	enum { much = 16 << 20 };
	uint64_t from;
	bool waits = false;

	if (!file_is(&f->unsaved))
		return false;
	pthread_rwlock_rdlock(&f->lock);
	if (f->content && f->unsaved && file_is(&f->unlisted) && file_is(&f->promised)) {
		waits = true;
	} else if (f->content && f->unsaved && f->node.size > much) {
		from = file_is_in_place(f) && f->safe_known && !file_is(&f->unlisted) ? f->safe : 0;
		waits = checksum_unknown(f->exposed ? NULL : f->sums, from, f->node.size) > much;
	}
	pthread_rwlock_unlock(&f->lock);
	return waits;
}

void file_change_ahead(struct file *f)
{
	struct store_content *open;
	uint64_t content;

	pthread_rwlock_wrlock(&f->lock);
	content = file_is_in_place(f) ? f->node.content : 0;
	/* Should nothing be changed after all, it gets its checksums back. */
	f->reseal |= content && !file_is(&f->unlisted);
	pthread_rwlock_unlock(&f->lock);
	if (!content || settle_content(f->fs, f->b, f->node.number, content) || store_content_open(f->fs->store, content, &open))
		return;
	store_content_unseal(open);
	store_content_close(open, false);
}

/* The checksums of what is about to be committed. */
static int sum_up(struct file *f)
{
	struct checksum_source source = {read_content, next_data, f->content};
	uint64_t from = 0;
	int r = 0;

	buf_clear(&f->checks);
	if (f->node.place != PLACE_CONTENT || !f->content || !f->unsaved)
		return 0;
	if (file_is_in_place(f) && !file_is(&f->unlisted)) {
		r = ask_safe(f);
		from = f->safe < f->node.size ? f->safe : f->node.size;
	}
	return r ? r : checksum_add_list(f->exposed ? NULL : f->sums, from, f->node.size, &source, &f->checks);
}

/* Something that the writer was told is written is not. What is there ends before that, and is kept up to there. */
static void cut(struct file *f, int error)
{
	struct store_content *left;
	uint64_t length;

	file_becomes(&f->failed, true);
	f->error = error;
	if (store_content_open(f->fs->store, f->content->number, &left))
		return;
	if (store_content_size(left, &length)) {
		store_content_close(left, false);
		return;
	}
	if (length > f->node.size)
		length = f->node.size;
	store_content_close(f->content, false);
	f->content = left;
	f->trimmed = false;
	checksum_free(f->sums);
	f->sums = NULL;
	if (!file_is(&f->unlinked))
		file_count(f, (int64_t)length - (int64_t)f->node.size);
	f->node.size = length;
}

int file_drain(struct file *f)
{
	uint64_t size;
	/* This waits for all that is written behind. */
	int r = f->content && f->unsaved ? store_content_size(f->content, &size) : 0;

	if (r)
		cut(f, r);
	r = 0;
	if (f->content && f->unsaved && file_is(&f->unlisted) && file_is(&f->promised))
		r = store_content_sync(f->content);
	f->checks_error = sum_up(f);
	/* A commit without these bytes would take along what was fsynced before. */
	if (r < 0) {
		buf_clear(&f->checks);
		f->checks_error = r;
	}
	return f->error;
}

void file_settled(struct file *f)
{
	f->b->new_files -= f->pending && !f->version;
	f->pending = false;
	/* What a version will add to the bucket is counted until it is published. */
	if (!f->version)
		file_count_none(f);
	if (f->unsaved && f->node.place == PLACE_CONTENT) {
		f->safe = f->node.content != f->stored.content ? 0 : f->safe < f->node.size ? f->safe : f->node.size;
		f->safe_known = true;
	}
	f->unsealed &= f->stored.content == f->node.content;
	f->stored = node_without_names(&f->node);
	f->stored_whole = true;
	f->dirty = f->marked_again = false;
	file_becomes(&f->unsaved, false);
}

/* `state`: what a crash finds, if the file is not published. */
static int commit_locked(struct file *f, enum mark_state state)
{
	struct store_batch batch = {0};
	struct head head = f->b->head;
	struct settle settle = {0};
	bool is_new, marked, taken = false;
	int r = f->pending && !f->version ? tree_name_is_taken(f, &taken) : 0;

	/* Somebody else's came first under its name: this one will replace it. */
	if (taken) {
		file_becomes(&f->version, true);
		f->b->new_files--;
	}
	is_new = f->pending && !f->version;
	if (!r)
		r = settle_load(f->fs, f->b, f->node.number, &settle);
	if (!r)
		r = file_add_content(f, &settle, &batch);
	if (!r)
		settle_write(f->fs, f->b, &settle, &head, &batch);
	if (!r)
		r = tree_put_record(&f->node, &batch);
	if (is_new)
		tree_put_own_name(f->fs, f->b, &f->node, &batch);
	marked = version_add_mark(f, state, &head, &batch);
	if (!f->version) {
		head.files += is_new;
		head.file_bytes += f->node.size - f->stored.size;
	}
	if (!r && is_new)
		r = tree_touch(f->fs, f->b, f->node.parent, &head, &batch);
	if (!r)
		r = bucket_commit(f->fs, f->b, &head, &batch);
	store_batch_release(&batch);
	settle_release(&settle);
	if (r)
		return r;
	f->marked = marked;
	file_settled(f);
	f->stored_whole = state == MARK_CANDIDATE || !f->unlisted;
	file_becomes(&f->candidate, state == MARK_CANDIDATE);
	if (f->unlisted && state == MARK_CANDIDATE)
		f->turn = ++f->b->turns;
	return 0;
}

int file_commit(struct file *f)
{
	int r = 0, lost;

	if (!f->dirty)
		return f->error;
	lost = file_drain(f);
	bucket_lock(f->b);
	if (!f->unlinked)
		r = f->b->dead ? BUCKET_GONE : commit_locked(f, MARK_CANDIDATE);
	bucket_unlock(f->b);
	return r ? r : lost;
}

/* Whether a close or an fsync of an unpublished file needs a commit though nothing was written: the store has it as superseded, or as
 * being written, or may not have it as the last of several. With both locks held. */
static bool must_come_last(struct file *f)
{
	return (f->marked && (f->overtaken > f->turn || !f->candidate)) || (!f->pending && version_has_rival(f));
}

int file_save(struct file *f)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	/* The bytes of a dying writer are kept when it has ended (version_settle). */
	if (!file_is(&f->unlisted) || !f->killed) {
		bucket_lock(f->b);
		f->dirty |= f->unlisted && (!f->candidate || must_come_last(f));
		bucket_unlock(f->b);
		r = file_commit(f);
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* The bytes are kept for the partial that a crash makes of them. With both locks held. */
static int share_locked(struct file *f)
{
	return f->dirty && f->written && !f->killed ? commit_locked(f, MARK_WRITING) : 0;
}

/* A file that is being made, with both locks held. The order of closes decides which of several is the last one, though the kernel
 * may tell of their releases in any order. */
static int close_locked(struct file *f)
{
	int r;

	f->dirty |= must_come_last(f);
	if (f->dirty && !f->killed) {
		r = commit_locked(f, MARK_CANDIDATE);
		if (r)
			return r;
	} else {
		f->turn = ++f->b->turns;
	}
	file_becomes(&f->closed, true);
	return 0;
}

int file_flush(struct file_open *h, enum file_closer closer)
{
	struct file *f = h->file;
	int r = 0, lost;

	pthread_rwlock_wrlock(&f->lock);
	if (!f->dirty && !file_is(&f->unlisted)) {
		pthread_rwlock_unlock(&f->lock);
		return 0;
	}
	__atomic_add_fetch(&f->closes, 1, __ATOMIC_RELAXED);
	lost = file_drain(f);
	bucket_lock(f->b);
	if (f->unlinked) {
		r = 0;
	} else if (f->b->dead) {
		r = f->dirty ? BUCKET_GONE : 0;
	} else if (!f->unlisted) {
		r = f->dirty ? commit_locked(f, MARK_CANDIDATE) : 0;
	} else if (h->writes || f->writers == 0) {
		/* A reader's close says nothing of a file that somebody is writing. */
		/* Who has written nothing leaves nothing half-done. */
		if (h->written || !f->written)
			file_becomes(&f->killed, closer == FILE_CLOSER_DIES);
		r = closer == FILE_CLOSER_SHARES ? share_locked(f) : close_locked(f);
		h->closes += f->written;
		h->closed_last = fs_moment(f->fs);
		if (!h->closed)
			__atomic_store_n(&h->closed, h->closed_last, __ATOMIC_RELAXED);
	}
	bucket_unlock(f->b);
	pthread_rwlock_unlock(&f->lock);
	return r || !h->writes ? r : lost;
}

void file_is_shared(struct file *f, unsigned closes)
{
	pthread_rwlock_wrlock(&f->lock);
	/* If that fails, a crash finds what was closed, as if nobody had asked. */
	if (f->closes == closes && file_is(&f->unlisted) && f->candidate && !version_mark(f)) {
		file_becomes(&f->closed, false);
		/* Half of something is nothing to fall back to. */
		f->stored_whole = false;
	}
	pthread_rwlock_unlock(&f->lock);
}

int file_settle(struct file *f)
{
	uint64_t content;

	/* No commit comes between that does not know of it. */
	pthread_rwlock_wrlock(&f->lock);
	content = f->node.place == PLACE_CONTENT ? f->node.content : 0;
	if (file_is(&f->unlisted))
		file_becomes(&f->promised, true);
	pthread_rwlock_unlock(&f->lock);
	/* Under no lock: the disk takes its time, and others open, read and write meanwhile. */
	return content ? settle_content(f->fs, f->b, f->node.number, content) : 0;
}
