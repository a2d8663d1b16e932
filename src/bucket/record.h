/* The key space and the records in it: what stands where in the store. HACKING.md shows it as a table. Pure. */
#pragma once

#include "util/boot.h"
#include "bucket/acl.h"
#include "bucket/limits.h"
#include "bucket/name.h"
#include "util/buf.h"

/* Inode numbers are permanent: bucket << 40 | node. Bucket 0 is the mount's root. A number is never used twice. */
enum { inode_node_bits = 40 };
#define INODE_NODE_MASK ((1ULL << inode_node_bits) - 1)

/* The first nodes of every bucket are its own folders and virtual files. */
enum {
	NODE_BUCKET = 1, /* the bucket itself; in bucket 0 the root, which is the number FUSE wants for it */
	NODE_DATA = 2,   /* data.json */
	NODE_FILES = 3,  /* files/ */
	NODE_DATA_BLIND = 4, /* data.json as those see it who may edit and not read */
	NODE_CONTROL = 5,    /* .bucketfs/, and what is in it: */
	NODE_INFO = 6,
	NODE_META = 7,
	NODE_SCHEMA = 8,
	NODE_ERRORS = 9,
	NODE_PREVIOUS = 10,
	NODE_CONTROL_LAST = NODE_PREVIOUS,
	NODE_TX = 11,        /* .bucketfs/tx/ */
	NODE_HISTORY = 14,   /* .bucketfs/history/ */
	NODE_ROOT_VERSION = 6, /* in the root's .bucketfs/; errors as above */
	NODE_ROOT_CONFIG = 7,
	NODE_ROOT_METRICS = 8,
	NODE_ROOT_DEVICE = 12, /* in the root: @device */
	NODE_ROOT_JOB = 13,    /* @job */
	NODE_FIRST = 16, /* the first of the user's */
};
/* No number of a stored node reaches this. With the lower bit alone it is a kept document's (history.h), with the
 * document's revision in the bits below; with the higher one alone a temporary file's (scratch.h); with both data.json
 * as one reader has it open (data_node.h). The last two are counted (fs->transient_count) and never come again while it
 * is mounted: the kernel may still know one that is gone. */
#define NODE_END (1ULL << 38)
#define HISTORY_NODE NODE_END
#define SCRATCH_NODE (NODE_END << 1)
#define SNAPSHOT_NODE (HISTORY_NODE | SCRATCH_NODE)

static inline bool snapshot_is(uint64_t node)
{
	return (node & SNAPSHOT_NODE) == SNAPSHOT_NODE;
}
/* A bucket's number leaves room for a node's in an inode. */
enum { bucket_number_max = (1 << (64 - inode_node_bits)) - 1 };

static inline uint64_t inode_of(uint32_t bucket, uint64_t node)
{
	return (uint64_t)bucket << inode_node_bits | node;
}

/* What every commit of a bucket writes anew. In bucket 0: next_node is the next bucket's number, files their count. */
struct head {
	uint32_t owner, group;
	bool data_present; /* false: data.json was removed and not written since */
	bool enabled;
	bool untouched; /* nothing has been written or set since it was made */
	int64_t created, modified, data_modified, files_modified; /* ns since the epoch */
	uint64_t data_keys;
	uint64_t data_size; /* rendered bytes */
	uint64_t next_node;
	uint64_t files;      /* files and folders */
	uint64_t file_bytes; /* of all files */
	uint32_t files_generation;
	uint32_t making; /* files in the store that are not published yet: how many key_making there are */
	uint32_t unsettled; /* contents that the disk may not have yet: how many key_unsettled there are */
	uint64_t attribute_bytes; /* of the names and values of all extended attributes */
};

/* A bucket's own limits as they were written; NULL: as the mount has it. */
struct own_limits {
	char *text[limits_own_count];
};
void own_limits_release(struct own_limits *own);

/* What is read from the store may hold anything: a decoder looks at all of it. `fault` is what is wrong with a record that is damaged,
 * to be said after "the record is damaged:". */
int head_encode(const struct head *h, const struct acl *acl, const struct own_limits *own, struct buf *out);
/* -EIO for a damaged one, and then there is nothing to release. */
int head_decode(struct head *h, struct acl *acl, struct own_limits *own, struct slice record, const char **fault);

enum node_kind { NODE_FILE = 1, NODE_FOLDER = 2, NODE_LINK = 3 };
enum { link_target_max = 4095 };
enum node_place { PLACE_NONE, PLACE_INLINE, PLACE_CONTENT };

/* A file, folder or symbolic link.
 *
 * Its slices are views: they point into the record that was decoded, or into an open file. A node is valid for as long
 * as that is. A node that is kept for longer is a copy that node_without_names made, and whatever it needs of its names
 * is copied elsewhere. The same holds for every struct that has slices, such as member_view, found and origin. */
struct node {
	uint64_t number, parent;
	uint8_t kind, place;
	uint8_t exec; /* the three execute bits, as in a mode */
	bool has_attributes;
	uint32_t uid, gid;
	int64_t modified, changed, accessed, created;
	uint64_t size;
	uint64_t blocks; /* of 512 bytes */
	uint64_t content;
	struct slice name;  /* normalised */
	struct slice given; /* as its creator spelled it; empty: the same */
	struct slice job;   /* whose job made it; empty: none */
	struct slice target; /* of a link, as it was given: `size` bytes, and no others are anywhere */
};

