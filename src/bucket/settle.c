#include "bucket/settle_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/file.h"
#include "bucket/tree.h"
#include "bucket/version.h"
#include "util/bytes.h"
#include "util/checksum.h"
#include "util/log.h"

/* ---- records ---- */

/* ns after which a fallback is too old to be replaced by nothing better. */
enum { settle_overdue = 2000000000 };

static int encode(const struct settle *s, struct buf *out)
{
	struct unsettled_record u = {s->content, s->safe, s->turn, s->since, s->falls_back, s->kept, s->fallback, slice_of(s->boot, boot_size),
				     buf_slice(&s->checks)};

	return unsettled_encode(&u, out);
}

static int decode(struct settle *s, struct slice record)
{
	struct unsettled_record u;

	if (!unsettled_decode(&u, record))
		return -EIO;
	s->content = u.content;
	s->safe = u.safe;
	s->turn = u.turn;
	s->since = u.since;
	s->falls_back = u.falls_back;
	s->kept = u.kept;
	s->fallback = u.fallback;
	memcpy(s->boot, u.boot.at, boot_size);
	s->stored = true;
	return buf_add_slice(&s->checks, u.checks);
}

void settle_release(struct settle *s)
{
	buf_release(&s->checks);
}

int settle_load(struct fs *fs, struct bucket *b, uint64_t number, struct settle *s)
{
	struct key_buf key = key_unsettled(number);
	struct buf record = {0};
	int r;

	*s = (struct settle){.number = number};
	if (!b->head.unsettled)
		return 0;
	r = store_get(fs->store, b->number, STORE_NODE, key_slice(&key), &record);
	if (!r && (r = decode(s, buf_slice(&record))) == -EIO)
		bucket_damaged(b, "what is not on the disk yet of file", number, "it makes no sense");
	buf_release(&record);
	return r == STORE_ABSENT ? 0 : r;
}

/* The node owns another content with this commit. */
static void settle_begin(struct fs *fs, struct settle *s, uint64_t content)
{
	memcpy(s->boot, fs->options.boot, sizeof(s->boot));
	s->content = content;
	s->safe = 0;
	s->kept = false;
	s->turn = 0;
	s->since = fs_moment(fs);
	buf_clear(&s->checks);
	s->changed = s->fresh = true;
}

bool settle_replace(struct fs *fs, struct settle *s, const struct node *old, uint64_t turn, uint64_t content, struct store_batch *batch)
{
	struct settle was = *s;
	struct node first;

	settle_begin(fs, s, content);
	s->turn = turn;
	if (!was.content)
		return old && settle_fall_back(s, old);
	/* What has a fallback itself is none. */
	if (s->falls_back)
		s->since = was.since;
	if (s->falls_back || !was.safe || !old) {
		s->turn = was.turn;
		store_batch_drop(batch, was.content);
		return true;
	}
	first = *old;
	first.size = was.safe < old->size ? was.safe : old->size;
	return settle_fall_back(s, &first);
}

void settle_change(struct fs *fs, struct settle *s, uint64_t content, uint64_t safe, struct slice checks, struct store_batch *batch)
{
	if (!s->content) {
		settle_begin(fs, s, content);
		s->safe = safe;
	}
	if (s->safe > safe)
		s->safe = safe;
	s->kept = false;
	buf_clear(&s->checks);
	batch->error = batch->error ? batch->error : buf_add_slice(&s->checks, checks);
	s->changed = true;
}

void settle_takes_name(struct settle *s, uint64_t turn)
{
	if (!s->content || s->safe)
		return;
	s->turn = turn;
	s->changed = true;
}

bool settle_fall_back(struct settle *s, const struct node *old)
{
	if (!s->content || s->falls_back || s->safe)
		return false;
	s->falls_back = s->changed = true;
	s->fallback = node_without_names(old);
	return true;
}

bool settle_inherit(struct settle *s, struct settle *own, const struct node *old)
{
	struct node safe = *old;

	/* What the disk may not have is no fallback; its first bytes are, or what it falls back to. */
	safe.size = own->safe < old->size ? own->safe : old->size;
	if (own->safe)
		return settle_fall_back(s, &safe);
	if (s->content && !s->falls_back) {
		s->since = own->since < s->since ? own->since : s->since;
		s->turn = own->turn && own->turn < s->turn ? own->turn : s->turn;
		s->changed = true;
	}
	if (own->falls_back && settle_fall_back(s, &own->fallback))
		own->falls_back = false;
	return false;
}

