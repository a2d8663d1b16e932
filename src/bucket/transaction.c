#include "bucket/transaction.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bucket/attribute.h"
#include "bucket/data.h"
#include "bucket/file.h"
#include "bucket/redirect.h"
#include "bucket/settle.h"
#include "bucket/tree.h"
#include "bucket/version.h"
#include "util/bytes.h"

enum { transaction_name_max = 100 };

/* ---- ids ---- */

static bool is_name(struct slice name)
{
	const unsigned char *at = name.at;

	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = at[i] | 32;

		if (!(c >= 'a' && c <= 'z') && !(at[i] >= '0' && at[i] <= '9') && !strchr("_.-", at[i]))
			return false;
	}
	return name.len && name.len <= transaction_name_max;
}

static struct slice prefix_of(char *text, size_t size, const struct bucket *b, uid_t uid)
{
	int len = snprintf(text, size, "tx.%u.u%u.", b->number, uid);

	return slice_of(text, (size_t)len);
}

static struct slice id_of(char *text, size_t size, const struct bucket *b, uid_t uid, struct slice name)
{
	size_t at = prefix_of(text, size, b, uid).len;

	memcpy(text + at, name.at, name.len);
	return slice_of(text, at + name.len);
}

uint32_t transaction_path(struct fs *fs, const struct bucket *b, char *path, size_t size)
{
	uint32_t number = transaction_bucket(b->name);
	struct slice name = number ? transaction_name(b->name) : b->name;
	struct bucket *into = NULL;

	if (number && !bucket_get(fs, number, &into))
		snprintf(path, size, "%.*s/.bucketfs/tx/%.*s", (int)into->name.len, (const char *)into->name.at,
			 (int)name.len, (const char *)name.at);
	else
		snprintf(path, size, "%.*s", (int)name.len, (const char *)name.at);
	bucket_put(fs, into);
	return into ? number : b->number;
}

/* ---- beginning and ending ---- */

/* Its bucket's limits count in it as they are now. */
static void inherit_limits(struct bucket *b, struct bucket *t)
{
	struct limits limits;

	bucket_lock(b);
	limits = b->limits;
	bucket_unlock(b);
	/* While it is being published it needs none. */
	if (!bucket_try_lock(t))
		return;
	bucket_limits_inherit(t, &limits);
	bucket_unlock(t);
}

static int find(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, struct bucket **out)
{
	char text[256];
	int r;

	if (!is_name(name))
		return BUCKET_ABSENT;
	r = bucket_find(fs, id_of(text, sizeof(text), b, who->uid, name), out);
	/* A bucket that leads to itself would be locked twice. */
	if (!r && *out == b) {
		bucket_put(fs, *out);
		return bucket_damaged(b, "bucket", b->number, "it is a transaction of its own");
	}
	/* It has been published, and only its name could not be taken away. */
	if (!r && file_is(&(*out)->handed_over)) {
		bucket_put(fs, *out);
		r = BUCKET_ABSENT;
	}
	return r;
}

static int count_one(void *context, struct slice id)
{
	unsigned *count = context;

	(void)id;
	return ++*count < transaction_max ? 0 : BUCKET_OVER_QUOTA;
}

/* With b->lock held, so that nobody begins another meanwhile. */
static int begin_locked(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, struct bucket **out,
			struct reason *why)
{
	struct principal owner = {PRINCIPAL_OWNER, 0};
	struct acl_list theirs = {true, 1, &owner};
	struct bucket *present;
	unsigned count = 0;
	char text[256];
	int r = b->dead ? BUCKET_GONE : find(fs, b, who, name, &present);

	if (!r) {
		bucket_put(fs, present);
		return BUCKET_EXISTS;
	}
	if (r == BUCKET_ABSENT)
		r = bucket_list_ids(fs, prefix_of(text, sizeof(text), b, who->uid), count_one, &count);
	if (r == BUCKET_OVER_QUOTA)
		reason_set(why, "you have %d transactions here, which is as many as there may be: publish or abandon one",
			   transaction_max);
	return r ? r : bucket_make(fs, who, id_of(text, sizeof(text), b, who->uid, name), &theirs, &theirs, out);
}

