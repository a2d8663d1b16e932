/* Folders that were made lately, and which names have been put into them since: whoever looks for another one there need not
 * ask the store, which would search all its tables to find nothing. That is what every create begins with.
 *
 * A name that was taken away again, or whose commit failed, stays: that costs a question and nothing else. A name that is in
 * the store and not here would make its file invisible, so every name goes through tree_put_own_name, which adds it. */
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
/* Before the commit, with the bucket's lock held. */
void fresh_add(struct fresh *f, uint64_t folder, struct slice name);
/* Whether the store certainly has no such name there. With the bucket's lock held. */
bool fresh_lacks(struct fresh *f, uint64_t folder, struct slice name);
