#include "bucket/bucket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bucket/data.h"
#include "bucket/document.h"
#include "bucket/fresh.h"
#include "bucket/reading.h"
#include "bucket/refusal.h"
#include "bucket/schema.h"
#include "bucket/scoped.h"
#include "bucket/scratch.h"
#include "bucket/settle.h"
#include "bucket/transaction.h"
#include "bucket/tree.h"
#include "bucket/version.h"
#include "util/bytes.h"
#include "util/log.h"

enum { idle_max = 4096 };

/* ---- damage ---- */

/* A reader that looks at a damaged record again and again must not fill the log. */
int bucket_damaged(const struct bucket *b, const char *record, uint64_t number, const char *fault)
{
	log_limited(b->owner, LOG_LEVEL_ERROR, "bucket %.*s: the record of %s number %llu is damaged: %s",
		    b->name.len ? (int)b->name.len : 1, b->name.len ? (const char *)b->name.at : "/", record,
		    (unsigned long long)number, fault);
	return -EIO;
}

int bucket_damaged_name(const struct bucket *b, const char *record, struct slice name, const char *fault)
{
	log_limited(b->owner, LOG_LEVEL_ERROR, "bucket %.*s: the record of %s \"%.*s\" is damaged: %s",
		    b->name.len ? (int)b->name.len : 1, b->name.len ? (const char *)b->name.at : "/", record,
		    name.len > 60 ? 60 : (int)name.len, name.len ? (const char *)name.at : "", fault);
	return -EIO;
}

int bucket_key_result(const struct bucket *b, struct slice key, int r)
{
	return r == -EIO ? bucket_damaged_name(b, "key", key, "it holds no value") : r;
}

void bucket_free(struct fs *fs, struct bucket *b)
{
	if (!b)
		return;
	data_forget_text(fs, b);
	schema_free(b->schema);
	acl_release(&b->acl);
	own_limits_release(&b->own_limits);
	table_release(&b->making);
	free(b->depths);
	pthread_mutex_destroy(&b->lock);
	pthread_mutex_destroy(&b->handles_lock);
	free((void *)b->name.at);
	free(b);
}

/* ---- the cache of buckets ---- */

static struct bucket *cached(struct fs *fs, uint32_t number)
{
	uint64_t hash = table_hash_number(number);

	for (struct table_node *n = table_first(&fs->buckets, hash); n; n = table_next(n)) {
		struct bucket *b = container_of(n, struct bucket, by_number);

		if (b->number == number)
			return b;
	}
	return NULL;
}

static void idle_remove(struct fs *fs, struct bucket *b)
{
	*(b->idle_previous ? &b->idle_previous->idle_next : &fs->idle_first) = b->idle_next;
	*(b->idle_next ? &b->idle_next->idle_previous : &fs->idle_last) = b->idle_previous;
	b->idle_previous = b->idle_next = NULL;
	fs->idle_count--;
}

static void idle_add(struct fs *fs, struct bucket *b)
{
	b->idle_next = fs->idle_first;
	*(fs->idle_first ? &fs->idle_first->idle_previous : &fs->idle_last) = b;
	fs->idle_first = b;
	fs->idle_count++;
}

static void reference(struct fs *fs, struct bucket *b)
{
	if (b->refs++ == 0)
		idle_remove(fs, b);
}

struct bucket *bucket_share(struct fs *fs, struct bucket *b)
{
	pthread_mutex_lock(&fs->lock);
	b->refs++;
	pthread_mutex_unlock(&fs->lock);
	return b;
}

void bucket_put(struct fs *fs, struct bucket *b)
{
	struct bucket *victim = NULL;

	if (!b)
		return;
	pthread_mutex_lock(&fs->lock);
	if (--b->refs == 0) {
		if (b->dead) {
			victim = b;
		} else {
			idle_add(fs, b);
			if (fs->idle_count > idle_max || __atomic_load_n(&fs->text_bytes, __ATOMIC_RELAXED) > data_text_budget) {
				victim = fs->idle_last;
				idle_remove(fs, victim);
				table_remove(&fs->buckets, &victim->by_number);
				fs->evictions++;
			}
		}
	}
	pthread_mutex_unlock(&fs->lock);
	bucket_free(fs, victim);
}

