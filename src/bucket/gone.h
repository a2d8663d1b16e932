/* Nodes that have been deleted or replaced lately.
 *
 * The kernel looks a name up and then calls for what it has found. In between something else may take the name: then what was found is told
 * or changed, as on any filesystem. A folder may be removed while a process is in it. The store has neither any more, so the
 * latest of them are remembered here: at least 1,024 files and links, and 16,384 folders with less of each. */
#pragma once

#include "bucket/tree.h"

struct gone;

int gone_new(struct gone **out);
/* NULL is fine. */
void gone_free(struct gone *g);
/* A node is about to lose its last name. `attributes` (attribute_bag.h) are copied. With b->lock held. */
void gone_add(struct fs *fs, const struct bucket *b, const struct node *n, const struct buf *attributes);
/* Its record as it was, or as it was changed since. BUCKET_GONE: it is not remembered. */
int gone_find(struct fs *fs, uint64_t inode, struct found *out);
/* BUCKET_GONE as above. `size` NULL: that stays. */
int gone_change(struct fs *fs, uint64_t inode, const struct tree_change *change, const uint64_t *size);

/* Its attributes; as the functions of attribute_bag.h, and BUCKET_GONE. */
int gone_attribute_get(struct fs *fs, uint64_t inode, struct slice name, struct buf *value);
int gone_attribute_set(struct fs *fs, uint64_t inode, struct slice name, struct slice value, bool create, bool replace);
int gone_attribute_remove(struct fs *fs, uint64_t inode, struct slice name);
int gone_attribute_list(struct fs *fs, uint64_t inode, struct buf *names);
