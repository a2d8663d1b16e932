#include "bucket/data_plan.h"

#include "bucket/control.h"
#include "bucket/data.h"
#include "bucket/file.h"
#include "bucket/schema.h"

/* A verdict of this file alone: the document is another one by now, and what was judged is not what would be committed.
 */
enum { plan_overtaken = -0x10000 };

int plan_init(struct plan *p, struct fs *fs, struct bucket *b)
{
	*p = (struct plan){.fs = fs, .b = b, .head = b->head, .keeps_lock = true, .judged_briefly = true};
	if (b->dead)
		return BUCKET_GONE;
	return control_schema(fs, b, &p->schema);
}

void plan_release(struct plan *p)
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

int plan_look(struct plan *p, struct slice key, struct member_view *m)
{
	int r = store_get(p->fs->store, p->b->number, STORE_DOC, key, &p->old);

	if (r == STORE_ABSENT)
		return BUCKET_NO_ATTRIBUTE;
	if (r)
		return r;
	return bucket_key_result(p->b, key, document_decode(key, buf_slice(&p->old), &p->scratch, m));
}

int plan_put(struct plan *p, const struct member_view *m)
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

int plan_delete(struct plan *p, struct slice key)
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

static int check_size(const struct plan *p, struct reason *why)
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

static unsigned access_changes(const struct plan *p)
{
	return __atomic_load_n(&p->b->acl_changes, __ATOMIC_ACQUIRE) +
	       __atomic_load_n(&p->fs->root->acl_changes, __ATOMIC_ACQUIRE);
}

int plan_may(struct fs *fs, struct bucket *b, const struct plan_access *a)
{
	int r = a ? bucket_check(fs, b, a->who, PRIVILEGE_EDIT, "write data.json") : 0;

	return r || !a || !a->reads ? r : bucket_check(fs, b, a->who, PRIVILEGE_READ, "read data.json");
}

/* Takes the lock, with the verdict of the access lists as they are then: judging reads files, which needs no lock. */
static int lock_again(const struct plan *p)
{
	unsigned changes;
	int r;

	for (;;) {
		changes = access_changes(p);
		r = plan_may(p->fs, p->b, p->access);
		bucket_lock(p->b);
		if (r || changes == access_changes(p))
			return r;
		bucket_unlock(p->b);
	}
}

/* Others need the bucket's lock meanwhile. And the kernel keeps all moves between folders of a mount waiting for one of
 * them, which may be in this bucket. */
static int judge_unlocked(struct plan *p, struct slice text, struct schema_pace *pace, struct reason *why)
{
	struct schema *schema = schema_share(p->schema);
	uint64_t changes = p->b->data_changes;
	struct head head;
	int r, allowed;

	bucket_unlock(p->b);
	fs_pause(p->fs, true);
	r = schema_check_at(schema, text, pace, why);
	fs_pause(p->fs, false);
	allowed = lock_again(p);
	if (p->b->dead)
		r = BUCKET_GONE;
	else if (allowed)
		r = allowed;
	else if (changes != p->b->data_changes || schema != p->b->schema)
		r = plan_overtaken;
	schema_free(schema);
	head = p->b->head;
	head.data_present = p->head.data_present;
	head.data_keys = p->head.data_keys;
	head.data_size = p->head.data_size;
	p->head = head;
	return r;
}

static int judge(struct plan *p, struct reason *why)
{
	enum { long_steps = 10000 };
	struct schema_pace pace = {.shortly = !fs_may_take_long(p->fs),
				   .briefly = p->judged_briefly,
				   .stop = p->fs->options.is_abandoned};
	struct buf text = {0};
	bool took_long;
	int r;

	if (!p->schema || !p->changed)
		return 0;
	if (pace.shortly && p->head.data_size > data_long_text)
		r = BUCKET_LONG;
	else
		r = plan_render(p, &text);
	if (!r && (pace.shortly || p->keeps_lock))
		r = schema_check_at(p->schema, buf_slice(&text), &pace, why);
	else if (!r)
		r = judge_unlocked(p, buf_slice(&text), &pace, why);
	buf_release(&text);
	/* A limit may have been set meanwhile. */
	if (!r)
		r = check_size(p, why);
	/* The next ones need not be tried. */
	if ((r == BUCKET_LONG || r == plan_overtaken) && why)
		why->text[0] = 0;
	took_long = !pace.shortly && (pace.steps > long_steps || p->head.data_size > data_long_text);
	file_becomes(&p->b->judges_slowly, r == BUCKET_LONG || took_long);
	return r;
}

int plan_check(struct plan *p, struct reason *why)
{
	int r = check_size(p, why);

	return r ? r : judge(p, why);
}

int plan_commit(struct plan *p, struct reason *why)
{
	int r;

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

int plan_run(struct fs *fs, struct bucket *b, const struct plan_access *access,
	     int (*change)(struct plan *p, void *context), void *context)
{
	enum { most_tries = 3 };
	struct plan plan;
	int r = plan_overtaken;

	bucket_lock(b);
	for (int tries = 1; r == plan_overtaken; tries++) {
		r = plan_init(&plan, fs, b);
		plan.access = access;
		plan.judged_briefly = false;
		/* Nobody is overtaken for ever. */
		plan.keeps_lock = tries == most_tries;
		if (!r)
			r = change(&plan, context);
		plan_release(&plan);
	}
	bucket_unlock(b);
	return r;
}
