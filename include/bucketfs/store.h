/* The storage contract: what a backend gives the bucket domain.
 *
 * A store holds buckets, known by number. A bucket has
 *  - a head: a revision that the store keeps, and opaque bytes that the caller keeps;
 *  - records: key -> value in a few named spaces, each ordered by key bytes;
 * and beside them there are contents: long runs of bytes with a number, for what is too large for a record.
 *
 * One commit changes one bucket and is atomic; there is nothing across buckets. This is on purpose no more than what
 * an object store with an ordered map per object can give.
 *
 * Every function returns 0, a negative errno (the store is as it was before the call), or one of the verdicts below.
 * All of them may be called from any thread; one content must not be closed while another thread uses it. */
#pragma once

#include "util/buf.h"

enum store_verdict {
	STORE_ABSENT = 1,   /* no such key, bucket or content */
	STORE_CONFLICT = 2, /* the bucket is not at the expected revision; nothing was changed */
	STORE_END = 3,      /* a cursor has no more */
	STORE_IN_USE = 4,   /* open: another process holds this store */
	STORE_NEWER = 5,    /* open: a newer version of this program wrote it */
	STORE_FOREIGN = 6,  /* open: there is something here, but it is no store */
	STORE_DAMAGED = 7,  /* open: it is a store, and it cannot be read */
	STORE_REPEATED = 8, /* sync: it failed once for this content; what is on the disk now may not be what was written */
};

/* Spaces keep apart what is read apart: listing a folder never reads a content, a merge never passes a file. */
enum store_space {
	STORE_META, /* names, settings, extended attributes */
	STORE_DOC,  /* the keys of a document */
	STORE_NODE, /* files and folders: records and names */
	STORE_BODY, /* contents small enough to stand beside their record */
	STORE_SPACES
};

#define STORE_ANY_REVISION UINT64_MAX

struct store_usage {
	uint64_t total_bytes;
	uint64_t free_bytes;      /* for a privileged writer */
	uint64_t available_bytes; /* for anybody */
	uint64_t total_nodes;
	uint64_t free_nodes;
	bool frees_more; /* contents that were dropped are still there: their bytes are about to be free */
};

struct store_statistics {
	uint64_t memory_bytes; /* caches and buffers */
	uint64_t record_bytes; /* of records on the disk */
	uint64_t commits, commit_ns; /* made so far, and what they took together */
	uint64_t failures; /* how often it became unable to write */
	int refusal;       /* the errno that every change gets at the moment; 0: changes are taken */
	bool interrupted;  /* before it was opened, it had not been closed */
};

/* A batch collects changes for one commit. Adding cannot fail visibly: running out of memory is remembered in `error`
 * and the commit returns it. All zero is an empty batch. */
struct store_batch {
	struct buf ops;
	int error;
};

void store_batch_put(struct store_batch *batch, enum store_space space, struct slice key, struct slice value);
void store_batch_delete(struct store_batch *batch, enum store_space space, struct slice key);
/* The commit makes a content that store_content_create made permanent. One that no commit adopted is gone when the
 * store is opened next. */
void store_batch_adopt(struct store_batch *batch, uint64_t content);
/* The commit lets a content go: it cannot be opened any more; who has it open may go on until closing it. */
void store_batch_drop(struct store_batch *batch, uint64_t content);
/* Seals a content: from the commit on a backend that does not check contents itself compares what it reads with these checksums
 * (util/checksum.h, an encoded list), and what differs is -EIO. All that the list is about must be on the disk, and nobody may be
 * writing. A list that does not begin with the first piece goes on where a seal that is there ends, or is of no effect. */
void store_batch_seal(struct store_batch *batch, uint64_t content, struct slice checksums);
void store_batch_clear(struct store_batch *batch);
void store_batch_release(struct store_batch *batch);

/* Reading a batch back, for backends. */
enum store_op_kind { STORE_OP_PUT, STORE_OP_DELETE, STORE_OP_ADOPT, STORE_OP_DROP, STORE_OP_SEAL };
struct store_op {
	enum store_op_kind kind;
	enum store_space space;
	struct slice key;
	struct slice value;
	uint64_t content;
};
/* The operation at *at, which is moved on. False at the end. Start with *at = 0. */
bool store_batch_next(const struct store_batch *batch, size_t *at, struct store_op *op);

struct store;
struct store_cursor;
struct store_content;

struct store_ops {
	const char *name;
	void (*close)(struct store *s);
	int (*head)(struct store *s, uint32_t bucket, uint64_t *revision, struct buf *head);
	int (*get)(struct store *s, uint32_t bucket, enum store_space space, struct slice key, struct buf *value);
	int (*commit)(struct store *s, uint32_t bucket, uint64_t expect, struct slice head,
		      const struct store_batch *batch, uint64_t *revision);
	int (*erase)(struct store *s, uint32_t bucket);
	int (*sync)(struct store *s);
	int (*usage)(struct store *s, struct store_usage *usage);
	int (*statistics)(struct store *s, struct store_statistics *statistics);

