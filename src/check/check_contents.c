/* Contents: who owns which, what the store notes of them, and their files. */
#include "check/check_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "store/rocksdb_check.h"

enum { piece = 1 << 20, looks = 4, between_looks = 30000000, progress_step = 256 };

static const struct slice no_id = {"", 0};

/* ---- who owns which ---- */

static int compare_owners(const void *a, const void *b)
{
	const struct check_owner *x = a, *y = b;

	return (x->content > y->content) - (x->content < y->content);
}

static bool is_published(const struct check *c, uint32_t bucket)
{
	for (size_t i = 0; i < c->published.len / 4; i++)
		if (memcmp(c->published.data + 4 * i, &bucket, 4) == 0)
			return true;
	return false;
}

/* What is in a transaction that has been published belongs to the bucket; the records of the transaction are about to be erased. */
static void sort_owners(struct check *c)
{
	struct check_owner *o = (struct check_owner *)c->owners.data;
	size_t count = c->owners.len / sizeof(*o), kept = 0;

	for (size_t i = 0; i < count; i++)
		if (!c->published.len || !is_published(c, o[i].bucket))
			o[kept++] = o[i];
	c->owners.len = kept * sizeof(*o);
	if (kept)
		qsort(o, kept, sizeof(*o), compare_owners);
}

static const struct check_owner *find_owner(const struct check *c, uint64_t content)
{
	const struct check_owner key = {.content = content};

	return c->owners.len ? bsearch(&key, c->owners.data, c->owners.len / sizeof(key), sizeof(key), compare_owners) : NULL;
}

static struct slice id_of(struct check *c, const struct check_owner *o)
{
	struct check_bucket *bucket = check_find_bucket(c, o->bucket);

	return bucket ? bucket->id : no_id;
}

static int tell_owner(struct check *c, const struct check_owner *o, const char *kind, bool mended, const char *what)
{
	return check_tell(c, id_of(c, o), NULL, kind, mended ? CHECK_MENDED : 0, "content %llx of file number %llu %s", (unsigned long long)o->content,
			  (unsigned long long)o->node, what);
}

/* With the head as it is. */
static int commit_to(struct check *c, uint32_t bucket, const struct store_batch *batch)
{
	struct buf head = {0};
	uint64_t revision;
	int r = store_head(c->store, bucket, &revision, &head);

	if (!r)
		r = store_commit(c->store, bucket, revision, buf_slice(&head), batch, NULL);
	buf_release(&head);
	return r > 0 ? -EIO : r;
}

/* The store notes that the content is owned. It has no checksums then; those it had went with the note. */
static int adopt(struct check *c, const struct check_owner *o)
{
	struct store_batch batch = {0};
	int r;

	store_batch_adopt(&batch, o->content);
	r = commit_to(c, o->bucket, &batch);
	store_batch_release(&batch);
	return r;
}

struct notes {
	struct check *c;
	size_t at; /* the next owner */
	uint64_t tracked;
	struct store_batch batch; /* lets go what nobody owns */
	struct buf saved;         /* contents, as numbers: of a file whose record is lost */
};

/* Nobody knows which file it was, and its bytes may be all that is left. */
static int save_file(struct check *c, const char *kind, unsigned how, uint64_t number)
{
	int r = rocksdb_check_save_file(c->store, number);

	if (r == STORE_ABSENT)
		return check_tell(c, no_id, NULL, kind, how, "content %llx belongs to no file, and is gone", (unsigned long long)number);
	return r ? r : check_tell(c, no_id, NULL, kind, how, "content %llx belongs to no file: it is %s/lost+found/%016llx now",
				  (unsigned long long)number, c->o->store, (unsigned long long)number);
}

/* What is owned and the store has no note of. */
static int check_unnoted(struct notes *n, const struct check_owner *o)
{
	bool mends = n->c->o->repair;
	int r;

	if (o->content < n->tracked)
		return 0;
	r = mends ? adopt(n->c, o) : 0;
	return r ? r : tell_owner(n->c, o, "note", mends, "has no note in the store that it is owned: the store might remove it");
}

static int check_noted(struct notes *n, const struct check_owner *o, const struct rocksdb_check_content *content)
{
	bool mends = n->c->o->repair;
	int r;

	if (!content->unowned)
		return 0;
	r = mends ? adopt(n->c, o) : 0;
	return r ? r : tell_owner(n->c, o, "note", mends, "is noted as nobody's: the next start would remove it");
}

