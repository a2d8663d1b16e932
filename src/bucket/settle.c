#include "bucket/settle.h"

#include <errno.h>

#include "bucket/tree.h"
#include "util/bytes.h"
#include "util/log.h"

/* ---- records ---- */

static int encode(const struct fs *fs, const struct settle *s, struct buf *out)
{
	const struct node *f = &s->fallback;
	int r = buf_add(out, fs->options.boot, sizeof(fs->options.boot));

	if (!r)
		r = bytes_add_64(out, s->content);
	if (!r)
		r = buf_add_byte(out, s->falls_back);
	if (!r && s->falls_back) {
		r = buf_add_byte(out, f->place);
		for (int i = 0; !r && i < 5; i++)
			r = bytes_add_64(out, (const uint64_t[]){f->number, f->size, f->blocks, f->content, (uint64_t)f->modified}[i]);
	}
	return r;
}

static bool decode(struct settle *s, struct slice record, struct slice *boot)
{
	struct bytes_reader r = bytes_reader_of(record);
	struct node *f = &s->fallback;

	*boot = bytes_read(&r, boot_size);
	s->content = bytes_read_64(&r);
	s->falls_back = bytes_read_8(&r);
	if (s->falls_back) {
		f->place = bytes_read_8(&r);
		f->number = bytes_read_64(&r);
		f->size = bytes_read_64(&r);
		f->blocks = bytes_read_64(&r);
		f->content = bytes_read_64(&r);
		f->modified = (int64_t)bytes_read_64(&r);
	}
	s->stored = true;
	return !r.bad && r.left == 0;
}

int settle_load(struct fs *fs, struct bucket *b, uint64_t number, struct settle *s)
{
	struct key_buf key = key_unsettled(number);
	struct buf record = {0};
	struct slice boot;
	int r;

	*s = (struct settle){.number = number};
	if (!b->head.unsettled)
		return 0;
	r = store_get(fs->store, b->number, STORE_NODE, key_slice(&key), &record);
	if (!r && !decode(s, buf_slice(&record), &boot))
		r = -EIO;
	buf_release(&record);
	return r == STORE_ABSENT ? 0 : r;
}

void settle_begin(struct settle *s, uint64_t content)
{
	s->content = content;
	s->changed = true;
}

bool settle_fall_back(struct settle *s, const struct node *old)
{
	if (!s->content || s->falls_back)
		return false;
	s->falls_back = s->changed = true;
	s->fallback = *old;
	return true;
}

static void drop_fallback(struct settle *s, struct store_batch *batch)
{
	struct key_buf body = key_body(s->fallback.number);

	if (s->falls_back && s->fallback.place == PLACE_CONTENT)
		store_batch_drop(batch, s->fallback.content);
	else if (s->falls_back && s->fallback.place == PLACE_INLINE)
		store_batch_delete(batch, STORE_BODY, key_slice(&body));
	s->falls_back = false;
}

void settle_end(struct settle *s, struct store_batch *batch)
{
	drop_fallback(s, batch);
	s->content = 0;
	s->changed = true;
}

/* If there is no memory for it, a loss of power in this moment may cost the file; it will be settled when the bucket is
 * loaded next. */
static void expect(struct fs *fs, uint32_t bucket, const struct settle *s)
{
	struct unsettled u = {bucket, s->number, s->content, fs_moment(fs)};

	pthread_mutex_lock(&fs->lock);
	buf_add(&fs->unsettled, &u, sizeof(u));
	pthread_mutex_unlock(&fs->lock);
}

void settle_write(struct fs *fs, struct bucket *b, struct settle *s, struct head *head, struct store_batch *batch)
{
	struct key_buf key = key_unsettled(s->number);
	struct buf record = {0};

	if (!s->changed)
		return;
	if (s->content) {
		batch->error = batch->error ? batch->error : encode(fs, s, &record);
		store_batch_put(batch, STORE_NODE, key_slice(&key), buf_slice(&record));
		head->unsettled += !s->stored;
		expect(fs, b->number, s);
	} else if (s->stored) {
		store_batch_delete(batch, STORE_NODE, key_slice(&key));
		head->unsettled--;
	}
	buf_release(&record);
}

