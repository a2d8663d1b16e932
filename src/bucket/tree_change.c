#include "bucket/tree.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/attribute.h"
#include "bucket/settle.h"
#include "bucket/tree_internal.h"
#include "bucket/fresh.h"
#include "bucket/gone.h"
#include "bucket/version.h"
#include "util/bytes.h"
#include "util/log.h"

/* ---- changing names, with b->lock held ---- */

int tree_touch(struct fs *fs, struct bucket *b, uint64_t folder, struct head *head, struct store_batch *batch)
{
	struct found found = {0};
	int64_t now = fs_now(fs);
	int r = 0;

	if (folder == NODE_FILES) {
		head->files_modified = now;
		return 0;
	}
	r = tree_find_number(fs, b, folder, &found);
	if (!r) {
		found.node.modified = found.node.changed = now;
		r = tree_put_record(&found.node, batch);
	}
	tree_found_release(&found);
	/* A folder that is being deleted itself needs no time. */
	return r == BUCKET_GONE ? 0 : r;
}

int tree_put_record(const struct node *n, struct store_batch *batch)
{
	struct key_buf child = key_child(n->parent, n->number);
	struct buf record = {0};
	int r = node_encode(n, &record);

	store_batch_put(batch, STORE_NODE, key_slice(&child), buf_slice(&record));
	buf_release(&record);
	return r;
}

void tree_put_own_name(struct fs *fs, struct bucket *b, const struct node *n, struct store_batch *batch)
{
	struct key_buf name = key_name(n->parent, n->name), parent = key_parent(n->number);
	unsigned char raw[5];

	fresh_add(fs->fresh, inode_of(b->number, n->parent), n->name);
	if (version_is_partial(n->name)) {
		b->no_partials = false;
		b->partials_kept = 0;
	}
	bytes_put_be40(raw, n->number);
	store_batch_put(batch, STORE_NODE, key_slice(&name), slice_of(raw, sizeof(raw)));
	bytes_put_be40(raw, n->parent);
	if (n->parent != NODE_FILES)
		store_batch_put(batch, STORE_NODE, key_slice(&parent), slice_of(raw, sizeof(raw)));
}

void tree_put_name(struct fs *fs, struct bucket *b, const struct node *n, struct store_batch *batch)
{
	b->names++;
	tree_put_own_name(fs, b, n, batch);
}

/* But for its name, which something else is given in the same batch. */
static void delete_record(const struct node *n, struct store_batch *batch)
{
	struct key_buf child = key_child(n->parent, n->number), parent = key_parent(n->number);

	store_batch_delete(batch, STORE_NODE, key_slice(&child));
	if (n->parent != NODE_FILES)
		store_batch_delete(batch, STORE_NODE, key_slice(&parent));
}

static void delete_name(const struct node *n, struct store_batch *batch)
{
	struct key_buf name = key_name(n->parent, n->name);

	store_batch_delete(batch, STORE_NODE, key_slice(&name));
	delete_record(n, batch);
}

/* What becomes of the content of a node that is deleted: `heir`'s fallback, or it goes. */
static int delete_content(struct fs *fs, struct bucket *b, const struct node *n, struct settle *heir, struct head *head,
			  struct store_batch *batch)
{
	struct key_buf body = key_body(n->number);
	struct settle own;
	bool kept = false;
	int r = settle_load(fs, b, n->number, &own);

	/* Nor is a link anything that a file could fall back to. */
	if (n->kind == NODE_LINK)
		heir = NULL;
	if (r) {
		settle_release(&own);
		return r;
	}
	if (!own.content) {
		kept = heir && settle_fall_back(heir, n);
	} else {
		kept = heir && settle_inherit(heir, &own, n);
		settle_end(&own, batch);
		settle_write(fs, b, &own, head, batch);
	}
	if (n->place == PLACE_INLINE && !kept)
		store_batch_delete(batch, STORE_BODY, key_slice(&body));
	if (n->place == PLACE_CONTENT && !kept)
		store_batch_drop(batch, n->content);
	settle_release(&own);
	return 0;
}

