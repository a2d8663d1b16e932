#include "store/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/container.h"

struct blob_path {
	char folder[16], file[40];
};

static struct blob_path blob_path(uint64_t number)
{
	struct blob_path p;

	snprintf(p.folder, sizeof(p.folder), "blobs/%02x", (unsigned)(number & 0xff));
	snprintf(p.file, sizeof(p.file), "%s/%016llx", p.folder, (unsigned long long)number);
	return p;
}

int blob_create(int folder_fd, uint64_t number)
{
	struct blob_path path = blob_path(number);
	int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
	int fd = openat(folder_fd, path.file, flags, 0600);

	if (fd < 0 && errno == ENOENT) {
		if (mkdirat(folder_fd, path.folder, 0700) && errno != EEXIST)
			return -errno;
		fd = openat(folder_fd, path.file, flags, 0600);
	}
	return fd < 0 ? -errno : fd;
}

int blob_open(int folder_fd, uint64_t number)
{
	int fd = openat(folder_fd, blob_path(number).file, O_RDWR | O_CLOEXEC);

	/* A check reads a store on a filesystem that is mounted read-only. */
	if (fd < 0 && errno == EROFS)
		fd = openat(folder_fd, blob_path(number).file, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int blob_remove(int folder_fd, uint64_t number)
{
	return unlinkat(folder_fd, blob_path(number).file, 0) ? -errno : 0;
}

int blob_read(struct store_content *base, uint64_t at, void *bytes, size_t len, size_t *got)
{
	struct blob *c = container_of(base, struct blob, base);

	*got = 0;
	while (*got < len) {
		ssize_t n = pread(c->fd, (char *)bytes + *got, len - *got, (off_t)(at + *got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		*got += (size_t)n;
	}
	return 0;
}

int blob_write(struct store_content *base, uint64_t at, const void *bytes, size_t len)
{
	struct blob *c = container_of(base, struct blob, base);

	while (len) {
		ssize_t n = pwrite(c->fd, bytes, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes = (const char *)bytes + n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int blob_truncate(struct store_content *base, uint64_t len)
{
	return ftruncate(container_of(base, struct blob, base)->fd, (off_t)len) ? -errno : 0;
}

int blob_allocate(struct store_content *base, uint64_t at, uint64_t len)
{
	return fallocate(container_of(base, struct blob, base)->fd, 0, (off_t)at, (off_t)len) ? -errno : 0;
}

int blob_punch(struct store_content *base, uint64_t at, uint64_t len)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	return fallocate(container_of(base, struct blob, base)->fd, mode, (off_t)at, (off_t)len) ? -errno : 0;
}

int blob_blocks(struct store_content *base, uint64_t *blocks)
{
	struct stat st;

	if (fstat(container_of(base, struct blob, base)->fd, &st))
		return -errno;
	*blocks = (uint64_t)st.st_blocks;
	return 0;
}

int blob_size(struct store_content *base, uint64_t *size)
{
	struct stat st;

	if (fstat(container_of(base, struct blob, base)->fd, &st))
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

int blob_rewrite(struct store_content *base)
{
	enum { piece = 65536 };
	int fd = container_of(base, struct blob, base)->fd;
	char *bytes = malloc(piece);
	off_t at = 0, data;
	int r = bytes ? 0 : -ENOMEM;

	/* Holes stay holes. */
	while (!r && (data = lseek(fd, at, SEEK_DATA)) >= 0) {
		size_t got;

		r = blob_read(base, (uint64_t)data, bytes, piece, &got);
		if (!r)
			r = blob_write(base, (uint64_t)data, bytes, got);
		at = data + (off_t)got;
		if (!got)
			break;
	}
	if (!r && bytes && errno != ENXIO && data < 0)
		r = -errno;
	free(bytes);
	return r;
}

static int sync_folder(int folder_fd, const char *name)
{
	int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return r;
}

int blob_sync(struct store_content *base)
{
	struct blob *c = container_of(base, struct blob, base);

	if (fdatasync(c->fd))
		return -errno;
	if (!c->named) {
		struct blob_path path = blob_path(base->number);
		int r = sync_folder(c->folder_fd, path.folder);

		if (!r)
			r = sync_folder(c->folder_fd, "blobs");
		if (r)
			return r;
		c->named = true;
	}
	return 0;
}

int blob_fd(struct store_content *base)
{
	return container_of(base, struct blob, base)->fd;
}