/* ---- settling ---- */

/* The content is on the disk. With b->lock held. */
static int settle_now(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content)
{
	struct store_batch batch = {0};
	struct head head = b->head;
	struct settle s;
	int r = b->dead ? 0 : settle_load(fs, b, number, &s);

	if (!r && !b->dead && s.content == content && content) {
		settle_end(&s, &batch);
		settle_write(fs, b, &s, &head, &batch);
		r = bucket_commit(fs, b, &head, &batch);
	}
	store_batch_release(&batch);
	return r;
}

static int sync_content(struct fs *fs, uint64_t number)
{
	struct store_content *content;
	int r = store_content_open(fs->store, number, &content);

	if (r)
		return r == STORE_ABSENT ? 0 : r;
	r = store_content_sync(content);
	store_content_close(content, false);
	return r;
}

int settle_content(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content)
{
	/* Not under the lock: the disk takes its time. */
	int r = sync_content(fs, content);

	if (r)
		return r;
	bucket_lock(b);
	r = settle_now(fs, b, number, content);
	bucket_unlock(b);
	return r;
}

/* Takes those that have waited long enough; the rest stays. */
static void take_due(struct fs *fs, int64_t before, struct buf *due)
{
	struct unsettled u;
	size_t len = 0;

	pthread_mutex_lock(&fs->lock);
	for (; len < fs->unsettled.len; len += sizeof(u)) {
		memcpy(&u, fs->unsettled.data + len, sizeof(u));
		if (u.since > before)
			break;
	}
	if (len && buf_add(due, fs->unsettled.data, len) == 0) {
		fs->unsettled.len -= len;
		memmove(fs->unsettled.data, fs->unsettled.data + len, fs->unsettled.len);
	}
	pthread_mutex_unlock(&fs->lock);
}

void settle_due(struct fs *fs, int64_t before)
{
	struct buf due = {0};
	struct unsettled u;
	struct bucket *b;

	take_due(fs, before, &due);
	for (size_t at = 0; at < due.len; at += sizeof(u)) {
		memcpy(&u, due.data + at, sizeof(u));
		if (bucket_get(fs, u.bucket, &b))
			continue;
		if (settle_content(fs, b, u.number, u.content))
			log_error("bucket %.*s: a file could not be made to survive a loss of power", (int)b->name.len,
				  (const char *)b->name.at);
		bucket_put(fs, b);
	}
	buf_release(&due);
}

/* The first record whose node is greater than `after`. STORE_END. */
static int next_record(struct fs *fs, struct bucket *b, uint64_t after, struct settle *s, bool *this_boot)
{
	struct key_buf from = key_unsettled(after + 1);
	struct store_cursor *cursor;
	struct slice key, value, boot;
	int r = store_cursor_open(fs->store, b->number, STORE_NODE, slice_str("U"), key_slice(&from), &cursor);

	if (r)
		return r;
	r = store_cursor_next(cursor, &key, &value);
	if (!r) {
		*s = (struct settle){.number = key_unsettled_node_of(key)};
		r = decode(s, value, &boot) ? 0 : -EIO;
		*this_boot = !r && memcmp(boot.at, fs->options.boot, sizeof(fs->options.boot)) == 0;
	}
	store_cursor_close(cursor);
	return r;
}

int settle_bucket(struct fs *fs, struct bucket *b)
{
	struct settle s = {0};
	bool this_boot;
	int r;

	while (!(r = next_record(fs, b, s.number, &s, &this_boot))) {
		r = settle_content(fs, b, s.number, s.content);
		if (r)
			return r;
	}
	return r == STORE_END ? 0 : r;
}

int settle_drop_all(struct fs *fs, struct bucket *b, struct store_batch *batch)
{
	struct settle s = {0};
	bool this_boot;
	int r = 0;

	while (b->head.unsettled && !(r = next_record(fs, b, s.number, &s, &this_boot)))
		drop_fallback(&s, batch);
	return r == STORE_END ? 0 : r;
}

