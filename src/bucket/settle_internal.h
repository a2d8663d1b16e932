/* What settle.c (records, settling), settle_seal.c (sealing what was changed) and settle_recover.c (after a loss of power) share. With b->lock
 * held. */
#pragma once

#include "bucket/settle.h"

/* The first record whose node is greater than `after`, in *s, which must be valid or all zero. STORE_END; -EIO for a damaged one,
 * and then s->number is its node. */
int settle_next(struct fs *fs, struct bucket *b, uint64_t after, struct settle *s);
/* Compares a content with an encoded list of checksums (util/checksum.h: checksum_verify); *size is the list's. */
int settle_verify(struct store_content *content, struct slice checks, uint64_t from, uint64_t *size, bool *whole, uint64_t *good);
/* As settle_reseal, of what is not too large to be read just for that. *mapped: somebody may change it without telling us: it is tried
 * again later. With b->lock free. */
int settle_reseal_small(struct fs *fs, struct bucket *b, uint64_t number, uint64_t content, bool *mapped);