	int (*cursor_open)(struct store *s, uint32_t bucket, enum store_space space, struct slice prefix,
			   struct slice from, struct store_cursor **out);
	int (*cursor_next)(struct store_cursor *c, struct slice *key, struct slice *value);
	void (*cursor_close)(struct store_cursor *c);

	int (*content_create)(struct store *s, struct store_content **out);
	int (*content_open)(struct store *s, uint64_t number, struct store_content **out);
	int (*content_has_writer)(struct store *s, uint64_t number, bool *has);
	int (*content_read)(struct store_content *c, uint64_t at, void *bytes, size_t len, size_t *got);
	int (*content_write)(struct store_content *c, uint64_t at, const void *bytes, size_t len);
	int (*content_truncate)(struct store_content *c, uint64_t len);
	int (*content_allocate)(struct store_content *c, uint64_t at, uint64_t len, bool keep_size);
	int (*content_punch)(struct store_content *c, uint64_t at, uint64_t len);
	int (*content_blocks)(struct store_content *c, uint64_t *blocks);
	int (*content_holes)(struct store_content *c, uint64_t at, uint64_t len, uint64_t *bytes);
	int (*content_size)(struct store_content *c, uint64_t *size);
	int (*content_unseal)(struct store_content *c);
	int (*content_is_sealed)(struct store_content *c, uint64_t size, bool *sealed);
	int (*content_check)(struct store_content *c, uint64_t piece);
	int (*content_sync)(struct store_content *c);
	int (*content_sync_again)(struct store_content *c, uint64_t from);
	int (*content_fd)(struct store_content *c);
	void (*content_close)(struct store_content *c, bool discard);
};

/* What every backend begins with. */
struct store {
	const struct store_ops *ops;
};
struct store_cursor {
	const struct store_ops *ops;
};
struct store_content {
	const struct store_ops *ops;
	uint64_t number;
};

/* Gives everything back. What was committed stays; NULL is fine. */
static inline void store_close(struct store *s)
{
	if (s)
		s->ops->close(s);
}

/* The head as of the last commit. STORE_ABSENT for a bucket that nothing was ever committed to: its revision is 0. */
static inline int store_head(struct store *s, uint32_t bucket, uint64_t *revision, struct buf *head)
{
	return s->ops->head(s, bucket, revision, head);
}

/* The value of a key, put in place of what `value` held. STORE_ABSENT. */
static inline int store_get(struct store *s, uint32_t bucket, enum store_space space, struct slice key,
			    struct buf *value)
{
	return s->ops->get(s, bucket, space, key, value);
}

/* All of the batch and the new head, or nothing. `expect` is the revision that the bucket must be at, or
 * STORE_ANY_REVISION. On success *revision (where not NULL) is the new one, always one more. After 0 the commit
 * survives the end of this process, and after store_sync the loss of power. STORE_CONFLICT. */
static inline int store_commit(struct store *s, uint32_t bucket, uint64_t expect, struct slice head,
			       const struct store_batch *batch, uint64_t *revision)
{
	return s->ops->commit(s, bucket, expect, head, batch, revision);
}

/* Everything of a bucket, head included; its contents must have been dropped before. Fine if there is nothing. */
static inline int store_erase(struct store *s, uint32_t bucket)
{
	return s->ops->erase(s, bucket);
}

/* Every commit that returned before this call survives the loss of power. May take as long as the disk does. */
static inline int store_sync(struct store *s)
{
	return s->ops->sync(s);
}

static inline int store_usage(struct store *s, struct store_usage *usage)
{
	return s->ops->usage(s, usage);
}

static inline int store_statistics(struct store *s, struct store_statistics *statistics)
{
	return s->ops->statistics(s, statistics);
}

/* An ordered scan over the keys of a space that begin with `prefix`, from the first that is not less than `from` (a
 * whole key; empty: from the first). What it gives is one consistent state, that of the call to open. */
static inline int store_cursor_open(struct store *s, uint32_t bucket, enum store_space space, struct slice prefix,
				    struct slice from, struct store_cursor **out)
{
	return s->ops->cursor_open(s, bucket, space, prefix, from, out);
}

/* Both slices live until the next call for this cursor. STORE_END. */
static inline int store_cursor_next(struct store_cursor *c, struct slice *key, struct slice *value)
{
	return c->ops->cursor_next(c, key, value);
}