void settle_drop_fallback(struct settle *s, struct store_batch *batch)
{
	struct key_buf body = key_body(s->fallback.number);

	if (!s->falls_back)
		return;
	if (s->fallback.place == PLACE_CONTENT)
		store_batch_drop(batch, s->fallback.content);
	else if (s->fallback.place == PLACE_INLINE)
		store_batch_delete(batch, STORE_BODY, key_slice(&body));
	s->falls_back = false;
	s->changed = true;
}

bool settle_prefers(struct settle *s, uint64_t overtaken, struct store_batch *batch)
{
	if (!s->content || s->safe || !s->turn || overtaken < s->turn)
		return false;
	settle_drop_fallback(s, batch);
	s->changed = true;
	return true;
}

void settle_end(struct settle *s, struct store_batch *batch)
{
	settle_drop_fallback(s, batch);
	s->content = 0;
	s->changed = true;
}

/* If there is no memory for it, a loss of power in this moment may cost the file; it will be settled when the bucket is
 * loaded next. */
static void add_to(struct fs *fs, struct buf *list, uint32_t bucket, uint64_t number, uint64_t content, bool reseals)
{
	struct unsettled u = {bucket, number, content, fs_moment(fs), reseals};

	pthread_mutex_lock(&fs->lock);
	buf_add(list, &u, sizeof(u));
	pthread_mutex_unlock(&fs->lock);
}

static bool is_overdue(struct fs *fs, const struct settle *s)
{
	return s->falls_back && fs_moment(fs) - s->since > settle_overdue;
}

void settle_later(struct fs *fs, uint32_t bucket, uint64_t number, uint64_t content)
{
	add_to(fs, &fs->unsettled, bucket, number, content, true);
}

void settle_write(struct fs *fs, struct bucket *b, struct settle *s, struct head *head, struct store_batch *batch)
{
	struct key_buf key = key_unsettled(s->number);
	struct buf record = {0};

	if (!s->changed)
		return;
	if (s->content) {
		batch->error = batch->error ? batch->error : encode(s, &record);
		store_batch_put(batch, STORE_NODE, key_slice(&key), buf_slice(&record));
		head->unsettled += !s->stored;
		/* One that is there already is waited for already. But a file that is replaced again and again before it is settled
		 * would keep a very old fallback: its turn is next. */
		if (s->fresh)
			add_to(fs, &fs->unsettled, b->number, s->number, s->content, false);
		if (is_overdue(fs, s))
			add_to(fs, &fs->overdue, b->number, s->number, s->content, false);
	} else if (s->stored) {
		store_batch_delete(batch, STORE_NODE, key_slice(&key));
		head->unsettled -= head->unsettled > 0;
	}
	buf_release(&record);
}

/* ---- reading a content, for its checksums ---- */

static int read_content(void *context, uint64_t at, void *bytes, size_t len, size_t *got)
{
	return store_content_read(context, at, bytes, len, got);
}

int settle_verify(struct store_content *content, struct slice checks, uint64_t from, uint64_t *size, bool *whole, uint64_t *good)
{
	struct checksum_source source = {.read = read_content, .context = content};
	struct checksum_list list;
	int r = checksum_list_decode(&list, checks);

	if (r)
		return r;
	*size = list.size;
	r = checksum_verify(&list, from, &source, whole, good);
	checksum_list_release(&list);
	return r;
}

static uint64_t size_in(const struct settle *s)
{
	return s->checks.len >= 8 ? bytes_get_le64(s->checks.data) : 0;
}

/* ---- settling ---- */

static bool is_same(const struct settle *a, const struct settle *b)
{
	return a->content == b->content && a->safe == b->safe && a->falls_back == b->falls_back && a->kept == b->kept &&
	       slice_equal(buf_slice(&a->checks), buf_slice(&b->checks));
}

/* With b->lock held. */
static bool is_being_made(struct fs *fs, const struct bucket *b, uint64_t number)
{
	struct file *f = file_peek(fs, inode_of(b->number, number));

	return f && f->unlisted;
}

/* Whether this process has made the record. A process that was killed may have changed the content after its commit,
 * and nobody knows of its failed syncs. */
static bool is_ours(struct fs *fs, const struct settle *s)
{
	return s->since >= fs->opened && memcmp(s->boot, fs->options.boot, sizeof(s->boot)) == 0;
}

/* Whether the checksums of a record, which were right a moment ago, are those of what is in the content. `f` is the open file, with
 * f->lock held, or NULL; with b->lock held. A file that is written over in place would only have its seal removed again. */
static bool can_be_sealed(struct fs *fs, const struct bucket *b, const struct settle *s, const struct file *f)
{
	return s->checks.len && file_peek(fs, inode_of(b->number, s->number)) == f &&
	       !(f && (file_is(&f->unsaved) || f->reseal || f->exposed));
}

