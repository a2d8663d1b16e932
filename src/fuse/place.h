/* Mount points: what is mounted where, and whether this is a place for us. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util/reason.h"

/* Makes both paths absolute and checks them: the store is a folder, the mount point is a folder where nothing of ours
 * is mounted, and neither is inside the other. A dead mount of ours at the mount point is cleaned up first. `store` and
 * `mountpoint` are replaced by malloc'd ones. Nonzero: `why` says what is wrong. */
int place_prepare(char **store, char **mountpoint, struct reason *why);
/* The process that has a mount of this store (an absolute path) in another mount namespace than ours, in words; nothing if none has, or
 * nobody may know. */
void place_copy(const char *store, char *text, size_t size);
/* Whether a bucketfs is mounted there (a path as place_prepare makes it). */
bool place_is_mounted(const char *mountpoint);
