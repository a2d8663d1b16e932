#include "bucket/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bucket/settle.h"
#include "bucket/tree.h"
#include "bucket/version.h"
#include "util/log.h"

/* ---- the table of open files ---- */

/* With fs->lock held. */
static struct file *in_table(struct fs *fs, uint64_t inode)
{
	for (struct table_node *n = table_first(&fs->files, table_hash_number(inode)); n; n = table_next(n)) {
		struct file *f = container_of(n, struct file, by_inode);

		if (f->inode == inode)
			return f;
	}
	return NULL;
}

struct file *file_find(struct fs *fs, uint64_t inode)
{
	struct file *found;

	pthread_mutex_lock(&fs->lock);
	found = in_table(fs, inode);
	if (found)
		found->refs++;
	pthread_mutex_unlock(&fs->lock);
	return found;
}

/* A file leaves the table under its bucket's lock, so whoever has that needs no reference. */
struct file *file_peek(struct fs *fs, uint64_t inode)
{
	struct file *found;

	pthread_mutex_lock(&fs->lock);
	found = in_table(fs, inode);
	pthread_mutex_unlock(&fs->lock);
	return found;
}

struct file *file_share(struct file *f)
{
	pthread_mutex_lock(&f->fs->lock);
	f->refs++;
	pthread_mutex_unlock(&f->fs->lock);
	return f;
}

int file_new(struct fs *fs, struct bucket *b, const struct node *node, enum file_state state, struct file **out)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->b = bucket_share(fs, b);
	f->fs = fs;
	f->inode = inode_of(b->number, node->number);
	f->refs = 1;
	pthread_rwlock_init(&f->lock, NULL);
	pthread_mutex_init(&f->modes.lock, NULL);
	f->node = *node;
	memcpy(f->name, node->name.at, node->name.len);
	f->node.name.at = f->name;
	if (node->given.len)
		memcpy(f->given, node->given.at, node->given.len);
	f->node.given.at = f->given;
	if (node->job.len)
		memcpy(f->job, node->job.at, node->job.len);
	f->node.job.at = f->job;
	f->pending = f->unlisted = f->dirty = f->unsaved = state != FILE_STORED;
	f->version = state == FILE_VERSION;
	f->partial = version_is_partial(f->node.name);
	f->names = b->names;
	f->begun = fs_now(fs);
	if (!f->pending)
		f->stored = *node;
	f->loaded = node->place == PLACE_NONE;
	if (f->unlisted)
		table_add(&b->making, &f->by_name, slice_hash(f->node.name, f->node.parent));
	b->new_files += state == FILE_NEW;
	pthread_mutex_lock(&fs->lock);
	table_add(&fs->files, &f->by_inode, table_hash_number(f->inode));
	pthread_mutex_unlock(&fs->lock);
	*out = f;
	return 0;
}

static void drop_content(struct file *f)
{
	store_content_close(f->content, f->content && f->content->number != f->stored.content);
	f->content = NULL;
	f->trimmed = false;
}

/* Commits what is left and takes the file out of the table; false if somebody found it meanwhile. */
static bool leave_table(struct file *f)
{
	struct fs *fs = f->fs;
	struct bucket *b = f->b;
	bool last, again;

	do {
		bool lost = false;

		/* Bytes written through a mapping come after the last flush. */
		pthread_rwlock_wrlock(&f->lock);
		if (!file_is(&f->unlisted) && file_commit(f)) {
			log_error("bucket %.*s: a file could not be committed after its last close: what came after its "
				  "last flush is lost", (int)b->name.len, (const char *)b->name.at);
			lost = true;
		}
		pthread_rwlock_unlock(&f->lock);
		/* The bucket's lock keeps out whoever would open it anew from an older record. */
		bucket_lock(b);
		pthread_mutex_lock(&fs->lock);
		last = f->refs == 1;
		again = last && f->dirty && !f->unlisted && !f->unlinked && !b->dead && !lost;
		if (!again)
			f->refs--;
		if (last && !again)
			table_remove(&fs->files, &f->by_inode);
		pthread_mutex_unlock(&fs->lock);
		if (last && !again)
			file_unlinked(f);
		bucket_unlock(b);
	} while (again);
	return last;
}

