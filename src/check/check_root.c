/* Bucket 0: the list of all buckets. */
#include "check/check_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bucket/transaction_id.h"
#include "store/rocksdb_check.h"
#include "util/bytes.h"
#include "util/clock.h"

/* A bucket's id, and the number it leads to. */
struct named {
	size_t id;
	uint8_t len;
	uint32_t number;
};

struct root {
	struct check *c;
	uint64_t revision;
	bool has_head, bad_head, mends;
	struct head head;
	struct acl acl;
	struct own_limits own;
	struct buf buckets; /* of struct check_bucket, whose id.at is not valid yet */
	struct buf at;      /* where each of their ids is in c->ids */
	struct buf named;
	struct buf erased; /* numbers */
	struct buf loose;  /* numbers that have records and no place in the list */
	struct store_batch batch;
	bool changed;
	bool broken; /* the counts follow from something else */
};

static const struct slice no_id = {"", 0};

static void root_delete(struct root *root, struct slice key)
{
	store_batch_delete(&root->batch, STORE_META, key);
	root->changed = true;
}

static void root_put(struct root *root, struct slice key, struct slice value)
{
	store_batch_put(&root->batch, STORE_META, key, value);
	root->changed = true;
}

static int unreadable(struct root *root, struct slice key)
{
	root->broken = true;
	if (root->mends)
		root_delete(root, key);
	return check_tell(root->c, no_id, NULL, "record", root->mends ? CHECK_MENDED : 0,
			  "a record in the list of buckets cannot be read (it begins with %02x)", key.len ? *(const unsigned char *)key.at : 0);
}

static int add_bucket(struct root *root, struct slice key, struct slice value)
{
	struct check_bucket bucket = {.number = key_bucket_number_of(key)};
	size_t at = root->c->ids.len;
	struct origin origin;
	int r;

	if (!bucket.number || origin_decode(&origin, value))
		return unreadable(root, key);
	bucket.id.len = origin.name.len;
	r = buf_add_slice(&root->c->ids, origin.name);
	if (!r)
		r = buf_add(&root->at, &at, sizeof(at));
	return r ? r : buf_add(&root->buckets, &bucket, sizeof(bucket));
}

static int add_named(struct root *root, struct slice key, struct slice value)
{
	struct named n = {.id = root->c->ids.len, .len = (uint8_t)(key.len - 1)};
	int r;

	if (key.len < 2 || key.len > name_max + 1 || value.len != 4)
		return unreadable(root, key);
	n.number = bytes_get_le32(value.at);
	r = buf_add(&root->c->ids, (const char *)key.at + 1, n.len);
	return r ? r : buf_add(&root->named, &n, sizeof(n));
}

static int add_record(struct root *root, struct slice key, struct slice value)
{
	uint32_t number;

	switch (key.len ? *(const char *)key.at : 0) {
	case 'B':
		return add_named(root, key, value);
	case 'N':
		return add_bucket(root, key, value);
	case 'G':
		number = key_bucket_number_of(key);
		return number ? buf_add(&root->erased, &number, sizeof(number)) : unreadable(root, key);
	case 'D': /* the device's name */
	case 'X': /* attributes of the root */
		return 0;
	default:
		return check_tell(root->c, no_id, NULL, "record", 0, "a record in the list of buckets is of no known kind (%02x)",
				  key.len ? *(const unsigned char *)key.at : 0);
	}
}

