#include "bucket/tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/attribute.h"
#include "bucket/settle.h"
#include "bucket/version.h"
#include "util/bytes.h"
#include "util/log.h"

void tree_found_release(struct found *f)
{
	buf_release(&f->record);
}

static uint64_t number_in(const struct buf *value)
{
	return value->len == 5 ? bytes_get_be40(value->data) : 0;
}

/* ---- finding, with b->lock held (or where a little staleness does not matter) ---- */

int tree_get_record(struct fs *fs, struct bucket *b, uint64_t parent, uint64_t number, struct found *out)
{
	struct key_buf key = key_child(parent, number);
	int r = store_get(fs->store, b->number, STORE_NODE, key_slice(&key), &out->record);

	if (r)
		return r == STORE_ABSENT ? BUCKET_GONE : r;
	out->node.number = number;
	out->node.parent = parent;
	return node_decode(&out->node, buf_slice(&out->record)) ? 0 : -EIO;
}

/* By number alone. Most files are right in files/, so that is tried before asking for the parent. */
int tree_find_number(struct fs *fs, struct bucket *b, uint64_t number, struct found *out)
{
	struct key_buf key = key_parent(number);
	uint64_t parent;
	int r = tree_get_record(fs, b, NODE_FILES, number, out);

	if (r != BUCKET_GONE)
		return r;
	r = store_get(fs->store, b->number, STORE_NODE, key_slice(&key), &out->record);
	if (r)
		return r == STORE_ABSENT ? BUCKET_GONE : r;
	parent = number_in(&out->record);
	return tree_get_record(fs, b, parent, number, out);
}

static struct file *find_making(struct bucket *b, uint64_t parent, struct slice name)
{
	uint64_t hash = slice_hash(name, parent);

	for (struct table_node *n = table_first(&b->making, hash); n; n = table_next(n)) {
		struct file *f = container_of(n, struct file, by_name);

		if (f->node.parent == parent && slice_equal(f->node.name, name))
			return f;
	}
	return NULL;
}

int tree_find_name(struct fs *fs, struct bucket *b, uint64_t parent, struct slice name, struct found *out)
{
	struct key_buf key = key_name(parent, name);
	int r;

	r = store_get(fs->store, b->number, STORE_NODE, key_slice(&key), &out->record);
	if (r == STORE_ABSENT && b->making.count && (out->pending = find_making(b, parent, name))) {
		const struct node *n = &out->pending->node;

		out->node = (struct node){.number = n->number, .parent = n->parent, .kind = n->kind, .name = n->name};
		return 0;
	}
	if (r)
		return r == STORE_ABSENT ? BUCKET_ABSENT : r;
	r = tree_get_record(fs, b, parent, number_in(&out->record), out);
	return r == BUCKET_GONE ? -EIO : r;
}

int tree_name_is_taken(struct file *f, bool *taken)
{
	struct key_buf key = key_name(f->node.parent, f->node.name);
	struct buf number = {0};
	int r;

	*taken = false;
	/* It was free when the file was made. */
	if (f->names == f->b->names)
		return 0;
	r = store_get(f->fs->store, f->b->number, STORE_NODE, key_slice(&key), &number);

	*taken = r == 0;
	buf_release(&number);
	return r == STORE_ABSENT ? 0 : r;
}

/* ---- names that are not there: a create comes right after the look-up that did not find it ---- */

static struct absent_name *find_absent(struct bucket *b, uint64_t parent, struct slice name)
{
	for (size_t i = 0; i < sizeof(b->absent) / sizeof(*b->absent); i++) {
		struct absent_name *a = &b->absent[i];

		if (a->len == name.len && a->parent == parent && memcmp(a->name, name.at, name.len) == 0)
			return a;
	}
	return NULL;
}

static void remember_absent(struct bucket *b, uint64_t parent, struct slice name)
{
	struct absent_name *a = &b->absent[b->next_absent % (sizeof(b->absent) / sizeof(*b->absent))];

	if (name.len == 0 || name.len > sizeof(a->name))
		return;
	b->next_absent++;
	*a = (struct absent_name){.parent = parent, .names = b->names, .len = (uint8_t)name.len};
	memcpy(a->name, name.at, name.len);
}

/* Whether the store is known not to have the name, which is about to be made. */
static bool take_absent(struct bucket *b, uint64_t parent, struct slice name)
{
	struct absent_name *a = find_absent(b, parent, name);

	if (!a)
		return false;
	a->len = 0;
	return a->names == b->names;
}

/* A folder that things may be put into. */
static int check_folder(struct fs *fs, struct bucket *b, uint64_t parent)
{
	struct found folder = {0};
	int r;

	if (b->dead)
		return BUCKET_GONE;
	if (parent == NODE_FILES)
		return 0;
	r = tree_find_number(fs, b, parent, &folder);
	if (!r && folder.node.kind != NODE_FOLDER)
		r = BUCKET_NOT_FOLDER;
	tree_found_release(&folder);
	return r;
}

/* ---- attributes ---- */

static void fill_as(const struct bucket_look *look, const struct bucket *b, const struct node *n, struct attr *attr)
{
	bool folder = n->kind == NODE_FOLDER;

	*attr = (struct attr){
		.inode = inode_of(b->number, n->number),
		.mode = folder ? S_IFDIR | look->folder_mode : S_IFREG | look->file_mode | (n->exec & 0111u),
		.uid = n->uid,
		.gid = n->gid,
		.size = n->size,
		.blocks = n->blocks,
		.modified = n->modified,
		.changed = n->changed,
		.accessed = n->accessed,
		.private = look->private,
		/* A folder's times change when a file in it is published, which the kernel does not see. */
		.fleeting = folder,
	};
}