void file_put(struct file *f)
{
	struct fs *fs = f->fs;
	struct bucket *b = f->b;
	bool last;

	pthread_mutex_lock(&fs->lock);
	last = f->refs == 1;
	if (!last)
		f->refs--;
	pthread_mutex_unlock(&fs->lock);
	if (!last || !leave_table(f))
		return;
	drop_content(f);
	store_content_close(f->kept_content, false);
	buf_release(&f->kept_bytes);
	buf_release(&f->bytes);
	pthread_rwlock_destroy(&f->lock);
	pthread_mutex_destroy(&f->modes.lock);
	bucket_put(fs, b);
	free(f);
}

/* Also the end of a file that was never committed, for its last user is gone. */
void file_unlinked(struct file *f)
{
	if (f->unlisted)
		table_remove(&f->b->making, &f->by_name);
	f->b->new_files -= f->pending && !f->version;
	f->pending = f->marked = false;
	file_becomes(&f->unlisted, false);
	file_becomes(&f->version, false);
	file_becomes(&f->unlinked, true);
	file_count_none(f);
}

int file_keep(struct file *f, const struct node *stored)
{
	struct key_buf key = key_body(stored->number);
	int r = 0;

	store_content_close(f->kept_content, false);
	f->kept_content = NULL;
	if (stored->place == PLACE_INLINE)
		r = store_get(f->fs->store, f->b->number, STORE_BODY, key_slice(&key), &f->kept_bytes);
	else if (stored->place == PLACE_CONTENT)
		r = store_content_open(f->fs->store, stored->content, &f->kept_content);
	return r == STORE_ABSENT ? -EIO : r;
}

void file_node(struct file *f, struct node *node)
{
	const struct node *n = &f->node;

	pthread_rwlock_rdlock(&f->lock);
	*node = (struct node){
		.number = n->number,
		.kind = n->kind,
		.place = n->place,
		.exec = n->exec,
		.uid = n->uid,
		.gid = n->gid,
		.modified = n->modified,
		.changed = n->changed,
		.accessed = n->accessed,
		.size = n->size,
		.blocks = n->blocks,
	};
	pthread_rwlock_unlock(&f->lock);
}

bool file_is_opener(const struct file *f, uid_t uid)
{
	for (const struct file_open *h = f->handles; h; h = h->next)
		if (h->uid == uid)
			return true;
	return false;
}

int file_open_new(struct file *f, const struct caller *who, unsigned flags, struct file_open **out)
{
	struct file_open *h = malloc(sizeof(*h));

	if (!h) {
		file_put(f);
		return -ENOMEM;
	}
	bucket_lock(f->b);
	*h = (struct file_open){
		.file = f,
		.next = f->handles,
		.uid = who->uid,
		.append = flags & TREE_APPEND,
		.reads = flags & TREE_READ,
		.writes = flags & TREE_WRITE,
		.replaces = flags & TREE_REPLACE,
	};
	f->handles = h;
	f->writers += h->writes;
	bucket_unlock(f->b);
	*out = h;
	return 0;
}

void file_close(struct file_open *h, bool abandon)
{
	struct file *f = h->file;
	bool last_writer;

	bucket_lock(f->b);
	for (struct file_open **at = &f->handles; *at; at = &(*at)->next) {
		if (*at == h) {
			*at = h->next;
			break;
		}
	}
	f->writers -= h->writes;
	last_writer = f->unlisted && f->writers == 0 && (h->writes || (!f->handles && !f->version));
	if (last_writer)
		f->settling = h->closed ? h->closed : fs_now(f->fs);
	bucket_unlock(f->b);
	free(h);
	if (last_writer)
		version_settle(f, abandon);
	file_put(f);
}

/* ---- content: with f->lock held for writing unless said otherwise ---- */

/* With b->lock held. */
static int load_locked(struct file *f)
{
	struct key_buf key = key_body(f->node.number);
	int r = 0;

	if (f->unlinked && f->node.place == PLACE_CONTENT) {
		f->content = f->kept_content;
		f->kept_content = NULL;
		r = f->content ? 0 : -EIO;
	} else if (f->unlinked) {
		f->bytes = f->kept_bytes;
		f->kept_bytes = (struct buf){0};
	} else if (f->node.place == PLACE_CONTENT) {
		r = store_content_open(f->fs->store, f->node.content, &f->content);
	} else {
		r = store_get(f->fs->store, f->b->number, STORE_BODY, key_slice(&key), &f->bytes);
	}
	return r;
}

