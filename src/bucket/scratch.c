#include "bucket/scratch_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "util/log.h"

static const struct slice data_name = {"data.json", 9};

/* Never twice in the life of a mount, and so in the order of time: the kernel may still know a file that is gone. */
static uint64_t next_number(struct fs *fs)
{
	return __atomic_add_fetch(&fs->transient_count, 1, __ATOMIC_RELAXED);
}

static void scratch_free(struct scratch *s)
{
	struct fs *fs = s->fs;
	struct bucket *b = s->b;

	data_text_put(s->base);
	buf_release(&s->bytes);
	buf_release(&s->was);
	budget_release(fs->budget, &s->charge);
	pthread_mutex_destroy(&s->lock);
	free(s);
	bucket_put(fs, b);
}

void scratch_put(struct scratch *s)
{
	struct bucket *b = s->b;
	bool last;

	bucket_lock(b);
	last = --s->refs == 0;
	bucket_unlock(b);
	if (last)
		scratch_free(s);
}

/* With b->lock held. */
static void note_closed(struct scratch *s, bool *closed, bool value)
{
	if (*closed != value)
		s->closed += value ? 1 : -1U;
	__atomic_store_n(closed, value, __ATOMIC_RELAXED);
}

void scratch_closes(struct scratch *s, const struct caller *who, bool *closed)
{
	bucket_lock(s->b);
	if (s->maker == who->pid)
		note_closed(s, closed, true);
	bucket_unlock(s->b);
}

void scratch_uses(struct scratch *s, bool *closed)
{
	if (!__atomic_load_n(closed, __ATOMIC_RELAXED))
		return;
	bucket_lock(s->b);
	note_closed(s, closed, false);
	bucket_unlock(s->b);
}

void scratch_close(struct scratch *s, bool *closed)
{
	bucket_lock(s->b);
	note_closed(s, closed, false);
	bucket_unlock(s->b);
	scratch_put(s);
}

uint64_t scratch_node(const struct scratch *s)
{
	return s->node;
}

/* ---- the list, with b->lock held ---- */

static struct scratch *find(struct bucket *b, uid_t uid, struct slice name)
{
	for (struct scratch *s = b->scratch; s; s = s->next)
		if (s->uid == uid && slice_equal(slice_of(s->name, s->name_len), name))
			return s;
	return NULL;
}

/* The kernel knows the number, and lets anybody use it. */
static struct scratch *find_node(struct bucket *b, const struct caller *who, uint64_t node)
{
	for (struct scratch *s = b->scratch; s; s = s->next)
		if (s->node == node && s->uid == who->uid)
			return s;
	return NULL;
}

/* Takes it off the list; whoever calls puts the list's reference. */
void scratch_unlink_from_list(struct bucket *b, struct scratch *s)
{
	for (struct scratch **at = &b->scratch; *at; at = &(*at)->next) {
		if (*at == s) {
			__atomic_store_n(at, s->next, __ATOMIC_RELAXED);
			break;
		}
	}
	s->next = NULL;
	s->unlinked = true;
}

void scratch_drop_all(struct bucket *b)
{
	struct scratch *s;

	do {
		bucket_lock(b);
		s = b->scratch;
		if (s)
			scratch_unlink_from_list(b, s);
		bucket_unlock(b);
		if (s)
			scratch_put(s);
	} while (s);
}

static bool has_data_name(struct slice name)
{
	const char *at = name.at;

	for (size_t i = 0; i + data_name.len <= name.len; i++)
		if (memcmp(at + i, data_name.at, data_name.len) == 0)
			return true;
	return false;
}

/* A short text is charged with nothing. */
static size_t size_of_base(const struct text *base)
{
	return base->bytes.len < 4096 ? 0 : base->bytes.len;
}

/* Two may have one name for a moment: the new one is found, and the old one goes as soon as it is certain that it may.
 */
static int make(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, struct text *base,
		struct scratch **out, struct reason *why)
{
	struct scratch *s;
	unsigned own = 0;
	int r;

