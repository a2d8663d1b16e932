/* The handles of those who have data.json open: what they write, until it is merged. */
#include "bucket/data.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "bucket/data_node.h"
#include "bucket/file.h"

enum handle_kind { HANDLE_READ, HANDLE_PATCH, HANDLE_EDIT };

struct data_handle {
	struct fs *fs;
	struct bucket *b;
	enum handle_kind kind;
	struct data_opened opened;
	struct caller opener; /* its functions may ask /proc, where the thread may be gone */

	pthread_mutex_t lock; /* guards all below */
	struct text *base;    /* read, edit: the snapshot */
	struct buf buffer;    /* edit: the text; patch that can read: what was written */
	bool own_buffer;      /* edit: the buffer is in use, the snapshot is only what to compare with */
	bool readable;
	unsigned slow;        /* threads that may take long and have the lock, or wait for it; atomic */
	struct charge charge; /* for the buffers */
	bool dirty;           /* edit: something was written since the last commit */
	struct reading_key reading; /* read, edit: as whose to keep the snapshot, if anybody's */

	/* patch */
	struct json_reader reader;
	struct document partial; /* members of an object that has not ended */
	struct document pending; /* members of those that have */
	bool completed;          /* an object has ended since the last patch_check */
	size_t sorted_size;      /* of `pending` when it was sorted last */
	uint64_t headroom;       /* how much it may grow before the limit has to be looked at */
	uint64_t position;       /* where the next write must be */
	int poisoned;            /* the verdict that ended it; 0: none */
	struct reason poison;
};

/* A thread that may take long may have the lock for seconds. One that serves others does not wait for that:
 * BUCKET_LONG. */
static int lock_handle(struct data_handle *h)
{
	if (fs_may_take_long(h->fs)) {
		/* One that waits for the lock counts as well: it may get it at any moment. */
		__atomic_add_fetch(&h->slow, 1, __ATOMIC_SEQ_CST);
		pthread_mutex_lock(&h->lock);
		return 0;
	}
	while (pthread_mutex_trylock(&h->lock)) {
		if (__atomic_load_n(&h->slow, __ATOMIC_SEQ_CST))
			return BUCKET_LONG;
		sched_yield();
	}
	return 0;
}

static void unlock_handle(struct data_handle *h)
{
	pthread_mutex_unlock(&h->lock);
	if (fs_may_take_long(h->fs))
		__atomic_sub_fetch(&h->slow, 1, __ATOMIC_SEQ_CST);
}

/* How much text a handle may hold; at least enough for any document with generous indentation. */
uint64_t data_buffer_max(const struct bucket *b)
{
	uint64_t max = __atomic_load_n(&b->max_data_size, __ATOMIC_RELAXED);

	return max && max < (1u << 29) ? 2 * max + 65536 : 1u << 30;
}

static int patch_entry(void *context, struct slice key_text, struct slice value)
{
	struct data_handle *h = context;

	return document_add_text(&h->partial, key_text, value);
}

/* Only moves the members: what is wrong with them is looked at once a write, not once an object. */
static int patch_object(void *context)
{
	struct data_handle *h = context;
	struct document swap = h->pending;
	int r = 0;

	if (h->pending.count == 0) {
		h->pending = h->partial;
		h->partial = swap;
	}
	for (size_t i = 0; !r && i < h->partial.count; i++) {
		struct member_view m = document_member(&h->partial, i);

		r = document_add(&h->pending, m.key, m.text, m.value);
	}
	document_clear(&h->partial);
	h->completed = true;
	return r;
}

/* After the objects of a write: what they come to. Sorting drops what was overwritten, so it is done when the size has
 * doubled, and the limit is looked at when what came since the last look could have reached it. */
static int patch_check(struct data_handle *h)
{
	size_t size = document_size(&h->pending);
	uint64_t headroom = 0;
	int r = 0;

	if (!h->completed)
		return 0;
	h->completed = false;
	if (size > 2 * h->sorted_size + 4096 || size - h->sorted_size >= h->headroom) {
		r = document_sort(&h->pending);
		if (!r)
			r = data_check_merge(h->fs, h->b, &h->pending, &headroom, &h->poison);
		/* Too late to hand it on: the next write or the close finds out. */
		if (r == BUCKET_LONG) {
			h->completed = true;
			return 0;
		}
		h->sorted_size = document_size(&h->pending);
		/* A member takes less room in the patch than in the text, but never less than half. */
		h->headroom = headroom / 4;
	}
	return r;
}

