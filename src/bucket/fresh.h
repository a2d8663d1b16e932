/* Folders that were made lately, and which names have been put into them since: whoever looks for another one there need not
 * ask the store, which would search all its tables to find nothing. That is what every create begins with.
 *
 * A name that was taken away again, or whose commit failed, stays: that costs a question and nothing else. A name that is in
 * the store, or of a file that is being made, and not here would make its file invisible. So every name goes through
 * tree_put_own_name, which adds it, and a new file's is added when it is begun. */
#pragma once

#include <stdbool.h>

#include "util/slice.h"

enum {
	fresh_folders = 16,    /* the one that was used longest ago makes room */
	fresh_names = 32768,   /* of one folder; with more it is not kept any longer. 4 MiB at most for all */
};

struct fresh;

int fresh_new(struct fresh **out);
/* NULL is fine. */
void fresh_free(struct fresh *f);
/* A folder, by its inode number, that nobody can find yet: before the commit that makes it, or with the lock held that whoever
 * puts a name into it needs. Its number was never given out before. If it is known already, nothing changes. */
void fresh_begin(struct fresh *f, uint64_t folder);
/* Before anybody can find it: before the commit, or before the file is in the making. With the bucket's lock held. */
void fresh_add(struct fresh *f, uint64_t folder, struct slice name);
/* Whether there certainly is no such name, neither in the store nor in the making. The bucket's lock keeps it so. */
bool fresh_lacks(struct fresh *f, uint64_t folder, struct slice name);
