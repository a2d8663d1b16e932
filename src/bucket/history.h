/* The last ten documents that were removed or replaced whole: BUCKET/.bucketfs/history/REVISION.json. Each is a file of
 * the user by whom that was done, from that time. A document's revision is the bucket's when it was there last.
 *
 * They are bounded in bytes as well; only the newest is kept whatever its size. previous.json is the newest. */
#pragma once

#include "bucket/bucket.h"

/* Adds a document to a batch that removes or replaces it, and the end of those that it takes the place of. With b->lock
 * held. */
int history_put(struct fs *fs, struct bucket *b, uid_t uid, struct slice text, struct store_batch *batch);
/* Oldest first. */
struct history_list {
	struct history_entry all[history_max];
	size_t count;
};
int history_load(struct fs *fs, struct bucket *b, struct history_list *list);
/* The newest one; NULL: there is none. */
static inline const struct history_entry *history_newest(const struct history_list *list)
{
	return list->count ? &list->all[list->count - 1] : NULL;
}
/* The text of a document. BUCKET_ABSENT. */
int history_text(struct fs *fs, struct bucket *b, uint64_t revision, struct buf *out);
/* Removes a document; needs edit. BUCKET_ABSENT. */
int history_remove(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t revision);
/* The revision in a name such as 17.json. False: it is none. */
bool history_parse(struct slice name, uint64_t *revision);
enum { history_name_max = 32 };
void history_name(uint64_t revision, char name[history_name_max]);