static void fill(struct fs *fs, struct bucket *b, const struct node *n, struct attr *attr)
{
	struct bucket_look look = bucket_look(fs, b);

	fill_as(&look, b, n, attr);
}

/* What an open file knows better than its record. */
static void fill_open(struct fs *fs, struct bucket *b, struct file *f, struct attr *attr)
{
	struct node node;

	file_node(f, &node);
	if (node.place == PLACE_INLINE || node.place == PLACE_NONE)
		node.blocks = (node.size + 511) / 512;
	fill(fs, b, &node, attr);
	attr->unlinked = file_is(&f->unlinked);
}

static int attr_root(struct fs *fs, struct bucket *b, struct attr *attr)
{
	pthread_mutex_lock(&b->lock);
	*attr = (struct attr){
		.inode = inode_of(b->number, NODE_FILES),
		.generation = b->head.files_generation,
		.mode = S_IFDIR | bucket_mode(fs, b, true, 0),
		.uid = b->head.owner,
		.gid = b->head.group,
		.modified = b->head.files_modified,
		.changed = b->head.files_modified,
		.accessed = b->head.files_modified,
		.private = bucket_is_private(fs, b),
		.fleeting = true,
	};
	bool dead = b->dead;
	pthread_mutex_unlock(&b->lock);
	return dead ? BUCKET_GONE : 0;
}

static bool is_openers(struct bucket *b, struct file *f, uid_t uid)
{
	bool is;

	pthread_mutex_lock(&b->lock);
	is = file_is_opener(f, uid);
	pthread_mutex_unlock(&b->lock);
	return is;
}

int tree_attr(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct attr *attr)
{
	struct file *f = number == NODE_FILES ? NULL : file_find(fs, inode_of(b->number, number));
	struct found found = {0};
	int r = 0;

	/* Open is open, also for who would not be let in any more. */
	if (f && is_openers(b, f, who->uid)) {
		fill_open(fs, b, f, attr);
		file_put(f);
		return 0;
	}
	r = bucket_check_enter(fs, b, who, "stat");
	if (!r && number == NODE_FILES)
		r = attr_root(fs, b, attr);
	else if (!r && f)
		fill_open(fs, b, f, attr);
	else if (!r && !(r = tree_find_number(fs, b, number, &found)))
		fill(fs, b, &found.node, attr);
	tree_found_release(&found);
	if (f)
		file_put(f);
	if (r || !attr->private || bucket_may(fs, b, who, PRIVILEGE_READ))
		return r;
	if (S_ISDIR(attr->mode)) {
		attr->modified = attr->changed = attr->accessed = 0;
		return 0;
	}
	return attr->uid == who->uid ? 0 : bucket_check(fs, b, who, PRIVILEGE_READ, "stat");
}

/* The open file for a number, made if need be. */
static int get_file(struct fs *fs, struct bucket *b, uint64_t number, struct file **out)
{
	struct found found = {0};
	int r = 0;

	*out = file_find(fs, inode_of(b->number, number));
	if (*out)
		return 0;
	pthread_mutex_lock(&b->lock);
	*out = file_find(fs, inode_of(b->number, number));
	if (!*out)
		r = b->dead ? BUCKET_GONE : tree_find_number(fs, b, number, &found);
	if (!*out && !r)
		r = found.node.kind == NODE_FOLDER ? BUCKET_IS_FOLDER : file_new(fs, b, &found.node, FILE_STORED, out);
	pthread_mutex_unlock(&b->lock);
	tree_found_release(&found);
	return r;
}

/* Finds a name as it is now: its record, or the file that is open or in the making, referenced. */
static int look(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		struct slice given, bool patient, bool *several, struct found *found, struct file **f)
{
	unsigned wants;
	int r = 0;

	pthread_mutex_lock(&b->lock);
	if (b->dead)
		r = BUCKET_GONE;
	else
		r = version_lookup(fs, b, who, parent, name, given, patient, several, f);
	if (!r && !*f)
		r = tree_find_name(fs, b, parent, name, found);
	if (r == BUCKET_ABSENT)
		remember_absent(b, parent, name);
	pthread_mutex_unlock(&b->lock);
	if (r || *f)
		return r;
	if (found->pending || found->node.kind != NODE_FILE || !version_has_missed(fs, who, &wants)) {
		*f = file_find(fs, inode_of(b->number, found->node.number));
		return 0;
	}
	r = get_file(fs, b, found->node.number, f);
	if (r)
		return r;
	*several = true;
	r = version_hold(f, who, wants);
	if (r)
		*f = NULL;
	return r;
}