/* Whether a mapping that has outlived its descriptor may change the content. Where it is open, our own descriptor would look like one. */
static bool may_be_mapped(struct fs *fs, uint64_t content, const struct file *f)
{
	bool has;

	if (f)
		return __atomic_load_n(&fs->exposures, __ATOMIC_RELAXED);
	return store_content_has_writer(fs->store, content, &has) || has;
}

/* What was committed when `then` was loaded is on the disk; `made`: and it was not published yet. With b->lock held. *rest: more was
 * committed since. `*seals`: it may be sealed; then whether it was. */
static int settle_now(struct fs *fs, struct bucket *b, const struct settle *then, bool made, bool *seals, const struct file *f, bool *rest)
{
	struct store_batch batch = {0};
	struct head head = b->head;
	struct settle s = {0};
	uint64_t content = then->content, size = size_in(then);
	bool may_seal = *seals;
	int r = b->dead ? 0 : settle_load(fs, b, then->number, &s);

	*rest = *seals = false;
	if (!r && !b->dead && s.content == content && content) {
		if (is_same(&s, then) && is_being_made(fs, b, then->number)) {
			/* Its writer may go back: then the next commit says that nothing is safe. */
			settle_drop_fallback(&s, &batch);
			s.safe = size_in(&s);
			s.kept = s.checks.len > 0;
			s.changed = *rest = true;
		} else if (is_same(&s, then)) {
			*seals = may_seal && can_be_sealed(fs, b, &s, f) && !may_be_mapped(fs, content, f);
			if (*seals)
				store_batch_seal(&batch, content, buf_slice(&s.checks));
			settle_end(&s, &batch);
		} else if (made) {
			/* Its first bytes may have been written over since. */
			*rest = true;
		} else {
			/* The first bytes are there, whatever became of the others: there is something to end at now. */
			settle_drop_fallback(&s, &batch);
			s.safe = size_in(&s) < size ? size_in(&s) : size;
			s.changed = *rest = true;
		}
		settle_write(fs, b, &s, &head, &batch);
		r = bucket_commit(fs, b, &head, &batch);
	}
	store_batch_release(&batch);
	settle_release(&s);
	return r;
}

/* `s` is the record of the node that may own the content `number`. *known: its checksums are those of the content. */
static int sync_content(struct fs *fs, const struct settle *s, uint64_t number, bool *known)
{
	bool about = s->content == number, ours = !about || is_ours(fs, s);
	struct store_content *content;
	uint64_t size, good;
	int r = store_content_open(fs->store, number, &content);

	*known = true;
	if (r)
		return r == STORE_ABSENT ? 0 : r;
	r = ours ? store_content_sync(content) : store_content_sync_again(content, s->safe);
	if (r == STORE_REPEATED)
		r = about && s->checks.len ? settle_verify(content, buf_slice(&s->checks), s->safe, &size, known, &good) : 0;
	/* A writer that was killed with an earlier process may have changed it after the commit. */
	if (!r && !*known && ours)
		r = -EIO;
	store_content_close(content, false);
	return r;
}

/* The open file, so that nobody writes it until it is put; NULL: nobody has it open. */
static struct file *hold_still(struct fs *fs, const struct bucket *b, uint64_t number)
{
	struct file *f = file_find(fs, inode_of(b->number, number));

	if (f)
		pthread_rwlock_rdlock(&f->lock);
	return f;
}

static void let_go(struct file *f)
{
	if (!f)
		return;
	pthread_rwlock_unlock(&f->lock);
	file_put(f);
}

/* `locked`: the caller has the file's lock. */
static int settle_one(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content, bool locked, bool *rest)
{
	struct settle then;
	struct file *f;
	bool made, known = true, sealed;
	int r;

	*rest = false;
	bucket_lock(b);
	r = settle_load(fs, b, number, &then);
	made = is_being_made(fs, b, number);
	bucket_unlock(b);
	if (!r && made && then.content == content && then.kept) {
		*rest = true;
		settle_release(&then);
		return 0;
	}
	/* Replaced in place since, and it falls back to what is still older. */
	if (!r && then.content && then.content != content && is_overdue(fs, &then))
		content = then.content;
	/* Not under a lock: the disk takes its time. */
	if (!r)
		r = sync_content(fs, &then, content, &known);
	if (!r && then.content == content) {
		f = locked ? NULL : hold_still(fs, b, number);
		bucket_lock(b);
		sealed = known && !locked;
		r = settle_now(fs, b, &then, made, &sealed, f, rest);
		bucket_unlock(b);
		let_go(f);
		if (!r && !*rest && known && !locked && !sealed)
			settle_later(fs, b->number, number, content);
	}
	settle_release(&then);
	return r;
}

