/* What the files of this layer share: the run as a whole, and one bucket as it was read. */
#pragma once

#include "bucket/record.h"
#include "bucketfs/store.h"
#include "check/check.h"

/* ---- the whole: check.c ---- */

struct check_bucket {
	uint32_t number;
	struct slice id;
	bool named;  /* the id leads to it */
	bool unread; /* not all of its records could be read */
};

/* A content and the record that owns it. */
struct check_owner {
	uint64_t content, size, node, parent;
	uint32_t bucket;
	bool fallback; /* what an unsettled content has replaced */
	bool changing; /* recovery or a writer decides upon it: neither its length nor its bytes are judged */
};

/* What is wrong with a content; the bucket's records are mended afterwards. */
struct check_bad {
	struct check_owner owner;
	uint64_t left; /* bytes that are there */
	bool gone;
};

struct check {
	const struct check_options *o;
	struct store *store;
	struct check_sums *sums;
	struct check_bucket *buckets; /* in the order of numbers */
	size_t bucket_count;
	struct buf ids;
	struct buf owners;    /* of struct check_owner */
	struct buf published; /* numbers of transactions whose contents are another bucket's by now */
	struct buf found;     /* of struct check_found */
	bool live;
	bool unsure; /* a record could not be read, so it is not known what it owns */
	bool mended; /* something was, in this round */
	uint32_t lost; /* the only bucket that has lost the record of a file, in any round; 0: none, UINT32_MAX: several */
	struct buf lost_name; /* and the name of that file; empty: of several */
	uint64_t done;
};

enum { CHECK_MENDED = 1, CHECK_NOTE = 2 };
/* Notes a finding. The path is below the bucket; NULL: the bucket itself. -ENOMEM. */
int check_tell(struct check *c, struct slice id, const char *path, const char *kind, unsigned flags, const char *format, ...)
	__attribute__((format(printf, 6, 7)));
struct check_bucket *check_find_bucket(struct check *c, uint32_t number);
/* -EINTR. */
int check_progress(struct check *c, const char *what, uint64_t done, uint64_t total);

/* ---- the list of buckets: check_root.c ---- */

int check_root(struct check *c);

/* ---- one bucket as it was read: check_scan.c ---- */

struct check_item {
	uint64_t number, parent;
	uint64_t size, content;
	size_t name; /* where in scan->text */
	uint8_t name_len, kind, place;
	bool bad;       /* its record cannot be read; then only number and parent are known */
	bool named;     /* a name leads to it */
	bool making;    /* it is not published yet */
	bool unsettled; /* the disk may not have its content yet */
	bool told;      /* a finding about its name has been made */
	bool gone;      /* repair has removed it; or it is one too many of its number */
	bool parented;  /* a record says where it is */
	uint8_t way;    /* enum check_way */
};

struct check_name {
	uint64_t parent, number;
	size_t name;
	uint8_t len;
};

struct check_making {
	struct making_record record;
	bool gone;
};

struct check_unsettled {
	uint64_t number;
	struct unsettled_record record; /* its slices are gone */
	bool gone;
};

struct check_body {
	uint64_t node, len;
	bool owned;
};

struct check_parent {
	uint64_t node, parent;
};

struct check_scan {
	struct check *c;
	struct check_bucket *bucket;
	uint64_t revision;
	bool has_head, bad_head;
	struct head head;
	struct acl acl;
	struct own_limits own;

	struct check_item *items; /* by number, then parent */
	size_t count;
	struct check_name *names;
	size_t name_count;
	struct check_making *making;
	size_t making_count;
	struct check_unsettled *unsettled;
	size_t unsettled_count;
	struct check_parent *parents;
	size_t parent_count;
	struct check_body *bodies;
	size_t body_count;
	struct buf text; /* of names */
	struct buf raw[6]; /* what the arrays above stand in */
	uint64_t keys, data_size; /* of the document, counted */
	uint64_t attribute_bytes; /* counted */
	uint64_t attributes_of;   /* whose attributes were read last */
	struct attribute_totals attributes, attributes_kept; /* counted, and what the record of their sum says */
	bool has_totals;
	uint64_t attributes_gone; /* of what repair has removed, so many bytes */

	/* ---- what is mended ---- */
	struct store_batch batch;
	bool mends;      /* this run mends, and the head is known */
	bool changed;    /* there is something to commit */
	unsigned broken; /* findings about nodes: the counts of the head follow from them */
	uint64_t made, made_bytes; /* nodes that the arrays do not have: lost_found, and what was saved into it */
	uint64_t lost;   /* the number of lost_found; 0: not looked for yet */
	struct buf taken, freed; /* keys of names, each after its length, that the batch puts and deletes */
};

/* Reads the head and everything under NODE and BODY. With `tell`, what cannot be read is a finding, which the batch removes. */
int check_scan_load(struct check_scan *s, struct check *c, struct check_bucket *bucket, bool tell);
void check_scan_release(struct check_scan *s);
/* With this number in this folder; 0: in any. */
struct check_item *check_scan_find(const struct check_scan *s, uint64_t number, uint64_t parent);
struct check_body *check_scan_body(const struct check_scan *s, uint64_t node);
struct slice check_scan_name(const struct check_scan *s, const struct check_item *item);
/* "files/a/b", in a buffer that is ended by NUL. */
int check_scan_path(const struct check_scan *s, const struct check_item *item, struct buf *path);
/* A finding about a node. */
int check_scan_tell(struct check_scan *s, const struct check_item *item, const char *kind, bool mended, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* ---- how its nodes hang together: check_names.c; contents of nodes: check_bodies.c; documents and settings: check_data.c ---- */

int check_names(struct check_scan *s);
int check_bodies(struct check_scan *s);
int check_data(struct check_scan *s);
/* Last: the counts of the head. */
int check_counts(struct check_scan *s);

/* ---- mending: check_repair.c ---- */

void check_mend_delete(struct check_scan *s, enum store_space space, struct slice key);
/* Its own name leads to it, if that is free; else it moves to lost_found. */
int check_mend_name(struct check_scan *s, struct check_item *item);
/* To lost_found, with so many bytes. */
int check_mend_move(struct check_scan *s, struct check_item *item, uint64_t size);
/* One that is there twice: its record and its name, and nothing else. */
void check_mend_extra(struct check_scan *s, struct check_item *item);
/* With what belongs to it. */
int check_mend_remove(struct check_scan *s, struct check_item *item);
/* A body without a record gets one in lost_found. */
int check_mend_body(struct check_scan *s, uint64_t node, uint64_t size, struct slice name);
/* A content of the store without a record gets one in lost_found. */
int check_mend_content(struct check_scan *s, uint64_t content, uint64_t size, struct slice name);
/* A record of this name is lost, and with it, it may be, what tells which content it owned. */
int check_mend_lost(struct check_scan *s, struct slice name);
/* The record under key_unsettled, with the fallback or, for what is damaged, without. */
int check_mend_unsettled(struct check_scan *s, struct check_unsettled *u);
int check_mend_commit(struct check_scan *s);

/* ---- contents: check_contents.c ---- */

/* Who owns which, by the records. */
int check_owners(struct check *c);
/* Their files. */
int check_contents(struct check *c);
