#include "bucket/data.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/attribute.h"
#include "bucket/control.h"
#include "bucket/data_node.h"
#include "bucket/file.h"
#include "bucket/history.h"
#include "bucket/schema.h"

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

void data_forget_text(struct fs *fs, struct bucket *b)
{
	data_node_changed(fs, b);
	if (!b->text)
		return;
	__atomic_sub_fetch(&fs->text_bytes, b->text->bytes.len, __ATOMIC_RELAXED);
	data_text_put(b->text);
	b->text = NULL;
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
	struct data_shown shown = data_node_shows(b, who, node);
	int r = data_attr(fs, b, who, attr);

	/* What is told of an inode, the kernel tells everybody who has it. */
	if (!r && node != NODE_DATA_BLIND && attr->inode != inode_of(b->number, NODE_DATA))
		r = BUCKET_DENIED;
	if ((r == BUCKET_ABSENT || r == BUCKET_DENIED) && shown.own) {
		r = fill_attr(fs, b, attr) == BUCKET_GONE ? BUCKET_GONE : 0;
		shown.is = true;
	}
	if (!r && shown.is)
		show(attr, &shown);
	if (!r && snapshot_is(node))
		attr->inode = inode_of(b->number, node);
	return r;
}

/* ---- merging ---- */

/* Changes to the document on their way into one commit. */
struct plan {
	struct fs *fs;
	struct bucket *b;
	struct head head;
	struct store_batch batch;
	struct buf old, scratch, record;
	bool changed;
	const struct schema *schema; /* NULL: none */
	struct document touched;     /* only with a schema: what is put, and with an empty value what is deleted */
};

static int plan_init(struct plan *p, struct fs *fs, struct bucket *b)
{
	*p = (struct plan){.fs = fs, .b = b, .head = b->head};
	if (b->dead)
		return BUCKET_GONE;
	return control_schema(fs, b, &p->schema);
}

static void plan_release(struct plan *p)
{
	store_batch_release(&p->batch);
	buf_release(&p->old);
	buf_release(&p->scratch);
	buf_release(&p->record);
	document_release(&p->touched);
}

static int plan_note(struct plan *p, struct slice key, struct slice text, struct slice value)
{
	return p->schema ? document_add(&p->touched, key, text, value) : 0;
}

/* What the key has now. BUCKET_NO_ATTRIBUTE. The view is valid until the next call for this plan. */
static int plan_look(struct plan *p, struct slice key, struct member_view *m)
{
	int r = store_get(p->fs->store, p->b->number, STORE_DOC, key, &p->old);

	if (r == STORE_ABSENT)
		return BUCKET_NO_ATTRIBUTE;
	if (r)
		return r;
	return bucket_key_result(p->b, key, document_decode(key, buf_slice(&p->old), &p->scratch, m));
}

static int plan_put(struct plan *p, const struct member_view *m)
{
	struct member_view old;
	int r = plan_look(p, m->key, &old);

	if (r && r != BUCKET_NO_ATTRIBUTE)
		return r;
	if (!r) {
		if (slice_equal(old.value, m->value))
			return 0;
		p->head.data_size -= document_size_member(old.text.len, old.value.len);
		p->head.data_keys--;
	}
	buf_clear(&p->record);
	r = document_encode(&p->record, m->key, m->text, m->value);
	if (r)
		return r;
	store_batch_put(&p->batch, STORE_DOC, m->key, buf_slice(&p->record));
	p->head.data_size += document_size_member(m->text.len, m->value.len);
	p->head.data_keys++;
	p->changed = true;
	return plan_note(p, m->key, m->text, m->value);
}

static int plan_delete(struct plan *p, struct slice key)
{
	struct member_view old;
	int r = plan_look(p, key, &old);

	if (r)
		return r == BUCKET_NO_ATTRIBUTE ? 0 : r;
	store_batch_delete(&p->batch, STORE_DOC, key);
	p->head.data_size -= document_size_member(old.text.len, old.value.len);
	p->head.data_keys--;
	p->changed = true;
	return plan_note(p, key, slice_of(NULL, 0), slice_of(NULL, 0));
}

static int plan_check_size(const struct plan *p, struct reason *why)
{
	uint64_t max = p->b->limits.max_data_size;

	/* A document over a limit that was lowered may still shrink. */
	if (!max || p->head.data_size <= max || p->head.data_size <= p->b->head.data_size)
		return 0;
	reason_set(why, "data.json would have %llu bytes and max_data_size is %llu",
		   (unsigned long long)p->head.data_size, (unsigned long long)max);
	return BUCKET_TOO_LARGE;
}

static int add_member(struct buf *out, bool *first, struct slice text, struct slice value)
{
	int r = document_render_member(out, *first, text, value);

	*first = false;
	return r;
}

