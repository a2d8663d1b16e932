/* The thread that sees to it that contents are on the disk a few seconds after they were written (bucket/settle.h). */
#pragma once

#include "bucket/fs.h"

struct settler;

/* `each_second` is called before that. */
int settler_new(struct settler **out, struct fs *fs, void (*each_second)(void *context), void *context);
/* Settles everything that is left. NULL is fine. */
void settler_free(struct settler *s);