int transaction_begin(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, struct bucket **out,
		      struct reason *why)
{
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "begin a transaction");

	if (r)
		return r;
	if (transaction_is_id(b->name)) {
		reason_set(why, "there are no transactions in a transaction");
		return BUCKET_NOT_PERMITTED;
	}
	if (!is_name(name)) {
		reason_set(why, "a transaction's name is made of letters, digits, _, - and ., up to %d", transaction_name_max);
		return BUCKET_INVALID;
	}
	bucket_lock(b);
	r = begin_locked(fs, b, who, name, out, why);
	bucket_unlock(b);
	if (!r)
		inherit_limits(b, *out);
	return r;
}

int transaction_lookup(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name,
		       struct bucket **out)
{
	int r = find(fs, b, who, name, out);

	if (!r)
		inherit_limits(b, *out);
	return r;
}

int transaction_check_setting(const struct bucket *b, struct reason *why)
{
	if (!transaction_is_id(b->name))
		return 0;
	reason_set(why, "a transaction has the access lists, the limits and the schema of its bucket");
	return BUCKET_NOT_PERMITTED;
}

int transaction_abandon(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name)
{
	char text[256];

	if (!is_name(name))
		return BUCKET_ABSENT;
	if (!bucket_is_enabled(fs, b))
		return bucket_read_only(fs, b, who, "abandon a transaction");
	return bucket_remove_any(fs, who, id_of(text, sizeof(text), b, who->uid, name));
}

struct own_listing {
	struct slice prefix;
	int (*each)(void *context, struct slice name, uint32_t number);
	void *context;
};

static int own_one(void *context, uint32_t number, struct slice id)
{
	struct own_listing *l = context;

	struct slice name = slice_of((const char *)id.at + l->prefix.len, id.len - l->prefix.len);

	if (!slice_starts_with(id, l->prefix) || !is_name(name))
		return 0;
	return l->each(l->context, name, number);
}

int transaction_list(struct fs *fs, struct bucket *b, const struct caller *who, uint32_t after,
		     int (*each)(void *context, struct slice name, uint32_t number), void *context)
{
	char text[256];
	struct own_listing l = {prefix_of(text, sizeof(text), b, who->uid), each, context};

	return bucket_list(fs, after, own_one, &l);
}

/* ---- publishing ---- */

struct moved {
	struct node node; /* as it is in the transaction */
	size_t name, given, job, target; /* where they begin in `names`, each behind the other */
	size_t name_len, given_len, job_len, target_len;
	uint64_t number;  /* in the bucket; 0: not there yet */
	uint64_t folder;  /* in the bucket, where that may hold something by the same name; else 0 */
	bool is_new;      /* a folder that the bucket did not have */
};

struct publication {
	struct fs *fs;
	const struct caller *who;
	struct bucket *b, *t;
	struct head head;
	struct store_batch batch;
	struct moved *all;
	size_t count, cap;
	struct buf names;
	struct file **replaced, **demoted;
	size_t replaced_count, demoted_count;
	uint64_t turn;
	uint64_t missing_files, missing_bytes; /* over the limits */
};

