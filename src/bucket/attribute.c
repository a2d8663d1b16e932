#include "bucket/attribute.h"

#include "bucket/tree.h"

static int check_name(struct slice name)
{
	return name.len > name_max ? BUCKET_NAME_TOO_LONG : 0;
}

int attribute_get(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name,
		  struct buf *value)
{
	struct key_buf key;
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "read an attribute");

	if (!r)
		r = check_name(name);
	if (r)
		return r;
	key = key_attribute(node, name);
	r = store_get(fs->store, b->number, STORE_META, key_slice(&key), value);
	return r == STORE_ABSENT ? BUCKET_NO_ATTRIBUTE : r;
}

static int change(struct fs *fs, struct bucket *b, struct slice key, const struct slice *value, bool create,
		  bool replace)
{
	struct store_batch batch = {0};
	struct buf old = {0};
	struct head head;
	int r;

	bucket_lock(b);
	r = store_get(fs->store, b->number, STORE_META, key, &old);
	if (r == 0 && create)
		r = BUCKET_EXISTS;
	else if (r == STORE_ABSENT)
		r = replace ? BUCKET_NO_ATTRIBUTE : 0;
	if (!r) {
		if (value)
			store_batch_put(&batch, STORE_META, key, *value);
		else
			store_batch_delete(&batch, STORE_META, key);
		head = b->head;
		r = bucket_commit(fs, b, &head, &batch);
	}
	bucket_unlock(b);
	store_batch_release(&batch);
	buf_release(&old);
	return r;
}

int attribute_set(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name,
		  struct slice value, bool create, bool replace)
{
	struct key_buf key;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "set an attribute");

	if (!r)
		r = check_name(name);
	if (!r && value.len > attribute_value_max)
		r = BUCKET_VALUE_TOO_LARGE;
	/* The record says that there are some before there are, so that whoever deletes the file looks for them. */
	if (!r && node >= NODE_FIRST)
		r = tree_mark_attributes(fs, b, node);
	if (r)
		return r;
	key = key_attribute(node, name);
	return change(fs, b, key_slice(&key), &value, create, replace);
}

int attribute_remove(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice name)
{
	struct key_buf key;
	int r = bucket_check(fs, b, who, PRIVILEGE_EDIT, "remove an attribute");

	if (!r)
		r = check_name(name);
	if (r)
		return r;
	key = key_attribute(node, name);
	return change(fs, b, key_slice(&key), NULL, false, true);
}

/* What comes before the name in an attribute's key. */
static struct slice own_keys(struct key_buf *key, uint64_t node)
{
	*key = key_attribute(node, slice_of(NULL, 0));
	return key_slice(key);
}

int attribute_list(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct buf *names)
{
	struct store_cursor *cursor;
	struct slice key, value, prefix;
	struct key_buf raw;
	int r = bucket_check(fs, b, who, PRIVILEGE_READ, "list attributes");

	if (r)
		return r;
	prefix = own_keys(&raw, node);
	r = store_cursor_open(fs->store, b->number, STORE_META, prefix, prefix, &cursor);
	if (r)
		return r;
	while (!r && !(r = store_cursor_next(cursor, &key, &value))) {
		struct slice name = slice_of((const char *)key.at + prefix.len, key.len - prefix.len);

		/* Nobody could ask for it, and a NUL would make two of one. */
		if (!name.len || name.len > name_max || memchr(name.at, 0, name.len)) {
			bucket_damaged(b, "an attribute of file", node, "its name is none");
			continue;
		}
		r = buf_add_slice(names, name);
		if (!r)
			r = buf_add_byte(names, 0);
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

int attribute_delete_all(struct fs *fs, struct bucket *b, uint64_t node, struct store_batch *batch)
{
	struct store_cursor *cursor;
	struct slice key, value, prefix;
	struct key_buf raw;
	int r;

	prefix = own_keys(&raw, node);
	r = store_cursor_open(fs->store, b->number, STORE_META, prefix, prefix, &cursor);
	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value)))
		store_batch_delete(batch, STORE_META, key);
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}
