#include "bucket/data.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/attribute.h"
#include "bucket/control.h"
#include "bucket/data_node.h"
#include "bucket/data_plan.h"
#include "bucket/file.h"
#include "bucket/history.h"

bool data_is_long(const struct fs *fs, uint64_t bytes, uint64_t keys)
{
	return (bytes > data_long_text || keys > data_long_keys) && !fs_may_take_long(fs);
}

/* ---- the rendered document ---- */

void data_text_put(struct text *text)
{
	if (text && __atomic_sub_fetch(&text->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		buf_release(&text->bytes);
		free(text);
	}
}

struct text *data_text_share(struct text *text)
{
	__atomic_add_fetch(&text->refs, 1, __ATOMIC_RELAXED);
	return text;
}

static void forget_text(struct fs *fs, struct bucket *b)
{
	if (!b->text)
		return;
	__atomic_sub_fetch(&fs->text_bytes, b->text->bytes.len, __ATOMIC_RELAXED);
	data_text_put(b->text);
	b->text = NULL;
}

void data_forget_text(struct fs *fs, struct bucket *b)
{
	data_node_changed(fs, b);
	forget_text(fs, b);
}

static int render(const struct bucket *b, struct store_cursor *cursor, struct buf *out)
{
	struct slice key, record;
	struct buf scratch = {0};
	bool empty = true;
	int r = document_render_begin(out);

	while (!r && !(r = store_cursor_next(cursor, &key, &record))) {
		struct member_view m;

		r = bucket_key_result(b, key, document_decode(key, record, &scratch, &m));
		if (!r)
			r = document_render_member(out, empty, m.text, m.value);
		empty = false;
	}
	buf_release(&scratch);
	return r == STORE_END ? document_render_end(out, empty) : r;
}

int data_text(struct fs *fs, struct bucket *b, struct text **out)
{
	struct store_cursor *cursor = NULL;
	struct slice all = slice_of(NULL, 0);
	struct text *text;
	uint64_t revision;
	int64_t modified;
	int r = 0;

	bucket_lock(b);
	if (b->text) {
		*out = data_text_share(b->text);
		bucket_unlock(b);
		return 0;
	}
	revision = b->revision;
	modified = b->head.data_modified;
	if (b->dead)
		r = BUCKET_GONE;
	else if (data_is_long(fs, b->head.data_size, 0))
		r = BUCKET_LONG;
	else if (b->head.data_keys)
		r = store_cursor_open(fs->store, b->number, STORE_DOC, all, all, &cursor);
	bucket_unlock(b);
	if (r)
		return r;
	text = calloc(1, sizeof(*text));
	if (!text)
		r = -ENOMEM;
	else if (cursor)
		r = render(b, cursor, &text->bytes);
	else
		r = buf_add_string(&text->bytes, "{}\n");
	store_cursor_close(cursor);
	if (r) {
		if (text)
			buf_release(&text->bytes);
		free(text);
		return r;
	}
	text->refs = 1;
	text->modified = modified;
	*out = text;
	/* Kept for the next reader, if it is still true and there is room. */
	bucket_lock(b);
	if (!b->text && b->revision == revision && !b->dead &&
	    __atomic_load_n(&fs->text_bytes, __ATOMIC_RELAXED) + text->bytes.len <= data_text_budget) {
		b->text = data_text_share(text);
		__atomic_add_fetch(&fs->text_bytes, text->bytes.len, __ATOMIC_RELAXED);
	}
	bucket_unlock(b);
	return 0;
}

static int fill_attr(struct fs *fs, struct bucket *b, struct attr *attr)
{
	struct bucket_look look = bucket_look(fs, b);
	int r;

	bucket_lock(b);
	*attr = (struct attr){
		.inode = inode_of(b->number, NODE_DATA),
		.shown_inode = inode_of(b->number, NODE_DATA),
		.generation = b->generation,
		.mode = S_IFREG | look.file_mode,
		.uid = b->head.owner,
		.gid = b->head.group,
		.size = b->head.data_size,
		.blocks = (b->head.data_size + 511) / 512,
		.modified = b->head.data_modified,
		.changed = b->head.data_modified,
		.accessed = b->head.data_modified,
		.unlinked = !b->head.data_present,
		.private = look.private,
		.fleeting = true,
	};
	r = b->dead ? BUCKET_GONE : b->head.data_present ? 0 : BUCKET_ABSENT;
	bucket_unlock(b);
	return r;
}

int data_attr(struct fs *fs, struct bucket *b, const struct caller *who, struct attr *attr)
{
	int r = bucket_check_enter(fs, b, who, "stat data.json");

	if (!r)
		r = fill_attr(fs, b, attr);
	/* An inode of its own, for the kernel would show everybody the size that it heard last. */
	if (!r && !bucket_may(fs, b, who, PRIVILEGE_READ)) {
		attr->inode = attr->shown_inode = inode_of(b->number, NODE_DATA_BLIND);
		attr->size = attr->blocks = 0;
		attr->modified = attr->changed = attr->accessed = 0;
	}
	return r;
}

static void show(struct attr *attr, const struct data_shown *shown)
{
	attr->size = shown->size;
	attr->blocks = (shown->size + 511) / 512;
	attr->modified = attr->changed = attr->accessed = shown->modified;
}

int data_attr_open(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct attr *attr)
{
	struct data_shown shown;
	int r = data_attr(fs, b, who, attr);

	/* What is told of an inode, the kernel tells everybody who has it. */
	if (!r && node != NODE_DATA_BLIND && attr->inode != inode_of(b->number, NODE_DATA))
		r = BUCKET_DENIED;
	shown = data_node_shows(fs, b, who, node, r);
	if ((r == BUCKET_ABSENT || r == BUCKET_DENIED) && shown.own) {
		/* Of a document that is gone there is nothing to be hidden. */
		shown.is |= shown.has || r == BUCKET_DENIED;
		r = fill_attr(fs, b, attr) == BUCKET_GONE ? BUCKET_GONE : 0;
	}
	if (!r && shown.is)
		show(attr, &shown);
	if (!r && snapshot_is(node))
		attr->inode = inode_of(b->number, node);
	return r;
}

/* ---- merging ---- */

static int plan_merge(struct plan *p, const struct document *patch)
{
	int r = 0;

	for (size_t i = 0; !r && i < patch->count; i++) {
		struct member_view m = document_member(patch, i);

		r = plan_put(p, &m);
	}
	return r;
}

struct merge {
	const struct document *patch;
	struct reason *why;
	bool commits;
};

static int merge(struct plan *p, void *context)
{
	const struct merge *m = context;
	int r = plan_merge(p, m->patch);

	p->head.data_present = true;
	if (!r)
		r = plan_check(p, m->why);
	return r || !m->commits ? r : plan_commit(p, m->why);
}

int data_merge(struct fs *fs, struct bucket *b, const struct plan_access *access, const struct document *patch,
	       struct reason *why)
{
	struct merge m = {patch, why, true};

	if (data_is_long(fs, document_size(patch), patch->count))
		return BUCKET_LONG;
	return plan_run(fs, b, access, merge, &m);
}

int data_merge_into(struct fs *fs, struct bucket *b, const struct document *patch, struct head *head,
		    struct store_batch *batch, struct reason *why)
{
	struct plan plan;
	int r = plan_init(&plan, fs, b);

	if (!r)
		r = plan_merge(&plan, patch);
	if (!r)
		r = plan_check(&plan, why);
	if (!r && plan.changed) {
		head->data_keys = plan.head.data_keys;
		head->data_size = plan.head.data_size;
		head->data_present = true;
		head->data_modified = fs_now(fs);
		*batch = plan.batch;
		plan.batch = (struct store_batch){0};
	}
	plan_release(&plan);
	return r;
}

struct headroom {
	struct merge merge;
	uint64_t most;      /* bytes that the patch may add */
	uint64_t *headroom; /* of these the limit leaves so many */
};

static int look_at_merge(struct plan *p, void *context)
{
	const struct headroom *h = context;
	uint64_t max = p->b->limits.max_data_size;

	/* Far from the limit there is no need to look at what the keys have now. */
	if (!p->schema && (!max || p->head.data_size + h->most <= max)) {
		*h->headroom = max ? max - p->head.data_size - h->most : UINT64_MAX;
		return plan_check(p, h->merge.why);
	}
	*h->headroom = 0;
	if (data_is_long(p->fs, document_size(h->merge.patch), h->merge.patch->count))
		return BUCKET_LONG;
	return merge(p, (void *)&h->merge);
}

int data_check_merge(struct fs *fs, struct bucket *b, const struct document *patch, uint64_t *headroom,
		     struct reason *why)
{
	struct headroom h = {{patch, why, false}, 0, headroom};

	*headroom = UINT64_MAX;
	for (size_t i = 0; i < patch->count; i++) {
		struct member_view m = document_member(patch, i);

		h.most += document_size_member(m.text.len, m.value.len);
	}
	return plan_run(fs, b, NULL, look_at_merge, &h);
}

/* What it holds now is kept (history.h). *text: it is given to the caller as well, who releases it. */
static int plan_keep(struct plan *p, uid_t uid, struct buf *text)
{
	struct slice none = slice_of(NULL, 0);
	struct store_cursor *cursor;
	int r = store_cursor_open(p->fs->store, p->b->number, STORE_DOC, none, none, &cursor);

	if (r)
		return r;
	r = render(p->b, cursor, text);
	store_cursor_close(cursor);
	return r ? r : history_put(p->fs, p->b, uid, buf_slice(text), &p->batch);
}

/* One key of an edit: what it was and shall be, and what it was when the document was moved away; NULL where it is
 * absent. */
struct edited_key {
	const struct member_view *base, *now, *moved;
};

static bool is_changed(const struct edited_key *k)
{
	return (k->base || k->now) && !(k->base && k->now && slice_equal(k->base->value, k->now->value));
}

static int plan_edit(struct plan *p, const struct edited_key *k, struct reason *why)
{
	const struct member_view *any = k->base ? k->base : k->now ? k->now : k->moved;
	struct member_view present;
	bool same, comes_back;
	int r;

	if (!is_changed(k) && !k->moved)
		return 0;
	r = plan_look(p, any->key, &present);
	if (r && r != BUCKET_NO_ATTRIBUTE)
		return r;
	/* A key that was moved away counts as being there, unless somebody has written it since. */
	comes_back = r && k->moved;
	if (comes_back) {
		present = *k->moved;
		r = 0;
	}
	if (!is_changed(k))
		return comes_back ? plan_put(p, k->moved) : 0;
	same = r ? !k->base : k->base && slice_equal(present.value, k->base->value);
	if (!same) {
		reason_set(why, "somebody else changed %.*s since it was read", any->text.len > 100 ? 100 : (int)any->text.len,
			   (const char *)any->text.at);
		return BUCKET_CONFLICT;
	}
	if (k->now)
		return plan_put(p, k->now);
	return comes_back ? 0 : plan_delete(p, k->base->key);
}

/* The next key of three sorted documents, of which some may have it. False: that was the last one. */
struct walk {
	const struct document *document[3];
	size_t at[3];
	struct member_view member[3];
};

static bool next_key(struct walk *w, struct edited_key *k)
{
	const struct member_view *found[3] = {NULL}, *least = NULL;

	for (int i = 0; i < 3; i++) {
		if (!w->document[i] || w->at[i] == w->document[i]->count)
			continue;
		w->member[i] = document_member(w->document[i], w->at[i]);
		if (!least || slice_compare(w->member[i].key, least->key) < 0)
			least = &w->member[i];
	}
	if (!least)
		return false;
	for (int i = 0; i < 3; i++) {
		if (!w->document[i] || w->at[i] == w->document[i]->count || slice_compare(w->member[i].key, least->key))
			continue;
		found[i] = &w->member[i];
		w->at[i]++;
	}
	*k = (struct edited_key){found[0], found[1], found[2]};
	return true;
}

/* Whether nothing is left of what the document held: then that is kept. */
static bool is_all_touched(const struct plan *p, uint64_t touched)
{
	return p->b->head.data_keys && touched >= p->b->head.data_keys;
}

struct edit {
	const struct data_edit *e;
	struct reason *why;
};

static int edit(struct plan *p, void *context)
{
	const struct edit *c = context;
	const struct data_edit *e = c->e;
	struct walk walk = {{e->base, e->now, e->moved}, {0}, {{{0}, {0}, {0}}}};
	struct edited_key key;
	struct buf kept = {0};
	uint64_t touched = 0;
	int r = 0;

	/* A whole document where there is none: it is put there, as any file would be. */
	if (e->whole && !e->moved && !p->b->head.data_present)
		walk.document[0] = NULL;
	p->head.data_present = true;
	while (!r && next_key(&walk, &key)) {
		touched += key.base && is_changed(&key);
		r = plan_edit(p, &key, c->why);
	}
	if (!r)
		r = plan_check(p, c->why);
	/* A document that was moved away is kept since then. */
	if (!r && p->changed && p->b->head.data_keys && !e->moved && (e->whole || is_all_touched(p, touched)))
		r = plan_keep(p, e->uid, &kept);
	if (!r)
		r = plan_commit(p, c->why);
	buf_release(&kept);
	return r;
}

int data_edit(struct fs *fs, struct bucket *b, const struct data_edit *e, struct reason *why)
{
	struct edit c = {e, why};

	if (data_is_long(fs, document_size(e->base) + document_size(e->now), e->base->count + e->now->count))
		return BUCKET_LONG;
	return plan_run(fs, b, e->access, edit, &c);
}

/* ---- the file as a whole ---- */

int data_create(struct fs *fs, struct bucket *b, const struct caller *who)
{
	struct document nothing = {0};
	struct plan_access access = {who, false};
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "create data.json");

	return r ? r : data_merge(fs, b, &access, &nothing, NULL);
}