	if (name.len > name_max)
		return BUCKET_NAME_TOO_LONG;
	for (s = b->scratch; s; s = s->next)
		own += s->uid == who->uid && !slice_equal(slice_of(s->name, s->name_len), name);
	if (own >= scratch_max) {
		reason_set(why, "you have %d temporary files beside data.json, which is as many as there may be: remove some",
			   scratch_max);
		return BUCKET_OVER_QUOTA;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->held = size_of_base(base);
	r = budget_charge(fs->budget, &s->charge, who->uid, s->held, why);
	if (r) {
		free(s);
		return r;
	}
	s->fs = fs;
	s->b = bucket_share(fs, b);
	s->since = next_number(fs);
	s->node = SCRATCH_NODE | s->since;
	s->uid = who->uid;
	s->name_len = name.len;
	memcpy(s->name, name.at, name.len);
	s->base = base;
	s->modified = fs_now(fs);
	pthread_mutex_init(&s->lock, NULL);
	s->refs = 1;
	s->next = b->scratch;
	__atomic_store_n(&b->scratch, s, __ATOMIC_RELAXED);
	*out = s;
	return 0;
}

/* ---- finding ---- */

/* Owner and mode are data.json's, or vim would not save by renaming. */
static void fill(struct fs *fs, struct bucket *b, struct scratch *s, struct attr *attr)
{
	*attr = (struct attr){
		.inode = inode_of(b->number, s->node),
		.generation = b->generation,
		.mode = S_IFREG | bucket_look(fs, b).file_mode,
		.uid = b->head.owner,
		.gid = b->head.group,
		.private = true,
		.fleeting = true,
		.unlinked = s->unlinked,
	};
	pthread_mutex_lock(&s->lock);
	attr->size = s->bytes.len;
	attr->blocks = (s->bytes.len + 511) / 512;
	attr->modified = attr->changed = attr->accessed = s->modified;
	pthread_mutex_unlock(&s->lock);
}

int scratch_lookup(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, struct attr *attr)
{
	struct scratch *s;

	bucket_lock(b);
	s = b->scratch ? find(b, who->uid, name) : NULL;
	if (s)
		fill(fs, b, s, attr);
	bucket_unlock(b);
	return s ? 0 : BUCKET_ABSENT;
}

int scratch_attr(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct attr *attr)
{
	struct scratch *s;

	bucket_lock(b);
	s = find_node(b, who, node);
	if (s)
		fill(fs, b, s, attr);
	bucket_unlock(b);
	return s ? 0 : BUCKET_GONE;
}

int scratch_list(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t after,
		 int (*each)(void *context, struct slice name, uint64_t node), void *context)
{
	int r = 0;

	(void)fs;
	bucket_lock(b);
	/* Newest first, so a cookie goes on downward. */
	for (struct scratch *s = b->scratch; s && !r; s = s->next)
		if (s->uid == who->uid && (!scratch_is(after) || s->node < after))
			r = each(context, slice_of(s->name, s->name_len), s->node);
	bucket_unlock(b);
	return r;
}

/* ---- making and opening ---- */

int scratch_create(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, bool exclusive,
		   bool reads_and_writes, struct scratch **out, struct reason *why)
{
	struct text *base = NULL;
	bool stray;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "create a file beside data.json");

	if (r)
		return r;
	stray = !(exclusive && reads_and_writes) && !has_data_name(name) && !slice_equal(name, slice_str("4913"));
	if (stray && !scratch_may_stray(name)) {
		reason_set_own(why, "a bucket holds data.json and files/ and nothing else: put files into files/");
		return BUCKET_NOT_PERMITTED;
	}
	r = data_text(fs, b, &base);
	if (r)
		return r;
	bucket_lock(b);
	*out = find(b, who->uid, name);
	if (*out && exclusive)
		r = BUCKET_EXISTS;
	else if (!*out)
		r = b->dead ? BUCKET_GONE : make(fs, b, who, name, base, out, why);
	else
		data_text_put(base);
	if (!r) {
		(*out)->refs++;
		(*out)->maker = who->pid;
		(*out)->exclusive |= exclusive && reads_and_writes;
		if (stray && !(*out)->stray)
			scratch_strays_add(fs, *out, who);
	} else {
		data_text_put(base);
	}
	bucket_unlock(b);
	return r;
}

