#include <errno.h>
#include <string.h>

#include "fuse/frontend.h"

/* From the domain's verdicts to errno: nobody else does this. */
static const int errno_of[] = {
	[BUCKET_DENIED] = EACCES,
	[BUCKET_NOT_PERMITTED] = EPERM,
	[BUCKET_ABSENT] = ENOENT,
	[BUCKET_EXISTS] = EEXIST,
	[BUCKET_NOT_EMPTY] = ENOTEMPTY,
	[BUCKET_INVALID] = EINVAL,
	[BUCKET_INCOMPLETE] = EINVAL,
	[BUCKET_CONFLICT] = ESTALE,
	[BUCKET_GONE] = ESTALE,
	[BUCKET_TOO_LARGE] = EFBIG,
	[BUCKET_OVER_QUOTA] = EDQUOT,
	[BUCKET_NO_SPACE] = ENOSPC,
	[BUCKET_NAME_TOO_LONG] = ENAMETOOLONG,
	[BUCKET_CROSSES] = EXDEV,
	[BUCKET_IS_FOLDER] = EISDIR,
	[BUCKET_NOT_FOLDER] = ENOTDIR,
	[BUCKET_IS_LINK] = ELOOP,
	[BUCKET_NO_ATTRIBUTE] = ENODATA,
	[BUCKET_VALUE_TOO_LARGE] = E2BIG,
	[BUCKET_READ_ONLY] = EROFS,
	[BUCKET_UNSUPPORTED] = EOPNOTSUPP,
	[BUCKET_WRONG_HANDLE] = EBADF,
	[BUCKET_NO_DATA_THERE] = ENXIO,
	[BUCKET_BUSY] = EBUSY,
	/* Upon which the kernel looks the name up again, once. */
	[BUCKET_REDIRECTED] = ESTALE,
	/* Only where it cannot be handed on. */
	[BUCKET_LONG] = EAGAIN,
	/* Only for who is never patient; everybody else is asked again. */
	[BUCKET_WAIT] = EAGAIN,
};

int reply_errno(int result)
{
	if (result <= 0)
		return -result;
	if ((size_t)result < sizeof(errno_of) / sizeof(*errno_of) && errno_of[result])
		return errno_of[result];
	return EIO;
}

const char *reply_reason(int result)
{
	/* Those that somebody may stumble upon at many places and that mean the same at each. */
	static const char *const reason_of[] = {
		[BUCKET_NOT_PERMITTED] = "nobody can do this here",
		[BUCKET_INVALID] = "this makes no sense here",
		[BUCKET_CONFLICT] = "somebody else changed it meanwhile",
		[BUCKET_TOO_LARGE] = "it would be larger than anything can be",
		[BUCKET_OVER_QUOTA] = "there are as many as there may be",
		[BUCKET_NO_SPACE] = "the disk is as full as it may be",
		[BUCKET_NAME_TOO_LONG] = "a name has up to 255 bytes",
		[BUCKET_CROSSES] = "data.json and each bucket are filesystems of their own: copy instead",
		[BUCKET_VALUE_TOO_LARGE] = "an extended attribute has up to 65536 bytes",
		[BUCKET_BUSY] = "somebody is at it",
	};

	if (result == -ENOSPC || result == -EDQUOT)
		return "the disk of the store is full";
	if (result == -EIO)
		return "the store could not be read or written, or what it has is damaged; the log says more, and bucketctl check does";
	if (result == -ENOMEM)
		return "out of memory";
	return result > 0 && (size_t)result < sizeof(reason_of) / sizeof(*reason_of) ? reason_of[result] : NULL;
}

const char *reply_errno_name(int result)
{
	const char *name = strerrorname_np(reply_errno(result));

	return name ? name : "EIO";
}

static struct timespec time_of(int64_t ns)
{
	int64_t seconds = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		seconds--;
		rest += 1000000000;
	}
	return (struct timespec){seconds, rest};
}

struct stat reply_stat(const struct attr *attr)
{
	struct stat st = {
		.st_ino = attr->shown_inode ? attr->shown_inode : attr->inode,
		.st_mode = attr->mode,
		/* 1 for folders, as btrfs has it: "not counted", so that find looks everywhere. */
		.st_nlink = !attr->unlinked,
		.st_uid = attr->uid,
		.st_gid = attr->gid,
		.st_size = (off_t)attr->size,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)attr->blocks,
		.st_atim = time_of(attr->accessed),
		.st_mtim = time_of(attr->modified),
		.st_ctim = time_of(attr->changed),
	};

	return st;
}

struct fuse_entry_param reply_entry(const struct attr *attr, bool canonical)
{
	return (struct fuse_entry_param){
		.ino = attr->inode,
		.generation = attr->generation,
		.attr = reply_stat(attr),
		/* Another spelling of a name must be asked about every time: its file may go under its real name. */
		.entry_timeout = attr->private || !canonical ? 0 : CACHE_SECONDS,
		.attr_timeout = attr->private || attr->fleeting ? 0 : CACHE_SECONDS,
	};
}