static inline void store_cursor_close(struct store_cursor *c)
{
	if (c)
		c->ops->cursor_close(c);
}

/* A new, empty content, open for reading and writing; its number is in the handle and is never used again. */
static inline int store_content_create(struct store *s, struct store_content **out)
{
	return s->ops->content_create(s, out);
}

/* STORE_ABSENT. */
static inline int store_content_open(struct store *s, uint64_t number, struct store_content **out)
{
	return s->ops->content_open(s, number, out);
}

/* Whether somebody may change it without this store: a process has a descriptor of its file that may write, this one included, or has
 * mapped it to write. A mapping outlives the descriptor, and the process that gave it (content_fd). STORE_ABSENT. */
static inline int store_content_has_writer(struct store *s, uint64_t number, bool *has)
{
	return s->ops->content_has_writer(s, number, has);
}

/* Fewer bytes than asked for only at the end. -EIO also for a sealed content that is not what it was. */
static inline int store_content_read(struct store_content *c, uint64_t at, void *bytes, size_t len, size_t *got)
{
	return c->ops->content_read(c, at, bytes, len, got);
}

/* All of it or an error; after an error part of it may be there. A gap reads as zero. A backend may write a moment later:
 * if that fails, which a full disk is no reason for, it is the result of every later call for this handle.
 * Whatever changes bytes that a seal is about removes the seal first, and waits until that is on the disk. */
static inline int store_content_write(struct store_content *c, uint64_t at, const void *bytes, size_t len)
{
	return c->ops->content_write(c, at, bytes, len);
}

static inline int store_content_truncate(struct store_content *c, uint64_t len)
{
	return c->ops->content_truncate(c, len);
}

/* Space for this range, so that writing there cannot fail for want of it; the length is made to reach its end, unless that is to be
 * kept. Space past the end is given back by store_content_truncate. */
static inline int store_content_allocate(struct store_content *c, uint64_t at, uint64_t len, bool keep_size)
{
	return c->ops->content_allocate(c, at, len, keep_size);
}

/* The range reads as zero and gives its space back; the length stays. */
static inline int store_content_punch(struct store_content *c, uint64_t at, uint64_t len)
{
	return c->ops->content_punch(c, at, len);
}

/* Space it takes, in units of 512 bytes, with that of what is still to be written: it waits for nothing. */
static inline int store_content_blocks(struct store_content *c, uint64_t *blocks)
{
	return c->ops->content_blocks(c, blocks);
}

/* For how many bytes of this range there is no space yet: a write there may need it. */
static inline int store_content_holes(struct store_content *c, uint64_t at, uint64_t len, uint64_t *bytes)
{
	return c->ops->content_holes(c, at, len, bytes);
}

/* How many bytes there are, once everything is written, which it waits for. */
static inline int store_content_size(struct store_content *c, uint64_t *size)
{
	return c->ops->content_size(c, size);
}

/* Removes the seal, as a write does: for changes that come by another way, such as a mapping of the descriptor. */
static inline int store_content_unseal(struct store_content *c)
{
	return c->ops->content_unseal(c);
}

/* Whether its first `size` bytes need no seal, or have one. */
static inline int store_content_is_sealed(struct store_content *c, uint64_t size, bool *sealed)
{
	return c->ops->content_is_sealed(c, size, sealed);
}

/* Reads one piece (checksum_piece bytes) and compares it with the seal, also where nothing is compared any more on reading. -EIO.
 * STORE_END: there is no such piece, or no seal. */
static inline int store_content_check(struct store_content *c, uint64_t piece)
{
	return c->ops->content_check(c, piece);
}

/* Its bytes survive the loss of power. After a failure the kernel has forgotten which of them the disk lacks, and may have forgotten
 * their values: from then on each call writes all of them once more and says STORE_REPEATED, and only their checksums tell whether they
 * are what was written. */
static inline int store_content_sync(struct store_content *c)
{
	return c->ops->content_sync(c);
}

/* As store_content_sync after a failure, for bytes from `from` on: a sync by an earlier process may have failed, and it did not live to
 * tell. Never 0: STORE_REPEATED. */
static inline int store_content_sync_again(struct store_content *c, uint64_t from)
{
	return c->ops->content_sync_again(c, from);
}

/* A file descriptor with the content's bytes at their own offsets, for as long as it is open here; -1: none, not everything
 * could be written, or the content is sealed and not all of it has been read and compared. */
static inline int store_content_fd(struct store_content *c)
{
	return c->ops->content_fd(c);
}

/* With `discard` a content that no commit adopted is removed at once instead of at the next open. NULL is fine. */
static inline void store_content_close(struct store_content *c, bool discard)
{
	if (c)
		c->ops->content_close(c, discard);
}
