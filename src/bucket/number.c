/* Numbers of buckets and of what is in them. */
#include "bucket/file.h"

/* Looks at the records of a space that have a number from `from` on: they must be none. */
static int raise_next(struct fs *fs, struct bucket *b, enum store_space space, struct slice prefix,
		      const struct key_buf *from, uint64_t (*number_of)(struct slice key))
{
	struct store_cursor *cursor;
	struct slice key, value;
	int r = store_cursor_open(fs->store, b->number, space, prefix, key_slice(from), &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &key, &value))) {
		uint64_t number = number_of(key), end = b->number ? NODE_END : (uint64_t)bucket_number_max + 1;

		if (number < b->head.next_node || number >= end)
			continue;
		bucket_damaged(b, "bucket", b->number, "the next number is one that is in use, so a higher one is taken");
		b->head.next_node = number + 1;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

static uint64_t bucket_number(struct slice key)
{
	return key_bucket_number_of(key);
}

int bucket_check_numbers(struct fs *fs, struct bucket *b)
{
	struct key_buf prefix = key_child(NODE_FILES, 0), in_files, elsewhere;
	int r;

	if (b->numbers_checked)
		return 0;
	if (b->number == 0) {
		in_files = key_bucket_number((uint32_t)b->head.next_node);
		/* In later rounds a number is looked at before it is taken. */
		r = b->head.next_node > bucket_number_max ?
			    0 : raise_next(fs, b, STORE_META, slice_str("N"), &in_files, bucket_number);
		file_becomes(&b->numbers_checked, !r);
		return r;
	}
	/* A node right in files/ has a record there; one in another folder has a record that says in which. */
	in_files = key_child(NODE_FILES, b->head.next_node);
	elsewhere = key_parent(b->head.next_node);
	r = raise_next(fs, b, STORE_NODE, slice_of(prefix.bytes, 6), &in_files, key_child_node_of);
	if (!r)
		r = raise_next(fs, b, STORE_NODE, slice_str("P"), &elsewhere, key_parent_node_of);
	file_becomes(&b->numbers_checked, !r);
	return r;
}

/* ---- a new bucket's number ----
 *
 * The root's `next_node` counts every number that was ever taken. The first round gives each number out once. After 16
 * million buckets and transactions the numbers of removed buckets are taken again, in the same order, so that a number
 * rests for as long as a whole round takes. A bucket's generation, which comes from the time when it was made, tells
 * the kernel that its inodes are others. */

enum { round_size = bucket_number_max };

static uint32_t number_in_round(uint64_t count)
{
	return (uint32_t)((count - 1) % round_size) + 1;
}

static int has_key(struct fs *fs, const struct key_buf *key, bool *has)
{
	struct buf value = {0};
	int r = store_get(fs->store, 0, STORE_META, key_slice(key), &value);

	buf_release(&value);
	*has = r == 0;
	return r == STORE_ABSENT ? 0 : r;
}

/* Whether a bucket has the number, or had it and its records are still to be erased. */
static int is_taken(struct fs *fs, uint32_t number, bool *taken)
{
	struct key_buf bucket = key_bucket_number(number), erased = key_bucket_erased(number);
	int r = has_key(fs, &bucket, taken);

	return r || *taken ? r : has_key(fs, &erased, taken);
}

int bucket_take_number(struct fs *fs, uint32_t *number)
{
	struct head *head = &fs->root->head;
	bool taken = false;
	int r = 0;

	for (uint32_t tries = 0; tries < round_size; tries++) {
		/* A number that comes to nothing is not given out again in this round either. */
		*number = number_in_round(head->next_node++);
		if (head->next_node - 1 <= bucket_number_max)
			return 0;
		r = is_taken(fs, *number, &taken);
		if (r || !taken)
			return r;
	}
	return BUCKET_OVER_QUOTA;
}
