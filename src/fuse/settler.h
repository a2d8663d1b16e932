/* The thread that sees to it that contents are on the disk a few seconds after they were written (bucket/settle.h). */
#pragma once

#include "bucket/fs.h"

struct settler;

int settler_new(struct settler **out, struct fs *fs);
/* Settles everything that is left. NULL is fine. */
void settler_free(struct settler *s);
