#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bucket/tree_internal.h"
#include "bucket/version.h"

static int add_unlisted(void *context, struct table_node *node)
{
	const struct file *f = container_of(node, struct file, by_name);

	return f->pending ? 0 : buf_add(context, &f->node.number, sizeof(f->node.number));
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

int tree_unlisted(struct bucket *b, struct buf *numbers)
{
	int r = b->making.count ? table_each(&b->making, add_unlisted, numbers) : 0;

	if (!r && numbers->len)
		qsort(numbers->data, numbers->len / sizeof(uint64_t), sizeof(uint64_t), compare_numbers);
	return r;
}

bool tree_is_unlisted(const struct buf *numbers, uint64_t number)
{
	return numbers->len && bsearch(&number, numbers->data, numbers->len / sizeof(number), sizeof(number), compare_numbers);
}

int tree_list(struct fs *fs, struct bucket *b, uint64_t parent, uint64_t after, int64_t closed,
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

	now = fs_moment(fs);
	__atomic_store_n(&b->listed, now, __ATOMIC_RELAXED);
	/* What is not published is judged as of the same moment as the records. */
	bucket_lock(b);
	making = b->making.count;
	r = version_is_closing(fs, b, parent, closed) ? BUCKET_WAIT : tree_unlisted(b, &unlisted);
	if (!r)
		r = store_cursor_open(fs->store, b->number, STORE_NODE, slice_of(key.bytes, 6), key_slice(&key), &cursor);
	bucket_unlock(b);
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
		const char *fault = node_decode(&node, record);

		/* A list without it would look whole: what is deleted by it would be deleted elsewhere. */
		if (fault) {
			r = bucket_damaged(b, "file", node.number, fault);
			break;
		}
		if (tree_is_unlisted(&unlisted, node.number))
			continue;
		if (__atomic_load_n(&fs->files.count, __ATOMIC_RELAXED))
			f = file_find(fs, inode_of(b->number, node.number));
		if (f) {
			tree_fill_open(fs, b, f, &attr);
			file_put(f);
		} else {
			tree_fill(&look, b, &node, &attr);
		}
		attr.private |= fleeting || version_is_partial(node.name);
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
		struct node node = {.number = key_child_node_of(k), .parent = key_child_parent_of(k)};
		const char *fault = node_decode(&node, record);

		if (fault) {
			bucket_damaged(b, "file", node.number, fault);
			continue;
		}
		r = each(context, &node);
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}
