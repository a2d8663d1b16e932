#include "bucket/scrub.h"

#include <errno.h>

#include "bucket/tree.h"
#include "util/log.h"

/* Contents that are looked at, not read, from one pause to the next. */
enum { looks = 64 };

struct scrubbed {
	uint64_t number, content;
};

static int collect(void *context, const struct node *node)
{
	struct scrubbed one = {node->number, node->content};

	return node->place == PLACE_CONTENT ? buf_add(context, &one, sizeof(one)) : 0;
}

/* It may have been replaced or removed since it was read. */
static void tell_damaged(struct fs *fs, struct bucket *b, const struct scrubbed *one)
{
	struct found found = {0};

	bucket_lock(b);
	if (!b->dead && !tree_find_number(fs, b, one->number, &found) && found.node.content == one->content) {
		__atomic_add_fetch(&fs->scrub_damaged, 1, __ATOMIC_RELAXED);
		log_error("bucket %.*s: %.*s (file number %llu) is damaged: its content is not what was written",
			  (int)b->name.len, (const char *)b->name.at, (int)found.node.name.len, (const char *)found.node.name.at,
			  (unsigned long long)one->number);
	}
	bucket_unlock(b);
	tree_found_release(&found);
}

static int scrub_one(struct fs *fs, struct bucket *b, const struct scrubbed *one, bool unsealed, const struct settle_pace *pace)
{
	struct store_content *content;
	bool sealed = true;
	int r = store_content_open(fs->store, one->content, &content);

	if (r == STORE_ABSENT) {
		tell_damaged(fs, b, one);
		return 0;
	}
	if (r)
		return r;
	for (uint64_t piece = 0; !r && !unsealed; piece++)
		r = pace->go_on(pace->context) ? store_content_check(content, piece) : -EINTR;
	if (!r || r == STORE_END)
		r = store_content_is_sealed(content, 0, &sealed);
	store_content_close(content, false);
	if (r == -EIO)
		tell_damaged(fs, b, one);
	else if (!r && !sealed)
		r = settle_reseal(fs, b, one->number, one->content, pace);
	/* The others may be whole. */
	return r == -EIO ? 0 : r;
}

int scrub_bucket(struct fs *fs, struct bucket *b, bool unsealed, const struct settle_pace *pace)
{
	struct buf all = {0};
	struct scrubbed one;
	int r = tree_each(fs, b, collect, &all);

	for (size_t at = 0; !r && at < all.len; at += sizeof(one)) {
		memcpy(&one, all.data + at, sizeof(one));
		if (unsealed && at / sizeof(one) % looks == looks - 1 && !pace->go_on(pace->context))
			r = -EINTR;
		if (!r)
			r = scrub_one(fs, b, &one, unsealed, pace);
	}
	buf_release(&all);
	return r;
}
