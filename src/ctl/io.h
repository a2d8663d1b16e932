/* Whole files, read and written. 0 or a negative errno. */
#pragma once

#include <stdbool.h>

#include <sys/types.h>

#include "util/buf.h"

/* Appends all there is to read. */
int io_read(int fd, struct buf *out);
/* Of an open file, from its beginning, wherever it stands. */
int io_read_again(int fd, struct buf *out);
int io_read_at(int folder, const char *path, struct buf *out);
/* "-" is standard input. */
int io_read_file(const char *path, struct buf *out);
int io_write(int fd, struct slice bytes);
/* Opens, writes, closes; a failing close counts. `flags` as open(2) has them. */
int io_write_at(int folder, const char *path, int flags, struct slice bytes);
/* As a whole or not at all: a temporary file beside it, renamed. Its mode is kept. */
int io_replace(const char *path, struct slice bytes);
/* A descriptor's extended attribute, appended; `fd` may be O_PATH. */
int io_attribute(int fd, const char *name, struct buf *out);
/* mkdir -p of the folders above `path`. */
int io_make_parents(int folder, const char *path);
/* The folder that a path below `folder` is in, as an O_PATH descriptor, and its last part. No symbolic link is followed on the way: -ELOOP;
 * and it leads nowhere else: -EINVAL for "..".
 * With `make` folders that are missing are made. */
int io_parent(int folder, const char *path, bool make, int *parent, const char **leaf);
/* Everything in the folder `fd` (which is closed), but not the folder. */
int io_remove_all(int fd);
