/* What the kernel must forget.
 *
 * It may keep names and attributes for a day, because only this mount changes them, and usually it sees the change
 * itself. Two things it does not see: a change under another spelling of a name, and somebody losing the privilege to
 * read. For both there is the epoch (Linux 6.16): one increment and every name it has must be asked for again; that
 * takes no lock, so it may be done before the reply, and nobody can see the old state after it. Where there is no
 * epoch, names are invalidated one by one by a thread of its own, a moment after the reply, for that takes the lock of
 * the folder, which whoever waits for the reply may hold. The end of an epoch costs everybody a look-up of each name,
 * so the kernel keeps no names for a while of a bucket that ends too many. */
#pragma once

#include "bucket/bucket.h"
#include "fuse/lowlevel.h"

struct notifier;

int notifier_new(struct notifier **out, struct fuse_session *session);
/* When the kernel connects, before it keeps anything: finds out what it can do. */
void notifier_begin(struct notifier *n);
/* Waits for what is under way. NULL is fine. */
void notifier_free(struct notifier *n);

/* Whether what the kernel keeps can be ended exactly, before a reply; otherwise only a moment after it. */
bool notifier_is_exact(struct notifier *n);
/* Whether the kernel may be told "there is no such name" to keep. If so, this name is remembered as one it keeps. */
bool notifier_keep_absent(struct notifier *n, fuse_ino_t parent, struct slice name);
/* Something has been made (or, with `gone`, may have lost its name) under another spelling than its real name. Before
 * the reply. */
void notifier_spelled(struct notifier *n, fuse_ino_t parent, struct slice given, bool gone);
/* Names in the bucket may mean other files now, or none: before the reply. */
void notifier_names_lost(struct notifier *n, struct fs *fs, uint32_t bucket);
/* Some may not read the bucket (0: any bucket) any more: before the reply … */
void notifier_narrowed(struct notifier *n, struct fs *fs, struct bucket *b);
/* … and after it. */
void notifier_narrowed_after(struct notifier *n, struct fs *fs, struct bucket *b);
/* Whether the kernel may keep names of this bucket. */
bool notifier_keeps_names(struct notifier *n, uint32_t bucket);
