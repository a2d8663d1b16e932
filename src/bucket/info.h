/* info.json: everything about a bucket in one consistent snapshot. */
#pragma once

#include "bucket/bucket.h"

/* {"bucket": {…}, "data": {…}, "files": […]}. May ask the name service: not where requests are received. */
int info_text(struct fs *fs, struct bucket *b, struct buf *out);

/* control.c: the members of meta.json, without the braces. */
int control_meta_fields(struct fs *fs, struct bucket *b, struct buf *out);