static void head_init(struct head *h, const struct origin *o)
{
	*h = (struct head){
		.owner = o->owner,
		.group = o->group,
		.data_present = true,
		.enabled = true,
		.created = o->created,
		.modified = o->created,
		.data_modified = o->created,
		.files_modified = o->created,
		.data_size = document_size_empty,
		.next_node = NODE_FIRST,
	};
}

/* To threads that look at it without the lock. */
static void show_head(struct bucket *b)
{
	__atomic_store_n(&b->enabled, b->head.enabled, __ATOMIC_RELAXED);
	__atomic_store_n(&b->shown.modified, b->head.modified, __ATOMIC_RELAXED);
	__atomic_store_n(&b->shown.files, b->head.files, __ATOMIC_RELAXED);
	__atomic_store_n(&b->shown.file_bytes, b->head.file_bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&b->shown.data_keys, b->head.data_keys, __ATOMIC_RELAXED);
}

int bucket_load(struct fs *fs, uint32_t number, struct bucket **out)
{
	struct bucket *b;
	struct buf record = {0}, head = {0};
	struct origin origin = {.created = fs_now(fs), .name = slice_of(NULL, 0)};
	struct key_buf key = key_bucket_number(number);
	const char *fault = NULL;
	int r;

	if (number > bucket_number_max)
		return BUCKET_GONE;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->number = number;
	pthread_mutex_init(&b->lock, NULL);
	pthread_mutex_init(&b->handles_lock, NULL);
	r = table_init(&b->making);
	if (!r && number) {
		r = store_get(fs->store, 0, STORE_META, key_slice(&key), &record);
		if (r == STORE_ABSENT)
			r = BUCKET_GONE;
		else if (!r && (fault = origin_decode(&origin, buf_slice(&record))))
			r = -EIO;
	}
	if (!r && origin.name.len) {
		char *name = malloc(origin.name.len);

		if (name)
			b->name = slice_of(memcpy(name, origin.name.at, origin.name.len), origin.name.len);
		else
			r = -ENOMEM;
	}
	if (!r) {
		r = store_head(fs->store, number, &b->revision, &head);
		if (r == STORE_ABSENT) {
			head_init(&b->head, &origin);
			if (number == 0)
				b->head.next_node = 1;
			r = 0;
		} else if (!r) {
			r = head_decode(&b->head, &b->acl, &b->own_limits, buf_slice(&head), &fault);
			if (!r && number && b->head.next_node < NODE_FIRST) {
				fault = "the next number is none";
				r = -EIO;
			}
		}
	}
	if (!r) {
		r = bucket_limits_load(fs, b);
		fault = r == -EIO ? "one of its limits is none" : fault;
	}
	b->owner = b->head.owner;
	b->group = b->head.group;
	b->generation = (uint32_t)((uint64_t)b->head.created >> 10);
	show_head(b);
	if (r == -EIO && fault)
		bucket_damaged(b, "bucket", number, fault);
	else if (r == -EIO)
		log_error("the record of bucket number %u cannot be read", number);
	buf_release(&record);
	buf_release(&head);
	if (r)
		bucket_free(fs, b);
	else
		*out = b;
	return r;
}

static struct bucket *get_cached(struct fs *fs, uint32_t number, uint64_t *evictions)
{
	struct bucket *b;

	pthread_mutex_lock(&fs->lock);
	b = cached(fs, number);
	if (b)
		reference(fs, b);
	*evictions = fs->evictions;
	pthread_mutex_unlock(&fs->lock);
	return b;
}

/* False: somebody else was faster; or they have already let it go again, and what we read may be older than what they
 * wrote. Then it is freed. */