struct removal {
	uid_t uid;
	struct buf kept;
};

static int remove_all(struct plan *p, void *context)
{
	struct slice all = slice_of(NULL, 0), key, record;
	struct store_cursor *cursor = NULL;
	struct removal *c = context;
	int r = 0;

	if (!p->b->head.data_present)
		return BUCKET_ABSENT;
	if (data_is_long(p->fs, p->b->head.data_size, p->b->head.data_keys))
		return BUCKET_LONG;
	if (p->b->head.data_keys)
		r = plan_keep(p, c->uid, &c->kept);
	if (!r && p->b->head.data_keys)
		r = store_cursor_open(p->fs->store, p->b->number, STORE_DOC, all, all, &cursor);
	while (cursor && !r && !(r = store_cursor_next(cursor, &key, &record)))
		store_batch_delete(&p->batch, STORE_DOC, key);
	store_cursor_close(cursor);
	if (!r || r == STORE_END)
		r = attribute_delete_all(p->fs, p->b, NODE_DATA, NULL, &p->head, &p->batch);
	if (r)
		return r;
	p->head.data_present = false;
	p->head.data_keys = 0;
	p->head.data_size = document_size_empty;
	return plan_commit(p, NULL);
}

int data_remove(struct fs *fs, struct bucket *b, const struct caller *who, struct buf *removed)
{
	struct removal c = {who->uid, {0}};
	int r = bucket_check_removal(fs, b, who, "remove data.json");

	if (!r)
		r = plan_run(fs, b, NULL, remove_all, &c);
	if (!r && removed) {
		buf_release(removed);
		*removed = c.kept;
		c.kept = (struct buf){0};
	}
	buf_release(&c.kept);
	return r;
}

