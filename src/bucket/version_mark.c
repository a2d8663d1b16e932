#include "bucket/version_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/tree.h"
#include "util/bytes.h"
#include "util/log.h"

static void put_mark(uint64_t number, uint64_t parent, enum mark_state state, uint64_t turn, uint64_t by, struct store_batch *batch)
{
	struct making_record m = {number, parent, turn, by, (unsigned char)state};
	struct key_buf key = key_making(number);
	unsigned char value[making_len];

	making_encode(&m, value);
	store_batch_put(batch, STORE_NODE, key_slice(&key), slice_of(value, sizeof(value)));
}

void version_put_mark(struct file *f, struct store_batch *batch, enum mark_state state, uint64_t turn)
{
	put_mark(f->node.number, f->node.parent, state, turn, 0, batch);
}

void version_put_overtaken(struct file *f, struct store_batch *batch, uint64_t by)
{
	put_mark(f->node.number, f->node.parent, MARK_OVERTAKEN, f->turn, by, batch);
}

void version_unmark(struct file *f, struct head *head, struct store_batch *batch)
{
	struct key_buf key = key_making(f->node.number);

	store_batch_delete(batch, STORE_NODE, key_slice(&key));
	head->making -= head->making > 0;
}

bool version_has_rival(struct file *f)
{
	struct file *other = NULL;

	if (f->b->making.count <= 1)
		return false;
	while ((other = tree_next_making(f->b, f->node.parent, f->node.name, other)))
		if (other != f && !file_is_overtaken(other))
			return true;
	return false;
}

bool version_add_mark(struct file *f, enum mark_state state, struct head *head, struct store_batch *batch)
{
	/* A new one is published by a crash as it is. Where others will take its name, it must be known who comes last. */
	bool needed = f->version || (f->unlisted && (state == MARK_WRITING || version_has_rival(f)));

	if (needed) {
		version_put_mark(f, batch, state, state == MARK_CANDIDATE ? f->b->turns + 1 : 0);
		head->making += !f->marked;
	} else if (f->marked) {
		version_unmark(f, head, batch);
	}
	return needed;
}

int version_mark(struct file *f)
{
	struct store_batch batch = {0};
	struct head head;
	int r = 0;

	bucket_lock(f->b);
	/* Published meanwhile, or nothing of it is in the store: then a crash leaves nothing half-done. */
	if (f->unlisted && !f->pending && !f->b->dead) {
		head = f->b->head;
		head.making += !f->marked;
		version_put_mark(f, &batch, MARK_WRITING, 0);
		r = bucket_commit(f->fs, f->b, &head, &batch);
		if (!r) {
			f->marked = f->marked_again = true;
			/* Whether anything is written after all or not: the next flush takes this back. */
			f->dirty = true;
		}
	}
	if (!r)
		file_becomes(&f->candidate, false);
	bucket_unlock(f->b);
	store_batch_release(&batch);
	return r;
}

/* ---- after a crash ---- */

struct mark {
	uint64_t number, parent, turn, by;
	unsigned char state;
	struct file *file; /* NULL: its record is gone */
};

static int forget_mark(struct fs *fs, struct bucket *b, uint64_t number)
{
	struct key_buf key = key_making(number);
	struct store_batch batch = {0};
	struct head head = b->head;
	int r;

	head.making -= head.making > 0;
	store_batch_delete(&batch, STORE_NODE, key_slice(&key));
	r = bucket_commit(fs, b, &head, &batch);
	store_batch_release(&batch);
	return r;
}

/* A file object that is as it was before the crash. What cannot be read now may be later: then nothing is settled yet. */
static int load_one(struct fs *fs, struct bucket *b, struct mark *m)
{
	struct found found = {0}, holder = {0};
	struct file *f;
	int has = 0, r = tree_get_record(fs, b, m->parent, m->number, &found);

	if (!r)
		has = tree_find_name(fs, b, m->parent, found.node.name, &holder);
	if (!r && has && has != BUCKET_ABSENT)
		r = has;
	if (!r && found.node.kind != NODE_FILE)
		r = BUCKET_GONE;
	if (!r)
		r = file_new(fs, b, &found.node, FILE_STORED, &f);
	if (!r) {
		f->unlisted = f->marked = true;
		f->version = has == BUCKET_ABSENT || holder.node.number != m->number;
		f->written = f->node.size > 0;
		f->candidate = m->state == MARK_CANDIDATE || m->state == MARK_OVERTAKEN;
		f->turn = m->turn;
		f->overtaken = m->state != MARK_OVERTAKEN ? 0 : m->by > m->turn ? m->by : m->turn + 1;
		f->closed = m->state == MARK_OVERTAKEN;
		bucket_has_turn(b, m->turn);
		bucket_has_turn(b, f->overtaken);
		table_add(&b->making, &f->by_name, slice_hash(f->node.name, f->node.parent));
		m->file = f;
	}
	tree_found_release(&found);
	tree_found_release(&holder);
	return r == BUCKET_GONE ? 0 : r;
}

