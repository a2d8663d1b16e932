#include "store/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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
	struct blob_path path = blob_path(number);
	int fd = openat(folder_fd, path.file, O_RDWR | O_CLOEXEC);

	/* A disk that has become read-only can still be read. */
	if (fd < 0 && errno == EROFS)
		fd = openat(folder_fd, path.file, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

bool blob_exists(int folder_fd, uint64_t number)
{
	return !faccessat(folder_fd, blob_path(number).file, F_OK, 0) || errno != ENOENT;
}

int blob_remove(int folder_fd, uint64_t number)
{
	return unlinkat(folder_fd, blob_path(number).file, 0) ? -errno : 0;
}

int blob_move(int folder_fd, uint64_t number, const char *to)
{
	char path[64];

	if (mkdirat(folder_fd, to, 0700) && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), "%s/%016llx", to, (unsigned long long)number);
	return renameat(folder_fd, blob_path(number).file, folder_fd, path) ? -errno : 0;
}

/* The kernel gives a lease for reading only where nobody has the file open to write, or mapped so. Where it gives none to anybody,
 * nothing is known. */
int blob_has_writer(int folder_fd, uint64_t number, bool *has)
{
	int fd = openat(folder_fd, blob_path(number).file, O_RDONLY | O_CLOEXEC);

	*has = false;
	if (fd < 0)
		return -errno;
	/* A writer that comes just now waits for the lease, and the kernel tells the holder by a signal: by one that nobody hears. */
	*has = fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_RDLCK) && errno == EAGAIN;
	/* Which gives the lease back. */
	close(fd);
	return 0;
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

int blob_allocate(struct store_content *base, uint64_t at, uint64_t len, bool keep_size)
{
	int mode = keep_size ? FALLOC_FL_KEEP_SIZE : 0;

	return fallocate(container_of(base, struct blob, base)->fd, mode, (off_t)at, (off_t)len) ? -errno : 0;
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

enum { extents_at_once = 32 };

/* Where extents cannot be asked for: data is where a read finds some. Space that was allocated and never written counts as a hole then. */
static int holes_by_seeking(int fd, uint64_t at, uint64_t end, uint64_t *bytes)
{
	*bytes = 0;
	while (at < end) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		uint64_t until = data < 0 || (uint64_t)data > end ? end : (uint64_t)data;
		off_t hole;

		if (data < 0 && errno != ENXIO)
			return -errno;
		*bytes += until - at;
		hole = until < end ? lseek(fd, (off_t)until, SEEK_HOLE) : (off_t)end;
		at = hole < 0 ? end : (uint64_t)hole;
	}
	return 0;
}

/* The extents from *at on: adds what is between them to *bytes, and moves *at behind the last. *last: there are no others. */
static int holes_by_extents(int fd, struct fiemap *map, uint64_t *at, uint64_t end, uint64_t *bytes, bool *last)
{
	*map = (struct fiemap){.fm_start = *at, .fm_length = end - *at, .fm_extent_count = extents_at_once};
	if (ioctl(fd, FS_IOC_FIEMAP, map))
		return -errno;
	*last = map->fm_mapped_extents < extents_at_once;
	for (unsigned i = 0; i < map->fm_mapped_extents && *at < end; i++) {
		const struct fiemap_extent *x = &map->fm_extents[i];
		uint64_t until = x->fe_logical + x->fe_length;

		if (x->fe_logical > *at)
			*bytes += (x->fe_logical < end ? x->fe_logical : end) - *at;
		*at = until > *at ? until : *at;
		*last |= (x->fe_flags & FIEMAP_EXTENT_LAST) != 0;
	}
	return 0;
}

int blob_holes(struct store_content *base, uint64_t at, uint64_t len, uint64_t *bytes)
{
	struct fiemap *map = malloc(sizeof(*map) + extents_at_once * sizeof(struct fiemap_extent));
	int r = map ? 0 : -ENOMEM, fd = container_of(base, struct blob, base)->fd;
	uint64_t begin = at, end = at + len;
	bool last = false;

	*bytes = 0;
	while (!r && !last && at < end)
		r = holes_by_extents(fd, map, &at, end, bytes, &last);
	free(map);
	if (r && r != -ENOMEM)
		return holes_by_seeking(fd, begin, end, bytes);
	*bytes += !r && at < end ? end - at : 0;
	return r;
}

int blob_size(struct store_content *base, uint64_t *size)
{
	struct stat st;

	if (fstat(container_of(base, struct blob, base)->fd, &st))
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

/* A piece of data without a hole. A write fault makes the pages dirty and leaves their bytes alone, whoever changes them at the same
 * time; and unlike a write through the mapping it gives an error where the disk or a shorter file would give a signal. */
static int touch_piece(int fd, off_t at, size_t len)
{
	void *pages = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);
	int r;

	if (pages == MAP_FAILED)
		return -errno;
	r = madvise(pages, len, MADV_POPULATE_WRITE) ? -errno : 0;
	munmap(pages, len);
	return r == -EINVAL ? -EOPNOTSUPP : r == -EFAULT ? -EIO : r;
}

int blob_touch(struct store_content *base, uint64_t from)
{
	enum { piece = 1 << 20 };
	int fd = container_of(base, struct blob, base)->fd;
	off_t page = sysconf(_SC_PAGESIZE), at = (off_t)from, data;

	/* Holes stay holes. */
	while ((data = lseek(fd, at, SEEK_DATA)) >= 0) {
		off_t begin = data / page * page, end = lseek(fd, data, SEEK_HOLE);
		int r;

		if (end < 0)
			break;
		at = end - begin < piece ? end : begin + piece;
		r = touch_piece(fd, begin, (size_t)(at - begin));
		if (r)
			return r;
	}
	return errno == ENXIO ? 0 : -errno;
}

static int sync_folder(int folder_fd, const char *name)
{
	int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return r;
}

int blob_sync(struct store_content *base, bool *lost)
{
	struct blob *c = container_of(base, struct blob, base);

	*lost = fdatasync(c->fd) != 0;
	if (*lost)
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
