/* A library to be preloaded (LD_PRELOAD): system calls on a store's files fail as a file says.
 *
 * FAULTS names the file. Its lines are "CALL ERRNO PATTERN": a call fails with that number where the file's path contains
 * the pattern. CALL is one of
 *   write     write and pwrite
 *   half      the same, but each writes half of what is left first
 *   whole     the same, but each writes everything first
 *   sync      fsync and fdatasync
 *   long      the same, but they wait as long as the line is there
 *   allocate  fallocate
 *   open      an open for writing
 *   look      any other open
 * With an empty or absent file nothing fails. It is read again at every call, so that a test can change its mind. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int asked(const char *call, const char *path)
{
	const char *name = getenv("FAULTS");
	char text[1024], *line, *rest = NULL;
	long fd = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read((int)fd, text, sizeof(text) - 1);
	syscall(SYS_close, fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char which[16], pattern[256];
		int number;

		if (sscanf(line, "%15s %d %255s", which, &number, pattern) == 3 && strcmp(which, call) == 0 && strstr(path, pattern))
			return number;
	}
	return 0;
}

/* The errno to fail with, which is set; 0: none, and errno stays as it was. */
static int fails(const char *call, int fd)
{
	char link[64], path[4096];
	int saved = errno, number;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0) {
		errno = saved;
		return 0;
	}
	path[n] = 0;
	number = asked(call, path);
	errno = number ? number : saved;
	return number;
}

/* How much to write: all, half of it, or nothing (-1). *after: what to say then. */
static ssize_t share(int fd, size_t len, int *after)
{
	*after = 0;
	if (fails("write", fd))
		return -1;
	if (fails("half", fd))
		return len > 8 ? (ssize_t)len / 2 : -1;
	*after = fails("whole", fd);
	return (ssize_t)len;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	int after = 0;
	ssize_t part = fd > 2 ? share(fd, len, &after) : (ssize_t)len;

	if (part >= 0)
		part = syscall(SYS_write, fd, bytes, (size_t)part);
	if (part >= 0 && after) {
		errno = after;
		return -1;
	}
	return part;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
	int after;
	ssize_t part = share(fd, len, &after);

	if (part >= 0)
		part = syscall(SYS_pwrite64, fd, bytes, (size_t)part, at);
	if (part >= 0 && after) {
		errno = after;
		return -1;
	}
	return part;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
	return pwrite(fd, bytes, len, at);
}

/* A disk that takes its time: until the file says something else. */
static void takes_long(int fd)
{
	while (fails("long", fd))
		usleep(10000);
}

int fsync(int fd)
{
	takes_long(fd);
	return fails("sync", fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	takes_long(fd);
	return fails("sync", fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
	return fails("allocate", fd) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, len);
}

int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
	return fallocate(fd, mode, at, len);
}

static int opens(int folder, const char *path, int flags, mode_t mode)
{
	char link[64], whole[4352] = "";
	ssize_t n = 0;
	int number, saved = errno;

	if (*path != '/' && folder >= 0) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", folder);
		n = readlink(link, whole, sizeof(whole) - 257);
		n = n < 0 ? 0 : n;
	}
	snprintf(whole + n, sizeof(whole) - (size_t)n, "/%.255s", path);
	number = asked(flags & (O_WRONLY | O_RDWR | O_CREAT) ? "open" : "look", *path == '/' ? path : whole);
	errno = number ? number : saved;
	return number ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE(flags)                                                    \
	__extension__({                                                \
		mode_t mode_ = 0;                                      \
		if ((flags) & (O_CREAT | __O_TMPFILE)) {               \
			va_list values_;                               \
			va_start(values_, flags);                      \
			mode_ = va_arg(values_, mode_t);               \
			va_end(values_);                               \
		}                                                      \
		mode_;                                                 \
	})

int open(const char *path, int flags, ...)
{
	return opens(AT_FDCWD, path, flags, MODE(flags));
}

int open64(const char *path, int flags, ...)
{
	return opens(AT_FDCWD, path, flags, MODE(flags));
}

int openat(int folder, const char *path, int flags, ...)
{
	return opens(folder, path, flags, MODE(flags));
}

int openat64(int folder, const char *path, int flags, ...)
{
	return opens(folder, path, flags, MODE(flags));
}
