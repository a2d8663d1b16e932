/* Scratch files beside data.json: how careful programs save (sed -i, perl -i, vim, emacs, Python's tempfile and
 * os.replace, jq > data.json.tmp && mv, rsync).
 *
 * A file that is created beside data.json exclusively and for reading and writing (every mkstemp), or with "data.json" in
 * its name, or by vim's name 4913, or by a name such as new.json (scratch_stray.c), is scratch: in memory, its creator's alone, gone at unmount. Renamed onto data.json it
 * is an edit of the document as it was when the scratch file was created. data.json renamed to a scratch name moves the
 * data there, and what its owner then creates in its place is an edit of what they had read: of the document as it was
 * when their oldest scratch file (vim's swap file) was created. */
#pragma once

#include "bucket/data.h"

enum { scratch_max = 64 }; /* of one user in one bucket */

struct scratch;

static inline bool scratch_is(uint64_t node)
{
	return (node & SNAPSHOT_NODE) == SCRATCH_NODE;
}

/* The caller's scratch file of this name. BUCKET_ABSENT. */
int scratch_lookup(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, struct attr *attr);
/* BUCKET_GONE. */
int scratch_attr(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct attr *attr);
/* BUCKET_NOT_PERMITTED for a name or a way of opening that is none of the above, BUCKET_EXISTS, BUCKET_OVER_QUOTA. The
 * result is referenced. */
int scratch_create(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name, bool exclusive,
		   bool reads_and_writes, struct scratch **out, struct reason *why);
int scratch_open(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, bool truncate,
		 struct scratch **out);
void scratch_put(struct scratch *s);
/* close(2) of what somebody has open: who made the file does not hold it any more, though the release is told later. *closed
 * is false at first and belongs to the handle. */
void scratch_closes(struct scratch *s, const struct caller *who, bool *closed);
/* It is used again: what was closed was a copy of the descriptor. */
void scratch_uses(struct scratch *s, bool *closed);
/* The release; puts it. */
void scratch_close(struct scratch *s, bool *closed);
uint64_t scratch_node(const struct scratch *s);

int scratch_read(struct scratch *s, uint64_t at, size_t len, struct buf *out);
int scratch_write(struct scratch *s, uint64_t at, bool append, struct slice bytes, struct reason *why);
int scratch_truncate(struct scratch *s, uint64_t size, struct reason *why);
/* truncate(2) by name. */
int scratch_truncate_node(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, uint64_t size,
			  struct reason *why);

int scratch_unlink(struct fs *fs, struct bucket *b, const struct caller *who, struct slice name);
/* Between scratch names and data.json, either way. BUCKET_ABSENT, BUCKET_EXISTS, and what data_edit says. */
int scratch_rename(struct fs *fs, struct bucket *b, const struct caller *who, struct slice from, struct slice to,
		   bool no_replace, struct reason *why);
/* creat of data.json by somebody who has moved it away: an edit in *out, of what they had `read` (NULL: nobody knows, then
 * see above). *took is false if they have not. */
int scratch_recreate(struct fs *fs, struct bucket *b, const struct caller *who, struct text *read, bool reads, bool *took,
		     struct data_handle **out, struct reason *why);

/* Whether the caller has moved data.json away a moment ago, and nothing has come in its place: what is written now is
 * the rest of that save, though somebody else has merged something in between. */
bool scratch_is_saving(struct fs *fs, struct bucket *b, const struct caller *who);

/* What a program had read that now writes data.json in place: the one with a scratch file like an editor's swap file
 * open. NULL: it is none. The caller puts it back. */
struct text *scratch_editor_base(struct bucket *b, const struct caller *who);
/* A name as backups have it: data.json~, data.json.bak. Pure. */
bool scratch_is_backup(struct slice name);
/* Whether the caller has one open that they have made under such a name: who reads data.json then makes a copy. */
bool scratch_is_backed_up(struct bucket *b, const struct caller *who);

/* The caller's own, for listing; nonzero from `each` ends it and is returned. */
int scratch_list(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t after,
		 int (*each)(void *context, struct slice name, uint64_t node), void *context);
/* Puts into files/ what was made by a name such as new.json and has not been moved onto data.json for a minute; `last`: at once. For a
 * thread of its own, about once a second. */
void scratch_settle_strays(struct fs *fs, bool last);
/* All of a bucket that is removed, or whose mount ends. The caller has a reference on the bucket. */
void scratch_drop_all(struct bucket *b);