int tree_lookup(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given,
		bool patient, struct attr *attr, bool *canonical)
{
	enum { tries = 4 };
	char name[name_max];
	size_t len;
	struct found found = {0};
	struct file *f = NULL;
	bool several = false;
	int r = bucket_check_enter(fs, b, who, "look up a name");

	*canonical = true;
	if (!r)
		r = name_normalise(given, name, &len);
	if (r)
		return r;
	*canonical = slice_equal(given, slice_of(name, len));
	r = BUCKET_GONE;
	/* What was found may be gone before it can be held. */
	for (int i = 0; i < tries && r == BUCKET_GONE; i++)
		r = look(fs, b, who, parent, slice_of(name, len), given, patient, &several, &found, &f);
	if (!r && f)
		fill_open(fs, b, f, attr);
	else if (!r)
		fill(fs, b, &found.node, attr);
	/* Who looks may get another answer than the next one: nothing to keep. */
	if (!r)
		attr->private |= several;
	/* The kernel wants the right size, for it shares it with those who may read; times it does not need. */
	if (!r && attr->private && !bucket_may(fs, b, who, PRIVILEGE_READ) && attr->uid != who->uid)
		attr->modified = attr->changed = attr->accessed = 0;
	if (f)
		file_put(f);
	tree_found_release(&found);
	return r;
}

int tree_collision(struct fs *fs, struct bucket *b, const struct caller *who, const struct node *old, struct slice given,
		   struct reason *why)
{
	struct slice was = old->given.len ? old->given : old->name;
	struct reason what;
	char path[320];

	if (slice_equal(given, was) || slice_equal(given, old->name))
		return 0;
	reason_set(&what, "\"%.*s\" and \"%.*s\" are both stored as %.*s", was.len > 60 ? 60 : (int)was.len,
		   (const char *)was.at, given.len > 60 ? 60 : (int)given.len, (const char *)given.at,
		   old->name.len > 60 ? 60 : (int)old->name.len, (const char *)old->name.at);
	snprintf(path, sizeof(path), "%.*s/files/%.*s", (int)b->name.len, (const char *)b->name.at, (int)old->name.len,
		 (const char *)old->name.at);
	if (fs->options.collide_refuse) {
		if (why)
			*why = what;
		else
			fs_refused(fs, b->number, who, path, "EEXIST", &what);
		return BUCKET_EXISTS;
	}
	__atomic_add_fetch(&fs->collisions, 1, __ATOMIC_RELAXED);
	log_limited(who->uid, LOG_LEVEL_WARNING, "bucket %.*s: %s: the newer replaces the older", (int)b->name.len,
		    (const char *)b->name.at, what.text);
	fs_refused(fs, b->number, who, path, "0", &what);
	return 0;
}

/* A node as it is now, for readers. 0: with b->lock held, which the caller gives back, as he does `found`. */
static int lock_node(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct found *found,
		     const struct node **node)
{
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "read an attribute");
	struct file *f;

	if (r)
		return r;
	pthread_mutex_lock(&b->lock);
	f = file_peek(fs, inode_of(b->number, number));
	*node = f ? &f->node : &found->node;
	if (!f)
		r = tree_find_number(fs, b, number, found);
	if (r)
		pthread_mutex_unlock(&b->lock);
	return r;
}

int tree_source(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct buf *job, uint32_t *uid)
{
	struct found found = {0};
	const struct node *node;
	int r = lock_node(fs, b, who, number, &found, &node);

	if (!r) {
		*uid = node->uid;
		r = buf_add_slice(job, node->job);
		pthread_mutex_unlock(&b->lock);
	}
	tree_found_release(&found);
	return r;
}

int tree_given_name(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct buf *name)
{
	struct found found = {0};
	const struct node *node;
	int r = lock_node(fs, b, who, number, &found, &node);

	if (!r) {
		r = buf_add_slice(name, node->given.len ? node->given : node->name);
		pthread_mutex_unlock(&b->lock);
	}
	tree_found_release(&found);
	return r;
}

int tree_parent(struct fs *fs, struct bucket *b, uint64_t number, uint64_t *parent)
{
	struct found found = {0};
	int r = tree_find_number(fs, b, number, &found);

	if (!r)
		*parent = found.node.parent;
	tree_found_release(&found);
	return r;
}

/* ---- opening ---- */

static int check_open(struct fs *fs, struct bucket *b, const struct caller *who, unsigned flags)
{
	int r = 0;

	if (flags & TREE_READ)
		r = bucket_check(fs, b, who, PRIVILEGE_READ, "read a file");
	if (!r && flags & (TREE_WRITE | TREE_TRUNCATE))
		r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "write a file");
	return r;
}

static int open_file(struct file *f, const struct caller *who, unsigned flags, struct file_open **out,
		     struct reason *why)
{
	int r = flags & TREE_TRUNCATE ? file_truncate(f, 0, why) : 0;

	if (r) {
		file_put(f);
		return r;
	}
	return file_open_new(f, who, flags, out);
}

int tree_open(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, unsigned flags,
	      struct file_open **out, struct reason *why)
{
	struct file *f;
	int r = check_open(fs, b, who, flags);

	if (r)
		return r;
	r = get_file(fs, b, number, &f);
	if (!r) {
		r = version_choose(f, who, &flags, why);
		if (r)
			file_put(f);
	}
	if (r == BUCKET_GONE)
		version_missed(fs, who, inode_of(b->number, number), flags);
	return r ? r : open_file(f, who, flags, out, why);
}

/* Whether one more file or folder of this name may be. With b->lock held. */
static int check_room(struct bucket *b, struct slice name, bool folder, struct reason *why)
{
	const struct limits *l = &b->limits;

	if (!folder && !name_has_type(name, l->accepted_file_types)) {
		reason_set(why, "accepted_file_types is %.100s, which %.*s is not", l->accepted_file_types, (int)name.len,
			   (const char *)name.at);
		return BUCKET_NOT_PERMITTED;
	}
	if (l->max_files && b->head.files + b->new_files >= l->max_files) {
		reason_set(why, "the bucket has %llu files and folders, as many as max_files allows",
			   (unsigned long long)l->max_files);
		return BUCKET_OVER_QUOTA;
	}
	return 0;
}