static int load_records(struct root *root)
{
	struct slice key, value, none = slice_of(NULL, 0);
	struct store_cursor *cursor;
	int r = store_cursor_open(root->c->store, 0, STORE_META, none, none, &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		r = add_record(root, key, value);
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

static int load_head(struct root *root)
{
	struct buf record = {0};
	const char *fault;
	int r = store_head(root->c->store, 0, &root->revision, &record);

	root->head = (struct head){.data_present = true, .enabled = true, .next_node = 1};
	root->has_head = r == 0;
	if (!r)
		r = head_decode(&root->head, &root->acl, &root->own, buf_slice(&record), &fault);
	buf_release(&record);
	if (r == -EIO) {
		root->bad_head = true;
		r = check_tell(root->c, no_id, NULL, "head", 0, "the head of the list of buckets cannot be read");
	}
	root->mends = root->c->o->repair && !root->bad_head;
	return r == STORE_ABSENT ? 0 : r;
}

/* ---- the three lists agree ---- */

/* `named` is in the order of ids, as the store has it. */
static struct named *find_named(struct root *root, struct slice id)
{
	struct named *n = (struct named *)root->named.data;
	size_t low = 0, high = root->named.len / sizeof(*n);

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = slice_compare(slice_of(root->c->ids.data + n[middle].id, n[middle].len), id);

		if (order == 0)
			return &n[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Each bucket is found by its id, and is not to be erased. */
static int check_listed(struct root *root)
{
	struct check *c = root->c;
	unsigned flags = root->mends ? CHECK_MENDED : 0;
	int r = 0;

	for (size_t i = 0; !r && i < c->bucket_count; i++) {
		struct check_bucket *b = &c->buckets[i];
		struct named *n = find_named(root, b->id);
		struct key_buf key = key_bucket_name(b->id);
		unsigned char raw[4];

		b->named = n && n->number == b->number;
		if (b->named)
			continue;
		if (n && check_find_bucket(c, n->number)) {
			r = check_tell(c, b->id, NULL, "bucket", 0, "its id leads to bucket number %u, and it has number %u", n->number, b->number);
			continue;
		}
		bytes_put_le32(raw, b->number);
		if (root->mends)
			root_put(root, key_slice(&key), slice_of(raw, sizeof(raw)));
		b->named = true;
		r = check_tell(c, b->id, NULL, "bucket", flags, "its id does not lead to it");
	}
	for (size_t i = 0; !r && i < root->erased.len / 4; i++) {
		uint32_t number;
		struct check_bucket *b;
		struct key_buf key;

		memcpy(&number, root->erased.data + 4 * i, 4);
		b = check_find_bucket(c, number);
		key = key_bucket_erased(number);
		if (!b)
			continue;
		if (root->mends)
			root_delete(root, key_slice(&key));
		r = check_tell(c, b->id, NULL, "bucket", flags, "the next start would erase it, though it was not deleted");
	}
	return r;
}

static bool is_erased(const struct root *root, uint32_t number)
{
	for (size_t i = 0; i < root->erased.len / 4; i++)
		if (memcmp(root->erased.data + 4 * i, &number, 4) == 0)
			return true;
	return false;
}

static int add_loose(void *context, uint32_t number)
{
	struct root *root = context;

	if (!number || check_find_bucket(root->c, number) || is_erased(root, number))
		return 0;
	return buf_add(&root->loose, &number, sizeof(number));
}

static bool is_loose(const struct root *root, uint32_t number)
{
	for (size_t i = 0; i < root->loose.len / 4; i++)
		if (memcmp(root->loose.data + 4 * i, &number, 4) == 0)
			return true;
	return false;
}

/* A bucket is listed again, by its head. */
static int relist(struct root *root, uint32_t number, struct slice id, bool *listed)
{
	struct key_buf by_name = key_bucket_name(id), by_number = key_bucket_number(number);
	struct origin origin = {.name = id};
	struct own_limits own = {{NULL}};
	struct buf record = {0};
	struct acl acl = {0};
	struct head head;
	unsigned char raw[4];
	uint64_t revision;
	const char *fault;
	int r = store_head(root->c->store, number, &revision, &record);

	if (!r)
		r = head_decode(&head, &acl, &own, buf_slice(&record), &fault);
	*listed = !r && root->mends;
	if (*listed) {
		origin.owner = head.owner;
		origin.group = head.group;
		origin.created = head.created;
		buf_clear(&record);
		r = origin_encode(&origin, &record);
		bytes_put_le32(raw, number);
		root_put(root, key_slice(&by_name), slice_of(raw, sizeof(raw)));
		root_put(root, key_slice(&by_number), buf_slice(&record));
	}
	acl_release(&acl);
	own_limits_release(&own);
	buf_release(&record);
	return r == STORE_ABSENT || r == -EIO ? 0 : r;
}

static int check_named(struct root *root)
{
	struct named *n = (struct named *)root->named.data;
	int r = 0;

	for (size_t i = 0; !r && i < root->named.len / sizeof(*n); i++) {
		struct slice id = slice_of(root->c->ids.data + n[i].id, n[i].len);
		struct key_buf key = key_bucket_name(id);
		struct check_bucket *b = check_find_bucket(root->c, n[i].number);
		bool listed = false;

		if (b && slice_equal(b->id, id))
			continue;
		root->broken = true;
		if (b) {
			if (root->mends)
				root_delete(root, key_slice(&key));
			r = check_tell(root->c, id, NULL, "bucket", root->mends ? CHECK_MENDED : 0,
				       "the id leads to bucket number %u, which has another", n[i].number);
			continue;
		}
		if (is_loose(root, n[i].number))
			r = relist(root, n[i].number, id, &listed);
		else if (root->mends)
			root_delete(root, key_slice(&key));
		if (!r)
			r = check_tell(root->c, id, NULL, "bucket", listed || (root->mends && !is_loose(root, n[i].number)) ? CHECK_MENDED : 0,
				       "the id leads to bucket number %u, which is not in the list", n[i].number);
	}
	return r;
}

/* Records of a bucket that has neither a number in the list nor an id. */
static int check_loose(struct root *root)
{
	struct named *n = (struct named *)root->named.data;
	int r = 0;

	for (size_t i = 0; !r && i < root->loose.len / 4; i++) {
		bool listed = false, has_id = false;
		uint32_t number;
		char id[32];

		memcpy(&number, root->loose.data + 4 * i, 4);
		for (size_t k = 0; k < root->named.len / sizeof(*n); k++)
			has_id |= n[k].number == number;
		root->c->unsure = true;
		if (has_id)
			continue;
		root->broken = true;
		snprintf(id, sizeof(id), "lost_%u", number);
		if (!find_named(root, slice_str(id)))
			r = relist(root, number, slice_str(id), &listed);
		if (!r)
			r = check_tell(root->c, no_id, NULL, "bucket", listed ? CHECK_MENDED : 0,
				       listed ? "there are records of bucket number %u, which is not in the list: it is lost_%u now" :
						"there are records of bucket number %u, which is not in the list", number, number);
	}
	return r;
}

static int check_numbers(struct root *root)
{
	struct check *c = root->c;
	uint64_t most = c->bucket_count ? c->buckets[c->bucket_count - 1].number : 0;
	int r = 0;

	if (root->bad_head)
		return 0;
	for (size_t i = 0; i < root->loose.len / 4; i++) {
		uint32_t number;

		memcpy(&number, root->loose.data + 4 * i, 4);
		most = number > most ? number : most;
	}
	if (root->head.files != c->bucket_count) {
		if (!root->broken)
			r = check_tell(c, no_id, NULL, "count", root->mends ? CHECK_MENDED : 0, "there are %zu buckets and their number is kept as %llu",
				       c->bucket_count, (unsigned long long)root->head.files);
		root->changed |= root->mends;
	}
	if (!r && root->head.next_node <= most) {
		r = check_tell(c, no_id, NULL, "count", root->mends ? CHECK_MENDED : 0,
			       "the next bucket would get number %llu, and there is one with number %llu", (unsigned long long)root->head.next_node,
			       (unsigned long long)most);
		root->head.next_node = most + 1;
		root->changed |= root->mends;
	}
	return r;
}

/* How many there will be. */
static uint64_t count_listed(struct root *root)
{
	size_t count = root->c->bucket_count;
	struct store_op op;

	for (size_t at = 0; store_batch_next(&root->batch, &at, &op);)
		if (op.key.len && *(const char *)op.key.at == 'N')
			count += op.kind == STORE_OP_PUT;
	return count;
}

static int commit(struct root *root)
{
	struct buf record = {0};
	int r;

	if (!root->changed)
		return 0;
	root->head.files = count_listed(root);
	root->head.modified = clock_now(&clock_system);
	r = head_encode(&root->head, &root->acl, &root->own, &record);
	if (!r)
		r = store_commit(root->c->store, 0, root->revision, buf_slice(&record), &root->batch, NULL);
	buf_release(&record);
	return r;
}

/* A transaction belongs to a bucket, or the next start removes it. */
static int check_transactions(struct root *root)
{
	struct check *c = root->c;
	int r = 0;

	for (size_t i = 0; !r && i < c->bucket_count; i++) {
		struct slice id = c->buckets[i].id;

		if (!transaction_is_id(id) || c->live)
			continue;
		if (!memchr((const char *)id.at + 3, '.', id.len - 3))
			r = check_tell(c, id, NULL, "bucket", 0, "this is no id of a transaction");
		else if (!check_find_bucket(c, transaction_bucket(id)))
			r = check_tell(c, id, NULL, "leftover", CHECK_NOTE, "its bucket was deleted: the next start removes it");
	}
	return r;
}

int check_root(struct check *c)
{
	struct root root = {.c = c};
	struct check_bucket *b;
	int r = load_head(&root);

	if (!r)
		r = load_records(&root);
	c->buckets = (struct check_bucket *)root.buckets.data;
	c->bucket_count = root.buckets.len / sizeof(*b);
	for (size_t i = 0; i < c->bucket_count; i++) {
		size_t at;

		memcpy(&at, root.at.data + i * sizeof(at), sizeof(at));
		c->buckets[i].id.at = c->ids.data + at;
	}
	if (!r)
		r = rocksdb_check_buckets(c->store, add_loose, &root);
	if (!r)
		r = check_listed(&root);
	if (!r)
		r = check_named(&root);
	if (!r)
		r = check_loose(&root);
	if (!r)
		r = check_numbers(&root);
	if (!r)
		r = check_transactions(&root);
	if (!r)
		r = commit(&root);
	acl_release(&root.acl);
	own_limits_release(&root.own);
	store_batch_release(&root.batch);
	buf_release(&root.at);
	buf_release(&root.named);
	buf_release(&root.erased);
	buf_release(&root.loose);
	return r;
}
