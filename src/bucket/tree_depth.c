/* How deep folders are in one another. There is a bound, for everything that walks a tree pays for its depth. */
#include <errno.h>
#include <stdlib.h>

#include "bucket/tree_internal.h"

enum { known_count = 64 };

/* Depths that were found out lately. A folder that is moved changes those of all below it, so then all are forgotten.
 */
struct depths {
	struct {
		uint64_t folder;
		unsigned depth;
	} known[known_count];
};

static unsigned recall(const struct depths *d, uint64_t folder)
{
	return d && d->known[folder % known_count].folder == folder ? d->known[folder % known_count].depth : 0;
}

static void remember(struct bucket *b, uint64_t folder, unsigned depth)
{
	if (!b->depths)
		b->depths = calloc(1, sizeof(*b->depths));
	/* Without memory it is found out again. */
	if (!b->depths)
		return;
	b->depths->known[folder % known_count].folder = folder;
	b->depths->known[folder % known_count].depth = depth;
}

void tree_forget_depths(struct bucket *b)
{
	free(b->depths);
	b->depths = NULL;
}

int tree_depth(struct fs *fs, struct bucket *b, uint64_t folder, unsigned *depth)
{
	uint64_t at = folder;
	unsigned steps = 0, below = 0;

	/* Damaged records may lead in a circle. An older version had no bound. */
	while (at != NODE_FILES && !(below = recall(b->depths, at)) && steps <= 16 * tree_depth_max) {
		struct found found = {0};
		int r = tree_find_number(fs, b, at, &found);

		at = found.node.parent;
		tree_found_release(&found);
		if (r)
			return r;
		steps++;
	}
	*depth = below + steps;
	if (folder != NODE_FILES)
		remember(b, folder, *depth);
	return 0;
}

static int too_deep(struct reason *why)
{
	reason_set_own(why, "folders can be %d deep in one another", tree_depth_max);
	return BUCKET_NAME_TOO_LONG;
}

int tree_check_depth(struct fs *fs, struct bucket *b, uint64_t parent, struct reason *why)
{
	unsigned depth;
	int r = tree_depth(fs, b, parent, &depth);

	return r ? r : depth < tree_depth_max ? 0 : too_deep(why);
}

/* ---- a folder that is moved takes what is in it along ---- */

static int add_folders(struct fs *fs, struct bucket *b, uint64_t parent, struct buf *out, size_t *seen)
{
	struct key_buf key = key_child(parent, 0);
	struct slice prefix = slice_of(key.bytes, 6), k, record;
	struct store_cursor *cursor;
	int r = store_cursor_open(fs->store, b->number, STORE_NODE, prefix, prefix, &cursor);

	if (r)
		return r;
	while (!(r = store_cursor_next(cursor, &k, &record))) {
		struct node node = {.number = key_child_node_of(k), .parent = parent};

		++*seen;
		if (!node_decode(&node, record) && node.kind == NODE_FOLDER)
			r = buf_add(out, &node.number, sizeof(node.number));
		if (r)
			break;
	}
	store_cursor_close(cursor);
	return r == STORE_END ? 0 : r;
}

/* How many levels of folders are in a folder, up to `most`. With more in it than can be looked at in a moment it counts
 * as `most`. */
static int height(struct fs *fs, struct bucket *b, uint64_t folder, unsigned most, unsigned *out)
{
	enum { seen_max = 50000 };
	struct buf level = {0}, next = {0};
	size_t seen = 0;
	int r = buf_add(&level, &folder, sizeof(folder));

	for (*out = 0; !r && level.len && *out < most && seen < seen_max; ++*out) {
		struct buf swap = level;

		buf_clear(&next);
		for (size_t at = 0; !r && at < level.len && seen < seen_max; at += sizeof(folder)) {
			memcpy(&folder, level.data + at, sizeof(folder));
			r = add_folders(fs, b, folder, &next, &seen);
		}
		level = next;
		next = swap;
	}
	if (level.len || seen >= seen_max)
		*out = most;
	buf_release(&level);
	buf_release(&next);
	return r;
}

int tree_check_move(struct fs *fs, struct bucket *b, const struct node *folder, uint64_t parent, struct reason *why)
{
	unsigned from, to, levels;
	int r = tree_depth(fs, b, folder->parent, &from);

	if (!r)
		r = tree_depth(fs, b, parent, &to);
	/* A folder that does not become deeper is as good as it was. */
	if (r || to <= from)
		return r;
	if (to >= tree_depth_max)
		return too_deep(why);
	if (b->head.files > 1000 && !fs_may_take_long(fs))
		return BUCKET_LONG;
	r = height(fs, b, folder->number, tree_depth_max - to + 1, &levels);
	return r ? r : to + levels <= tree_depth_max ? 0 : too_deep(why);
}