static int collect_one(struct publication *p, const struct node *node)
{
	struct moved m = {.node = node_without_names(node),
			  .name_len = node->name.len,
			  .given_len = node->given.len,
			  .job_len = node->job.len,
			  .target_len = node->target.len};
	int r;

	if (p->count == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 16;
		struct moved *grown = realloc(p->all, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		p->all = grown;
		p->cap = cap;
	}
	m.name = p->names.len;
	r = buf_add_slice(&p->names, node->name);
	m.given = p->names.len;
	if (!r)
		r = buf_add_slice(&p->names, node->given);
	m.job = p->names.len;
	if (!r)
		r = buf_add_slice(&p->names, node->job);
	m.target = p->names.len;
	if (!r)
		r = buf_add_slice(&p->names, node->target);
	if (!r)
		p->all[p->count++] = m;
	return r;
}

/* In the order of folders' numbers. */
static int collect(struct publication *p)
{
	struct store_cursor *cursor;
	struct slice key, record, none = slice_of(NULL, 0);
	int r = store_cursor_open(p->fs->store, p->t->number, STORE_NODE, slice_str("C"), none, &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &record))) {
		struct node node = {.number = key_child_node_of(key), .parent = key_child_parent_of(key)};
		const char *fault = node_decode(&node, record);

		r = fault ? bucket_damaged(p->t, "file", node.number, fault) : collect_one(p, &node);
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

/* The first of what is in a folder: they were collected in the order of folders. */
static size_t first_in(const struct publication *p, uint64_t folder)
{
	size_t low = 0, high = p->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (p->all[middle].node.parent < folder)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int copy_body(struct publication *p, uint64_t from, uint64_t to, uint64_t size)
{
	struct key_buf old = key_body(from), new = key_body(to);
	struct buf bytes = {0};
	int r = store_get(p->fs->store, p->t->number, STORE_BODY, key_slice(&old), &bytes);

	if (r == STORE_ABSENT || (!r && bytes.len < size))
		r = bucket_damaged(p->t, "the content of file", from, r ? "it is missing" : "it is cut short");
	if (!r)
		store_batch_put(&p->batch, STORE_BODY, key_slice(&new), buf_slice(&bytes));
	buf_release(&bytes);
	return r;
}

/* What was closed in the bucket before this. `batch` as with version_overtake. */
static void overtake(struct publication *p, const struct moved *m, struct file *demoted, struct store_batch *batch)
{
	struct slice name = slice_of(p->names.data + m->name, m->name_len);
	struct overtaking over = {.parent = m->folder, .name = name, .demoted = demoted, .turn = p->turn};

	if (m->folder && m->node.kind != NODE_FOLDER)
		version_overtake(p->b, &over, batch);
}

/* What has the name in the bucket: a folder is used, a file is replaced by a file. */
static int meet(struct publication *p, struct moved *m, uint64_t parent, struct slice name, struct reason *why)
{
	struct slice given = m->given_len ? slice_of(p->names.data + m->given, m->given_len) : name;
	struct found found = {0};
	struct file *open = NULL;
	int r = tree_find_name(p->fs, p->b, parent, name, &found);

	if (!r && (found.pending || ((open = file_peek(p->fs, inode_of(p->b->number, found.node.number))) && open->unlisted))) {
		/* It will replace this one when it is closed; unless this is a folder, which it cannot. */
		if (m->node.kind == NODE_FOLDER) {
			r = BUCKET_BUSY;
		} else if (!found.pending) {
			version_demote(open, &p->head, &p->batch);
			p->demoted[p->demoted_count++] = open;
		}
		overtake(p, m, found.pending ? NULL : open, &p->batch);
		tree_found_release(&found);
		return r;
	}
	overtake(p, m, NULL, &p->batch);
	open = NULL;
	if (r == BUCKET_ABSENT) {
		r = 0;
	} else if (!r && m->node.kind == NODE_FOLDER) {
		m->number = found.node.number;
		r = found.node.kind == NODE_FOLDER ? 0 : BUCKET_NOT_FOLDER;
	} else if (!r && found.node.kind == NODE_FOLDER) {
		r = BUCKET_IS_FOLDER;
	} else if (!r) {
		r = tree_collision(p->fs, p->b, p->who, &found.node, given, why);
		if (!r)
			r = tree_delete_node(p->fs, p->b, &found.node, NULL, &p->head, &p->batch, &open);
	}
	tree_found_release(&found);
	if (!r && open)
		p->replaced[p->replaced_count++] = open;
	return r;
}

static int check_file(struct publication *p, const struct moved *m, struct slice name, struct reason *why)
{
	const struct limits *l = &p->b->limits;

	if (m->node.kind == NODE_FOLDER)
		return 0;
	if (!name_has_type(name, l->accepted_file_types)) {
		reason_set(why, "accepted_file_types is %.100s, which %.*s is not", l->accepted_file_types, (int)name.len,
			   (const char *)name.at);
		return BUCKET_NOT_PERMITTED;
	}
	if (l->max_file_size && m->node.size > l->max_file_size) {
		reason_set(why, "%.*s has %llu bytes and max_file_size is %llu", (int)name.len, (const char *)name.at,
			   (unsigned long long)m->node.size, (unsigned long long)l->max_file_size);
		return BUCKET_TOO_LARGE;
	}
	return 0;
}

/* Puts one into the bucket. Its folder is there already. */
static int move_one(struct publication *p, struct moved *m, const struct moved *folder, struct reason *why)
{
	uint64_t parent = folder ? folder->number : NODE_FILES;
	struct node node = m->node;
	int r;

	node.name = slice_of(p->names.data + m->name, m->name_len);
	node.given = slice_of(p->names.data + m->given, m->given_len);
	node.job = slice_of(p->names.data + m->job, m->job_len);
	node.target = slice_of(p->names.data + m->target, m->target_len);
	r = check_file(p, m, node.name, why);
	if (!r && !(folder && folder->is_new)) {
		m->folder = parent;
		r = meet(p, m, parent, node.name, why);
		if (r == BUCKET_IS_FOLDER || r == BUCKET_NOT_FOLDER)
			reason_set(why, "%.*s is a folder in one of the two and a file in the other", (int)node.name.len,
				   (const char *)node.name.at);
		else if (r == BUCKET_BUSY)
			reason_set(why, "%.*s is a folder in the transaction and a file that is being written in the bucket",
				   (int)node.name.len, (const char *)node.name.at);
	}
	if (r || m->number)
		return r;
	m->number = node.number = p->head.next_node++;
	m->is_new = true;
	node.parent = parent;
	r = tree_put_record(&node, &p->batch);
	tree_put_name(p->fs, p->b, &node, &p->batch);
	p->head.files++;
	p->head.file_bytes += node.size;
	if (!r && node.place == PLACE_INLINE)
		r = copy_body(p, m->node.number, node.number, node.size);
	if (!r && node.has_attributes)
		r = attribute_copy_all(p->fs, p->t, m->node.number, p->b, node.number, &p->head, &p->batch);
	return r;
}

/* Moves what is in a folder (NULL: files/ itself), and adds the folders among it to those that are to come. */
static int move_folder(struct publication *p, const struct moved *folder, size_t *to_come, size_t *count, size_t *done,
		       struct reason *why)
{
	uint64_t number = folder ? folder->node.number : NODE_FILES;
	int r = 0;

	for (size_t i = first_in(p, number); !r && i < p->count && p->all[i].node.parent == number; i++) {
		r = move_one(p, &p->all[i], folder, why);
		if (!r && p->all[i].node.kind == NODE_FOLDER)
			to_come[(*count)++] = i;
		(*done)++;
	}
	return r;
}

/* Folders before what is in them. */
static int move_all(struct publication *p, struct reason *why)
{
	size_t *to_come = calloc(p->count + 1, sizeof(*to_come)), count = 0, done = 0;
	int r = to_come ? move_folder(p, NULL, to_come, &count, &done, why) : -ENOMEM;

	for (size_t i = 0; !r && i < count; i++)
		r = move_folder(p, &p->all[to_come[i]], to_come, &count, &done, why);
	free(to_come);
	/* What no folder leads to. */
	if (!r && done < p->count)
		r = bucket_damaged(p->t, "bucket", p->t->number, "a folder of it is not there, or is in itself");
	return r;
}

static int check_limits(struct publication *p, struct reason *why)
{
	const struct limits *l = &p->b->limits;
	/* With what is open and not published. */
	uint64_t total = p->head.file_bytes + p->head.attribute_bytes +
			 (uint64_t)__atomic_load_n(&p->b->pending_bytes, __ATOMIC_RELAXED);

	if (l->max_files && p->head.files + p->b->new_files > l->max_files && p->head.files > p->b->head.files) {
		reason_set(why, "the bucket would have %llu files and folders and max_files is %llu",
			   (unsigned long long)p->head.files, (unsigned long long)l->max_files);
		p->missing_files = p->head.files + p->b->new_files - l->max_files;
		return BUCKET_OVER_QUOTA;
	}
	if (l->max_total_size && total > l->max_total_size &&
	    p->head.file_bytes + p->head.attribute_bytes > p->b->head.file_bytes + p->b->head.attribute_bytes) {
		reason_set(why, "the bucket's files would have %llu bytes and max_total_size is %llu",
			   (unsigned long long)total, (unsigned long long)l->max_total_size);
		p->missing_bytes = total - l->max_total_size;
		return BUCKET_OVER_QUOTA;
	}
	return 0;
}

static int writes_in(void *context, struct table_node *node)
{
	const struct bucket *t = context;
	const struct file *f = container_of(node, struct file, by_inode);

	return f->b == t && !f->unlinked && (f->writers || f->truncating || f->unlisted);
}

static bool has_writers(struct fs *fs, struct bucket *t)
{
	bool has;

	pthread_mutex_lock(&fs->lock);
	has = table_each(&fs->files, writes_in, t);
	pthread_mutex_unlock(&fs->lock);
	return has;
}

/* What its data.json holds, with its lock held. */
static int read_patch(struct fs *fs, struct bucket *t, struct document *patch)
{
	struct slice none = slice_of(NULL, 0), key, record;
	struct store_cursor *cursor;
	struct buf scratch = {0};
	int r = store_cursor_open(fs->store, t->number, STORE_DOC, none, none, &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &record))) {
		struct member_view m;

		r = bucket_key_result(t, key, document_decode(key, record, &scratch, &m));
		if (!r)
			r = document_add(patch, m.key, m.text, m.value);
		if (r)
			break;
	}
	store_cursor_close(cursor);
	buf_release(&scratch);
	return r == STORE_END ? document_sort(patch) : r;
}

