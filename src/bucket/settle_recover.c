#include "bucket/settle_internal.h"

#include <errno.h>

#include "bucket/tree.h"
#include "bucket/version.h"
#include "util/log.h"

/* How far the content is what was committed, from a byte on, and how long it is. */
static int judge(struct fs *fs, const struct settle *s, const struct node *n, uint64_t from, bool *whole, uint64_t *good, uint64_t *length)
{
	struct store_content *content;
	uint64_t size = n->size;
	int r = store_content_open(fs->store, n->content, &content);

	*whole = false;
	*good = *length = 0;
	if (r)
		return r == STORE_ABSENT ? 0 : r;
	r = store_content_size(content, length);
	if (!r && s->checks.len)
		r = settle_verify(content, buf_slice(&s->checks), from, &size, whole, good);
	else if (!r)
		*good = *length;
	if (!s->checks.len)
		*whole = *length >= size;
	/* The list and the record are of one commit. */
	if (!r && size != n->size)
		r = -EIO;
	if (*good > *length)
		*good = *length;
	if (*good > n->size)
		*good = n->size;
	store_content_close(content, false);
	return r;
}

/* Whether the bucket's head counts the node: it has its name. */
static int is_counted(struct fs *fs, struct bucket *b, const struct node *n, bool *counted)
{
	struct found found = {0};
	int r = tree_find_name(fs, b, n->parent, n->name, &found);

	*counted = !r && found.node.number == n->number;
	tree_found_release(&found);
	return r == BUCKET_ABSENT ? 0 : r;
}

/* The node has again what it had before. */
static int fall_back(struct fs *fs, struct bucket *b, struct settle *s, struct node *n, bool counted, struct head *head,
		     struct store_batch *batch)
{
	struct key_buf from = key_body(s->fallback.number), to = key_body(n->number);
	uint64_t size = n->size, content = n->content;
	struct buf body = {0};
	int r = 0;

	n->place = s->fallback.place;
	n->size = s->fallback.size;
	n->blocks = s->fallback.blocks;
	n->content = s->fallback.content;
	n->modified = s->fallback.modified;
	n->changed = fs_now(fs);
	if (n->place == PLACE_INLINE && s->fallback.number != n->number) {
		r = store_get(fs->store, b->number, STORE_BODY, key_slice(&from), &body);
		store_batch_put(batch, STORE_BODY, key_slice(&to), buf_slice(&body));
		store_batch_delete(batch, STORE_BODY, key_slice(&from));
	}
	store_batch_drop(batch, content);
	if (!r)
		r = tree_put_record(n, batch);
	if (counted)
		head->file_bytes += n->size - size;
	s->falls_back = false;
	buf_release(&body);
	return r == STORE_ABSENT ? -EIO : r;
}

/* The file ends where what is left of it is good. */
static int cut(struct fs *fs, struct node *n, uint64_t size, bool counted, struct head *head, struct store_batch *batch)
{
	if (counted)
		head->file_bytes -= n->size - size;
	n->size = size;
	n->blocks = (size + 511) / 512;
	n->changed = fs_now(fs);
	/* There may be no file of that content at all. */
	if (!size) {
		store_batch_drop(batch, n->content);
		n->place = PLACE_NONE;
		n->content = 0;
	}
	return tree_put_record(n, batch);
}

static void tell_recovered(const struct bucket *b, const struct node *n, const char *what)
{
	log_warning("bucket %.*s: the power went before %.*s was on the disk: %s", (int)b->name.len, (const char *)b->name.at,
		    (int)n->name.len, (const char *)n->name.at, what);
}

/* The content of a node is not what was committed. */
static int mend(struct fs *fs, struct bucket *b, struct settle *s, struct node *n, uint64_t good, uint64_t length, struct head *head,
		struct store_batch *batch)
{
	bool counted, published;
	int r = is_counted(fs, b, n, &counted);

	/* Where it has no name of its own, it has taken nobody's. */
	if (!r && !s->safe && counted)
		r = version_restore(fs, b, n, s->turn, batch);
	if (r)
		return r;
	if (s->falls_back) {
		tell_recovered(b, n, "it is what it was before");
		r = version_fall_back(fs, b, n->number, s->turn, batch);
		return r ? r : fall_back(fs, b, s, n, counted, head, batch);
	}
	if (s->safe) {
		tell_recovered(b, n, "it ends where it was safe");
		return cut(fs, n, s->safe < length ? s->safe : length, counted, head, batch);
	}
	r = version_unfinish(fs, b, n->number, &published, batch);
	if (r)
		return r;
	tell_recovered(b, n, "what is left of it is its .partial");
	r = cut(fs, n, good, counted, head, batch);
	return r || !published ? r : tree_make_partial(fs, b, n, head, batch);
}

