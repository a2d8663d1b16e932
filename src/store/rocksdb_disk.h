/* RocksDB's view of the disk, for what its C interface lacks. */
#pragma once

#include <stdbool.h>

#include <rocksdb/c.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rocks_disk;

/* RocksDB could not write: it says why. goes_on: it tries again by itself, and commits work. */
typedef void rocks_disk_failed(void *context, const char *sentence, bool goes_on);

/* The disk is full: makes some room. False: there is none to be had. */
typedef bool rocks_disk_room(void *context);

/* NULL: no memory. It must live longer than the database, whose own log is db/LOG in that folder. */
struct rocks_disk *rocks_disk_new(int folder_fd, rocks_disk_failed *failed, rocks_disk_room *room, void *context);
void rocks_disk_use(struct rocks_disk *disk, rocksdb_options_t *options);
/* Tries to write again after a failure. Nothing to do is a success. */
void rocks_disk_resume(rocksdb_t *db, char **error);
/* Writes a memtable to a table, at once. The C interface's call waits first until that would hold up no writer, and after a
 * failure nothing may be under way that ends this. */
void rocks_disk_flush(rocksdb_t *db, rocksdb_column_family_handle_t *family, char **error);
void rocks_disk_free(struct rocks_disk *disk);

#ifdef __cplusplus
}
#endif
