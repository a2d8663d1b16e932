/* A content as a plain file, FOLDER/blobs/XX/NUMBER: what a backend's content may be made of. Knows nothing of records. */
#pragma once

#include "bucketfs/store.h"

struct blob {
	struct store_content base;
	int folder_fd; /* of the store */
	int fd;
	bool named;    /* its name is known to be on the disk */
};

/* Each gives a descriptor or -errno: -EEXIST, -ENOENT. */
int blob_create(int folder_fd, uint64_t number);
int blob_open(int folder_fd, uint64_t number);
int blob_remove(int folder_fd, uint64_t number);
/* FOLDER/TO/NUMBER is its name from then on; TO is made if it is not there, for nobody else to read. */
int blob_move(int folder_fd, uint64_t number, const char *to);
/* As store_content_has_writer. -ENOENT. */
int blob_has_writer(int folder_fd, uint64_t number, bool *has);

/* As in struct store_ops. */
int blob_read(struct store_content *base, uint64_t at, void *bytes, size_t len, size_t *got);
int blob_write(struct store_content *base, uint64_t at, const void *bytes, size_t len);
int blob_truncate(struct store_content *base, uint64_t len);
/* False: there is no such file. */
bool blob_exists(int folder_fd, uint64_t number);
int blob_allocate(struct store_content *base, uint64_t at, uint64_t len, bool keep_size);
int blob_punch(struct store_content *base, uint64_t at, uint64_t len);
int blob_blocks(struct store_content *base, uint64_t *blocks);
int blob_holes(struct store_content *base, uint64_t at, uint64_t len, uint64_t *bytes);
int blob_size(struct store_content *base, uint64_t *size);
/* The kernel takes all its bytes from `from` on for changed, so that the next sync brings every one of them to the disk. Others may write
 * meanwhile. -EOPNOTSUPP before Linux 5.14. */
int blob_touch(struct store_content *base, uint64_t from);
/* *lost: the kernel may have forgotten bytes that are not on the disk. */
int blob_sync(struct store_content *base, bool *lost);
int blob_fd(struct store_content *base);