int settle_content(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content)
{
	bool rest;

	return settle_one(fs, b, number, content, false, &rest);
}

int settle_content_locked(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content)
{
	bool rest;

	return settle_one(fs, b, number, content, true, &rest);
}

/* ---- what is due ---- */

/* Takes those that have waited long enough; the rest stays. */
static void take_due(struct fs *fs, int64_t before, struct buf *due)
{
	struct unsettled u;
	size_t len = 0;

	pthread_mutex_lock(&fs->lock);
	*due = fs->overdue;
	fs->overdue = (struct buf){0};
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

/* As what has come just now. */
static void put_back(struct fs *fs, struct unsettled *u)
{
	u->since = fs_moment(fs);
	pthread_mutex_lock(&fs->lock);
	if (buf_add(&fs->unsettled, u, sizeof(*u)))
		log_error("a file will be settled at the next start only: there is no memory");
	pthread_mutex_unlock(&fs->lock);
}

static void settle_unsettled(struct fs *fs, struct unsettled *u)
{
	struct bucket *b;
	bool rest = false;
	int r = bucket_get(fs, u->bucket, &b);

	if (r == BUCKET_GONE)
		return;
	if (!r) {
		r = settle_one(fs, b, u->number, u->content, false, &rest);
		if (!r && !rest && u->reseal)
			r = settle_reseal_small(fs, b, u->number, u->content, &rest);
		if (r < 0)
			log_limited(u->bucket, LOG_LEVEL_ERROR,
				    "bucket %.*s: file number %llu is not safe from a loss of power yet (error %d); this is tried again",
				    (int)b->name.len, (const char *)b->name.at, (unsigned long long)u->number, r);
		bucket_put(fs, b);
	}
	if (r < 0 || rest)
		put_back(fs, u);
}

void settle_due(struct fs *fs, int64_t before)
{
	struct buf due = {0};
	struct unsettled u;

	take_due(fs, before, &due);
	for (size_t at = 0; at < due.len; at += sizeof(u)) {
		memcpy(&u, due.data + at, sizeof(u));
		settle_unsettled(fs, &u);
	}
	buf_release(&due);
}

int settle_next(struct fs *fs, struct bucket *b, uint64_t after, struct settle *s)
{
	struct key_buf from = key_unsettled(after + 1);
	struct store_cursor *cursor;
	struct slice key, value;
	int r = store_cursor_open(fs->store, b->number, STORE_NODE, slice_str("U"), key_slice(&from), &cursor);

	settle_release(s);
	*s = (struct settle){.number = after};
	if (r)
		return r;
	/* Another length of the key gives number 0. It is nobody's. */
	while (!(r = store_cursor_next(cursor, &key, &value)) && key_unsettled_node_of(key) <= after)
		bucket_damaged(b, "what is not on the disk yet of file", key_unsettled_node_of(key), "its key makes no sense");
	if (!r) {
		*s = (struct settle){.number = key_unsettled_node_of(key)};
		r = decode(s, value);
		if (r == -EIO)
			bucket_damaged(b, "what is not on the disk yet of file", s->number, "it makes no sense");
	}
	store_cursor_close(cursor);
	return r;
}

int settle_bucket(struct fs *fs, struct bucket *b)
{
	struct settle s = {0};
	int r;

	while (!(r = settle_next(fs, b, s.number, &s))) {
		r = settle_content(fs, b, s.number, s.content);
		if (r)
			break;
	}
	settle_release(&s);
	return r == STORE_END ? 0 : r;
}

int settle_heir(struct fs *fs, struct bucket *b, uint64_t content)
{
	struct settle s = {0};
	int r = 0;

	while (!r) {
		bucket_lock(b);
		r = b->dead ? STORE_END : settle_next(fs, b, s.number, &s);
		bucket_unlock(b);
		if (!r && s.falls_back && s.fallback.place == PLACE_CONTENT && s.fallback.content == content)
			r = settle_content_locked(fs, b, s.number, s.content);
	}
	settle_release(&s);
	return r == STORE_END ? 0 : r;
}

int settle_drop_all(struct fs *fs, struct bucket *b, struct store_batch *batch)
{
	struct settle s = {0};
	int r = 0;

	while (b->head.unsettled && !(r = settle_next(fs, b, s.number, &s)))
		settle_drop_fallback(&s, batch);
	settle_release(&s);
	return r == STORE_END ? 0 : r;
}