static int check_unowned(struct notes *n, const struct rocksdb_check_content *content)
{
	bool mends = n->c->o->repair;

	/* Its owner may be what could not be read, which has been told. */
	if (!content->owned || n->c->unsure)
		return 0;
	if (mends && n->c->lost && n->c->lost != UINT32_MAX)
		return buf_add(&n->saved, &content->number, sizeof(content->number));
	if (!mends)
		return check_tell(n->c, no_id, NULL, "orphan", 0, "content %llx belongs to no file", (unsigned long long)content->number);
	store_batch_drop(&n->batch, content->number);
	return save_file(n->c, "orphan", CHECK_MENDED, content->number);
}

static int save_one(struct check_scan *s, uint64_t number)
{
	struct store_content *content;
	uint64_t size;
	int r = store_content_open(s->c->store, number, &content);

	s->broken++;
	if (r == STORE_ABSENT) {
		store_batch_drop(&s->batch, number);
		s->changed = true;
		return check_tell(s->c, no_id, NULL, "orphan", CHECK_MENDED, "content %llx belongs to no file, and is gone", (unsigned long long)number);
	}
	if (r)
		return r;
	r = store_content_size(content, &size);
	store_content_close(content, false);
	if (!r)
		r = check_mend_content(s, number, size, buf_slice(&s->c->lost_name));
	if (!r)
		r = check_tell(s->c, s->bucket->id, NULL, "orphan", CHECK_MENDED, "content %llx, which has lost its record, is in lost_found now",
			       (unsigned long long)number);
	return r;
}

/* Only one bucket has lost records of files, so what nobody owns was theirs, and whoever may read that bucket may read this. */
static int save_all(struct check *c, const struct buf *numbers)
{
	struct check_bucket *bucket = check_find_bucket(c, c->lost);
	struct check_scan s = {0};
	int r = bucket && numbers->len ? check_scan_load(&s, c, bucket, false) : 0;

	for (size_t at = 0; !r && s.mends && at < numbers->len; at += 8) {
		uint64_t number;

		memcpy(&number, numbers->data + at, 8);
		r = save_one(&s, number);
	}
	if (!r && s.changed)
		r = check_data(&s);
	if (!r && s.changed)
		r = check_counts(&s);
	if (!r && s.changed)
		r = check_mend_commit(&s);
	check_scan_release(&s);
	return r;
}

static int check_note(void *context, const struct rocksdb_check_content *content)
{
	struct notes *n = context;
	struct check_owner *o = (struct check_owner *)n->c->owners.data;
	size_t count = n->c->owners.len / sizeof(*o);
	int r = 0;

	for (; !r && n->at < count && o[n->at].content < content->number; n->at++)
		r = check_unnoted(n, &o[n->at]);
	if (r || n->at == count || o[n->at].content != content->number)
		return r ? r : check_unowned(n, content);
	for (; !r && n->at < count && o[n->at].content == content->number; n->at++)
		r = check_noted(n, &o[n->at], content);
	return r;
}

static int check_twice(struct check *c)
{
	struct check_owner *o = (struct check_owner *)c->owners.data;
	int r = 0;

	for (size_t i = 1; !r && i < c->owners.len / sizeof(*o); i++)
		if (o[i].content == o[i - 1].content)
			r = tell_owner(c, &o[i], "twice", false, "belongs to another one as well");
	return r;
}

/* ---- files that nobody knows ---- */

static int check_file(void *context, uint64_t number, const char *name)
{
	struct check *c = context;
	struct rocksdb_check_content note;
	bool mends = c->o->repair && !c->unsure && number;
	uint64_t tracked = 0;
	int r = 0;

	if (number && find_owner(c, number))
		return 0;
	if (number)
		r = rocksdb_check_content(c->store, number, &note);
	if (r || (number && (note.owned || note.unowned)))
		return r;
	if (mends)
		r = rocksdb_check_tracked(c->store, &tracked);
	/* A loss of power leaves files of which the disk never had a note. Where records were lost, or before owners were noted, such
	 * a file may be somebody's. */
	if (!r && mends && (rocksdb_check_lost(c->store) || number < tracked))
		return save_file(c, "leftover", CHECK_NOTE | CHECK_MENDED, number);
	if (mends && !r)
		r = rocksdb_check_remove_file(c->store, number);
	return r ? r : check_tell(c, no_id, NULL, "leftover", CHECK_NOTE | (mends ? CHECK_MENDED : 0), "%s belongs to no file", name);
}