static bool keep(struct fs *fs, struct bucket *loaded, uint64_t evictions)
{
	bool kept;

	pthread_mutex_lock(&fs->lock);
	kept = !cached(fs, loaded->number) && fs->evictions == evictions;
	if (kept) {
		loaded->refs = 1;
		table_add(&fs->buckets, &loaded->by_number, table_hash_number(loaded->number));
	}
	pthread_mutex_unlock(&fs->lock);
	if (!kept)
		bucket_free(fs, loaded);
	return kept;
}

static bool is_undone(const struct bucket *b)
{
	return b->head.making || b->head.unsettled;
}

/* What looks as if a crash had left it undone may as well be at work: that only shows while nobody else gets it. *out is NULL
 * if it is to be tried again. */
static int get_recovered(struct fs *fs, uint32_t number, struct bucket **out)
{
	struct bucket *loaded;
	uint64_t evictions;
	int r = 0;

	pthread_mutex_lock(&fs->recovering);
	*out = get_cached(fs, number, &evictions);
	if (!*out)
		r = bucket_load(fs, number, &loaded);
	if (!*out && !r) {
		/* Publishing believes a content: so the disk is asked first. */
		if (loaded->head.unsettled)
			r = settle_recover(fs, loaded);
		if (!r && loaded->head.making)
			r = version_recover(fs, loaded);
		if (r == -EIO)
			log_error("bucket %.*s: what a crash has left in it cannot be settled", (int)loaded->name.len,
				  (const char *)loaded->name.at);
		if (r)
			bucket_free(fs, loaded);
		else if (keep(fs, loaded, evictions))
			*out = loaded;
	}
	pthread_mutex_unlock(&fs->recovering);
	return r;
}

int bucket_get(struct fs *fs, uint32_t number, struct bucket **out)
{
	struct bucket *loaded, *b;
	uint64_t evictions;
	int r;

	if (number == 0) {
		*out = bucket_share(fs, fs->root);
		return 0;
	}
	while (!(b = get_cached(fs, number, &evictions))) {
		r = bucket_load(fs, number, &loaded);
		if (!r && is_undone(loaded)) {
			bucket_free(fs, loaded);
			r = get_recovered(fs, number, &b);
		} else if (!r && keep(fs, loaded, evictions)) {
			b = loaded;
		}
		if (r)
			return r;
		if (b)
			break;
	}
	*out = b;
	return 0;
}

int bucket_lookup(struct fs *fs, struct slice name, struct bucket **out)
{
	if (!name_is_bucket_id(name) && !scoped_is_id(name))
		return BUCKET_ABSENT;
	return bucket_find(fs, name, out);
}

/* The bucket that an id leads to. It must be one by that id: who believes a damaged number locks the root twice, or removes what
 * another bucket holds. */
static int get_named(struct fs *fs, struct slice id, struct slice number, struct bucket **out)
{
	struct bucket *b;
	int r;

	if (number.len != 4 || !bytes_get_le32(number.at))
		return bucket_damaged_name(fs->root, "bucket", id, "it leads to no number");
	r = bucket_get(fs, bytes_get_le32(number.at), &b);
	if (r)
		return r;
	if (!slice_equal(b->name, id)) {
		bucket_put(fs, b);
		return bucket_damaged_name(fs->root, "bucket", id, "it leads to another bucket");
	}
	*out = b;
	return 0;
}

int bucket_find(struct fs *fs, struct slice id, struct bucket **out)
{
	struct key_buf key = key_bucket_name(id);
	struct buf number = {0};
	int r;

	r = store_get(fs->store, 0, STORE_META, key_slice(&key), &number);
	if (!r)
		r = get_named(fs, id, buf_slice(&number), out);
	else if (r == STORE_ABSENT)
		r = BUCKET_ABSENT;
	buf_release(&number);
	return r == BUCKET_GONE ? BUCKET_ABSENT : r;
}

/* ---- making and removing ---- */

