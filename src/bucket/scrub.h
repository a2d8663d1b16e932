/* Reads contents again and compares them with their checksums, slowly, so that damage is known before somebody needs the file. */
#pragma once

#include "bucket/settle.h"

/* All contents of a bucket. A damaged one is logged with its name, and counted in fs->scrub_damaged; one without checksums that
 * nobody writes gets some; `unsealed`: only these are read. Nonzero: it was not to go on, or the store failed. */
int scrub_bucket(struct fs *fs, struct bucket *b, bool unsealed, const struct settle_pace *pace);