int check_owners(struct check *c)
{
	struct notes n = {.c = c};
	const struct check_owner *o;
	int r;

	sort_owners(c);
	r = check_twice(c);
	if (!r)
		r = rocksdb_check_tracked(c->store, &n.tracked);
	if (!r)
		r = rocksdb_check_contents(c->store, check_note, &n);
	o = (const struct check_owner *)c->owners.data;
	for (; !r && n.at < c->owners.len / sizeof(*o); n.at++)
		r = check_unnoted(&n, &o[n.at]);
	if (!r && n.batch.ops.len)
		r = commit_to(c, 0, &n.batch);
	if (!r)
		r = save_all(c, &n.saved);
	store_batch_release(&n.batch);
	buf_release(&n.saved);
	/* A daemon makes files before it notes them. */
	return r || c->live ? r : rocksdb_check_files(c->store, check_file, c);
}

/* ---- what is in their files ---- */

struct look {
	bool gone, shorter, damaged, sealed;
	uint64_t left;
};

static int read_all(struct check *c, struct store_content *content, uint64_t size, unsigned char *bytes, uint64_t total, bool *damaged)
{
	size_t got = piece;
	int r = 0;

	for (uint64_t at = 0; !r && at < size && got; at += got) {
		r = store_content_read(content, at, bytes, size - at < piece ? (size_t)(size - at) : piece, &got);
		if (!r)
			r = check_progress(c, "bytes", c->done + at + got, total);
	}
	*damaged = r == -EIO;
	return r == -EIO ? 0 : r;
}

static int look_at(struct check *c, const struct check_owner *o, unsigned char *bytes, uint64_t total, struct look *look)
{
	struct rocksdb_check_content note;
	struct store_content *content;
	int r = store_content_open(c->store, o->content, &content);

	*look = (struct look){.gone = r == STORE_ABSENT};
	/* Its checksums cannot be read. */
	if (r == -EIO) {
		look->damaged = true;
		look->left = o->size;
		return 0;
	}
	if (r)
		return r == STORE_ABSENT ? 0 : r;
	r = store_content_size(content, &look->left);
	look->shorter = !r && look->left < o->size;
	if (!r)
		r = rocksdb_check_content(c->store, o->content, &note);
	look->sealed = !r && note.sealed;
	if (!r && c->o->data && !look->shorter)
		r = read_all(c, content, o->size, bytes, total, &look->damaged);
	store_content_close(content, false);
	return r;
}

/* Whether the record still says what it said. */
static int is_current(struct check *c, const struct check_owner *o, bool *is)
{
	struct key_buf key = o->fallback ? key_unsettled(o->node) : key_child(o->parent, o->node);
	struct unsettled_record u;
	struct buf record = {0};
	struct node n = {.number = o->node, .parent = o->parent};
	int r = store_get(c->store, o->bucket, STORE_NODE, key_slice(&key), &record);

	if (!r && o->fallback)
		*is = unsettled_decode(&u, buf_slice(&record)) && u.falls_back && u.fallback.content == o->content;
	else
		*is = !r && !node_decode(&n, buf_slice(&record)) && n.place == PLACE_CONTENT && n.content == o->content && n.size == o->size;
	/* A writer has begun to change it. */
	if (!r && *is && !o->fallback) {
		key = key_unsettled(o->node);
		*is = store_get(c->store, o->bucket, STORE_NODE, key_slice(&key), &record) == STORE_ABSENT;
	}
	buf_release(&record);
	return r < 0 ? r : 0;
}

static bool is_bad(const struct check *c, const struct look *look)
{
	/* Without checksums it may be that a writer changes it right now. */
	if (c->live && look->shorter && !look->sealed)
		return false;
	return look->gone || look->shorter || look->damaged;
}

static int look_again(struct check *c, const struct check_owner *o, unsigned char *bytes, uint64_t total, struct look *look)
{
	struct timespec pause = {0, between_looks};
	bool is;
	int r = 0;

	for (int i = 0; !r && i < looks && is_bad(c, look); i++) {
		nanosleep(&pause, NULL);
		r = rocksdb_check_catch_up(c->store);
		if (!r)
			r = is_current(c, o, &is);
		if (r || !is) {
			*look = (struct look){.sealed = true};
			return r;
		}
		r = look_at(c, o, bytes, total, look);
	}
	return r;
}

