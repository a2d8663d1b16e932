/* How the kernel reaches the content of a file that is opened: through its page cache, request by request (direct), or by
 * itself in the store's own file (passthrough).
 *
 * While an inode is open one way, it can be opened only in some others (Linux fs/fuse/iomode.c): cached and passed through
 * exclude each other, and while one is passed through all that are opened must name the same backing file, also for direct
 * access. One that was direct before may stay if the kernel has heard of it, so nothing begins to be passed through beside
 * one. A wrong choice is EIO for who opens, so what is open is counted here. The kernel knows of each close before we do: what
 * we count is never less than what it counts. */
#pragma once

#include "fuse/frontend.h"

/* The inode is written with O_DIRECT: what is in the page cache then is not kept by whoever opens it next, while nobody has it open. */
void io_mode_written_direct(struct frontend *fe, uint64_t inode);
/* Chooses, counts, and sets the flags and the backing file of an open that is about to be answered. */
void io_mode_open(struct call *c, struct handle *h, struct fuse_file_info *fi);
/* The handle is closed. `req` is any request of this mount; NULL: the mount has ended. */
void io_mode_close(struct handle *h, fuse_req_t req);
