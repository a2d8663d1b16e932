#include "bucket/version_internal.h"

#include <stdio.h>

#include <errno.h>

#include "bucket/attribute.h"
#include "bucket/redirect.h"
#include "bucket/settle.h"
#include "bucket/tree.h"
#include "util/log.h"

/* How long the answer to a readdir may be on its way. */
enum { listing_lifetime = 1000000000 };

/* ---- swapping ---- */

static int move_body(struct fs *fs, struct bucket *b, uint64_t from, uint64_t to, struct store_batch *batch)
{
	struct key_buf old = key_body(from), new = key_body(to);
	struct buf bytes = {0};
	int r = store_get(fs->store, b->number, STORE_BODY, key_slice(&old), &bytes);

	if (!r) {
		store_batch_put(batch, STORE_BODY, key_slice(&new), buf_slice(&bytes));
		store_batch_delete(batch, STORE_BODY, key_slice(&old));
	}
	buf_release(&bytes);
	return r == STORE_ABSENT ? -EIO : r;
}

/* What is unsettled of the old content goes with it. */
static int move_settle(struct file *f, uint64_t to, struct head *head, struct store_batch *batch)
{
	struct settle from, moved;
	int r = settle_load(f->fs, f->b, f->node.number, &from);

	if (r || !from.content) {
		settle_release(&from);
		return r;
	}
	moved = from;
	moved.fresh = true;
	moved.number = to;
	moved.stored = false;
	moved.changed = true;
	if (from.falls_back && from.fallback.place == PLACE_INLINE && from.fallback.number == f->node.number) {
		r = move_body(f->fs, f->b, f->node.number, to, batch);
		moved.fallback.number = to;
	}
	settle_write(f->fs, f->b, &moved, head, batch);
	from.falls_back = false;
	settle_end(&from, batch);
	settle_write(f->fs, f->b, &from, head, batch);
	/* Both have the same checksums. */
	settle_release(&moved);
	return r;
}

static int swap_locked(struct file *f)
{
	struct bucket *b = f->b;
	struct store_batch batch = {0};
	struct head head;
	struct node old = f->stored;
	struct key_buf child;
	int r = 0;

	old.number = b->head.next_node++;
	old.parent = f->node.parent;
	old.name = f->node.name;
	old.given = f->node.given;
	old.job = f->node.job;
	head = b->head;
	child = key_child(f->node.parent, f->node.number);
	store_batch_delete(&batch, STORE_NODE, key_slice(&child));
	if (old.place == PLACE_INLINE)
		r = move_body(f->fs, b, f->node.number, old.number, &batch);
	if (!r && old.has_attributes)
		r = attribute_copy_all(f->fs, b, f->node.number, b, old.number, &head, &batch);
	if (!r)
		r = tree_put_record(&old, &batch);
	tree_put_name(f->fs, b, &old, &batch);
	if (!r)
		r = move_settle(f, old.number, &head, &batch);
	if (!r)
		r = bucket_commit(f->fs, b, &head, &batch);
	store_batch_release(&batch);
	if (r)
		return r;
	f->pending = f->dirty = true;
	file_becomes(&f->unsaved, true);
	f->marked = f->respelled = false;
	f->turn = f->overtaken = 0;
	f->settling = 0;
	for (struct file_open *h = f->handles; h; h = h->next) {
		h->closes = 0;
		h->held = false;
		__atomic_store_n(&h->closed, 0, __ATOMIC_RELAXED);
	}
	file_becomes(&f->failed, false);
	file_becomes(&f->killed, false);
	file_becomes(&f->written, false);
	file_becomes(&f->version, true);
	file_becomes(&f->unlisted, true);
	f->spelled = true;
	table_add(&b->making, &f->by_name, slice_hash(f->node.name, f->node.parent));
	bucket_name_lost(f->fs, f->b, f->node.parent, f->node.name);
	return 0;
}

/* ---- ending ---- */

void version_demote(struct file *f, struct head *head, struct store_batch *batch)
{
	head->making += !f->marked;
	version_put_mark(f, batch, file_is(&f->candidate) ? MARK_CANDIDATE : MARK_WRITING, f->turn);
	head->files--;
	head->file_bytes -= f->stored.size;
}

void version_demoted(struct file *f)
{
	file_becomes(&f->version, true);
	f->marked = true;
	file_count(f, (int64_t)f->stored.size);
}

/* A content that a file in the making had closed before this turn is older than the one that has the name since then: no fallback. */
static void supersede_fallback(struct file *f, uint64_t turn, struct store_batch *batch)
{
	struct head head = f->b->head;
	struct settle s;
	int r = settle_load(f->fs, f->b, f->node.number, &s);

	if (!r && s.turn && s.turn < turn)
		settle_drop_fallback(&s, batch);
	if (!r)
		settle_write(f->fs, f->b, &s, &head, batch);
	batch->error = batch->error ? batch->error : r;
	settle_release(&s);
}

