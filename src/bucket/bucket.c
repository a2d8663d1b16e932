#include "bucket/bucket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/data.h"
#include "bucket/document.h"
#include "bucket/fresh.h"
#include "bucket/reading.h"
#include "bucket/redirect.h"
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

static void bucket_free(struct fs *fs, struct bucket *b)
{
	if (!b)
		return;
	data_forget_text(fs, b);
	schema_free(b->schema);
	acl_release(&b->acl);
	own_limits_release(&b->own_limits);
	table_release(&b->making);
	pthread_mutex_destroy(&b->lock);
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

/* The mount's limits with a bucket's own in their place. */
static bool apply_limits(const struct fs *fs, const struct own_limits *own, struct limits *out, struct reason *why)
{
	*out = fs->options.limits;
	for (int i = 0; i < limits_own_count; i++)
		if (own->text[i] && limits_set(out, slice_str(limits_own_name[i]), own->text[i], why))
			return false;
	return true;
}

/* To who looks without the lock. */
static void show_limits(struct bucket *b)
{
	__atomic_store_n(&b->max_data_size, b->limits.max_data_size, __ATOMIC_RELAXED);
	__atomic_store_n(&b->max_file_size, b->limits.max_file_size, __ATOMIC_RELAXED);
	__atomic_store_n(&b->max_total_size, b->limits.max_total_size, __ATOMIC_RELAXED);
}

static int load(struct fs *fs, uint32_t number, struct bucket **out)
{
	struct bucket *b = calloc(1, sizeof(*b));
	struct buf record = {0}, head = {0};
	struct origin origin = {.created = fs_now(fs), .name = slice_of(NULL, 0)};
	struct key_buf key = key_bucket_number(number);
	int r;

	if (!b)
		return -ENOMEM;
	b->number = number;
	pthread_mutex_init(&b->lock, NULL);
	r = table_init(&b->making);
	if (!r && number) {
		r = store_get(fs->store, 0, STORE_META, key_slice(&key), &record);
		if (r == STORE_ABSENT)
			r = BUCKET_GONE;
		else if (!r && !origin_decode(&origin, buf_slice(&record)))
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
			r = head_decode(&b->head, &b->acl, &b->own_limits, buf_slice(&head));
		}
	}
	if (!r && !apply_limits(fs, &b->own_limits, &b->limits, NULL))
		r = -EIO;
	b->owner = b->head.owner;
	b->group = b->head.group;
	b->enabled = b->head.enabled;
	show_limits(b);
	if (r == -EIO)
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
		r = load(fs, number, &loaded);
	if (!*out && !r) {
		if (loaded->head.making)
			r = version_recover(fs, loaded);
		if (!r && loaded->head.unsettled)
			r = settle_recover(fs, loaded);
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
		r = load(fs, number, &loaded);
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

int bucket_find(struct fs *fs, struct slice id, struct bucket **out)
{
	struct key_buf key = key_bucket_name(id);
	struct buf number = {0};
	int r;

	r = store_get(fs->store, 0, STORE_META, key_slice(&key), &number);
	if (!r)
		r = number.len == 4 ? bucket_get(fs, bytes_get_le32(number.data), out) : -EIO;
	else if (r == STORE_ABSENT)
		r = BUCKET_ABSENT;
	buf_release(&number);
	return r == BUCKET_GONE ? BUCKET_ABSENT : r;
}

/* ---- making and removing ---- */

int bucket_commit(struct fs *fs, struct bucket *b, struct head *head, const struct store_batch *batch)
{
	struct buf record = {0};
	uint64_t revision;
	int r;

	if (b->dead)
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
		__atomic_store_n(&b->enabled, head->enabled, __ATOMIC_RELAXED);
		b->revision = revision;
	}
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
	if (fs->root->head.next_node >> (64 - inode_node_bits)) {
		buf_release(&record);
		return BUCKET_OVER_QUOTA;
	}
	/* Also what comes to nothing is not given out again. */
	*number = (uint32_t)fs->root->head.next_node++;
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
	struct store_batch nothing = {0};
	struct acl acl = {0};
	struct bucket *b = NULL;
	struct head head;
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
		head = b->head;
		acl_list_release(&acl.list[PRIVILEGE_CREATE]);
		pthread_rwlock_wrlock(&fs->acl_lock);
		struct acl old = b->acl;
		b->acl = acl;
		acl = old;
		pthread_rwlock_unlock(&fs->acl_lock);
		r = bucket_commit(fs, b, &head, &nothing);
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

/* The records of a bucket that has no name any more. */
static int erase(struct fs *fs, uint32_t number)
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

/* Its name goes, and its number is noted as one whose records are to be erased. */
int bucket_end_locked(struct fs *fs, struct bucket *b)
{
	struct key_buf by_name = key_bucket_name(b->name), by_number = key_bucket_number(b->number);
	struct key_buf erased = key_bucket_erased(b->number);
	struct store_batch batch = {0};
	struct head head;
	int r;

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
		pthread_mutex_lock(&fs->lock);
		__atomic_store_n(&b->dead, true, __ATOMIC_RELAXED);
		table_remove(&fs->buckets, &b->by_number);
		fs->evictions++;
		pthread_mutex_unlock(&fs->lock);
	}
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
	return b->head.files ? BUCKET_NOT_EMPTY : bucket_end_locked(fs, b);
}

static int remove_bucket(struct fs *fs, const struct caller *who, struct slice name, bool may)
{
	struct bucket *b;
	int r = may ? bucket_find(fs, name, &b) : bucket_lookup(fs, name, &b);

	if (r)
		return r;
	if (!may)
		r = bucket_check(fs, b, who, PRIVILEGE_DELETE, "delete the bucket");
	if (!r) {
		bucket_lock(b);
		r = remove_locked(fs, b);
		bucket_unlock(b);
	}
	if (!r) {
		scratch_drop_all(b);
		if (transaction_purge(fs, b->number))
			log_warning("what was in transactions of %.*s will be removed at the next start", (int)name.len,
				    (const char *)name.at);
		fs_audit(who, "delete", name, NULL);
		/* The bucket is gone whether or not its last records are; what fails here is made up for at the next start. */
		if (erase(fs, b->number))
			log_warning("the records of deleted bucket number %u will be erased at the next start", b->number);
	}
	bucket_put(fs, b);
	return r;
}

int bucket_discard(struct fs *fs, struct bucket *b)
{
	int r;

	bucket_lock(b);
	r = b->dead ? 0 : bucket_end_locked(fs, b);
	bucket_unlock(b);
	if (!r)
		scratch_drop_all(b);
	return r ? r : erase(fs, b->number);
}

static int drop_content(void *context, const struct node *node)
{
	if (node->place == PLACE_CONTENT)
		store_batch_drop(context, node->content);
	return 0;
}

int bucket_purge(struct fs *fs, struct bucket *b)
{
	struct store_batch batch = {0};
	struct head head;
	int r;

	bucket_lock(b);
	head = b->head;
	r = b->dead ? 0 : tree_each(fs, b, drop_content, &batch);
	if (!r && !b->dead)
		r = settle_drop_all(fs, b, &batch);
	if (!r && !b->dead)
		r = bucket_commit(fs, b, &head, &batch);
	if (!r && !b->dead)
		r = bucket_end_locked(fs, b);
	bucket_unlock(b);
	store_batch_release(&batch);
	if (!r)
		scratch_drop_all(b);
	return r ? r : erase(fs, b->number);
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

		r = origin_decode(&origin, value) ? each(context, key_bucket_number_of(key), origin.name) : -EIO;
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

/* ---- judging ---- */

/* The list that counts: the bucket's own or the root's. Out of the box everybody may read and nothing else. */
static const struct acl_list *effective(const struct fs *fs, const struct bucket *b, enum privilege privilege)
{
	static struct principal everyone = {PRINCIPAL_EVERYONE, 0};
	static const struct acl_list all = {true, 1, &everyone}, none = {true, 0, NULL};

	if (b->acl.list[privilege].set)
		return &b->acl.list[privilege];
	if (fs->root->acl.list[privilege].set)
		return &fs->root->acl.list[privilege];
	return privilege == PRIVILEGE_READ ? &all : &none;
}

static bool is_superuser(const struct fs *fs, const struct caller *who)
{
	if (who->uid == 0)
		return !fs->options.squash_root;
	return who->uid == fs->options.mount_uid;
}

/* The root has no owner: (uid_t)-1 is nobody's. */
static uid_t owner_of(const struct bucket *b)
{
	return b->number ? b->owner : (uid_t)-1;
}

static bool may_locked(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege)
{
	if (is_superuser(fs, who) || who->uid == owner_of(b))
		return true;
	if (acl_list_has(effective(fs, b, privilege), who, owner_of(b)))
		return true;
	return privilege != PRIVILEGE_ADMIN && acl_list_has(effective(fs, b, PRIVILEGE_ADMIN), who, owner_of(b));
}

bool bucket_may(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege)
{
	bool may;

	pthread_rwlock_rdlock(&fs->acl_lock);
	may = may_locked(fs, b, who, privilege);
	pthread_rwlock_unlock(&fs->acl_lock);
	return may;
}

static int denied(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege, const char *action)
{
	log_limited(who->uid, LOG_LEVEL_INFO, "audit: denied: uid=%u gid=%u pid=%d bucket=%.*s needs %s to %s", who->uid, who->gid,
		    who->pid, b->number ? (int)b->name.len : 1, b->number ? (const char *)b->name.at : "/",
		    privilege_name[privilege], action);
	struct reason why;
	char path[name_max + 1];

	snprintf(path, sizeof(path), "%.*s", b->number ? (int)b->name.len : 1, b->number ? (const char *)b->name.at : "/");
	reason_set(&why, "the privilege to %s is missing, which it takes to %s", privilege_name[privilege], action);
	fs_refused(fs, 0, who, path, "EACCES", &why);
	return BUCKET_DENIED;
}

bool bucket_is_enabled(struct fs *fs, const struct bucket *b)
{
	uint32_t number = transaction_bucket(b->name);
	struct bucket *into;
	bool enabled = true;

	if (!number)
		return !b->number || __atomic_load_n(&b->enabled, __ATOMIC_RELAXED);
	if (!bucket_get(fs, number, &into)) {
		enabled = __atomic_load_n(&into->enabled, __ATOMIC_RELAXED);
		bucket_put(fs, into);
	}
	return enabled;
}

int bucket_read_only(struct fs *fs, const struct bucket *b, const struct caller *who, const char *action)
{
	char path[name_max + 32];
	uint32_t number = transaction_path(fs, b, path, sizeof(path));
	struct reason why;

	reason_set(&why, "the bucket is disabled, so nobody can %s", action);
	fs_refused(fs, number, who, path, "EROFS", &why);
	return BUCKET_READ_ONLY;
}

int bucket_check(struct fs *fs, const struct bucket *b, const struct caller *who, enum privilege privilege,
		 const char *action)
{
	if (!bucket_may(fs, b, who, privilege))
		return denied(fs, b, who, privilege, action);
	return privilege != PRIVILEGE_READ && !bucket_is_enabled(fs, b) ? bucket_read_only(fs, b, who, action) : 0;
}

int bucket_check_enter(struct fs *fs, const struct bucket *b, const struct caller *who, const char *action)
{
	if (bucket_may(fs, b, who, PRIVILEGE_READ) || bucket_may(fs, b, who, PRIVILEGE_EDIT))
		return 0;
	return denied(fs, b, who, PRIVILEGE_READ, action);
}

bool bucket_is_private(struct fs *fs, const struct bucket *b)
{
	bool private;

	pthread_rwlock_rdlock(&fs->acl_lock);
	private = !acl_list_is_everyone(effective(fs, b, PRIVILEGE_READ));
	pthread_rwlock_unlock(&fs->acl_lock);
	return private;
}

/* What everybody, or the owner's group, has of a privilege. */
static void shared_by(const struct acl_list *list, uint32_t group, bool *for_group, bool *for_all)
{
	*for_all = acl_list_is_everyone(list);
	*for_group = *for_all;
	for (uint32_t i = 0; i < list->count; i++)
		*for_group |= list->principals[i].kind == PRINCIPAL_GROUP && list->principals[i].id == group;
}

struct bucket_look bucket_look(struct fs *fs, const struct bucket *b)
{
	enum privilege writing = b->number ? PRIVILEGE_EDIT : PRIVILEGE_CREATE;
	bool group_reads, all_read, group_writes, all_write;
	uint32_t mode = 0600;

	pthread_rwlock_rdlock(&fs->acl_lock);
	shared_by(effective(fs, b, PRIVILEGE_READ), b->group, &group_reads, &all_read);
	shared_by(effective(fs, b, writing), b->group, &group_writes, &all_write);
	pthread_rwlock_unlock(&fs->acl_lock);
	mode |= (group_reads ? 040u : 0) | (all_read ? 04u : 0) | (group_writes ? 020u : 0) | (all_write ? 02u : 0);
	return (struct bucket_look){
		.file_mode = mode,
		.folder_mode = mode | 0100 | (group_reads || group_writes ? 010u : 0) | (all_read || all_write ? 01u : 0),
		.private = !all_read,
	};
}

int bucket_access(struct fs *fs, const struct bucket *b, const struct caller *who, struct buf *out)
{
	int r = 0;

	for (int i = 0; !r && i < PRIVILEGE_COUNT; i++) {
		if ((i == PRIVILEGE_CREATE && b->number) || !bucket_may(fs, b, who, (enum privilege)i))
			continue;
		if (out->len)
			r = buf_add_byte(out, ',');
		if (!r)
			r = buf_add_string(out, privilege_name[i]);
	}
	return r;
}

/* ---- access lists ---- */

int bucket_acl_get(struct fs *fs, struct bucket *b, const struct caller *who, enum privilege privilege, struct buf *out)
{
	struct acl_list list = {0};
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "see the access list");

	if (r)
		return r;
	pthread_rwlock_rdlock(&fs->acl_lock);
	r = b->acl.list[privilege].set ? acl_list_copy(&list, &b->acl.list[privilege]) : BUCKET_NO_ATTRIBUTE;
	pthread_rwlock_unlock(&fs->acl_lock);
	/* Names come from a service that may be slow: not under the lock. */
	if (!r)
		r = acl_list_format(&list, fs->options.names, out);
	acl_list_release(&list);
	return r;
}

/* Puts the list in place and gives back the one that was there. */
static struct acl_list exchange(struct fs *fs, struct bucket *b, enum privilege privilege, struct acl_list list)
{
	struct acl_list old;

	pthread_rwlock_wrlock(&fs->acl_lock);
	old = b->acl.list[privilege];
	b->acl.list[privilege] = list;
	pthread_rwlock_unlock(&fs->acl_lock);
	return old;
}

int bucket_acl_set(struct fs *fs, struct bucket *b, const struct caller *who, enum privilege privilege,
		   const struct slice *text, bool *narrowed, struct reason *why)
{
	struct acl_list list = {0}, old;
	struct store_batch nothing = {0};
	struct head head;
	int r = bucket_check(fs, b, who, PRIVILEGE_ADMIN, "change the access list");

	*narrowed = false;
	if (r)
		return r;
	if (privilege == PRIVILEGE_CREATE && b->number) {
		reason_set(why, "the create privilege is set on the root of the mount");
		return BUCKET_INVALID;
	}
	if (text)
		r = acl_list_parse(&list, *text, fs->options.names, why);
	if (r)
		return r;
	bucket_lock(b);
	/* Nobody who may not read any more gets in once this has begun; if the commit fails they do again. */
	old = exchange(fs, b, privilege, list);
	if (!text && !old.set)
		r = BUCKET_NO_ATTRIBUTE;
	head = b->head;
	if (!r)
		r = bucket_commit(fs, b, &head, &nothing);
	if (r)
		old = exchange(fs, b, privilege, old);
	bucket_unlock(b);
	acl_list_release(&old);
	if (r)
		return r;
	*narrowed = privilege != PRIVILEGE_CREATE && privilege != PRIVILEGE_DELETE;
	char detail[1100];
	snprintf(detail, sizeof(detail), "%s=%.*s", privilege_name[privilege], text ? (int)text->len : 9,
		 text ? (const char *)text->at : "inherited");
	fs_audit(who, "acl", b->name, detail);
	return 0;
}

/* ---- limits ---- */

int bucket_limit_get(struct fs *fs, struct bucket *b, const struct caller *who, int which, struct buf *out)
{
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "see a limit");

	if (r)
		return r;
	bucket_lock(b);
	r = b->own_limits.text[which] ? buf_add_string(out, b->own_limits.text[which]) : BUCKET_NO_ATTRIBUTE;
	bucket_unlock(b);
	return r;
}

