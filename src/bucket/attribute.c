#include "bucket/attribute.h"

#include <errno.h>

#include "bucket/attribute_bag.h"
#include "bucket/gone.h"
#include "bucket/tree.h"

static int check_name(struct slice name)
{
	return name.len > name_max ? BUCKET_NAME_TOO_LONG : name.len ? 0 : BUCKET_INVALID;
}

/* ---- of a node that has lost its name ---- */

/* The open file of a node that the store does not have any more; referenced. NULL: it is not open, or the store has it. */
static struct file *unlinked_file(struct fs *fs, const struct bucket *b, uint64_t node)
{
	struct file *f = node >= NODE_FIRST ? file_find(fs, inode_of(b->number, node)) : NULL;

	if (f && file_is(&f->unlinked))
		return f;
	if (f)
		file_put(f);
	return NULL;
}

enum bag_action { BAG_GET, BAG_SET, BAG_REMOVE, BAG_LIST };

struct bag_change {
	enum bag_action action;
	struct slice name, value;
	bool create, replace;
	struct buf *out;
};

static int change_bag(struct file *f, const struct bag_change *c, struct reason *why)
{
	int r = 0;

	switch (c->action) {
	case BAG_GET:
		return attribute_bag_get(&f->attributes, c->name, c->out);
	case BAG_LIST:
		return attribute_bag_list(&f->attributes, c->out);
	case BAG_REMOVE:
		return attribute_bag_remove(&f->attributes, c->name);
	case BAG_SET:
		r = budget_charge(f->fs->budget, &f->attributes_charge, f->node.uid,
				  f->attributes.len + c->name.len + c->value.len + 8, why);
		if (!r)
			r = attribute_bag_set(&f->attributes, c->name, c->value, c->create, c->replace);
		if (r == BUCKET_OVER_QUOTA && why && !why->text[0])
			reason_set(why, "a file that has no name any more keeps %d bytes of attributes", attribute_bag_max);
	}
	return r;
}

/* BUCKET_GONE: nothing is known of the node. */
static int change_gone(struct fs *fs, struct bucket *b, uint64_t node, const struct bag_change *c, struct reason *why)
{
	struct file *f = unlinked_file(fs, b, node);
	uint64_t inode = inode_of(b->number, node);
	int r;

	if (f) {
		bucket_lock(b);
		r = change_bag(f, c, why);
		bucket_unlock(b);
		file_put(f);
		return r;
	}
	if (node < NODE_FIRST)
		return BUCKET_GONE;
	switch (c->action) {
	case BAG_GET:
		return gone_attribute_get(fs, inode, c->name, c->out);
	case BAG_LIST:
		return gone_attribute_list(fs, inode, c->out);
	case BAG_REMOVE:
		return gone_attribute_remove(fs, inode, c->name);
	default:
		return gone_attribute_set(fs, inode, c->name, c->value, c->create, c->replace);
	}
}

void attribute_keep(struct file *f, const struct buf *bag)
{
	buf_clear(&f->attributes);
	if (!bag->len)
		return;
	/* Without them it goes on all the same. */
	if (!budget_charge(f->fs->budget, &f->attributes_charge, f->node.uid, bag->len, NULL))
		buf_add_slice(&f->attributes, buf_slice(bag));
}

void attribute_forget(struct file *f)
{
	budget_release(f->fs->budget, &f->attributes_charge);
	buf_release(&f->attributes);
}

int attribute_get(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name,
		  struct buf *value)
{
	struct bag_change get = {.action = BAG_GET, .name = name, .out = value};
	struct key_buf key;
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "read an attribute"), gone;

	if (!r)
		r = check_name(name);
	if (r)
		return r;
	key = key_attribute(node, name);
	r = store_get(fs->store, b->number, STORE_META, key_slice(&key), value);
	if (r != STORE_ABSENT)
		return r;
	gone = change_gone(fs, b, node, &get, NULL);
	return gone == BUCKET_GONE ? BUCKET_NO_ATTRIBUTE : gone;
}

