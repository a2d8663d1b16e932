/* The local backend: records in RocksDB, contents as plain files.
 *
 * On disk:
 *   STORE/format      "bucketfs store 2": the format's version. Since 2 every content that a record owns has a seal
 *   STORE/lock        held (flock) while the store is open; says who holds it
 *   STORE/synced      the sequence number up to which RocksDB's log was on the disk
 *   STORE/boot        in which boot of the system it was opened last
 *   STORE/ballast     room for removals on a full disk; made again when there is plenty
 *   STORE/db/         RocksDB: a column family a space, and "default" for the store's own counters
 *   STORE/blobs/XX/   contents, named by their number in hexadecimal; XX are its last two digits */
#pragma once

#include "bucketfs/store.h"

#include "util/reason.h"

struct rocksdb_store_options {
	size_t cache_bytes;  /* block cache, indexes and filters included; 0: 64 MiB */
	size_t buffer_bytes; /* memtables of all spaces together; 0: 96 MiB */
	bool accept_loss;    /* go on where something that was on the disk cannot be read from the log */
	const unsigned char *boot; /* which boot of the system this is (util/boot.h); NULL: not known */
	const char *holder;  /* a line for the lock file: who to ask (NULL: none) */
	/* Asked while somebody else holds the store, with that line: true if they are about to leave, and then the
	 * call waits, up to `rocksdb_store_wait_seconds`. NULL: never wait. */
	bool (*holder_leaves)(void *context, const char *holder);
	/* Called before STORE_IN_USE: to say what else is known of why the store is held. NULL: nothing is. */
	void (*holder_stays)(void *context);
	void *context;
};

enum { rocksdb_store_format = 2, rocksdb_store_wait_seconds = 15 };

/* Opens the store in an existing folder; an empty folder becomes a new store. STORE_ABSENT: no such folder;
 * STORE_IN_USE, STORE_NEWER, STORE_FOREIGN, STORE_DAMAGED: `why` says what it is and what to do. */
int rocksdb_store_open(struct store **out, const char *folder, const struct rocksdb_store_options *options,
		       struct reason *why);