static int limit_set_locked(struct fs *fs, struct bucket *b, int which, char **text, struct reason *why)
{
	struct store_batch nothing = {0};
	struct head head = b->head;
	struct own_limits own = b->own_limits;
	struct limits limits;
	char *old = own.text[which];
	int r = 0;

	if (!*text && !old)
		return BUCKET_NO_ATTRIBUTE;
	own.text[which] = *text;
	if (!apply_limits(fs, &own, &limits, why))
		return BUCKET_INVALID;
	b->own_limits = own;
	r = bucket_commit(fs, b, &head, &nothing);
	if (r) {
		b->own_limits.text[which] = old;
		return r;
	}
	b->limits = limits;
	show_limits(b);
	*text = old;
	return 0;
}

int bucket_limit_set(struct fs *fs, struct bucket *b, const struct caller *who, int which, const struct slice *text,
		     struct reason *why)
{
	char *copy = NULL, detail[256];
	int r = bucket_check(fs, b, who, PRIVILEGE_ADMIN, "change a limit");

	if (!r && text) {
		copy = strndup(text->at ? text->at : "", text->len);
		r = copy ? 0 : -ENOMEM;
	}
	if (r)
		return r;
	snprintf(detail, sizeof(detail), "%s=%.200s", limits_own_name[which], copy ? copy : "inherited");
	bucket_lock(b);
	r = limit_set_locked(fs, b, which, &copy, why);
	bucket_unlock(b);
	free(copy);
	if (!r)
		fs_audit(who, "limit", b->name, detail);
	return r;
}