/* With both buckets' locks held. */
static int publish(struct publication *p, struct document *patch, struct reason *why)
{
	struct key_buf mark = key_transaction(p->t->number);
	unsigned char created[8];
	int r;

	if (p->t->dead || p->t->handed_over || p->b->dead)
		return BUCKET_GONE;
	if (p->t->head.unsettled) {
		reason_set(why, "a file in the transaction has just been written");
		return BUCKET_BUSY;
	}
	if (has_writers(p->fs, p->t)) {
		reason_set(why, "a file in the transaction is still open for writing");
		return BUCKET_BUSY;
	}
	r = bucket_check_numbers(p->fs, p->b);
	if (r)
		return r;
	p->head = p->b->head;
	p->turn = ++p->b->turns;
	r = read_patch(p->fs, p->t, patch);
	if (r)
		return r;
	r = patch->count ? data_merge_into(p->fs, p->b, patch, &p->head, &p->batch, why) : 0;
	if (!r)
		r = collect(p);
	if (!r) {
		p->replaced = calloc(p->count + 1, sizeof(*p->replaced));
		p->demoted = calloc(p->count + 1, sizeof(*p->demoted));
		r = p->replaced && p->demoted ? move_all(p, why) : -ENOMEM;
	}
	if (!r)
		r = check_limits(p, why);
	if (!r && p->count)
		p->head.files_modified = fs_now(p->fs);
	/* Whoever reads a file of the transaction goes on reading it, whatever becomes of it in the bucket. */
	if (!r)
		r = file_keep_all(p->fs, p->t);
	bytes_put_le64(created, (uint64_t)p->t->head.created);
	store_batch_put(&p->batch, STORE_META, key_slice(&mark), slice_of(created, sizeof(created)));
	if (!r)
		r = bucket_commit(p->fs, p->b, &p->head, &p->batch);
	if (r)
		return r;
	for (size_t i = 0; i < p->replaced_count; i++)
		file_unlinked(p->replaced[i]);
	for (size_t i = 0; i < p->demoted_count; i++)
		version_demoted(p->demoted[i]);
	for (size_t i = 0; p->b->making.count && i < p->count; i++)
		overtake(p, &p->all[i], NULL, NULL);
	if (patch->count)
		data_forget_text(p->fs, p->b);
	bucket_hand_over_locked(p->fs, p->t);
	return 0;
}

