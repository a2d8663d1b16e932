/* fsync, by a thread of its own: everything that waits at the same time shares one wait for the disk. */
#pragma once

#include "fuse/frontend.h"

/* Replies when what was written through the handle (NULL: everything that was committed) survives a loss of power. */
void sync_later(fuse_req_t req, fuse_ino_t inode, struct handle *h);
/* The same for a close(2) under the mount option sync. */
void sync_flush_later(fuse_req_t req, fuse_ino_t inode, struct handle *h);
/* What to give later_new as `finish`, with the frontend as context. */
struct later_job;
void sync_finish(void *frontend, struct later_job *jobs);

/* The answer to a flush: what concerns only the opener is 0 for everybody else. */
int sync_flush_result(const struct call *c, const struct handle *h, int result);