/* ---- attributes ---- */

int bucket_attr(struct fs *fs, struct bucket *b, const struct caller *who, struct attr *attr)
{
	struct bucket_look look = bucket_look(fs, b);

	bucket_lock(b);
	*attr = (struct attr){
		.inode = inode_of(b->number, NODE_BUCKET),
		.mode = S_IFDIR | look.folder_mode,
		.uid = b->number ? b->head.owner : fs->options.mount_uid,
		.gid = b->head.group,
		.modified = b->head.modified,
		.changed = b->head.modified,
		.accessed = b->head.modified,
		.private = look.private,
		.fleeting = true,
	};
	bool dead = b->dead;
	bucket_unlock(b);
	if (dead)
		return BUCKET_GONE;
	if (b->number && attr->private && !bucket_may(fs, b, who, PRIVILEGE_READ)) {
		attr->uid = attr->gid = 0;
		attr->mode = S_IFDIR | 0700;
		attr->modified = attr->changed = attr->accessed = 0;
	}
	return 0;
}

/* ---- the whole ---- */

static int erase_left_over(struct fs *fs)
{
	for (;;) {
		struct store_cursor *cursor;
		struct slice key, value;
		uint32_t number = 0;
		int r = store_cursor_open(fs->store, 0, STORE_META, slice_str("G"), slice_of(NULL, 0), &cursor);

		if (r)
			return r;
		r = store_cursor_next(cursor, &key, &value);
		if (!r)
			number = key_bucket_number_of(key);
		store_cursor_close(cursor);
		if (!r)
			r = erase(fs, number);
		if (r)
			return r == STORE_END ? 0 : r;
	}
}

