#include "bucket/tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bucket/tree_internal.h"
#include "bucket/fresh.h"
#include "bucket/gone.h"
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
	const char *fault;
	int r = store_get(fs->store, b->number, STORE_NODE, key_slice(&key), &out->record);

	if (r)
		return r == STORE_ABSENT ? BUCKET_GONE : r;
	out->node.number = number;
	out->node.parent = parent;
	fault = node_decode(&out->node, buf_slice(&out->record));
	return fault ? bucket_damaged(b, "file", number, fault) : 0;
}

/* Where a number was found lately: those that are next to each other were mostly made in the same folder. Atomic. */
static uint64_t *folder_of(struct bucket *b, uint64_t number)
{
	return &b->folders[number / 16 % (sizeof(b->folders) / sizeof(*b->folders))];
}

/* By number alone: where its neighbours are, else right in files/, else it has a record that says where. Without b->lock it may
 * be what was there a moment ago, or BUCKET_GONE for what is just being moved. */
int tree_find_number(struct fs *fs, struct bucket *b, uint64_t number, struct found *out)
{
	struct key_buf key = key_parent(number);
	uint64_t *folder = folder_of(b, number), parent = __atomic_load_n(folder, __ATOMIC_RELAXED);
	int r = BUCKET_GONE;

	/* What is in a folder has numbers next to the folder's own, which is not in itself. */
	if (parent && parent != NODE_FILES && parent != number)
		r = tree_get_record(fs, b, parent, number, out);
	if (r != BUCKET_GONE)
		return r;
	parent = NODE_FILES;
	r = tree_get_record(fs, b, parent, number, out);
	if (r == BUCKET_GONE) {
		r = store_get(fs->store, b->number, STORE_NODE, key_slice(&key), &out->record);
		if (r)
			return r == STORE_ABSENT ? BUCKET_GONE : r;
		parent = number_in(&out->record);
		if (!parent)
			return bucket_damaged(b, "the folder of file", number, "it is no number");
		r = tree_get_record(fs, b, parent, number, out);
	}
	if (!r && out->node.kind == NODE_FILE)
		__atomic_store_n(folder, parent, __ATOMIC_RELAXED);
	return r;
}

struct file *tree_next_making(struct bucket *b, uint64_t parent, struct slice name, struct file *after)
{
	struct table_node *n = after ? table_next(&after->by_name) : table_first(&b->making, slice_hash(name, parent));

	for (; n; n = table_next(n)) {
		struct file *f = container_of(n, struct file, by_name);

		if (f->node.parent == parent && slice_equal(f->node.name, name))
			return f;
	}
	return NULL;
}

struct file *tree_find_making(struct bucket *b, uint64_t parent, struct slice name)
{
	struct file *f = NULL;

	while ((f = tree_next_making(b, parent, name, f)))
		if (!file_is_overtaken(f))
			return f;
	return NULL;
}

/* The node that the name leads to, whose number is in out->record. */
static int get_named(struct fs *fs, struct bucket *b, uint64_t parent, struct slice name, struct found *out)
{
	uint64_t number = number_in(&out->record);
	int r = number ? tree_get_record(fs, b, parent, number, out) : BUCKET_GONE;

	if (r == BUCKET_GONE)
		return bucket_damaged_name(b, "name", name, "it leads to no file");
	/* Who deletes the one would leave the other, which leads nowhere then. */
	if (!r && !slice_equal(out->node.name, name))
		return bucket_damaged(b, "file", number, "its name is not the one that it was found by");
	return r;
}

