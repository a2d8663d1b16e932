/* What version.c (which file an open gets), version_mark.c (what the store knows of files that are being made) and
 * version_settle.c (what becomes of them) share. With b->lock held. */
#pragma once

#include "bucket/version.h"

/* The record under key_making. */
void version_put_mark(struct file *f, struct store_batch *batch, enum mark_state state, uint64_t turn);
/* The record under key_making, as a close or an fsync needs it, whose turn is the next, or its end; with both locks held.
 * Whether there is one then. */
bool version_add_mark(struct file *f, enum mark_state state, struct head *head, struct store_batch *batch);
/* The same for one that lost its name to what was closed later, in that turn. */
void version_put_overtaken(struct file *f, struct store_batch *batch, uint64_t by);
/* Publishes it, keeps it as the partial or drops it; with f->lock held as well. */
int version_settle_locked(struct file *f, bool abandon);