static int check_content(struct check *c, const struct check_owner *o, unsigned char *bytes, uint64_t total, struct buf *bad)
{
	struct look look;
	int r;

	if (o->changing)
		return 0;
	r = look_at(c, o, bytes, total, &look);
	if (!r && c->live)
		r = look_again(c, o, bytes, total, &look);
	if (r)
		return r;
	c->sums->unsealed += !look.sealed && !look.gone;
	if (is_bad(c, &look)) {
		struct check_bad b = {*o, look.left < o->size ? look.left : o->size, look.gone};

		r = buf_add(bad, &b, sizeof(b));
	}
	return r;
}

/* ---- what is wrong with them ---- */

static int compare_bad(const void *a, const void *b)
{
	const struct check_bad *x = a, *y = b;

	if (x->owner.bucket != y->owner.bucket)
		return x->owner.bucket < y->owner.bucket ? -1 : 1;
	return (x->owner.node > y->owner.node) - (x->owner.node < y->owner.node);
}

static int mend_fallback(struct check_scan *s, const struct check_bad *bad, struct check_item *item)
{
	int r = check_scan_tell(s, item, "fallback", s->mends, "what it falls back to after a loss of power is %s", bad->gone ? "gone" : "damaged");

	for (size_t i = 0; !r && s->mends && i < s->unsettled_count; i++)
		if (s->unsettled[i].number == bad->owner.node) {
			store_batch_drop(&s->batch, bad->owner.content);
			r = check_mend_unsettled(s, &s->unsettled[i]);
		}
	return r;
}

static int mend_one(struct check_scan *s, const struct check_bad *bad)
{
	struct check_item *item = check_scan_find(s, bad->owner.node, bad->owner.parent);
	uint64_t size = bad->owner.size;
	int r;

	if (!item || item->bad)
		return 0;
	if (bad->owner.fallback)
		return mend_fallback(s, bad, item);
	if (bad->gone)
		r = check_scan_tell(s, item, "gone", s->mends, "its content is gone");
	else if (bad->left < size)
		r = check_scan_tell(s, item, "short", s->mends, "%llu of its %llu bytes are there", (unsigned long long)bad->left,
				    (unsigned long long)size);
	else
		r = check_scan_tell(s, item, "damaged", s->mends, "its bytes are not what was written");
	if (r || !s->mends)
		return r;
	if (bad->gone)
		return check_mend_remove(s, item);
	/* What is left can be read then. */
	store_batch_adopt(&s->batch, item->content);
	return check_mend_move(s, item, bad->left);
}

static int mend_bucket(struct check *c, const struct check_bad *bad, size_t count)
{
	struct check_bucket *bucket = check_find_bucket(c, bad->owner.bucket);
	struct check_scan s = {0};
	int r = bucket ? check_scan_load(&s, c, bucket, false) : 0;

	for (size_t i = 0; !r && bucket && i < count; i++)
		r = mend_one(&s, &bad[i]);
	if (!r && s.changed) {
		r = check_data(&s);
		if (!r)
			r = check_counts(&s);
		if (!r)
			r = check_mend_commit(&s);
	}
	check_scan_release(&s);
	return r;
}

static int tell_bad(struct check *c, const struct buf *list)
{
	struct check_bad *bad = (struct check_bad *)list->data;
	size_t count = list->len / sizeof(*bad), from = 0;
	int r = 0;

	if (count)
		qsort(bad, count, sizeof(*bad), compare_bad);
	for (size_t i = 1; !r && i <= count; i++) {
		if (i < count && bad[i].owner.bucket == bad[from].owner.bucket)
			continue;
		r = mend_bucket(c, bad + from, i - from);
		from = i;
	}
	return r;
}

int check_contents(struct check *c)
{
	struct check_owner *o = (struct check_owner *)c->owners.data;
	size_t count = c->owners.len / sizeof(*o);
	unsigned char *bytes = malloc(piece);
	struct buf bad = {0};
	uint64_t total = 0;
	int r = bytes ? 0 : -ENOMEM;

	for (size_t i = 0; i < count; i++)
		total += o[i].size;
	for (size_t i = 0; !r && i < count; i++) {
		if (!c->o->data && i % progress_step == 0)
			r = check_progress(c, "contents", i, count);
		if (!r)
			r = check_content(c, &o[i], bytes, total, &bad);
		c->done += o[i].size;
	}
	if (!r)
		r = tell_bad(c, &bad);
	buf_release(&bad);
	free(bytes);
	return r;
}
