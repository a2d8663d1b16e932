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

static void op_forget(fuse_req_t req, fuse_ino_t inode, uint64_t lookups)
{
	(void)inode;
	(void)lookups;
	forget_in_batches(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	forget_in_batches(req);
}

const struct fuse_lowlevel_ops frontend_ops = {
	.lookup = op_lookup,
	.mkdir = op_mkdir,
	.mknod = op_mknod,
	.readlink = op_readlink,
	.symlink = op_symlink,
	.link = op_link,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.access = op_access,
	.statfs = op_statfs,
	.create = op_create,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.fsync = op_fsync,
	.release = op_release,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.getxattr = op_getxattr,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
	.listxattr = op_listxattr,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	/* No getlk, setlk, flock: the kernel's own locks are right for a filesystem of one host, and requests over
	 * io_uring cannot be interrupted. */
};