/* The transaction's records go; the contents have another owner. */
static int end(struct fs *fs, struct bucket *b, struct bucket *t)
{
	struct key_buf mark = key_transaction(t->number);
	struct store_batch batch = {0};
	struct head head;
	int r = bucket_discard(fs, t);

	if (r)
		return r;
	bucket_lock(b);
	head = b->head;
	store_batch_delete(&batch, STORE_META, key_slice(&mark));
	r = bucket_commit(fs, b, &head, &batch);
	bucket_unlock(b);
	store_batch_release(&batch);
	return r;
}

bool transaction_is_early(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, int64_t closed)
{
	struct bucket *t;
	bool early;

	if (transaction_lookup(fs, b, who, name, &t))
		return false;
	bucket_lock(t);
	early = !t->dead && version_is_closing(fs, t, 0, closed);
	bucket_unlock(t);
	bucket_put(fs, t);
	return early;
}

/* With no other change between what is looked at and the commit. */
static int try_to_publish(struct fs *fs, struct bucket *b, struct bucket *t, const struct caller *who, struct reason *why)
{
	struct publication p = {.fs = fs, .who = who, .b = b, .t = t};
	struct document patch = {0};
	int r;

	bucket_lock(b);
	bucket_lock(t);
	r = publish(&p, &patch, why);
	/* Partials give way, and then it is tried once more. */
	if (r == BUCKET_OVER_QUOTA && (p.missing_files || p.missing_bytes)) {
		r = tree_make_room(fs, b, p.missing_files, p.missing_bytes);
		store_batch_clear(&p.batch);
		buf_clear(&p.names);
		document_clear(&patch);
		free(p.replaced);
		free(p.demoted);
		p.replaced = p.demoted = NULL;
		p.count = p.replaced_count = p.demoted_count = 0;
		if (!r)
			r = publish(&p, &patch, why);
	}
	bucket_unlock(t);
	bucket_unlock(b);
	store_batch_release(&p.batch);
	document_release(&patch);
	buf_release(&p.names);
	free(p.all);
	free(p.replaced);
	free(p.demoted);
	return r;
}