int fs_open(struct fs **out, struct store *store, const struct fs_options *options)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	pthread_mutexattr_t recursive;
	int r;

	if (!fs)
		return -ENOMEM;
	fs->store = store;
	fs->options = *options;
	pthread_mutex_init(&fs->lock, NULL);
	pthread_rwlock_init(&fs->acl_lock, NULL);
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&fs->recovering, &recursive);
	pthread_mutexattr_destroy(&recursive);
	fs->lost = calloc(redirect_lost_max, sizeof(*fs->lost));
	r = fs->lost ? table_init(&fs->buckets) : -ENOMEM;
	if (!r)
		r = table_init(&fs->files);
	if (!r)
		r = refusals_new(&fs->refusals);
	if (!r)
		r = readings_new(&fs->readings);
	if (!r)
		r = fresh_new(&fs->fresh);
	if (!r)
		r = load(fs, 0, &fs->root);
	if (!r) {
		fs->root->refs = 1;
		r = erase_left_over(fs);
	}
	if (r)
		fs_close(fs);
	else
		*out = fs;
	return r;
}

void fs_close(struct fs *fs)
{
	struct table_node *node;

	if (!fs)
		return;
	redirect_drop_all(fs);
	while (fs->buckets.slots && (node = table_any(&fs->buckets))) {
		struct bucket *b = container_of(node, struct bucket, by_number);

		b->refs++;
		scratch_drop_all(b);
		b->refs--;
		table_remove(&fs->buckets, node);
		bucket_free(fs, b);
	}
	bucket_free(fs, fs->root);
	table_release(&fs->buckets);
	table_release(&fs->files);
	buf_release(&fs->unsettled);
	refusals_free(fs->refusals);
	readings_free(fs->readings);
	fresh_free(fs->fresh);
	pthread_mutex_destroy(&fs->recovering);
	pthread_rwlock_destroy(&fs->acl_lock);
	pthread_mutex_destroy(&fs->lock);
	free(fs->lost);
	free(fs);
}