/* For the memory of the handle, with its snapshot: another handle that shares that may end before. And for `more` bytes
 * that are about to come. */
static int charge(struct data_handle *h, size_t more, struct reason *why)
{
	size_t bytes = h->buffer.cap + h->reader.text.cap + h->reader.key.cap + document_memory(&h->partial) +
		       document_memory(&h->pending);

	if (h->base && h->base->bytes.len >= 4096)
		bytes += h->base->bytes.len;
	return budget_charge(h->fs->budget, &h->charge, h->opener.uid, bytes + more, why);
}

/* Tells what fstat shows, after the text has changed. fstat of a patch shows the document as it is now. */
static void show(struct data_handle *h)
{
	if (h->kind == HANDLE_READ)
		data_opened_show(h->b, &h->opened, h->base->bytes.len, h->base->modified, h->base);
	else if (h->kind == HANDLE_EDIT && h->readable && !snapshot_is(h->opened.node))
		data_opened_show(h->b, &h->opened, h->own_buffer ? h->buffer.len : h->base->bytes.len,
				 h->dirty ? fs_now(h->fs) : h->base->modified, NULL);
}

static struct data_handle *new_handle(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node,
				      unsigned flags)
{
	struct json_sink sink = {patch_entry, patch_object, NULL};
	struct data_handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->fs = fs;
	h->b = bucket_share(fs, b);
	h->opener = *who;
	h->opener.request = 0;
	h->readable = flags & DATA_READ;
	h->kind = !(flags & DATA_WRITE) ? HANDLE_READ :
		  !(flags & DATA_READ) || flags & DATA_TRUNCATE ? HANDLE_PATCH : HANDLE_EDIT;
	h->own_buffer = h->kind == HANDLE_EDIT && flags & DATA_CREATED;
	h->opened = (struct data_opened){
		.node = node, .thread = who->pid, .uid = who->uid, .writes = h->kind != HANDLE_READ};
	pthread_mutex_init(&h->lock, NULL);
	sink.context = h;
	json_reader_init(&h->reader, JSON_OBJECTS, &sink, (size_t)data_buffer_max(b));
	return h;
}

static void free_handle(struct data_handle *h)
{
	json_reader_release(&h->reader);
	document_release(&h->partial);
	document_release(&h->pending);
	buf_release(&h->buffer);
	data_text_put(h->base);
	budget_release(h->fs->budget, &h->charge);
	bucket_put(h->fs, h->b);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static bool text_is_long(const struct fs *fs, struct bucket *b)
{
	bool is;

	if (fs_may_take_long(fs))
		return false;
	bucket_lock(b);
	is = !b->text && data_is_long(fs, b->head.data_size, 0);
	bucket_unlock(b);
	return is;
}

int data_open(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, unsigned flags,
	      struct data_handle **out, struct reason *why)
{
	unsigned how = (flags & DATA_WAITS ? DATA_OPENED_WAITS : 0) | (flags & DATA_CREATED ? DATA_OPENED_HERE : 0);
	struct data_handle *h;
	int r = 0;

	if (flags & DATA_READ || !(flags & DATA_WRITE))
		r = bucket_check(fs, b, who, PRIVILEGE_READ, "read data.json");
	if (!r && flags & DATA_WRITE)
		r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "write data.json");
	if (r)
		return r;
	/* Before it is redirected: handed on, it would be so again. */
	if (flags & DATA_READ && !(flags & DATA_TRUNCATE) && text_is_long(fs, b))
		return BUCKET_LONG;
	h = new_handle(fs, b, who, node, flags);
	if (!h)
		return -ENOMEM;
	/* Before its text is taken: what changes after that, changes while it is open. */
	r = data_opened_add(fs, b, who, &h->opened, how);
	if (r) {
		free_handle(h);
		return r;
	}
	if (h->kind == HANDLE_READ)
		h->base = data_node_text(b, node);
	if (h->kind != HANDLE_PATCH && !h->base)
		r = data_text(fs, b, &h->base);
	if (!r)
		r = charge(h, 0, why);
	if (r) {
		data_close(h, NULL);
		return r;
	}
	show(h);
	*out = h;
	return 0;
}