static struct node new_node(struct fs *fs, struct bucket *b, const struct caller *who, enum node_kind kind,
			    uint64_t parent, struct slice name, struct slice given)
{
	int64_t now = fs_now(fs);

	return (struct node){
		.number = b->head.next_node++,
		.parent = parent,
		.kind = (uint8_t)kind,
		.uid = who->uid,
		.gid = who->gid,
		.modified = now,
		.changed = now,
		.accessed = now,
		.created = now,
		.name = name,
		.given = slice_equal(name, given) ? slice_of(NULL, 0) : given,
	};
}

static int create(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		  struct slice given, uint32_t mode, unsigned flags, struct file_open **out, struct reason *why)
{
	struct found found = {0};
	struct file *f = NULL;
	uint64_t number = 0;
	char job[node_job_max];
	size_t job_len = who->job ? who->job(who, job, sizeof(job)) : 0;
	int r;

	pthread_mutex_lock(&b->lock);
	r = check_folder(fs, b, parent);
	if (!r && take_absent(b, parent, name) && !(b->making.count && find_making(b, parent, name)))
		r = BUCKET_ABSENT;
	else if (!r)
		r = tree_find_name(fs, b, parent, name, &found);
	if (r == 0) {
		number = found.node.number;
		if (flags & TREE_EXCLUSIVE)
			r = BUCKET_EXISTS;
	} else if (r == BUCKET_ABSENT) {
		r = check_room(b, name, false, why);
		if (!r) {
			struct node node = new_node(fs, b, who, NODE_FILE, parent, name, given);

			node.exec = mode & 0111;
			node.job = slice_of(job, job_len);
			r = file_new(fs, b, &node, FILE_NEW, &f);
		}
	}
	pthread_mutex_unlock(&b->lock);
	tree_found_release(&found);
	if (r)
		return r;
	if (!f) {
		/* A new version can be given right here: nothing needs to be looked up again. */
		r = check_open(fs, b, who, flags);
		if (!r)
			r = get_file(fs, b, number, &f);
		if (!r)
			r = version_replace(&f, who, given, &flags, why);
		return r ? r : open_file(f, who, flags, out, why);
	}
	/* A log is listed from its first moment on, and never anything else than published. */
	if (flags & TREE_APPEND)
		r = version_settle(f, false);
	if (r) {
		file_put(f);
		return r;
	}
	return file_open_new(f, who, flags, out);
}

int tree_create(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given,
		uint32_t mode, unsigned flags, struct file_open **out, bool *canonical, struct reason *why)
{
	enum { tries = 4 };
	char normal[name_max];
	struct slice name = slice_of(normal, 0);
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "create a file");

	if (!r)
		r = name_normalise(given, normal, &name.len);
	if (r)
		return r;
	*canonical = slice_equal(given, name);
	r = BUCKET_GONE;
	/* What has the name may be replaced before it can be opened. */
	for (int i = 0; i < tries && r == BUCKET_GONE; i++)
		r = create(fs, b, who, parent, name, given, mode, flags, out, why);
	return r;
}

/* ---- changing names, with b->lock held ---- */

int tree_touch(struct fs *fs, struct bucket *b, uint64_t folder, struct head *head, struct store_batch *batch)
{
	struct found found = {0};
	int64_t now = fs_now(fs);
	int r = 0;

	if (folder == NODE_FILES) {
		head->files_modified = now;
		return 0;
	}
	r = tree_find_number(fs, b, folder, &found);
	if (!r) {
		found.node.modified = found.node.changed = now;
		r = tree_put_record(&found.node, batch);
	}
	tree_found_release(&found);
	/* A folder that is being deleted itself needs no time. */
	return r == BUCKET_GONE ? 0 : r;
}

int tree_put_record(const struct node *n, struct store_batch *batch)
{
	struct key_buf child = key_child(n->parent, n->number);
	struct buf record = {0};
	int r = node_encode(n, &record);

	store_batch_put(batch, STORE_NODE, key_slice(&child), buf_slice(&record));
	buf_release(&record);
	return r;
}

void tree_put_own_name(const struct node *n, struct store_batch *batch)
{
	struct key_buf name = key_name(n->parent, n->name), parent = key_parent(n->number);
	unsigned char raw[5];

	bytes_put_be40(raw, n->number);
	store_batch_put(batch, STORE_NODE, key_slice(&name), slice_of(raw, sizeof(raw)));
	bytes_put_be40(raw, n->parent);
	if (n->parent != NODE_FILES)
		store_batch_put(batch, STORE_NODE, key_slice(&parent), slice_of(raw, sizeof(raw)));
}

void tree_put_name(struct bucket *b, const struct node *n, struct store_batch *batch)
{
	b->names++;
	tree_put_own_name(n, batch);
}

static void delete_name(const struct node *n, struct store_batch *batch)
{
	struct key_buf name = key_name(n->parent, n->name), child = key_child(n->parent, n->number);
	struct key_buf parent = key_parent(n->number);

	store_batch_delete(batch, STORE_NODE, key_slice(&name));
	store_batch_delete(batch, STORE_NODE, key_slice(&child));
	if (n->parent != NODE_FILES)
		store_batch_delete(batch, STORE_NODE, key_slice(&parent));
}

