/* data.json: the document of a bucket, its merges and edits, and the handles of those who have it open.
 *
 * Three kinds of handle:
 *  - read: one snapshot, taken at open;
 *  - patch (write-only, or read-write with truncation): what is written is merged, object by object;
 *  - edit (read-write): begins as the snapshot; what differs from it is merged, if nobody else touched the same keys. */
#pragma once

#include "bucket/bucket.h"
#include "bucket/data_plan.h"
#include "bucket/document.h"
#include "bucket/reading.h"

enum { data_text_budget = 16 << 20 };

/* About a millisecond of a thread: so many bytes to be rendered or parsed, so many keys to be sorted or looked up. */
enum { data_long_text = 128 << 10, data_long_keys = 1000 };
/* Whether so much is more than that, and the calling thread may not take it (fs_may_take_long): then a function is
 * BUCKET_LONG. */
bool data_is_long(const struct fs *fs, uint64_t bytes, uint64_t keys);

/* stat of data.json. BUCKET_ABSENT while it is removed; BUCKET_DENIED; its size and times are hidden from those who may
 * edit but not read. */
int data_attr(struct fs *fs, struct bucket *b, const struct caller *who, struct attr *attr);
/* The same for fstat, by the inode that it is asked for: who has it open is told, removed or not, allowed or not any
 * more. */
int data_attr_open(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct attr *attr);
/* The rendered document as of now; the caller puts it back. */
int data_text(struct fs *fs, struct bucket *b, struct text **out);
/* NULL is fine. */
void data_text_put(struct text *text);
/* One more reference. */
struct text *data_text_share(struct text *text);
/* How much text a handle may hold; bytes. */
uint64_t data_buffer_max(const struct bucket *b);
/* Drops the rendered document that the bucket keeps. With b->lock held. */
void data_forget_text(struct fs *fs, struct bucket *b);

/* Merges a sorted document: all of it or nothing. The caller has been judged; `access` (or NULL) is for plan_run.
 * BUCKET_TOO_LARGE over max_data_size, BUCKET_GONE. */
int data_merge(struct fs *fs, struct bucket *b, const struct plan_access *access, const struct document *patch,
	       struct reason *why);
/* The same into a batch and head that the caller commits, and then calls data_forget_text. With b->lock held. */
int data_merge_into(struct fs *fs, struct bucket *b, const struct document *patch, struct head *head,
		    struct store_batch *batch, struct reason *why);
/* Whether a merge would break the schema or the size limit; *headroom: how many bytes more would not. */
int data_check_merge(struct fs *fs, struct bucket *b, const struct document *patch, uint64_t *headroom,
		     struct reason *why);
/* An edit: what differs between two sorted documents is merged, and keys that are gone are deleted. */
struct data_edit {
	const struct document *base, *now;
	/* What data.json held when the same user moved it away (or NULL): what nobody has written since then comes back
	 * with the edit. */
	const struct document *moved;
	bool whole; /* it replaces the whole document: what that held is kept (history.h), as it is when nothing of it
		       is left */
	uid_t uid;
	const struct plan_access *access; /* as for data_merge */
};
/* BUCKET_CONFLICT if the bucket has one of the keys with another value than `base`. */
int data_edit(struct fs *fs, struct bucket *b, const struct data_edit *edit, struct reason *why);
/* creat on a removed data.json. */
int data_create(struct fs *fs, struct bucket *b, const struct caller *who);
/* rm data.json: no keys, and no file until the next write. What it held is kept, and put into *removed (or NULL).
 * BUCKET_ABSENT, BUCKET_DENIED. */
int data_remove(struct fs *fs, struct bucket *b, const struct caller *who, struct buf *removed);
/* utimens. */
int data_touch(struct fs *fs, struct bucket *b, const struct caller *who, int64_t modified);

/* One key by its decoded name. BUCKET_NO_ATTRIBUTE where there is none (set: with `replace`), BUCKET_EXISTS (set: with
 * `create`), BUCKET_INVALID for text that is no JSON value or a name that is not UTF-8. */
int data_key_get(struct fs *fs, struct bucket *b, const struct caller *who, struct slice key, struct buf *value);
int data_key_set(struct fs *fs, struct bucket *b, const struct caller *who, struct slice key, struct slice value,
		 bool create, bool replace, struct reason *why);
int data_key_remove(struct fs *fs, struct bucket *b, const struct caller *who, struct slice key, struct reason *why);

/* ---- handles (data_handle.c) ---- */

struct data_handle;
enum data_open_flag {
	DATA_READ = 1,
	DATA_WRITE = 2,
	DATA_TRUNCATE = 4,
	DATA_WAITS = 8, /* it can be asked again if the result is BUCKET_WAIT */
	DATA_CREATED = 16, /* the file was absent: an edit begins as an empty text instead of {} */
};

/* Keeps a reference on the bucket. `node`: NODE_DATA, or as a look-up found it (data_node.h). BUCKET_DENIED,
 * BUCKET_ABSENT; BUCKET_REDIRECTED and BUCKET_WAIT as for data_opened_add. */
int data_open(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, unsigned flags,
	      struct data_handle **out, struct reason *why);
/* An edit of `base` (taken over, also on failure) that begins as that or, with DATA_TRUNCATE, as an empty text;
 * privileges, flags and results as for data_open. */
int data_open_edit(struct fs *fs, struct bucket *b, const struct caller *who, uint64_t node, struct text *base,
		   unsigned flags, struct data_handle **out, struct reason *why);
/* Whose handle it is: what it reads is kept as what they have read, and once an edit is committed, what they wrote. */
void data_keep_reading(struct data_handle *h, const struct reading_key *key);
/* Up to `len` bytes into `out`; fewer only at the end. BUCKET_WRONG_HANDLE. */
int data_read(struct data_handle *h, uint64_t at, size_t len, struct buf *out);
/* All of it or nothing. BUCKET_INVALID for text that cannot become a patch any more: after that the handle merges
 * nothing until it is truncated; BUCKET_TOO_LARGE; BUCKET_WRONG_HANDLE. */
int data_write(struct data_handle *h, uint64_t at, bool append, struct slice bytes, struct reason *why);
int data_truncate(struct data_handle *h, uint64_t len, struct reason *why);
/* close(2) of one descriptor by `who` (NULL: nobody knows): merges what is complete. BUCKET_DENIED if the opener may
 * not write it any more. *opener_only: the text is unfinished or was refused before, which concerns whoever opened it;
 * everybody else's close should succeed. */
int data_flush(struct data_handle *h, const struct caller *who, bool *opener_only, struct reason *why);
/* close(2) by this thread: if it has read the document, what its process does next may depend on that, and the release is told
 * later. */
void data_closed_by(struct data_handle *h, pid_t thread);
/* The same, and from here on a handle that can read sees the merged document. BUCKET_DENIED if the opener may not read
 * it any more: then the handle shows what it showed before. Does not wait for the disk. */
int data_fsync(struct data_handle *h, const struct caller *who, struct reason *why);
/* Whoever opened it: the thread's id. */
pid_t data_opener(const struct data_handle *h);
uid_t data_owner(const struct data_handle *h);
/* Whether close(2) of it means anything: not to who only reads, unless it is known what their process has read. */
bool data_wants_flush(const struct data_handle *h);
struct bucket *data_bucket(const struct data_handle *h);
/* What was never merged is dropped; then `why` says so and the result is BUCKET_INCOMPLETE. NULL is fine. */
int data_close(struct data_handle *h, struct reason *why);