int data_open_edit(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct text *base,
		   unsigned flags, struct data_handle **out, struct reason *why)
{
	struct data_handle *h;
	int r = data_open(fs, b, who, node, (flags & (DATA_READ | DATA_WAITS)) | DATA_WRITE, &h, why);

	if (r) {
		data_text_put(base);
		return r;
	}
	h->kind = HANDLE_EDIT;
	data_text_put(h->base);
	h->base = base;
	h->own_buffer = flags & DATA_TRUNCATE;
	show(h);
	*out = h;
	return 0;
}

void data_keep_reading(struct data_handle *h, const struct reading_key *key)
{
	h->reading = *key;
	if (h->kind == HANDLE_READ)
		readings_add(h->fs->readings, h->b->number, key, h->base, key->source == READING_PROCESS ? h : NULL);
}

pid_t data_opener(const struct data_handle *h)
{
	return h->opener.pid;
}

uid_t data_owner(const struct data_handle *h)
{
	return h->opener.uid;
}

bool data_wants_flush(const struct data_handle *h)
{
	return h->kind != HANDLE_READ || h->reading.source == READING_PROCESS;
}

struct bucket *data_bucket(const struct data_handle *h)
{
	return h->b;
}

int data_read(struct data_handle *h, uint64_t at, size_t len, struct buf *out)
{
	struct slice from;
	int r = lock_handle(h);

	if (r)
		return r;
	from = h->kind == HANDLE_PATCH || h->own_buffer ? buf_slice(&h->buffer) : buf_slice(&h->base->bytes);
	if (h->kind != HANDLE_READ && !h->readable)
		r = BUCKET_WRONG_HANDLE;
	else if (at < from.len)
		r = buf_add(out, (const char *)from.at + at, len < from.len - at ? len : from.len - (size_t)at);
	unlock_handle(h);
	return r;
}

static void patch_clear(struct data_handle *h)
{
	json_reader_reset(&h->reader);
	document_clear(&h->partial);
	document_clear(&h->pending);
	h->sorted_size = 0;
	h->headroom = 0;
	h->completed = false;
	buf_clear(&h->buffer);
	h->poisoned = 0;
	h->position = 0;
}

/* Whether a text may have `len` bytes more than `at`. */
static int check_buffer(const struct bucket *b, uint64_t at, uint64_t len, struct reason *why)
{
	uint64_t max = data_buffer_max(b);

	if (at <= max && len <= max - at)
		return 0;
	reason_set(why, "a text that is written to data.json has up to %llu bytes here, twice max_data_size and some room",
		   (unsigned long long)max);
	return BUCKET_TOO_LARGE;
}

static size_t patch_size(const struct data_handle *h)
{
	return document_size(&h->pending) + document_size(&h->partial) + h->reader.text.len;
}

static int patch_write(struct data_handle *h, uint64_t at, bool append, struct slice bytes, struct reason *why)
{
	int r = 0;

	if (h->poisoned) {
		if (why)
			*why = h->poison;
		return h->poisoned;
	}
	if (!append && at != h->position) {
		reason_set_own(why, "a patch is written from front to back: this write is at %llu instead of %llu",
			   (unsigned long long)at, (unsigned long long)h->position);
		return BUCKET_INVALID;
	}
	/* Nothing has been taken in yet: whoever comes again, comes with the same bytes. */
	if ((file_is(&h->b->judges_slowly) && !fs_may_take_long(h->fs)) ||
	    data_is_long(h->fs, patch_size(h) + bytes.len, h->pending.count + h->partial.count))
		return BUCKET_LONG;
	reason_set(&h->poison, "%s", "");
	/* A piece may come to as much again as members: their text, and where each begins. */
	r = charge(h, bytes.len * (h->readable ? 4 : 3), &h->poison);
	if (!r && h->readable) {
		r = check_buffer(h->b, h->buffer.len, bytes.len, &h->poison);
		if (!r)
			r = buf_add_slice(&h->buffer, bytes);
	}
	if (!r)
		r = json_reader_feed(&h->reader, bytes.at, bytes.len, &h->poison);
	if (!r)
		r = patch_check(h);
	if (!r)
		r = check_buffer(h->b, document_size(&h->pending), document_size(&h->partial), &h->poison);
	if (r) {
		if (why)
			*why = h->poison;
		patch_clear(h);
		h->poisoned = r;
		return r;
	}
	h->position += bytes.len;
	charge(h, 0, NULL);
	return 0;
}