/* ---- what a node has of them ---- */

/* Comes before the name in an attribute's key. */
static struct slice own_keys(struct key_buf *key, uint64_t node)
{
	*key = key_attribute(node, slice_of(NULL, 0));
	return key_slice(key);
}

static struct slice name_in(struct slice key, struct slice prefix)
{
	return slice_of((const char *)key.at + prefix.len, key.len - prefix.len);
}

/* All of a node's attributes, until `each` returns nonzero, which is returned. */
static int each_of(struct fs *fs, struct bucket *b, uint64_t node,
		   int (*each)(void *context, struct slice name, struct slice value), void *context)
{
	struct store_cursor *cursor;
	struct slice key, value, prefix;
	struct key_buf raw;
	int r;

	prefix = own_keys(&raw, node);
	r = store_cursor_open(fs->store, b->number, STORE_META, prefix, prefix, &cursor);
	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		struct slice name = name_in(key, prefix);

		r = name.len ? each(context, name, value) : 0;
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

static int add_to_totals(void *context, struct slice name, struct slice value)
{
	attribute_totals_add(context, name, value.len, 1);
	return 0;
}

/* An older version has not kept them, so they are summed up once. *counted: so many bytes are in the head's count. */
static int load_totals(struct fs *fs, struct bucket *b, uint64_t node, struct attribute_totals *t, uint64_t *counted)
{
	struct buf value = {0};
	struct key_buf key;
	int r = store_get(fs->store, b->number, STORE_META, own_keys(&key, node), &value);

	*t = (struct attribute_totals){0};
	if (!r && !attribute_totals_decode(t, buf_slice(&value)))
		r = bucket_damaged(b, "the attributes of file", node, "their sum is none");
	*counted = t->bytes;
	buf_release(&value);
	return r == STORE_ABSENT ? each_of(fs, b, node, add_to_totals, t) : r;
}

/* A damaged count is not made worse. */
static void count_in(struct head *head, uint64_t counted, uint64_t is)
{
	uint64_t others = head->attribute_bytes > counted ? head->attribute_bytes - counted : 0;

	head->attribute_bytes = others + is;
}

static void put_totals(uint64_t node, const struct attribute_totals *t, struct store_batch *batch)
{
	unsigned char value[attribute_totals_len];
	struct key_buf key;
	struct slice at = own_keys(&key, node);

	attribute_totals_encode(t, value);
	if (t->bytes)
		store_batch_put(batch, STORE_META, at, slice_of(value, sizeof(value)));
	else
		store_batch_delete(batch, STORE_META, at);
}

/* ---- changing ---- */

static int check_room(const struct bucket *b, uint64_t node, const struct attribute_totals *was,
		      const struct attribute_totals *is, struct reason *why)
{
	const struct limits *l = &b->limits;
	bool is_file = node >= NODE_FIRST;
	uint64_t most = is_file ? l->max_file_size : l->max_data_size;
	uint64_t total = b->head.file_bytes + b->head.attribute_bytes + is->bytes - was->bytes;

	if (is->list_bytes > attribute_list_max && is->list_bytes > was->list_bytes) {
		reason_set(why, "the names of its attributes would have %llu bytes, and %d can be listed",
			   (unsigned long long)is->list_bytes, attribute_list_max);
		return BUCKET_OVER_QUOTA;
	}
	if (is->bytes <= was->bytes)
		return 0;
	if (most && is->bytes > most) {
		reason_set(why, "its attributes would have %llu bytes and %s is %llu", (unsigned long long)is->bytes,
			   is_file ? "max_file_size" : "max_data_size", (unsigned long long)most);
		return BUCKET_TOO_LARGE;
	}
	if (l->max_total_size && total > l->max_total_size) {
		reason_set(why, "the bucket's files and attributes would have %llu bytes and max_total_size is %llu",
			   (unsigned long long)total, (unsigned long long)l->max_total_size);
		return BUCKET_OVER_QUOTA;
	}
	return 0;
}

/* The node's own record, unless it is open: tree_mark_attributes has seen to that then. */
static int put_record(struct fs *fs, struct bucket *b, uint64_t node, struct store_batch *batch)
{
	struct found found = {0};
	int r;

	if (node < NODE_FIRST || file_peek(fs, inode_of(b->number, node)))
		return 0;
	r = tree_find_number(fs, b, node, &found);
	if (!r) {
		found.node.has_attributes = true;
		found.node.changed = fs_now(fs);
		r = tree_put_record(&found.node, batch);
	}
	tree_found_release(&found);
	return r;
}

/* With b->lock held. `value` NULL: it is removed. */
static int change_locked(struct fs *fs, struct bucket *b, uint64_t node, struct slice name, const struct slice *value,
			 bool create, bool replace, struct reason *why)
{
	struct key_buf key = key_attribute(node, name);
	struct attribute_totals was, is;
	uint64_t counted;
	struct store_batch batch = {0};
	struct head head = b->head;
	struct buf old = {0};
	int r = put_record(fs, b, node, &batch);
	bool there;

	if (!r)
		r = store_get(fs->store, b->number, STORE_META, key_slice(&key), &old);
	there = r == 0;
	if (there && create)
		r = BUCKET_EXISTS;
	else if (r == STORE_ABSENT)
		r = replace ? BUCKET_NO_ATTRIBUTE : 0;
	if (!r)
		r = load_totals(fs, b, node, &was, &counted);
	if (!r) {
		is = was;
		if (there)
			attribute_totals_add(&is, name, old.len, -1);
		if (value)
			attribute_totals_add(&is, name, value->len, 1);
		r = check_room(b, node, &was, &is, why);
	}
	if (!r) {
		if (value)
			store_batch_put(&batch, STORE_META, key_slice(&key), *value);
		else
			store_batch_delete(&batch, STORE_META, key_slice(&key));
		put_totals(node, &is, &batch);
		count_in(&head, counted, is.bytes);
		r = bucket_commit(fs, b, &head, &batch);
	}
	store_batch_release(&batch);
	buf_release(&old);
	return r;
}

/* The record says that there are some as soon as there are, so that a removal of the file looks for them. An open file has a copy of it:
 * there it is said before. */
static int change(struct fs *fs, struct bucket *b, uint64_t node, struct slice name, const struct slice *value, bool create,
		  bool replace, struct reason *why)
{
	bool is_file = node >= NODE_FIRST, open = false, again;
	const struct file *f;
	int r;

	do {
		r = is_file ? tree_mark_attributes(fs, b, node, &open) : 0;
		if (r)
			return r;
		bucket_lock(b);
		f = is_file ? file_peek(fs, inode_of(b->number, node)) : NULL;
		/* Opened or closed since. */
		again = open != !!f;
		if (!again)
			r = f && f->unlinked ? BUCKET_GONE : change_locked(fs, b, node, name, value, create, replace, why);
		bucket_unlock(b);
	} while (again);
	return r;
}

int attribute_set(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name,
		  struct slice value, bool create, bool replace, struct reason *why)
{
	struct bag_change set = {BAG_SET, name, value, create, replace, NULL};
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "set an attribute");

	if (!r)
		r = check_name(name);
	if (!r && value.len > attribute_value_max)
		r = BUCKET_VALUE_TOO_LARGE;
	if (r)
		return r;
	r = change(fs, b, node, name, &value, create, replace, why);
	return r == BUCKET_GONE ? change_gone(fs, b, node, &set, why) : r;
}