static int commit(struct fs *fs, struct bucket *b, struct head *head, const struct store_batch *batch)
{
	struct buf record = {0};
	uint64_t revision;
	int r;

	if (b->dead || b->handed_over)
		return BUCKET_GONE;
	head->modified = fs_now(fs);
	pthread_rwlock_rdlock(&fs->acl_lock);
	r = head_encode(head, &b->acl, &b->own_limits, &record);
	pthread_rwlock_unlock(&fs->acl_lock);
	if (!r)
		r = store_commit(fs->store, b->number, b->revision, buf_slice(&record), batch, &revision);
	buf_release(&record);
	if (r == STORE_CONFLICT) {
		log_error("bucket %.*s is not at revision %llu: somebody else writes in the store", (int)b->name.len,
			  (const char *)b->name.at, (unsigned long long)b->revision);
		return -EIO;
	}
	if (!r) {
		b->head = *head;
		show_head(b);
		b->revision = revision;
	}
	return r;
}

int bucket_commit(struct fs *fs, struct bucket *b, struct head *head, const struct store_batch *batch)
{
	head->untouched = false;
	return commit(fs, b, head, batch);
}

/* With the bucket's lock held. */
static int commit_untouched(struct fs *fs, struct bucket *b, uint64_t revision)
{
	struct store_batch nothing = {0};
	struct head head = b->head;

	head.untouched = b->revision == revision;
	return commit(fs, b, &head, &nothing);
}

int bucket_commit_untouched(struct fs *fs, struct bucket *b, uint64_t revision)
{
	int r;

	bucket_lock(b);
	r = b->revision == revision ? commit_untouched(fs, b, revision) : 0;
	bucket_unlock(b);
	return r;
}

static int create_locked(struct fs *fs, const struct caller *who, struct slice name, uint32_t *number)
{
	struct key_buf by_name = key_bucket_name(name), by_number;
	struct store_batch batch = {0};
	struct buf record = {0};
	unsigned char raw[4];
	struct origin origin = {who->uid, who->gid, fs_now(fs), name};
	struct head head;
	int r = store_get(fs->store, 0, STORE_META, key_slice(&by_name), &record);

	if (r != STORE_ABSENT) {
		buf_release(&record);
		return r ? r : BUCKET_EXISTS;
	}
	r = bucket_check_numbers(fs, fs->root);
	if (!r)
		r = bucket_take_number(fs, number);
	if (r) {
		buf_release(&record);
		return r;
	}
	head = fs->root->head;
	head.files++;
	by_number = key_bucket_number(*number);
	bytes_put_le32(raw, *number);
	buf_clear(&record);
	r = origin_encode(&origin, &record);
	store_batch_put(&batch, STORE_META, key_slice(&by_name), slice_of(raw, sizeof(raw)));
	store_batch_put(&batch, STORE_META, key_slice(&by_number), buf_slice(&record));
	/* After the commit anybody may find it and put a name there. */
	fresh_begin(fs->fresh, inode_of(*number, NODE_FILES));
	if (!r)
		r = bucket_commit(fs, fs->root, &head, &batch);
	store_batch_release(&batch);
	buf_release(&record);
	return r;
}

int bucket_create(struct fs *fs, const struct caller *who, struct slice name, struct bucket **out)
{
	uint32_t number = 0;
	int r;

	if (name.len > name_max)
		return BUCKET_NAME_TOO_LONG;
	if (!name_is_bucket_id(name))
		return BUCKET_INVALID;
	r = bucket_check(fs, fs->root, who, PRIVILEGE_CREATE, "create a bucket");
	if (r)
		return r;
	bucket_lock(fs->root);
	r = create_locked(fs, who, name, &number);
	bucket_unlock(fs->root);
	if (r)
		return r;
	fs_audit(who, "create", name, NULL);
	return bucket_get(fs, number, out);
}