void version_overtake(struct bucket *b, const struct overtaking *o, struct store_batch *batch)
{
	struct file *f = NULL;

	while ((f = tree_next_making(b, o->parent, o->name, f))) {
		if (batch && f != o->by && f->turn > o->turn)
			supersede_fallback(f, o->turn, batch);
		/* The earliest that overtakes it counts. */
		if (f == o->by || !f->turn || f->turn > o->turn || (f->overtaken > f->turn && f->overtaken <= o->turn))
			continue;
		if (!batch)
			f->overtaken = o->turn;
		else if ((f->marked || f == o->demoted) && file_is(&f->candidate))
			version_put_overtaken(f, batch, o->turn);
	}
}

/* What has the final name goes. One that is being made only loses the name: it will take it back when it is closed. */
static int replace_holder(struct file *f, struct slice name, bool whole, struct settle *settle, struct head *head,
			  struct store_batch *batch, struct file **replaced, struct file **demoted)
{
	struct file *open;
	struct found found = {0};
	int r = tree_find_name(f->fs, f->b, f->node.parent, name, &found);

	if (r == BUCKET_ABSENT || (!r && found.pending)) {
		/* Another one that is being made keeps its chance to replace this one in turn. */
		tree_found_release(&found);
		return 0;
	}
	if (!r && found.node.kind == NODE_FOLDER) {
		r = BUCKET_IS_FOLDER;
	} else if (!r && found.node.number != f->node.number &&
		   (open = file_peek(f->fs, inode_of(f->b->number, found.node.number))) && open->unlisted) {
		version_demote(open, head, batch);
		*demoted = open;
	} else if (!r && found.node.number != f->node.number) {
		if (whole && f->version && found.node.has_attributes) {
			r = attribute_copy_all(f->fs, f->b, found.node.number, f->b, f->node.number, head, batch);
			f->node.has_attributes = f->dirty = true;
		}
		if (!r)
			r = tree_delete_node(f->fs, f->b, &found.node, settle, head, batch, replaced);
	}
	tree_found_release(&found);
	return r;
}

/* The one commit that ends the making of a file, under its own name or the partial's. With both locks held. */
static int settle_as(struct file *f, struct slice name, bool whole)
{
	struct store_batch batch = {0};
	struct head head = f->b->head;
	struct node final = f->node;
	bool in_head = !f->version && !f->pending;
	struct file *replaced = NULL;
	uint64_t parent = f->node.parent;
	struct overtaking over = {parent, name, f, NULL, f->turn};
	char old_name[name_max];
	struct slice old = slice_of(old_name, f->node.name.len);
	struct settle settle = {0};
	int r = settle_load(f->fs, f->b, f->node.number, &settle);

	memcpy(old_name, f->name, old.len);
	if (!r)
		r = file_add_content(f, &settle, &batch);
	settle_takes_name(&settle, f->turn);
	if (in_head && !whole) {
		struct key_buf key = key_name(parent, old);

		store_batch_delete(&batch, STORE_NODE, key_slice(&key));
	}
	if (!r)
		r = replace_holder(f, name, whole, &settle, &head, &batch, &replaced, &over.demoted);
	if (!r)
		settle_write(f->fs, f->b, &settle, &head, &batch);
	final = f->node;
	final.name = name;
	if (!whole)
		final.given = slice_of(NULL, 0);
	/* A candidate's record is there already. */
	if (!r && (f->dirty || f->respelled || !whole))
		r = tree_put_record(&final, &batch);
	tree_put_name(f->fs, f->b, &final, &batch);
	if (f->marked)
		version_unmark(f, &head, &batch);
	version_overtake(f->b, &over, &batch);
	head.files += !in_head;
	head.file_bytes += f->node.size - (in_head ? f->stored.size : 0);
	if (!r)
		r = tree_touch(f->fs, f->b, parent, &head, &batch);
	if (!r)
		r = bucket_commit(f->fs, f->b, &head, &batch);
	store_batch_release(&batch);
	settle_release(&settle);
	if (r)
		return r;
	if (replaced)
		file_unlinked(replaced);
	if (over.demoted)
		version_demoted(over.demoted);
	version_overtake(f->b, &over, NULL);
	__atomic_store_n(&f->b->published, fs_moment(f->fs), __ATOMIC_RELAXED);
	/* A listing that was made before the version was begun may reach the kernel after all this. */
	if (f->version && __atomic_load_n(&f->b->listed, __ATOMIC_RELAXED) > f->begun - listing_lifetime)
		f->spelled = true;
	table_remove(&f->b->making, &f->by_name);
	f->b->new_files -= f->pending && !f->version;
	/* Who opens it looks at `unlisted` without the lock: once that says no, all that follows from it must be there. */
	if (!whole) {
		redirect_note_lost(f->fs, f->inode, redirect_name(f->b, parent, old));
		tree_move_open(f, &final);
	}
	file_becomes(&f->version, false);
	file_becomes(&f->unlisted, false);
	f->pending = f->marked = f->respelled = false;
	file_settled(f);
	if (f->spelled || !whole)
		bucket_name_lost(f->fs, f->b, parent, old);
	return 0;
}