static int load(struct file *f)
{
	struct key_buf key = key_body(f->node.number);
	int r = STORE_ABSENT;

	if (f->loaded)
		return 0;
	/* A small content in the store changes under the file's own lock only, so who reads it waits for nobody else's commit. If
	 * it is not there, the file was unlinked just now, and its content has been kept. */
	if (f->node.place == PLACE_INLINE && !file_is(&f->unlinked))
		r = store_get(f->fs->store, f->b->number, STORE_BODY, key_slice(&key), &f->bytes);
	if (r == STORE_ABSENT) {
		bucket_lock(f->b);
		r = load_locked(f);
		bucket_unlock(f->b);
	}
	if (r) {
		log_error("bucket %.*s: the content of file number %llu is missing from the store", (int)f->b->name.len,
			  (const char *)f->b->name.at, (unsigned long long)f->node.number);
		return r < 0 ? r : -EIO;
	}
	f->loaded = true;
	return 0;
}

/* Whether nothing has to be summed up to know that. The bucket may be in the middle of a commit, so it is looked at without
 * its lock. */
static bool is_within_limits(const struct bucket *b, uint64_t size, int64_t growth)
{
	uint64_t most = __atomic_load_n(&b->max_file_size, __ATOMIC_RELAXED);

	return growth < 0 || (!__atomic_load_n(&b->max_total_size, __ATOMIC_RELAXED) && (!most || size <= most));
}

/* The file's size is about to become `size`: checks the limits and counts it. Undone by calling it with the old one. */
static int account(struct file *f, uint64_t size, struct reason *why)
{
	const struct limits *l = &f->b->limits;
	int64_t growth = (int64_t)(size - f->node.size), total;
	int r = 0;

	if (growth == 0)
		return 0;
	if (is_within_limits(f->b, size, growth)) {
		if (!file_is(&f->unlinked))
			file_count(f, growth);
		return 0;
	}
	bucket_lock(f->b);
	total = (int64_t)f->b->head.file_bytes + __atomic_load_n(&f->b->pending_bytes, __ATOMIC_RELAXED) + growth;
	if (growth > 0 && l->max_file_size && size > l->max_file_size) {
		reason_set(why, "the file would have %llu bytes and max_file_size is %llu", (unsigned long long)size,
			   (unsigned long long)l->max_file_size);
		r = BUCKET_TOO_LARGE;
	} else if (f->unlinked) {
		r = 0;
	} else if (growth > 0 && l->max_total_size && total > (int64_t)l->max_total_size) {
		reason_set(why, "the bucket's files would have %lld bytes and max_total_size is %llu", (long long)total,
			   (unsigned long long)l->max_total_size);
		r = BUCKET_OVER_QUOTA;
	} else {
		file_count(f, growth);
	}
	bucket_unlock(f->b);
	return r;
}

static void unaccount(struct file *f, uint64_t size)
{
	if (!file_is(&f->unlinked))
		file_count(f, (int64_t)f->node.size - (int64_t)size);
}

static void touched(struct file *f)
{
	f->node.modified = f->node.changed = fs_now(f->fs);
	f->dirty = f->unsaved = true;
	file_becomes(&f->candidate, false);
	file_becomes(&f->closed, false);
}

/* From memory into a content of the store. */
static int spill(struct file *f)
{
	struct store_content *content;
	int r = store_content_create(f->fs->store, &content);

	if (r)
		return r;
	r = store_content_write(content, 0, f->bytes.data, f->bytes.len);
	if (r) {
		store_content_close(content, true);
		return r;
	}
	f->content = content;
	f->trimmed = true;
	f->node.place = PLACE_CONTENT;
	f->node.content = content->number;
	buf_release(&f->bytes);
	return 0;
}