/* What becomes of the content of a node that is deleted: `heir`'s fallback, or it goes. */
static int delete_content(struct fs *fs, struct bucket *b, const struct node *n, struct settle *heir, struct head *head,
			  struct store_batch *batch)
{
	struct key_buf body = key_body(n->number);
	struct settle own;
	bool kept = false;
	int r = settle_load(fs, b, n->number, &own);

	if (r)
		return r;
	if (!own.content) {
		kept = heir && settle_fall_back(heir, n);
	} else {
		/* What the disk may not have is no fallback; what it fell back to is. */
		if (heir && own.falls_back && settle_fall_back(heir, &own.fallback))
			own.falls_back = false;
		settle_end(&own, batch);
		settle_write(fs, b, &own, head, batch);
	}
	if (n->place == PLACE_INLINE && !kept)
		store_batch_delete(batch, STORE_BODY, key_slice(&body));
	if (n->place == PLACE_CONTENT && !kept)
		store_batch_drop(batch, n->content);
	return 0;
}

int tree_delete_node(struct fs *fs, struct bucket *b, const struct node *n, struct settle *heir, struct head *head,
		     struct store_batch *batch, struct file **open)
{
	bool attributes = n->has_attributes;
	int r = 0;

	*open = file_peek(fs, inode_of(b->number, n->number));
	if (*open) {
		r = file_keep(*open, n);
		if ((*open)->marked)
			version_unmark(*open, head, batch);
	}
	if (!r && attributes)
		r = attribute_delete_all(fs, b, n->number, batch);
	if (!r)
		r = delete_content(fs, b, n, heir, head, batch);
	delete_name(n, batch);
	head->files--;
	head->file_bytes -= n->size;
	return r;
}

int tree_make_partial(struct fs *fs, struct bucket *b, const struct node *n, struct head *head, struct store_batch *batch)
{
	char name[name_max];
	struct slice partial = slice_of(name, version_partial_name(n->name, name));
	struct node moved = *n;
	struct found found = {0};
	struct file *open;
	int r = tree_find_name(fs, b, n->parent, partial, &found);

	/* The partial of an earlier one goes; a folder of that name stays, and so does this. */
	if (r == 0 && found.node.kind == NODE_FILE) {
		r = tree_delete_node(fs, b, &found.node, NULL, head, batch, &open);
	} else if (r == 0) {
		tree_found_release(&found);
		return 0;
	}
	if (r == BUCKET_ABSENT)
		r = 0;
	moved.name = partial;
	moved.given = slice_of(NULL, 0);
	delete_name(n, batch);
	if (!r)
		r = tree_put_record(&moved, batch);
	tree_put_name(b, &moved, batch);
	tree_found_release(&found);
	return r;
}

/* Whether a node that was found in a listing is not to be seen there. */
static bool is_unlisted(struct fs *fs, struct bucket *b, uint64_t number)
{
	struct file *f = b->making.count ? file_peek(fs, inode_of(b->number, number)) : NULL;

	return f && f->unlisted;
}

static int has_children(struct fs *fs, struct bucket *b, uint64_t folder, bool *has)
{
	struct key_buf key = key_child(folder, 0);
	struct slice prefix = slice_of(key.bytes, 6), k, v;
	struct store_cursor *cursor;
	int r = store_cursor_open(fs->store, b->number, STORE_NODE, prefix, prefix, &cursor);

	*has = false;
	if (r)
		return r;
	while (!*has && !(r = store_cursor_next(cursor, &k, &v)))
		*has = !is_unlisted(fs, b, key_child_node_of(k));
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

struct any_in {
	uint64_t parent;
	struct file *found;
};

static int find_in(void *context, struct table_node *node)
{
	struct any_in *any = context;
	struct file *f = container_of(node, struct file, by_name);

	if (f->node.parent != any->parent)
		return 0;
	any->found = f;
	return 1;
}

int tree_drop_unlisted(struct fs *fs, struct bucket *b, uint64_t parent)
{
	bool has;
	int r = has_children(fs, b, parent, &has);

	/* Closed, and about to be published: that counts. */
	if (!r && !has && version_is_just_closed(fs, b, parent))
		return BUCKET_NOT_EMPTY;
	while (!r && !has) {
		struct any_in any = {parent, NULL};

		if (!b->making.count || !table_each(&b->making, find_in, &any))
			break;
		r = version_drop(any.found);
	}
	return r;
}

int tree_mkdir(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given,
	       uint64_t *number, bool *canonical, struct reason *why)
{
	char normal[name_max];
	struct slice name = slice_of(normal, 0);
	struct store_batch batch = {0};
	struct found found = {0};
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "create a folder");

	if (!r)
		r = name_normalise(given, normal, &name.len);
	if (r)
		return r;
	*canonical = slice_equal(given, name);
	pthread_mutex_lock(&b->lock);
	r = check_folder(fs, b, parent);
	if (!r)
		r = tree_find_name(fs, b, parent, name, &found);
	if (r == BUCKET_ABSENT)
		r = check_room(b, name, true, why);
	else if (r == 0)
		r = BUCKET_EXISTS;
	if (!r) {
		struct node node = new_node(fs, b, who, NODE_FOLDER, parent, name, given);
		struct head head = b->head;

		*number = node.number;
		r = tree_put_record(&node, &batch);
		tree_put_name(b, &node, &batch);
		head.files++;
		if (!r)
			r = tree_touch(fs, b, parent, &head, &batch);
		if (!r)
			r = bucket_commit(fs, b, &head, &batch);
	}
	pthread_mutex_unlock(&b->lock);
	store_batch_release(&batch);
	tree_found_release(&found);
	return r;
}