/* Published as it stands: a new file that the store has whole needs nothing but to be listed. */
static int publish_locked(struct file *f)
{
	if (!f->unlisted || f->unlinked || f->b->dead)
		return 0;
	if (f->version || f->pending || f->dirty || f->marked || version_has_rival(f))
		return settle_as(f, f->node.name, true);
	table_remove(&f->b->making, &f->by_name);
	file_becomes(&f->unlisted, false);
	return 0;
}

int version_swap(struct file *f, struct reason *why)
{
	bool swapped = false;
	int r;

	bucket_lock(f->b);
	r = publish_locked(f);
	if (!r)
		swapped = !f->unlisted && !f->unlinked && !f->b->dead;
	if (swapped)
		r = swap_locked(f);
	bucket_unlock(f->b);
	/* A folder has the name by now, so that there is nothing to replace. */
	if (r > 0)
		return 0;
	/* What has no length may still have a place, which has gone with the old content. */
	if (!r)
		r = file_clear_locked(f, why);
	if (!r && swapped)
		f->stored = (struct node){0};
	return r;
}

static const struct slice partial_end = {".partial", 8};

bool version_is_partial(struct slice name)
{
	const char *at = name.at;

	return name.len > partial_end.len && *at == '.' &&
	       memcmp(at + name.len - partial_end.len, partial_end.at, partial_end.len) == 0;
}

size_t version_partial_name(struct slice name, char partial[name_max])
{
	size_t most = name_max - 1 - partial_end.len, len = name.len < most ? name.len : most;

	if (version_is_partial(name)) {
		memcpy(partial, name.at, name.len);
		return name.len;
	}
	partial[0] = '.';
	memcpy(partial + 1, name.at, len);
	memcpy(partial + 1 + len, partial_end.at, partial_end.len);
	return 1 + len + partial_end.len;
}

/* `.NAME.2.partial`. */
static size_t numbered_partial(struct slice of, char number, char name[name_max])
{
	char with[name_max];
	size_t most = name_max - 3 - partial_end.len, len = of.len < most ? of.len : most;

	if (len)
		memcpy(with, of.at, len);
	with[len] = '.';
	with[len + 1] = number;
	return version_partial_name(slice_of(with, len + 2), name);
}

/* `reason`: what keeps it from having its name. */
static int make_partial(struct file *f, const char *reason)
{
	char name[name_max], old[name_max], path[320];
	size_t len = version_partial_name(f->node.name, name), old_len = f->node.name.len;
	struct caller writer = {.uid = f->node.uid};
	struct reason why;
	int r;

	memcpy(old, f->name, old_len);
	r = settle_as(f, slice_of(name, len), false);
	/* A folder may have that name as well. */
	for (char i = '2'; r == BUCKET_IS_FOLDER && i <= '9'; i++) {
		len = numbered_partial(slice_of(old, old_len), i, name);
		r = settle_as(f, slice_of(name, len), false);
	}
	if (r)
		return r;
	reason_set_own(&why, "%.*s: %s: it is kept as %.*s", (int)old_len, old, reason, (int)len, name);
	log_limited(f->node.uid, LOG_LEVEL_WARNING, "bucket %.*s: %s", (int)f->b->name.len, (const char *)f->b->name.at,
		    why.text);
	snprintf(path, sizeof(path), "%.*s/files/%.*s", (int)f->b->name.len, (const char *)f->b->name.at, (int)old_len, old);
	/* Of a failed write its writer was told. */
	if (!f->failed)
		fs_refused(f->fs, f->b->number, &writer, path, "0", &why);
	return 0;
}