int bucket_make(struct fs *fs, const struct caller *owner, struct slice name, const struct acl_list *read,
		const struct acl_list *edit, struct bucket **out)
{
	struct acl acl = {0};
	struct bucket *b = NULL;
	uint32_t number = 0;
	int r = read ? acl_list_copy(&acl.list[PRIVILEGE_READ], read) : 0;

	if (!r && edit)
		r = acl_list_copy(&acl.list[PRIVILEGE_EDIT], edit);
	if (!r) {
		bucket_lock(fs->root);
		r = create_locked(fs, owner, name, &number);
		bucket_unlock(fs->root);
	}
	if (!r)
		r = bucket_get(fs, number, &b);
	if (!r) {
		bucket_lock(b);
		pthread_rwlock_wrlock(&fs->acl_lock);
		struct acl old = b->acl;
		b->acl = acl;
		acl = old;
		pthread_rwlock_unlock(&fs->acl_lock);
		r = commit_untouched(fs, b, 0);
		bucket_unlock(b);
		fs_audit(owner, "create", name, NULL);
	}
	acl_release(&acl);
	if (r)
		bucket_put(fs, b);
	else
		*out = b;
	return r;
}

int bucket_erase(struct fs *fs, uint32_t number)
{
	struct key_buf key = key_bucket_erased(number);
	struct store_batch batch = {0};
	struct head head;
	int r = store_erase(fs->store, number);

	if (r)
		return r;
	bucket_lock(fs->root);
	head = fs->root->head;
	store_batch_delete(&batch, STORE_META, key_slice(&key));
	r = bucket_commit(fs, fs->root, &head, &batch);
	bucket_unlock(fs->root);
	store_batch_release(&batch);
	return r;
}

/* Its name goes, and its number is noted as one whose records are to be erased. Open files keep their content. */
int bucket_end_locked(struct fs *fs, struct bucket *b)
{
	struct key_buf by_name = key_bucket_name(b->name), by_number = key_bucket_number(b->number);
	struct key_buf erased = key_bucket_erased(b->number);
	struct store_batch batch = {0};
	struct head head;
	int r = file_keep_all(fs, b);

	if (r)
		return r;
	store_batch_delete(&batch, STORE_META, key_slice(&by_name));
	store_batch_delete(&batch, STORE_META, key_slice(&by_number));
	store_batch_put(&batch, STORE_META, key_slice(&erased), slice_of("", 0));
	bucket_lock(fs->root);
	head = fs->root->head;
	head.files--;
	r = bucket_commit(fs, fs->root, &head, &batch);
	bucket_unlock(fs->root);
	store_batch_release(&batch);
	if (!r) {
		file_unlinked_all(fs, b);
		refusals_forget(fs->refusals, b->number);
		readings_forget(fs->readings, b->number);
		pthread_mutex_lock(&fs->lock);
		__atomic_store_n(&b->dead, true, __ATOMIC_RELAXED);
		b->refs -= b->lingers;
		b->lingers = false;
		table_remove(&fs->buckets, &b->by_number);
		fs->evictions++;
		pthread_mutex_unlock(&fs->lock);
	}
	return r;
}

