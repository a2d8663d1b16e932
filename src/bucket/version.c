#include "bucket/version.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/attribute.h"
#include "bucket/redirect.h"
#include "bucket/settle.h"
#include "bucket/tree.h"
#include "util/bytes.h"
#include "util/log.h"

enum { STATE_CANDIDATE = 1, STATE_WRITING = 2, STATE_OVERTAKEN = 3 };
/* State, folder, turn. */
enum { mark_len = 11 };

/* How long the answer to a readdir may be on its way. */
enum { listing_lifetime = 1000000000 };

/* ---- finding ---- */

static const struct slice partial_end = {".partial", 8};

static bool is_partial(struct slice name)
{
	const char *at = name.at;

	return name.len > partial_end.len && *at == '.' &&
	       memcmp(at + name.len - partial_end.len, partial_end.at, partial_end.len) == 0;
}

size_t version_partial_name(struct slice name, char partial[name_max])
{
	size_t most = name_max - 1 - partial_end.len, len = name.len < most ? name.len : most;

	if (is_partial(name)) {
		memcpy(partial, name.at, name.len);
		return name.len;
	}
	partial[0] = '.';
	memcpy(partial + 1, name.at, len);
	memcpy(partial + 1 + len, partial_end.at, partial_end.len);
	return 1 + len + partial_end.len;
}

/* The first version of a name but one. With b->lock held. */
static struct file *find_version(struct bucket *b, uint64_t parent, struct slice name, const struct file *but)
{
	struct file *f = NULL;

	while ((f = tree_next_making(b, parent, name, f)))
		if (f != but && f->version && !file_is_overtaken(f))
			return f;
	return NULL;
}

static bool is_closing(struct fs *fs, const struct file *f, int64_t before)
{
	int64_t at = __atomic_load_n(&f->closing, __ATOMIC_RELAXED);
	bool once = __atomic_load_n(&f->closes, __ATOMIC_RELAXED) == 1;

	return at && at <= before && fs_now(fs) - at < (once ? version_wait : version_wait_shared);
}

/* Of the versions of a name. With b->lock held. */
static bool is_one_closing(struct fs *fs, struct bucket *b, uint64_t parent, struct slice name, int64_t before)
{
	struct file *f = NULL;

	while ((f = tree_next_making(b, parent, name, f)))
		if (f->version && !file_is_overtaken(f) && is_closing(fs, f, before))
			return true;
	return false;
}

struct closing {
	struct fs *fs;
	uint64_t parent;
	int64_t before;
	struct slice partial; /* only what this is the partial of; empty: whatever it is */
};

static bool has_partial(const struct file *f, struct slice partial)
{
	char name[name_max];

	return slice_equal(slice_of(name, version_partial_name(f->node.name, name)), partial);
}

static int closing_in(void *context, struct table_node *node)
{
	const struct closing *c = context;
	const struct file *f = container_of(node, struct file, by_name);

	return f->node.parent == c->parent && !file_is_overtaken(f) && is_closing(c->fs, f, c->before) &&
	       (!c->partial.len || has_partial(f, c->partial));
}

bool version_is_closing(struct fs *fs, struct bucket *b, uint64_t parent, int64_t before)
{
	struct closing c = {fs, parent, before, slice_of(NULL, 0)};

	return b->making.count && table_each(&b->making, closing_in, &c);
}

/* Whether the release of a file may bring this partial. With b->lock held. */
static bool is_partial_closing(struct fs *fs, struct bucket *b, uint64_t parent, struct slice name, int64_t before)
{
	struct closing c = {fs, parent, before, name};

	return is_partial(name) && b->making.count && table_each(&b->making, closing_in, &c);
}

/* Whether a new file has its content and is about to be published: whoever writes to it now makes it one that is not whole
 * again, which others would miss. */
static bool is_new_closing(const struct file *f, int64_t before)
{
	return file_is(&f->unlisted) && !file_is(&f->version) && file_is(&f->written) && is_closing(f->fs, f, before);
}

