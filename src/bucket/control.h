/* The control folder of a bucket, BUCKET/.bucketfs/: not listed, but there.
 *
 * info.json and errors are made when they are opened. meta.json takes patches; schema.json is written whole;
 * previous.json is what data.json held before it was last removed or replaced. What is written is judged as soon as it
 * is a complete JSON text, by the write that completes it, and takes effect at flush. */
#pragma once

#include "bucket/bucket.h"

/* The node of a name in the control folder; 0: there is no such name. */
uint64_t control_node(struct slice name);
const char *control_name(uint64_t node);
static inline bool control_is(uint64_t node)
{
	return node > NODE_CONTROL && node <= NODE_CONTROL_LAST;
}

/* stat of the folder or a file in it. BUCKET_ABSENT: schema.json or previous.json while there is none. */
int control_attr(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct attr *attr);
/* rm of schema.json (admin) or previous.json (edit). BUCKET_NOT_PERMITTED for the others. */
int control_remove(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node);

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
int control_schema(struct fs *fs, struct bucket *b, const struct schema **out);
/* The key of previous.json in STORE_META. */
struct key_buf control_previous_key(void);