int tree_delete_node(struct fs *fs, struct bucket *b, const struct node *n, struct settle *heir, struct head *head,
		     struct store_batch *batch, struct file **open)
{
	struct buf attributes = {0};
	int r = 0;

	*open = file_peek(fs, inode_of(b->number, n->number));
	if (*open) {
		r = file_keep(*open, n);
		if ((*open)->marked)
			version_unmark(*open, head, batch);
	}
	if (!r && n->has_attributes)
		r = attribute_delete_all(fs, b, n->number, &attributes, head, batch);
	if (*open)
		attribute_keep(*open, &attributes);
	else
		gone_add(fs, b, n, &attributes);
	buf_release(&attributes);
	if (!r)
		r = delete_content(fs, b, n, heir, head, batch);
	if (heir)
		delete_record(n, batch);
	else
		delete_name(n, batch);
	version_note_lost(fs, b, n);
	/* A damaged count is not made worse. */
	head->files -= head->files > 0;
	head->file_bytes -= n->size < head->file_bytes ? n->size : head->file_bytes;
	return r;
}

int tree_make_partial(struct fs *fs, struct bucket *b, const struct node *n, struct head *head, struct store_batch *batch)
{
	char name[name_max];
	struct slice partial = slice_of(name, version_partial_name(n->name, name));
	struct node moved = *n;
	struct found found = {0};
	struct file *open;
	int r = tree_find_name(fs, b, n->parent, partial, &found);

	/* The partial of an earlier one goes; a folder of that name stays, and so does this. It may be the partial itself. */
	if (r == 0 && found.node.number == n->number) {
		tree_found_release(&found);
		return tree_put_record(n, batch);
	}
	if (r == 0 && found.node.kind == NODE_FILE) {
		r = tree_delete_node(fs, b, &found.node, NULL, head, batch, &open);
	} else if (r == 0) {
		tree_found_release(&found);
		return 0;
	}
	if (r == BUCKET_ABSENT)
		r = 0;
	moved.name = partial;
	moved.given = slice_of(NULL, 0);
	delete_name(n, batch);
	if (!r)
		r = tree_put_record(&moved, batch);
	tree_put_name(fs, b, &moved, batch);
	tree_found_release(&found);
	return r;
}

/* Whether a node that was found in a listing is not to be seen there. */
static bool is_unlisted(struct fs *fs, struct bucket *b, uint64_t number)
{
	struct file *f = b->making.count ? file_peek(fs, inode_of(b->number, number)) : NULL;

	return f && f->unlisted;
}

