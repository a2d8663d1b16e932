/* The table of open files: how they begin, who has them open, how they end. */
#include "bucket/file.h"

#include <errno.h>
#include <stdlib.h>

#include "bucket/attribute.h"
#include "bucket/gone.h"
#include "bucket/settle.h"
#include "bucket/transaction.h"
#include "bucket/tree.h"
#include "bucket/version.h"
#include "util/log.h"

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
	f->begun = fs_moment(fs);
	if (!f->pending)
		f->stored = node_without_names(node);
	f->stored_whole = !f->pending;
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

/* Commits what is left and takes the file out of the table; false if somebody found it meanwhile. */
static bool leave_table(struct file *f)
{
	struct fs *fs = f->fs;
	struct bucket *b = f->b;
	bool last, again;

	do {
		bool lost = false;

		/* Bytes written through a mapping come after the last flush. Of a file without a name nothing is kept. */
		pthread_rwlock_wrlock(&f->lock);
		if (!file_is(&f->unlisted) && !file_is(&f->unlinked))
			file_give_back_locked(f);
		if (!file_is(&f->unlisted) && !file_is(&f->unlinked) && f->dirty && file_commit(f)) {
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
		if (last && !again && f->unlinked)
			gone_add(fs, b, &f->node, &f->attributes);
		if (last && !again)
			table_remove(&fs->files, &f->by_inode);
		pthread_mutex_unlock(&fs->lock);
		if (last && !again && f->reseal && !f->unlinked && !b->dead && f->node.place == PLACE_CONTENT)
			settle_later(fs, b->number, f->node.number, f->node.content);
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
	file_drop_content(f);
	store_content_close(f->kept_content, false);
	buf_release(&f->kept_bytes);
	attribute_forget(f);
	buf_release(&f->bytes);
	buf_release(&f->checks);
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
	file_becomes(&f->unlinked, true);
	file_becomes(&f->version, false);
	file_becomes(&f->unlisted, false);
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
	/* It is damaged, and can be removed all the same: whoever has it open cannot read it now, and will not later. */
	return r == STORE_ABSENT || r == -EIO ? 0 : r;
}

/* ---- all files of a bucket ---- */

struct collecting {
	const struct bucket *b;
	struct buf files; /* of struct file * */
};

static int collect_one(void *context, struct table_node *node)
{
	struct collecting *c = context;
	struct file *f = container_of(node, struct file, by_inode);

	return f->b == c->b ? buf_add(&c->files, &f, sizeof(f)) : 0;
}

static struct file *collected(const struct collecting *c, size_t i)
{
	struct file *f;

	memcpy(&f, c->files.data + i * sizeof(f), sizeof(f));
	return f;
}

/* No file enters or leaves the table of open files without its bucket's lock, so these need no references. */
int file_keep_all(struct fs *fs, struct bucket *b)
{
	struct collecting c = {.b = b};
	int r;

	pthread_mutex_lock(&fs->lock);
	r = table_each(&fs->files, collect_one, &c);
	pthread_mutex_unlock(&fs->lock);
	for (size_t i = 0; !r && i < c.files.len / sizeof(struct file *); i++) {
		struct file *f = collected(&c, i);
		struct node stored = f->stored;

		/* The store has nothing of a pending file but attributes. */
		if (!f->unlinked && f->pending)
			r = attribute_keep_stored(f);
		if (f->unlinked || f->pending)
			continue;
		stored.number = f->node.number;
		r = file_keep(f, &stored);
		if (!r)
			r = attribute_keep_stored(f);
	}
	buf_release(&c.files);
	return r;
}

static int unlink_one(void *context, struct table_node *node)
{
	struct file *f = container_of(node, struct file, by_inode);

	if (f->b == context && !f->unlinked)
		file_unlinked(f);
	return 0;
}

void file_unlinked_all(struct fs *fs, struct bucket *b)
{
	pthread_mutex_lock(&fs->lock);
	table_each(&fs->files, unlink_one, b);
	pthread_mutex_unlock(&fs->lock);
}

static int share_one(void *context, struct table_node *node)
{
	struct collecting *c = context;
	struct file *f = container_of(node, struct file, by_inode);
	int r = collect_one(c, node);

	f->refs += !r && f->b == c->b;
	return r;
}

int file_save_all(struct fs *fs, struct bucket *b)
{
	struct collecting c = {.b = b};
	int r;

	pthread_mutex_lock(&fs->lock);
	r = table_each(&fs->files, share_one, &c);
	pthread_mutex_unlock(&fs->lock);
	for (size_t i = 0; i < c.files.len / sizeof(struct file *); i++) {
		struct file *f = collected(&c, i);

		if (!r && !file_is(&f->unlisted))
			r = file_save(f);
		file_put(f);
	}
	buf_release(&c.files);
	return r;
}

void file_node(struct file *f, struct node *node)
{
	const struct node *n = &f->node;
	uint64_t blocks;

	pthread_rwlock_rdlock(&f->lock);
	/* The record has them as of the last commit. */
	if (n->place != PLACE_CONTENT)
		blocks = (n->size + 511) / 512;
	else if (!f->content || !(f->unsaved || f->exposed) || store_content_blocks(f->content, &blocks))
		blocks = n->blocks;
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
		.blocks = blocks,
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
	/* The content belongs to a file of another bucket by now, which this handle would change. */
	if (f->b->handed_over && flags & TREE_WRITE) {
		bucket_unlock(f->b);
		free(h);
		file_put(f);
		return BUCKET_GONE;
	}
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

int file_truncate_alone(struct file *f, uint64_t size, struct reason *why)
{
	bool published;
	int r;

	/* Others are never published, and need not wait for the lock. */
	if (!transaction_is_id(f->b->name))
		return file_truncate(f, size, why);
	bucket_lock(f->b);
	published = f->b->handed_over;
	f->truncating += !published;
	bucket_unlock(f->b);
	if (published)
		return BUCKET_GONE;
	r = file_truncate(f, size, why);
	bucket_lock(f->b);
	f->truncating--;
	bucket_unlock(f->b);
	return r;
}

/* Without a reference it would leave the bucket's `making`, and what the store has of it would be listed, half-made as it is. */
static void end_later(struct file *f)
{
	struct fs *fs = f->fs;

	pthread_mutex_lock(&fs->lock);
	if (!f->unended) {
		f->unended = true;
		f->refs++;
		f->next_unended = fs->unended;
		fs->unended = f;
	}
	pthread_mutex_unlock(&fs->lock);
}

static struct file *take_unended(struct fs *fs)
{
	struct file *f;

	pthread_mutex_lock(&fs->lock);
	f = fs->unended;
	fs->unended = NULL;
	pthread_mutex_unlock(&fs->lock);
	return f;
}

/* Until then it is in a list, and nobody puts it into another one. */
static struct file *take_next(struct file *f)
{
	struct file *next = f->next_unended;

	pthread_mutex_lock(&f->fs->lock);
	f->unended = false;
	pthread_mutex_unlock(&f->fs->lock);
	return next;
}

void file_end_again(struct fs *fs, bool last)
{
	struct file *next;

	for (struct file *f = take_unended(fs); f; f = next) {
		next = take_next(f);
		if (version_settle_again(f) && !last)
			end_later(f);
		file_put(f);
	}
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
		f->settling = h->closed ? h->closed : fs_moment(f->fs);
	bucket_unlock(f->b);
	free(h);
	if (last_writer && version_settle(f, abandon))
		end_later(f);
	file_put(f);
}