/* Open, which is more than the list's reference, and made by this thread. With b->lock held. */
static bool is_held(const struct scratch *s, const struct caller *who)
{
	return s->refs > 1 + s->closed && s->uid == who->uid && s->maker && s->maker == who->pid;
}

struct text *scratch_editor_base(struct bucket *b, const struct caller *who)
{
	struct text *base = NULL;

	bucket_lock(b);
	for (struct scratch *s = b->scratch; s; s = s->next)
		if (is_held(s, who) && s->exclusive && has_data_name(slice_of(s->name, s->name_len)))
			base = s->base;
	if (base)
		base = data_text_share(base);
	bucket_unlock(b);
	return base;
}

bool scratch_is_backup(struct slice name)
{
	return name.len > data_name.len && slice_starts_with(name, data_name);
}

bool scratch_is_backed_up(struct bucket *b, const struct caller *who)
{
	bool is = false;

	bucket_lock(b);
	for (struct scratch *s = b->scratch; s && !is; s = s->next)
		is = is_held(s, who) && scratch_is_backup(slice_of(s->name, s->name_len));
	bucket_unlock(b);
	return is;
}

int scratch_open(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, bool truncate,
		 struct scratch **out)
{
	struct text *base = NULL, *old = NULL;
	int r = truncate ? data_text(fs, b, &base) : 0;

	if (r)
		return r;
	bucket_lock(b);
	*out = find_node(b, who, node);
	if (!*out) {
		r = BUCKET_GONE;
	} else {
		(*out)->refs++;
		if (truncate) {
			/* Written anew, from the document as it is now. */
			old = (*out)->base;
			(*out)->base = base;
			__atomic_store_n(&(*out)->held, size_of_base(base) + (*out)->was.cap, __ATOMIC_RELAXED);
			(*out)->since = next_number(fs);
			(*out)->maker = who->pid;
			base = NULL;
		}
	}
	bucket_unlock(b);
	if (!r && truncate)
		r = scratch_truncate(*out, 0, NULL);
	data_text_put(old);
	data_text_put(base);
	return r;
}

/* ---- content ---- */

static int check_size(const struct scratch *s, uint64_t at, uint64_t len, struct reason *why)
{
	uint64_t max = data_buffer_max(s->b);

	if (at <= max && len <= max - at)
		return 0;
	reason_set(why, "a temporary file beside data.json has up to %llu bytes here, twice max_data_size and some room",
		   (unsigned long long)max);
	return BUCKET_TOO_LARGE;
}

/* Room for so many bytes; a buffer grows to twice as much. With s->lock held. */
static int charge(struct scratch *s, uint64_t len, struct reason *why)
{
	uint64_t bytes = len > s->bytes.cap ? 2 * len : s->bytes.cap;

	return budget_charge(s->fs->budget, &s->charge, s->uid,
			     (size_t)bytes + __atomic_load_n(&s->held, __ATOMIC_RELAXED), why);
}

int scratch_read(struct scratch *s, uint64_t at, size_t len, struct buf *out)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (at < s->bytes.len)
		r = buf_add(out, s->bytes.data + at, len < s->bytes.len - at ? len : s->bytes.len - (size_t)at);
	pthread_mutex_unlock(&s->lock);
	return r;
}

int scratch_write(struct scratch *s, uint64_t at, bool append, struct slice bytes, struct reason *why)
{
	int r;

	pthread_mutex_lock(&s->lock);
	if (append)
		at = s->bytes.len;
	r = check_size(s, at, bytes.len, why);
	if (!r)
		r = charge(s, at + bytes.len, why);
	if (!r)
		r = buf_write_at(&s->bytes, (size_t)at, bytes.at, bytes.len);
	if (!r)
		s->modified = fs_now(s->fs);
	pthread_mutex_unlock(&s->lock);
	return r;
}