/* A version that the store has, and no name. `heir`: what has the name by now, and falls back to this one. */
static int drop_version(struct file *f, const struct node *holder, struct node *stored, struct head *head, struct store_batch *batch)
{
	struct file *open = NULL;
	struct settle own = {0}, heir = {0};
	struct overtaking over = {f->node.parent, f->node.name, f, NULL, f->turn};
	bool preferred, safe;
	int r = settle_load(f->fs, f->b, stored->number, &own);

	if (!r && holder)
		r = settle_load(f->fs, f->b, holder->number, &heir);
	/* What was closed for good, and is on the disk, is not lost with what was closed after it. Nor is what this falls back to. */
	safe = !own.content || own.safe || own.falls_back;
	preferred = !r && f->candidate && safe && settle_prefers(&heir, f->overtaken, batch);
	if (!r)
		r = tree_delete_node(f->fs, f->b, stored, preferred ? &heir : NULL, head, batch, &open);
	if (!r && preferred) {
		/* A content that was closed before the new fallback is older than that, as if it had had the name. */
		if (own.content && !own.safe)
			over.turn = own.turn;
		version_overtake(f->b, &over, batch);
		version_overtake(f->b, &over, NULL);
		settle_takes_name(&heir, f->overtaken);
		settle_write(f->fs, f->b, &heir, head, batch);
	}
	/* The name is not this one's. */
	if (!r && holder && !preferred)
		tree_put_own_name(f->fs, f->b, holder, batch);
	settle_release(&own);
	settle_release(&heir);
	return r;
}

static int drop_stored(struct file *f, struct head *head, struct store_batch *batch)
{
	struct node stored = f->stored;
	struct found holder = {0};
	struct file *open = NULL;
	int r;

	stored.name = f->node.name;
	stored.parent = f->node.parent;
	stored.has_attributes |= f->node.has_attributes;
	if (!f->version)
		return tree_delete_node(f->fs, f->b, &stored, NULL, head, batch, &open);
	r = tree_find_name(f->fs, f->b, stored.parent, stored.name, &holder);
	if (!r || r == BUCKET_ABSENT)
		r = drop_version(f, !r && !holder.pending ? &holder.node : NULL, &stored, head, batch);
	/* Neither was it counted. */
	head->files = f->b->head.files;
	head->file_bytes = f->b->head.file_bytes;
	tree_found_release(&holder);
	return r;
}

int version_drop(struct file *f)
{
	struct bucket *b = f->b;
	struct store_batch batch = {0};
	struct head head = b->head;
	struct buf bag = {0};
	int r = 0;

	if (f->pending && f->node.has_attributes)
		r = attribute_delete_all(f->fs, b, f->node.number, &bag, &head, &batch);
	if (!r && f->pending)
		attribute_keep(f, &bag);
	if (!r && !f->pending)
		r = drop_stored(f, &head, &batch);
	if (!r && (!f->pending || f->node.has_attributes))
		r = bucket_commit(f->fs, b, &head, &batch);
	store_batch_release(&batch);
	buf_release(&bag);
	if (!r) {
		bucket_name_lost(f->fs, f->b, f->node.parent, f->node.name);
		file_unlinked(f);
	}
	return r;
}

/* With both locks held. */
int version_settle_locked(struct file *f, bool abandon)
{
	bool whole = !f->failed && !f->killed && !(abandon && !f->candidate);

	if (!f->unlisted || f->unlinked || f->b->dead)
		return 0;
	if (whole && file_is_overtaken(f))
		return version_drop(f);
	if (whole) {
		int r = publish_locked(f);

		/* A folder has the name by now. */
		if (r <= 0)
			return r;
	}
	if (!f->written)
		return version_drop(f);
	if (whole)
		return make_partial(f, "a folder has its name by now");
	return make_partial(f, f->failed ? "a write to it failed" : "its writer did not finish");
}

int version_settle(struct file *f, bool abandon)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	file_drain(f);
	bucket_lock(f->b);
	/* Somebody may have published it meanwhile, and somebody begun it anew: then it is theirs to end. */
	if (f->settling)
		r = version_settle_locked(f, abandon);
	/* At once, for a fault of a moment: until then nobody finds the new version. */
	if (r < 0)
		r = version_settle_locked(f, abandon);
	f->abandoned = abandon;
	/* Nobody waits for what will not come. */
	if (r || f->unlisted)
		f->settling = 0;
	bucket_unlock(f->b);
	pthread_rwlock_unlock(&f->lock);
	if (r)
		log_error("bucket %.*s: %.*s could not be published (error %d): this is tried again", (int)f->b->name.len,
			  (const char *)f->b->name.at, (int)f->node.name.len, f->name, r);
	return r;
}

int version_settle_again(struct file *f)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	file_drain(f);
	bucket_lock(f->b);
	if (f->writers == 0)
		r = version_settle_locked(f, f->abandoned);
	/* Its writer was told of the failure. Nobody could remove it to make room, for it has no name. */
	if (r == -ENOSPC && f->failed)
		r = version_drop(f);
	bucket_unlock(f->b);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int version_publish(struct file *f)
{
	int r;

	pthread_rwlock_wrlock(&f->lock);
	r = file_drain(f);
	if (!r) {
		bucket_lock(f->b);
		r = publish_locked(f);
		bucket_unlock(f->b);
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}