int data_touch(struct fs *fs, struct bucket *b, const struct caller *who, int64_t modified)
{
	struct store_batch nothing = {0};
	struct head head;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "change the times of data.json");

	if (r)
		return r;
	bucket_lock(b);
	head = b->head;
	head.data_modified = modified;
	r = bucket_commit(fs, b, &head, &nothing);
	/* A text has the time of its document. */
	if (!r)
		forget_text(fs, b);
	bucket_unlock(b);
	return r;
}

/* ---- single keys ---- */

int data_key_get(struct fs *fs, struct bucket *b, const struct caller *who, struct slice key, struct buf *value)
{
	struct buf record = {0}, scratch = {0};
	struct member_view m;
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "read a key");

	if (r)
		return r;
	r = store_get(fs->store, b->number, STORE_DOC, key, &record);
	if (r == STORE_ABSENT)
		r = BUCKET_NO_ATTRIBUTE;
	else if (!r)
		r = bucket_key_result(b, key, document_decode(key, buf_slice(&record), &scratch, &m));
	if (!r)
		r = buf_add_slice(value, m.value);
	buf_release(&record);
	buf_release(&scratch);
	return r;
}

struct key_change {
	struct member_view m;
	bool create, replace;
	struct reason *why;
};

static int set_key(struct plan *p, void *context)
{
	const struct key_change *c = context;
	struct member_view old;
	int r = 0;

	p->head.data_present = true;
	if (c->create || c->replace) {
		r = plan_look(p, c->m.key, &old);
		if (r == 0 && c->create)
			r = BUCKET_EXISTS;
		else if (r == BUCKET_NO_ATTRIBUTE && !c->replace)
			r = 0;
	}
	if (!r)
		r = plan_put(p, &c->m);
	if (!r)
		r = plan_check(p, c->why);
	return r ? r : plan_commit(p, c->why);
}

