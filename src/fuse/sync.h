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

/* Merges or commits what a close(2) finds. What concerns only the opener of data.json is 0 for everybody else. */
int sync_flush(struct call *c, struct handle *h);