int transaction_commit(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, struct reason *why)
{
	struct bucket *t;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "publish a transaction");

	if (!r)
		r = transaction_lookup(fs, b, who, name, &t);
	if (r)
		return r;
	/* Nobody comes for these any more, and they would count as being written. */
	redirect_free(redirect_take(fs, 0));
	/* A mapping may be written to after the last close of a writer, and a reader keeps that file open. */
	r = file_save_all(fs, t);
	/* What it replaces is gone with the commit, so it must not be lost itself. */
	if (!r)
		r = settle_bucket(fs, t);
	if (!r)
		r = try_to_publish(fs, b, t, who, why);
	/* Names mean other files now. */
	if (!r)
		bucket_names_lost(fs, b);
	if (!r && end(fs, b, t))
		r = 0; /* the next start ends it */
	bucket_put(fs, t);
	return r;
}

/* With everything in it. What is damaged stays, and the log names it. */
static int purge_one(void *context, struct slice id)
{
	struct fs *fs = context;
	struct bucket *t;
	int r = bucket_find(fs, id, &t);

	if (!r) {
		r = bucket_purge(fs, t);
		bucket_put(fs, t);
	}
	return r == BUCKET_ABSENT || r == -EIO ? 0 : r;
}

static int found_one(void *context, struct slice id)
{
	(void)context, (void)id;
	return 1;
}

bool transaction_any(struct fs *fs, uint32_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "tx.%u.", number);
	return bucket_list_ids(fs, slice_str(text), found_one, NULL) != 0;
}

int transaction_purge(struct fs *fs, uint32_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "tx.%u.", number);
	return bucket_list_ids(fs, slice_str(text), purge_one, fs);
}

/* A transaction of a bucket that is there: ends it if it has been published. */
static int recover_in(struct fs *fs, struct bucket *b, struct slice id)
{
	struct buf value = {0};
	struct key_buf mark;
	struct bucket *t;
	int r = bucket_find(fs, id, &t);

	if (r)
		return r;
	mark = key_transaction(t->number);
	if (t == b)
		r = bucket_damaged(b, "bucket", b->number, "it is a transaction of its own");
	else
		r = store_get(fs->store, b->number, STORE_META, key_slice(&mark), &value);
	/* Another transaction may have had the number before, and left its mark. An older version's mark is empty: in
	 * its time each number was taken once. */
	if (!r && (value.len == 8 ? bytes_get_le64(value.data) != (uint64_t)t->head.created :
				    fs->root->head.next_node > bucket_number_max))
		r = STORE_ABSENT;
	buf_release(&value);
	if (!r && end(fs, b, t)) {
		/* It is published all the same. */
		bucket_lock(t);
		if (!t->dead)
			bucket_hand_over_locked(fs, t);
		bucket_unlock(t);
	}
	bucket_put(fs, t);
	return r == STORE_ABSENT ? 0 : r;
}

static int recover_one(void *context, struct slice id)
{
	struct fs *fs = context;
	uint32_t number = transaction_bucket(id);
	struct bucket *b;
	int r;

	if (!number)
		r = bucket_damaged_name(fs->root, "bucket", id, "it is a transaction of no bucket");
	else
		r = bucket_get(fs, number, &b);
	if (r == BUCKET_GONE)
		return purge_one(context, id);
	if (!r) {
		r = recover_in(fs, b, id);
		bucket_put(fs, b);
	}
	/* One that is damaged keeps nobody from the others, and was named. */
	return r == BUCKET_ABSENT || r == -EIO ? 0 : r;
}

int transaction_recover(struct fs *fs)
{
	return bucket_list_ids(fs, slice_str("tx."), recover_one, fs);
}