int scratch_truncate(struct scratch *s, uint64_t size, struct reason *why)
{
	int r = check_size(s, 0, size, why);

	if (r)
		return r;
	pthread_mutex_lock(&s->lock);
	/* An empty file gives its memory back. */
	if (!size)
		buf_release(&s->bytes);
	r = charge(s, size, why);
	if (!r)
		r = buf_resize(&s->bytes, (size_t)size);
	s->modified = fs_now(s->fs);
	pthread_mutex_unlock(&s->lock);
	return r;
}

int scratch_truncate_node(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, uint64_t size,
			  struct reason *why)
{
	struct scratch *s;
	int r = BUCKET_GONE;

	(void)fs;
	bucket_lock(b);
	s = find_node(b, who, node);
	if (s)
		s->refs++;
	bucket_unlock(b);
	if (!s)
		return r;
	r = scratch_truncate(s, size, why);
	scratch_put(s);
	return r;
}

/* ---- names ---- */

int scratch_unlink(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name)
{
	struct scratch *s;

	(void)fs;
	bucket_lock(b);
	s = find(b, who->uid, name);
	if (s)
		scratch_unlink_from_list(b, s);
	bucket_unlock(b);
	if (!s)
		return BUCKET_ABSENT;
	scratch_put(s);
	return 0;
}

/* Takes it off the list, unless somebody has. */
static void drop(struct bucket *b, struct scratch *s)
{
	bool listed;

	bucket_lock(b);
	listed = !s->unlinked;
	if (listed)
		scratch_unlink_from_list(b, s);
	bucket_unlock(b);
	if (listed)
		scratch_put(s);
}

static int parse(struct scratch *s, struct document *out, struct reason *why)
{
	struct buf bytes = {0};
	int r = scratch_read(s, 0, SIZE_MAX, &bytes);

	if (!r)
		r = document_parse(buf_slice(&bytes), 0, out, why);
	buf_release(&bytes);
	return r;
}

static int parse_moved(struct scratch *moved, struct document *out)
{
	return document_parse(moved->was.len ? buf_slice(&moved->was) : slice_str("{}"), 0, out, NULL);
}

/* The edit that turns `base` into what the scratch file holds. `moved`: what data.json was when the same user moved it
 * away, or NULL; the file itself, where that comes back, and then its base is what it was. */
static int commit(struct fs *fs, struct bucket *b, const struct caller *who, struct scratch *s, struct scratch *moved,
		  struct reason *why)
{
	struct plan_access access = {who, false};
	struct document base = {0}, now = {0}, was = {0};
	struct data_edit edit = {&base, &now, moved ? &was : NULL, true, s->uid, &access};
	int r = data_is_long(fs, s->bytes.len, 0) ? BUCKET_LONG : parse(s, &now, why);

	if (!r)
		r = s == moved ? parse_moved(s, &base) : document_parse(buf_slice(&s->base->bytes), 0, &base, NULL);
	if (!r && moved)
		r = parse_moved(moved, &was);
	if (!r)
		r = s->was_data && !moved ? data_merge(fs, b, &access, &now, why) : data_edit(fs, b, &edit, why);
	document_release(&base);
	document_release(&now);
	document_release(&was);
	return r == BUCKET_INCOMPLETE ? BUCKET_INVALID : r;
}

/* data.json comes back as it was when it was moved away, less what others have written since. */
static int bring_back(struct fs *fs, struct bucket *b, struct scratch *moved, struct reason *why)
{
	struct document was = {0}, nothing = {0};
	struct data_edit edit = {.base = &nothing, .now = &nothing, .moved = &was, .uid = moved->uid};
	int r = parse_moved(moved, &was);

	if (!r)
		r = data_edit(fs, b, &edit, why);
	document_release(&was);
	return r;
}

static int undo_move(struct fs *fs, struct bucket *b, struct scratch *moved)
{
	int r = bring_back(fs, b, moved, NULL);

	if (r)
		log_warning("bucket %.*s: data.json was moved away and could not be brought back: it is kept in .bucketfs/history",
			    (int)b->name.len, (const char *)b->name.at);
	return r;
}

/* The file to which the user has moved data.json last, if nothing has come in its place; referenced. */
static struct scratch *find_moved_by(struct bucket *b, uid_t uid)
{
	struct scratch *found = NULL;