static int has_children(struct fs *fs, struct bucket *b, uint64_t folder, bool *has)
{
	struct key_buf key = key_child(folder, 0);
	struct slice prefix = slice_of(key.bytes, 6), k, v;
	struct store_cursor *cursor;
	int r = store_cursor_open(fs->store, b->number, STORE_NODE, prefix, prefix, &cursor);

	*has = false;
	if (r)
		return r;
	while (!*has && !(r = store_cursor_next(cursor, &k, &v)))
		*has = !is_unlisted(fs, b, key_child_node_of(k));
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

struct any_in {
	uint64_t parent;
	struct file *found;
};

static int find_in(void *context, struct table_node *node)
{
	struct any_in *any = context;
	struct file *f = container_of(node, struct file, by_name);

	if (f->node.parent != any->parent)
		return 0;
	any->found = f;
	return 1;
}

int tree_drop_unlisted(struct fs *fs, struct bucket *b, uint64_t parent)
{
	bool has;
	int r = has_children(fs, b, parent, &has);

	/* Closed, and about to be published: that counts. */
	if (!r && !has && version_is_closing(fs, b, parent, TREE_CLOSED_ANY))
		return BUCKET_NOT_EMPTY;
	while (!r && !has) {
		struct any_in any = {parent, NULL};

		if (!b->making.count || !table_each(&b->making, find_in, &any))
			break;
		r = version_drop(any.found);
	}
	return r;
}

/* Makes something that no commit knows yet, under a name that must be free: `new` has what it is but for its number. */
static int make_node(struct fs *fs, struct bucket *b, struct node *new, struct reason *why)
{
	bool folder = new->kind == NODE_FOLDER;
	struct store_batch batch = {0};
	struct found found = {0};
	struct head head;
	int r = tree_check_folder(fs, b, new->parent);

	if (!r)
		r = bucket_check_numbers(fs, b);
	if (!r)
		r = tree_find_name(fs, b, new->parent, new->name, &found);
	if (r == BUCKET_ABSENT)
		r = folder ? tree_check_depth(fs, b, new->parent, why) : tree_check_bytes(b, new->size, why);
	else if (r == 0)
		r = BUCKET_EXISTS;
	if (!r)
		r = tree_check_room(fs, b, new->name, folder, why);
	if (!r) {
		new->number = b->head.next_node++;
		head = b->head;
		if (folder)
			fresh_begin(fs->fresh, inode_of(b->number, new->number));
		r = tree_put_record(new, &batch);
		tree_put_name(fs, b, new, &batch);
		head.files++;
		head.file_bytes += new->size;
		if (!r)
			r = tree_touch(fs, b, new->parent, &head, &batch);
		if (!r)
			r = bucket_commit(fs, b, &head, &batch);
	}
	store_batch_release(&batch);
	tree_found_release(&found);
	return r;
}

int tree_mkdir(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given,
	       uint64_t *number, bool *canonical, struct reason *why)
{
	char normal[name_max];
	struct slice name = slice_of(normal, 0);
	struct node new;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "create a folder");

	if (!r)
		r = name_normalise(given, normal, &name.len);
	if (r)
		return r;
	*canonical = slice_equal(given, name);
	new = tree_new_node(fs, who, NODE_FOLDER, parent, name, given);
	bucket_lock(b);
	r = make_node(fs, b, &new, why);
	bucket_unlock(b);
	*number = new.number;
	return r;
}

int tree_symlink(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given, struct slice target,
		 uint64_t *number, bool *canonical, struct reason *why)
{
	char normal[name_max], job[node_job_max];
	struct slice name = slice_of(normal, 0);
	struct node new;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "create a symbolic link");

	if (!r && fs->options.symlinks_off) {
		reason_set(why, "there are no symbolic links here: the mount has symlinks=off");
		r = BUCKET_NOT_PERMITTED;
	}
	if (!r && (!target.len || target.len > link_target_max))
		r = BUCKET_NAME_TOO_LONG;
	if (!r)
		r = name_normalise(given, normal, &name.len);
	if (r)
		return r;
	*canonical = slice_equal(given, name);
	new = tree_new_node(fs, who, NODE_LINK, parent, name, given);
	new.job = slice_of(job, who->job ? who->job(who, job, sizeof(job)) : 0);
	new.target = target;
	new.size = target.len;
	bucket_lock(b);
	r = make_node(fs, b, &new, why);
	bucket_unlock(b);
	*number = new.number;
	return r;
}

static int unlink_locked(struct fs *fs, struct bucket *b, const struct node *n)
{
	struct file *opened = NULL, **open = &opened;
	struct store_batch batch = {0};
	struct head head = b->head;
	int r;

	r = tree_delete_node(fs, b, n, NULL, &head, &batch, open);
	if (!r)
		r = tree_touch(fs, b, n->parent, &head, &batch);
	if (!r)
		r = bucket_commit(fs, b, &head, &batch);
	store_batch_release(&batch);
	if (!r && *open)
		file_unlinked(*open);
	return r;
}

/* Partials that nobody has open, oldest first. */
struct partial {
	uint64_t number, parent, size;
	int64_t modified;
};

struct partials {
	struct fs *fs;
	struct bucket *b;
	struct buf all; /* of struct partial */
	uint64_t bytes;
	bool any; /* also those that are open */
};

static int add_partial(void *context, const struct node *n)
{
	struct partials *p = context;
	struct partial one = {n->number, n->parent, n->size, n->modified};

	if (n->kind != NODE_FILE || !version_is_partial(n->name))
		return 0;
	p->any = true;
	if (file_peek(p->fs, inode_of(p->b->number, n->number)))
		return 0;
	p->bytes += n->size;
	return buf_add(&p->all, &one, sizeof(one));
}

