/* The local backend for somebody who checks it: a store that changes nothing by itself, and what is in it beside buckets. */
#pragma once

#include "bucketfs/store.h"
#include "util/reason.h"

enum rocksdb_check_mode {
	ROCKSDB_CHECK_ALONE,  /* nobody else holds the store, and nobody gets it meanwhile; commits are -EROFS */
	ROCKSDB_CHECK_LIVE,   /* a daemon holds it: the records are those of one moment; commits are -EROFS */
	ROCKSDB_CHECK_REPAIR, /* as ALONE, and commits are made; contents that they let go are removed at the next start */
};

/* `scratch` is a folder for what RocksDB writes by itself in LIVE mode; it is the caller's, who removes it after the store is closed.
 * STORE_ABSENT, STORE_IN_USE (not in LIVE mode), STORE_NEWER, STORE_FOREIGN, STORE_DAMAGED: `why` says what it is. */
int rocksdb_store_open_to_check(struct store **out, const char *folder, enum rocksdb_check_mode mode, const char *scratch,
				struct reason *why);

/* The functions below take a store that was opened by that one. */

/* In LIVE mode: records are those of this moment from now on. Contents may be of a later one. Cursors must be closed. */
int rocksdb_check_catch_up(struct store *base);
/* The numbers of buckets that have a head or a record, in their order. */
int rocksdb_check_buckets(struct store *base, int (*each)(void *context, uint32_t bucket), void *context);

struct rocksdb_check_content {
	uint64_t number;
	bool owned;   /* there is a note that a record owns it … */
	bool unowned; /* … and one that none does */
	bool sealed;  /* it has checksums */
};
/* What the store itself notes of contents, in the order of numbers. */
int rocksdb_check_contents(struct store *base, int (*each)(void *context, const struct rocksdb_check_content *c), void *context);
/* Of one. All zero: nothing. */
int rocksdb_check_content(struct store *base, uint64_t number, struct rocksdb_check_content *c);
/* Contents from this number on have a note; UINT64_MAX: none has. */
int rocksdb_check_tracked(struct store *base, uint64_t *number);
/* The files of contents, in no order. What is there under another name has number 0. */
int rocksdb_check_files(struct store *base, int (*each)(void *context, uint64_t number, const char *name), void *context);
/* In REPAIR mode, of a content that nothing is noted of. */
int rocksdb_check_remove_file(struct store *base, uint64_t number);
/* In REPAIR mode: the file is STORE/lost+found/NUMBER from then on, and no content any more. STORE_ABSENT. */
int rocksdb_check_save_file(struct store *base, uint64_t number);
/* In REPAIR mode: how many records that were acknowledged the log has lost. Then what nobody owns may be all that is left of a file. */
uint64_t rocksdb_check_lost(struct store *base);