int attribute_remove(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name)
{
	struct bag_change remove = {.action = BAG_REMOVE, .name = name};
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "remove an attribute");

	if (!r)
		r = check_name(name);
	if (r)
		return r;
	r = change(fs, b, node, name, NULL, false, true, NULL);
	return r == BUCKET_GONE ? change_gone(fs, b, node, &remove, NULL) : r;
}

struct listing {
	struct bucket *b;
	uint64_t node;
	struct buf *names;
};

static int add_name(void *context, struct slice name, struct slice value)
{
	struct listing *l = context;
	int r;

	(void)value;
	/* Nobody could ask for it, and a NUL would make two of one. */
	if (name.len > name_max || memchr(name.at, 0, name.len)) {
		bucket_damaged(l->b, "an attribute of file", l->node, "its name is none");
		return 0;
	}
	/* An older version had no bound, and a longer list is of no use. */
	if (l->names->len + name.len >= 2 * attribute_list_max)
		return 1;
	r = buf_add_slice(l->names, name);
	return r ? r : buf_add_byte(l->names, 0);
}

int attribute_list(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct buf *names)
{
	struct bag_change list = {.action = BAG_LIST, .out = names};
	struct listing l = {b, node, names};
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "list attributes");

	if (!r)
		r = each_of(fs, b, node, add_name, &l);
	if (!r && !names->len)
		r = change_gone(fs, b, node, &list, NULL);
	if (r == BUCKET_GONE)
		r = 0;
	return r > 0 && r < BUCKET_DENIED ? 0 : r;
}

