/* The threads that see to it that contents (bucket/settle.h) and the store's log are on the disk a few seconds after they were written. */
#pragma once

#include "bucket/fs.h"

struct settler;

/* `each_second` is called before contents are looked at. */
int settler_new(struct settler **out, struct fs *fs, void (*each_second)(void *context), void *context);
/* Settles all contents that are left. NULL is fine. */
void settler_free(struct settler *s);