static int older_first(const void *a, const void *b)
{
	const struct partial *x = a, *y = b;

	return (x->modified > y->modified) - (x->modified < y->modified);
}

static size_t partial_count(const struct partials *p)
{
	return p->all.len / sizeof(struct partial);
}

/* A look at all files, which is not repeated at once if it was in vain. */
static int find_partials(struct fs *fs, struct bucket *b, struct partials *p)
{
	enum { pause = 1000000000, many = 2000 };
	int64_t now = fs_moment(fs);
	int r;

	if (b->no_partials || (b->partials_kept && now - b->partials_kept < pause))
		return 0;
	if (b->head.files > many && !fs_may_take_long(fs))
		return BUCKET_LONG;
	r = tree_each(fs, b, add_partial, p);
	if (r)
		return r;
	b->no_partials = !p->any;
	b->partials_kept = p->all.len ? 0 : now;
	if (p->all.len)
		qsort(p->all.data, partial_count(p), sizeof(struct partial), older_first);
	return 0;
}

static int drop_partial(struct fs *fs, struct bucket *b, const struct partial *p)
{
	struct found found = {0};
	int r = tree_get_record(fs, b, p->parent, p->number, &found);

	if (!r)
		r = unlink_locked(fs, b, &found.node);
	if (!r)
		bucket_name_lost(fs, b, p->parent, found.node.name);
	if (!r)
		log_limited(b->owner, LOG_LEVEL_INFO, "bucket %.*s: %.*s made room for something else", (int)b->name.len,
			    (const char *)b->name.at, (int)found.node.name.len, (const char *)found.node.name.at);
	tree_found_release(&found);
	return r;
}

int tree_make_room(struct fs *fs, struct bucket *b, uint64_t files, uint64_t bytes)
{
	struct partials p = {.fs = fs, .b = b};
	uint64_t gone = 0, given = 0;
	int r = find_partials(fs, b, &p);

	/* Nothing goes for what is refused all the same. */
	if (!r && (partial_count(&p) < files || p.bytes < bytes))
		r = BUCKET_OVER_QUOTA;
	for (size_t i = 0; !r && i < partial_count(&p) && (gone < files || given < bytes); i++) {
		struct partial one;

		memcpy(&one, p.all.data + i * sizeof(one), sizeof(one));
		r = drop_partial(fs, b, &one);
		gone++;
		given += one.size;
	}
	buf_release(&p.all);
	return r;
}

int tree_unlink(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given,
		bool folder, bool *canonical)
{
	char normal[name_max];
	struct slice name = slice_of(normal, 0);
	struct found found = {0};
	struct file *making;
	bool has = false;
	int r = bucket_check_removal(fs, b, who, folder ? "delete a folder" : "delete a file");

	if (!r)
		r = name_normalise(given, normal, &name.len);
	if (r)
		return r;
	*canonical = slice_equal(given, name);
	bucket_lock(b);
	r = b->dead ? BUCKET_GONE : tree_find_name(fs, b, parent, name, &found);
	if (!r && folder != (found.node.kind == NODE_FOLDER))
		r = folder ? BUCKET_NOT_FOLDER : BUCKET_IS_FOLDER;
	if (!r && folder)
		r = has_children(fs, b, found.node.number, &has);
	if (!r && has)
		r = BUCKET_NOT_EMPTY;
	if (!r && folder)
		r = tree_drop_unlisted(fs, b, found.node.number);
	if (!r && found.pending)
		r = version_drop(found.pending);
	else if (!r)
		r = unlink_locked(fs, b, &found.node);
	/* And what was to replace it: who deletes a name has deleted it. */
	while (!r && !folder && b->making.count && (making = tree_find_making(b, parent, name)))
		r = version_drop(making);
	bucket_unlock(b);
	tree_found_release(&found);
	return r;
}

