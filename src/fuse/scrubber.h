/* The thread that goes through all contents once in so many days (bucket/scrub.h), slowly. After an end that was none it first gives
 * checksums to those that have none. */
#pragma once

#include "bucket/fs.h"

struct scrubber;

/* `days` between the beginnings of two passes; the first begins at once. 0: there is none. */
int scrubber_new(struct scrubber **out, struct fs *fs, unsigned days);
/* NULL is fine. */
void scrubber_free(struct scrubber *s);