static int recover_one(struct fs *fs, struct bucket *b, struct mark *m)
{
	int r = m->file ? version_settle_locked(m->file, true) : BUCKET_GONE;

	/* Whatever is wrong with one file, the bucket must open: it stays in the store, without a name. */
	if (r) {
		log_error("bucket %.*s: a file could not be settled: error %d", (int)b->name.len, (const char *)b->name.at, r);
		r = forget_mark(fs, b, m->number);
	}
	log_warning("bucket %.*s: a file that was being written is settled after a crash", (int)b->name.len,
		    (const char *)b->name.at);
	return r;
}

static int compare_marks(const void *a, const void *b)
{
	const struct mark *one = a, *other = b;

	if (one->turn != other->turn)
		return one->turn < other->turn ? -1 : 1;
	return one->number < other->number ? -1 : one->number > other->number;
}

static bool decode_mark(struct mark *m, struct slice key, struct slice value)
{
	struct making_record r;

	if (!making_decode(&r, key, value))
		return false;
	*m = (struct mark){.number = r.number, .parent = r.parent, .turn = r.turn, .by = r.by, .state = r.state};
	return true;
}

/* *has: the node has a record, which is in *m. */
static int get_mark(struct fs *fs, struct bucket *b, uint64_t number, struct mark *m, bool *has)
{
	struct key_buf key = key_making(number);
	struct buf value = {0};
	int r = store_get(fs->store, b->number, STORE_NODE, key_slice(&key), &value);

	*has = !r;
	if (!r && !decode_mark(m, key_slice(&key), buf_slice(&value)))
		r = -EIO;
	buf_release(&value);
	return r == STORE_ABSENT ? 0 : r;
}

int version_was_written(struct fs *fs, struct bucket *b, uint64_t number, bool *was)
{
	struct mark m;
	int r = get_mark(fs, b, number, &m, was);

	*was = !r && *was && m.state == MARK_WRITING;
	return r;
}

int version_unfinish(struct fs *fs, struct bucket *b, uint64_t number, bool *published, struct store_batch *batch)
{
	struct mark m;
	bool has;
	int r = get_mark(fs, b, number, &m, &has);

	*published = !has;
	if (!r && has)
		put_mark(number, m.parent, MARK_WRITING, 0, 0, batch);
	return r;
}

int version_fall_back(struct fs *fs, struct bucket *b, uint64_t number, uint64_t turn, struct store_batch *batch)
{
	struct mark m;
	bool has;
	int r = get_mark(fs, b, number, &m, &has);

	if (!r && has && m.state == MARK_CANDIDATE && turn && turn < m.turn)
		put_mark(number, m.parent, MARK_CANDIDATE, turn, 0, batch);
	return r;
}

static int load_marks(struct fs *fs, struct bucket *b, struct buf *marks)
{
	struct slice key, value, none = slice_of(NULL, 0);
	struct store_cursor *cursor;
	int r = store_cursor_open(fs->store, b->number, STORE_NODE, slice_str("V"), none, &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		struct mark m;

		/* One that makes no sense says nothing of the others. */
		if (!decode_mark(&m, key, value)) {
			bucket_damaged(b, "what is being written of file", key_making_node_of(key), "it says nothing");
			continue;
		}
		r = buf_add(marks, &m, sizeof(m));
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

static int restore_one(struct fs *fs, struct bucket *b, const struct mark *m, const struct node *lost, struct store_batch *batch)
{
	struct found found = {0};
	int r = tree_get_record(fs, b, m->parent, m->number, &found);

	if (!r && slice_equal(found.node.name, lost->name))
		put_mark(m->number, m->parent, MARK_CANDIDATE, m->turn, 0, batch);
	tree_found_release(&found);
	return r == BUCKET_GONE ? 0 : r;
}

int version_restore(struct fs *fs, struct bucket *b, const struct node *lost, uint64_t from, struct store_batch *batch)
{
	struct buf marks = {0};
	int r = from && b->head.making ? load_marks(fs, b, &marks) : 0;
	struct mark *m = (struct mark *)marks.data;

	for (size_t i = 0; !r && i < marks.len / sizeof(*m); i++)
		if (m[i].state == MARK_OVERTAKEN && m[i].parent == lost->parent && m[i].by >= from)
			r = restore_one(fs, b, &m[i], lost, batch);
	buf_release(&marks);
	return r;
}

/* All at first, then one after the other as they were closed: so it goes as if they had been released in that order. */
int version_recover(struct fs *fs, struct bucket *b)
{
	struct buf marks = {0};
	int r = load_marks(fs, b, &marks);
	struct mark *m = (struct mark *)marks.data;
	size_t count = marks.len / sizeof(*m);

	b->refs++;
	if (!r && count)
		qsort(m, count, sizeof(*m), compare_marks);
	for (size_t i = 0; !r && i < count; i++)
		r = load_one(fs, b, &m[i]);
	for (size_t i = 0; !r && i < count; i++)
		r = recover_one(fs, b, &m[i]);
	for (size_t i = 0; i < count; i++)
		if (m[i].file)
			file_put(m[i].file);
	b->refs--;
	buf_release(&marks);
	return r;
}