/* Whether a space has a record. */
static int has_records(struct fs *fs, struct bucket *b, enum store_space space, struct slice prefix, bool *has)
{
	struct slice none = slice_of(NULL, 0), key, value;
	struct store_cursor *cursor;
	int r = store_cursor_open(fs->store, b->number, space, prefix, none, &cursor);

	if (r)
		return r;
	r = store_cursor_next(cursor, &key, &value);
	*has = r == 0;
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

/* The head says that nothing is in it: what it had forgotten would be lost. */
static int check_empty(struct fs *fs, struct bucket *b)
{
	bool keys, files = false;
	int r = has_records(fs, b, STORE_DOC, slice_of(NULL, 0), &keys);

	if (!r)
		r = has_records(fs, b, STORE_NODE, slice_str("C"), &files);
	if (!r && (keys || files))
		r = bucket_damaged(b, "bucket", b->number, "it counts no keys or no files where there are some");
	return r;
}

static int remove_locked(struct fs *fs, struct bucket *b)
{
	int r;

	if (b->dead)
		return BUCKET_ABSENT;
	if (b->head.data_keys)
		return BUCKET_NOT_EMPTY;
	r = tree_drop_unlisted(fs, b, NODE_FILES);
	if (r)
		return r;
	if (b->head.files)
		return BUCKET_NOT_EMPTY;
	r = check_empty(fs, b);
	return r ? r : bucket_end_locked(fs, b);
}

/* The bucket is gone whether or not its last records are. If their removal fails, the next start makes up for that. */
static void removed(struct fs *fs, const struct caller *who, struct bucket *b, const char *detail)
{
	scratch_drop_all(b);
	if (transaction_purge(fs, b->number))
		log_warning("transactions of %.*s will be removed at the next start", (int)b->name.len, (const char *)b->name.at);
	fs_audit(who, "delete", b->name, detail);
	if (bucket_erase(fs, b->number))
		log_warning("the records of deleted bucket number %u will be erased at the next start", b->number);
}

/* For the removal of a bucket the kernel keeps the root locked: nobody could look up another one meanwhile, so it does
 * not wait for long. */
static int lock_to_remove(struct bucket *b, bool may)
{
	static const struct timespec moment = {.tv_nsec = 1000000};
	enum { moments = 100 };

	if (may) {
		bucket_lock(b);
		return 0;
	}
	for (int i = 0; i < moments; i++) {
		if (bucket_try_lock(b))
			return 0;
		nanosleep(&moment, NULL);
	}
	return BUCKET_BUSY;
}

/* BUCKET_LONG: many records have been there, of which the store has traces, or there are transactions, which may hold
 * anything. */
static int check_time(struct fs *fs, struct bucket *b, bool may)
{
	enum { many = 5000 };
	bool long_ago;
	int r;

	if (fs_may_take_long(fs))
		return 0;
	r = lock_to_remove(b, may);
	if (r)
		return r;
	long_ago = b->head.next_node > many || b->revision > many;
	bucket_unlock(b);
	return long_ago || transaction_any(fs, b->number) ? BUCKET_LONG : 0;
}

static int remove_bucket(struct fs *fs, const struct caller *who, struct slice name, bool may)
{
	struct bucket *b;
	int r = may ? bucket_find(fs, name, &b) : bucket_lookup(fs, name, &b);

	if (r)
		return r;
	if (!may)
		r = bucket_check_end(fs, b, who);
	if (!r)
		r = check_time(fs, b, may);
	if (!r)
		r = lock_to_remove(b, may);
	if (!r) {
		r = remove_locked(fs, b);
		bucket_unlock(b);
	}
	if (!r)
		removed(fs, who, b, NULL);
	bucket_put(fs, b);
	return r;
}

static bool has_other_users(struct fs *fs, const struct bucket *b)
{
	bool has;

	pthread_mutex_lock(&fs->lock);
	has = b->refs > 1;
	pthread_mutex_unlock(&fs->lock);
	return has;
}

/* A program that has just been led here is about to look at it. */
static bool was_resolved(struct fs *fs, const struct bucket *b)
{
	enum { seconds = 60 };
	int64_t at = __atomic_load_n(&b->resolved, __ATOMIC_RELAXED);

	return at && fs_moment(fs) - at < (int64_t)seconds * 1000000000;
}

int bucket_remove_untouched(struct fs *fs, const struct caller *who, struct bucket *b)
{
	int r;

	bucket_lock(b);
	r = BUCKET_BUSY;
	if (b->head.untouched && !b->scratch && !has_other_users(fs, b) && !was_resolved(fs, b))
		r = remove_locked(fs, b);
	bucket_unlock(b);
	if (!r)
		removed(fs, who, b, NULL);
	return r;
}

void bucket_hand_over_locked(struct fs *fs, struct bucket *b)
{
	file_becomes(&b->handed_over, true);
	file_unlinked_all(fs, b);
	/* Of its name and its open files nothing is left then. */
	if (bucket_end_locked(fs, b) == 0)
		return;
	/* Read from the store again it would look like any other transaction, and removing a file there would take the content away. */
	pthread_mutex_lock(&fs->lock);
	b->refs++;
	b->lingers = true;
	pthread_mutex_unlock(&fs->lock);
}

int bucket_discard(struct fs *fs, struct bucket *b)
{
	int r;

	bucket_lock(b);
	r = b->dead ? 0 : bucket_end_locked(fs, b);
	bucket_unlock(b);
	if (!r)
		scratch_drop_all(b);
	return r ? r : bucket_erase(fs, b->number);
}

static int drop_content(void *context, const struct node *node)
{
	if (node->place == PLACE_CONTENT)
		store_batch_drop(context, node->content);
	return 0;
}

static int purge_locked(struct fs *fs, struct bucket *b, struct store_batch *batch)
{
	struct head head = b->head;
	int r = tree_each(fs, b, drop_content, batch);

	if (!r)
		r = settle_drop_all(fs, b, batch);
	/* The contents go in a commit before the one that ends the bucket. */
	if (!r)
		r = file_keep_all(fs, b);
	if (!r)
		r = bucket_commit(fs, b, &head, batch);
	if (r)
		return r;
	file_unlinked_all(fs, b);
	return bucket_end_locked(fs, b);
}

int bucket_purge(struct fs *fs, struct bucket *b)
{
	struct store_batch batch = {0};
	int r;

	bucket_lock(b);
	r = b->dead ? 0 : purge_locked(fs, b, &batch);
	bucket_unlock(b);
	store_batch_release(&batch);
	if (!r)
		scratch_drop_all(b);
	return r ? r : bucket_erase(fs, b->number);
}

int bucket_remove_all(struct fs *fs, const struct caller *who, struct bucket *b)
{
	struct store_batch batch = {0};
	int r = bucket_check_end(fs, b, who);

	if (r)
		return r;
	bucket_lock(b);
	r = b->dead ? BUCKET_GONE : purge_locked(fs, b, &batch);
	bucket_unlock(b);
	store_batch_release(&batch);
	if (!r)
		removed(fs, who, b, "with everything in it");
	return r;
}

int bucket_remove(struct fs *fs, const struct caller *who, struct slice name)
{
	return remove_bucket(fs, who, name, false);
}

int bucket_remove_any(struct fs *fs, const struct caller *who, struct slice name)
{
	return remove_bucket(fs, who, name, true);
}

int bucket_list(struct fs *fs, uint32_t after, int (*each)(void *context, uint32_t number, struct slice name),
		void *context)
{
	struct key_buf from = key_bucket_number(after + 1);
	struct store_cursor *cursor;
	struct slice key, value;
	int r;

	if (after == UINT32_MAX)
		return 0;
	r = store_cursor_open(fs->store, 0, STORE_META, slice_str("N"), key_slice(&from), &cursor);
	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		struct origin origin;
		uint32_t number = key_bucket_number_of(key);
		const char *fault = origin_decode(&origin, value);

		/* One that is damaged must not hide all the others. */
		if (fault || !number || number > bucket_number_max) {
			bucket_damaged(fs->root, "bucket", number, fault ? fault : "its number is none");
			continue;
		}
		r = each(context, number, origin.name);
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

/* Where an id leads to is bucket_find's to say. */
int bucket_list_ids(struct fs *fs, struct slice prefix, int (*each)(void *context, struct slice id), void *context)
{
	struct key_buf first = key_bucket_name(prefix);
	struct store_cursor *cursor;
	struct slice key, value;
	int r = store_cursor_open(fs->store, 0, STORE_META, key_slice(&first), key_slice(&first), &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		r = each(context, slice_of((const char *)key.at + 1, key.len - 1));
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}