/* ---- after a crash ---- */

/* Whether the disk has all of it. */
static int is_whole(struct fs *fs, const struct node *n, bool *whole)
{
	struct store_content *content;
	unsigned char last;
	size_t got = 0;
	int r = store_content_open(fs->store, n->content, &content);

	*whole = false;
	if (r)
		return r == STORE_ABSENT ? 0 : r;
	if (n->size)
		r = store_content_read(content, n->size - 1, &last, 1, &got);
	*whole = !r && (got == 1 || n->size == 0);
	store_content_close(content, false);
	return r;
}

/* The node has again what it had before. */
static int fall_back(struct fs *fs, struct bucket *b, struct settle *s, const struct node *n)
{
	struct key_buf from = key_body(s->fallback.number), to = key_body(n->number);
	struct store_batch batch = {0};
	struct head head = b->head;
	struct node old = *n;
	struct buf body = {0};
	int r = 0;

	old.place = s->fallback.place;
	old.size = s->fallback.size;
	old.blocks = s->fallback.blocks;
	old.content = s->fallback.content;
	old.modified = s->fallback.modified;
	old.changed = fs_now(fs);
	if (old.place == PLACE_INLINE && s->fallback.number != n->number) {
		r = store_get(fs->store, b->number, STORE_BODY, key_slice(&from), &body);
		store_batch_put(&batch, STORE_BODY, key_slice(&to), buf_slice(&body));
		store_batch_delete(&batch, STORE_BODY, key_slice(&from));
	}
	store_batch_drop(&batch, n->content);
	if (!r)
		r = tree_put_record(&old, &batch);
	head.file_bytes += old.size - n->size;
	s->falls_back = false;
	settle_end(s, &batch);
	settle_write(fs, b, s, &head, &batch);
	if (!r)
		r = bucket_commit(fs, b, &head, &batch);
	buf_release(&body);
	store_batch_release(&batch);
	return r == STORE_ABSENT ? -EIO : r;
}

static int recover_one(struct fs *fs, struct bucket *b, struct settle *s)
{
	struct found found = {0};
	struct store_batch batch = {0};
	struct head head = b->head;
	bool whole = false;
	int r = tree_find_number(fs, b, s->number, &found);

	if (!r)
		r = is_whole(fs, &found.node, &whole);
	if (!r && !whole)
		log_warning("bucket %.*s: the power went before %.*s was on the disk: %s", (int)b->name.len,
			    (const char *)b->name.at, (int)found.node.name.len, (const char *)found.node.name.at,
			    s->falls_back ? "it is what it was before" : "what is left of it is its .partial");
	if (!r && !whole && s->falls_back) {
		r = fall_back(fs, b, s, &found.node);
		tree_found_release(&found);
		return r;
	}
	if (!r && !whole)
		r = tree_make_partial(fs, b, &found.node, &head, &batch);
	/* A node that is not there any more needs no fallback. */
	if (r == BUCKET_GONE)
		r = 0;
	settle_end(s, &batch);
	settle_write(fs, b, s, &head, &batch);
	if (!r)
		r = bucket_commit(fs, b, &head, &batch);
	store_batch_release(&batch);
	tree_found_release(&found);
	return r;
}

int settle_recover(struct fs *fs, struct bucket *b)
{
	struct settle s = {0};
	bool this_boot;
	int r;

	while (!(r = next_record(fs, b, s.number, &s, &this_boot))) {
		/* The process ended and the system did not: everything is there, and on its way to the disk. */
		if (this_boot)
			expect(fs, b->number, &s);
		else
			r = recover_one(fs, b, &s);
		if (r == -ENOMEM)
			return r;
		/* Whatever is wrong with one file, the bucket must open: this is tried again at the next start. */
		if (r)
			log_error("bucket %.*s: file number %llu could not be settled after a crash: error %d", (int)b->name.len,
				  (const char *)b->name.at, (unsigned long long)s.number, r);
	}
	return r == STORE_END ? 0 : r;
}