static int unlink_locked(struct fs *fs, struct bucket *b, const struct node *n)
{
	struct file *opened = NULL, **open = &opened;
	struct store_batch batch = {0};
	struct head head = b->head;
	int r;

	r = tree_delete_node(fs, b, n, NULL, &head, &batch, open);
	if (!r)
		r = tree_touch(fs, b, n->parent, &head, &batch);
	if (!r)
		r = bucket_commit(fs, b, &head, &batch);
	store_batch_release(&batch);
	if (!r && *open)
		file_unlinked(*open);
	return r;
}

int tree_unlink(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given,
		bool folder, bool *canonical)
{
	char normal[name_max];
	struct slice name = slice_of(normal, 0);
	struct found found = {0};
	struct file *making;
	bool has = false;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, folder ? "delete a folder" : "delete a file");

	if (!r)
		r = name_normalise(given, normal, &name.len);
	if (r)
		return r;
	*canonical = slice_equal(given, name);
	pthread_mutex_lock(&b->lock);
	r = b->dead ? BUCKET_GONE : tree_find_name(fs, b, parent, name, &found);
	if (!r && folder != (found.node.kind == NODE_FOLDER))
		r = folder ? BUCKET_NOT_FOLDER : BUCKET_IS_FOLDER;
	if (!r && folder)
		r = has_children(fs, b, found.node.number, &has);
	if (!r && has)
		r = BUCKET_NOT_EMPTY;
	if (!r && folder)
		r = tree_drop_unlisted(fs, b, found.node.number);
	if (!r && found.pending)
		r = version_drop(found.pending);
	else if (!r)
		r = unlink_locked(fs, b, &found.node);
	/* And what was to replace it: who deletes a name has deleted it. */
	while (!r && !folder && b->making.count && (making = find_making(b, parent, name)))
		r = version_drop(making);
	pthread_mutex_unlock(&b->lock);
	tree_found_release(&found);
	return r;
}