int tree_remove_root(struct fs *fs, struct bucket *b, const struct caller *who)
{
	struct store_batch nothing = {0};
	bool has;
	int r = bucket_check_removal(fs, b, who, "delete files/");

	if (r)
		return r;
	bucket_lock(b);
	r = b->dead ? BUCKET_GONE : has_children(fs, b, NODE_FILES, &has);
	if (!r && has)
		r = BUCKET_NOT_EMPTY;
	if (!r)
		r = tree_drop_unlisted(fs, b, NODE_FILES);
	if (!r) {
		struct head head = b->head;

		/* The kernel will not use that inode again; a new generation makes the next one another. */
		head.files_generation++;
		r = bucket_commit(fs, b, &head, &nothing);
	}
	bucket_unlock(b);
	return r;
}

/* ---- rename ---- */

/* BUCKET_INVALID if `folder` is `inside` or above it. */
static int check_not_inside(struct fs *fs, struct bucket *b, uint64_t folder, uint64_t inside)
{
	/* Damaged records may lead in a circle. Whoever goes round it meets the folder that was remembered last: Brent's way. */
	uint64_t remembered = 0, steps = 0, limit = 1;

	while (inside != NODE_FILES) {
		struct found found = {0};
		int r;

		if (inside == folder)
			return BUCKET_INVALID;
		if (inside == remembered)
			return bucket_damaged(b, "the folder of folder", inside, "it is in a folder that is in it");
		if (++steps == limit) {
			remembered = inside;
			limit *= 2;
		}
		r = tree_find_number(fs, b, inside, &found);
		inside = found.node.parent;
		tree_found_release(&found);
		if (r)
			return r;
	}
	return 0;
}

static int check_replace(struct fs *fs, struct bucket *b, const struct node *from, const struct node *to)
{
	bool has = false;
	int r = 0;

	if (from->kind == NODE_FOLDER && to->kind != NODE_FOLDER)
		return BUCKET_NOT_FOLDER;
	if (from->kind != NODE_FOLDER && to->kind == NODE_FOLDER)
		return BUCKET_IS_FOLDER;
	if (to->kind == NODE_FOLDER)
		r = has_children(fs, b, to->number, &has);
	return r ? r : has ? BUCKET_NOT_EMPTY : 0;
}

/* An open file has its names in its own memory. */
void tree_move_open(struct file *f, const struct node *to)
{
	memcpy(f->name, to->name.at, to->name.len);
	if (to->given.len)
		memcpy(f->given, to->given.at, to->given.len);
	f->node.parent = to->parent;
	f->node.name.len = to->name.len;
	f->node.given.len = to->given.len;
	file_becomes(&f->partial, version_is_partial(f->node.name));
}

/* Both were found; `to` may be absent. */
static int rename_commit(struct fs *fs, struct bucket *b, const struct found *from, const struct found *to,
			 const struct node *moved, struct file **replaced)
{
	struct store_batch batch = {0};
	struct head head = b->head;
	/* Only spelled in another way: nothing takes a name. */
	bool same = to && to->node.number == from->node.number;
	/* A file that was closed before does not take its name back from a file; from a folder it cannot, and becomes
	 * the partial. */
	bool takes_name = !same && moved->kind != NODE_FOLDER;
	struct overtaking over = {.parent = moved->parent, .name = moved->name, .turn = takes_name ? ++b->turns : 0};
	struct settle settle;
	struct file *open = NULL;
	int r = settle_load(fs, b, from->node.number, &settle);

	if (takes_name)
		settle_takes_name(&settle, over.turn);
	delete_name(&from->node, &batch);
	version_note_lost(fs, b, &from->node);
	if (!r && to && !same)
		r = tree_delete_node(fs, b, &to->node, &settle, &head, &batch, replaced);
	if (!r)
		settle_write(fs, b, &settle, &head, &batch);
	if (!r)
		r = tree_put_record(moved, &batch);
	tree_put_name(fs, b, moved, &batch);
	/* The folders' records after the moved one's, which may be a folder in one of them. */
	if (!r)
		r = tree_touch(fs, b, from->node.parent, &head, &batch);
	if (!r && moved->parent != from->node.parent)
		r = tree_touch(fs, b, moved->parent, &head, &batch);
	over.by = *replaced;
	version_overtake(b, &over, &batch);
	if (!r)
		r = bucket_commit(fs, b, &head, &batch);
	store_batch_release(&batch);
	settle_release(&settle);
	if (r)
		return r;
	if (*replaced)
		file_unlinked(*replaced);
	if (moved->kind == NODE_FOLDER && moved->parent != from->node.parent)
		tree_forget_depths(b);
	version_overtake(b, &over, NULL);
	/* What is moved takes its place in the kernel's memory along, and would not be asked for there when it is replaced. */
	if (b->making.count && tree_find_making(b, moved->parent, moved->name))
		bucket_name_lost(fs, b, moved->parent, moved->name);
	open = file_peek(fs, inode_of(b->number, moved->number));
	if (open)
		tree_move_open(open, moved);
	return 0;
}

