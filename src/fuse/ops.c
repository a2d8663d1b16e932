#include "fuse/frontend.h"
#include "fuse/ring.h"

#include <time.h>

/* There is nothing to count, for inode numbers are permanent. But while requests come over io_uring, what the kernel forgets is
 * still told over the classic channel, where it wakes the one thread that reads there, for every file that is removed or
 * replaced. While that thread sleeps nobody is woken, and then it is told of all at once. Nobody waits for it. */
static void forget_in_batches(fuse_req_t req)
{
	static const struct timespec pause = {.tv_nsec = 5000000};
	struct frontend *fe = fuse_req_userdata(req);

	if (rings_are_used(fe->rings))
		nanosleep(&pause, NULL);
	fuse_reply_none(req);
}

void op_forget(fuse_req_t req, fuse_ino_t inode, uint64_t lookups)
{
	(void)inode;
	(void)lookups;
	forget_in_batches(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	forget_in_batches(req);
}