/* A copy to be kept, which has no strings. */
struct node node_without_names(const struct node *n);
int node_encode(const struct node *n, struct buf *out);
/* The number and parent are those of the key and must be there already. NULL, or what is wrong with it. */
const char *node_decode(struct node *n, struct slice record);
/* The same for a record that was taken apart. */
const char *node_check(const struct node *n);

enum { node_job_max = 64 };

/* Keys, at most key_max bytes. A name that is longer, which only a damaged record can have, is cut. */
enum { key_max = 16 + name_max };
struct key_buf {
	unsigned char bytes[key_max];
	size_t len;
};
static inline struct slice key_slice(const struct key_buf *k)
{
	return slice_of(k->bytes, k->len);
}

/* STORE_META of bucket 0 */
struct key_buf key_bucket_name(struct slice name);     /* -> number */
struct key_buf key_bucket_number(uint32_t number);     /* -> origin and name; ordered by number */
struct key_buf key_bucket_erased(uint32_t number);     /* a bucket whose records are still to be erased */
uint32_t key_bucket_number_of(struct slice key);
/* STORE_META of a bucket */
struct key_buf key_attribute(uint64_t node, struct slice name); /* of an empty name: attribute_totals */
/* STORE_NODE of a bucket */
struct key_buf key_child(uint64_t parent, uint64_t node);     /* -> record; ordered by number within a folder */
struct key_buf key_name(uint64_t parent, struct slice name);  /* -> number */
struct key_buf key_parent(uint64_t node);                     /* -> parent; only where that is not NODE_FILES */
uint64_t key_parent_node_of(struct slice key);
uint64_t key_child_node_of(struct slice key);
uint64_t key_child_parent_of(struct slice key);
struct key_buf key_making(uint64_t node);                     /* -> state, parent: see version.h */
uint64_t key_making_node_of(struct slice key);
struct key_buf key_unsettled(uint64_t node);                  /* -> boot, content, what it fell back to: see settle.h */
uint64_t key_unsettled_node_of(struct slice key);
struct key_buf key_transaction(uint32_t number);              /* STORE_META: published, and not erased yet */
/* STORE_BODY of a bucket */
struct key_buf key_body(uint64_t node);

/* ---- kept documents (history.h) ---- */

struct history_entry {
	uint64_t revision, size;
	int64_t time; /* ns since the epoch, when it was removed or replaced … */
	uint32_t uid; /* … by this user */
};
enum { history_max = 10 };
/* STORE_META: the list of entries, oldest first, and the text of each. */
struct key_buf key_history(void);
struct key_buf key_history_text(uint64_t revision);
/* Of such a key. */
uint64_t key_history_revision_of(struct slice key);
/* STORE_META: the only one that an older version kept. */
struct key_buf key_previous(void);
int history_encode(const struct history_entry *entries, size_t count, struct buf *out);
/* False: damaged. */
bool history_decode(struct history_entry entries[history_max], size_t *count, struct slice record);

/* ---- extended attributes of a node, summed up ---- */

struct attribute_totals {
	uint64_t list_bytes; /* as listxattr shows the names: with "user." and a NUL */
	uint64_t bytes;      /* of names and values */
};
enum { attribute_totals_len = 16 };
void attribute_totals_encode(const struct attribute_totals *t, unsigned char value[attribute_totals_len]);
/* False: damaged. */
bool attribute_totals_decode(struct attribute_totals *t, struct slice value);
/* Adds (or with -1 takes away) an attribute. */
void attribute_totals_add(struct attribute_totals *t, struct slice name, size_t value_len, int sign);

/* ---- a file that is in the store and not published (version.h) ---- */

enum mark_state { MARK_CANDIDATE = 1, MARK_WRITING = 2, MARK_OVERTAKEN = 3 };

/* The record under key_making. */
struct making_record {
	uint64_t number, parent, turn;
	uint64_t by; /* the turn of what it was overtaken by */
	unsigned char state;
};
enum { making_len = 16 };
void making_encode(const struct making_record *m, unsigned char value[making_len]);
/* False: damaged. */
bool making_decode(struct making_record *m, struct slice key, struct slice value);

/* ---- a content that the disk may not have yet (settle.h) ---- */


/* The record under key_unsettled. */
struct unsettled_record {
	uint64_t content, safe, turn;
	int64_t since;
	bool falls_back;
	bool kept; /* all of it is on the disk */
	struct node fallback; /* its place, size, blocks, content and time, and whose body it is (number) */
	struct slice boot;    /* boot_size bytes */
	struct slice checks;  /* an encoded list of checksums; empty: of an older version */
};
int unsettled_encode(const struct unsettled_record *u, struct buf *out);
/* The slices are those of the record. False: damaged. */
bool unsettled_decode(struct unsettled_record *u, struct slice record);

/* Where a bucket comes from: valid until its own first commit writes a head. */
struct origin {
	uint32_t owner, group;
	int64_t created;
	struct slice name;
};
int origin_encode(const struct origin *o, struct buf *out);
/* NULL, or what is wrong with it. */
const char *origin_decode(struct origin *o, struct slice record);
