/* An open file's way into the store. */
#include "bucket/file.h"

#include "bucket/settle.h"
#include "bucket/tree.h"
#include "bucket/version.h"

/* Whether the stored content has made room for another one, or for none. */
static bool has_moved(const struct file *f)
{
	return f->node.place != f->stored.place || f->node.content != f->stored.content;
}

int file_add_content(struct file *f, struct settle *settle, struct store_batch *batch)
{
	struct key_buf body = key_body(f->node.number);
	bool kept = false;

	if (!f->loaded || !(f->unsaved || has_moved(f)))
		return 0;
	f->node.blocks = (f->node.size + 511) / 512;
	if (f->node.content != f->stored.content && f->node.content) {
		struct node old = f->stored;

		old.number = f->node.number;
		store_batch_adopt(batch, f->node.content);
		/* What was unsettled itself is no fallback, but it has one. */
		if (settle->content)
			store_batch_drop(batch, settle->content);
		kept = settle->content;
		settle_begin(settle, f->node.content);
		if (!kept && f->stored.number)
			kept = settle_fall_back(settle, &old);
	} else if (has_moved(f)) {
		settle_end(settle, batch);
	}
	if (f->node.place == PLACE_INLINE)
		store_batch_put(batch, STORE_BODY, key_slice(&body), buf_slice(&f->bytes));
	else if (f->stored.place == PLACE_INLINE && !kept)
		store_batch_delete(batch, STORE_BODY, key_slice(&body));
	if (f->stored.content && f->node.content != f->stored.content && !kept)
		store_batch_drop(batch, f->stored.content);
	return f->content ? store_content_blocks(f->content, &f->node.blocks) : 0;
}

/* How much of a content is there, of so many bytes at most. */
static uint64_t length_of(struct store_content *c, uint64_t most)
{
	uint64_t low = 0, high = most;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		size_t got = 0;
		char byte;

		if (store_content_read(c, middle, &byte, 1, &got) || !got)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
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
	length = length_of(left, f->node.size);
	store_content_close(f->content, false);
	f->content = left;
	f->trimmed = false;
	if (!file_is(&f->unlinked))
		file_count(f, (int64_t)length - (int64_t)f->node.size);
	f->node.size = length;
}

int file_drain(struct file *f)
{
	uint64_t blocks;
	int r = f->content && f->unsaved ? store_content_blocks(f->content, &blocks) : 0;

	if (r)
		cut(f, r);
	return f->error;
}

void file_settled(struct file *f)
{
	f->b->new_files -= f->pending && !f->version;
	f->pending = false;
	/* What a version will add to the bucket is counted until it is published. */
	if (!f->version)
		file_count_none(f);
	f->stored = f->node;
	f->dirty = f->unsaved = false;
}

static int commit_locked(struct file *f)
{
	struct store_batch batch = {0};
	struct head head = f->b->head;
	struct settle settle;
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
	marked = version_add_mark(f, &head, &batch);
	if (!f->version) {
		head.files += is_new;
		head.file_bytes += f->node.size - f->stored.size;
	}
	if (!r && is_new)
		r = tree_touch(f->fs, f->b, f->node.parent, &head, &batch);
	if (!r)
		r = bucket_commit(f->fs, f->b, &head, &batch);
	store_batch_release(&batch);
	if (r)
		return r;
	f->marked = marked;
	file_settled(f);
	file_becomes(&f->candidate, true);
	if (f->unlisted)
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
		r = f->b->dead ? BUCKET_GONE : commit_locked(f);
	bucket_unlock(f->b);
	return r ? r : lost;
}

int file_save(struct file *f)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	/* A version that nothing was written to changes nothing yet, and what a dying writer leaves is kept at its end. */
	if (!file_is(&f->unlisted) || !(f->killed || (file_is(&f->version) && !f->written)))
		r = file_commit(f);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* A file that is being made, with both locks held. Whoever closes later comes later, whatever becomes known first of who has
 * closed for good. */
static int close_locked(struct file *f)
{
	int r;

	/* The store has it as overtaken, or may not have it as the last. */
	f->dirty |= (f->marked && f->overtaken > f->turn) || (!f->pending && version_has_rival(f));
	if (f->dirty && !f->killed && !(f->version && !f->written)) {
		r = commit_locked(f);
		if (r)
			return r;
	} else {
		f->turn = ++f->b->turns;
	}
	file_becomes(&f->closed, true);
	return 0;
}

int file_flush(struct file_open *h, bool killed)
{
	struct file *f = h->file;
	int r = 0, lost;

	pthread_rwlock_wrlock(&f->lock);
	if (!f->dirty && !file_is(&f->unlisted)) {
		pthread_rwlock_unlock(&f->lock);
		return 0;
	}
	lost = file_drain(f);
	bucket_lock(f->b);
	if (f->unlinked) {
		r = 0;
	} else if (f->b->dead) {
		r = f->dirty ? BUCKET_GONE : 0;
	} else if (!f->unlisted) {
		r = f->dirty ? commit_locked(f) : 0;
	} else if (h->writes || f->writers == 0) {
		/* A reader's close says nothing of a file that somebody is writing. */
		/* Who has written nothing leaves nothing half-done. */
		if (h->written || !f->written)
			file_becomes(&f->killed, killed);
		r = close_locked(f);
		h->closes += f->written;
		h->closed_last = fs_moment(f->fs);
		if (!h->closed)
			__atomic_store_n(&h->closed, h->closed_last, __ATOMIC_RELAXED);
	}
	bucket_unlock(f->b);
	pthread_rwlock_unlock(&f->lock);
	return r || !h->writes ? r : lost;
}

int file_sync(struct file *f)
{
	uint64_t content;
	int r = file_save(f);

	if (r)
		return r;
	/* Under no lock: the disk takes its time, and who opens, reads and writes meanwhile must not wait for it. */
	content = file_content_now(f);
	return content ? settle_content(f->fs, f->b, f->node.number, content) : 0;
}
