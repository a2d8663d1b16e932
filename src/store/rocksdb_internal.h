/* What the files of the local backend share (rocksdb.h): records, contents, its folder, and the whole. `rocksdb_` is RocksDB's own,
 * so what is theirs begins with `rocks_`. */
#pragma once

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdbool.h>

#include "store/rocksdb.h"
#include "store/rocksdb_disk.h"
#include "util/boot.h"
#include "util/buf.h"
#include "util/checksum.h"

/* Column families: "default" holds heads ('H' bucket), the content counter ('C'), a mark that is written after a failure ('R') and
 * the contents that no record owns ('X' number): being written, or let go. Every content that a record owns has a seal ('S' number): its checksums, or nothing while
 * it may change. 'T': the first number for which that is so. 'Q': the store was closed as it should be. The other families are one
 * a space; their keys begin with the bucket's number. */
enum { family_own = STORE_SPACES, family_count };

enum { key_prefix = 4, content_step = 8192, stripe_count = 64, named_count = 4096, sweep_end = 256 };

/* A commit reads the revision and writes the next one: one at a time for each bucket. */
struct stripe {
	pthread_mutex_t lock;
	rocksdb_writebatch_t *batch; /* used again and again */
	uint32_t bucket;             /* the last one that was committed to, and … */
	uint64_t revision;           /* … where it is since; 0: not known */
};

/* The state of RocksDB's writing (rocksdb_health.c). */
struct health {
	int refusal;          /* atomic: the errno of every change at the moment; 0: changes are taken */
	bool short_of_room;   /* atomic: the ballast is given up */
	uint64_t failures;    /* atomic */
	size_t cache_bytes;   /* what the cache may have when there is memory; 0: it has not been short yet */
	uint64_t named;       /* atomic: the newest log whose name is on the disk */
	char sentence[192];   /* why, in RocksDB's words */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool runs, leaving;
	pthread_rwlock_t writers; /* for reading: who changes something; for writing: who makes it possible again */
};

struct rocksdb_store {
	struct store base;
	char *folder;
	int folder_fd;
	int lock_fd;
	unsigned format; /* of the store, as it was opened */
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_options_t *family_options[family_count];
	rocksdb_block_based_table_options_t *table_options[family_count];
	rocksdb_cache_t *cache;
	rocksdb_env_t *env;
	struct rocks_disk *disk;
	rocksdb_column_family_handle_t *family[family_count];
	rocksdb_readoptions_t *read;
	rocksdb_writeoptions_t *write;

	struct stripe stripe[stripe_count];
	uint64_t commits, commit_ns; /* atomic */
	int synced_fd;     /* STORE/synced, or -1 */
	uint64_t synced;   /* the sequence number in it, under health.lock, … */
	bool synced_known; /* … once it has been written */
	uint64_t last_log; /* the number of the last log that was there before this start */
	struct health health;

	pthread_mutex_t lock;
	uint64_t next_content;
	uint64_t reserved_content;
	bool reserving; /* the reaper makes a new step of them, before there are none left */
	uint64_t named[named_count]; /* contents whose names are known to be on the disk, by number; atomic */
	uint64_t trusted[named_count]; /* contents that were written or compared with their seal since the start; likewise */
	uint64_t seals;                /* how many were put so far; atomic */
	uint64_t tracked; /* contents from this number on have a seal record as long as a record of the domain owns them */
	uint64_t swept;   /* the first number that this process gives out: what is below and nobody's goes */
	bool interrupted; /* the process that had it before did not close it */
	uint64_t lost;    /* so many records of the log, and with them may be the owners of contents, and the last number given out */
	unsigned sweep;   /* the next folder of contents to be looked at for such; sweep_end: all were */
	struct buf unsynced; /* contents, as numbers: a sync of theirs failed */

	/* Contents let go: removed by a thread of their own, for a large file takes its time. */
	pthread_t reaper;
	bool reaper_runs;
	bool leaving;
	pthread_cond_t wake;
	struct buf condemned;
	bool reaping; /* it removes what was condemned */
};

/* ---- the whole: rocksdb.c ---- */

