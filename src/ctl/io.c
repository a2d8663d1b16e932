#include "ctl/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "ctl/place.h"

enum { piece = 64 << 10 };

static int read_from(int fd, off_t at, struct buf *out)
{
	for (;;) {
		ssize_t n;
		int r = buf_reserve(out, piece);

		if (r)
			return r;
		n = at < 0 ? read(fd, out->data + out->len, piece) : pread(fd, out->data + out->len, piece, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		out->len += (size_t)n;
		at += at < 0 ? 0 : n;
	}
}

int io_read(int fd, struct buf *out)
{
	return read_from(fd, -1, out);
}

int io_read_again(int fd, struct buf *out)
{
	return read_from(fd, 0, out);
}

int io_read_at(int folder, const char *path, struct buf *out)
{
	int fd = openat(folder, path, O_RDONLY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = io_read(fd, out);
	close(fd);
	return r;
}

int io_read_file(const char *path, struct buf *out)
{
	return path[0] == '-' && path[1] == 0 ? io_read(STDIN_FILENO, out) : io_read_at(AT_FDCWD, path, out);
}

int io_write(int fd, struct slice bytes)
{
	const char *at = bytes.at;

	while (bytes.len) {
		ssize_t n = write(fd, at, bytes.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		bytes.len -= (size_t)n;
	}
	return 0;
}

int io_write_at(int folder, const char *path, int flags, struct slice bytes)
{
	int fd = openat(folder, path, flags | O_CLOEXEC, 0666), r;

	if (fd < 0)
		return -errno;
	r = io_write(fd, bytes);
	return close(fd) && !r ? -errno : r;
}

int io_replace(const char *path, struct slice bytes)
{
	char real[PATH_MAX], temporary[PATH_MAX];
	struct stat old;
	mode_t mask;
	int fd, r;

	/* A symbolic link stays one. */
	if (!realpath(path, real) && snprintf(real, sizeof(real), "%s", path) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", real) >= PATH_MAX)
		return -ENAMETOOLONG;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	mask = umask(0);
	umask(mask);
	r = io_write(fd, bytes);
	if (!r && fchmod(fd, stat(real, &old) == 0 ? old.st_mode & 07777 : 0666 & ~mask))
		r = -errno;
	if (close(fd) && !r)
		r = -errno;
	if (!r && rename(temporary, real))
		r = -errno;
	if (r)
		unlink(temporary);
	return r;
}

int io_attribute(int fd, const char *name, struct buf *out)
{
	struct place_path path = place_path_of(fd, "");
	int r = buf_reserve(out, XATTR_SIZE_MAX);
	ssize_t len;

	if (r)
		return r;
	len = getxattr(path.text, name, out->data + out->len, XATTR_SIZE_MAX);
	if (len < 0)
		return -errno;
	out->len += (size_t)len;
	return 0;
}

int io_make_parents(int folder, const char *path)
{
	char part[PATH_MAX];

	for (size_t i = 0; path[i]; i++) {
		if (i >= sizeof(part) - 1)
			return -ENAMETOOLONG;
		part[i] = path[i];
		if (path[i] != '/' || i == 0)
			continue;
		part[i] = 0;
		if (mkdirat(folder, part, 0777) && errno != EEXIST)
			return -errno;
		part[i] = '/';
	}
	return 0;
}

/* One step down. */
static int go_into(int folder, const char *name, bool make)
{
	struct stat st;
	int fd;

	if (make && mkdirat(folder, name, 0777) && errno != EEXIST)
		return -errno;
	fd = openat(folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (errno == ENOTDIR && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
		return -ELOOP;
	return -errno;
}

int io_parent(int folder, const char *path, bool make, int *parent, const char **leaf)
{
	char name[NAME_MAX + 1];
	int fd = fcntl(folder, F_DUPFD_CLOEXEC, 0), next;

	*parent = -1;
	if (fd < 0)
		return -errno;
	for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
		size_t len = (size_t)(slash - path);

		if (len == 0)
			continue;
		if (len > NAME_MAX) {
			close(fd);
			return -ENAMETOOLONG;
		}
		memcpy(name, path, len);
		name[len] = 0;
		next = strcmp(name, "..") == 0 ? -EINVAL : go_into(fd, name, make);
		close(fd);
		if (next < 0)
			return next;
		fd = next;
	}
	*parent = fd;
	*leaf = path;
	return 0;
}

static int remove_one(int folder, const char *name)
{
	int fd, r;

	if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR ? -EPERM : -errno;
	r = io_remove_all(fd);
	if (!r && unlinkat(folder, name, AT_REMOVEDIR) && errno != ENOENT)
		r = -errno;
	return r;
}

int io_remove_all(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		r = -errno;
		close(fd);
		return r;
	}
	while (!r && (errno = 0, e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = remove_one(dirfd(dir), e->d_name);
	if (!r && errno)
		r = -errno;
	closedir(dir);
	return r;
}