int tree_remove_root(struct fs *fs, struct bucket *b, const struct caller *who)
{
	struct store_batch nothing = {0};
	bool has;
	int r = 0;

	if (!bucket_may(fs, b, who, PRIVILEGE_DELETE))
		r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "delete files/");
	if (r)
		return r;
	pthread_mutex_lock(&b->lock);
	r = b->dead ? BUCKET_GONE : has_children(fs, b, NODE_FILES, &has);
	if (!r && has)
		r = BUCKET_NOT_EMPTY;
	if (!r)
		r = tree_drop_unlisted(fs, b, NODE_FILES);
	if (!r) {
		struct head head = b->head;

		/* The kernel will not use that inode again; a new generation makes the next one another. */
		head.files_generation++;
		r = bucket_commit(fs, b, &head, &nothing);
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

/* ---- rename ---- */

/* BUCKET_INVALID if `folder` is `inside` or above it. */
static int check_not_inside(struct fs *fs, struct bucket *b, uint64_t folder, uint64_t inside)
{
	while (inside != NODE_FILES) {
		struct found found = {0};
		int r;

		if (inside == folder)
			return BUCKET_INVALID;
		r = tree_find_number(fs, b, inside, &found);
		inside = found.node.parent;
		tree_found_release(&found);
		if (r)
			return r;
	}
	return 0;
}

static int check_replace(struct fs *fs, struct bucket *b, const struct node *from, const struct node *to)
{
	bool has = false;
	int r = 0;

	if (from->kind == NODE_FOLDER && to->kind != NODE_FOLDER)
		return BUCKET_NOT_FOLDER;
	if (from->kind != NODE_FOLDER && to->kind == NODE_FOLDER)
		return BUCKET_IS_FOLDER;
	if (to->kind == NODE_FOLDER)
		r = has_children(fs, b, to->number, &has);
	return r ? r : has ? BUCKET_NOT_EMPTY : 0;
}

/* An open file has its names in its own memory. */
void tree_move_open(struct file *f, const struct node *to)
{
	memcpy(f->name, to->name.at, to->name.len);
	if (to->given.len)
		memcpy(f->given, to->given.at, to->given.len);
	f->node.parent = to->parent;
	f->node.name.len = to->name.len;
	f->node.given.len = to->given.len;
}

/* Both were found; `to` may be absent. */
static int rename_commit(struct fs *fs, struct bucket *b, const struct found *from, const struct found *to,
			 const struct node *moved, struct file **replaced)
{
	struct store_batch batch = {0};
	struct head head = b->head;
	struct settle settle;
	struct file *open = NULL;
	int r = settle_load(fs, b, from->node.number, &settle);

	delete_name(&from->node, &batch);
	if (!r && to && to->node.number != from->node.number)
		r = tree_delete_node(fs, b, &to->node, &settle, &head, &batch, replaced);
	if (!r)
		settle_write(fs, b, &settle, &head, &batch);
	if (!r)
		r = tree_put_record(moved, &batch);
	tree_put_name(b, moved, &batch);
	/* The folders' records after the moved one's, which may be a folder in one of them. */
	if (!r)
		r = tree_touch(fs, b, from->node.parent, &head, &batch);
	if (!r && moved->parent != from->node.parent)
		r = tree_touch(fs, b, moved->parent, &head, &batch);
	if (!r)
		r = bucket_commit(fs, b, &head, &batch);
	store_batch_release(&batch);
	if (r)
		return r;
	if (*replaced)
		file_unlinked(*replaced);
	open = file_peek(fs, inode_of(b->number, moved->number));
	if (open)
		tree_move_open(open, moved);
	return 0;
}

struct renaming {
	uint64_t parent, new_parent;
	struct slice name, new_name, new_given;
	bool no_replace;
	const struct caller *who;
};

/* With b->lock held. *unsettled: the file is so new that it must be committed first. */
static int rename_locked(struct fs *fs, struct bucket *b, const struct renaming *m, struct file **unsettled,
			 struct file **replaced, struct reason *why)
{
	struct found from = {0}, to = {0};
	bool exists = false;
	int r = b->dead ? BUCKET_GONE : tree_find_name(fs, b, m->parent, m->name, &from);

	/* Renaming publishes: temporary file and rename is how careful programs say that it is whole. */
	if (!r && is_unlisted(fs, b, from.node.number)) {
		*unsettled = file_find(fs, inode_of(b->number, from.node.number));
		tree_found_release(&from);
		return 0;
	}
	if (!r)
		r = check_folder(fs, b, m->new_parent);
	if (!r) {
		r = tree_find_name(fs, b, m->new_parent, m->new_name, &to);
		exists = r == 0;
		if (r == BUCKET_ABSENT)
			r = 0;
	}
	if (!r && exists && to.node.number != from.node.number && to.node.kind == NODE_FILE && !m->no_replace)
		r = tree_collision(fs, b, m->who, &to.node, m->new_given, why);
	if (!r && exists && to.node.number != from.node.number) {
		r = m->no_replace ? BUCKET_EXISTS : check_replace(fs, b, &from.node, &to.node);
		if (!r && to.node.kind == NODE_FOLDER)
			r = tree_drop_unlisted(fs, b, to.node.number);
		/* One in the making may be in the store already, without a name there. */
		if (!r && to.pending) {
			r = version_drop(to.pending);
			exists = false;
		}
	}
	if (!r && from.node.kind == NODE_FOLDER)
		r = check_not_inside(fs, b, from.node.number, m->new_parent);
	if (!r && from.node.kind == NODE_FILE && !name_has_type(m->new_name, b->limits.accepted_file_types)) {
		reason_set(why, "accepted_file_types is %.100s", b->limits.accepted_file_types);
		r = BUCKET_NOT_PERMITTED;
	}
	if (!r) {
		struct node moved = from.node;

		moved.parent = m->new_parent;
		moved.name = m->new_name;
		moved.given = slice_equal(m->new_name, m->new_given) ? slice_of(NULL, 0) : m->new_given;
		moved.changed = fs_now(fs);
		r = rename_commit(fs, b, &from, exists ? &to : NULL, &moved, replaced);
	}
	tree_found_release(&from);
	tree_found_release(&to);
	return r;
}

int tree_rename(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given,
		uint64_t new_parent, struct slice new_given, bool no_replace, bool *canonical, struct reason *why)
{
	char from[name_max], to[name_max];
	struct renaming m = {parent, new_parent, slice_of(from, 0), slice_of(to, 0), new_given, no_replace, who};
	struct file *unsettled, *replaced;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "rename");

	if (!r)
		r = name_normalise(given, from, &m.name.len);
	if (!r)
		r = name_normalise(new_given, to, &m.new_name.len);
	if (r)
		return r;
	*canonical = slice_equal(given, m.name) && slice_equal(new_given, m.new_name);
	do {
		unsettled = replaced = NULL;
		pthread_mutex_lock(&b->lock);
		r = rename_locked(fs, b, &m, &unsettled, &replaced, why);
		pthread_mutex_unlock(&b->lock);
		if (unsettled) {
			r = version_publish(unsettled);
			file_put(unsettled);
		}
	} while (!r && unsettled);
	return r;
}

/* ---- changing attributes ---- */

static void apply(struct node *n, const struct tree_change *change, int64_t now)
{
	if (change->mode)
		n->exec = *change->mode & 0111;
	if (change->accessed)
		n->accessed = *change->accessed;
	if (change->modified)
		n->modified = *change->modified;
	n->changed = now;
}

/* Changes a record: in the open file, to be committed with it, or right in the store. `attributes`: has_attributes is
 * set as well. */