	bucket_lock(b);
	for (struct scratch *s = b->scratch; s && !found; s = s->next)
		if (s->uid == uid && s->moved)
			found = s;
	if (found)
		found->refs++;
	bucket_unlock(b);
	return found;
}

/* As above; the file itself, if that is what was moved away. */
static struct scratch *find_moved(struct bucket *b, struct scratch *s)
{
	bool is;

	bucket_lock(b);
	is = s->moved;
	s->refs += is;
	bucket_unlock(b);
	return is ? s : find_moved_by(b, s->uid);
}

/* A step that follows so soon is the rest of one save, not another one. */
static bool is_lately(struct fs *fs, struct bucket *b, const struct scratch *moved)
{
	enum { seconds = 10 };
	bool is;

	bucket_lock(b);
	is = fs_moment(fs) - moved->moved_at < (int64_t)seconds * 1000000000;
	bucket_unlock(b);
	return is;
}

/* Something has come in its place: it is only a copy now. */
static void end_moved(struct bucket *b, struct scratch *moved)
{
	bucket_lock(b);
	moved->moved = false;
	buf_release(&moved->was);
	__atomic_store_n(&moved->held, size_of_base(moved->base), __ATOMIC_RELAXED);
	bucket_unlock(b);
}

static struct scratch *find_referenced(struct bucket *b, uid_t uid, struct slice name)
{
	struct scratch *s;

	bucket_lock(b);
	s = find(b, uid, name);
	if (s)
		s->refs++;
	bucket_unlock(b);
	return s;
}

/* Programs that keep a backup move data.json away first: then this is one save in two steps. If the second is refused
 * the first is undone, whether the new document was begun before or after it. What was moved away may also be what
 * comes back. */
static int replace_data(struct fs *fs, struct bucket *b, const struct caller *who, struct scratch *s,
			struct reason *why)
{
	struct scratch *moved = find_moved(b, s);
	bool one_save = moved && moved->since >= s->since, undo = one_save || (moved && is_lately(fs, b, moved));
	int r;

	/* To undo takes as long as to do it. */
	if (moved && !fs_may_take_long(fs)) {
		scratch_put(moved);
		return BUCKET_LONG;
	}
	r = commit(fs, b, who, s, one_save ? moved : NULL, why);
	if (moved && (!r || (undo && r != BUCKET_LONG && !undo_move(fs, b, moved))))
		end_moved(b, moved);
	if (moved)
		scratch_put(moved);
	return r;
}

static int onto_data(struct fs *fs, struct bucket *b, const struct caller *who, struct slice from, bool no_replace,
		     struct reason *why)
{
	struct scratch *s = find_referenced(b, who->uid, from);
	struct attr attr;
	int r;

	if (!s)
		return BUCKET_ABSENT;
	r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "replace data.json");
	if (!r && no_replace && data_attr(fs, b, who, &attr) == 0)
		r = BUCKET_EXISTS;
	if (!r)
		r = replace_data(fs, b, who, s, why);
	if (!r)
		scratch_unlink(fs, b, who, from);
	scratch_put(s);
	return r;
}

/* What the caller had read: the document when their oldest scratch file was made. */
static struct text *oldest_base(struct bucket *b, uid_t uid)
{
	struct text *base = NULL;

	for (struct scratch *s = b->scratch; s; s = s->next)
		if (s->uid == uid && s->base)
			base = s->base;
	return base ? data_text_share(base) : NULL;
}