/* The document as it would be: what the store has, with what is touched in its place. */
static int plan_render(struct plan *p, struct buf *out)
{
	struct slice none = slice_of(NULL, 0), key, record;
	struct store_cursor *cursor;
	struct member_view stored, touched;
	bool first = true;
	size_t i = 0;
	int r = document_sort(&p->touched), end;

	if (!r)
		r = store_cursor_open(p->fs->store, p->b->number, STORE_DOC, none, none, &cursor);
	if (r)
		return r;
	r = document_render_begin(out);
	end = store_cursor_next(cursor, &key, &record);
	while (!r && (end == 0 || i < p->touched.count)) {
		int order;

		if (end == 0)
			r = bucket_key_result(p->b, key, document_decode(key, record, &p->scratch, &stored));
		if (i < p->touched.count)
			touched = document_member(&p->touched, i);
		order = end ? 1 : i == p->touched.count ? -1 : slice_compare(stored.key, touched.key);
		if (!r && order < 0)
			r = add_member(out, &first, stored.text, stored.value);
		else if (!r && touched.value.len)
			r = add_member(out, &first, touched.text, touched.value);
		i += order >= 0;
		if (!r && order <= 0)
			end = store_cursor_next(cursor, &key, &record);
	}
	store_cursor_close(cursor);
	if (!r && end != STORE_END)
		r = end;
	return r ? r : document_render_end(out, first);
}

/* A schema judges what a merge would result in. */
static int plan_judge(struct plan *p, struct reason *why)
{
	enum { long_steps = 10000 };
	struct schema_pace pace = {!fs_may_take_long(p->fs), p->fs->options.is_abandoned, 0};
	struct buf text = {0};
	bool took_long;
	int r;

	if (!p->schema || !p->changed)
		return 0;
	if (pace.shortly && p->head.data_size > data_long_text)
		r = BUCKET_LONG;
	else
		r = plan_render(p, &text);
	if (!r)
		r = schema_check_at(p->schema, buf_slice(&text), &pace, why);
	buf_release(&text);
	/* The next ones need not be tried. */
	if (r == BUCKET_LONG && why)
		why->text[0] = 0;
	took_long = !pace.shortly && (pace.steps > long_steps || p->head.data_size > data_long_text);
	file_becomes(&p->b->judges_slowly, r == BUCKET_LONG || took_long);
	return r;
}

/* A merge that changes nothing is no commit, and changes neither revision nor time. */
static int plan_commit(struct plan *p, struct reason *why)
{
	int r = plan_check_size(p, why);

	if (!r)
		r = plan_judge(p, why);
	if (r)
		return r;
	if (!bucket_is_enabled(p->fs, p->b)) {
		reason_set(why, "the bucket is disabled");
		return BUCKET_READ_ONLY;
	}
	if (!p->changed && p->head.data_present == p->b->head.data_present)
		return 0;
	p->head.data_modified = fs_now(p->fs);
	r = bucket_commit(p->fs, p->b, &p->head, &p->batch);
	if (!r) {
		data_forget_text(p->fs, p->b);
		__atomic_add_fetch(&p->fs->merges, 1, __ATOMIC_RELAXED);
	}
	return r;
}

static int plan_merge(struct plan *p, const struct document *patch)
{
	int r = 0;

	for (size_t i = 0; !r && i < patch->count; i++) {
		struct member_view m = document_member(patch, i);

		r = plan_put(p, &m);
	}
	return r;
}

int data_merge(struct fs *fs, struct bucket *b, const struct document *patch, struct reason *why)
{
	struct plan plan;
	int r;

	if (data_is_long(fs, document_size(patch), patch->count))
		return BUCKET_LONG;
	bucket_lock(b);
	r = plan_init(&plan, fs, b);
	plan.head.data_present = true;
	if (!r)
		r = plan_merge(&plan, patch);
	if (!r)
		r = plan_commit(&plan, why);
	bucket_unlock(b);
	plan_release(&plan);
	return r;
}

int data_merge_into(struct fs *fs, struct bucket *b, const struct document *patch, struct head *head,
		    struct store_batch *batch, struct reason *why)
{
	struct plan plan;
	int r = plan_init(&plan, fs, b);

	if (!r)
		r = plan_merge(&plan, patch);
	if (!r)
		r = plan_check_size(&plan, why);
	if (!r)
		r = plan_judge(&plan, why);
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

int data_check_merge(struct fs *fs, struct bucket *b, const struct document *patch, uint64_t *headroom,
		     struct reason *why)
{
	uint64_t max, most = 0;
	struct plan plan;
	int r;

