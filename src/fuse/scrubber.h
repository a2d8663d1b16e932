/* The thread that goes through all contents once in so many days (bucket/scrub.h), when nobody else needs a processor or the disk. */
#pragma once

#include "bucket/fs.h"

struct scrubber;

/* `days` between the beginnings of two passes; the first begins at once. */
int scrubber_new(struct scrubber **out, struct fs *fs, unsigned days);
/* NULL is fine. */
void scrubber_free(struct scrubber *s);
