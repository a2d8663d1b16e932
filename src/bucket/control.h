/* The control folder of a bucket, BUCKET/.bucketfs/: not listed, but there.
 *
 * info.json and errors are made when they are opened. meta.json takes patches; schema.json is written whole;
 * previous.json is the newest of the documents in history/ (history.h). What is written is judged as soon as it
 * is a complete JSON text, by the write that completes it, and takes effect at flush. */
#pragma once

#include "bucket/bucket.h"

/* The node of a name in the control folder; 0: there is no such name. */
uint64_t control_node(struct slice name);
const char *control_name(uint64_t node);
/* A file in history/. */
static inline bool control_is_history(uint64_t node)
{
	return (node & SNAPSHOT_NODE) == HISTORY_NODE;
}
static inline bool control_is(uint64_t node)
{
	return (node > NODE_CONTROL && node <= NODE_CONTROL_LAST) || control_is_history(node);
}

/* stat of the folder, history/ in it, or a file. BUCKET_ABSENT: schema.json or a kept document while there is none. */
int control_attr(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct attr *attr);
/* rm of schema.json (admin) or a kept document (edit). BUCKET_NOT_PERMITTED for the others. */
int control_remove(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node);

/* The documents in history/, oldest first. */
int control_history_lookup(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name,
			   struct attr *attr);
int control_history_list(struct fs *fs, struct bucket *b, uint64_t after,
			 int (*each)(void *context, struct slice name, uint64_t node), void *context);

/* Whether what it holds is about to change: a file was closed before that moment (as in tree.h) and is not published yet,
 * so info.json would lack it. Who opens that waits. */
bool control_is_early(struct fs *fs, struct bucket *b, uint64_t node, int64_t closed);
/* What a file holds, as this caller may see it. */
int control_text(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct buf *out);
/* Whether the caller may write it. */
int control_check_write(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node);
/* Whether `text` may be written to it, without changing anything: BUCKET_INVALID; BUCKET_INCOMPLETE if more may come. */
int control_judge(struct fs *fs, struct bucket *b, uint64_t node, struct slice text, struct reason *why);
/* Writes it. */
int control_write(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct slice text,
		  struct reason *why);

/* The bucket's compiled schema, loaded if need be; *out is NULL if it has none. With b->lock held. */
struct schema;
int control_schema(struct fs *fs, struct bucket *b, struct schema **out);