/* A version goes by the name that its maker gives it. BUCKET_EXISTS if that collides and may not. */
static int take_name(struct fs *fs, struct bucket *b, const struct caller *who, struct file *f, struct slice given)
{
	struct slice kept = slice_equal(given, f->node.name) ? slice_of(NULL, 0) : given;
	int r = file_is(&f->written) ? 0 : tree_collision(fs, b, who, &f->node, given, NULL);

	if (r || slice_equal(given, f->node.name))
		return r;
	memcpy(f->given, kept.at, kept.len);
	f->node.given.len = kept.len;
	f->respelled = true;
	return 0;
}

int version_lookup(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		   struct slice given, int64_t closed, bool *several, struct file **f)
{
	struct file *version = b->making.count ? find_version(b, parent, name, NULL) : NULL;

	*f = redirect_find(fs, b, who->pid, parent, name);
	*several = version || *f;
	if (*f && (*f)->version) {
		/* By its own name the kernel may know the old one, and would not ask. */
		if (!slice_equal(name, given) && !(*f)->spelled) {
			(*f)->spelled = true;
			bucket_name_lost((*f)->fs, b, parent, name);
		}
		/* On failure the caller puts it: not here, for the bucket is locked. */
		return take_name(fs, b, who, *f, given);
	}
	if (*f)
		return 0;
	return (version && is_one_closing(fs, b, parent, name, closed)) || is_partial_closing(fs, b, parent, name, closed) ?
		       BUCKET_WAIT :
		       0;
}

/* ---- beginning ---- */

/* Counted as if it had replaced the old one already: what it replaces makes room for it. */
static void credit(struct file *version, const struct file *old)
{
	int64_t size = (int64_t)old->stored.size;

	if (old->unlisted)
		return;
	version->counted -= size;
	version->b->pending_bytes -= size;
}

/* A version of what `f` is, with its mode, owner and spelling. */
static int make_version(struct file *f, const struct caller *who, struct file **out)
{
	char job[node_job_max];
	size_t job_len = who->job ? who->job(who, job, sizeof(job)) : 0;
	struct bucket *b = f->b;
	struct node old, node;
	int r;

	file_node(f, &old);
	bucket_lock(b);
	if (f->unlinked || b->dead) {
		bucket_unlock(b);
		return BUCKET_GONE;
	}
	node = (struct node){
		.number = b->head.next_node++,
		.parent = f->node.parent,
		.kind = NODE_FILE,
		.exec = old.exec,
		.uid = old.uid,
		.gid = old.gid,
		.accessed = old.accessed,
		.created = old.created,
		.name = f->node.name,
		.given = f->node.given,
		.job = slice_of(job, job_len),
	};
	node.modified = node.changed = fs_now(f->fs);
	r = file_new(f->fs, b, &node, FILE_VERSION, out);
	if (!r)
		credit(*out, f);
	bucket_unlock(b);
	return r;
}

/* What an open that replaces the content gets: NULL for `f` itself. */
static int begin_version(struct file *f, const struct caller *who, unsigned *flags, struct file **out)
{
	struct node node;
	bool written;

	*out = NULL;
	file_node(f, &node);
	written = file_is(&f->written);
	if (!file_is(&f->unlisted) && node.size == 0) {
		/* Most locks look like this. It becomes a version when something is written. */
		*flags = (*flags & ~(unsigned)TREE_TRUNCATE) | TREE_REPLACE;
		return 0;
	}
	/* Nobody has begun to write that one: two who open a new lock must meet. */
	if (file_is(&f->unlisted) && !written)
		return 0;
	return make_version(f, who, out);
}

static struct file *version_to_append(struct file *f)
{
	struct file *version = NULL;

	bucket_lock(f->b);
	if (!f->unlisted && f->b->making.count && !f->unlinked)
		version = find_version(f->b, f->node.parent, f->node.name, f);
	/* One that its maker is still on the way to is nothing yet: who closes it first would publish it with nothing in it. */
	if (version)
		version = version->writers ? file_find(f->fs, version->inode) : NULL;
	bucket_unlock(f->b);
	return version;
}