struct renaming {
	uint64_t parent, new_parent;
	struct slice name, new_name, new_given;
	bool no_replace;
	const struct caller *who;
};

/* With b->lock held. *unsettled: the file is so new that it must be committed first. */
static int rename_locked(struct fs *fs, struct bucket *b, const struct renaming *m, struct file **unsettled,
			 struct file **replaced, struct reason *why)
{
	struct found from = {0}, to = {0};
	bool exists = false;
	int r = b->dead ? BUCKET_GONE : tree_find_name(fs, b, m->parent, m->name, &from);

	/* Renaming publishes: temporary file and rename is how careful programs say that it is whole. */
	if (!r && is_unlisted(fs, b, from.node.number)) {
		*unsettled = file_find(fs, inode_of(b->number, from.node.number));
		tree_found_release(&from);
		return 0;
	}
	if (!r)
		r = tree_check_folder(fs, b, m->new_parent);
	if (!r) {
		r = tree_find_name(fs, b, m->new_parent, m->new_name, &to);
		exists = r == 0;
		if (r == BUCKET_ABSENT)
			r = 0;
	}
	if (!r && exists && to.node.number != from.node.number && to.node.kind != NODE_FOLDER && !m->no_replace)
		r = tree_collision(fs, b, m->who, &to.node, m->new_given, why);
	if (!r && exists && to.node.number != from.node.number) {
		r = m->no_replace ? BUCKET_EXISTS : check_replace(fs, b, &from.node, &to.node);
		if (!r && to.node.kind == NODE_FOLDER)
			r = tree_drop_unlisted(fs, b, to.node.number);
		/* One in the making may be in the store already, without a name there. */
		if (!r && to.pending) {
			r = version_drop(to.pending);
			exists = false;
		}
	}
	if (!r && from.node.kind == NODE_FOLDER)
		r = check_not_inside(fs, b, from.node.number, m->new_parent);
	if (!r && from.node.kind == NODE_FOLDER)
		r = tree_check_move(fs, b, &from.node, m->new_parent, why);
	if (!r && from.node.kind != NODE_FOLDER && !name_has_type(m->new_name, b->limits.accepted_file_types)) {
		reason_set(why, "accepted_file_types is %.100s", b->limits.accepted_file_types);
		r = BUCKET_NOT_PERMITTED;
	}
	if (!r) {
		struct node moved = from.node;

		moved.parent = m->new_parent;
		moved.name = m->new_name;
		moved.given = slice_equal(m->new_name, m->new_given) ? slice_of(NULL, 0) : m->new_given;
		moved.changed = fs_now(fs);
		r = rename_commit(fs, b, &from, exists ? &to : NULL, &moved, replaced);
	}
	tree_found_release(&from);
	tree_found_release(&to);
	return r;
}

int tree_rename(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given,
		uint64_t new_parent, struct slice new_given, bool no_replace, int64_t closed, bool *canonical, struct reason *why)
{
	char from[name_max], to[name_max];
	struct renaming m = {parent, new_parent, slice_of(from, 0), slice_of(to, 0), new_given, no_replace, who};
	struct file *unsettled, *replaced;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "rename");

	if (!r)
		r = name_normalise(given, from, &m.name.len);
	if (!r)
		r = name_normalise(new_given, to, &m.new_name.len);
	if (r)
		return r;
	*canonical = slice_equal(given, m.name) && slice_equal(new_given, m.new_name);
	do {
		unsettled = replaced = NULL;
		bucket_lock(b);
		r = rename_locked(fs, b, &m, &unsettled, &replaced, why);
		bucket_unlock(b);
		if (unsettled) {
			r = version_wait_for_rename(unsettled, closed);
			if (r == BUCKET_BUSY)
				reason_set(why, "it is not whole: a write to it failed, and it was not begun anew");
			if (!r)
				r = version_publish(unsettled);
			file_put(unsettled);
		}
	} while (!r && unsettled);
	return r;
}