static int away_from_data(struct fs *fs, struct bucket *b, const struct caller *who, struct slice to, bool no_replace,
			  struct reason *why)
{
	struct text *now = NULL, *base;
	struct scratch *s = NULL, *old;
	struct buf removed = {0};
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "move data.json");

	if (!r)
		r = bucket_check(fs, b, who, PRIVILEGE_READ, "move data.json");
	if (!r && !has_data_name(to)) {
		reason_set_own(why, "data.json can be renamed to a name that has data.json in it, such as data.json~, and no other");
		r = BUCKET_NOT_PERMITTED;
	}
	if (!r)
		r = data_text(fs, b, &now);
	if (r)
		return r;
	bucket_lock(b);
	old = find(b, who->uid, to);
	if (old && no_replace)
		r = BUCKET_EXISTS;
	if (old)
		old->refs++;
	if (!r) {
		base = oldest_base(b, who->uid);
		r = make(fs, b, who, to, base ? base : data_text_share(now), &s, why);
		if (r)
			data_text_put(base ? base : now);
	}
	if (s)
		s->refs++;
	bucket_unlock(b);
	/* Its text, and once more what it was: there is room for them before anything is removed. */
	if (!r) {
		__atomic_add_fetch(&s->held, size_of_base(now), __ATOMIC_RELAXED);
		pthread_mutex_lock(&s->lock);
		r = charge(s, now->bytes.len, why);
		pthread_mutex_unlock(&s->lock);
	}
	/* Merges of others up to this moment go along. */
	if (!r)
		r = data_remove(fs, b, who, &removed);
	if (!r) {
		bucket_lock(b);
		s->moved = s->was_data = true;
		s->moved_at = fs_moment(fs);
		s->was = removed;
		removed = (struct buf){0};
		bucket_unlock(b);
		r = scratch_write(s, 0, false, s->was.len ? buf_slice(&s->was) : slice_str("{}\n"), why);
		if (r)
			undo_move(fs, b, s);
	}
	/* The new one is found by its name, and goes if it is refused; else the old one does. */
	if (r && s)
		scratch_unlink(fs, b, who, to);
	else if (old && s)
		drop(b, old);
	if (s)
		scratch_put(s);
	if (old)
		scratch_put(old);
	data_text_put(now);
	buf_release(&removed);
	return r;
}

static int between(struct bucket *b, const struct caller *who, struct slice from, struct slice to, bool no_replace)
{
	struct scratch *s, *old;

	if (to.len > name_max)
		return BUCKET_NAME_TOO_LONG;
	bucket_lock(b);
	s = find(b, who->uid, from);
	old = find(b, who->uid, to);
	if (s && !(old && no_replace) && s != old) {
		if (old)
			scratch_unlink_from_list(b, old);
		s->name_len = to.len;
		memcpy(s->name, to.at, to.len);
	}
	bucket_unlock(b);
	if (!s)
		return BUCKET_ABSENT;
	if (old && no_replace)
		return BUCKET_EXISTS;
	if (old && s != old)
		scratch_put(old);
	return 0;
}

int scratch_rename(struct fs *fs, struct bucket *b, const struct caller *who, struct slice from, struct slice to,
		   bool no_replace, struct reason *why)
{
	if (slice_equal(from, data_name))
		return away_from_data(fs, b, who, to, no_replace, why);
	if (slice_equal(to, data_name))
		return onto_data(fs, b, who, from, no_replace, why);
	return between(b, who, from, to, no_replace);
}

bool scratch_is_saving(struct fs *fs, struct bucket *b, const struct caller *who)
{
	struct scratch *moved = __atomic_load_n(&b->scratch, __ATOMIC_RELAXED) ? find_moved_by(b, who->uid) : NULL;
	bool is;

	if (!moved)
		return false;
	is = is_lately(fs, b, moved);
	scratch_put(moved);
	return is;
}

int scratch_recreate(struct fs *fs, struct bucket *b, const struct caller *who, struct text *read, bool reads, bool *took,
		     struct data_handle **out, struct reason *why)
{
	struct scratch *moved = find_moved_by(b, who->uid);
	int r;

	*took = moved;
	if (!moved)
		return 0;
	if (!fs_may_take_long(fs)) {
		scratch_put(moved);
		return BUCKET_LONG;
	}
	/* It comes back as it was, for whoever looks until the edit is committed. */
	r = bring_back(fs, b, moved, why);
	if (!r)
		r = data_open_edit(fs, b, who, NODE_DATA, data_text_share(read ? read : moved->base),
				   DATA_TRUNCATE | (reads ? DATA_READ : 0), out, why);
	if (!r)
		end_moved(b, moved);
	scratch_put(moved);
	return r;
}