	*headroom = UINT64_MAX;
	for (size_t i = 0; i < patch->count; i++) {
		struct member_view m = document_member(patch, i);

		most += document_size_member(m.text.len, m.value.len);
	}
	bucket_lock(b);
	max = b->limits.max_data_size;
	r = plan_init(&plan, fs, b);
	/* Far from the limit there is no need to look at what the keys have now. */
	if (!r && !plan.schema && (!max || plan.head.data_size + most <= max)) {
		*headroom = max ? max - plan.head.data_size - most : UINT64_MAX;
	} else if (!r && data_is_long(fs, document_size(patch), patch->count)) {
		r = BUCKET_LONG;
	} else if (!r) {
		r = plan_merge(&plan, patch);
		*headroom = 0;
	}
	if (!r)
		r = plan_check_size(&plan, why);
	if (!r)
		r = plan_judge(&plan, why);
	bucket_unlock(b);
	plan_release(&plan);
	return r;
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

int data_edit(struct fs *fs, struct bucket *b, const struct data_edit *e, struct reason *why)
{
	struct walk walk = {{e->base, e->now, e->moved}, {0}, {{{0}, {0}, {0}}}};
	struct edited_key key;
	struct buf kept = {0};
	struct plan plan;
	uint64_t touched = 0;
	int r;

	if (data_is_long(fs, document_size(e->base) + document_size(e->now), e->base->count + e->now->count))
		return BUCKET_LONG;
	bucket_lock(b);
	/* A whole document where there is none: it is put there, as any file would be. */
	if (e->whole && !e->moved && !b->head.data_present)
		walk.document[0] = NULL;
	r = plan_init(&plan, fs, b);
	plan.head.data_present = true;
	while (!r && next_key(&walk, &key)) {
		touched += key.base && is_changed(&key);
		r = plan_edit(&plan, &key, why);
	}
	/* A document that was moved away is kept since then. */
	if (!r && plan.changed && b->head.data_keys && !e->moved && (e->whole || is_all_touched(&plan, touched)))
		r = plan_keep(&plan, e->uid, &kept);
	if (!r)
		r = plan_commit(&plan, why);
	bucket_unlock(b);
	buf_release(&kept);
	plan_release(&plan);
	return r;
}

/* ---- the file as a whole ---- */

int data_create(struct fs *fs, struct bucket *b, const struct caller *who)
{
	struct document nothing = {0};
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "create data.json");

	return r ? r : data_merge(fs, b, &nothing, NULL);
}

int data_remove(struct fs *fs, struct bucket *b, const struct caller *who, struct buf *removed)
{
	struct slice all = slice_of(NULL, 0), key, record;
	struct store_cursor *cursor = NULL;
	struct buf kept = {0};
	struct plan plan;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "remove data.json");

	if (r)
		return r;
	bucket_lock(b);
	r = plan_init(&plan, fs, b);
	if (!r && !b->head.data_present)
		r = BUCKET_ABSENT;
	if (!r && data_is_long(fs, b->head.data_size, b->head.data_keys))
		r = BUCKET_LONG;
	if (!r && b->head.data_keys)
		r = plan_keep(&plan, who->uid, &kept);
	if (!r && b->head.data_keys)
		r = store_cursor_open(fs->store, b->number, STORE_DOC, all, all, &cursor);
	while (cursor && !r && !(r = store_cursor_next(cursor, &key, &record)))
		store_batch_delete(&plan.batch, STORE_DOC, key);
	store_cursor_close(cursor);
	if (!r || r == STORE_END)
		r = attribute_delete_all(fs, b, NODE_DATA, &plan.head, &plan.batch);
	if (!r) {
		plan.head.data_present = false;
		plan.head.data_keys = 0;
		plan.head.data_size = document_size_empty;
		r = plan_commit(&plan, NULL);
	}
	bucket_unlock(b);
	if (!r && removed) {
		buf_release(removed);
		*removed = kept;
		kept = (struct buf){0};
	}
	buf_release(&kept);
	plan_release(&plan);
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
		data_forget_text(fs, b);
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

int data_key_set(struct fs *fs, struct bucket *b, const struct caller *who, struct slice key, struct slice text,
		 bool create, bool replace, struct reason *why)
{
	struct buf value = {0}, spelled = {0};
	struct member_view old, m;
	struct plan plan;
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
		m = (struct member_view){key, buf_slice(&spelled), buf_slice(&value)};
		bucket_lock(b);
		r = plan_init(&plan, fs, b);
		plan.head.data_present = true;
		if (!r && (create || replace)) {
			r = plan_look(&plan, key, &old);
			if (r == 0 && create)
				r = BUCKET_EXISTS;
			else if (r == BUCKET_NO_ATTRIBUTE && !replace)
				r = 0;
		}
		if (!r)
			r = plan_put(&plan, &m);
		if (!r)
			r = plan_commit(&plan, why);
		bucket_unlock(b);
		plan_release(&plan);
	}
	buf_release(&value);
	buf_release(&spelled);
	return r;
}

int data_key_remove(struct fs *fs, struct bucket *b, const struct caller *who, struct slice key, struct reason *why)
{
	struct plan plan;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "remove a key");

	if (r)
		return r;
	bucket_lock(b);
	r = plan_init(&plan, fs, b);
	if (!r)
		r = plan_delete(&plan, key);
	if (!r)
		r = plan.changed ? plan_commit(&plan, why) : BUCKET_NO_ATTRIBUTE;
	bucket_unlock(b);
	plan_release(&plan);
	return r;
}