/* ---- changing attributes ---- */

void tree_apply(struct node *n, const struct tree_change *change, int64_t now)
{
	if (change->mode)
		n->exec = *change->mode & 0111;
	if (change->accessed)
		n->accessed = *change->accessed;
	if (change->modified)
		n->modified = *change->modified;
	n->changed = now;
}

/* The open file for a number, referenced; or NULL, and then with b->lock held. */
static struct file *find_or_lock(struct fs *fs, struct bucket *b, uint64_t number)
{
	for (;;) {
		struct file *f = file_find(fs, inode_of(b->number, number));

		if (f)
			return f;
		bucket_lock(b);
		/* Opened since: then it has a copy of the record, and that is the one to change. */
		f = file_find(fs, inode_of(b->number, number));
		if (!f)
			return NULL;
		bucket_unlock(b);
		file_put(f);
	}
}

/* In the open file, to be committed with it. */
static int change_open(struct file *f, const struct tree_change *change, bool attributes)
{
	int r = 0;

	if (attributes && file_is(&f->unlinked))
		return BUCKET_GONE;
	pthread_rwlock_wrlock(&f->lock);
	tree_apply(&f->node, change, fs_now(f->fs));
	f->node.has_attributes |= attributes;
	f->dirty = true;
	/* A new file is not listed before it is closed, whatever happens to it until then. */
	if (!file_is(&f->unlisted))
		r = file_commit(f);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* Changes a record: in the open file, or right in the store. */
static int change_node(struct fs *fs, struct bucket *b, uint64_t number, const struct tree_change *change)
{
	struct file *f = find_or_lock(fs, b, number);
	struct store_batch batch = {0};
	struct found found = {0};
	int r;

	if (f) {
		r = change_open(f, change, false);
		file_put(f);
		return r;
	}
	r = b->dead ? BUCKET_GONE : tree_find_number(fs, b, number, &found);
	if (!r) {
		struct head head = b->head;

		tree_apply(&found.node, change, fs_now(fs));
		r = tree_put_record(&found.node, &batch);
		if (!r)
			r = bucket_commit(fs, b, &head, &batch);
	}
	bucket_unlock(b);
	store_batch_release(&batch);
	tree_found_release(&found);
	return r == BUCKET_GONE ? gone_change(fs, inode_of(b->number, number), change, NULL) : r;
}

int tree_set(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number,
	     const struct tree_change *change)
{
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "change attributes");

	if (r)
		return r;
	if (number == NODE_FILES) {
		struct store_batch nothing = {0};
		struct head head;

		bucket_lock(b);
		head = b->head;
		if (change->modified)
			head.files_modified = *change->modified;
		r = change->modified ? bucket_commit(fs, b, &head, &nothing) : 0;
		bucket_unlock(b);
		return r;
	}
	return change_node(fs, b, number, change);
}

int tree_mark_attributes(struct fs *fs, struct bucket *b, uint64_t number, bool *open)
{
	struct file *f = file_find(fs, inode_of(b->number, number));
	int r = 0;

	*open = f;
	if (f) {
		r = change_open(f, &(struct tree_change){0}, true);
		file_put(f);
	}
	return r;
}

int tree_truncate(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, uint64_t size, int64_t closed,
		  struct reason *why)
{
	struct file *f;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "truncate a file");

	if (!r)
		r = tree_get_file(fs, b, number, &f);
	if (r == BUCKET_GONE)
		return gone_change(fs, inode_of(b->number, number), NULL, &size);
	if (r)
		return r;
	r = version_wait_for_new(f, closed);
	if (!r)
		r = file_truncate_alone(f, size, why);
	/* Nobody may ever close it: what truncate(2) did is there when it returns. */
	if (!r && !file_is(&f->unlisted))
		r = file_save(f);
	file_put(f);
	return r;
}