/* Ready to be written up to `end`. */
static int prepare(struct file *f, uint64_t end)
{
	int r = load(f);

	if (!r && f->node.place != PLACE_CONTENT) {
		if (end > file_inline_max)
			return spill(f);
		f->node.place = PLACE_INLINE;
	}
	/* A crash may have left bytes past the size that was committed. */
	if (!r && f->node.place == PLACE_CONTENT && !f->trimmed) {
		r = store_content_truncate(f->content, f->node.size);
		f->trimmed = !r;
	}
	return r;
}

static int write_locked(struct file *f, uint64_t at, struct slice bytes, struct reason *why)
{
	uint64_t end = at + bytes.len, size = end > f->node.size ? end : f->node.size;
	int r;

	if (end < at || end > INT64_MAX)
		return BUCKET_TOO_LARGE;
	r = fs_check_space(f->fs, size - f->node.size, why);
	if (!r)
		r = account(f, size, why);
	if (r)
		return r;
	r = prepare(f, size);
	if (!r)
		r = f->node.place == PLACE_CONTENT ? store_content_write(f->content, at, bytes.at, bytes.len) :
						     buf_write_at(&f->bytes, (size_t)at, bytes.at, bytes.len);
	if (r) {
		unaccount(f, size);
		/* Part of it may be there already. */
		f->trimmed = false;
		return r;
	}
	f->node.size = size;
	touched(f);
	return 0;
}