/* Room for a text of so many bytes; a buffer grows to twice as much. */
static int edit_charge(struct data_handle *h, uint64_t len, struct reason *why)
{
	return charge(h, len > h->buffer.cap ? (size_t)(2 * len - h->buffer.cap) : 0, why);
}

/* From here on the edit has a text of its own. */
static int edit_begin(struct data_handle *h, struct reason *why)
{
	int r;

	if (h->own_buffer)
		return 0;
	buf_clear(&h->buffer);
	r = edit_charge(h, h->base->bytes.len, why);
	if (!r)
		r = buf_add_slice(&h->buffer, buf_slice(&h->base->bytes));
	h->own_buffer = !r;
	return r;
}

static int edit_write(struct data_handle *h, uint64_t at, bool append, struct slice bytes, struct reason *why)
{
	int r = edit_begin(h, why);

	if (r)
		return r;
	if (append)
		at = h->buffer.len;
	r = check_buffer(h->b, at, bytes.len, why);
	if (!r)
		r = edit_charge(h, at + bytes.len, why);
	if (r)
		return r;
	r = buf_write_at(&h->buffer, (size_t)at, bytes.at, bytes.len);
	h->dirty |= !r;
	show(h);
	return r;
}

int data_write(struct data_handle *h, uint64_t at, bool append, struct slice bytes, struct reason *why)
{
	int r = lock_handle(h);

	if (r)
		return r;
	r = BUCKET_WRONG_HANDLE;
	if (bytes.len == 0)
		r = 0;
	else if (h->kind == HANDLE_PATCH)
		r = patch_write(h, at, append, bytes, why);
	else if (h->kind == HANDLE_EDIT)
		r = edit_write(h, at, append, bytes, why);
	unlock_handle(h);
	return r;
}

int data_truncate(struct data_handle *h, uint64_t len, struct reason *why)
{
	int r = lock_handle(h);

	if (r)
		return r;
	if (h->kind == HANDLE_READ) {
		r = BUCKET_WRONG_HANDLE;
	} else if (h->kind == HANDLE_PATCH) {
		if (len == 0) {
			patch_clear(h);
		} else if (len != h->position || h->poisoned) {
			reason_set_own(why, "a patch can be truncated to nothing, or to what was written");
			r = BUCKET_INVALID;
		}
	} else {
		r = check_buffer(h->b, 0, len, why);
		if (!r)
			r = edit_begin(h, why);
		if (!r)
			r = edit_charge(h, len, why);
		if (!r)
			r = buf_resize(&h->buffer, (size_t)len);
		h->dirty |= !r;
		show(h);
	}
	unlock_handle(h);
	return r;
}

/* A commit and a new snapshot are new accesses: the privilege may have been taken away since the open. The caller is
 * judged if it is the same user, for the opener may be gone. */
static struct plan_access access_of(struct data_handle *h, const struct caller *who)
{
	/* An edit is compared with what is there, and its refusal tells of that. */
	return (struct plan_access){who && who->uid == h->opener.uid ? who : &h->opener,
				    h->kind == HANDLE_EDIT && h->readable};
}

static int patch_flush(struct data_handle *h, const struct plan_access *access, struct reason *why)
{
	int r;

	/* The write has told why. */
	if (h->poisoned)
		return h->poisoned;
	if (data_is_long(h->fs, 0, h->pending.count))
		return BUCKET_LONG;
	if (h->pending.count) {
		r = document_sort(&h->pending);
		if (!r)
			r = data_merge(h->fs, h->b, access, &h->pending, why);
		if (r)
			return r;
		document_clear(&h->pending);
		h->sorted_size = 0;
		h->headroom = 0;
	}
	return json_reader_finish(&h->reader, why);
}

