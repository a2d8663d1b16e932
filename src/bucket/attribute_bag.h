/* The extended attributes of one node, in memory: for a node that the store does not have any more. Pure.
 *
 * A bag is a buf, and empty if nothing is in it. Names are without "user.". */
#pragma once

#include "util/buf.h"
#include "util/slice.h"

/* Bytes of all names and values that a bag may have. */
enum { attribute_bag_max = 256 * 1024 };

/* BUCKET_NO_ATTRIBUTE. */
int attribute_bag_get(const struct buf *bag, struct slice name, struct buf *value);
/* One whose name is not in it yet, without a look: so many may be added. BUCKET_OVER_QUOTA. */
int attribute_bag_add(struct buf *bag, struct slice name, struct slice value);
/* With `create` BUCKET_EXISTS, with `replace` BUCKET_NO_ATTRIBUTE; BUCKET_OVER_QUOTA over attribute_bag_max. */
int attribute_bag_set(struct buf *bag, struct slice name, struct slice value, bool create, bool replace);
/* BUCKET_NO_ATTRIBUTE. */
int attribute_bag_remove(struct buf *bag, struct slice name);
/* The names, each ended by a NUL. */
int attribute_bag_list(const struct buf *bag, struct buf *names);
