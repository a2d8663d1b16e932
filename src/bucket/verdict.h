/* What the domain answers when it will not do a thing. Zero is done, negative is an errno from below (memory, store),
 * these are decisions. The frontend turns each into one errno (src/fuse/reply.c) and nobody else does. */
#pragma once

enum bucket_verdict {
	BUCKET_DENIED = 16,   /* the privilege is missing */
	BUCKET_NOT_PERMITTED, /* not for anybody, here */
	BUCKET_ABSENT,
	BUCKET_EXISTS,
	BUCKET_NOT_EMPTY,
	BUCKET_INVALID,
	BUCKET_INCOMPLETE, /* a document that has not ended yet */
	BUCKET_CONFLICT,   /* somebody else changed it since */
	BUCKET_GONE,       /* the bucket, file or folder was deleted meanwhile */
	BUCKET_TOO_LARGE,  /* one thing over its limit */
	BUCKET_OVER_QUOTA, /* the bucket as a whole over its limit */
	BUCKET_NO_SPACE,   /* the reserve of the disk is reached */
	BUCKET_NAME_TOO_LONG,
	BUCKET_CROSSES, /* between two places that share nothing: copy instead */
	BUCKET_IS_FOLDER,
	BUCKET_NOT_FOLDER,
	BUCKET_IS_LINK,
	BUCKET_NO_ATTRIBUTE,
	BUCKET_VALUE_TOO_LARGE, /* an extended attribute */
	BUCKET_READ_ONLY,
	BUCKET_UNSUPPORTED,
	BUCKET_WRONG_HANDLE, /* opened for something else */
	BUCKET_NO_DATA_THERE, /* seeking data or a hole past the end */
	BUCKET_BUSY,          /* somebody is at it */
	BUCKET_REDIRECTED, /* look the name up again: this caller will find something else (version.h) */
	BUCKET_LONG, /* it takes long: not by a thread that serves others (fs_may_take_long) */
	BUCKET_WAIT, /* a file is just being closed: ask again in a moment (version.h) */
};