int file_write(struct file_open *h, uint64_t at, bool append, struct slice bytes, struct reason *why)
{
	struct file *f = h->file;
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	if (file_is(&f->unlisted) && f->candidate)
		r = version_mark(f);
	else if (h->replaces && !file_is(&f->unlisted) && f->node.size == 0)
		r = version_swap(f, why);
	if (!r)
		r = write_locked(f, append ? f->node.size : at, bytes, why);
	file_becomes(&h->written, true);
	file_becomes(&f->written, true);
	__atomic_store_n(&h->closed, 0, __ATOMIC_RELAXED);
	if (r)
		file_becomes(&f->failed, true);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_clear_locked(struct file *f, struct reason *why)
{
	int r = account(f, 0, why);

	if (r)
		return r;
	/* Nothing of the old content is needed; the stored one stays until the next commit replaces it. */
	drop_content(f);
	buf_clear(&f->bytes);
	f->loaded = true;
	f->lent = false;
	f->node.place = PLACE_NONE;
	f->node.content = 0;
	f->node.size = 0;
	/* Whoever begins anew after a write that failed has all of it again. */
	file_becomes(&f->failed, false);
	touched(f);
	return 0;
}

static int truncate_locked(struct file *f, uint64_t size, struct reason *why)
{
	int r;

	if (size == 0 && !f->lent)
		return file_clear_locked(f, why);
	if (size > f->node.size) {
		r = fs_check_space(f->fs, 0, why);
		if (r)
			return r;
	}
	r = account(f, size, why);
	if (r)
		return r;
	r = prepare(f, size);
	if (!r)
		r = f->node.place == PLACE_CONTENT ? store_content_truncate(f->content, size) :
						     buf_resize(&f->bytes, (size_t)size);
	if (r) {
		unaccount(f, size);
		return r;
	}
	f->node.size = size;
	if (size)
		file_becomes(&f->written, true);
	touched(f);
	return 0;
}

int file_truncate_open(struct file_open *h, uint64_t size, struct reason *why)
{
	struct file *f = h->file;
	int r = 0;

	/* To nothing, by somebody who writes only and has not begun: what will be written is a new version, as if it had
	 * been opened with O_TRUNC (version.h). */
	if (size || h->reads || h->append || file_is(&h->written) || file_is(&f->unlisted))
		return file_truncate(f, size, why);
	pthread_rwlock_wrlock(&f->lock);
	if (f->node.size)
		r = version_swap(f, why);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_truncate(struct file *f, uint64_t size, struct reason *why)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	if (file_is(&f->unlisted) && f->candidate)
		r = version_mark(f);
	if (!r)
		r = truncate_locked(f, size, why);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_allocate(struct file *f, uint64_t at, uint64_t len, bool keep_size, struct reason *why)
{
	uint64_t end, size;
	int r;

	if (__builtin_add_overflow(at, len, &end) || end > INT64_MAX)
		return BUCKET_TOO_LARGE;
	pthread_rwlock_wrlock(&f->lock);
	/* Space past the end would be lost at the next commit: better no promise than one that is not kept. */
	if (keep_size && end > f->node.size) {
		pthread_rwlock_unlock(&f->lock);
		return BUCKET_UNSUPPORTED;
	}
	size = !keep_size && end > f->node.size ? end : f->node.size;
	r = file_is(&f->unlisted) && f->candidate ? version_mark(f) : 0;
	if (!r)
		r = fs_check_space(f->fs, size - f->node.size, why);
	if (!r)
		r = account(f, size, why);
	if (!r) {
		r = size > f->node.size ? prepare(f, size) : 0;
		if (!r && size > f->node.size)
			r = f->node.place == PLACE_CONTENT ? store_content_allocate(f->content, at, size - at) :
							     buf_resize(&f->bytes, (size_t)size);
		if (r) {
			unaccount(f, size);
		} else if (size > f->node.size) {
			f->node.size = size;
			file_becomes(&f->written, true);
			touched(f);
		}
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_punch(struct file *f, uint64_t at, uint64_t len)
{
	int r;

	pthread_rwlock_wrlock(&f->lock);
	r = file_is(&f->unlisted) && f->candidate ? version_mark(f) : 0;
	if (!r && at < f->node.size)
		r = prepare(f, f->node.size);
	if (!r && at < f->node.size) {
		len = len < f->node.size - at ? len : f->node.size - at;
		if (f->node.place == PLACE_CONTENT)
			r = store_content_punch(f->content, at, len);
		else
			memset(f->bytes.data + at, 0, (size_t)len);
		if (!r)
			touched(f);
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* ---- reading ---- */

/* Takes f->lock for reading, with the content loaded. */
static int lock_loaded(struct file *f)
{
	pthread_rwlock_rdlock(&f->lock);
	while (!f->loaded) {
		int r;

		pthread_rwlock_unlock(&f->lock);
		pthread_rwlock_wrlock(&f->lock);
		r = load(f);
		pthread_rwlock_unlock(&f->lock);
		if (r)
			return r;
		pthread_rwlock_rdlock(&f->lock);
	}
	return 0;
}

int file_read_begin(struct file *f, uint64_t at, size_t len, struct file_span *span)
{
	int r = lock_loaded(f);

	if (r)
		return r;
	*span = (struct file_span){NULL, -1, 0};
	if (at < f->node.size)
		span->len = len < f->node.size - at ? len : (size_t)(f->node.size - at);
	if (f->node.place == PLACE_CONTENT)
		span->fd = store_content_fd(f->content);
	else if (span->len)
		span->bytes = f->bytes.data + at;
	return 0;
}

void file_read_end(struct file *f)
{
	pthread_rwlock_unlock(&f->lock);
}

/* With f->lock held. A content that is shorter than the record says reads as zero. */
static int read_locked(struct file *f, uint64_t at, void *bytes, size_t len, size_t *got)
{
	size_t had = 0;
	int r = 0;

	*got = at >= f->node.size ? 0 : len < f->node.size - at ? len : (size_t)(f->node.size - at);
	if (*got == 0)
		return 0;
	if (f->node.place == PLACE_CONTENT)
		r = store_content_read(f->content, at, bytes, *got, &had);
	else
		memcpy(bytes, f->bytes.data + at, had = *got);
	memset((char *)bytes + had, 0, *got - had);
	return r;
}

int file_read(struct file *f, uint64_t at, void *bytes, size_t len, size_t *got)
{
	int r = lock_loaded(f);

	if (r)
		return r;
	r = read_locked(f, at, bytes, len, got);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* ---- lending ---- */

/* Who reads it by themselves goes by its length alone: a crash may have left more or less than the record says. */
static int fit_content(struct file *f)
{
	struct stat st;
	int fd = store_content_fd(f->content);

	if (fd < 0)
		return BUCKET_UNSUPPORTED;
	if (fstat(fd, &st))
		return -errno;
	if ((uint64_t)st.st_size != f->node.size) {
		int r = store_content_truncate(f->content, f->node.size);

		if (r)
			return r;
	}
	f->trimmed = true;
	return 0;
}

int file_lend_begin(struct file *f, struct file_loan *loan)
{
	int r;

	pthread_rwlock_wrlock(&f->lock);
	r = file_is(&f->unlisted) || f->node.place != PLACE_CONTENT ? BUCKET_UNSUPPORTED : load(f);
	if (!r)
		r = fit_content(f);
	if (r) {
		pthread_rwlock_unlock(&f->lock);
		return r;
	}
	*loan = (struct file_loan){store_content_fd(f->content), f->content->number};
	return 0;
}

void file_lend_end(struct file *f, bool lent)
{
	f->lent |= lent;
	pthread_rwlock_unlock(&f->lock);
}

uint64_t file_content_now(struct file *f)
{
	uint64_t content;

	pthread_rwlock_rdlock(&f->lock);
	content = f->node.place == PLACE_CONTENT ? f->node.content : 0;
	pthread_rwlock_unlock(&f->lock);
	return content;
}

int file_seek(struct file *f, uint64_t at, int whence, uint64_t *found)
{
	int r = lock_loaded(f), fd;
	off_t where;

	if (r)
		return r;
	fd = f->node.place == PLACE_CONTENT ? store_content_fd(f->content) : -1;
	if (at >= f->node.size) {
		r = BUCKET_NO_DATA_THERE;
	} else if (fd < 0) {
		*found = whence == SEEK_DATA ? at : f->node.size;
	} else {
		where = lseek(fd, (off_t)at, whence);
		if (where < 0)
			r = errno == ENXIO ? BUCKET_NO_DATA_THERE : -errno;
		else
			*found = (uint64_t)where < f->node.size ? (uint64_t)where : f->node.size;
	}
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_copy(struct file *from, uint64_t from_at, struct file_open *to, uint64_t to_at, size_t len, size_t *copied,
	      struct reason *why)
{
	enum { piece = 1 << 20 };
	char *buffer = malloc(len < piece ? len + 1 : piece);
	int r = buffer ? 0 : -ENOMEM;

	*copied = 0;
	while (!r && *copied < len) {
		size_t want = len - *copied < piece ? len - *copied : piece, got;

		r = file_read(from, from_at + *copied, buffer, want, &got);
		if (r || got == 0)
			break;
		r = file_write(to, to_at + *copied, false, slice_of(buffer, got), why);
		if (!r)
			*copied += got;
	}
	free(buffer);
	return *copied ? 0 : r;
}

/* ---- into the store ---- */

/* Whether the stored content has made room for another one, or for none. */
static bool has_moved(const struct file *f)
{
	return f->node.place != f->stored.place || f->node.content != f->stored.content;
}

int file_add_content(struct file *f, struct settle *settle, struct store_batch *batch)
{
	struct key_buf body = key_body(f->node.number);
	bool kept = false;
	int r;

	if (!f->loaded || !(f->unsaved || has_moved(f)))
		return 0;
	f->node.blocks = (f->node.size + 511) / 512;
	if (f->node.content != f->stored.content && f->node.content) {
		struct node old = f->stored;

		old.number = f->node.number;
		store_batch_adopt(batch, f->node.content);
		/* What was unsettled itself is no fallback, but it has one. */
		if (settle->content)
			store_batch_drop(batch, settle->content);
		kept = settle->content;
		settle_begin(settle, f->node.content);
		if (!kept && f->stored.number)
			kept = settle_fall_back(settle, &old);
	} else if (has_moved(f)) {
		settle_end(settle, batch);
	}
	if (f->node.place == PLACE_INLINE)
		store_batch_put(batch, STORE_BODY, key_slice(&body), buf_slice(&f->bytes));
	else if (f->stored.place == PLACE_INLINE && !kept)
		store_batch_delete(batch, STORE_BODY, key_slice(&body));
	if (f->stored.content && f->node.content != f->stored.content && !kept)
		store_batch_drop(batch, f->stored.content);
	r = f->content ? store_content_blocks(f->content, &f->node.blocks) : 0;
	/* Of what was written something may have failed only now. */
	if (r)
		file_becomes(&f->failed, true);
	return r;
}

void file_settled(struct file *f)
{
	f->b->new_files -= f->pending && !f->version;
	f->pending = false;
	/* What a version will add to the bucket is counted until it is published. */
	if (!f->version)
		file_count_none(f);
	f->stored = f->node;
	f->dirty = f->unsaved = false;
}

static int commit_locked(struct file *f)
{
	struct store_batch batch = {0};
	struct head head = f->b->head;
	struct settle settle;
	bool is_new, marked, taken = false;
	int r = f->pending && !f->version ? tree_name_is_taken(f, &taken) : 0;

	/* Somebody else's came first under its name: this one will replace it. */
	if (taken) {
		file_becomes(&f->version, true);
		f->b->new_files--;
	}
	is_new = f->pending && !f->version;
	if (!r)
		r = settle_load(f->fs, f->b, f->node.number, &settle);
	if (!r)
		r = file_add_content(f, &settle, &batch);
	if (!r)
		settle_write(f->fs, f->b, &settle, &head, &batch);
	if (!r)
		r = tree_put_record(&f->node, &batch);
	if (is_new)
		tree_put_own_name(f->fs, f->b, &f->node, &batch);
	marked = version_add_mark(f, &head, &batch);
	if (!f->version) {
		head.files += is_new;
		head.file_bytes += f->node.size - f->stored.size;
	}
	if (!r && is_new)
		r = tree_touch(f->fs, f->b, f->node.parent, &head, &batch);
	if (!r)
		r = bucket_commit(f->fs, f->b, &head, &batch);
	store_batch_release(&batch);
	if (r)
		return r;
	f->marked = marked;
	file_settled(f);
	file_becomes(&f->candidate, true);
	if (f->unlisted)
		f->turn = ++f->b->turns;
	return 0;
}

int file_commit(struct file *f)
{
	int r = 0;

	if (!f->dirty)
		return 0;
	bucket_lock(f->b);
	if (!f->unlinked)
		r = f->b->dead ? BUCKET_GONE : commit_locked(f);
	bucket_unlock(f->b);
	return r;
}

int file_save(struct file *f)
{
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	/* A version that nothing was written to changes nothing yet, and what a dying writer leaves is kept at its end. */
	if (!file_is(&f->unlisted) || !(f->killed || (file_is(&f->version) && !f->written)))
		r = file_commit(f);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

/* A file that is being made, with both locks held. Whoever closes later comes later, whatever becomes known first of who has
 * closed for good. */
static int close_locked(struct file *f)
{
	int r;

	/* The store has it as overtaken, or may not have it as the last. */
	f->dirty |= (f->marked && f->overtaken > f->turn) || (!f->pending && version_has_rival(f));
	if (f->dirty && !f->killed && !(f->version && !f->written)) {
		r = commit_locked(f);
		if (r)
			return r;
	} else {
		f->turn = ++f->b->turns;
	}
	file_becomes(&f->closed, true);
	return 0;
}

int file_flush(struct file_open *h, bool killed)
{
	struct file *f = h->file;
	int r = 0;

	pthread_rwlock_wrlock(&f->lock);
	if (!f->dirty && !file_is(&f->unlisted)) {
		pthread_rwlock_unlock(&f->lock);
		return 0;
	}
	bucket_lock(f->b);
	if (f->unlinked) {
		r = 0;
	} else if (f->b->dead) {
		r = f->dirty ? BUCKET_GONE : 0;
	} else if (!f->unlisted) {
		r = f->dirty ? commit_locked(f) : 0;
	} else if (h->writes || f->writers == 0) {
		/* A reader's close says nothing of a file that somebody is writing. */
		/* Who has written nothing leaves nothing half-done. */
		if (h->written || !f->written)
			file_becomes(&f->killed, killed);
		r = close_locked(f);
		h->closes += f->written;
		h->closed_last = fs_now(f->fs);
		if (!h->closed)
			__atomic_store_n(&h->closed, h->closed_last, __ATOMIC_RELAXED);
	}
	bucket_unlock(f->b);
	pthread_rwlock_unlock(&f->lock);
	return r;
}

int file_sync(struct file *f)
{
	uint64_t content;
	int r = file_save(f);

	if (r)
		return r;
	/* Under no lock: the disk takes its time, and who opens, reads and writes meanwhile must not wait for it. */
	content = file_content_now(f);
	return content ? settle_content(f->fs, f->b, f->node.number, content) : 0;
}