void fs_refused(struct fs *fs, uint32_t bucket, const struct caller *who, const char *path, const char *error,
		const struct reason *why)
{
	struct refusal refusal = {fs_now(fs), bucket, who->uid, who->pid, "", "", error, *why};

	if (who->command)
		who->command(who, refusal.command);
	snprintf(refusal.path, sizeof(refusal.path), "%s", path);
	refusals_add(fs->refusals, &refusal);
}

void fs_audit(const struct caller *who, const char *action, struct slice bucket, const char *detail)
{
	log_info("audit: %s: uid=%u gid=%u pid=%d bucket=%.*s%s%s", action, who->uid, who->gid, who->pid,
		 bucket.len ? (int)bucket.len : 1, bucket.len ? (const char *)bucket.at : "/", detail ? " " : "",
		 detail ? detail : "");
}

int fs_check_space(struct fs *fs, uint64_t bytes, struct reason *why)
{
	struct store_usage usage;
	int64_t now = fs_now(fs);
	int r = 0;

	if (fs->options.limits.reserve_permille == 0)
		return 0;
	pthread_mutex_lock(&fs->lock);
	if (now - fs->space_checked > 1000000000 || now < fs->space_checked || fs->space_left < bytes) {
		r = store_usage(fs->store, &usage);
		if (!r) {
			uint64_t reserve = usage.total_bytes / 1000 * fs->options.limits.reserve_permille;

			fs->space_left = usage.available_bytes > reserve ? usage.available_bytes - reserve : 0;
			fs->space_checked = now;
		}
	}
	if (!r && fs->space_left < bytes) {
		reason_set(why, "less than %u.%u%% of the disk is free, which is kept for data.json",
			   fs->options.limits.reserve_permille / 10, fs->options.limits.reserve_permille % 10);
		r = BUCKET_NO_SPACE;
	} else if (!r) {
		fs->space_left -= bytes;
	}
	pthread_mutex_unlock(&fs->lock);
	return r;
}