int tree_find_name(struct fs *fs, struct bucket *b, uint64_t parent, struct slice name, struct found *out)
{
	struct key_buf key = key_name(parent, name);
	int r;

	r = fresh_lacks(fs->fresh, inode_of(b->number, parent), name) ?
		    STORE_ABSENT :
		    store_get(fs->store, b->number, STORE_NODE, key_slice(&key), &out->record);
	if (r == STORE_ABSENT && b->making.count && (out->pending = tree_find_making(b, parent, name))) {
		const struct node *n = &out->pending->node;

		out->node = (struct node){.number = n->number, .parent = n->parent, .kind = n->kind, .name = n->name};
		return 0;
	}
	if (r)
		return r == STORE_ABSENT ? BUCKET_ABSENT : r;
	return get_named(fs, b, parent, name, out);
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
int tree_check_folder(struct fs *fs, struct bucket *b, uint64_t parent)
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

void tree_fill(const struct bucket_look *look, const struct bucket *b, const struct node *n, struct attr *attr)
{
	bool folder = n->kind == NODE_FOLDER;
	uint32_t mode = folder		    ? S_IFDIR | look->folder_mode :
			n->kind == NODE_LINK ? S_IFLNK | 0777 :
					       S_IFREG | look->file_mode | (n->exec & 0111u);

	*attr = (struct attr){
		.inode = inode_of(b->number, n->number),
		.generation = b->generation,
		.mode = mode,
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

	tree_fill(&look, b, n, attr);
}

/* What an open file knows better than its record. */
void tree_fill_open(struct fs *fs, struct bucket *b, struct file *f, struct attr *attr)
{
	struct node node;

	file_node(f, &node);
	fill(fs, b, &node, attr);
	attr->unlinked = file_is(&f->unlinked);
	/* Written bytes get their place on the disk by and by, and the kernel sees nothing of that. */
	attr->fleeting |= (node.size && file_is(&f->unsaved)) || file_is(&f->preallocated);
}

static int attr_root(struct fs *fs, struct bucket *b, struct attr *attr)
{
	struct bucket_look look = bucket_look(fs, b);

	bucket_lock(b);
	*attr = (struct attr){
		.inode = inode_of(b->number, NODE_FILES),
		.generation = b->generation + b->head.files_generation,
		.mode = S_IFDIR | look.folder_mode,
		.uid = b->head.owner,
		.gid = b->head.group,
		.modified = b->head.files_modified,
		.changed = b->head.files_modified,
		.accessed = b->head.files_modified,
		.private = look.private,
		.fleeting = true,
	};
	bool dead = b->dead;
	bucket_unlock(b);
	return dead ? BUCKET_GONE : 0;
}

static bool is_openers(struct bucket *b, struct file *f, uid_t uid)
{
	bool is;

	bucket_lock(b);
	is = file_is_opener(f, uid);
	bucket_unlock(b);
	return is;
}

/* As the store has it, or had it a moment ago. */
static int attr_stored(struct fs *fs, struct bucket *b, uint64_t number, struct found *found, struct attr *attr)
{
	int r = tree_find_number(fs, b, number, found);
	bool gone = r == BUCKET_GONE;

	if (gone)
		r = gone_find(fs, inode_of(b->number, number), found);
	if (r)
		return r;
	fill(fs, b, &found->node, attr);
	attr->unlinked = gone;
	attr->private |= gone;
	return 0;
}

int tree_attr(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct attr *attr)
{
	struct file *f = number == NODE_FILES ? NULL : file_find(fs, inode_of(b->number, number));
	struct found found = {0};
	int r = 0;

	/* Open is open, also for who would not be let in any more. */
	if (f && is_openers(b, f, who->uid)) {
		tree_fill_open(fs, b, f, attr);
		file_put(f);
		return 0;
	}
	r = bucket_check_enter(fs, b, who, "stat");
	if (!r && number == NODE_FILES)
		r = attr_root(fs, b, attr);
	else if (!r && f)
		tree_fill_open(fs, b, f, attr);
	else if (!r)
		r = attr_stored(fs, b, number, &found, attr);
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
int tree_get_file(struct fs *fs, struct bucket *b, uint64_t number, struct file **out)
{
	struct found found = {0};
	int r = 0;

	*out = file_find(fs, inode_of(b->number, number));
	if (*out)
		return 0;
	if (!bucket_try_lock(b)) {
		/* While somebody else has it, the store brings the record into memory, which is most of the work. */
		tree_find_number(fs, b, number, &found);
		tree_found_release(&found);
		found = (struct found){0};
		bucket_lock(b);
	}
	*out = file_find(fs, inode_of(b->number, number));
	if (!*out)
		r = b->dead ? BUCKET_GONE : tree_find_number(fs, b, number, &found);
	if (!*out && !r)
		r = found.node.kind == NODE_FOLDER ? BUCKET_IS_FOLDER :
		    found.node.kind == NODE_LINK   ? BUCKET_IS_LINK :
						     file_new(fs, b, &found.node, FILE_STORED, out);
	bucket_unlock(b);
	tree_found_release(&found);
	return r;
}

/* Whether a name is neither in the store nor in the making, if that can be told without the bucket's lock. Every create begins
 * with this question, the kernel keeps everybody else out of the folder meanwhile, and whoever has the lock is making a commit. */
static bool is_surely_absent(struct fs *fs, struct bucket *b, uint64_t parent, struct slice name)
{
	return fresh_lacks(fs->fresh, inode_of(b->number, parent), name) && !version_is_partial(name) &&
	       !__atomic_load_n(&b->dead, __ATOMIC_RELAXED);
}

/* Finds a name as it is now: its record, or the file that is open or in the making, referenced. */
static int look(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice name,
		struct slice given, int64_t closed, bool *several, struct found *found, struct file **f)
{
	unsigned wants;
	int r = 0;

	if (is_surely_absent(fs, b, parent, name))
		return BUCKET_ABSENT;
	bucket_lock(b);
	if (b->dead)
		r = BUCKET_GONE;
	else
		r = version_lookup(fs, b, who, parent, name, given, closed, several, f);
	if (!r && !*f)
		r = tree_find_name(fs, b, parent, name, found);
	if (r == BUCKET_ABSENT)
		remember_absent(b, parent, name);
	bucket_unlock(b);
	if (r || *f)
		return r;
	if (found->pending || found->node.kind != NODE_FILE ||
	    !version_has_missed(fs, b, who, parent, name, &wants)) {
		*f = file_find(fs, inode_of(b->number, found->node.number));
		return 0;
	}
	r = tree_get_file(fs, b, found->node.number, f);
	if (r)
		return r;
	*several = true;
	r = version_hold(f, who, wants);
	if (r)
		*f = NULL;
	return r;
}

int tree_lookup(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t parent, struct slice given,
		int64_t closed, struct attr *attr, bool *canonical)
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
		r = look(fs, b, who, parent, slice_of(name, len), given, closed, &several, &found, &f);
	if (r == BUCKET_ABSENT)
		version_found_nothing(fs, who);
	if (!r && f)
		tree_fill_open(fs, b, f, attr);
	else if (!r)
		fill(fs, b, &found.node, attr);
	/* Who looks may get another answer than the next one: nothing to keep. */
	if (!r)
		attr->private |= several || version_is_partial(slice_of(name, len));
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

	/* Where it is refused, only the name that it was given leads to it. Elsewhere programs may use the name that is listed. */
	if (slice_equal(given, was) || (!fs->options.collide_refuse && slice_equal(given, old->name)))
		return 0;
	reason_set(&what, "\"%.*s\" and \"%.*s\" are both stored as %.*s", was.len > 60 ? 60 : (int)was.len,
		   (const char *)was.at, given.len > 60 ? 60 : (int)given.len, (const char *)given.at,
		   old->name.len > 60 ? 60 : (int)old->name.len, (const char *)old->name.at);
	snprintf(path, sizeof(path), "%.*s/files/%.*s", (int)b->name.len, (const char *)b->name.at, (int)old->name.len,
		 (const char *)old->name.at);
	if (fs->options.collide_refuse && why)
		*why = what;
	else if (fs->options.collide_refuse)
		fs_refused_and_log(fs, b->number, who, path, "EEXIST", &what);
	if (fs->options.collide_refuse)
		return BUCKET_EXISTS;
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
	bucket_lock(b);
	f = file_peek(fs, inode_of(b->number, number));
	*node = f ? &f->node : &found->node;
	if (!f)
		r = tree_find_number(fs, b, number, found);
	if (r == BUCKET_GONE)
		r = gone_find(fs, inode_of(b->number, number), found);
	if (r)
		bucket_unlock(b);
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
		bucket_unlock(b);
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
		bucket_unlock(b);
	}
	tree_found_release(&found);
	return r;
}

int tree_target(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, struct buf *target)
{
	struct found found = {0};
	const struct node *node;
	int r = lock_node(fs, b, who, number, &found, &node);

	if (!r) {
		r = node->kind == NODE_LINK ? buf_add_slice(target, node->target) : BUCKET_INVALID;
		bucket_unlock(b);
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
	int r = flags & (TREE_WRITE | TREE_TRUNCATE) && file_is(&b->handed_over) ? BUCKET_GONE : 0;

	if (!r && flags & TREE_READ)
		r = bucket_check(fs, b, who, PRIVILEGE_READ, "read a file");
	if (!r && flags & (TREE_WRITE | TREE_TRUNCATE))
		r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "write a file");
	return r;
}

static int open_file(struct file *f, const struct caller *who, unsigned flags, struct file_open **out,
		     struct reason *why)
{
	int r = flags & TREE_TRUNCATE ? file_truncate_alone(f, 0, why) : 0;

	if (r) {
		file_put(f);
		return r;
	}
	return file_open_new(f, who, flags, out);
}

/* A new version takes a number. */
static int check_numbers(struct fs *fs, struct bucket *b)
{
	int r;

	if (file_is(&b->numbers_checked))
		return 0;
	bucket_lock(b);
	r = bucket_check_numbers(fs, b);
	bucket_unlock(b);
	return r;
}

int tree_open(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t number, unsigned flags, int64_t closed,
	      struct file_open **out, struct reason *why)
{
	struct file *f;
	int r = check_open(fs, b, who, flags);

	if (r)
		return r;
	if (flags & (TREE_WRITE | TREE_TRUNCATE))
		r = check_numbers(fs, b);
	if (!r)
		r = tree_get_file(fs, b, number, &f);
	if (!r) {
		r = version_choose(f, who, &flags, closed, why);
		if (r)
			file_put(f);
	}
	if (r == BUCKET_GONE)
		version_missed(fs, who, inode_of(b->number, number), flags);
	return r ? r : open_file(f, who, flags, out, why);
}

/* Whether one more file or folder of this name may be. With b->lock held. */
int tree_check_room(struct fs *fs, struct bucket *b, struct slice name, bool folder, struct reason *why)
{
	const struct limits *l = &b->limits;
	int r = 0;

	if (!folder && !name_has_type(name, l->accepted_file_types)) {
		reason_set(why, "accepted_file_types is %.100s, which %.*s is not", l->accepted_file_types, (int)name.len,
			   (const char *)name.at);
		return BUCKET_NOT_PERMITTED;
	}
	if (l->max_files && b->head.files + b->new_files >= l->max_files)
		r = tree_make_room(fs, b, b->head.files + b->new_files + 1 - l->max_files, 0);
	if (r == BUCKET_OVER_QUOTA) {
		reason_set(why, "the bucket has %llu files and folders, as many as max_files allows",
			   (unsigned long long)l->max_files);
	}
	return r;
}

int tree_check_bytes(const struct bucket *b, uint64_t bytes, struct reason *why)
{
	uint64_t most = b->limits.max_total_size;
	uint64_t total = b->head.file_bytes + b->head.attribute_bytes +
			 (uint64_t)__atomic_load_n(&b->pending_bytes, __ATOMIC_RELAXED) + bytes;

	if (!most || total <= most)
		return 0;
	reason_set(why, "the bucket's files and attributes would have %llu bytes and max_total_size is %llu",
		   (unsigned long long)total, (unsigned long long)most);
	return BUCKET_OVER_QUOTA;
}

struct node tree_new_node(struct fs *fs, const struct caller *who, enum node_kind kind, uint64_t parent, struct slice name,
			  struct slice given)
{
	int64_t now = fs_now(fs);

	return (struct node){
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

	bucket_lock(b);
	r = tree_check_folder(fs, b, parent);
	if (!r)
		r = bucket_check_numbers(fs, b);
	if (!r && take_absent(b, parent, name) && !(b->making.count && tree_find_making(b, parent, name)))
		r = BUCKET_ABSENT;
	else if (!r)
		r = tree_find_name(fs, b, parent, name, &found);
	if (r == 0) {
		number = found.node.number;
		if (flags & TREE_EXCLUSIVE)
			r = BUCKET_EXISTS;
	} else if (r == BUCKET_ABSENT) {
		r = tree_check_room(fs, b, name, false, why);
		if (!r) {
			struct node node = tree_new_node(fs, who, NODE_FILE, parent, name, given);

			node.number = b->head.next_node++;
			node.exec = mode & 0111;
			node.job = slice_of(job, job_len);
			/* Before anybody can find it: it is looked for without the lock. */
			fresh_add(fs->fresh, inode_of(b->number, parent), name);
			r = file_new(fs, b, &node, FILE_NEW, &f);
		}
	}
	bucket_unlock(b);
	tree_found_release(&found);
	if (r)
		return r;
	if (!f) {
		/* A new version can be given right here: nothing needs to be looked up again. */
		r = check_open(fs, b, who, flags);
		if (!r)
			r = tree_get_file(fs, b, number, &f);
		if (!r)
			r = version_replace(&f, who, given, &flags, why);
		return r ? r : open_file(f, who, flags, out, why);
	}
	/* A log is listed from its first moment on, and never anything else than published. */
	if (flags & TREE_APPEND)
		r = version_publish(f);
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
	version_found_nothing(fs, who);
	r = BUCKET_GONE;
	/* What has the name may be replaced before it can be opened. */
	for (int i = 0; i < tries && r == BUCKET_GONE; i++)
		r = create(fs, b, who, parent, name, given, mode, flags, out, why);
	return r;
}