/* ---- with others' changes ---- */

/* One that does not fit is left out. */
static int add_to_bag(void *context, struct slice name, struct slice value)
{
	int r = attribute_bag_add(context, name, value);

	return r == -ENOMEM ? r : 0;
}

int attribute_keep_stored(struct file *f)
{
	struct buf bag = {0};
	int r = f->node.has_attributes ? each_of(f->fs, f->b, f->node.number, add_to_bag, &bag) : 0;

	if (!r)
		attribute_keep(f, &bag);
	buf_release(&bag);
	return r;
}

int attribute_delete_all(struct fs *fs, struct bucket *b, uint64_t node, struct buf *bag, struct head *head, struct store_batch *batch)
{
	struct attribute_totals t;
	struct store_cursor *cursor;
	struct slice key, value, prefix;
	struct key_buf raw;
	uint64_t counted;
	int r = load_totals(fs, b, node, &t, &counted);

	/* A file whose sum is damaged can be removed all the same. */
	if (r && r != -EIO)
		return r;
	prefix = own_keys(&raw, node);
	r = store_cursor_open(fs->store, b->number, STORE_META, prefix, prefix, &cursor);
	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		store_batch_delete(batch, STORE_META, key);
		if (bag && name_in(key, prefix).len)
			r = add_to_bag(bag, name_in(key, prefix), value);
		if (r)
			break;
	}
	store_cursor_close(cursor);
	count_in(head, counted, 0);
	return r == STORE_END ? 0 : r;
}

struct copying {
	struct fs *fs;
	struct bucket *b;
	uint64_t to;
	struct attribute_totals totals;
	bool has_own;
	struct store_batch *batch;
};

static int copy_one(void *context, struct slice name, struct slice value)
{
	struct copying *c = context;
	struct key_buf key = key_attribute(c->to, name);
	struct buf own = {0};
	int r = c->has_own ? store_get(c->fs->store, c->b->number, STORE_META, key_slice(&key), &own) : STORE_ABSENT;

	buf_release(&own);
	if (r != STORE_ABSENT)
		return r;
	store_batch_put(c->batch, STORE_META, key_slice(&key), value);
	attribute_totals_add(&c->totals, name, value.len, 1);
	return 0;
}

int attribute_copy_all(struct fs *fs, struct bucket *from_b, uint64_t from, struct bucket *to_b, uint64_t to,
		       struct head *head, struct store_batch *batch)
{
	struct copying c = {.fs = fs, .b = to_b, .to = to, .batch = batch};
	uint64_t counted;
	int r = load_totals(fs, to_b, to, &c.totals, &counted);

	if (r)
		return r;
	c.has_own = c.totals.bytes;
	r = each_of(fs, from_b, from, copy_one, &c);
	put_totals(to, &c.totals, batch);
	count_in(head, counted, c.totals.bytes);
	return r;
}