extern const struct store_ops rocks_ops;
extern const char *const rocks_family_name[family_count];
/* With its folder open and nothing else; rocks_store_close is its end. STORE_ABSENT; -errno. */
int rocks_store_new(struct rocksdb_store **out, const char *folder, struct reason *why);
void rocks_store_close(struct store *base);
void rocks_make_options(struct rocksdb_store *s, const struct rocksdb_store_options *o, bool new);
/* What follows from the sentence that RocksDB opens with no database; it is freed. STORE_DAMAGED, -errno. */
int rocks_open_failed(struct rocksdb_store *s, char *error, struct reason *why);

/* RocksDB's sentence as an errno. */
int rocks_errno_in(const char *sentence);
/* The same for what was read; it is logged and freed. NULL is 0. */
int rocks_errno_of(char *sentence);
/* A key of the store's own: its kind and a number. */
void rocks_own_key(unsigned char raw[9], char kind, uint64_t number);
int rocks_own_write(struct rocksdb_store *s, char kind, uint64_t number, const void *value, size_t len);
int rocks_own_delete(struct rocksdb_store *s, char kind, uint64_t number);
/* STORE_ABSENT. */
int rocks_get(struct rocksdb_store *s, int family, const void *key, size_t len, struct buf *value);

/* ---- whether it can write: rocksdb_health.c ---- */

/* Before any change: 0, or the errno that it gets. After 0 rocks_health_written ends it. */
int rocks_health_enter(struct rocksdb_store *s);
/* 0, or the errno that changes get at the moment. */
int rocks_health_refusal(const struct rocksdb_store *s);
/* Before a change that takes more room than it gives: -ENOSPC while what is left is for removals. */
int rocks_health_may_grow(struct rocksdb_store *s);
/* Ends a change: RocksDB's sentence about it (freed; NULL is 0) as an errno. */
int rocks_health_written(struct rocksdb_store *s, char *sentence);
void rocks_health_failed(struct rocksdb_store *s, int error, const char *sentence);
void rocks_health_background(void *context, const char *sentence, bool goes_on);
/* Everything that has been written is on the disk afterwards, and that is noted. */
int rocks_health_sync_logs(struct rocksdb_store *s);
/* Gives up the ballast of a store, which is the context. False: there was none. */
bool rocks_health_give_room(void *context);
/* Until changes are taken, or the store is being closed. */
void rocks_health_await(struct rocksdb_store *s);
int rocks_health_begin(struct rocksdb_store *s);
/* From here on nobody waits. */
void rocks_health_leave(struct rocksdb_store *s);
/* Writes the memtables to tables. False: it could not, or nothing had begun. */
bool rocks_health_end(struct rocksdb_store *s);

/* ---- what its log must have: rocksdb_synced.c ---- */

extern const char *const rocks_family_name[family_count];
/* Everything up to this sequence number is on the disk. */
void rocks_synced_note(struct rocksdb_store *s, uint64_t sequence);
/* Before RocksDB is opened. `boot`: NULL if that is not known. STORE_DAMAGED: something that was on the disk, or written since this boot,
 * is missing. Nothing is written. */
int rocks_synced_check(struct rocksdb_store *s, const unsigned char *boot, bool accept_loss, struct reason *why);
/* RocksDB has read the logs, and has their records in tables by now. */
void rocks_synced_started(struct rocksdb_store *s, const unsigned char boot[boot_size]);

/* ---- records: rocksdb_record.c ---- */

int rocks_record_get(struct store *base, uint32_t bucket, enum store_space space, struct slice name, struct buf *value);
int rocks_record_head(struct store *base, uint32_t bucket, uint64_t *revision, struct buf *head);
int rocks_record_commit(struct store *base, uint32_t bucket, uint64_t expect, struct slice head, const struct store_batch *batch,
			uint64_t *revision);
int rocks_record_erase(struct store *base, uint32_t bucket);
int rocks_cursor_open(struct store *base, uint32_t bucket, enum store_space space, struct slice prefix, struct slice from,
		      struct store_cursor **out);
int rocks_cursor_next(struct store_cursor *base, struct slice *key, struct slice *value);
void rocks_cursor_close(struct store_cursor *base);

/* ---- contents: rocksdb_content.c ---- */

