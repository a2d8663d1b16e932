/* data.json as bucketctl reads and changes it. Exit statuses. */
#pragma once

#include "bucket/document.h"
#include "ctl/place.h"

/* One snapshot. Either may be NULL; where there is no file yet it is {}. */
int data_read(const struct place *p, struct buf *text, struct document *doc);
/* Merges in one commit; `merged` gets the text of what came of it, as of that commit; nothing where
 * the caller may not read. */
int data_merge(const struct place *p, const struct document *patch, struct buf *merged);
/* After this the object is exactly that, unless others keep writing all the while. */
int data_replace(const struct place *p, const struct document *whole, struct buf *merged);
int data_remove(const struct place *p, char *const *keys, int count, struct buf *merged);

/* An edit in two steps, for whoever needs time between them. The descriptor that data_edit_begin gives holds the snapshot
 * that data_edit_commit compares with; closing it is the caller's. */
int data_edit_begin(const struct place *p, int *fd, struct buf *text, struct document *doc);
/* 0 or a negative errno; -ESTALE: somebody else changed one of these keys. */
int data_edit_commit(int fd, struct slice text, struct buf *merged);