static int change_node(struct fs *fs, struct bucket *b, uint64_t number, const struct tree_change *change,
		       bool attributes)
{
	struct store_batch batch = {0};
	struct found found = {0};
	struct file *f;
	int r = 0;

	for (;;) {
		f = file_find(fs, inode_of(b->number, number));
		if (f)
			break;
		pthread_mutex_lock(&b->lock);
		/* Opened since: then it has a copy of the record, and that is the one to change. */
		f = file_find(fs, inode_of(b->number, number));
		if (!f)
			break;
		pthread_mutex_unlock(&b->lock);
		file_put(f);
	}
	if (f && attributes && file_is(&f->unlinked)) {
		file_put(f);
		return BUCKET_GONE;
	}
	if (f) {
		pthread_rwlock_wrlock(&f->lock);
		apply(&f->node, change, fs_now(fs));
		f->node.has_attributes |= attributes;
		f->dirty = true;
		/* A new file is not listed before it is closed, whatever happens to it until then. */
		if (!file_is(&f->unlisted))
			r = file_commit(f);
		pthread_rwlock_unlock(&f->lock);
		file_put(f);
		return r;
	}
	r = b->dead ? BUCKET_GONE : tree_find_number(fs, b, number, &found);
	if (!r && !(attributes && found.node.has_attributes)) {
		struct head head = b->head;

		apply(&found.node, change, fs_now(fs));
		found.node.has_attributes |= attributes;
		r = tree_put_record(&found.node, &batch);
		if (!r)
			r = bucket_commit(fs, b, &head, &batch);
	}
	pthread_mutex_unlock(&b->lock);
	store_batch_release(&batch);
	tree_found_release(&found);
	return r;
}

int tree_set(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number,
	     const struct tree_change *change)
{
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "change attributes");

	if (r)
		return r;
	if (number == NODE_FILES) {
		struct store_batch nothing = {0};
		struct head head;

		pthread_mutex_lock(&b->lock);
		head = b->head;
		if (change->modified)
			head.files_modified = *change->modified;
		r = change->modified ? bucket_commit(fs, b, &head, &nothing) : 0;
		pthread_mutex_unlock(&b->lock);
		return r;
	}
	return change_node(fs, b, number, change, false);
}

int tree_mark_attributes(struct fs *fs, struct bucket *b, uint64_t number)
{
	return change_node(fs, b, number, &(struct tree_change){0}, true);
}

int tree_truncate(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, uint64_t size,
		  struct reason *why)
{
	struct file *f;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "truncate a file");

	if (!r)
		r = get_file(fs, b, number, &f);
	if (r)
		return r;
	r = file_truncate(f, size, why);
	/* Nobody may ever close it: what truncate(2) did is there when it returns. */
	if (!r && !file_is(&f->unlisted))
		r = file_flush(f);
	file_put(f);
	return r;
}

/* ---- listing ---- */

static int add_unlisted(void *context, struct table_node *node)
{
	const struct file *f = container_of(node, struct file, by_name);

	return f->pending ? 0 : buf_add(context, &f->node.number, sizeof(f->node.number));
}

int tree_unlisted(struct bucket *b, struct buf *numbers)
{
	return b->making.count ? table_each(&b->making, add_unlisted, numbers) : 0;
}

bool tree_is_unlisted(const struct buf *numbers, uint64_t number)
{
	for (size_t at = 0; at < numbers->len; at += sizeof(number))
		if (memcmp(numbers->data + at, &number, sizeof(number)) == 0)
			return true;
	return false;
}

int tree_list(struct fs *fs, struct bucket *b, uint64_t parent, uint64_t after, bool patient,
	      int (*each)(void *context, const struct node *node, const struct attr *attr), void *context)
{
	struct key_buf key = key_child(parent, after + 1);
	struct store_cursor *cursor;
	struct slice k, record;
	struct buf unlisted = {0};
	struct bucket_look look = bucket_look(fs, b);
	bool fleeting, making;
	int64_t now;
	int r;

	if (patient && version_is_closing(fs, b, parent))
		return BUCKET_WAIT;
	now = fs_now(fs);
	__atomic_store_n(&b->listed, now, __ATOMIC_RELAXED);
	/* What is not published is judged as of the same moment as the records. */
	pthread_mutex_lock(&b->lock);
	making = b->making.count;
	r = tree_unlisted(b, &unlisted);
	if (!r)
		r = store_cursor_open(fs->store, b->number, STORE_NODE, slice_of(key.bytes, 6), key_slice(&key), &cursor);
	pthread_mutex_unlock(&b->lock);
	if (r) {
		buf_release(&unlisted);
		return r;
	}
	/* While files are being replaced, an entry may be old when it arrives: nothing to keep. */
	fleeting = making || now - __atomic_load_n(&b->published, __ATOMIC_RELAXED) < 1000000000;
	while (!(r = store_cursor_next(cursor, &k, &record))) {
		struct node node = {.number = key_child_node_of(k), .parent = parent};
		struct file *f = NULL;
		struct attr attr;

		if (!node_decode(&node, record)) {
			r = -EIO;
			break;
		}
		if (tree_is_unlisted(&unlisted, node.number))
			continue;
		if (__atomic_load_n(&fs->files.count, __ATOMIC_RELAXED))
			f = file_find(fs, inode_of(b->number, node.number));
		if (f) {
			fill_open(fs, b, f, &attr);
			file_put(f);
		} else {
			fill_as(&look, b, &node, &attr);
		}
		attr.private |= fleeting;
		r = each(context, &node, &attr);
		if (r)
			break;
	}
	store_cursor_close(cursor);
	buf_release(&unlisted);
	return r == STORE_END ? 0 : r;
}

int tree_each(struct fs *fs, struct bucket *b, int (*each)(void *context, const struct node *node), void *context)
{
	struct store_cursor *cursor;
	struct slice k, record;
	int r = store_cursor_open(fs->store, b->number, STORE_NODE, slice_str("C"), slice_of(NULL, 0), &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &k, &record))) {
		struct node node = {.number = key_child_node_of(k)};

		r = node_decode(&node, record) ? each(context, &node) : -EIO;
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}