int data_key_set(struct fs *fs, struct bucket *b, const struct caller *who, struct slice key, struct slice text,
		 bool create, bool replace, struct reason *why)
{
	struct key_change c = {.create = create, .replace = replace, .why = why};
	struct plan_access access = {who, false};
	struct buf value = {0}, spelled = {0};
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "set a key");

	if (r)
		return r;
	if (!json_is_utf8(key)) {
		reason_set(why, "the key is not UTF-8");
		return BUCKET_INVALID;
	}
	/* It will stand inside an object. */
	r = json_compact(text, json_depth_max - 1, &value, why);
	if (!r)
		r = json_quote(key, &spelled);
	if (!r) {
		c.m = (struct member_view){key, buf_slice(&spelled), buf_slice(&value)};
		r = plan_run(fs, b, &access, set_key, &c);
	}
	buf_release(&value);
	buf_release(&spelled);
	return r;
}

static int remove_key(struct plan *p, void *context)
{
	const struct key_change *c = context;
	int r = plan_delete(p, c->m.key);

	if (!r && !p->changed)
		r = BUCKET_NO_ATTRIBUTE;
	if (!r)
		r = plan_check(p, c->why);
	return r ? r : plan_commit(p, c->why);
}

int data_key_remove(struct fs *fs, struct bucket *b, const struct caller *who, struct slice key, struct reason *why)
{
	struct key_change c = {.m = {.key = key}, .why = why};
	struct plan_access access = {who, false};
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "remove a key");

	return r ? r : plan_run(fs, b, &access, remove_key, &c);
}