static int recover_one(struct fs *fs, struct bucket *b, struct settle *s)
{
	struct found found = {0};
	struct store_batch batch = {0};
	struct head head = b->head;
	uint64_t good = 0, length = 0;
	bool whole = false;
	int r = tree_find_number(fs, b, s->number, &found);
	struct node *n = &found.node;

	if (!r && (n->place != PLACE_CONTENT || n->content != s->content))
		r = BUCKET_GONE;
	if (!r)
		r = judge(fs, s, n, s->safe, &whole, &good, &length);
	if (!r && !whole)
		r = mend(fs, b, s, n, good, length, &head, &batch);
	/* The rest of the file has no checksums yet. */
	if (!r && n->place == PLACE_CONTENT)
		settle_later(fs, b->number, s->number, n->content);
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

/* Whether nothing has changed the content since it was committed: what is being written is marked, and what is changed in place is settled
 * before. Then it is damaged if it is not what its checksums say. */
static int is_unchanged(struct fs *fs, struct bucket *b, const struct settle *s, const struct node *n, bool *is)
{
	bool written;
	int r = version_was_written(fs, b, s->number, &written);

	*is = !r && !written && s->checks.len && (!s->safe || s->kept) && n->place == PLACE_CONTENT && n->content == s->content;
	return r;
}

/* The process ended and the system did not, or all bytes were on the disk: everything is there. What is damaged gets its checksums all the
 * same, so that every reader is told. */
static int recover_whole(struct fs *fs, struct bucket *b, struct settle *s)
{
	struct found found = {0};
	struct store_batch batch = {0};
	struct head head = b->head;
	uint64_t good, length;
	bool unchanged = false, whole = true, ends = false;
	int r = tree_find_number(fs, b, s->number, &found);

	settle_later(fs, b->number, s->number, s->content);
	if (!r)
		r = is_unchanged(fs, b, s, &found.node, &unchanged);
	if (!r && unchanged)
		r = judge(fs, s, &found.node, 0, &whole, &good, &length);
	/* Nothing is to be kept for a node that is not there any more. */
	ends = r == BUCKET_GONE || (!r && s->kept);
	if (r == BUCKET_GONE)
		r = 0;
	if (!r && !whole)
		log_error("bucket %.*s: %.*s (file number %llu) is damaged: its content is not what was written", (int)b->name.len,
			  (const char *)b->name.at, (int)found.node.name.len, (const char *)found.node.name.at,
			  (unsigned long long)s->number);
	if (unchanged && (ends || !whole))
		store_batch_seal(&batch, s->content, buf_slice(&s->checks));
	if (ends)
		settle_end(s, &batch);
	settle_write(fs, b, s, &head, &batch);
	if (!r && (ends || !whole))
		r = bucket_commit(fs, b, &head, &batch);
	store_batch_release(&batch);
	tree_found_release(&found);
	return r;
}

int settle_recover(struct fs *fs, struct bucket *b)
{
	struct settle s = {0};
	uint64_t after = 0;
	int r;

	/* A damaged record has a number, and is passed over; where the store itself cannot be read, there is no next one. */
	while (!(r = settle_next(fs, b, after, &s)) || (r == -EIO && s.number > after)) {
		after = s.number;
		bucket_has_turn(b, s.turn);
		if (!r && (memcmp(s.boot, fs->options.boot, sizeof(s.boot)) == 0 || s.kept))
			r = recover_whole(fs, b, &s);
		else if (!r)
			r = recover_one(fs, b, &s);
		if (r == -ENOMEM)
			break;
		/* Whatever is wrong with one file, the bucket must open: this is tried again at the next start. */
		if (r)
			log_error("bucket %.*s: file number %llu could not be settled after a crash: error %d", (int)b->name.len,
				  (const char *)b->name.at, (unsigned long long)s.number, r);
	}
	settle_release(&s);
	return r == STORE_END ? 0 : r;
}