int rocks_content_create(struct store *base, struct store_content **out);
int rocks_content_open(struct store *base, uint64_t number, struct store_content **out);
int rocks_content_has_writer(struct store *base, uint64_t number, bool *has);
int rocks_content_read(struct store_content *base, uint64_t at, void *bytes, size_t len, size_t *got);
int rocks_content_write(struct store_content *base, uint64_t at, const void *bytes, size_t len);
int rocks_content_truncate(struct store_content *base, uint64_t len);
int rocks_content_allocate(struct store_content *base, uint64_t at, uint64_t len, bool keep_size);
int rocks_content_punch(struct store_content *base, uint64_t at, uint64_t len);
int rocks_content_unseal(struct store_content *base);
int rocks_content_check(struct store_content *base, uint64_t piece);
int rocks_content_is_sealed(struct store_content *base, uint64_t size, bool *sealed);
int rocks_content_sync(struct store_content *base);
int rocks_content_sync_again(struct store_content *base, uint64_t from);
int rocks_content_fd(struct store_content *base);
void rocks_content_close(struct store_content *base, bool discard);
/* The batch was committed: the reaper removes what it lets go. If there is no memory for the list, the next open does. */
void rocks_content_committed(struct rocksdb_store *s, const struct store_batch *batch);
/* Reads the counter, condemns what nobody owns, and starts the reaper. */
int rocks_content_begin(struct rocksdb_store *s);
/* Ends it; false: it was never started. */
bool rocks_content_end(struct rocksdb_store *s);

/* ---- seals: rocksdb_seal.c ----
 *
 * A seal is the list of a content's checksums. What is read from a sealed content is compared with it, each piece once for an open
 * content; a content that was compared in whole, or written by this process, is trusted from then on. A seal ends, on the disk too,
 * before the first byte that it is about is changed: so a content that differs from its seal is damaged. */

struct rocks_seal {
	struct checksum_list list;
	unsigned char *checked; /* of each piece; atomic. NULL: nothing is compared */
	size_t left;            /* pieces that are not checked yet; atomic */
	uint64_t end, seals;    /* bytes that a seal is about, as of when so many seals had been put (store->seals) */
};

/* What is to be compared of a content that is opened. -EIO: its seal cannot be read. */
int rocks_seal_load(struct rocksdb_store *s, uint64_t content, struct rocks_seal *seal);
/* Of a content that was made just now. */
struct rocks_seal rocks_seal_none(struct rocksdb_store *s);
void rocks_seal_release(struct rocks_seal *seal);
bool rocks_seal_is_checking(const struct rocks_seal *seal);
/* Compares the pieces of this range. -EIO, which is logged. */
int rocks_seal_check(struct rocksdb_store *s, struct rocks_seal *seal, struct store_content *content, uint64_t at, size_t len);
/* Bytes from here on are about to be changed. -EIO: of a content that is not too large to be compared before, some are damaged. */
int rocks_seal_break(struct rocksdb_store *s, struct rocks_seal *seal, struct store_content *content, uint64_t from);
/* The seal that a commit brings, as it is to be stored. STORE_ABSENT: it goes on from one that is not there. */
int rocks_seal_join(struct rocksdb_store *s, uint64_t content, struct slice checksums, struct buf *joined);
/* As store_content_check. */
int rocks_seal_scrub(struct rocksdb_store *s, struct store_content *content, uint64_t piece);
/* The content is what it was when it was written, or compared. */
void rocks_seal_trust(struct rocksdb_store *s, uint64_t content);
/* Whether there is one for so many bytes. */
int rocks_seal_is(struct rocksdb_store *s, uint64_t content, uint64_t size, bool *sealed);

/* ---- the folder: rocksdb_folder.c ---- */

/* STORE_FOREIGN, STORE_DAMAGED, STORE_NEWER. *new: it is an empty folder, or one of an interrupted first start. */
int rocks_folder_check(struct rocksdb_store *s, bool *new, struct reason *why);
/* The last step of making a new one. */
int rocks_folder_finish(struct rocksdb_store *s);
/* STORE_IN_USE. Sets s->lock_fd. */
int rocks_folder_lock(struct rocksdb_store *s, const struct rocksdb_store_options *options, struct reason *why);
/* Who may read a bucket is decided above; the store's own files are for nobody. */
int rocks_folder_private(struct rocksdb_store *s, const char *name);