static int edit_flush(struct data_handle *h, const struct plan_access *access, struct reason *why)
{
	struct document base = {0}, now = {0};
	struct text *text;
	int r;

	if (!h->dirty)
		return 0;
	if (data_is_long(h->fs, h->buffer.len, 0))
		return BUCKET_LONG;
	text = calloc(1, sizeof(*text));
	if (!text)
		return -ENOMEM;
	text->refs = 1;
	r = buf_add_slice(&text->bytes, buf_slice(&h->buffer));
	if (!r)
		r = document_parse(buf_slice(&h->base->bytes), 0, &base, NULL);
	if (!r)
		r = document_parse(buf_slice(&h->buffer), 0, &now, why);
	if (!r)
		r = data_edit(h->fs, h->b,
			      &(struct data_edit){.base = &base, .now = &now, .uid = h->opener.uid, .access = access},
			      why);
	document_release(&base);
	document_release(&now);
	if (r) {
		data_text_put(text);
		return r;
	}
	/* What has been committed is what later changes of this handle are compared with. */
	bucket_lock(h->b);
	text->modified = h->b->head.data_modified;
	bucket_unlock(h->b);
	data_text_put(h->base);
	h->base = text;
	h->dirty = false;
	show(h);
	if (h->reading.source)
		readings_add(h->fs->readings, h->b->number, &h->reading, text, NULL);
	return 0;
}

/* What has been read is not open any more. */
static void end_reading(struct data_handle *h)
{
	if (h->kind == HANDLE_READ && h->reading.source == READING_PROCESS)
		readings_closed(h->fs->readings, h);
	h->reading.source = READING_NONE;
}

static int flush(struct data_handle *h, const struct caller *who, struct reason *why)
{
	struct plan_access access = access_of(h, who);
	int r;

	if (h->kind == HANDLE_READ)
		return 0;
	r = h->kind == HANDLE_PATCH ? h->pending.count && !h->poisoned : h->dirty;
	if (r)
		r = plan_may(h->fs, h->b, &access);
	if (r)
		return r;
	return h->kind == HANDLE_PATCH ? patch_flush(h, &access, why) : edit_flush(h, &access, why);
}

void data_closed_by(struct data_handle *h, pid_t thread)
{
	if (h->kind != HANDLE_READ || thread != h->opener.pid)
		return;
	pthread_mutex_lock(&h->lock);
	end_reading(h);
	pthread_mutex_unlock(&h->lock);
}

int data_flush(struct data_handle *h, const struct caller *who, bool *opener_only, struct reason *why)
{
	int r = lock_handle(h);

	*opener_only = false;
	if (r)
		return r;
	r = flush(h, who, why);
	*opener_only = r == BUCKET_INCOMPLETE || r == BUCKET_INVALID || (r && r == h->poisoned);
	unlock_handle(h);
	return r;
}

int data_fsync(struct data_handle *h, const struct caller *who, struct reason *why)
{
	struct text *text = NULL;
	int r = lock_handle(h);

	if (r)
		return r;
	r = flush(h, who, why);
	if (!r && h->kind != HANDLE_READ && h->readable)
		r = bucket_check(h->fs, h->b, access_of(h, who).who, PRIVILEGE_READ, "read data.json");
	if (!r && h->kind != HANDLE_READ && h->readable)
		r = data_text(h->fs, h->b, &text);
	if (text && h->kind == HANDLE_EDIT) {
		data_text_put(h->base);
		h->base = text;
		h->own_buffer = false;
		show(h);
		r = charge(h, 0, why);
	} else if (text) {
		buf_clear(&h->buffer);
		r = edit_charge(h, text->bytes.len, why);
		if (!r)
			r = buf_add_slice(&h->buffer, buf_slice(&text->bytes));
		data_text_put(text);
	}
	unlock_handle(h);
	return r;
}

int data_close(struct data_handle *h, struct reason *why)
{
	int r = 0;

	if (!h)
		return 0;
	if (h->kind == HANDLE_EDIT && h->dirty) {
		reason_set(why, "an edit that was not committed is dropped");
		r = BUCKET_INCOMPLETE;
	} else if (h->kind == HANDLE_PATCH && !h->poisoned) {
		r = h->pending.count ? BUCKET_INCOMPLETE : json_reader_finish(&h->reader, why);
	}
	end_reading(h);
	data_opened_remove(h->b, &h->opened);
	free_handle(h);
	return r;
}