/* In place, with the old content moved away; what is only being made is truncated. */
static int replace_here(struct file *f, unsigned *flags, struct reason *why)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	if (!file_is(&f->unlisted)) {
		r = version_swap(f, why);
		*flags &= ~(unsigned)TREE_TRUNCATE;
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* Who was redirected has come. Meanwhile it may have been published, and then it is replaced like any other. */
static int join(struct file *f, unsigned *flags, struct reason *why)
{
	struct node node;

	if (file_is(&f->unlisted) || !(*flags & TREE_TRUNCATE))
		return 0;
	file_node(f, &node);
	/* Removed in between: it was opened a moment before, as long as nobody else reads what is in it. */
	if (file_is(&f->unlinked))
		return node.size ? BUCKET_GONE : 0;
	if (node.size)
		return replace_here(f, flags, why);
	*flags = (*flags & ~(unsigned)TREE_TRUNCATE) | TREE_REPLACE;
	return 0;
}

static bool only_writes(unsigned flags)
{
	return flags & TREE_WRITE && !(flags & TREE_READ);
}

/* From this file to another, or to what the next look-up finds. Takes the reference on `to` over. */
static int redirect(struct file *f, const struct caller *who, unsigned wants, struct file *to)
{
	struct redirect new = {.thread = who->pid, .from = f->inode, .wants = wants, .to = to};
	int r;

	bucket_lock(f->b);
	new.names[0] = redirect_name(f->b, f->node.parent, f->node.name);
	bucket_unlock(f->b);
	new.names[1] = redirect_lost_name(f->fs, f->inode);
	r = redirect_add(f->fs, &new);
	return r ? r : BUCKET_REDIRECTED;
}

/* Nobody finds somebody else's version by its name. Who opens one comes too late, or wants something else than whom it was
 * made for, or comes from /proc/self/fd: then looking at the name again does not happen, and at the second time it is theirs. */
static int strayed(struct file *f, const struct caller *who, const struct redirect *redirected, unsigned flags)
{
	if (!file_is(&f->version) || who->pid == 0)
		return 0;
	if (redirected && redirected->wants == flags &&
	    (redirected->to == f || (redirected->from == f->inode && !redirected->to)))
		return 0;
	return redirect(f, who, flags, NULL);
}

/* `redirected`: what this thread was told before, or NULL. */
static int choose(struct file *f, const struct caller *who, const struct redirect *redirected, unsigned *flags,
		  struct reason *why)
{
	unsigned wants = *flags;
	struct file *version = NULL;
	int r = strayed(f, who, redirected, wants);

	if (r || !only_writes(wants) || !(wants & (TREE_TRUNCATE | TREE_APPEND)))
		return r;
	if (redirected && redirected->to == f)
		return join(f, flags, why);
	/* Opened by something else than its name, so that looking again did not help; or not known by its thread. */
	if ((redirected && redirected->from == f->inode) || who->pid == 0)
		return wants & TREE_TRUNCATE && !file_is(&f->version) ? replace_here(f, flags, why) : 0;
	if (wants & TREE_TRUNCATE)
		r = begin_version(f, who, flags, &version);
	else
		version = version_to_append(f);
	return r || !version ? r : redirect(f, who, wants, version);
}

int version_choose(struct file *f, const struct caller *who, unsigned *flags, int64_t closed, struct reason *why)
{
	/* Who gets a version of it needs nothing of it. */
	bool replaces = only_writes(*flags) && *flags & TREE_TRUNCATE && who->pid;
	struct redirect *redirected;
	int r;

	if (*flags & TREE_WRITE && !replaces && is_new_closing(f, closed))
		return BUCKET_WAIT;
	redirected = redirect_take(f->fs, who->pid);
	r = choose(f, who, redirected, flags, why);
	redirect_free(redirected);
	return r;
}

/* ---- who comes too late ----
 *
 * Between a look-up and the open that follows, the file may have been replaced, or moved to another name: the inode is dead,
 * or its version is not what the name finds. The kernel looks again, once. That time nobody may be faster, so what is found
 * is held until it is opened. */

void version_note_lost(struct fs *fs, const struct bucket *b, const struct node *n)
{
	redirect_note_lost(fs, inode_of(b->number, n->number), redirect_name(b, n->parent, n->name));
}

void version_missed(struct fs *fs, const struct caller *who, uint64_t inode, unsigned flags)
{
	struct redirect new = {.thread = who->pid, .from = inode, .wants = flags};

	new.names[0] = redirect_lost_name(fs, inode);
	if (who->pid && new.names[0])
		redirect_add(fs, &new);
}

bool version_has_missed(struct fs *fs, const struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
			unsigned *wants)
{
	return redirect_is(fs, b, who->pid, parent, name, wants);
}

void version_found_nothing(struct fs *fs, const struct caller *who)
{
	redirect_free(redirect_take(fs, who->pid));
}

int version_hold(struct file **f, const struct caller *who, unsigned wants)
{
	struct file *version = NULL;
	int r = 0;

	if (only_writes(wants) && wants & TREE_TRUNCATE)
		r = begin_version(*f, who, &wants, &version);
	else if (only_writes(wants) && wants & TREE_APPEND)
		version = version_to_append(*f);
	if (r || version)
		file_put(*f);
	if (version)
		*f = version;
	if (!r)
		redirect_hold((*f)->fs, who->pid, *f);
	return r;
}

int version_replace(struct file **f, const struct caller *who, struct slice given, unsigned *flags, struct reason *why)
{
	struct file *version = NULL;
	int r = 0;

	if (*flags & TREE_TRUNCATE) {
		bucket_lock((*f)->b);
		r = tree_collision((*f)->fs, (*f)->b, who, &(*f)->node, given, why);
		bucket_unlock((*f)->b);
		if (r) {
			file_put(*f);
			return r;
		}
	}
	if (only_writes(*flags) && *flags & TREE_TRUNCATE)
		r = begin_version(*f, who, flags, &version);
	else if (only_writes(*flags) && *flags & TREE_APPEND)
		version = version_to_append(*f);
	if (r || version)
		file_put(*f);
	if (version)
		*f = version;
	return r;
}

/* ---- in the store ---- */

static void put_mark(struct file *f, struct store_batch *batch, unsigned char state, uint64_t turn)
{
	struct key_buf key = key_making(f->node.number);
	unsigned char value[mark_len] = {state};

	bytes_put_be40(value + 1, f->node.parent);
	bytes_put_be40(value + 6, turn);
	store_batch_put(batch, STORE_NODE, key_slice(&key), slice_of(value, sizeof(value)));
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

bool version_add_mark(struct file *f, struct head *head, struct store_batch *batch)
{
	/* A new one is published by a crash as it is. Where others will take its name, it must be known who comes last. */
	bool needed = f->version || (f->unlisted && version_has_rival(f));

	if (needed) {
		put_mark(f, batch, STATE_CANDIDATE, f->b->turns + 1);
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
		put_mark(f, &batch, STATE_WRITING, 0);
		r = bucket_commit(f->fs, f->b, &head, &batch);
		if (!r) {
			f->marked = true;
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

static int copy_attributes(struct fs *fs, struct bucket *b, uint64_t from, uint64_t to, struct store_batch *batch)
{
	struct key_buf prefix = key_attribute(from, slice_of(NULL, 0));
	struct store_cursor *cursor;
	struct slice key, value;
	int r = store_cursor_open(fs->store, b->number, STORE_META, key_slice(&prefix), key_slice(&prefix), &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		struct key_buf copy = key_attribute(to, slice_of((const char *)key.at + prefix.len, key.len - prefix.len));

		store_batch_put(batch, STORE_META, key_slice(&copy), value);
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

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

	if (r || !from.content)
		return r;
	moved = from;
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
	head = b->head;
	child = key_child(f->node.parent, f->node.number);
	store_batch_delete(&batch, STORE_NODE, key_slice(&child));
	if (old.place == PLACE_INLINE)
		r = move_body(f->fs, b, f->node.number, old.number, &batch);
	if (!r && old.has_attributes)
		r = copy_attributes(f->fs, b, f->node.number, old.number, &batch);
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
	f->pending = f->dirty = f->unsaved = true;
	f->failed = f->killed = f->marked = f->respelled = false;
	f->turn = f->overtaken = 0;
	__atomic_store_n(&f->closes, 0, __ATOMIC_RELAXED);
	file_becomes(&f->written, false);
	file_becomes(&f->version, true);
	file_becomes(&f->unlisted, true);
	f->spelled = true;
	table_add(&b->making, &f->by_name, slice_hash(f->node.name, f->node.parent));
	bucket_name_lost(f->fs, f->b, f->node.parent, f->node.name);
	return 0;
}

int version_swap(struct file *f, struct reason *why)
{
	bool swapped;
	int r = 0;

	bucket_lock(f->b);
	swapped = !f->unlisted && !f->unlinked && !f->b->dead;
	if (swapped)
		r = swap_locked(f);
	bucket_unlock(f->b);
	/* What has no length may still have a place, which has gone with the old content. */
	if (!r)
		r = file_clear_locked(f, why);
	if (!r && swapped)
		f->stored = (struct node){0};
	return r;
}

/* ---- ending ---- */

void version_demote(struct file *f, struct head *head, struct store_batch *batch)
{
	head->making += !f->marked;
	put_mark(f, batch, file_is(&f->candidate) ? STATE_CANDIDATE : STATE_WRITING, f->turn);
	head->files--;
	head->file_bytes -= f->stored.size;
}

void version_demoted(struct file *f)
{
	file_becomes(&f->version, true);
	f->marked = true;
	f->counted += (int64_t)f->stored.size;
	f->b->pending_bytes += (int64_t)f->stored.size;
}

void version_overtake(struct bucket *b, const struct overtaking *o, struct store_batch *batch)
{
	struct file *f = NULL;

	while ((f = tree_next_making(b, o->parent, o->name, f))) {
		if (f == o->by || !f->turn || f->turn > o->turn)
			continue;
		if (!batch)
			f->overtaken = o->turn;
		else if ((f->marked || f == o->demoted) && file_is(&f->candidate))
			put_mark(f, batch, STATE_OVERTAKEN, f->turn);
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
			r = copy_attributes(f->fs, f->b, found.node.number, f->node.number, batch);
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
	struct settle settle;
	int r = settle_load(f->fs, f->b, f->node.number, &settle);

	memcpy(old_name, f->name, old.len);
	if (!r)
		r = file_add_content(f, &settle, &batch);
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
	if (r)
		return r;
	if (replaced)
		file_unlinked(replaced);
	if (over.demoted)
		version_demoted(over.demoted);
	version_overtake(f->b, &over, NULL);
	__atomic_store_n(&f->b->published, fs_now(f->fs), __ATOMIC_RELAXED);
	/* A listing that was made before the version was begun may reach the kernel after all this. */
	if (f->version && __atomic_load_n(&f->b->listed, __ATOMIC_RELAXED) > f->begun - listing_lifetime)
		f->spelled = true;
	table_remove(&f->b->making, &f->by_name);
	f->b->new_files -= f->pending && !f->version;
	file_becomes(&f->unlisted, false);
	file_becomes(&f->version, false);
	f->pending = f->marked = f->respelled = false;
	if (!whole)
		tree_move_open(f, &final);
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

static int make_partial(struct file *f)
{
	char name[name_max];
	size_t len = version_partial_name(f->node.name, name);

	log_limited(f->node.uid, LOG_LEVEL_WARNING, "bucket %.*s: a writer of %.*s %s: kept as %.*s", (int)f->b->name.len,
		    (const char *)f->b->name.at, (int)f->node.name.len, f->name, f->failed ? "failed" : "did not finish",
		    (int)len, name);
	return settle_as(f, slice_of(name, len), false);
}

int version_drop(struct file *f)
{
	struct bucket *b = f->b;
	struct store_batch batch = {0};
	struct head head = b->head;
	struct node stored = f->stored;
	struct file *open = NULL;
	int r = 0;

	if (f->pending && f->node.has_attributes) {
		r = attribute_delete_all(f->fs, b, f->node.number, &batch);
		if (!r)
			r = bucket_commit(f->fs, b, &head, &batch);
		store_batch_release(&batch);
	} else if (!f->pending) {
		stored.name = f->node.name;
		stored.parent = f->node.parent;
		stored.has_attributes |= f->node.has_attributes;
		r = tree_delete_node(f->fs, b, &stored, NULL, &head, &batch, &open);
		if (!r && f->version) {
			struct found holder = {0};

			/* The name is not this one's, and neither was it counted. */
			head.files = b->head.files;
			head.file_bytes = b->head.file_bytes;
			r = tree_find_name(f->fs, b, stored.parent, stored.name, &holder);
			if (!r && !holder.pending)
				tree_put_own_name(f->fs, b, &holder.node, &batch);
			r = r == BUCKET_ABSENT ? 0 : r;
			tree_found_release(&holder);
		}
		if (!r)
			r = bucket_commit(f->fs, b, &head, &batch);
		store_batch_release(&batch);
	}
	if (!r) {
		bucket_name_lost(f->fs, f->b, f->node.parent, f->node.name);
		file_unlinked(f);
	}
	return r;
}

/* With both locks held. */
static int settle_locked(struct file *f, bool abandon)
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
	return f->written ? make_partial(f) : version_drop(f);
}

int version_settle(struct file *f, bool abandon)
{
	int r;

	pthread_rwlock_wrlock(&f->lock);
	bucket_lock(f->b);
	r = settle_locked(f, abandon);
	/* Nobody will ask for this again before the next start, which would find it in the store and settle it. */
	if (r < 0)
		r = settle_locked(f, abandon);
	bucket_unlock(f->b);
	pthread_rwlock_unlock(&f->lock);
	if (r)
		log_error("bucket %.*s: %.*s could not be published: error %d", (int)f->b->name.len,
			  (const char *)f->b->name.at, (int)f->node.name.len, f->name, r);
	return r;
}

int version_publish(struct file *f)
{
	int r;

	pthread_rwlock_wrlock(&f->lock);
	bucket_lock(f->b);
	r = publish_locked(f);
	bucket_unlock(f->b);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* ---- after a crash ---- */

struct mark {
	uint64_t number, parent, turn;
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
	if (!r)
		r = file_new(fs, b, &found.node, FILE_STORED, &f);
	if (!r) {
		f->unlisted = f->marked = true;
		f->version = has == BUCKET_ABSENT || holder.node.number != m->number;
		f->written = f->node.size > 0;
		f->candidate = m->state == STATE_CANDIDATE || m->state == STATE_OVERTAKEN;
		f->turn = m->turn;
		f->overtaken = m->state == STATE_OVERTAKEN ? m->turn + 1 : 0;
		f->closing = m->state == STATE_OVERTAKEN;
		table_add(&b->making, &f->by_name, slice_hash(f->node.name, f->node.parent));
		m->file = f;
	}
	tree_found_release(&found);
	tree_found_release(&holder);
	return r == BUCKET_GONE ? 0 : r;
}

static int recover_one(struct fs *fs, struct bucket *b, struct mark *m)
{
	int r = m->file ? settle_locked(m->file, true) : BUCKET_GONE;

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
	const unsigned char *at = value.at;

	/* The shorter ones are older. */
	if (key.len != 6 || (value.len != mark_len && value.len != mark_len - 5))
		return false;
	*m = (struct mark){.number = key_making_node_of(key), .parent = bytes_get_be40(at + 1), .state = at[0]};
	if (value.len == mark_len)
		m->turn = bytes_get_be40(at + 6);
	return true;
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

		r = decode_mark(&m, key, value) ? buf_add(marks, &m, sizeof(m)) : -EIO;
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
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
